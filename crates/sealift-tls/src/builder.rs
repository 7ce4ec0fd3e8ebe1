//! From a socket to a stream: how it sends, out of which memory, and the handshake.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use sealift_crypto::{Engine, Limits};
use sealift_io::{Backend, Policy, Pool, Receiver, Ring, Sender, SenderBuilder};

use crate::ahead::OpeningEngine;
use crate::begun::{Begun, Turn};
use crate::bulk::SealingEngine;
use crate::engines::{Engines, IS_BUSY, Sealer};
use crate::entrusted::Entrusted;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::frames::Frames;
use crate::handshake::Handshake;
use crate::ktls::{Ktls, Offer, OnlyHere};
use crate::opening::MOST_JOB_BYTES;
use crate::outflow::KEPT_PLACES;
use crate::parts::Parts;
use crate::record::MOST_PLAINTEXT_BYTES;
use crate::shared::{self, FRAMES_IN_FLIGHT, MOST_OVERHEAD_BYTES};
use crate::speaker::Speaker;
use crate::stream::TlsStream;

/// Messages that a sender holds at most.
const MOST_MESSAGES: usize = 1 << 16;
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
    sealer: Option<Entrusted<Sealer>>,
    opening_engine: Option<Entrusted<OpeningEngine>>,
    ktls: Ktls,
    limits: Option<Limits>,
    pad_to_bytes: usize,
}

