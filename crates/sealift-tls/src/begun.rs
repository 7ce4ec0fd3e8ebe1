//! A stream whose handshake is under way.
//!
//! ```text
//!  Begun ──turn──► rustls computes ──► over: TlsStream
//!    ▲                   └─ waits for the wire: as a thread does, or
//!    └──── on_wire ◄──────── as a task does, with nothing but this to hold
//! ```

#[cfg(feature = "tokio")]
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustls::ProtocolVersion;
use sealift_crypto::Limits;
#[cfg(feature = "tokio")]
use sealift_io::{AsyncSender, Watch};
use sealift_io::{Receiver, Sender};

use crate::ahead::{self, OpeningEngine};
use crate::bulk::{Bulk, SealingEngine};
use crate::epoch::Epoch;
use crate::error::{Error, Result};
use crate::frames::Frames;
#[cfg(feature = "tokio")]
use crate::handshake::Awaits;
use crate::handshake::{Done, Handshake, Wire};
use crate::incoming::Incoming;
use crate::ktls::{KernelInflow, KernelOutflow, Offer};
use crate::link::Link;
use crate::opening::Opening;
use crate::outflow::Outflow;
use crate::outgoing::Outgoing;
use crate::post_handshake::Side;
use crate::sealing::Sealing;
use crate::secrets::{Kept, Secrets};
use crate::split::{TlsReader, TlsWriter};
use crate::stream::TlsStream;

/// How long the alert that says why may take to reach the peer's kernel.
const ALERT_LINGER: Duration = Duration::from_secs(1);

/// What seals and opens instead of the caller.
pub(crate) struct Engines {
    pub(crate) sealing: Option<SealingEngine>,
    pub(crate) opening: Option<OpeningEngine>,
}

impl Engines {
    pub(crate) fn is_any(&self) -> bool {
        self.sealing.is_some() || self.opening.is_some()
    }

    /// Their outcomes would come back to the stream.
    pub(crate) fn have_jobs(&self) -> bool {
        let sealing = self.sealing.as_ref().map_or(0, |engine| engine.in_flight());
        let opening = self.opening.as_ref().map_or(0, |engine| engine.in_flight());
        sealing + opening > 0
    }
}

/// All that a stream is made of but its keys.
pub(crate) struct Begun {
    pub(crate) handshake: Handshake,
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    pub(crate) frames: Frames,
    pub(crate) engines: Engines,
    pub(crate) offer: Offer,
    /// How many messages the stream may have under way.
    pub(crate) messages: usize,
    pub(crate) limits: Option<Limits>,
    /// See [`Sealing::padded_to`].
    pub(crate) pad_to_bytes: usize,
}

/// How far a turn came.
pub(crate) enum Turn {
    /// The wire made it wait for too long; another turn goes on from there.
    Waits(Box<Begun>),
    /// It has failed. What is left is to be [closed](Begun::close).
    Failed(Box<Begun>, Error),
    Over(Result<Box<TlsStream>>),
}

impl Begun {
    /// Goes on until the handshake is over, or `deadline`.
    pub(crate) fn turn(mut self: Box<Self>, deadline: Instant) -> Turn {
        match self.on_wire(deadline, Handshake::go_on) {
            Ok(()) => Turn::Over(self.finish().map(Box::new)),
            Err(Error::Deadline) => Turn::Waits(self),
            Err(error) => Turn::Failed(self, error),
        }
    }

    fn on_wire(
        &mut self,
        deadline: Instant,
        work: impl FnOnce(&mut Handshake, &mut Wire<'_>) -> Result<()>,
    ) -> Result<()> {
        let Self { handshake, sender, receiver, offer, .. } = self;
        work(handshake, &mut Wire { sender, receiver, deadline, is_exact: offer.may_open() })
    }

    /// Ready when the wire has what the next turn needs.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll_wire(
        &mut self,
        watch: &mut Watch,
        context: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        loop {
            let readable = match self.handshake.awaits() {
                Awaits::Record => Some(ready!(watch.poll_readable(context))?),
                Awaits::Nothing | Awaits::HandedOver => None,
            };
            match self.on_wire(Instant::now(), Handshake::await_wire) {
                Err(Error::Deadline) => match readable {
                    Some(readable) => readable.exhausted(),
                    None => ready!(watch.poll_news(&self.sender, context))?,
                },
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    /// Ends a handshake that failed, so that the alert arrives before the socket's end.
    pub(crate) fn close(self, deadline: Instant) {
        let _ = self.sender.close(deadline.min(Instant::now() + ALERT_LINGER));
    }

    /// The same on a runtime.
    #[cfg(feature = "tokio")]
    pub(crate) async fn close_on_runtime(self, deadline: Instant) {
        let Self { sender, receiver: _receiver, .. } = self;
        if let Ok(sender) = AsyncSender::new(sender) {
            let _ = sender.close(deadline.min(Instant::now() + ALERT_LINGER)).await;
        }
    }

    /// Makes the stream, which has the keys.
    fn finish(self) -> Result<TlsStream> {
        let Self { handshake, sender, receiver, frames, engines, mut offer, .. } = self;
        let (messages, limits) = (self.messages, self.limits);
        let Done { secrets, kept, negotiated, received } = handshake.finish()?;
        let tls13 = negotiated.protocol_version == ProtocolVersion::TLSv1_3;
        let side = match &kept {
            Kept::Client(_) => Side::Client,
            Kept::Server(_) => Side::Server,
        };
        let socket = sender.socket().clone();
        let outgoing = match offer.give_sealing(&socket, &secrets.tx, tls13)? {
            Some(given) => {
                let kernel = KernelOutflow::new(sender, given, tls13, limits)?;
                Outgoing::Kernel(Box::new(kernel))
            }
            None => {
                let (number, transmit) = secrets.tx;
                let sealing = Sealing::new(Epoch::new(number, transmit, tls13, limits)?);
                let sealing = sealing.padded_to(self.pad_to_bytes)?;
                let engine = engines.sealing;
                if engine.as_ref().is_some_and(|engine| !Bulk::suits(engine, &sealing)) {
                    let what =
                        "the engine cannot seal the records that were agreed on: use a router";
                    return Err(Error::Caller { what });
                }
                let outflow = Outflow::new(sender, frames, sealing, engine, messages);
                Outgoing::Here(Box::new(outflow))
            }
        };
        let opening_limits = engines.opening.is_some().then_some(ahead::LIMITS);
        let incoming = match offer.give_opening(&socket, &secrets.rx, tls13, &received)? {
            Some(given) => Incoming::Kernel(Box::new(KernelInflow::new(side, given, tls13))),
            None => {
                let (number, receive) = secrets.rx;
                let opening = Opening::new(Epoch::new(number, receive, tls13, opening_limits)?);
                Incoming::new(engines.opening, side, opening, &received)?
            }
        };
        let secrets = Secrets::new(kept, limits, opening_limits);
        let news = outgoing.readiness().map(|descriptor| descriptor.try_clone_to_owned());
        let news = news.transpose().map_err(|error| {
            let errno = sealift_io::Errno::from_raw(error.raw_os_error().unwrap_or(0));
            Error::Io(sealift_io::Error::System { call: "fcntl(F_DUPFD_CLOEXEC)", errno })
        })?;
        let link = Link::new(outgoing, secrets, negotiated, offer.makers, socket, news);
        let reader = TlsReader::new(link.clone(), receiver, incoming);
        Ok(TlsStream::new(reader, TlsWriter::new(link)))
    }
}
