//! The way in of a stream: opened by who reads, ahead on an engine, or by the kernel.

#[cfg(feature = "tokio")]
use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::ahead::{Ahead, OpeningEngine};
use crate::error::{Error, Result};
use crate::inflow::{Counts, Inflow, Step};
use crate::ktls::KernelInflow;
use crate::opening::Opening;
use crate::post_handshake::Side;
use crate::secrets::Secrets;

pub(crate) enum Incoming {
    Direct(Inflow),
    Ahead(Box<Ahead>),
    Kernel(Box<KernelInflow>),
}

impl Incoming {
    /// `received` came with the end of the handshake, behind it.
    ///
    /// # Errors
    /// [`Error::Caller`] if the engine cannot open such records.
    pub(crate) fn new(
        engine: Option<OpeningEngine>,
        side: Side,
        opening: Opening,
        received: &[u8],
    ) -> Result<Self> {
        match engine {
            None => Ok(Self::Direct(Inflow::new(side, opening, received))),
            Some(engine) if Ahead::suits(&engine, &opening) => {
                Ok(Self::Ahead(Box::new(Ahead::new(side, opening, received, engine))))
            }
            Some(_) => {
                let what = "the engine cannot open the records that were agreed on: use a router";
                Err(Error::Caller { what })
            }
        }
    }

    /// Where to receive to; there is room when [`Step::Starved`], unless a step receives by itself.
    pub(crate) fn room(&mut self) -> Option<&mut [u8]> {
        match self {
            Self::Direct(inflow) => Some(inflow.room()),
            Self::Ahead(ahead) => ahead.room(),
            Self::Kernel(_) => None,
        }
    }

    /// So many bytes were received there.
    pub(crate) fn received(&mut self, count: usize) {
        match self {
            Self::Direct(inflow) => inflow.received(count),
            Self::Ahead(ahead) => ahead.received(count),
            Self::Kernel(_) => {}
        }
    }

    /// Gives back the room that nothing lies in. What an engine reads and writes stays.
    pub(crate) fn rest(&mut self) {
        match self {
            Self::Direct(inflow) => inflow.rest(),
            Self::Ahead(_) => {}
            Self::Kernel(inflow) => inflow.rest(),
        }
    }

    /// Whether it is better to receive more at once, if more is there.
    pub(crate) fn is_hungry(&self) -> bool {
        match self {
            Self::Direct(_) | Self::Kernel(_) => false,
            Self::Ahead(ahead) => ahead.is_hungry(),
        }
    }

    /// See [`Inflow::at_hand_bytes`]; `None` if it is not opened by who reads.
    #[cfg(feature = "tokio")]
    pub(crate) fn at_hand_bytes(&self) -> Option<usize> {
        match self {
            Self::Direct(inflow) => Some(inflow.at_hand_bytes()),
            Self::Ahead(_) | Self::Kernel(_) => None,
        }
    }

    /// Takes note of the connection's end behind what was received, which was not waited for.
    pub(crate) fn ends(&mut self, error: Error) {
        if let Self::Ahead(ahead) = self {
            ahead.ends(error);
        }
    }

    /// Gives the engine what was received.
    pub(crate) fn begin(&mut self) -> Result<()> {
        match self {
            Self::Direct(_) | Self::Kernel(_) => Ok(()),
            Self::Ahead(ahead) => ahead.begin(),
        }
    }

    /// Goes one step on; see [`Inflow::step`] and [`Ahead::step`].
    pub(crate) fn step(&mut self, into: &mut [u8]) -> Result<Step> {
        match self {
            Self::Direct(inflow) => inflow.step(into),
            Self::Ahead(ahead) => ahead.step(into),
            Self::Kernel(inflow) => inflow.step(into),
        }
    }

    /// Opens with the peer's next key from now on.
    pub(crate) fn rotate(&mut self, secrets: &mut Secrets) -> Result<()> {
        match self {
            Self::Direct(inflow) => inflow.rotate(secrets.next_opening()?),
            Self::Ahead(ahead) => ahead.rotate(secrets.next_opening()?),
            Self::Kernel(inflow) => inflow.rotate(secrets)?,
        }
        Ok(())
    }

    /// See [`Control::forgive`](crate::control::Control::forgive).
    pub(crate) fn forgive(&mut self) {
        match self {
            Self::Direct(inflow) => inflow.forgive(),
            Self::Ahead(ahead) => ahead.forgive(),
            Self::Kernel(inflow) => inflow.forgive(),
        }
    }

    pub(crate) fn counts(&self) -> &Counts {
        match self {
            Self::Direct(inflow) => &inflow.counts,
            Self::Ahead(ahead) => &ahead.counts,
            Self::Kernel(inflow) => &inflow.counts,
        }
    }

    /// Sleeps until its engine may have got further, or until `until`.
    pub(crate) fn wait(&mut self, until: Instant) {
        if let Self::Ahead(ahead) = self {
            ahead.wait(until);
        }
    }

    /// Whether a read that did not go on would wait for its engine, and not for the peer.
    #[cfg(feature = "tokio")]
    pub(crate) fn awaits_engine(&mut self) -> bool {
        match self {
            Self::Direct(_) | Self::Kernel(_) => false,
            Self::Ahead(ahead) => ahead.awaits_engine(),
        }
    }

    /// Whether its engine has jobs.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_engine_busy(&mut self) -> bool {
        match self {
            Self::Direct(_) | Self::Kernel(_) => false,
            Self::Ahead(ahead) => ahead.is_engine_busy(),
        }
    }

    /// Readable while its engine may have got further, if there is one that works by itself.
    #[cfg(feature = "tokio")]
    pub(crate) fn readiness(&mut self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Direct(_) | Self::Kernel(_) => None,
            Self::Ahead(ahead) => ahead.readiness(),
        }
    }

    /// Nothing is read any more.
    pub(crate) fn close(&mut self) {
        if let Self::Ahead(ahead) = self {
            ahead.close();
        }
    }
}