impl Default for TlsStreamBuilder {
    fn default() -> Self {
        Self {
            sender: Sender::builder(),
            pool: None,
            ring: None,
            backend: None,
            messages: FRAMES_IN_FLIGHT + KEPT_PLACES,
            sealer: None,
            opening_engine: None,
            ktls: Ktls::Auto,
            limits: None,
            pad_to_bytes: 1,
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

    /// How many frames this stream may have under way; 12 unless said, at most 65,532. It keeps one
    /// stream from taking all of a pool that others have, too.
    pub fn frames_in_flight(mut self, frames: usize) -> Self {
        self.messages = frames.clamp(1, MOST_MESSAGES - KEPT_PLACES) + KEPT_PLACES;
        self
    }

    /// Seals on `engine` what is given away by [`send_owned`](crate::TlsWriter::send_owned) or sent
    /// from a file: many records of one connection at a time. Everything else is sealed by the
    /// caller, as without an engine. It is for one stream: of the builder and its clones, the first
    /// to shake hands takes it, and the others are refused with [`Error::Caller`].
    pub fn sealing_engine(mut self, engine: impl Engine<Bytes, Frame> + 'static) -> Self {
        self.sealer = Some(Entrusted::new(Sealer::Made(Box::new(engine))));
        self
    }

    /// As [`sealing_engine`](Self::sealing_engine), with an engine that is made when both ends have
    /// agreed: whoever only begins to shake hands costs none. On a runtime it is made on a thread
    /// for blocking work. What `make` fails with, the stream fails with.
    pub fn sealing_engine_with<E: Engine<Bytes, Frame> + 'static>(
        mut self,
        make: impl FnOnce() -> Result<E> + Send + 'static,
    ) -> Self {
        let make = move || make().map(|engine| Box::new(engine) as SealingEngine);
        self.sealer = Some(Entrusted::new(Sealer::Awaited(Box::new(make))));
        self
    }

    /// For a task of a runtime: by ordinary sends, unless a ring or a backend was asked for.
    ///
    /// What zero-copy saves is the copy of what was just sealed, out of the cache: on a path that
    /// drops it all, 0.02 s/GB, of the 0.38 that a server under hyper takes. For that, frames stay
    /// with the kernel until the peer acknowledges, so that a stream has 12 of them per round trip;
    /// each has its notification; and a ring that tasks share wakes all of them for each one's
    /// answers. Under hyper over loopback, where the kernel copies after all, the server's time
    /// against tokio-rustls's was, for 1 GiB and for 1 KiB bodies: 0.89 and 1.07 by ordinary
    /// sends, 0.92 and 1.11 by `MSG_ZEROCOPY`, 0.83 and 1.30 by a ring.
    #[cfg(feature = "tokio")]
    pub(crate) fn on_runtime(mut self) -> Self {
        if self.ring.is_none() {
            self.backend.get_or_insert(Backend::Copy);
        }
        self
    }

    /// Whether the kernel makes the records, where it can; [`Ktls::Auto`] unless said. It copies
    /// what is sent, so only a network device that seals makes it worth while.
    /// [`Stats`](crate::Stats) tell who made them, and why not the kernel.
    pub fn ktls(mut self, ktls: Ktls) -> Self {
        self.ktls = ktls;
        self
    }

    /// Opens ahead on `engine`: the records that are there, several at a time, before those in
    /// front of them were read, and out of at most 1.1 MiB of the stream's own memory. What is read
    /// is the same as without, but copied from there. A [`Router`](sealift_crypto::Router)'s spares
    /// are of [`OPENING_JOB_BYTES`](Self::OPENING_JOB_BYTES). The engine is for one stream: of the
    /// builder and its clones, the first to shake hands takes it, and the others are refused with
    /// [`Error::Caller`].
    pub fn opening_engine(mut self, engine: impl Engine<Arc<[u8]>, Vec<u8>> + 'static) -> Self {
        self.opening_engine = Some(Entrusted::new(Box::new(engine)));
        self
    }

    /// The length of the destinations that an [`opening_engine`](Self::opening_engine) writes to.
    pub const OPENING_JOB_BYTES: usize = MOST_JOB_BYTES;

    /// Hides how long what is sent is: every record has zeros behind its content, up to a multiple
    /// of so many bytes or to the longest record (RFC 8446 section 5.4), whoever seals it, and key
    /// updates and alerts as well. From 1, which is none and the default, to 16,384, where all
    /// records are of one length.
    ///
    /// Padding costs the peer as much as data. What is not given away, and padded, is copied once
    /// more than without.
    ///
    /// TLS 1.2 has no padding: a stream that agreed on it is refused with [`Error::Caller`]. So is
    /// [`Ktls::On`]: the kernel does not pad.
    pub fn pad_to_multiple_of(mut self, bytes: usize) -> Self {
        self.pad_to_bytes = bytes;
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
    /// A reader gives the server's tickets to the session store of `config`, on its own thread. A
    /// store that takes its time holds up what is read, and a write that is due to change its key;
    /// one that waits for a write of the same stream may wait for ever.
    ///
    /// # Errors
    /// [`Error::Handshake`] with what rustls found wrong; [`Error::Alert`] with what the peer did;
    /// [`Error::Deadline`]; [`Error::Io`] if the connection failed; [`Error::Caller`] for another
    /// kind of socket, a pool whose frames are too small, or an engine that cannot do what was
    /// agreed on.
    pub fn connect(
        self,
        socket: impl Into<OwnedFd>,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        deadline: Instant,
    ) -> Result<TlsStream> {
        self.build(socket.into(), Speaker::client(config, name)?, deadline)
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
        self.build(socket.into(), Speaker::server(&config)?, deadline)
    }

    fn build(self, socket: OwnedFd, speaker: Speaker, deadline: Instant) -> Result<TlsStream> {
        let (parting, error) = match self.begin(socket, speaker)?.turn(deadline) {
            Turn::Over(stream) => return Ok(*stream),
            Turn::Failed(parting, error) => (parting, error),
            Turn::Waits(begun) => (begun.part(), Error::Deadline),
        };
        parting.close(deadline);
        Err(error)
    }

    /// All that there is to do before the handshake.
    pub(crate) fn begin(self, socket: OwnedFd, speaker: Speaker) -> Result<Box<Begun>> {
        if self.limits.is_some_and(|limits| limits.seals < FEWEST_SEALS) {
            return Err(Error::Caller { what: "a key's limit is at least 8 records" });
        }
        if !(1..=MOST_PLAINTEXT_BYTES).contains(&self.pad_to_bytes) {
            return Err(Error::Caller { what: "records are padded to 1 to 16,384 bytes" });
        }
        let frames = Frames::new(self.pool.clone())?;
        if frames.pool().stats().frame_bytes < MOST_OVERHEAD_BYTES + self.pad_to_bytes {
            return Err(Error::Caller { what: "the pool's frames have no room for a record" });
        }
        let only_here = match () {
            () if self.has_engine() => Some(OnlyHere::Engine),
            () if self.pad_to_bytes > 1 => Some(OnlyHere::Padding),
            () => None,
        };
        let offer = Offer::new(self.ktls, only_here, &socket)?;
        let sender = self.sender_builder()?.build(socket)?;
        let receiver = Receiver::sharing(sender.socket().clone())?;
        let engines = self.take_engines()?;
        let parts = Parts {
            sender,
            receiver,
            frames,
            engines,
            offer,
            messages: self.messages,
            limits: self.limits,
            pad_to_bytes: self.pad_to_bytes,
        };
        Ok(Box::new(Begun { handshake: Handshake::new(speaker), parts }))
    }

    fn has_engine(&self) -> bool {
        self.sealer.is_some() || self.opening_engine.is_some()
    }

    /// Takes the engines from the builder and its clones: nothing may fail behind this that leaves
    /// no handshake, or they would be lost to the next stream.
    fn take_engines(&self) -> Result<Engines> {
        let engines = Engines {
            sealing: self.sealer.as_ref().map(Entrusted::take).transpose()?,
            opening: self.opening_engine.as_ref().map(Entrusted::take).transpose()?,
        };
        if engines.have_jobs() {
            return Err(IS_BUSY);
        }
        Ok(engines)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_frames_are_under_way_than_a_sender_holds() {
        let builder = TlsStreamBuilder::default();
        for (frames, messages) in [(0, 5), (1, 5), (65_532, 65_536), (usize::MAX, 65_536)] {
            assert_eq!(builder.clone().frames_in_flight(frames).messages, messages);
        }
    }
}
