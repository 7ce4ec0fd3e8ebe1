//! What the kernel's sockets can do: asked of sockets that are made, set up and thrown away.

use std::fs;
use std::os::fd::OwnedFd;

use rustix::io::Errno as RustixErrno;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto, sockopt};

use super::finding::Finding;
use crate::error::Errno;
use crate::sys::socket_probe::{SocketOption, accepts};

/// Every answer about sockets, in the order in which people read them.
pub(super) fn findings() -> Vec<Finding> {
    vec![
        option("socket.tcp_zerocopy", "MSG_ZEROCOPY, TCP", tcp(), SocketOption::ZeroCopy),
        option("socket.udp_zerocopy", "MSG_ZEROCOPY, UDP", udp(), SocketOption::ZeroCopy),
        option("socket.unix_zerocopy", "MSG_ZEROCOPY, unix", unix(), SocketOption::ZeroCopy),
        option("socket.udp_segment", "UDP_SEGMENT (GSO)", udp(), SocketOption::UdpSegment),
        option("socket.udp_gro", "UDP_GRO", udp(), SocketOption::UdpGro),
        kernel_tls(&fs::read_to_string(AVAILABLE_ULP).unwrap_or_default()),
        mptcp(),
        plain_tcp("socket.plain_tcp"),
    ]
}

const AVAILABLE_ULP: &str = "/proc/sys/net/ipv4/tcp_available_ulp";

type Socket = Result<OwnedFd, RustixErrno>;

fn tcp() -> Socket {
    internet(SocketType::STREAM, None)
}

fn udp() -> Socket {
    internet(SocketType::DGRAM, None)
}

fn unix() -> Socket {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// A socket of whichever internet address family the kernel has.
fn internet(kind: SocketType, protocol: Option<Protocol>) -> Socket {
    let make = |family| rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, protocol);
    match make(AddressFamily::INET) {
        Err(RustixErrno::AFNOSUPPORT) => make(AddressFamily::INET6),
        made => made,
    }
}

fn option(
    name: &'static str,
    title: &'static str,
    socket: Socket,
    option: SocketOption,
) -> Finding {
    let socket = match socket {
        Ok(socket) => socket,
        Err(errno) => return no_socket(name, title, errno),
    };
    match accepts(&socket, option) {
        Ok(()) => Finding::yes(name, title),
        Err(errno) => refused(name, title, option, errno),
    }
}

fn no_socket(name: &'static str, title: &'static str, errno: RustixErrno) -> Finding {
    Finding::unknown(name, title, format!("cannot make such a socket: {}", Errno::from(errno)))
}

fn refused(name: &'static str, title: &'static str, option: SocketOption, errno: Errno) -> Finding {
    match errno.raw() {
        libc::EOPNOTSUPP => Finding::no(name, title, "such sockets always copy (EOPNOTSUPP)"),
        libc::ENOPROTOOPT | libc::EINVAL => {
            let since = match option {
                SocketOption::ZeroCopy => "Linux 5.0 or newer (TCP: 4.14)",
                SocketOption::UdpSegment => "Linux 4.18 or newer",
                SocketOption::UdpGro => "Linux 5.0 or newer",
                SocketOption::KernelTls => "Linux 4.13 or newer",
            };
            Finding::no(name, title, format!("the kernel does not know it ({errno})")).remedy(since)
        }
        _ => Finding::unknown(name, title, format!("the kernel answered: {errno}")),
    }
}

/// An unconnected socket is refused with `ENOTCONN` by the module, with `ENOENT` without it.
fn kernel_tls(available_ulp: &str) -> Finding {
    let (name, title) = ("socket.ktls", "kernel TLS");
    if available_ulp.split_whitespace().any(|protocol| protocol == "tls") {
        return Finding::yes(name, title).detail("module loaded");
    }
    let socket = match tcp() {
        Ok(socket) => socket,
        Err(errno) => return no_socket(name, title, errno),
    };
    match accepts(&socket, SocketOption::KernelTls) {
        Ok(()) => Finding::yes(name, title),
        Err(errno) => kernel_tls_answer(errno),
    }
}

fn kernel_tls_answer(errno: Errno) -> Finding {
    let (name, title) = ("socket.ktls", "kernel TLS");
    match errno.raw() {
        libc::ENOTCONN => Finding::yes(name, title),
        libc::ENOENT => Finding::no(name, title, "the kernel has no 'tls' module loaded")
            .remedy("modprobe tls, or a kernel built with CONFIG_TLS; records are sealed here"),
        _ => refused(name, title, SocketOption::KernelTls, errno),
    }
}

fn mptcp() -> Finding {
    let (name, title) = ("socket.mptcp", "MPTCP");
    match internet(SocketType::STREAM, Some(ipproto::MPTCP)) {
        Ok(_) => Finding::yes(name, title).detail("always copies, where it is asked for"),
        Err(RustixErrno::NOPROTOOPT) => {
            Finding::no(name, title, "switched off").remedy("sysctl net.mptcp.enabled=1")
        }
        Err(RustixErrno::PROTONOSUPPORT | RustixErrno::INVAL) => {
            Finding::no(name, title, "the kernel was built without it")
                .remedy("a kernel built with CONFIG_MPTCP")
        }
        Err(errno) => no_socket(name, title, errno),
    }
}

/// Whether a TCP socket is one: `mptcpize` and its like hand out MPTCP sockets, which copy.
pub(super) fn plain_tcp(name: &'static str) -> Finding {
    let title = "TCP sockets are plain";
    let socket = match tcp() {
        Ok(socket) => socket,
        Err(errno) => return no_socket(name, title, errno),
    };
    match sockopt::socket_protocol(&socket) {
        Ok(Some(ipproto::MPTCP)) => {
            Finding::no(name, title, "a TCP socket made here is MPTCP, which always copies")
                .remedy("run without mptcpize, or without the BPF program that does the same")
        }
        Ok(_) => Finding::yes(name, title),
        Err(errno) => {
            let errno = Errno::from(errno);
            Finding::unknown(name, title, format!("SO_PROTOCOL: {errno}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Verdict;

    #[test]
    fn kernel_tls_is_told_from_its_absence() {
        let answer = |raw| kernel_tls_answer(Errno::from_raw(raw)).verdict;
        assert_eq!(answer(libc::ENOTCONN), Verdict::Yes);
        assert_eq!(answer(libc::ENOENT), Verdict::No);
        assert_eq!(answer(libc::ENOPROTOOPT), Verdict::No);
        assert_eq!(answer(libc::EPERM), Verdict::Unknown);
        assert!(kernel_tls("espintcp mptcp tls\n").is_yes());
    }

    #[test]
    fn unix_sockets_are_known_to_copy() {
        let all = findings();
        let unix = all.iter().find(|finding| finding.name == "socket.unix_zerocopy");
        assert_eq!(unix.map(|finding| finding.verdict), Some(Verdict::No));
    }
}
