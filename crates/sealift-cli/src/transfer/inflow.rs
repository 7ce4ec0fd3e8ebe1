//! The receiving half: from a socket to a destination, with as few copies as both allow.
//!
//! ```text
//!            ┌─ direct ──── splice ───────────────────► pipe               no copy
//!  socket ───┼─ spliced ─── splice ──► pipe ── splice ─► file, device      one copy, into the file
//!            └─ copied ──── Receiver ──► lease ── write ► anything         two copies
//! ```
//!
//! It begins with the best way that fits the destination, and falls back to copying where the
//! kernel will not splice; what was on its way then is not lost. A splice that brings nothing is
//! not the end: it stops at urgent bytes (`tcp_read_sock`), which are then copied past, in line.

use std::fmt;
use std::io::{IoSliceMut, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice,
};
use sealift::{Lease, Pool, Receiver};
use serde::Serialize;

use super::connection::{self, Connection};
use super::patience::{NAP, Patience, poll_for};
use super::target::Target;
use crate::failure::{Action, Failure};
use crate::progress::{Progress, Waiting};

/// What the pipe between socket and file holds at most; more is refused to ordinary users.
const PIPE_BYTES: usize = 1 << 20;
/// The lease that is copied through where nothing can be spliced.
const COPY_BYTES: usize = 512 * 1024;
/// What is copied at once where splicing stopped at urgent bytes.
const PAST_MARK_BYTES: usize = 4096;

/// How the bytes come in, and why not better.
#[derive(Debug)]
enum Way {
    Direct,
    Spliced { into: OwnedFd, out: OwnedFd, room: usize },
    Copied { lease: Lease },
}

/// The figures of a transfer inwards.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    /// `direct`, `spliced` or `copied`, as the drawing in the source says.
    pub(crate) way: &'static str,
    /// Why not a better way.
    pub(crate) reason: Option<String>,
    /// Copies that the processor made of each byte after it was received.
    pub(crate) copies_per_byte: f64,
    pub(crate) system_calls: u64,
    pub(crate) system_calls_per_byte: f64,
}

/// One transfer inwards.
#[derive(Debug)]
pub(crate) struct Inflow<'a> {
    receiver: Receiver,
    target: &'a Target,
    way: Way,
    reason: Option<String>,
    url: String,
    progress: Progress,
    patience: Patience,
    bytes: u64,
    /// Copies made, byte by byte.
    copied: u64,
    system_calls: u64,
}

/// What one step brought.
enum Step {
    Moved(usize),
    /// Nothing yet; whose turn it is.
    Waited(Waiting),
    End,
}

impl<'a> Inflow<'a> {
    pub(crate) fn new(
        connection: Connection,
        target: &'a Target,
        url: String,
        progress: Progress,
        patience: Patience,
    ) -> Result<Self, Failure> {
        let receiver = Receiver::new(connection.socket)
            .map_err(|error| Failure::library(Action::SetUp, &url, error))?;
        let set_up = |errno: Errno| Failure::system(Action::SetUp, &url, errno);
        let (way, reason) = if target.appends() {
            (Way::copied(&url)?, Some("the destination is open for appending".to_owned()))
        } else if target.is_pipe() {
            let _ = fcntl_setpipe_size(target.file(), PIPE_BYTES);
            (Way::Direct, None)
        } else {
            (Way::spliced().map_err(set_up)?, None)
        };
        let inflow = Self {
            receiver,
            target,
            way,
            reason,
            url,
            progress,
            patience,
            bytes: 0,
            copied: 0,
            system_calls: 0,
        };
        tracing::debug!(way = %inflow.way, reason = ?inflow.reason, "way chosen");
        Ok(inflow)
    }

    /// Receives until the other end closes. After an error the connection is reset.
    pub(crate) fn run(&mut self) -> Result<(), Failure> {
        let received = self.pump();
        match &received {
            Ok(()) => connection::disarm(self.receiver.as_fd()),
            Err(_) => connection::reset(self.receiver.as_fd()),
        }
        received
    }

