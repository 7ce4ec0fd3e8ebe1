//! The bare loops of plain system calls: `send`, and `MSG_ZEROCOPY` with its error queue.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno as CallErrno;
use rustix::net::{SendFlags, send};

use super::{Clock, PATIENCE, Sample};
use crate::error::{Error, Result};
use crate::sys::baseline::{MSG_ZEROCOPY, read_released, set_option};

/// When a `MSG_ZEROCOPY` loop reads its error queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// After each send, until it is empty, then a poll for room: the kernel's selftest with `-l 1`.
    EachSend,
    /// Only when a poll for room finds none, and at the end: the kernel's selftest as it was when
    /// the seed was measured. A sink always has room.
    WhenFull,
    /// After every so many sends, and when the kernel says that it has no room for another notice.
    Every(u64),
}

/// One plain send per message.
pub(crate) fn copy(
    socket: BorrowedFd<'_>,
    payload: &'static [u8],
    duration: Duration,
) -> Result<Sample> {
    let (mut bytes, mut messages) = (0, 0);
    let mut clock = Clock::start(duration);
    while clock.running(1) {
        bytes += send(socket, payload, SendFlags::NOSIGNAL).map_err(failed)? as u64;
        messages += 1;
    }
    let elapsed = clock.elapsed();
    Ok(Sample { bytes, messages, elapsed, zerocopied_fraction: None, syscalls: messages })
}

/// `MSG_ZEROCOPY` sends until the clock runs out; returns when the kernel holds none of them.
pub(crate) fn zero_copy(
    reading: Reading,
    socket: BorrowedFd<'_>,
    payload: &'static [u8],
    duration: Duration,
) -> Result<Sample> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1)?;
    // The selftest asks for as much.
    set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUF, 1 << 21)?;
    let mut queue = ErrorQueue::on(socket);
    let mut clock = Clock::start(duration);
    while clock.running(1) {
        queue.send(payload, reading)?;
        match reading {
            Reading::EachSend => {
                queue.read()?;
                queue.wait_for_room()?;
            }
            Reading::WhenFull => queue.wait_for_room()?,
            Reading::Every(sends) => {
                if queue.held() >= sends {
                    queue.read()?;
                }
            }
        }
    }
    queue.wait_for_release()?;
    let truly = (queue.released - queue.copied) as f64 / queue.sends.max(1) as f64;
    Ok(Sample {
        bytes: queue.bytes,
        messages: queue.sends,
        elapsed: clock.elapsed(),
        zerocopied_fraction: Some(truly),
        syscalls: queue.syscalls,
    })
}

/// A socket, what was sent on it, and what its error queue said.
struct ErrorQueue<'socket> {
    socket: BorrowedFd<'socket>,
    bytes: u64,
    /// Sends that queued bytes: each will be named by one notification.
    sends: u64,
    released: u64,
    copied: u64,
    syscalls: u64,
}

impl<'socket> ErrorQueue<'socket> {
    fn on(socket: BorrowedFd<'socket>) -> Self {
        Self { socket, bytes: 0, sends: 0, released: 0, copied: 0, syscalls: 0 }
    }

    /// Sends whose memory the kernel still holds, as far as was read.
    fn held(&self) -> u64 {
        self.sends - self.released
    }

    /// Sends once, unless the socket has no room and `reading` will wait for room anyway.
    fn send(&mut self, payload: &'static [u8], reading: Reading) -> Result<()> {
        let patient = matches!(reading, Reading::Every(_));
        let mut flags = SendFlags::from_bits_retain(MSG_ZEROCOPY) | SendFlags::NOSIGNAL;
        if !patient {
            flags |= SendFlags::DONTWAIT;
        }
        self.syscalls += 1;
        match send(self.socket, payload, flags) {
            Ok(bytes) => {
                self.bytes += bytes as u64;
                self.sends += 1;
                Ok(())
            }
            Err(CallErrno::AGAIN) if !patient => Ok(()),
            Err(CallErrno::NOBUFS) if self.held() > 0 => self.wait_for_one(),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// Reads the error queue until it is empty.
    fn read(&mut self) -> Result<()> {
        loop {
            self.syscalls += 1;
            let Some(released) = read_released(self.socket)? else { return Ok(()) };
            self.released += released.sends;
            self.copied += if released.copied { released.sends } else { 0 };
            if self.released > self.sends {
                return Err(Error::Caller { what: "the socket's error queue is not ours alone" });
            }
        }
    }

    /// Waits until the socket can take more, reading the error queue meanwhile.
    fn wait_for_room(&mut self) -> Result<()> {
        let begun = Instant::now();
        while !self.poll(PollFlags::OUT)?.contains(PollFlags::OUT) {
            self.read()?;
            if begun.elapsed() > PATIENCE {
                return Err(Error::Deadline { in_flight: self.held() as usize });
            }
        }
        Ok(())
    }

    /// Waits until the kernel let go of at least one send.
    fn wait_for_one(&mut self) -> Result<()> {
        let (before, begun) = (self.released, Instant::now());
        while self.released == before {
            self.poll(PollFlags::empty())?;
            self.read()?;
            if begun.elapsed() > PATIENCE {
                return Err(Error::Deadline { in_flight: self.held() as usize });
            }
        }
        Ok(())
    }

    /// Waits until the kernel holds nothing; gives up when it lets nothing go for `PATIENCE`.
    fn wait_for_release(&mut self) -> Result<()> {
        self.read()?;
        while self.held() > 0 {
            self.wait_for_one()?;
        }
        Ok(())
    }

    /// Polls for `events`, and for the error queue as poll always does, for half a second.
    fn poll(&mut self, events: PollFlags) -> Result<PollFlags> {
        let mut sockets = [PollFd::from_borrowed_fd(self.socket, events)];
        self.syscalls += 1;
        let limit = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
        match poll(&mut sockets, Some(&limit)) {
            Ok(_) | Err(CallErrno::INTR) => Ok(sockets[0].revents()),
            Err(errno) => Err(Error::from_call("poll", errno.into())),
        }
    }
}

fn failed(errno: CallErrno) -> Error {
    Error::from_call("send", errno.into())
}
