//! The sockets of the bare loops: UDP to a destination, and TCP to a thread that drains it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::thread::{self, JoinHandle};

use rustix::net::{RecvFlags, recv};

use super::PATIENCE;
use crate::error::{Errno, Error, Result};
use crate::sys::baseline::set_option;

/// A UDP socket connected to `destination`, cutting what it sends into segments if asked to.
pub(crate) fn udp(destination: SocketAddr, segment_bytes: Option<u16>) -> Result<UdpSocket> {
    let local = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let socket = UdpSocket::bind(local).map_err(|error| failed("bind", &error))?;
    socket.connect(destination).map_err(|error| failed("connect", &error))?;
    if let Some(bytes) = segment_bytes {
        set_option(socket.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, i32::from(bytes))?;
    }
    Ok(socket)
}

/// A loopback TCP connection whose far end throws everything away.
pub(crate) struct DrainedStream {
    near: TcpStream,
    drain: JoinHandle<()>,
}

impl DrainedStream {
    /// Connects, and starts the thread that drains.
    pub(crate) fn open() -> Result<Self> {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(local).map_err(|error| failed("bind", &error))?;
        let address = listener.local_addr().map_err(|error| failed("getsockname", &error))?;
        let near = TcpStream::connect(address).map_err(|error| failed("connect", &error))?;
        let (far, _) = listener.accept().map_err(|error| failed("accept", &error))?;
        far.set_read_timeout(Some(2 * PATIENCE)).map_err(|error| failed("setsockopt", &error))?;
        near.set_write_timeout(Some(PATIENCE)).map_err(|error| failed("setsockopt", &error))?;
        let drain = thread::Builder::new()
            .name("bench-drain".to_owned())
            .spawn(move || drain(&far))
            .map_err(|error| failed("clone", &error))?;
        Ok(Self { near, drain })
    }

    /// The end to send on.
    pub(crate) fn near(&self) -> &TcpStream {
        &self.near
    }

    /// Ends the connection and the thread.
    pub(crate) fn close(self) {
        // The thread also ends when nothing came for a while, so the join is bounded.
        let _ = self.near.shutdown(std::net::Shutdown::Both);
        let _ = self.drain.join();
    }
}

/// Receives until the end of the stream without looking at the bytes: `MSG_TRUNC` discards them in
/// the kernel, as the kernel's and liburing's receivers do.
fn drain(far: &TcpStream) {
    let mut unused = vec![0_u8; 1 << 20];
    while let Ok((_, received)) = recv(far, &mut unused[..], RecvFlags::TRUNC) {
        if received == 0 {
            return;
        }
    }
}

fn failed(call: &'static str, error: &std::io::Error) -> Error {
    Error::from_call(call, Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}
