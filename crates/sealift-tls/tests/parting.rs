//! Connections that do not become streams although both ends have shaken hands: the peer, for whom
//! there is one, is told by an alert, and not by a reset.

mod support;

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

use rustix::net::sockopt;
use rustls::{AlertDescription, ClientConnection, Connection, ServerConnection};
use sealift_tls::{AsyncTlsStream, Error, Frame, TlsStream, TlsStreamBuilder, rustls};
use support::puppet::Puppet;
use support::{Authority, Case, Theirs, case_tls12, case_tls13, deadline, name, tcp_pair};

/// A builder whose streams fail behind the handshake, and what they say.
type Unfit = (Case, fn() -> TlsStreamBuilder, &'static str);

const UNFIT: [fn() -> Unfit; 4] = [
    || (case_tls12(), || TlsStream::builder().pad_to_multiple_of(256), "only TLS 1.3 can pad"),
    || (case_tls13(), no_suites, "cannot seal the records"),
    || (case_tls12(), no_suites, "cannot seal the records"),
    || (case_tls13(), opens_no_suites, "cannot open the records"),
];

fn no_suites() -> TlsStreamBuilder {
    TlsStream::builder().sealing_engine(Puppet::<sealift_tls::Bytes, Frame>::of(0, 1 << 20).0)
}

fn opens_no_suites() -> TlsStreamBuilder {
    TlsStream::builder().opening_engine(Puppet::<Arc<[u8]>, Vec<u8>>::of(0, 1 << 20).0)
}

/// The way that `sealift` closes a socket unless all went well.
fn arm(socket: &TcpStream) {
    sockopt::set_socket_linger(socket, Some(std::time::Duration::ZERO)).unwrap();
}

/// What the peer hears behind its handshake.
fn heard(socket: TcpStream, connection: Connection) -> rustls::Error {
    let mut theirs = match Theirs::shake_hands(socket, connection) {
        Ok(theirs) => theirs,
        Err(error) => return error.downcast().unwrap(),
    };
    let error = theirs.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    error.downcast().unwrap()
}

fn assert_told(ours: &Error, why: &str, heard: rustls::Error) {
    assert!(matches!(ours, Error::Caller { .. }) && ours.to_string().contains(why), "{ours}");
    assert_eq!(heard, rustls::Error::AlertReceived(AlertDescription::InternalError), "{why}");
}

#[test]
fn what_fails_behind_the_handshake_is_told_to_the_peer() {
    let authority = Authority::new();
    for unfit in UNFIT {
        let (case, builder, why) = unfit();
        for accepts in [false, true] {
            let (near, far) = tcp_pair();
            arm(&near);
            let (client, server) = (authority.client(&case), authority.server(&case));
            let theirs = match accepts {
                true => ClientConnection::new(client.clone(), name()).unwrap().into(),
                false => ServerConnection::new(server.clone()).unwrap().into(),
            };
            let theirs = thread::spawn(move || heard(far, theirs));
            let ours = match accepts {
                true => builder().accept(near, server, deadline(20)),
                false => builder().connect(near, client, name(), deadline(20)),
            };
            assert_told(&ours.unwrap_err(), why, theirs.join().unwrap());
        }
    }
}

#[tokio::test]
async fn it_is_told_by_a_task_as_well() {
    let authority = Authority::new();
    for unfit in UNFIT {
        let (case, builder, why) = unfit();
        let (near, far) = tcp_pair();
        arm(&near);
        let theirs = ClientConnection::new(authority.client(&case), name()).unwrap().into();
        let theirs = thread::spawn(move || heard(far, theirs));
        let server = authority.server(&case);
        let ours = AsyncTlsStream::accept(builder(), near, server, deadline(20)).await;
        assert_told(&ours.unwrap_err(), why, theirs.join().unwrap());
    }
}
