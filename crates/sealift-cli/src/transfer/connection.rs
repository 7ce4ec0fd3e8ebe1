//! A connected stream socket, armed so that a death of this process is not taken for an end.
//!
//! Invariants:
//! 1. From its first moment to [`disarm`] a TCP connection is reset by whatever closes it: an
//!    error, a panic, SIGKILL (`SO_LINGER` with a time of zero). So [`tcp_socket`] arms the socket
//!    before there is a connection; those that a listener accepts inherit it. Only `disarm` makes
//!    closing mean 'this was all'.
//! 2. A unix socket has no reset. Its other end sees the end either way.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socket_with, sockopt};

/// A host that is gone is noticed after `KEEP_IDLE` and `KEEP_COUNT` questions, each after
/// `KEEP_INTERVAL`: two minutes.
const KEEP_IDLE: Duration = Duration::from_secs(60);
const KEEP_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_COUNT: u32 = 6;

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A process on this machine.
    Unix,
}

impl Peer {
    /// Why such a path always copies, in a word; empty where it need not.
    pub(crate) fn copies_because(&self) -> &'static str {
        match self {
            Self::Tcp(address) if address.ip().to_canonical().is_loopback() => "loopback",
            Self::Tcp(_) => "",
            Self::Unix => "unix socket",
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// A socket and who is at its other end.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: OwnedFd,
    pub(crate) peer: Peer,
}

impl Connection {
    /// A TCP connection of an armed socket, without delay for small writes, and asked now and then
    /// whether it is still there.
    pub(crate) fn tcp(socket: OwnedFd, address: SocketAddr) -> io::Result<Self> {
        sockopt::set_tcp_nodelay(&socket, true)?;
        sockopt::set_socket_keepalive(&socket, true)?;
        sockopt::set_tcp_keepidle(&socket, KEEP_IDLE)?;
        sockopt::set_tcp_keepintvl(&socket, KEEP_INTERVAL)?;
        sockopt::set_tcp_keepcnt(&socket, KEEP_COUNT)?;
        Ok(Self { socket, peer: Peer::Tcp(address) })
    }

    /// A unix stream.
    pub(crate) fn unix(stream: UnixStream) -> Self {
        // Kernels before 5.15 know no urgent bytes there.
        let _ = sockopt::set_socket_oobinline(&stream, true);
        Self { socket: stream.into(), peer: Peer::Unix }
    }
}

/// An armed socket that does not block, to connect to `address` or to listen on it.
pub(crate) fn tcp_socket(address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    // Urgent bytes are bytes of the stream like all others, and in their place.
    sockopt::set_socket_oobinline(&socket, true)?;
    Ok(socket)
}

/// Makes closing the socket an ordinary end.
pub(crate) fn disarm(socket: BorrowedFd<'_>) {
    // On a unix socket this says nothing; on a TCP socket it does not fail.
    let _ = sockopt::set_socket_linger(socket, None);
}

/// Ends the connection so that the other end sees an error, and the kernel lets go of what was
/// queued. On a unix socket the other end sees the end.
pub(crate) fn reset(socket: BorrowedFd<'_>) {
    if rustix::net::connect_unspec(socket).is_err() {
        let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
    }
}

/// The error that the connection died of, if it did.
pub(crate) fn death(socket: BorrowedFd<'_>) -> Option<Errno> {
    match sockopt::socket_error(socket) {
        Ok(Err(errno)) => Some(errno),
        _ => None,
    }
}

/// Whether the connection is gone, its error having been told to somebody else already.
pub(crate) fn is_gone(socket: BorrowedFd<'_>) -> bool {
    matches!(rustix::net::getpeername(socket), Err(Errno::NOTCONN))
}

/// Throws away what the other end sent, as far as it is there: an echoing peer must not block, and
/// closing a socket with unread bytes would reset it. Says how much that was.
pub(crate) fn discard_incoming(socket: BorrowedFd<'_>) -> u64 {
    /// So that a peer that floods cannot keep this up.
    const MOST_CALLS: usize = 64;
    let mut room = [0u8; 16 * 1024];
    let mut discarded = 0;
    for _ in 0..MOST_CALLS {
        match recv(socket.as_fd(), &mut room, RecvFlags::DONTWAIT) {
            Ok((count, _)) if count > 0 => discarded += count as u64,
            // The end, nothing there, or an error that the sender reports.
            _ => break,
        }
    }
    discarded
}
