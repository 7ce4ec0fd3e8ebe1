//! From a socket to a stream: how it sends, out of which memory, and the handshake.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion, ServerConfig};
use sealift_crypto::Limits;
use sealift_io::{Backend, Policy, Pool, Receiver, Ring, Sender, SenderBuilder};

use crate::epoch::Epoch;
use crate::error::{Error, Result};
use crate::handshake::{self, Done, Wire};
use crate::inflow::Inflow;
use crate::link::Link;
use crate::opening::Opening;
use crate::outflow::{KEPT_PLACES, Outflow};
use crate::post_handshake::Side;
use crate::record::MOST_PLAINTEXT_BYTES;
use crate::sealing::Sealing;
use crate::secrets::{Kept, Secrets};
use crate::split::{TlsReader, TlsWriter};
use crate::stream::TlsStream;

/// Frames of a stream's own pool, if it is given none: some that are under way, some being sealed.
const OWN_FRAMES: usize = 8;
/// Records that such a frame holds.
const OWN_FRAME_RECORDS: usize = 4;
/// The most that a record is longer than its plaintext: AES-GCM in TLS 1.2.
const MOST_OVERHEAD_BYTES: usize = 5 + 8 + 16;
/// The fewest records that a test's limit may leave to a key.
const FEWEST_SEALS: u64 = 8;

/// What to build a [`TlsStream`] from.
#[derive(Clone, Debug)]
#[must_use]
pub struct TlsStreamBuilder {
    sender: SenderBuilder,
    pool: Option<Pool>,
    messages: usize,
    limits: Option<Limits>,
}

impl Default for TlsStreamBuilder {
    fn default() -> Self {
        Self { sender: Sender::builder(), pool: None, messages: 16, limits: None }
    }
}

impl TlsStreamBuilder {
    /// Seals into frames of this pool, shared with others; unless given, each stream has eight
    /// frames of four records to itself. A frame of any size will do, but it is best a multiple of
    /// 16,413 bytes: a full record.
    pub fn pool(mut self, pool: &Pool) -> Self {
        self.sender = self.sender.pool(pool);
        self.pool = Some(pool.clone());
        self
    }

    /// Sends through this ring, shared with others, if the backend is `uring`.
    pub fn ring(mut self, ring: &Ring) -> Self {
        self.sender = self.sender.ring(ring);
        self
    }

    /// Uses this backend instead of the one that probing finds best.
    pub fn backend(mut self, backend: Backend) -> Self {
        self.sender = self.sender.backend(backend);
        self
    }

    /// Copy or zero-copy in the kernel; adaptive unless said.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.sender = self.sender.policy(policy);
        self
    }

    /// How many frames this stream may have under way; 12 unless said. It keeps one stream from
    /// taking all of a shared pool.
    pub fn frames_in_flight(mut self, frames: usize) -> Self {
        self.messages = frames.max(1) + KEPT_PLACES;
        self
    }

    /// The limits of a key to seal with, instead of its suite's, which are out of reach for a test.
    #[doc(hidden)]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Shakes hands as the client, with the server `name`, on a connected stream socket.
    ///
    /// # Errors
    /// [`Error::Handshake`] with what rustls found wrong; [`Error::Alert`] with what the peer did;
    /// [`Error::Deadline`]; [`Error::Io`] if the connection failed; [`Error::Caller`] for another
    /// kind of socket, or a pool whose frames are too small.
    pub fn connect(
        self,
        socket: impl Into<OwnedFd>,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        deadline: Instant,
    ) -> Result<TlsStream> {
        self.build(socket.into(), deadline, |wire| handshake::connect(wire, config, name))
    }

    /// Shakes hands as the server.
    ///
    /// # Errors
    /// As [`connect`](TlsStreamBuilder::connect).
    pub fn accept(
        self,
        socket: impl Into<OwnedFd>,
        config: Arc<ServerConfig>,
        deadline: Instant,
    ) -> Result<TlsStream> {
        self.build(socket.into(), deadline, |wire| handshake::accept(wire, &config))
    }

    fn build(
        self,
        socket: OwnedFd,
        deadline: Instant,
        shake_hands: impl FnOnce(&mut Wire<'_>) -> Result<Done>,
    ) -> Result<TlsStream> {
        if self.limits.is_some_and(|limits| limits.seals < FEWEST_SEALS) {
            return Err(Error::Caller { what: "a key's limit is at least 8 records" });
        }
        let pool = match &self.pool {
            Some(pool) if pool.stats().frame_bytes <= MOST_OVERHEAD_BYTES => {
                return Err(Error::Caller { what: "the pool's frames have no room for a record" });
            }
            Some(pool) => pool.clone(),
            None => own_pool()?,
        };
        let mut sender = self.sender.clone().messages(self.messages).build(socket)?;
        let mut receiver = Receiver::sharing(sender.socket().clone())?;
        let mut wire = Wire { sender: &mut sender, receiver: &mut receiver, deadline };
        let done = match shake_hands(&mut wire) {
            Ok(done) => done,
            Err(error) => {
                handshake::close_failed(sender, deadline);
                return Err(error);
            }
        };
        self.assemble(done, sender, pool, receiver)
    }

    fn assemble(
        self,
        done: Done,
        sender: Sender,
        pool: Pool,
        receiver: Receiver,
    ) -> Result<TlsStream> {
        let Done { secrets, kept, negotiated, received } = done;
        let tls13 = negotiated.protocol_version == ProtocolVersion::TLSv1_3;
        let side = match &kept {
            Kept::Client(_) => Side::Client,
            Kept::Server(_) => Side::Server,
        };
        let (number, transmit) = secrets.tx;
        let sealing = Sealing::new(Epoch::new(number, transmit, tls13, self.limits)?);
        let (number, receive) = secrets.rx;
        let opening = Opening::new(Epoch::new(number, receive, tls13, None)?);
        let socket = sender.socket().clone();
        let outflow = Outflow::new(sender, pool, sealing, self.messages);
        let secrets = Secrets::new(kept, self.limits);
        let link = Arc::new(Link::new(outflow, secrets, negotiated, socket));
        let reader = TlsReader::new(link.clone(), receiver, Inflow::new(side, opening, &received));
        Ok(TlsStream::new(reader, TlsWriter::new(link)))
    }
}

fn own_pool() -> Result<Pool> {
    let record = MOST_PLAINTEXT_BYTES + MOST_OVERHEAD_BYTES;
    let pool = Pool::builder().frames(OWN_FRAMES).frame_bytes(OWN_FRAME_RECORDS * record);
    Ok(pool.huge_pages(false).build()?)
}
