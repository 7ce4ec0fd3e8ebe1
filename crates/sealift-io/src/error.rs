//! What can go wrong, sorted by whose fault it is: the peer, the caller, the system, or time.
//!
//! A refused buffer is never swallowed by an error: it comes back inside [`crate::Refused`].

use std::fmt;
use std::io;

/// An error number of Linux (`errno(3)`), printed as the C library words it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// The error number `raw` as the kernel returns it, positive.
    pub const fn from_raw(raw: i32) -> Self {
        Self(raw)
    }

    /// The positive number, comparable with the constants of `libc`.
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// The error of the last failed system call of this thread.
    pub(crate) fn last() -> Self {
        Self(io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }

    /// Whether the error says something about the other end of the connection.
    fn blames_peer(self) -> bool {
        matches!(
            self.0,
            libc::ECONNREFUSED
                | libc::ECONNRESET
                | libc::ECONNABORTED
                | libc::EPIPE
                | libc::ETIMEDOUT
                | libc::EHOSTUNREACH
                | libc::EHOSTDOWN
                | libc::ENETUNREACH
                | libc::ENETDOWN
        )
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = io::Error::from_raw_os_error(self.0).to_string();
        // std appends ' (os error N)'; a person needs the words only.
        f.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {self})", self.0)
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

/// Why an operation of this crate failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The other end, or the way to it, failed: refused, reset, unreachable, timed out.
    #[error("{call}: {errno}")]
    Peer {
        /// The system call or operation that reported it.
        call: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// The caller asked for something that cannot be; the text says what to do instead.
    #[error("{what}")]
    Caller {
        /// What was wrong with the request, in one clause.
        what: &'static str,
    },
    /// The system refused: limits, permissions, missing features.
    #[error("{call}: {errno}")]
    System {
        /// The system call that failed.
        call: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// The deadline passed first. Nothing is lost: the work goes on and can be waited for again.
    #[error("the deadline passed with {in_flight} messages not yet released")]
    Deadline {
        /// Messages that were handed over and have not come back.
        in_flight: usize,
    },
    /// The queue or the pool is full. Take completions, then try again.
    #[error("full: take completions, then try again")]
    Full,
    /// The sender was closed or aborted by this side.
    #[error("the sender was closed")]
    Closed,
}

impl Error {
    /// Sorts the failure of a system call by whose fault it is.
    pub(crate) fn from_call(call: &'static str, errno: Errno) -> Self {
        if errno.blames_peer() { Self::Peer { call, errno } } else { Self::System { call, errno } }
    }

    /// The kernel's error number, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Peer { errno, .. } | Self::System { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Peer { errno, .. } | Error::System { errno, .. } => {
                io::Error::from_raw_os_error(errno.raw()).kind()
            }
            Error::Caller { .. } => io::ErrorKind::InvalidInput,
            Error::Deadline { .. } => io::ErrorKind::TimedOut,
            Error::Full => io::ErrorKind::WouldBlock,
            Error::Closed => io::ErrorKind::NotConnected,
        };
        io::Error::new(kind, error)
    }
}

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_whose_fault_it_is() {
        let reset = Error::from_call("sendmsg", Errno::from_raw(libc::ECONNRESET));
        assert!(matches!(reset, Error::Peer { .. }));
        let limit = Error::from_call("sendmsg", Errno::from_raw(libc::ENOBUFS));
        assert!(matches!(limit, Error::System { .. }));
        assert_eq!(reset.to_string(), "sendmsg: Connection reset by peer");
    }

    #[test]
    fn io_errors_keep_the_kind() {
        let refused = Error::from_call("connect", Errno::from_raw(libc::ECONNREFUSED));
        assert_eq!(io::Error::from(refused).kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(io::Error::from(Error::Full).kind(), io::ErrorKind::WouldBlock);
    }
}
