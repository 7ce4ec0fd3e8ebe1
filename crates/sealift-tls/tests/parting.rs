//! Connections that do not become streams although both ends have shaken hands: the peer, for whom
//! there is one, is told by an alert, and not by a reset.

mod support;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use rustix::net::sockopt;
use rustls::{AlertDescription, ClientConnection, Connection, ServerConnection};
use sealift_tls::sealift_crypto::{Capabilities, Done, Engine, EngineStats, Inline, Job, Stopped};
use sealift_tls::{AsyncTlsStream, Bytes, Error, Frame, TlsStream, TlsStreamBuilder, rustls};
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
    TlsStream::builder().sealing_engine(Puppet::<Bytes, Frame>::of(0, 1 << 20).0)
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

/// It is made once for a stream, and not for a peer that has not shaken hands.
#[test]
fn an_engine_is_made_when_both_ends_have_agreed() {
    let (authority, case) = (Authority::new(), case_tls13());
    let made = Arc::new(AtomicUsize::new(0));
    let builder = || {
        let made = made.clone();
        TlsStream::builder().sealing_engine_with(move || {
            made.fetch_add(1, Ordering::SeqCst);
            Ok(Inline::new())
        })
    };
    let (near, mut far) = tcp_pair();
    let server = authority.server(&case);
    far.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let refused = builder().accept(near, server.clone(), deadline(20)).unwrap_err();
    assert!(matches!(refused, Error::Handshake(_)), "{refused}");
    assert_eq!(made.load(Ordering::SeqCst), 0);
    let (near, far) = tcp_pair();
    let client = authority.client(&case);
    let theirs = thread::spawn(move || {
        let mut read = Vec::new();
        Theirs::client(far, client).read_to_end(&mut read).unwrap();
        read
    });
    let shared = builder();
    let mut ours = shared.clone().accept(near, server.clone(), deadline(20)).unwrap();
    assert_eq!(made.load(Ordering::SeqCst), 1);
    ours.send_owned(&b"sealed by it"[..]).unwrap();
    let closed = ours.close(deadline(20)).unwrap();
    assert_eq!(closed.stats.sealing.map(|engine| engine.jobs), Some(1));
    assert_eq!(theirs.join().unwrap(), b"sealed by it");
    let again = shared.accept(tcp_pair().0, server, deadline(20)).unwrap_err();
    assert!(again.to_string().contains("another stream has taken the engine"), "{again}");
}

/// The peer is told that there is none.
#[test]
fn an_engine_that_is_not_to_be_had_is_the_streams_failure() {
    let (authority, case) = (Authority::new(), case_tls13());
    let (near, far) = tcp_pair();
    arm(&near);
    let client = ClientConnection::new(authority.client(&case), name()).unwrap().into();
    let theirs = thread::spawn(move || heard(far, client));
    let builder = TlsStream::builder().sealing_engine_with(|| {
        Err::<Inline<Bytes, Frame>, _>(Error::Engine {
            engine: "none",
            what: "there is none today",
        })
    });
    let refused = builder.accept(near, authority.server(&case), deadline(20)).unwrap_err();
    assert!(matches!(refused, Error::Engine { engine: "none", .. }), "{refused}");
    let alert = rustls::Error::AlertReceived(AlertDescription::InternalError);
    assert_eq!(theirs.join().unwrap(), alert);
}

/// One whose descriptor no runtime can wait on.
struct Unwatchable(Inline<Bytes, Frame>, File);

impl Engine<Bytes, Frame> for Unwatchable {
    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    fn submit(&mut self, jobs: &mut VecDeque<Job<Bytes, Frame>>) -> Stopped {
        self.0.submit(jobs)
    }

    fn poll(&mut self, done: &mut VecDeque<Done<Bytes, Frame>>) -> usize {
        self.0.poll(done)
    }

    fn in_flight(&self) -> usize {
        self.0.in_flight()
    }

    fn wait(&mut self, deadline: Instant) {
        self.0.wait(deadline);
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.1.as_fd())
    }

    fn stats(&self) -> EngineStats {
        self.0.stats()
    }
}

/// There is a stream then, but none for a runtime.
#[tokio::test]
async fn a_stream_that_cannot_be_watched_tells_the_peer() {
    let (authority, case) = (Authority::new(), case_tls13());
    let (near, far) = tcp_pair();
    arm(&near);
    let client = ClientConnection::new(authority.client(&case), name()).unwrap().into();
    let theirs = thread::spawn(move || heard(far, client));
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    let builder = TlsStream::builder().sealing_engine(Unwatchable(Inline::new(), file));
    let server = authority.server(&case);
    let ours = AsyncTlsStream::accept(builder, near, server, deadline(20)).await;
    assert!(matches!(ours, Err(Error::Io(_))), "{ours:?}");
    let alert = rustls::Error::AlertReceived(AlertDescription::InternalError);
    assert_eq!(theirs.join().unwrap(), alert);
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
