//! What the handshake settles, and how it fails; over engines where there is more than a handshake.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Connection, HandshakeKind, ServerConfig,
    ServerConnection,
};
use sealift_tls::{Error, Result, TlsStream, rustls};
use support::kits::{equipped, over_engines};
use support::puppet::Puppet;
use support::{Authority, Theirs, both_versions, case_tls12, case_tls13, deadline, name, tcp_pair};

over_engines![
    Opens: a_client_without_the_certificate_that_is_asked_for_learns_it,
    our_client_sends_no_early_data;
    Seals: our_server_takes_no_early_data;
    Both: a_later_connection_resumes_an_earlier_one;
];

fn accept(far: TcpStream, config: Arc<ServerConfig>) -> JoinHandle<Result<TlsStream>> {
    let builder = equipped();
    thread::spawn(move || builder.accept(far, config, deadline(10)))
}

/// Both of our ends, after the handshake.
fn shake_hands(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    name: ServerName<'static>,
) -> (Result<TlsStream>, Result<TlsStream>) {
    let (near, far) = tcp_pair();
    let accepted = accept(far, server.clone());
    let connected = equipped().connect(near, client.clone(), name, deadline(10));
    (connected, accepted.join().unwrap())
}

#[test]
fn the_application_protocol_and_the_name_are_agreed_on() {
    let authority = Authority::new();
    for case in both_versions() {
        let mut client = authority.client_config(&case);
        let mut server = authority.server_config(&case);
        client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (client, server) = shake_hands(&client.into(), &server.into(), name());
        let (client, server) = (client.unwrap(), server.unwrap());
        for end in [&client, &server] {
            assert_eq!(end.alpn_protocol(), Some(&b"http/1.1"[..]));
            assert_eq!(end.protocol_version(), case.version.version);
            assert_eq!(end.negotiated_cipher_suite(), case.suite);
        }
        assert_eq!((client.server_name(), server.server_name()), (None, Some("sealift.example")));
        assert_eq!(client.peer_certificates().unwrap().len(), 1);
        assert!(server.peer_certificates().is_none());
    }
}

#[test]
fn a_client_shows_its_certificate_when_asked() {
    let authority = Authority::new();
    for case in both_versions() {
        let client = Arc::new(authority.certified_client(&case));
        let server = Arc::new(authority.demanding_server(&case));
        let (client, server) = shake_hands(&client, &server, name());
        assert!(client.is_ok());
        assert_eq!(server.unwrap().peer_certificates().unwrap().len(), 1);
    }
}

/// In TLS 1.3 the client's handshake is over before the server has looked at what it sent.
fn a_client_without_the_certificate_that_is_asked_for_learns_it() {
    let authority = Authority::new();
    for case in both_versions() {
        let server = Arc::new(authority.demanding_server(&case));
        let (client, server) = shake_hands(&authority.client(&case), &server, name());
        let refusal = server.unwrap_err();
        assert!(matches!(refusal, Error::Handshake(_)), "{refusal}");
        let found = match client {
            Err(error) => error,
            Ok(mut client) => client.halves().0.receive(&mut [0; 10]).unwrap_err(),
        };
        let expected = AlertDescription::CertificateRequired;
        assert!(matches!(found, Error::Alert(alert) if alert == expected), "{found}");
    }
}

#[test]
fn a_certificate_of_another_name_or_authority_is_refused_and_both_say_so() {
    let authority = Authority::new();
    for case in both_versions() {
        for (client, asked) in [
            (authority.client(&case), "other.example"),
            (Authority::new().client(&case), "sealift.example"),
        ] {
            let asked = asked.try_into().unwrap();
            let (client, server) = shake_hands(&client, &authority.server(&case), asked);
            let (client, server) = (client.unwrap_err(), server.unwrap_err());
            let named = matches!(client, Error::Handshake(rustls::Error::InvalidCertificate(_)));
            assert!(named, "{client}");
            assert!(matches!(server, Error::Alert(_)), "{server}");
        }
    }
}

#[test]
fn ends_without_a_common_suite_or_version_both_say_so() {
    let authority = Authority::new();
    let cases = support::cases();
    for (ours, theirs) in [(&cases[0], &cases[1]), (&case_tls13(), &case_tls12())] {
        let (client, server) =
            shake_hands(&authority.client(ours), &authority.server(theirs), name());
        let (client, server) = (client.unwrap_err(), server.unwrap_err());
        assert!(matches!(client, Error::Alert(_)), "{client}");
        assert!(matches!(server, Error::Handshake(_)), "{server}");
    }
}

/// Tickets reach the store of the configuration that the client shares.
fn a_later_connection_resumes_an_earlier_one() {
    let authority = Authority::new();
    for case in both_versions() {
        let mut server = authority.server_config(&case);
        server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
        let (client, server) = (authority.client(&case), Arc::new(server));
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let (near, accepted) = shake_hands(&client, &server, name());
            let (mut near, mut far) = (near.unwrap(), accepted.unwrap());
            far.send_owned(b"behind the tickets".to_vec()).unwrap();
            far.flush().unwrap();
            near.read_exact(&mut [0; 18]).unwrap();
            assert_eq!(near.handshake_kind(), expected, "{case:?}");
            assert_eq!(far.handshake_kind(), expected);
            assert_eq!(far.server_name(), Some("sealift.example"));
        }
    }
}

