//! A stream whose handshake is under way.
//!
//! ```text
//!  Begun ──turn──► rustls computes ──► over: TlsStream
//!    ▲                   └─ waits for the wire: as a thread does, or
//!    └──── on_wire ◄──────── as a task does, with nothing but this to hold
//! ```

#[cfg(feature = "tokio")]
use std::task::{Context, Poll, ready};
use std::time::Instant;

#[cfg(feature = "tokio")]
use sealift_io::{Sender, Watch};

use crate::error::{Error, Result};
#[cfg(feature = "tokio")]
use crate::handshake::Awaits;
use crate::handshake::{Handshake, Wire};
use crate::parting::Parting;
use crate::parts::Parts;
use crate::stream::TlsStream;

pub(crate) struct Begun {
    pub(crate) handshake: Handshake,
    pub(crate) parts: Parts,
}

/// How far a turn came.
pub(crate) enum Turn {
    /// The wire made it wait for too long; another turn goes on from there.
    Waits(Box<Begun>),
    /// It has failed. What is left is to be [closed](Parting::close).
    Failed(Parting, Error),
    Over(Box<TlsStream>),
}

impl Begun {
    /// Goes on until the handshake is over, or `deadline`.
    pub(crate) fn turn(mut self: Box<Self>, deadline: Instant) -> Turn {
        match self.on_wire(deadline, Handshake::go_on) {
            Ok(()) => self.finish(),
            Err(Error::Deadline) => Turn::Waits(self),
            Err(error) => Turn::Failed(self.part(), error),
        }
    }

    fn finish(self) -> Turn {
        let Self { handshake, parts } = self;
        let made = match handshake.finish() {
            Ok(done) => parts.assemble(done),
            Err(error) => Err((Parting::from(parts.sender), error)),
        };
        match made {
            Ok(stream) => Turn::Over(Box::new(stream)),
            Err((parting, error)) => Turn::Failed(parting, error),
        }
    }

    fn on_wire(
        &mut self,
        deadline: Instant,
        work: impl FnOnce(&mut Handshake, &mut Wire<'_>) -> Result<()>,
    ) -> Result<()> {
        let Self { handshake, parts: Parts { sender, receiver, offer, .. } } = self;
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
                    None => ready!(watch.poll_news(self.sender(), context))?,
                },
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn sender(&self) -> &Sender {
        &self.parts.sender
    }

    /// Gives the handshake up.
    pub(crate) fn part(self) -> Parting {
        Parting::from(self.parts.sender)
    }
}
