//! Both ends of a connection behind its handshake: ours, and rustls's or another of ours.

use std::net::TcpStream;
use std::thread;

#[cfg(feature = "tokio")]
use sealift_tls::AsyncTlsStream;
use sealift_tls::{TlsStream, TlsStreamBuilder};

use super::{Authority, Case, Theirs, deadline, name, tcp_pair};

/// Our client, built so, and rustls's server.
pub fn ours_and_theirs(builder: TlsStreamBuilder, case: &Case) -> (TlsStream, Theirs) {
    ours_and_theirs_over(tcp_pair(), builder, case)
}

/// The same over these sockets.
pub fn ours_and_theirs_over(
    (near, far): (TcpStream, TcpStream),
    builder: TlsStreamBuilder,
    case: &Case,
) -> (TlsStream, Theirs) {
    let authority = Authority::new();
    let server = authority.server(case);
    let theirs = thread::spawn(move || Theirs::server(far, server));
    let ours = builder.connect(near, authority.client(case), name(), deadline(20)).unwrap();
    (ours, theirs.join().unwrap())
}

/// Our server, built so, and rustls's client.
pub fn our_server_and_theirs(builder: TlsStreamBuilder, case: &Case) -> (TlsStream, Theirs) {
    let authority = Authority::new();
    let (near, far) = tcp_pair();
    let client = authority.client(case);
    let theirs = thread::spawn(move || Theirs::client(far, client));
    let ours = builder.accept(near, authority.server(case), deadline(20)).unwrap();
    (ours, theirs.join().unwrap())
}

/// Our client and our server, each built so.
pub fn both_ours(
    case: &Case,
    near: TlsStreamBuilder,
    far: TlsStreamBuilder,
) -> (TlsStream, TlsStream) {
    let authority = Authority::new();
    let (client, server) = (authority.client(case), authority.server(case));
    let sockets = tcp_pair();
    let far = thread::spawn(move || far.accept(sockets.1, server, deadline(20)).unwrap());
    let near = near.connect(sockets.0, client, name(), deadline(20)).unwrap();
    (near, far.join().unwrap())
}

/// A TCP connection whose near end takes little to send, and whose far end little to read.
pub fn narrow_tcp_pair() -> (TcpStream, TcpStream) {
    let (near, far) = tcp_pair();
    rustix::net::sockopt::set_socket_send_buffer_size(&near, 64 << 10).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&far, 64 << 10).unwrap();
    (near, far)
}

/// Our client for tasks, built so, and rustls's server, over these sockets.
#[cfg(feature = "tokio")]
pub async fn tasks_and_theirs_over(
    (near, far): (TcpStream, TcpStream),
    builder: TlsStreamBuilder,
    case: &Case,
) -> (AsyncTlsStream, Theirs) {
    let authority = Authority::new();
    let server = authority.server(case);
    let theirs = thread::spawn(move || Theirs::server(far, server));
    let client = authority.client(case);
    let ours = AsyncTlsStream::connect(builder, near, client, name(), deadline(20)).await.unwrap();
    (ours, theirs.join().unwrap())
}