/// Early data can be replayed: a client that could send some to our server, which would take it if
/// it were rustls's, is not told that it may.
fn our_server_takes_no_early_data() {
    let authority = Authority::new();
    let mut client = authority.client_config(&case_tls13());
    client.enable_early_data = true;
    let mut server = authority.server_config(&case_tls13());
    server.max_early_data_size = 10_000;
    let (client, server) = (Arc::new(client), Arc::new(server));
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let (near, far) = tcp_pair();
        let accepted = accept(near, server.clone());
        let mut connection = ClientConnection::new(client.clone(), name()).unwrap();
        assert!(connection.early_data().is_none());
        let mut theirs = Theirs::shake_hands(far, connection.into()).unwrap();
        let mut ours = accepted.join().unwrap().unwrap();
        assert_eq!(ours.handshake_kind(), expected);
        ours.send_owned(b"behind the tickets".to_vec()).unwrap();
        ours.flush().unwrap();
        theirs.read_exact(&mut [0; 18]).unwrap();
    }
}

/// It would have to be written before there is a stream.
fn our_client_sends_no_early_data() {
    let authority = Authority::new();
    let mut server = authority.server_config(&case_tls13());
    server.max_early_data_size = 10_000;
    let server = Arc::new(server);
    for enable_secret_extraction in [false, true] {
        let mut client = authority.client_config(&case_tls13());
        (client.enable_early_data, client.enable_secret_extraction) =
            (true, enable_secret_extraction);
        let client = Arc::new(client);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (near, far) = tcp_pair();
            let connection = ServerConnection::new(server.clone()).unwrap();
            let theirs = thread::spawn(|| Theirs::shake_hands(far, connection.into()).unwrap());
            let ours = equipped().connect(near, client.clone(), name(), deadline(10));
            let (mut ours, mut theirs) = (ours.unwrap(), theirs.join().unwrap());
            let Connection::Server(connection) = &mut theirs.connection else { unreachable!() };
            assert!(connection.early_data().is_none());
            assert_eq!(ours.handshake_kind(), expected);
            theirs.write_all(b"behind the tickets").unwrap();
            ours.read_exact(&mut [0; 18]).unwrap();
        }
    }
}

#[test]
fn a_peer_that_speaks_something_else_is_refused_at_once() {
    let authority = Authority::new();
    let (mut near, far) = tcp_pair();
    let accepted = accept(far, authority.server(&case_tls13()));
    near.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let refusal = accepted.join().unwrap().unwrap_err();
    assert!(matches!(refusal, Error::Handshake(rustls::Error::InvalidMessage(_))), "{refusal}");
    let mut answer = Vec::new();
    let _ = near.read_to_end(&mut answer);
    assert_eq!(answer[..1], [21], "an alert");
}

#[test]
fn a_handshake_that_stalls_or_is_cut_ends_with_its_reason() {
    let authority = Authority::new();
    let (near, _far) = tcp_pair();
    let before = Instant::now();
    let soon = before + Duration::from_millis(100);
    let stalled = equipped().connect(near, authority.client(&case_tls13()), name(), soon);
    assert!(matches!(stalled, Err(Error::Deadline)), "{stalled:?}");
    assert!(before.elapsed() < Duration::from_secs(2));

    let (near, far) = tcp_pair();
    drop(far);
    let cut = equipped().connect(near, authority.client(&case_tls13()), name(), deadline(10));
    assert!(matches!(cut, Err(Error::Truncated | Error::Io(_))), "{cut:?}");
}

/// One engine seals for one stream, and only what it can.
#[test]
fn an_engine_is_taken_once_and_refused_if_it_does_not_suit() {
    let authority = Authority::new();
    for (suites, most_unit_bytes) in [(0, 1 << 20), (4, 16_384), (4, 16_385)] {
        let (puppet, strings) = Puppet::of(suites, most_unit_bytes);
        let (near, far) = tcp_pair();
        let accepted = accept(far, authority.server(&case_tls13()));
        let builder = TlsStream::builder().sealing_engine(puppet);
        let client = authority.client(&case_tls13());
        let ours = builder.clone().connect(near, client.clone(), name(), deadline(10));
        let suits = (suites, most_unit_bytes) == (4, 16_385);
        assert_eq!(ours.is_ok(), suits, "{ours:?}");
        assert!(accepted.join().unwrap().is_ok());
        let (near, _far) = tcp_pair();
        let again = builder.connect(near, client, name(), deadline(10)).unwrap_err();
        assert!(again.to_string().contains("its own"), "{again}");
        drop(ours);
        assert!(strings.is_dropped());
    }
}
