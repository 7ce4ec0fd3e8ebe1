//! The sending half over TLS: read into one lease, sealed from it into others, until all is
//! acknowledged.
//!
//! ```text
//!  source.fill ──► lease ──► TlsWriter ──seal──► leases ──► kernel
//!                    └─ with an engine (--engine), the next is read while this one is sealed
//!  Answers (a thread) ◄── TlsReader ◄── what the other end says: discarded, but for its refusal
//! ```
//!
//! The other end may echo, or ask for a new key: so it is always listened to, or it would wait for
//! us as we do for it.
//!
//! Success means: the source was read to its end, close_notify followed its last byte, the other
//! end's kernel acknowledged both, and if it asked who this end is, it has let it in
//! (`admission.rs`). Anything else resets the connection.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use sealift::tls::{Bytes, Error, Refused, Stats, TlsWriter};
use sealift::{Lease, Pool};

use super::admission::Admission;
use super::answers::Answers;
use super::{FRAMES, Sealed};
use crate::failure::{Action, Failure};
use crate::progress::{Progress, Waiting};
use crate::quantity;
use crate::transfer::connection::{self, Peer};
use crate::transfer::outflow::how_it_left;
use crate::transfer::patience::{NAP, Patience};
use crate::transfer::source::{Filled, Readiness, Source};

/// What is read at a time: as much as fills a frame.
const READ_BYTES: usize = 1 << 20;
/// Frames to read into beside an engine: one for each that may be under way, one that waits for
/// room, and one that is read into.
const ENGINE_FRAMES: usize = FRAMES + 2;
/// How long completions are waited for where the socket reported something.
const GLANCE: Duration = Duration::from_millis(2);
/// The pause between two looks at what is acknowledged, at first and at most.
const ACKNOWLEDGED_EVERY: (Duration, Duration) =
    (Duration::from_micros(100), Duration::from_millis(20));
/// How long the other end may take to object after it has everything. Most end their side at once,
/// and are not waited for any longer.
const REFUSAL_WAIT: Duration = Duration::from_secs(2);
/// How long the reason may take to be read where writing failed.
const REASON_WAIT: Duration = Duration::from_millis(200);

/// What was read, given away to be sealed.
struct Read(Lease);

impl AsRef<[u8]> for Read {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// One transfer outwards.
#[derive(Debug)]
pub(in crate::transfer) struct SealedOutflow {
    writer: TlsWriter,
    answers: Answers,
    socket: OwnedFd,
    peer: Peer,
    admission: Option<Arc<Admission>>,
    version: &'static str,
    /// Where the source is read to. A frame is home again when its bytes are sealed.
    pool: Pool,
    url: String,
    progress: Progress,
    patience: Patience,
    bytes: u64,
}

impl SealedOutflow {
    pub(in crate::transfer) fn new(
        sealed: Sealed,
        url: String,
        progress: Progress,
        patience: Patience,
    ) -> Result<Self, Failure> {
        let Sealed { stream, socket, peer, admission, has_engine, agreed } = sealed;
        let frames = if has_engine { ENGINE_FRAMES } else { 1 };
        let pool = Pool::builder().frames(frames).frame_bytes(READ_BYTES).huge_pages(false);
        let pool = pool.build().map_err(|error| Failure::library(Action::SetUp, &url, error))?;
        let (reader, writer) = stream.split();
        let answers = Answers::listen(reader)
            .map_err(|error| Failure::system(Action::SetUp, "a thread", error))?;
        let version = agreed.version;
        Ok(Self {
            writer,
            answers,
            socket,
            peer,
            admission,
            version,
            pool,
            url,
            progress,
            patience,
            bytes: 0,
        })
    }

    /// Sends all of `source` and sees it acknowledged. After an error the connection is reset.
    pub(in crate::transfer) fn run(&mut self, source: &mut Source) -> Result<(), Failure> {
        let sent = self.pump(source).and_then(|()| self.finish());
        match &sent {
            Ok(()) => {
                connection::disarm(self.socket.as_fd());
                // Wakes who listens; where the other end is gone, it is awake.
                let _ = shutdown(&self.socket, Shutdown::Read);
            }
            Err(_) => connection::reset(self.socket.as_fd()),
        }
        self.answers.stop();
        sent
    }

    /// Bytes sealed so far.
    pub(in crate::transfer) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that came from the other end and were thrown away.
    pub(in crate::transfer) fn discarded(&self) -> u64 {
        self.answers.discarded()
    }

    /// The stream's own figures.
    pub(in crate::transfer) fn stats(&self) -> Stats {
        self.writer.stats()
    }

    /// How the bytes left, in words.
    pub(in crate::transfer) fn how(&self) -> String {
        match how_it_left(&self.stats().sender, &self.peer) {
            how if how.is_empty() => self.version.to_owned(),
            how => format!("{}, {how}", self.version),
        }
    }

    fn pump(&mut self, source: &mut Source) -> Result<(), Failure> {
        loop {
            match source.ready(self.socket.as_fd(), NAP)? {
                Readiness::Ready => {
                    let mut lease = self.lease()?;
                    match source.fill(&mut lease)? {
                        Filled::Bytes(_) => self.seal(lease)?,
                        // Whatever it was that looked like bytes may stay, and must not be a busy
                        // loop.
                        Filled::Nothing => std::thread::sleep(GLANCE),
                        Filled::End => return Ok(()),
                    }
                }
                Readiness::Silent => {}
                Readiness::PeerFailed => self.ask_after_peer()?,
            }
            self.look(Waiting::Source)?;
        }
    }

