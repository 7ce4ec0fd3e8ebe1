//! Socket system calls that the safe crates do not cover: vectored sends with control data, the
//! error queue, and the options around zero-copy.

use std::ffi::c_void;
use std::io::IoSliceMut;
use std::mem::zeroed;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags};

use crate::error::Errno;

use super::Region;
use super::address::RawAddress;
use super::control::{self, Notification, SegmentControl, UDP_SEGMENT};

const SO_ZEROCOPY: i32 = 60;
pub(crate) const MSG_ZEROCOPY: i32 = 0x400_0000;
const IPPROTO_MPTCP: i32 = 262;
/// Control data that a notification brings along with the extended error: the offender's address.
const ERROR_CONTROL_BYTES: usize = 128;

type Outcome<T> = Result<T, Errno>;

fn check(returned: isize) -> Outcome<usize> {
    usize::try_from(returned).map_err(|_| Errno::last())
}

/// Messages to hand to the kernel in one call (`sendmmsg(2)`). Its room is used again and again.
pub(crate) struct Outgoing {
    vectors: Vec<libc::iovec>,
    /// For each message: its vectors' count, destination and segment size.
    parts: Vec<(usize, Option<RawAddress>, Option<SegmentControl>)>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: the vectors and headers are plain data that is rebuilt from held buffers before each
// call; no thread uses them but the one that has `&mut`.
unsafe impl Send for Outgoing {}
// SAFETY: as for `Send`; what takes `&self` reads counts only.
unsafe impl Sync for Outgoing {}

impl Outgoing {
    /// Room for `messages` messages of a few buffers each; more buffers make it grow once.
    pub(crate) fn new(messages: usize) -> Self {
        Self {
            vectors: Vec::with_capacity(messages * 4),
            parts: Vec::with_capacity(messages),
            headers: Vec::with_capacity(messages),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.vectors.clear();
        self.parts.clear();
        self.headers.clear();
    }

    /// Adds a message. The caller holds the buffers of the regions at least until [`send`] returns,
    /// and if that was a zero-copy send, until its release.
    ///
    /// [`send`]: Outgoing::send
    pub(crate) fn push(
        &mut self,
        regions: impl Iterator<Item = Region>,
        to: Option<SocketAddr>,
        segment_bytes: Option<u16>,
    ) {
        let before = self.vectors.len();
        self.vectors.extend(regions.map(Region::io_vector));
        self.parts.push((
            self.vectors.len() - before,
            to.map(RawAddress::new),
            segment_bytes.map(SegmentControl::new),
        ));
    }

    /// Hands the messages to the kernel; says how many it took. An error is the first message's.
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>, flags: i32) -> Outcome<usize> {
        self.headers.clear();
        if let (&[vector], [(_, None, None)]) = (&self.vectors[..], &self.parts[..]) {
            return self.send_one(socket, vector, flags);
        }
        let mut at = 0;
        for (vectors, to, segment) in &mut self.parts {
            // SAFETY: an all-zero msghdr is a valid one with nothing in it.
            let mut header: libc::mmsghdr = unsafe { zeroed() };
            if let Some(to) = to {
                header.msg_hdr.msg_name = to.as_mut_ptr().cast();
                header.msg_hdr.msg_namelen = to.len();
            }
            if let Some(segment) = segment {
                header.msg_hdr.msg_control = std::ptr::from_mut(segment).cast();
                header.msg_hdr.msg_controllen = size_of::<SegmentControl>();
            }
            header.msg_hdr.msg_iov = self.vectors[at..].as_mut_ptr();
            header.msg_hdr.msg_iovlen = *vectors;
            at += *vectors;
            self.headers.push(header);
        }
        if let [header] = &mut self.headers[..] {
            // SAFETY: the header points to `parts` and `vectors`, which live and do not move during
            // the call; the vectors point to buffers that the caller of `push` holds.
            let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &header.msg_hdr, flags) };
            header.msg_len = check(sent)? as u32;
            return Ok(1);
        }
        let count = self.headers.len() as u32;
        // SAFETY: as above; the kernel writes `msg_len` of the first `count` headers only.
        let sent =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count, flags) };
        check(sent as isize)
    }

    /// The same for the one message there is, of one buffer and nothing else: without a header for
    /// the kernel to fetch and check.
    fn send_one(
        &mut self,
        socket: BorrowedFd<'_>,
        vector: libc::iovec,
        flags: i32,
    ) -> Outcome<usize> {
        // SAFETY: the vector points to a buffer that the caller of `push` holds.
        let sent =
            unsafe { libc::send(socket.as_raw_fd(), vector.iov_base, vector.iov_len, flags) };
        // SAFETY: an all-zero msghdr is a valid one with nothing in it.
        let mut header: libc::mmsghdr = unsafe { zeroed() };
        header.msg_len = check(sent)? as u32;
        self.headers.push(header);
        Ok(1)
    }

    /// The bytes of message `at` that the kernel took, after [`send`](Outgoing::send).
    pub(crate) fn sent_bytes(&self, at: usize) -> usize {
        self.headers.get(at).map_or(0, |header| header.msg_len as usize)
    }
}

