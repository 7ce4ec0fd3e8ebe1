//! The receiving half over TLS: opened into one lease, and written from there, until close_notify.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use sealift::tls::{Error, Stats, TlsStream};
use sealift::{Lease, Pool};

use super::Sealed;
use crate::failure::{Action, Failure};
use crate::progress::{Progress, Waiting};
use crate::transfer::connection;
use crate::transfer::patience::{NAP, Patience};
use crate::transfer::target::Target;

/// Where records are opened to: more than is received at a time, so that each fits.
const OPENED_BYTES: usize = 256 * 1024;
/// How long this end's own close_notify may take. The other end may be gone: it has sent all.
const FAREWELL: Duration = Duration::from_secs(1);

/// One transfer inwards.
#[derive(Debug)]
pub(in crate::transfer) struct SealedInflow<'a> {
    stream: TlsStream,
    socket: OwnedFd,
    target: &'a Target,
    lease: Lease,
    version: &'static str,
    url: String,
    progress: Progress,
    patience: Patience,
    bytes: u64,
}

impl<'a> SealedInflow<'a> {
    pub(in crate::transfer) fn new(
        sealed: Sealed,
        target: &'a Target,
        url: String,
        progress: Progress,
        patience: Patience,
    ) -> Result<Self, Failure> {
        let Sealed { stream, socket, agreed, .. } = sealed;
        let lease = Pool::builder().frames(1).frame_bytes(OPENED_BYTES).huge_pages(false).build();
        let lease = lease.and_then(|pool| pool.lease_before(Instant::now() + NAP));
        let lease = lease.map_err(|error| Failure::library(Action::SetUp, &url, error))?;
        let version = agreed.version;
        Ok(Self { stream, socket, target, lease, version, url, progress, patience, bytes: 0 })
    }

    /// Receives until close_notify. After an error the connection is reset.
    pub(in crate::transfer) fn run(&mut self) -> Result<(), Failure> {
        let received = self.pump();
        match &received {
            Ok(()) => {
                connection::disarm(self.socket.as_fd());
                let farewell = self.stream.close(Instant::now() + FAREWELL);
                tracing::debug!(?farewell, "close_notify");
            }
            Err(_) => connection::reset(self.socket.as_fd()),
        }
        received
    }

    /// Bytes that arrived at the destination.
    pub(in crate::transfer) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The stream's own figures.
    pub(in crate::transfer) fn stats(&self) -> Stats {
        self.stream.stats()
    }

    fn pump(&mut self) -> Result<(), Failure> {
        loop {
            let (reader, _) = self.stream.halves();
            reader.set_read_deadline(Some(Instant::now() + NAP));
            match reader.receive(self.lease.frame_mut()) {
                Ok(0) => return Ok(()),
                Ok(count) => self.write(count)?,
                Err(Error::Deadline) => {}
                Err(error) => return Err(super::failed(Action::Receive, &self.url, &error)),
            }
            self.look(Waiting::Peer)?;
        }
    }

    /// Writes the first `count` bytes of the lease to the destination.
    fn write(&mut self, count: usize) -> Result<(), Failure> {
        let mut written = 0;
        while written < count {
            let taken = self.target.write_some(&self.lease.frame_mut()[written..count])?;
            written += taken;
            self.bytes += taken as u64;
            if taken == 0 {
                self.look(Waiting::Destination)?;
            }
        }
        Ok(())
    }

    fn look(&mut self, waiting: Waiting) -> Result<(), Failure> {
        if self.progress.is_due() {
            let stalled = self.patience.look((self.bytes, 0), waiting)?;
            self.progress.show(self.bytes, self.version, Some(stalled));
        }
        Ok(())
    }
}
