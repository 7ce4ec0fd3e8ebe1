//! How a stream ends on a runtime: cut short by the peer, or by ours with bytes still on their way.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sealift_io::ktls::KernelTls;
use sealift_io::{Backend, Policy};
use sealift_tls::sealift_crypto::Inline;
use sealift_tls::{AsyncTlsStream, Error, Ktls, TlsStream, TlsStreamBuilder};
use support::kits::{each_kit, equipped};
use support::skip::skip;
use support::{Authority, Case, Theirs, case_tls12, case_tls13, deadline, name, pattern, tcp_pair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);
const A_WHILE: Duration = Duration::from_millis(100);
const BACKENDS: [Backend; 3] = [Backend::Uring, Backend::MsgZerocopy, Backend::Copy];
/// More than their socket takes before they read, and less than ours does.
const SENT_BYTES: usize = 200_000;

/// Our client, whose socket takes all that it sends, and rustls's server, whose socket does not.
async fn ours_and_theirs(builder: TlsStreamBuilder, case: &Case) -> (AsyncTlsStream, Theirs) {
    let authority = Authority::new();
    let (near, far) = tcp_pair();
    rustix::net::sockopt::set_socket_send_buffer_size(&near, 1 << 20).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&far, 32 << 10).unwrap();
    let server = authority.server(case);
    let theirs = thread::spawn(move || Theirs::server(far, server));
    let client = authority.client(case);
    let ours = AsyncTlsStream::connect(builder, near, client, name(), deadline(20)).await.unwrap();
    (ours, theirs.join().unwrap())
}

/// What was read, and how that ended.
type WhatWasRead = (Vec<u8>, std::io::Result<usize>);

/// Reads to the end, once it is told to.
fn read_when_told(mut theirs: Theirs) -> (mpsc::Sender<()>, JoinHandle<WhatWasRead>) {
    let (tell, told) = mpsc::channel();
    let reading = thread::spawn(move || {
        theirs.socket.set_read_timeout(Some(SOON)).unwrap();
        // Unread at ours: closing such a socket resets the connection.
        theirs.write_all(b"!").unwrap();
        told.recv().unwrap();
        // What waits for nobody has closed the socket by then.
        thread::sleep(Duration::from_millis(50));
        let mut read = Vec::new();
        let ended = theirs.read_to_end(&mut read);
        (read, ended)
    });
    (tell, reading)
}

/// Every way out that there is here.
fn ways_out(test: &str) -> Vec<TlsStreamBuilder> {
    let by = |backend| TlsStream::builder().backend(backend).policy(Policy::AlwaysZeroCopy);
    let mut ways: Vec<_> = BACKENDS.map(by).into();
    match KernelTls::attach(tcp_pair().0) {
        Ok(()) => ways.push(TlsStream::builder().ktls(Ktls::On)),
        Err(why) => skip(&format!("{test}: kernel TLS"), &why.to_string()),
    }
    ways
}

/// TCP ends, and no close_notify came: what was read may be a part.
#[tokio::test]
async fn the_end_of_tcp_without_close_notify_is_an_error_every_time() {
    for _telltale in each_kit("the_end_of_tcp_without_close_notify_is_an_error_every_time") {
        for case in [case_tls13(), case_tls12()] {
            let (mut ours, mut theirs) = ours_and_theirs(equipped(), &case).await;
            theirs.write_all(b"the first part").unwrap();
            theirs.socket.shutdown(Shutdown::Write).unwrap();
            let mut read = Vec::new();
            let cut = timeout(SOON, ours.read_to_end(&mut read)).await.unwrap().unwrap_err();
            assert_eq!((cut.kind(), &*read), (ErrorKind::UnexpectedEof, &b"the first part"[..]));
            let again = timeout(SOON, ours.read(&mut [0; 10])).await.unwrap().unwrap_err();
            assert_eq!(again.kind(), ErrorKind::UnexpectedEof);
            // Only what the peer sends has ended.
            timeout(SOON, ours.write_all(b"still writing")).await.unwrap().unwrap();
            theirs.read_exact(&mut [0; 13]).unwrap();
        }
    }
}

#[tokio::test]
async fn a_record_that_is_cut_at_the_end_of_tcp_is_an_error() {
    for _telltale in each_kit("a_record_that_is_cut_at_the_end_of_tcp_is_an_error") {
        let (mut ours, mut theirs) = ours_and_theirs(equipped(), &case_tls13()).await;
        theirs.connection.writer().write_all(&[7; 1000]).unwrap();
        let mut wire = Vec::new();
        theirs.connection.write_tls(&mut wire).unwrap();
        theirs.socket.write_all(&wire[..wire.len() - 1]).unwrap();
        theirs.socket.shutdown(Shutdown::Write).unwrap();
        let mut read = Vec::new();
        let cut = timeout(SOON, ours.read_to_end(&mut read)).await.unwrap().unwrap_err();
        assert_eq!((cut.kind(), read.len()), (ErrorKind::UnexpectedEof, 0));
    }
}

