//! A ticket that cannot be read is the peer's fault, and the peer is told so.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

use rustls::ConnectionTrafficSecrets;
use sealift_crypto::{Key, Limits, Nonce, Suite};
use sealift_tls::{Error, TlsStream, Violation, rustls};
use support::{Authority, Theirs, case_tls13, deadline, name, tcp_pair};

const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
const TAG_BYTES: usize = 16;

/// One direction of the other end, whose records are made by hand.
struct Direction {
    key: Key,
    iv: [u8; 12],
    number: u64,
}

impl Direction {
    fn new((number, secrets): (u64, ConnectionTrafficSecrets)) -> Self {
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else {
            panic!("another suite")
        };
        let limits = Limits::tls(Suite::Aes256Gcm);
        let key = Key::new(Suite::Aes256Gcm, key.as_ref(), limits).unwrap();
        Self { key, iv: iv.as_ref().try_into().unwrap(), number }
    }

    fn nonce(&mut self) -> Nonce {
        self.number += 1;
        Nonce::of(&self.iv, self.number - 1)
    }

    /// A record of TLS 1.3.
    fn seal(&mut self, content: u8, text: &[u8]) -> Vec<u8> {
        let mut body = [text, &[content], &[0; TAG_BYTES]].concat();
        let header = [23, 3, 3, 0, body.len() as u8];
        let nonce = self.nonce();
        self.key.seal_in_place(nonce, &header, &mut body).unwrap();
        [&header[..], &body].concat()
    }

    /// The next record: its text, and its type behind it.
    fn open(&mut self, socket: &mut TcpStream) -> Vec<u8> {
        let mut header = [0; 5];
        socket.read_exact(&mut header).unwrap();
        let mut body = vec![0; usize::from(header[4])];
        socket.read_exact(&mut body).unwrap();
        let nonce = self.nonce();
        self.key.open_in_place(nonce, &header, &mut body).unwrap();
        body.truncate(body.len() - TAG_BYTES);
        body
    }
}

#[test]
fn a_malformed_ticket_is_a_violation_and_the_peer_is_told() {
    let (authority, case) = (Authority::new(), case_tls13());
    let (near, far) = tcp_pair();
    let mut server = authority.server_config(&case);
    server.enable_secret_extraction = true;
    let theirs = thread::spawn(move || Theirs::server(far, Arc::new(server)));
    let client = authority.client(&case);
    let mut ours = TlsStream::connect(near, client, name(), deadline(10)).unwrap();
    let Theirs { connection, mut socket } = theirs.join().unwrap();
    let secrets = connection.dangerous_extract_secrets().unwrap();
    let (mut out, mut back) = (Direction::new(secrets.tx), Direction::new(secrets.rx));
    socket.write_all(&out.seal(HANDSHAKE, &[4, 0, 0, 1, 0])).unwrap();
    let found = ours.read(&mut [0; 10]).unwrap_err();
    assert_eq!(found.kind(), ErrorKind::InvalidData);
    let found = found.downcast::<Error>().unwrap();
    assert!(matches!(found, Error::Peer(Violation::MalformedHandshake)), "{found}");
    // decode_error, which is fatal.
    assert_eq!(back.open(&mut socket), [2, 50, ALERT]);
}
