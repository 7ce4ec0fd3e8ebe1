//! Kernel TLS: records that the kernel seals and opens, in software or in the network device.
//!
//! ```text
//!  send ──► plaintext ──► kernel: seal ──► TCP          set_key(Way::Out, …)
//!  receive ◄── plaintext ◄── kernel: open ◄── TCP       set_key(Way::In, …)
//! ```
//!
//! The handshake is not the kernel's: whoever did it hands the keys over. From there on a send
//! makes records of at most 16,384 bytes and copies, as there is no zero-copy on such sockets. What
//! it took is the kernel's, also if TCP has no room for it yet ([`KernelTls::taken_bytes`]).
//! Sources: `Documentation/networking/tls.rst`, `net/tls/tls_main.c` and `tls_sw.c` of Linux.
//!
//! 1. A key is handed over at the border of a record, with the number of the next one.
//! 2. No nonce is used twice: see [`Key::new`].
//! 3. A key is wiped here once the kernel has it.

mod device;
mod key;

use std::fs;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zeroize::Zeroizing;

use crate::error::{Errno, Error, Result};
use crate::sys::ktls as sys;
use crate::sys::socket;

pub(crate) use device::OFFLOADS;
pub use device::{Device, device_keys};
use key::NUMBER_BYTES;
pub use key::{Cipher, Key, Version};

const AVAILABLE_ULP: &str = "/proc/sys/net/ipv4/tcp_available_ulp";

/// Which way a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To seal what is sent.
    Out,
    /// To open what is received.
    In,
}

impl Way {
    fn option(self) -> i32 {
        match self {
            Self::Out => libc::TLS_TX,
            Self::In => libc::TLS_RX,
        }
    }
}

/// Why the kernel does not do it, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(String);

/// Whether the `tls` module is loaded. Asking loads nothing.
pub fn is_loaded() -> bool {
    let layers = fs::read_to_string(AVAILABLE_ULP).unwrap_or_default();
    layers.split_whitespace().any(|layer| layer == "tls")
}

/// What one receive brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The content of a record, or of several if they are data.
    Records {
        /// The type of the records (RFC 8446 section 5.1).
        content: u8,
        /// The length of their content.
        bytes: usize,
    },
    /// No whole record is there.
    Nothing,
    /// The end of TCP.
    End,
}

/// A TCP socket with kernel TLS on it.
#[derive(Clone, Debug)]
pub struct KernelTls {
    socket: Arc<OwnedFd>,
}

impl KernelTls {
    /// Puts kernel TLS on a connected TCP socket. Nothing changes until there is a key, but that
    /// the socket has no zero-copy any more.
    ///
    /// # Errors
    /// [`Unavailable`]: no such module, or no such socket.
    pub fn attach(socket: impl AsFd) -> std::result::Result<(), Unavailable> {
        let failed = |why: &str| Err(Unavailable(why.to_owned()));
        match sys::attach(socket.as_fd()).map_err(Errno::raw) {
            Ok(()) => Ok(()),
            Err(libc::ENOENT) => {
                failed("no kernel TLS (tls module) is loaded; as root: modprobe tls")
            }
            Err(libc::EOPNOTSUPP | libc::ENOPROTOOPT) => failed("only plain TCP has kernel TLS"),
            Err(libc::EEXIST) => failed("the socket has an upper layer already"),
            Err(libc::ENOTCONN) => failed("the connection is gone"),
            Err(raw) => failed(&format!("the kernel answers: {}", Errno::from_raw(raw))),
        }
    }

    /// Uses a socket that kernel TLS was [put on](KernelTls::attach), as by
    /// [`Sender::socket`](crate::Sender::socket).
    pub fn sharing(socket: Arc<OwnedFd>) -> Self {
        Self { socket }
    }

    /// Hands a key over: from the next record on, this way is the kernel's. A second key for the
    /// same way takes its place, in TLS 1.3 and from Linux 6.14 on.
    ///
    /// # Errors
    /// [`Unavailable`], after which all is as before: the kernel does not know the cipher in that
    /// version, or cannot take a second key.
    pub fn set_key(&self, way: Way, key: &Key) -> std::result::Result<(), Unavailable> {
        sys::set_key(self.as_fd(), way.option(), key.info()).map_err(|errno| match errno.raw() {
            libc::EBUSY => Unavailable(
                "this kernel cannot change a key: that takes TLS 1.3 and Linux 6.14".to_owned(),
            ),
            libc::EINVAL | libc::ENOENT => Unavailable(format!(
                "the kernel does not have the cipher in this version ({errno})"
            )),
            _ => Unavailable(format!("the kernel does not take the key: {errno}")),
        })
    }

