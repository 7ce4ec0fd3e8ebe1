//! The end of writing: close_notify behind everything, and what becomes of what has not left.

use std::time::Instant;

use rustls::AlertDescription;

use super::Outflow;
use crate::alert::Alert;
use crate::bulk::Retired;
use crate::error::{Error, Result};
use crate::link::Link;

/// How the writing side ended.
pub(crate) struct Ending {
    pub(crate) sender: sealift_io::Closed,
    pub(crate) bulk: Retired,
}

impl Outflow {
    /// The kernel has the end of the stream, behind close_notify.
    pub(crate) fn stream_ended(&mut self) {
        // TCP gives it a number, as it does a byte.
        self.end_bytes = self.sealing.record_bytes(Alert::BYTES) + 1;
    }

    /// What the peer's kernel has not acknowledged of the records before close_notify; `None` if
    /// that is not known. Only what the kernel has all of can be told from what is before it.
    pub(crate) fn unacknowledged_bytes(&self) -> Option<usize> {
        let outstanding_bytes = self.sender.as_ref()?.unacknowledged_bytes().ok()?;
        Some(outstanding_bytes.saturating_sub(self.end_bytes))
    }

    /// Sends close_notify, behind which nothing is sealed.
    pub(crate) fn notify_end(&mut self, link: &Link) -> Result<()> {
        link.check()?;
        self.tend(link)?;
        if self.is_ended {
            return Err(Error::Closed);
        }
        self.send_alert(AlertDescription::CloseNotify)?;
        self.is_ended = true;
        Ok(())
    }

    /// Sends close_notify, unless that was done, and waits until the kernel has it.
    pub(crate) fn end(&mut self, link: &Link, deadline: Instant) -> Result<()> {
        if !self.is_ended {
            self.notify_end(link)?;
        }
        self.hand_over(link, deadline)
    }

    /// Sends close_notify, unless that was done, and closes the sender. What the engine has not
    /// done by the deadline is lost, and the connection aborted, so that nobody takes a part for
    /// the whole.
    pub(crate) fn close(&mut self, link: &Link, deadline: Instant) -> Result<Ending> {
        let notified = match self.is_ended {
            true => link.check(),
            false => self.notify_end(link),
        };
        let notified = notified.and_then(|()| match self.settle(link, deadline) {
            Err(Error::Deadline) => Ok(()),
            settled => settled,
        });
        if link.check().is_err() {
            // The peer is told of it.
            let _ = self.see_off(link, deadline);
        }
        let bulk = self.retire();
        let Some(sender) = self.sender.take() else {
            return Err(notified.err().or(self.fault.clone()).unwrap_or(Error::Closed));
        };
        let sender = match bulk.unsent {
            0 => sender.close(deadline),
            _ => sender.reset(),
        };
        self.last_stats = sender.stats.clone();
        notified.map(|()| Ending { sender, bulk })
    }
}
