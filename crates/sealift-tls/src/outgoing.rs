//! The way out of a stream: sealed here, or by the kernel.

use std::io::IoSlice;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use bytes::Bytes;
use rustls::AlertDescription;
use sealift_io::Tally;

use crate::error::{Error, Result, Unfinished};
use crate::ktls::KernelOutflow;
use crate::link::Link;
use crate::outflow::{Counts, Ending, Outflow};
use crate::parting::Parting;
use crate::stats::Offload;

pub(crate) enum Outgoing {
    Here(Box<Outflow>),
    Kernel(Box<KernelOutflow>),
}

/// The same call to whoever seals.
macro_rules! whoever {
    ($outgoing:expr, $outflow:pat => $call:expr) => {
        match $outgoing {
            Outgoing::Here($outflow) => $call,
            Outgoing::Kernel($outflow) => $call,
        }
    };
}

impl Outgoing {
    /// See [`Outflow::write`].
    pub(crate) fn write(
        &mut self,
        link: &Link,
        slices: &[IoSlice<'_>],
        deadline: Instant,
    ) -> Result<usize> {
        whoever!(self, outflow => outflow.write(link, slices, deadline))
    }

    /// See [`Outflow::write_file`].
    pub(crate) fn write_file(
        &mut self,
        link: &Link,
        file: BorrowedFd<'_>,
        range: Range<u64>,
        deadline: Instant,
    ) -> Result<u64, Unfinished> {
        whoever!(self, outflow => outflow.write_file(link, file, range, deadline))
    }

    /// See [`Outflow::write_owned`].
    pub(crate) fn write_owned(
        &mut self,
        link: &Link,
        bytes: &mut Bytes,
        deadline: Instant,
    ) -> Result<()> {
        whoever!(self, outflow => outflow.write_owned(link, bytes, deadline))
    }

    /// See [`Outflow::request_key_update`].
    pub(crate) fn request_key_update(&mut self, link: &Link, deadline: Instant) -> Result<()> {
        whoever!(self, outflow => outflow.request_key_update(link, deadline))
    }

    /// See [`Outflow::send_last`].
    pub(crate) fn send_last(
        &mut self,
        link: &Link,
        description: AlertDescription,
        deadline: Instant,
    ) -> Result<()> {
        match self {
            Self::Here(outflow) => outflow.send_last(link, description, deadline),
            Self::Kernel(outflow) => outflow.send_last(link, description),
        }
    }

    /// Tells the peer why there will be no stream; what is left is to be closed.
    pub(crate) fn part(self, error: &Error) -> Parting {
        // A failure of this end, unless it has a name.
        let description = error.alert().unwrap_or(AlertDescription::InternalError);
        whoever!(self, mut outflow => {
            // The peer may be gone.
            let _ = outflow.send_alert(description);
            outflow.into_sender().into()
        })
    }

    /// See [`Outflow::tend`].
    pub(crate) fn tend(&mut self, link: &Link) -> Result<()> {
        whoever!(self, outflow => outflow.tend(link))
    }

    /// See [`Outflow::flush`].
    pub(crate) fn flush(&mut self, link: &Link, deadline: Instant) -> Result<Tally> {
        whoever!(self, outflow => outflow.flush(link, deadline))
    }

    /// See [`Outflow::hand_over`].
    pub(crate) fn hand_over(&mut self, link: &Link, deadline: Instant) -> Result<()> {
        whoever!(self, outflow => outflow.hand_over(link, deadline))
    }

    /// See [`Outflow::unacknowledged_bytes`].
    pub(crate) fn unacknowledged_bytes(&self) -> Option<usize> {
        whoever!(self, outflow => outflow.unacknowledged_bytes())
    }

    /// See [`Outflow::stream_ended`].
    pub(crate) fn stream_ended(&mut self) {
        match self {
            Self::Here(outflow) => outflow.stream_ended(),
            // It counts its records, and nothing else.
            Self::Kernel(_) => {}
        }
    }

    /// See [`Outflow::notify_end`].
    #[cfg(feature = "tokio")]
    pub(crate) fn notify_end(&mut self, link: &Link) -> Result<()> {
        whoever!(self, outflow => outflow.notify_end(link))
    }

    /// See [`Outflow::end`].
    pub(crate) fn end(&mut self, link: &Link, deadline: Instant) -> Result<()> {
        whoever!(self, outflow => outflow.end(link, deadline))
    }

    /// See [`Outflow::close`].
    pub(crate) fn close(&mut self, link: &Link, deadline: Instant) -> Result<Ending> {
        whoever!(self, outflow => outflow.close(link, deadline))
    }

    pub(crate) fn counts(&self) -> Counts {
        whoever!(self, outflow => outflow.counts())
    }

    /// See [`Outflow::offload`].
    pub(crate) fn offload(&self) -> Option<Offload> {
        match self {
            Self::Here(outflow) => outflow.offload(),
            Self::Kernel(_) => None,
        }
    }

    /// See [`Outflow::ask`].
    pub(crate) fn ask(&mut self, link: &Link) -> Result<()> {
        match self {
            Self::Here(outflow) => outflow.ask(link),
            Self::Kernel(_) => Ok(()),
        }
    }

    /// See [`Outflow::readiness`].
    pub(crate) fn readiness(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Here(outflow) => outflow.readiness(),
            Self::Kernel(_) => None,
        }
    }

    /// See [`Outflow::is_idle`].
    #[cfg(feature = "tokio")]
    pub(crate) fn is_idle(&self) -> bool {
        match self {
            Self::Here(outflow) => outflow.is_idle(),
            Self::Kernel(_) => true,
        }
    }

    /// See [`Outflow::leave`].
    pub(crate) fn leave(&mut self, link: &Link) {
        whoever!(self, outflow => outflow.leave(link));
    }

    /// See [`Outflow::is_stuck`].
    pub(crate) fn is_stuck(&self) -> bool {
        match self {
            Self::Here(outflow) => outflow.is_stuck(),
            Self::Kernel(_) => false,
        }
    }

    /// See [`Outflow::standing`].
    pub(crate) fn standing(&self) -> (bool, bool, usize) {
        match self {
            Self::Here(outflow) => outflow.standing(),
            Self::Kernel(outflow) => (outflow.is_in_debt(), false, 0),
        }
    }

    /// See [`Outflow::reap`].
    pub(crate) fn reap(&mut self) -> bool {
        match self {
            Self::Here(outflow) => outflow.reap(),
            Self::Kernel(_) => false,
        }
    }

    /// See [`Outflow::drain`].
    pub(crate) fn drain(&mut self) {
        match self {
            Self::Here(outflow) => _ = outflow.drain(),
            Self::Kernel(_) => {}
        }
    }

    /// See [`Outflow::sender_stats`].
    pub(crate) fn sender_stats(&self) -> sealift_io::Stats {
        whoever!(self, outflow => outflow.sender_stats())
    }

    /// See [`Outflow::sender`].
    #[cfg(feature = "tokio")]
    pub(crate) fn sender(&mut self) -> Result<&mut sealift_io::Sender> {
        whoever!(self, outflow => outflow.sender())
    }
}