/// Reads one entry of the error queue. `Ok(None)` is an entry that is no zero-copy notification;
/// an empty queue is `EAGAIN`. Not for unix sockets: there it would read data.
pub(crate) fn read_error_queue(socket: BorrowedFd<'_>) -> Outcome<Option<Notification>> {
    #[repr(align(8))]
    struct Control([u8; ERROR_CONTROL_BYTES]);
    let mut room = Control([0; ERROR_CONTROL_BYTES]);
    // SAFETY: an all-zero msghdr is a valid one with nothing in it.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_control = room.0.as_mut_ptr().cast();
    header.msg_controllen = ERROR_CONTROL_BYTES;
    // SAFETY: the header points to `room`, which lives during the call.
    let read = unsafe {
        libc::recvmsg(socket.as_raw_fd(), &mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)
    };
    check(read)?;
    let filled = header.msg_controllen.min(ERROR_CONTROL_BYTES);
    Ok(control::notification(&room.0[..filled]))
}

/// What a receive brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) bytes: usize,
    pub(crate) from: Option<SocketAddr>,
    pub(crate) segment_bytes: Option<u16>,
    pub(crate) truncated: bool,
}

/// The most buffers that one receive scatters into.
pub(crate) const SCATTER_MAX: usize = 64;

/// Whether a receive has room for control data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ControlRoom {
    /// Descriptors that the peer of a unix socket passes are then closed by the kernel.
    None,
    Some,
}

/// Receives without waiting, scattered over `into` in order.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    into: &mut [IoSliceMut<'_>],
    control: ControlRoom,
) -> Outcome<Received> {
    #[repr(align(8))]
    struct Control([u8; 64]);
    let mut room = Control([0; 64]);
    let mut from = RawAddress::empty();
    // SAFETY: an all-zero msghdr is a valid one with nothing in it.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = from.as_mut_ptr().cast();
    header.msg_namelen = from.len();
    // IoSliceMut is guaranteed to have the layout of iovec.
    header.msg_iov = into.as_mut_ptr().cast();
    header.msg_iovlen = into.len().min(SCATTER_MAX);
    if control == ControlRoom::Some {
        header.msg_control = room.0.as_mut_ptr().cast();
        header.msg_controllen = room.0.len();
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the header points to `room`, `from` and `into`, which are exclusively borrowed and
    // live during the call.
    let read = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, flags) };
    let bytes = check(read)?;
    from.set_len(header.msg_namelen);
    let filled = header.msg_controllen.min(room.0.len());
    Ok(Received {
        bytes,
        from: from.to_socket_addr(),
        segment_bytes: control::gro_segment_bytes(&room.0[..filled]),
        truncated: header.msg_flags & libc::MSG_TRUNC != 0,
    })
}

/// Receives bytes of a stream without waiting. What else may come with them is of no interest, so
/// there is no header for the kernel to fetch, check and fill in.
pub(crate) fn receive_bytes(socket: BorrowedFd<'_>, into: &mut [u8]) -> Outcome<usize> {
    let (_, bytes) = rustix::net::recv(socket, into, RecvFlags::DONTWAIT)?;
    Ok(bytes)
}

