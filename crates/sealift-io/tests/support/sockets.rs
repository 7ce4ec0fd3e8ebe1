//! Pairs of connected sockets, and a reader that collects what arrives.

use std::io::Read;
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A moment `seconds` from now.
pub fn deadline(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

/// A TCP connection over loopback.
pub fn tcp_pair() -> (OwnedFd, OwnedFd) {
    tcp_pair_through(&TcpListener::bind("127.0.0.1:0").unwrap())
}

/// A TCP connection to an address of this machine.
pub fn tcp_pair_at(address: impl Into<IpAddr>) -> (OwnedFd, OwnedFd) {
    tcp_pair_through(&TcpListener::bind((address.into(), 0)).unwrap())
}

/// A TCP connection to a listener, wherever that is.
pub fn tcp_pair_through(listener: &TcpListener) -> (OwnedFd, OwnedFd) {
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    near.set_nodelay(true).unwrap();
    let (far, _) = listener.accept().unwrap();
    (near.into(), far.into())
}

/// A pair of unix stream sockets.
pub fn unix_pair() -> (OwnedFd, OwnedFd) {
    let (near, far) = UnixStream::pair().unwrap();
    (near.into(), far.into())
}

/// Two UDP sockets on loopback; the first is connected to the second if asked.
pub fn udp_pair(v6: bool, connected: bool) -> (UdpSocket, UdpSocket) {
    let any = if v6 { "[::1]:0" } else { "127.0.0.1:0" };
    let (near, far) = (UdpSocket::bind(any).unwrap(), UdpSocket::bind(any).unwrap());
    far.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    if connected {
        near.connect(far.local_addr().unwrap()).unwrap();
    }
    (near, far)
}

/// A thread that reads a stream to its end.
pub struct Drain(JoinHandle<Vec<u8>>);

impl Drain {
    pub fn collect(far: OwnedFd) -> Self {
        Self(std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // Reads work alike on every kind of stream.
            let outcome = std::fs::File::from(far).read_to_end(&mut bytes);
            if let Err(error) = outcome {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
            }
            bytes
        }))
    }

    /// Everything that arrived until the stream ended or was reset.
    pub fn join(self) -> Vec<u8> {
        self.0.join().unwrap()
    }
}
