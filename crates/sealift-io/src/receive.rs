//! Receiving: scattered into leases or into the caller's own memory, with a deadline.

use std::io::IoSliceMut;
use std::iter;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smallvec::SmallVec;

use crate::error::{Errno, Error, Result};
use crate::pool::Lease;
use crate::sys::socket::{self, ControlRoom, Identity, SCATTER_MAX};

/// What one receive brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Bytes received. On a stream 0 means that the peer ended it; on a datagram socket a datagram
    /// may be empty.
    pub bytes: usize,
    /// Where a datagram came from; `None` on streams.
    pub from: Option<SocketAddr>,
    /// The kernel gathered a train of datagrams, each of this size (the last may be shorter):
    /// UDP generic receive offload, `UDP_GRO` of `udp(7)`.
    pub segment_bytes: Option<u16>,
    /// The datagram, or the train, was longer than the room for it (`MSG_TRUNC` of `recvmsg(2)`);
    /// the rest is lost.
    pub truncated: bool,
}

/// The read side of a TCP, unix or UDP socket.
#[derive(Debug)]
pub struct Receiver {
    socket: Arc<OwnedFd>,
    identity: Identity,
    gathers: bool,
    system_calls: u64,
}

impl Receiver {
    /// The most bytes that a train of datagrams has.
    pub const TRAIN_BYTES: usize = 65_535;

    /// Takes the read side of a socket. Datagrams come one by one, unless
    /// [`with_trains`](Receiver::with_trains) asks for more.
    ///
    /// # Errors
    /// [`Error::System`] if it is no socket.
    pub fn new(socket: impl Into<OwnedFd>) -> Result<Self> {
        Self::sharing(Arc::new(socket.into()))
    }

    /// Takes the read side of a socket whose other side is in use elsewhere, as by
    /// [`Sender::socket`](crate::Sender::socket): one descriptor for both.
    ///
    /// # Errors
    /// As [`new`](Receiver::new).
    pub fn sharing(socket: Arc<OwnedFd>) -> Result<Self> {
        let identity = socket::identity(socket.as_fd())
            .map_err(|errno| Error::System { call: "getsockopt", errno })?;
        Ok(Self { socket, identity, gathers: false, system_calls: 0 })
    }

    /// Lets the kernel deliver trains of datagrams of a UDP socket in one receive; where it cannot,
    /// nothing changes. Every receive then needs room for [`TRAIN_BYTES`](Self::TRAIN_BYTES), as
    /// what is cut off a train are whole datagrams.
    pub fn with_trains(mut self) -> Self {
        self.gathers = socket::enable_gro(self.socket.as_fd()).is_ok();
        self
    }

    /// Whether the kernel may deliver trains of datagrams in one receive.
    pub fn gathers(&self) -> bool {
        self.gathers
    }

    /// How often the kernel was asked for what there is, in vain or not.
    pub fn system_calls(&self) -> u64 {
        self.system_calls
    }

    /// Receives into memory of the caller's, filling the slices in order (the first 64 of them).
    ///
    /// # Errors
    /// [`Error::Deadline`] if nothing came; [`Error::Peer`] if the connection failed;
    /// [`Error::Caller`] on a stream if there is no room.
    pub fn receive(&mut self, into: &mut [IoSliceMut<'_>], deadline: Instant) -> Result<Received> {
        loop {
            match self.try_receive(into)? {
                Some(received) => return Ok(received),
                None => self.wait_readable(deadline)?,
            }
        }
    }

    /// As [`receive`](Receiver::receive), without waiting: `None` if nothing is there.
    ///
    /// # Errors
    /// As [`receive`](Receiver::receive), but for the deadline.
    pub fn try_receive(&mut self, into: &mut [IoSliceMut<'_>]) -> Result<Option<Received>> {
        if self.identity.stream && into.iter().take(SCATTER_MAX).all(|slice| slice.is_empty()) {
            return Err(Error::Caller { what: "no room: 0 bytes would read as the stream's end" });
        }
        loop {
            match self.call(into) {
                Ok(received) => return Ok(Some(received)),
                Err(errno) if errno.raw() == libc::EAGAIN => return Ok(None),
                Err(errno) if errno.raw() == libc::EINTR => {}
                Err(errno) => return Err(Error::from_call("recvmsg", errno)),
            }
        }
    }

    fn call(&mut self, into: &mut [IoSliceMut<'_>]) -> std::result::Result<Received, Errno> {
        self.system_calls += 1;
        let socket = self.socket.as_fd();
        // What an upper layer says of the bytes comes as control data.
        if let ([into], true) = (&mut *into, self.identity.stream && !self.identity.upper_layer) {
            let bytes = socket::receive_bytes(socket, into)?;
            return Ok(Received { bytes, from: None, segment_bytes: None, truncated: false });
        }
        // Descriptors that a peer passes over a unix socket would stay open here, known to nobody.
        let control = if self.identity.unix { ControlRoom::None } else { ControlRoom::Some };
        let received = socket::receive(socket, into, control)?;
        Ok(Received {
            bytes: received.bytes,
            from: received.from,
            segment_bytes: received.segment_bytes,
            truncated: received.truncated,
        })
    }

    /// Receives into leases, behind what they hold, and sets their lengths.
    ///
    /// # Errors
    /// As [`receive`](Receiver::receive).
    pub fn receive_leases(&mut self, into: &mut [Lease], deadline: Instant) -> Result<Received> {
        let mut slices: SmallVec<[IoSliceMut<'_>; 8]> =
            into.iter_mut().map(|lease| IoSliceMut::new(lease.spare_mut())).collect();
        let received = self.receive(&mut slices, deadline)?;
        drop(slices);
        let mut left = received.bytes;
        for lease in into {
            let filled = left.min(lease.capacity() - lease.len());
            lease.set_len(lease.len() + filled);
            left -= filled;
        }
        Ok(received)
    }

    /// Waits until there may be something to receive. Those who lend memory to a receive need none
    /// meanwhile.
    ///
    /// # Errors
    /// [`Error::Deadline`] if it has passed already; when it passes meanwhile, a receive tells.
    pub fn wait_readable(&self, deadline: Instant) -> Result<()> {
        self.wait_readable_or([], deadline).map(drop)
    }

    /// As [`wait_readable`](Receiver::wait_readable), or until one of `others` is. True if the
    /// socket has nothing but something in its error queue, as the notification of a zero-copy
    /// send: until that is read, no wait lasts.
    ///
    /// # Errors
    /// As [`wait_readable`](Receiver::wait_readable).
    pub fn wait_readable_or<'a>(
        &'a self,
        others: impl IntoIterator<Item = BorrowedFd<'a>>,
        deadline: Instant,
    ) -> Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Deadline { in_flight: 0 });
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let readable = |descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN);
        let mut polled: SmallVec<[PollFd<'_>; 3]> =
            iter::once(self.socket.as_fd()).chain(others).map(readable).collect();
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) => Ok(polled[0].revents() == PollFlags::ERR),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(errno) => Err(Error::System { call: "poll", errno: errno.into() }),
        }
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