/// Sends bytes of a stream without waiting; they are copied.
pub(crate) fn send_bytes(socket: BorrowedFd<'_>, bytes: &[u8]) -> Outcome<usize> {
    Ok(rustix::net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

fn set_option(socket: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> Outcome<()> {
    let pointer: *const c_void = std::ptr::from_ref(&value).cast();
    // SAFETY: the pointer is to an int that lives during the call, and its size is passed.
    let returned = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, pointer, size_of::<i32>() as u32)
    };
    check(returned as isize).map(|_| ())
}

fn option(socket: BorrowedFd<'_>, level: i32, name: i32) -> Outcome<i32> {
    let mut value = 0i32;
    let mut len = size_of::<i32>() as u32;
    let pointer: *mut c_void = std::ptr::from_mut(&mut value).cast();
    // SAFETY: the pointers are to an int and its size, which live during the call.
    let returned = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, pointer, &mut len) };
    check(returned as isize).map(|_| value)
}

/// Makes `MSG_ZEROCOPY` mean something on the socket; without this the flag is silently ignored.
pub(crate) fn enable_zerocopy(socket: BorrowedFd<'_>) -> Outcome<()> {
    set_option(socket, libc::SOL_SOCKET, SO_ZEROCOPY, 1)
}

/// Whether `MSG_ZEROCOPY` means something on the socket already.
pub(crate) fn is_zerocopy_enabled(socket: BorrowedFd<'_>) -> Outcome<bool> {
    option(socket, libc::SOL_SOCKET, SO_ZEROCOPY).map(|value| value != 0)
}

/// The segment size of sends without one of their own; 0 for none.
pub(crate) fn segment_bytes(socket: BorrowedFd<'_>) -> Outcome<u16> {
    option(socket, libc::SOL_UDP, UDP_SEGMENT).map(|value| value as u16)
}

/// Sets the segment size of every send without one of its own; 0 for none.
pub(crate) fn set_segment_bytes(socket: BorrowedFd<'_>, bytes: u16) -> Outcome<()> {
    set_option(socket, libc::SOL_UDP, UDP_SEGMENT, i32::from(bytes))
}

/// Lets the kernel gather received datagrams into trains.
pub(crate) fn enable_gro(socket: BorrowedFd<'_>) -> Outcome<()> {
    set_option(socket, libc::SOL_UDP, control::UDP_GRO, 1)
}

/// A socket's family, type and protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) stream: bool,
    pub(crate) datagram: bool,
    /// IPv4 or IPv6.
    pub(crate) internet: bool,
    pub(crate) unix: bool,
    pub(crate) mptcp: bool,
    /// An upper layer protocol, such as kernel TLS, sits on it.
    pub(crate) upper_layer: bool,
}

pub(crate) fn identity(socket: BorrowedFd<'_>) -> Outcome<Identity> {
    let kind = option(socket, libc::SOL_SOCKET, libc::SO_TYPE)?;
    let domain = option(socket, libc::SOL_SOCKET, libc::SO_DOMAIN)?;
    let protocol = option(socket, libc::SOL_SOCKET, libc::SO_PROTOCOL)?;
    Ok(Identity {
        stream: kind == libc::SOCK_STREAM,
        datagram: kind == libc::SOCK_DGRAM,
        internet: domain == libc::AF_INET || domain == libc::AF_INET6,
        unix: domain == libc::AF_UNIX,
        mptcp: protocol == IPPROTO_MPTCP,
        upper_layer: has_upper_layer(socket),
    })
}

fn has_upper_layer(socket: BorrowedFd<'_>) -> bool {
    let mut name = [0u8; 16];
    let mut len = name.len() as u32;
    // SAFETY: the pointers are to the name's room and its size, which live during the call.
    let returned = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_ULP,
            name.as_mut_ptr().cast(),
            &mut len,
        )
    };
    returned == 0 && len > 0 && name[0] != 0
}

/// Dissolves the connection (`connect(AF_UNSPEC)`): on TCP the peer gets a reset, and the kernel
/// lets go of everything that was queued.
pub(crate) fn disconnect(socket: BorrowedFd<'_>) -> Outcome<()> {
    let unspecified =
        libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    let len = size_of::<libc::sockaddr>() as u32;
    // SAFETY: the address lives during the call, and its size is passed.
    let returned = unsafe { libc::connect(socket.as_raw_fd(), &unspecified, len) };
    check(returned as isize).map(|_| ())
}