    /// A frame to read into.
    fn lease(&mut self) -> Result<Lease, Failure> {
        loop {
            match self.pool.lease_before(Instant::now() + NAP) {
                Ok(lease) => return Ok(lease),
                Err(sealift::Error::Full) => self.look(Waiting::Peer)?,
                Err(error) => return Err(Failure::library(Action::Send, &self.url, error)),
            }
        }
    }

    /// Seals what was read, or has it sealed while the next is read.
    fn seal(&mut self, lease: Lease) -> Result<(), Failure> {
        let mut rest = Bytes::from_owner(Read(lease));
        while !rest.is_empty() {
            let before = rest.len();
            self.writer.set_write_deadline(Some(Instant::now() + NAP));
            rest = match self.writer.send_owned(rest) {
                Ok(()) => Bytes::new(),
                Err(Refused { rest, error: Error::Deadline }) => rest,
                Err(refused) => return Err(self.failed(refused.error)),
            };
            self.bytes += (before - rest.len()) as u64;
            self.look(Waiting::Peer)?;
        }
        Ok(())
    }

    /// Ends the stream behind the last byte of the source, waits until the other end's kernel has
    /// everything, and hears whether the other end objects.
    fn finish(&mut self) -> Result<(), Failure> {
        self.end()?;
        self.await_acknowledged()?;
        let closed = self.writer.close(Instant::now() + self.patience.limit());
        let closed = closed.map_err(|error| self.failed(error))?;
        match closed.error {
            Some(error) => return Err(self.failed(error)),
            None if closed.aborted => return Err(self.patience.exhausted()),
            None => {}
        }
        if let Some(admission) = self.admission.clone() {
            self.answers.wait(REFUSAL_WAIT);
            self.await_admission(&admission)?;
        }
        self.answers.failure().map_or(Ok(()), |error| Err(self.failed(error)))
    }

    /// Sends close_notify and the end at once, without waiting for what is before them to be
    /// acknowledged: the other end's kernel may take 40 ms for that, unless its program answers.
    fn end(&mut self) -> Result<(), Failure> {
        loop {
            match self.writer.end(Instant::now() + NAP) {
                Ok(()) => return Ok(()),
                Err(Error::Deadline) => self.look(Waiting::Peer)?,
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    fn await_acknowledged(&mut self) -> Result<(), Failure> {
        let (mut pause, longest) = ACKNOWLEDGED_EVERY;
        loop {
            // In this order: the other end's orderly end makes the connection go, too, and then the
            // count is zero.
            let is_gone = connection::is_gone(self.socket.as_fd());
            if self.writer.unacknowledged_bytes() == Some(0) {
                return Ok(());
            }
            let died_of = connection::death(self.socket.as_fd());
            if let Some(errno) = died_of.or(is_gone.then_some(Errno::PIPE)) {
                return Err(self.died(errno));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(longest);
            self.look(Waiting::Peer)?;
        }
    }

    /// Waits until this end is not to be refused any more: what was sent is nothing until then.
    /// A ticket says so, or close_notify; a connection that just ends says nothing.
    fn await_admission(&self, admission: &Admission) -> Result<(), Failure> {
        let until = Instant::now() + admission.within;
        self.progress.wait_for(&format!("waiting to be let in by {}", self.url));
        while admission.is_pending() && self.answers.wait(NAP) {
            if Instant::now() >= until {
                let within = quantity::duration(admission.within);
                return Err(Failure::explained(
                    Action::Send,
                    &self.url,
                    format!("it neither took nor refused this end's certificate within {within}"),
                    "look at the other end, or give it longer with --timeout",
                ));
            }
        }
        // The ticket may have been the last that it said.
        if admission.is_pending() && self.answers.is_gone() {
            return Err(Failure::explained(
                Action::Send,
                &self.url,
                "it hung up before it took this end's certificate".to_owned(),
                "look at the other end: it may not have what was sent",
            ));
        }
        Ok(())
    }

    /// Whether the socket reports the end of the connection, or something else.
    fn ask_after_peer(&mut self) -> Result<(), Failure> {
        let socket = self.socket.as_fd();
        let errno = connection::death(socket);
        match errno.or_else(|| connection::is_gone(socket).then_some(Errno::PIPE)) {
            Some(errno) => Err(self.died(errno)),
            // Notifications, which the sender takes.
            None => match self.writer.flush(Instant::now() + GLANCE) {
                Ok(_) | Err(Error::Deadline) => Ok(()),
                Err(error) => Err(self.failed(error)),
            },
        }
    }

    /// Hears whether the other end gave up, shows the figures, and asks whether it is still worth
    /// waiting.
    fn look(&mut self, waiting: Waiting) -> Result<(), Failure> {
        if let Some(error) = self.answers.failure() {
            return Err(self.failed(error));
        }
        if !self.progress.is_due() {
            return Ok(());
        }
        let outstanding = self.writer.unacknowledged_bytes().unwrap_or(0) as u64;
        let stalled = self.patience.look((self.bytes, outstanding), waiting)?;
        let how = self.how();
        self.progress.show(self.bytes.saturating_sub(outstanding), &how, Some(stalled));
        Ok(())
    }

    /// The connection is gone.
    fn died(&self, errno: Errno) -> Failure {
        match self.answers.reason(REASON_WAIT) {
            Some(error) => self.failed(error),
            None => Failure::system(Action::Send, &self.url, errno),
        }
    }

    /// What the other end said before it hung up explains more than that it hung up.
    fn failed(&self, error: Error) -> Failure {
        let said = match &error {
            Error::Io(_) | Error::Closed => self.answers.reason(REASON_WAIT),
            _ => None,
        };
        super::failed(Action::Send, &self.url, &said.unwrap_or(error))
    }
}
