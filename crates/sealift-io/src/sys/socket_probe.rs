//! Socket options that `rustix` does not have, set to see whether the kernel takes them.

use std::os::fd::{AsFd, AsRawFd};

use crate::error::Errno;

/// Options that are asked for, for [`accepts`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum SocketOption {
    /// `SO_ZEROCOPY`: `MSG_ZEROCOPY` is honoured.
    ZeroCopy,
    /// `UDP_SEGMENT`: one send, many datagrams.
    UdpSegment,
    /// `UDP_GRO`: one receive, many datagrams.
    UdpGro,
    /// `TCP_ULP` "tls": kernel TLS.
    KernelTls,
}

/// Sets the option on a socket that is thrown away afterwards.
pub(crate) fn accepts(socket: impl AsFd, option: SocketOption) -> Result<(), Errno> {
    let one = 1i32.to_ne_bytes();
    let segment = 1400i32.to_ne_bytes();
    let (level, name, value): (_, _, &[u8]) = match option {
        SocketOption::ZeroCopy => (libc::SOL_SOCKET, libc::SO_ZEROCOPY, &one),
        SocketOption::UdpSegment => (libc::SOL_UDP, libc::UDP_SEGMENT, &segment),
        SocketOption::UdpGro => (libc::SOL_UDP, libc::UDP_GRO, &one),
        SocketOption::KernelTls => (libc::IPPROTO_TCP, libc::TCP_ULP, b"tls"),
    };
    let length = value.len() as libc::socklen_t;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel reads `length` bytes of `value`, which lives across the call.
    match unsafe { libc::setsockopt(socket, level, name, value.as_ptr().cast(), length) } {
        0 => Ok(()),
        _ => Err(Errno::last()),
    }
}