    /// Bytes that arrived at the destination.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn figures(&self) -> Figures {
        let per_byte = |count: u64| count as f64 / self.bytes.max(1) as f64;
        Figures {
            way: self.way.name(),
            reason: self.reason.clone(),
            copies_per_byte: per_byte(self.copied),
            system_calls: self.system_calls,
            system_calls_per_byte: per_byte(self.system_calls),
        }
    }

    fn pump(&mut self) -> Result<(), Failure> {
        let mut waiting = Waiting::Peer;
        loop {
            let step = match &self.way {
                Way::Direct => self.splice_direct()?,
                Way::Spliced { .. } => self.splice_through()?,
                Way::Copied { .. } => self.copy()?,
            };
            match step {
                Step::Moved(count) => self.bytes += count as u64,
                Step::Waited(whose) => waiting = whose,
                Step::End => return Ok(()),
            }
            if self.progress.is_due() {
                let stalled = self.patience.look((self.bytes, 0), waiting)?;
                self.progress.show(self.bytes, self.way.name(), Some(stalled));
            }
        }
    }

    /// Straight from the socket into the destination, which is a pipe.
    fn splice_direct(&mut self) -> Result<Step, Failure> {
        if !self.readable()? {
            return Ok(Step::Waited(Waiting::Peer));
        }
        self.system_calls += 1;
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        match splice(&self.receiver, None, self.target.file(), None, PIPE_BYTES, flags) {
            Ok(0) => self.copy_past_mark(),
            Ok(count) => Ok(Step::Moved(count)),
            // The socket has something, so the pipe has no room.
            Err(Errno::AGAIN) => {
                self.writable()?;
                Ok(Step::Waited(Waiting::Destination))
            }
            Err(Errno::INTR) => Ok(Step::Waited(Waiting::Peer)),
            Err(Errno::INVAL) => self.fall_back("the kernel does not splice from this socket"),
            Err(errno) if is_of_destination(errno) => Err(self.write_failed(errno)),
            Err(errno) => Err(self.receive_failed(errno)),
        }
    }

    /// From the socket into the pipe between, and all of that into the destination.
    fn splice_through(&mut self) -> Result<Step, Failure> {
        if !self.readable()? {
            return Ok(Step::Waited(Waiting::Peer));
        }
        let Way::Spliced { into, room, .. } = &self.way else { return Ok(Step::Moved(0)) };
        self.system_calls += 1;
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        match splice(&self.receiver, None, into, None, *room, flags) {
            Ok(0) => self.copy_past_mark(),
            Ok(count) => self.empty_pipe(count).map(|()| Step::Moved(0)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Step::Waited(Waiting::Peer)),
            Err(Errno::INVAL) => self.fall_back("the kernel does not splice from this socket"),
            Err(errno) => Err(self.receive_failed(errno)),
        }
    }

    /// Moves `left` bytes out of the pipe between.
    fn empty_pipe(&mut self, mut left: usize) -> Result<(), Failure> {
        while left > 0 {
            let Way::Spliced { out, .. } = &self.way else { return Ok(()) };
            self.system_calls += 1;
            match splice(out, None, self.target.file(), None, left, SpliceFlags::MOVE) {
                Ok(0) => return Err(self.write_failed(Errno::IO)),
                Ok(count) => {
                    left -= count;
                    self.bytes += count as u64;
                    // A file's pages are filled from the pipe's; a device like /dev/null takes
                    // none.
                    self.copied += if self.target.is_file() { count as u64 } else { 0 };
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.writable()?,
                Err(Errno::INVAL) => {
                    self.drain_pipe(left)?;
                    self.fall_back("the kernel does not splice into this destination")?;
                    return Ok(());
                }
                Err(errno) => return Err(self.write_failed(errno)),
            }
        }
        Ok(())
    }

    /// Copies what is in the pipe between, where the destination does not take it from there.
    fn drain_pipe(&mut self, mut left: usize) -> Result<(), Failure> {
        let mut room = vec![0; left.min(64 * 1024)];
        while left > 0 {
            let Way::Spliced { out, .. } = &self.way else { return Ok(()) };
            let wanted = left.min(room.len());
            let count = rustix::io::retry_on_intr(|| rustix::io::read(out, &mut room[..wanted]));
            let count = count.map_err(|errno| self.receive_failed(errno))?;
            self.write_all(&room[..count])?;
            self.bytes += count as u64;
            self.copied += 2 * count as u64;
            left -= count;
        }
        Ok(())
    }

    /// Copies what splicing does not take, or finds that it was the end.
    fn copy_past_mark(&mut self) -> Result<Step, Failure> {
        let mut room = [0; PAST_MARK_BYTES];
        self.system_calls += 1;
        match recv(&self.receiver, &mut room, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Ok(Step::End),
            Ok((count, _)) => {
                self.write_all(&room[..count])?;
                self.copied += 2 * count as u64;
                Ok(Step::Moved(count))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Step::Waited(Waiting::Peer)),
            Err(errno) => Err(self.receive_failed(errno)),
        }
    }

    /// Through a lease.
    fn copy(&mut self) -> Result<Step, Failure> {
        let Way::Copied { lease } = &mut self.way else { return Ok(Step::Moved(0)) };
        let mut room = [IoSliceMut::new(lease.frame_mut())];
        self.system_calls += 1;
        let received = match self.receiver.receive(&mut room, Instant::now() + NAP) {
            Ok(received) => received.bytes,
            Err(sealift::Error::Deadline { .. }) => return Ok(Step::Waited(Waiting::Peer)),
            Err(error) => return Err(Failure::library(Action::Receive, &self.url, error)),
        };
        if received == 0 {
            return Ok(Step::End);
        }
        lease.set_len(received);
        // The lease is lent to the write and comes back: its pool has the one frame.
        let Way::Copied { lease } = std::mem::replace(&mut self.way, Way::Direct) else {
            return Ok(Step::Moved(0));
        };
        let written = self.write_all(&lease);
        self.way = Way::Copied { lease };
        written?;
        self.copied += 2 * received as u64;
        Ok(Step::Moved(received))
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            self.system_calls += 1;
            match self.target.file().write(bytes) {
                Ok(0) => return Err(self.write_failed(Errno::IO)),
                Ok(count) => bytes = &bytes[count..],
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::INTR) => {}
                    Some(Errno::AGAIN) => self.writable()?,
                    _ => return Err(Failure::system(Action::Write, self.target.name(), error)),
                },
            }
        }
        Ok(())
    }

    fn fall_back(&mut self, why: &str) -> Result<Step, Failure> {
        tracing::debug!(why, "falling back to copying");
        self.way = Way::copied(&self.url)?;
        self.reason = Some(why.to_owned());
        Ok(Step::Moved(0))
    }

    /// Whether the socket has something, or the end, or an error.
    fn readable(&mut self) -> Result<bool, Failure> {
        self.system_calls += 1;
        let mut polled = [PollFd::new(&self.receiver, PollFlags::IN)];
        poll_for(&mut polled, NAP).map_err(|errno| self.receive_failed(errno))?;
        Ok(!polled[0].revents().is_empty())
    }

    /// Waits until the destination takes more; shows that it is the destination's turn.
    fn writable(&mut self) -> Result<(), Failure> {
        loop {
            self.system_calls += 1;
            let mut polled = [PollFd::new(self.target.file(), PollFlags::OUT)];
            poll_for(&mut polled, NAP).map_err(|errno| self.write_failed(errno))?;
            let ready = !polled[0].revents().is_empty();
            if self.progress.is_due() {
                let stalled = self.patience.look((self.bytes, 0), Waiting::Destination)?;
                self.progress.show(self.bytes, self.way.name(), Some(stalled));
            }
            if ready {
                return Ok(());
            }
        }
    }

    fn receive_failed(&self, errno: Errno) -> Failure {
        Failure::system(Action::Receive, &self.url, errno)
    }

    fn write_failed(&self, errno: Errno) -> Failure {
        Failure::system(Action::Write, self.target.name(), errno)
    }
}

impl Way {
    fn spliced() -> Result<Self, Errno> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC)?;
        // Users have a limit on pipes' memory; a smaller pipe does, too.
        let _ = fcntl_setpipe_size(&into, PIPE_BYTES);
        let room = fcntl_getpipe_size(&into)?;
        Ok(Self::Spliced { into, out, room })
    }

    fn copied(url: &str) -> Result<Self, Failure> {
        let pool = Pool::builder().frames(1).frame_bytes(COPY_BYTES).huge_pages(false).build();
        let lease =
            pool.and_then(|pool| pool.lease_before(Instant::now() + Duration::from_secs(1)));
        let lease = lease.map_err(|error| Failure::library(Action::SetUp, url, error))?;
        Ok(Self::Copied { lease })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Spliced { .. } => "spliced",
            Self::Copied { .. } => "copied",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl AsFd for Inflow<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

/// Of a splice between the two, which side failed.
fn is_of_destination(errno: Errno) -> bool {
    matches!(errno, Errno::PIPE | Errno::NOSPC | Errno::IO | Errno::FBIG | Errno::DQUOT)
}