/// Bytes of a stream that the peer has not acknowledged (`SIOCOUTQ`).
pub(crate) fn unacknowledged_bytes(socket: BorrowedFd<'_>) -> Outcome<usize> {
    let mut bytes = 0i32;
    // SAFETY: this request writes one int to the pointer.
    let returned = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
    check(returned as isize).map(|_| bytes.max(0) as usize)
}

/// How long nothing has come from the other end of a TCP connection although it was asked again and
/// again: with the same bytes, or whether it has room by now. Zero while it answers.
pub(crate) fn unanswered_for(socket: BorrowedFd<'_>) -> Outcome<Duration> {
    // SAFETY: zeros are a value of every integer.
    let mut info: libc::tcp_info = unsafe { zeroed() };
    let mut len = size_of_val(&info) as libc::socklen_t;
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
    let into = (&raw mut info).cast();
    // SAFETY: the structure lives during the call, and its size is passed; the kernel fills what it
    // knows of it.
    check(unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, into, &mut len) } as isize)?;
    let is_unanswered = info.tcpi_retransmits > 1 || info.tcpi_probes > 1;
    let since = Duration::from_millis(info.tcpi_last_ack_recv.into());
    Ok(if is_unanswered { since } else { Duration::ZERO })
}

/// Whether the other end has acknowledged all that was sent, by the count that `outstanding` gives.
/// The error is what the connection died of before it had; `ECONNRESET` if that was told to
/// somebody else.
pub(crate) fn is_acknowledged(
    socket: BorrowedFd<'_>,
    outstanding: impl FnOnce() -> Outcome<usize>,
) -> Outcome<bool> {
    // In this order. The count of a connection that is gone changes no more: asked for before, it
    // would take the other end's orderly end for a reset. The error is asked for last, as a dying
    // socket drops what it held first.
    let gone = matches!(rustix::net::getpeername(socket), Err(rustix::io::Errno::NOTCONN));
    let outstanding = outstanding()?;
    match rustix::net::sockopt::socket_error(socket) {
        Ok(Err(errno)) => Err(errno.into()),
        _ if outstanding == 0 => Ok(true),
        _ if gone => Err(Errno::from_raw(libc::ECONNRESET)),
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use rustix::net::{SendFlags, getpeername, send, sockopt};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (ours, listener.accept().unwrap().0)
    }

    fn wait_until_gone(socket: &TcpStream) {
        while getpeername(socket).is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Fills the connection until the other end must read.
    fn fill(socket: &TcpStream) {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        while send(socket, &[7; 64 * 1024], flags).is_ok() {}
    }

    #[test]
    fn an_orderly_end_between_two_looks_is_no_reset() {
        let (ours, mut theirs) = pair();
        fill(&ours);
        ours.shutdown(Shutdown::Write).unwrap();
        let first = is_acknowledged(ours.as_fd(), || {
            // The count was taken; then the other end reads it all and closes at once.
            theirs.read_to_end(&mut Vec::new()).unwrap();
            theirs.shutdown(Shutdown::Both).unwrap();
            wait_until_gone(&ours);
            Ok(1)
        });
        assert_eq!(first, Ok(false));
        assert_eq!(is_acknowledged(ours.as_fd(), || Ok(0)), Ok(true));
    }

    #[test]
    fn a_reset_is_told_even_if_its_error_was_taken() {
        let (ours, theirs) = pair();
        fill(&ours);
        sockopt::set_socket_linger(&theirs, Some(Duration::ZERO)).unwrap();
        drop(theirs);
        wait_until_gone(&ours);
        let reset = Errno::from_raw(libc::ECONNRESET);
        assert_eq!(is_acknowledged(ours.as_fd(), || Ok(1)), Err(reset));
        assert_eq!(sockopt::socket_error(&ours), Ok(Ok(())), "it was taken");
        assert_eq!(is_acknowledged(ours.as_fd(), || Ok(1)), Err(reset));
    }
}