    /// The number of the next record of the way, whose key is of this cipher.
    ///
    /// # Errors
    /// [`Error::System`] if the way is not the kernel's.
    pub fn next_number(&self, way: Way, cipher: Cipher) -> Result<u64> {
        // The kernel shows the key, too.
        let mut info = Zeroizing::new(vec![0; cipher.info_bytes()]);
        sys::read_key(self.as_fd(), way.option(), &mut info)
            .map_err(|errno| Error::System { call: "getsockopt(SOL_TLS)", errno })?;
        let number = info.last_chunk().copied().unwrap_or([0; NUMBER_BYTES]);
        Ok(u64::from_be_bytes(number))
    }

    /// Sends data without waiting, and says how much of it the kernel took: it is sealed then, and
    /// the slices are free.
    ///
    /// # Errors
    /// [`Error::Full`] if there is no room; else what the connection died of.
    pub fn send(&self, slices: &[IoSlice<'_>]) -> Result<usize> {
        self.send_as(None, slices)
    }

    /// Sends one record of another type without waiting: all of it, or nothing.
    ///
    /// # Errors
    /// As [`send`](KernelTls::send).
    pub fn send_record(&self, content: u8, bytes: &[u8]) -> Result<()> {
        self.send_as(Some(content), &[IoSlice::new(bytes)]).map(drop)
    }

    fn send_as(&self, content: Option<u8>, slices: &[IoSlice<'_>]) -> Result<usize> {
        loop {
            match sys::send(self.as_fd(), content, slices) {
                Err(errno) if errno.raw() == libc::EAGAIN => return Err(Error::Full),
                Err(errno) if errno.raw() == libc::EINTR => {}
                sent => return sent.map_err(|errno| Error::from_call("sendmsg", errno)),
            }
        }
    }

    /// Receives without waiting. `into` has room for a whole record, 16,384 bytes: one that is no
    /// data comes alone, and as a whole.
    ///
    /// # Errors
    /// [`Error::Caller`] if it has not. Else [`Error::System`] with `EBADMSG` for a record that is
    /// not authentic, `EMSGSIZE` for one that is too long, `EINVAL` for one of another version.
    /// The socket's own error is taken, so that the peer can still be told.
    pub fn receive(&self, into: &mut [u8]) -> Result<Received> {
        if into.len() < Self::RECORD_BYTES {
            return Err(Error::Caller { what: "there is no room for a whole record" });
        }
        loop {
            match sys::receive(self.as_fd(), into) {
                Ok((Some(content), bytes)) => return Ok(Received::Records { content, bytes }),
                Ok((None, 0)) => return Ok(Received::End),
                // A record has a type.
                Ok((None, _)) => {
                    let errno = Errno::from_raw(libc::EIO);
                    return Err(Error::System { call: "recvmsg", errno });
                }
                Err(errno) if errno.raw() == libc::EAGAIN => return Ok(Received::Nothing),
                Err(errno) if errno.raw() == libc::EINTR => {}
                Err(errno) => {
                    let _ = rustix::net::sockopt::socket_error(&*self.socket);
                    return Err(Error::from_call("recvmsg", errno));
                }
            }
        }
    }

    /// The most plaintext that a record has.
    pub const RECORD_BYTES: usize = 1 << 14;

    /// The bytes that TCP has taken since the connection began, records with their headers and
    /// tags: what the kernel has sealed beyond them waits in it for room.
    ///
    /// # Errors
    /// [`Error::System`] if it cannot be asked.
    pub fn taken_bytes(&self) -> Result<u64> {
        // In this order: what is acknowledged meanwhile is missing, and not counted twice.
        let acknowledged = self.acknowledged_bytes()?;
        let outstanding = socket::unacknowledged_bytes(self.as_fd())
            .map_err(|errno| Error::System { call: "ioctl(SIOCOUTQ)", errno })?;
        Ok(acknowledged + outstanding as u64)
    }

    /// Those of them that the peer's kernel has acknowledged.
    ///
    /// # Errors
    /// As [`taken_bytes`](KernelTls::taken_bytes).
    pub fn acknowledged_bytes(&self) -> Result<u64> {
        sys::acknowledged_bytes(self.as_fd())
            .map_err(|errno| Error::System { call: "getsockopt(TCP_INFO)", errno })
    }

    /// Waits until something can be sent ([`Way::Out`]) or received ([`Way::In`]).
    ///
    /// # Errors
    /// [`Error::Deadline`]; [`Error::System`].
    pub fn wait(&self, way: Way, deadline: Instant) -> Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let flags = if way == Way::Out { PollFlags::OUT } else { PollFlags::IN };
        match poll(&mut [PollFd::new(&*self.socket, flags)], Some(&timeout)) {
            Ok(0) => Err(Error::Deadline { in_flight: 0 }),
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::System { call: "poll", errno: errno.into() }),
        }
    }
}

impl AsFd for KernelTls {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests;
