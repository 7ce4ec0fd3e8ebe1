//! The sending half: from a source through leases into a `Sender`, until all is acknowledged.
//!
//! ```text
//!  pool ──lease──► source.fill ──► sender.send ──► kernel
//!   ▲                                               │
//!   └───────────── completion taken back ◄──────────┘
//! ```
//!
//! Invariants:
//! 1. Every byte that goes out was read whole and found to be still the file's (`source.rs`).
//! 2. Success means: all completions came back, the stream was shut down, and the other end's
//!    kernel acknowledged the last byte and the end. Anything else resets the connection.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use sealift::io::Stats;
use sealift::{Backend, Event, Pool, Sender};

use super::connection::{self, Connection, Peer};
use super::patience::{NAP, Patience};
use super::source::{Filled, Readiness, Source};
use crate::failure::{Action, Failure};
use crate::progress::{Progress, Waiting};

/// The memory of a transfer: `FRAMES` leases of `FRAME_BYTES`. What is read is sent while it is
/// still in the cache, and a frame is large enough for few system calls and notifications.
const FRAMES: usize = 16;
const FRAME_BYTES: usize = 512 * 1024;
/// How long a release is waited for while the source may have something at any moment.
const GLANCE: Duration = Duration::from_millis(2);
/// The pause between two looks at what is acknowledged, at first and at most.
const ACKNOWLEDGED_EVERY: (Duration, Duration) =
    (Duration::from_micros(100), Duration::from_millis(20));

/// One transfer outwards.
#[derive(Debug)]
pub(crate) struct Outflow {
    sender: Sender,
    pool: Pool,
    peer: Peer,
    url: String,
    progress: Progress,
    patience: Patience,
    /// Bytes handed to the sender.
    bytes: u64,
    discarded: u64,
}

impl Outflow {
    /// Builds the pool and the sender around a connection.
    pub(crate) fn new(
        connection: Connection,
        backend: Option<Backend>,
        url: String,
        progress: Progress,
        patience: Patience,
    ) -> Result<Self, Failure> {
        let set_up = |error| Failure::library(Action::SetUp, &url, error);
        // Of a registered huge page the kernel charges a packet with all that lies before its bytes
        // (`io_sg_from_iter` adds the offset to the truesize): buffers fill and windows close.
        let pool = Pool::builder().frames(FRAMES).frame_bytes(FRAME_BYTES).huge_pages(false);
        let pool = pool.build().map_err(set_up)?;
        let mut builder = Sender::builder().pool(&pool).messages(2 * FRAMES);
        if let Some(backend) = backend {
            builder = builder.backend(backend);
        }
        let Connection { socket, peer } = connection;
        let sender = builder.build(socket).map_err(set_up)?;
        tracing::debug!(frames = FRAMES, frame_bytes = FRAME_BYTES, "pool");
        Ok(Self { sender, pool, peer, url, progress, patience, bytes: 0, discarded: 0 })
    }

    /// Sends all of `source` and sees it acknowledged. After an error the connection is reset.
    pub(crate) fn run(&mut self, source: &mut Source) -> Result<(), Failure> {
        let sent = self.pump(source).and_then(|()| self.finish());
        match &sent {
            Ok(()) => connection::disarm(self.sender.as_fd()),
            Err(_) => connection::reset(self.sender.as_fd()),
        }
        sent
    }

    /// Bytes handed over so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that came from the other end and were thrown away.
    pub(crate) fn discarded(&self) -> u64 {
        self.discarded
    }

    /// The sender's own figures.
    pub(crate) fn stats(&self) -> Stats {
        self.sender.stats()
    }

    fn pump(&mut self, source: &mut Source) -> Result<(), Failure> {
        loop {
            while let Some(event) = self.sender.poll() {
                self.take_back(event)?;
            }
            self.discard();
            let Some(mut lease) = self.pool.try_lease() else {
                self.wait(self.nap())?;
                self.look(Waiting::Peer)?;
                continue;
            };
            let idle = self.sender.in_flight() == 0;
            let patience = if idle { NAP } else { Duration::ZERO };
            match source.ready(self.sender.as_fd(), patience)? {
                Readiness::Ready => match source.fill(&mut lease)? {
                    Filled::Bytes(count) => {
                        let accepted = self.sender.send(lease);
                        accepted.map_err(|refused| self.failed(refused.error))?;
                        self.bytes += count as u64;
                    }
                    // Whatever it was that looked like bytes may stay, and must not be a busy loop.
                    Filled::Nothing => std::thread::sleep(GLANCE),
                    Filled::End => return Ok(()),
                },
                Readiness::Silent => self.wait(GLANCE)?,
                Readiness::PeerFailed => self.ask_after_peer()?,
            }
            if self.progress.is_due() {
                let whose = if idle { Waiting::Source } else { Waiting::Peer };
                self.look(whose)?;
            }
        }
    }

