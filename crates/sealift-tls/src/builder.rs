//! From a socket to a stream: how it sends, out of which memory, and the handshake.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion, ServerConfig};
use sealift_crypto::{Engine, Limits};
use sealift_io::{Backend, Policy, Pool, Receiver, Ring, Sender, SenderBuilder};

use crate::bulk::{Bulk, SealingEngine};
use crate::epoch::Epoch;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::frames::Frames;
use crate::handshake::{self, Done, Wire};
use crate::inflow::Inflow;
use crate::link::Link;
use crate::opening::Opening;
use crate::outflow::{KEPT_PLACES, Outflow};
use crate::post_handshake::Side;
use crate::sealing::Sealing;
use crate::secrets::{Kept, Secrets};
use crate::shared::{self, FRAMES_IN_FLIGHT, MOST_OVERHEAD_BYTES};
use crate::split::{TlsReader, TlsWriter};
use crate::stream::TlsStream;

/// The fewest records that a test's limit may leave to a key.
const FEWEST_SEALS: u64 = 8;

/// What to build a [`TlsStream`] from.
#[derive(Clone, Debug)]
#[must_use]
pub struct TlsStreamBuilder {
    sender: SenderBuilder,
    pool: Option<Pool>,
    ring: Option<Ring>,
    backend: Option<Backend>,
    messages: usize,
    sealing_engine: Option<Entrusted<SealingEngine>>,
    limits: Option<Limits>,
}

/// What only one stream can have, in a builder that may be cloned: the first stream takes it.
struct Entrusted<T>(Arc<Mutex<Option<T>>>);

impl<T> Entrusted<T> {
    fn new(entrusted: T) -> Self {
        Self(Arc::new(Mutex::new(Some(entrusted))))
    }

    fn take(&self) -> Result<T> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken
            .ok_or(Error::Caller { what: "another stream has taken the engine: give each its own" })
    }
}

impl<T> Clone for Entrusted<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for Entrusted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an engine")
    }
}

impl Default for TlsStreamBuilder {
    fn default() -> Self {
        Self {
            sender: Sender::builder(),
            pool: None,
            ring: None,
            backend: None,
            messages: FRAMES_IN_FLIGHT + KEPT_PLACES,
            sealing_engine: None,
            limits: None,
        }
    }
}

impl TlsStreamBuilder {
    /// Seals into frames of this pool, and of no other. Unless given, the streams of the process
    /// share 120 frames of four records. A frame of any size will do, but it is best a multiple of
    /// 16,413 bytes: a full record.
    pub fn pool(mut self, pool: &Pool) -> Self {
        self.pool = Some(pool.clone());
        self
    }

    /// Sends through this ring, shared with others, if the backend is `uring`. Unless given, the
    /// streams of the process share a few; but one that is given a pool has a ring of its own, with
    /// that pool registered.
    pub fn ring(mut self, ring: &Ring) -> Self {
        self.ring = Some(ring.clone());
        self
    }

    /// Uses this backend instead of the one that probing finds best.
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Copy or zero-copy in the kernel; adaptive unless said.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.sender = self.sender.policy(policy);
        self
    }

    /// How many frames this stream may have under way; 12 unless said. It keeps one stream from
    /// taking all of a pool that others have, too.
    pub fn frames_in_flight(mut self, frames: usize) -> Self {
        self.messages = frames.max(1) + KEPT_PLACES;
        self
    }

    /// Seals on `engine` what is given away by [`send_owned`](TlsWriter::send_owned) or sent from a
    /// file: many records of one connection at a time. Everything else is sealed by the caller, as
    /// without an engine. It is for one stream: of the builder and its clones, the first to shake
    /// hands takes it, and the others are refused with [`Error::Caller`].
    pub fn sealing_engine(mut self, engine: impl Engine<Bytes, Frame> + 'static) -> Self {
        self.sealing_engine = Some(Entrusted::new(Box::new(engine)));
        self
    }

    /// For a task of a runtime: without a ring, unless one was asked for. A ring that tasks share
    /// would wake all of them for each one's answers; a socket wakes its own task.
    #[cfg(feature = "tokio")]
    pub(crate) fn on_runtime(mut self) -> Self {
        if self.ring.is_none() {
            self.backend.get_or_insert(Backend::MsgZerocopy);
        }
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
    /// kind of socket, a pool whose frames are too small, or an engine that cannot seal what was
    /// agreed on.
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
        let engine = self.sealing_engine.as_ref().map(Entrusted::take).transpose()?;
        let frames = Frames::new(self.pool.clone())?;
        if frames.pool().stats().frame_bytes <= MOST_OVERHEAD_BYTES {
            return Err(Error::Caller { what: "the pool's frames have no room for a record" });
        }
        let mut sender = self.sender_builder()?.build(socket)?;
        let mut receiver = Receiver::sharing(sender.socket().clone())?;
        let mut wire = Wire { sender: &mut sender, receiver: &mut receiver, deadline };
        let done = match shake_hands(&mut wire) {
            Ok(done) => done,
            Err(error) => {
                handshake::close_failed(sender, deadline);
                return Err(error);
            }
        };
        self.assemble(done, sender, engine, frames, receiver)
    }

    fn sender_builder(&self) -> Result<SenderBuilder> {
        let mut sender = self.sender.clone().messages(self.messages);
        if let Some(backend) = self.backend {
            sender = sender.backend(backend);
        }
        let may_use_ring = matches!(self.backend, None | Some(Backend::Uring));
        let ring = match (&self.ring, &self.pool) {
            (Some(ring), _) => Some(ring.clone()),
            (None, Some(pool)) => {
                sender = sender.pool(pool);
                None
            }
            (None, None) if may_use_ring => shared::ring()?,
            (None, None) => None,
        };
        Ok(match ring {
            Some(ring) => sender.ring(&ring),
            None => sender,
        })
    }

    fn assemble(
        self,
        done: Done,
        sender: Sender,
        engine: Option<SealingEngine>,
        frames: Frames,
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
        if engine.as_ref().is_some_and(|engine| !Bulk::suits(engine, &sealing)) {
            let what = "the engine cannot seal the records that were agreed on: use a router";
            return Err(Error::Caller { what });
        }
        let socket = sender.socket().clone();
        let outflow = Outflow::new(sender, frames, sealing, engine, self.messages);
        let secrets = Secrets::new(kept, self.limits);
        let link = Link::new(outflow, secrets, negotiated, socket);
        let reader = TlsReader::new(link.clone(), receiver, Inflow::new(side, opening, &received));
        Ok(TlsStream::new(reader, TlsWriter::new(link)))
    }
}