/// What is dropped behind `close` has arrived, whatever of the peer's was never read: its byte, and
/// in TLS 1.3 its tickets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_waits_until_everything_has_arrived() {
    for shuts_down in [true, false] {
        for builder in ways_out("close_waits_until_everything_has_arrived") {
            close_delivers(builder, shuts_down).await;
        }
        for _telltale in each_kit("close_waits_until_everything_has_arrived") {
            close_delivers(equipped(), shuts_down).await;
        }
    }
}

async fn close_delivers(builder: TlsStreamBuilder, shuts_down: bool) {
    let how = format!("{builder:?} {shuts_down}");
    let (mut ours, theirs) = ours_and_theirs(builder, &case_tls13()).await;
    let (tell, reading) = read_when_told(theirs);
    let sent = pattern(SENT_BYTES, 3);
    timeout(SOON, ours.write_all(&sent)).await.unwrap().unwrap();
    if shuts_down {
        timeout(SOON, ours.shutdown()).await.unwrap().unwrap();
    }
    tell.send(()).unwrap();
    let closed = ours.close(deadline(20)).await.unwrap();
    assert!(!closed.aborted && closed.error.is_none(), "{how}: {closed:?}");
    assert!(matches!(ours.close(deadline(20)).await, Err(Error::Closed)), "{how}");
    drop(ours);
    let (read, ended) = reading.join().unwrap();
    assert!(read == sent, "{how}: {} bytes, {ended:?}", read.len());
    ended.unwrap();
}

/// A peer that reads nothing: at the deadline it is told, and what is lost is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_ends_by_its_deadline_and_says_what_was_lost() {
    let mut ways = ways_out("close_ends_by_its_deadline_and_says_what_was_lost");
    ways.push(TlsStream::builder().sealing_engine(Inline::new()));
    for builder in ways {
        let how = format!("{builder:?}");
        let (mut ours, mut theirs) = ours_and_theirs(builder, &case_tls13()).await;
        timeout(SOON, ours.write_all(&pattern(SENT_BYTES, 3))).await.unwrap().unwrap();
        // Dropped, it may be called again.
        assert!(timeout(A_WHILE, ours.close(deadline(20))).await.is_err(), "{how}");
        let before = Instant::now();
        let closed = ours.close(Instant::now() + A_WHILE).await.unwrap();
        assert!(before.elapsed() < Duration::from_secs(5), "{how}");
        assert!(closed.aborted && closed.unacknowledged_bytes > 0, "{how}: {closed:?}");
        assert!(theirs.read_to_end(&mut Vec::new()).is_err(), "{how}");
    }
}

/// What ended the connection before is what closing it says.
#[tokio::test]
async fn close_says_what_ended_the_connection() {
    for _telltale in each_kit("close_says_what_ended_the_connection") {
        let (mut ours, mut theirs) = ours_and_theirs(equipped(), &case_tls13()).await;
        theirs.socket.write_all(&[&[23, 3, 3, 0, 40], &[7; 40][..]].concat()).unwrap();
        let read = timeout(SOON, ours.read(&mut [0; 10])).await.unwrap();
        assert_eq!(read.unwrap_err().kind(), ErrorKind::InvalidData);
        let closed = timeout(SOON, ours.close(deadline(20))).await.unwrap();
        assert!(matches!(closed, Err(Error::Inauthentic)), "{closed:?}");
        let told = format!("{:?}", theirs.read_to_end(&mut Vec::new()).unwrap_err());
        assert!(told.contains("AlertReceived(BadRecordMac)"), "{told}");
    }
}

/// A stream that was made without a runtime is refused where there is none, and the peer is told.
#[test]
fn a_stream_without_a_runtime_is_refused() {
    let authority = Authority::new();
    let (near, far) = tcp_pair();
    let server = authority.server(&case_tls13());
    let theirs = thread::spawn(move || Theirs::server(far, server));
    let client = authority.client(&case_tls13());
    let ours = TlsStream::builder().connect(near, client, name(), deadline(20)).unwrap();
    let mut theirs = theirs.join().unwrap();
    let refused = AsyncTlsStream::new(ours).unwrap_err();
    assert!(matches!(refused, Error::Caller { .. }), "{refused}");
    let told = format!("{:?}", theirs.read_to_end(&mut Vec::new()).unwrap_err());
    assert!(told.contains("AlertReceived(InternalError)"), "{told}");
}