    /// Waits for a completion, at most for `time`.
    fn wait(&mut self, time: Duration) -> Result<(), Failure> {
        match self.sender.wait(Instant::now() + time) {
            Ok(Some(event)) => self.take_back(event),
            Ok(None) | Err(sealift::Error::Deadline { .. }) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Throws away what the other end said. Where it waits until that is read, nothing else moves.
    fn discard(&mut self) {
        self.discarded += connection::discard_incoming(self.sender.as_fd());
    }

    /// How long to wait for a completion in one go. An other end that talks may be the one that
    /// waits, and no completion comes before it is listened to.
    fn nap(&self) -> Duration {
        if self.discarded > 0 { GLANCE } else { NAP }
    }

    /// A lease comes home by being dropped.
    fn take_back(&self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Completed(done) => done.result.map(drop).map_err(|error| self.failed(error)),
            _ => Ok(()),
        }
    }

    /// Waits for the last completion, ends the stream, and waits for the last acknowledgement.
    fn finish(&mut self) -> Result<(), Failure> {
        while self.sender.in_flight() > 0 {
            self.discard();
            self.wait(self.nap())?;
            self.look(Waiting::Peer)?;
        }
        if let Some(fault) = self.sender.fault() {
            return Err(self.failed(fault.clone()));
        }
        // What the other end said until now would make closing a reset.
        self.discard();
        if let Err(errno) = shutdown(self.sender.as_fd(), Shutdown::Write) {
            // What it died of may have been told to a send that took the rest all the same.
            let reset = if errno == Errno::NOTCONN { Errno::CONNRESET } else { errno };
            return Err(self.died(connection::death(self.sender.as_fd()).unwrap_or(reset)));
        }
        let (mut pause, longest) = ACKNOWLEDGED_EVERY;
        loop {
            let acknowledged = self.sender.is_acknowledged().map_err(|error| self.failed(error))?;
            self.discard();
            if acknowledged {
                return Ok(());
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(longest).min(self.nap());
            if self.progress.is_due() {
                self.look(Waiting::Peer)?;
            }
        }
    }

    /// The socket reported something while the source was silent.
    fn ask_after_peer(&mut self) -> Result<(), Failure> {
        let socket = self.sender.as_fd();
        match connection::death(socket) {
            Some(errno) => Err(self.died(errno)),
            // On a unix socket only a closed other end hangs up.
            None if connection::is_gone(socket) || self.peer == Peer::Unix => {
                Err(self.died(Errno::PIPE))
            }
            // Notifications, which the sender takes.
            None => self.wait(GLANCE),
        }
    }

    /// Shows the figures and asks whether it is still worth waiting.
    fn look(&mut self, waiting: Waiting) -> Result<(), Failure> {
        if !self.progress.is_due() {
            return Ok(());
        }
        let outstanding = self.sender.unacknowledged_bytes().unwrap_or(0) as u64;
        let stalled = self.patience.look((self.bytes, outstanding), waiting)?;
        let how = how_it_left(&self.sender.stats(), &self.peer);
        let out = self.bytes.saturating_sub(outstanding);
        self.progress.show(out, &how, Some(stalled));
        Ok(())
    }

    fn failed(&self, error: sealift::Error) -> Failure {
        Failure::library(Action::Send, &self.url, error)
    }

    fn died(&self, errno: Errno) -> Failure {
        Failure::system(Action::Send, &self.url, errno)
    }
}

impl AsFd for Outflow {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sender.as_fd()
    }
}

/// How much was truly zero-copy so far, or why nothing was.
pub(crate) fn how_it_left(stats: &Stats, peer: &Peer) -> String {
    let bytes = &stats.bytes;
    let because = peer.copies_because();
    if bytes.zero_copied > 0 {
        // Never rounded up to 100.
        let percent = bytes.zero_copied as u128 * 100 / u128::from(bytes.total().max(1));
        format!("zero-copy {percent}%")
    } else if bytes.total() == 0 {
        String::new()
    } else if because.is_empty() {
        "copied".to_owned()
    } else {
        format!("copied ({because})")
    }
}
