//! What a call leaves behind, because the peer keeps it waiting, leaves all the same: whoever waits
//! to read, reads, or asks for the figures sees to it.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sealift_crypto::Inline;
use sealift_io::Backend;
use sealift_tls::{Error, TlsReader, TlsStream, TlsStreamBuilder, TlsWriter};
use support::{Authority, Theirs, case_tls13, deadline, name, pattern, tcp_pair};

const BACKENDS: [Backend; 3] = [Backend::Uring, Backend::MsgZerocopy, Backend::Copy];
/// A hang is longer.
const SOON: Duration = Duration::from_secs(10);
/// Others have come to rest by then.
const A_WHILE: Duration = Duration::from_millis(100);

/// Ours, on sockets of which each holds little, and rustls's server.
fn ours_and_theirs(builder: TlsStreamBuilder) -> (TlsStream, Theirs) {
    let authority = Authority::new();
    let (near, far) = tcp_pair();
    rustix::net::sockopt::set_socket_send_buffer_size(&near, 64 << 10).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&far, 64 << 10).unwrap();
    let server = authority.server(&case_tls13());
    let theirs = thread::spawn(move || Theirs::server(far, server));
    let client = authority.client(&case_tls13());
    let ours = builder.connect(near, client, name(), deadline(20)).unwrap();
    let theirs = theirs.join().unwrap();
    theirs.socket.set_read_timeout(Some(SOON)).unwrap();
    (ours, theirs)
}

/// Both ours, on such sockets.
fn both_ours() -> (TlsStream, TlsStream) {
    let authority = Authority::new();
    let (near, far) = tcp_pair();
    rustix::net::sockopt::set_socket_send_buffer_size(&near, 64 << 10).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&far, 64 << 10).unwrap();
    let server = authority.server(&case_tls13());
    let far = thread::spawn(move || TlsStream::accept(far, server, deadline(20)).unwrap());
    let builder = TlsStream::builder().backend(Backend::Copy);
    let ours = builder.connect(near, authority.client(&case_tls13()), name(), deadline(20));
    (ours.unwrap(), far.join().unwrap())
}

/// A reader that waits for a byte, since before this returns.
fn waiting(mut reader: TlsReader) -> JoinHandle<()> {
    let reading = thread::spawn(move || assert_eq!(reader.receive(&mut [0; 10]).unwrap(), 1));
    thread::sleep(A_WHILE);
    reading
}

/// More than the sockets hold, and no more than is taken at once.
fn more_than_fits() -> Vec<u8> {
    pattern(700_000, 3)
}

/// Writes as much of `sent` as is taken until a deadline.
fn write_until_late(writer: &mut TlsWriter, sent: &[u8]) -> usize {
    writer.set_write_deadline(Some(Instant::now() + A_WHILE));
    let taken = writer.write(sent).unwrap();
    assert!(taken > 0);
    taken
}

fn expect(theirs: &mut Theirs, sent: &[u8], what: &str) {
    let mut read = vec![0; sent.len()];
    theirs.read_exact(&mut read).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(read == sent, "{what}");
}

/// Reads in vain, again and again, until `there` is done.
fn read_until_done<T>(ours: &mut TlsStream, there: JoinHandle<T>) -> T {
    while !there.is_finished() {
        ours.set_read_deadline(Some(Instant::now() + Duration::from_millis(20)));
        assert_eq!(ours.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::TimedOut);
    }
    there.join().unwrap()
}

/// The engine works when it is asked, and so tells nobody of anything.
#[test]
fn what_is_given_away_leaves_while_a_reader_waits() {
    for backend in BACKENDS {
        let builder = TlsStream::builder().backend(backend).sealing_engine(Inline::new());
        let (ours, mut theirs) = ours_and_theirs(builder);
        let (reader, mut writer) = ours.split();
        let reading = waiting(reader);
        writer.send_owned(more_than_fits()).unwrap();
        thread::sleep(A_WHILE);
        expect(&mut theirs, &more_than_fits(), &format!("{backend}"));
        theirs.write_all(b"!").unwrap();
        reading.join().unwrap();
    }
}

#[test]
fn what_a_late_write_took_leaves_while_a_reader_waits() {
    for backend in BACKENDS {
        let (ours, mut theirs) = ours_and_theirs(TlsStream::builder().backend(backend));
        let (reader, mut writer) = ours.split();
        let reading = waiting(reader);
        let taken = write_until_late(&mut writer, &more_than_fits());
        expect(&mut theirs, &more_than_fits()[..taken], &format!("{backend}"));
        theirs.write_all(b"!").unwrap();
        reading.join().unwrap();
    }
}

/// Nobody reads here.
#[test]
fn what_a_late_write_took_leaves_when_figures_are_asked_for() {
    let stats: fn(&TlsWriter) = |writer| drop(writer.stats());
    let unacknowledged: fn(&TlsWriter) = |writer| _ = writer.unacknowledged_bytes();
    for ask in [stats, unacknowledged] {
        let (ours, mut theirs) = ours_and_theirs(TlsStream::builder().backend(Backend::Copy));
        let (_reader, mut writer) = ours.split();
        let taken = write_until_late(&mut writer, &more_than_fits());
        let reading = thread::spawn(move || {
            expect(&mut theirs, &more_than_fits()[..taken], "figures");
        });
        while !reading.is_finished() {
            ask(&writer);
            thread::sleep(Duration::from_millis(10));
        }
        reading.join().unwrap();
    }
}

/// What was refused does not leave, and what was taken before does.
#[test]
fn what_was_taken_of_a_gift_leaves_with_the_reads() {
    for backend in BACKENDS {
        let builder = TlsStream::builder().backend(backend).sealing_engine(Inline::new());
        let (mut ours, mut theirs) = ours_and_theirs(builder);
        let sent = pattern(20 << 20, 5);
        ours.set_write_deadline(Some(Instant::now() + A_WHILE));
        let refused = ours.send_owned(sent.clone()).unwrap_err();
        assert!(matches!(refused.error, Error::Deadline), "{backend}: {refused}");
        let taken = sent.len() - refused.rest.len();
        assert!(taken > 0, "{backend}");
        let there = thread::spawn(move || {
            expect(&mut theirs, &sent[..taken], &format!("{backend}"));
            theirs
        });
        read_until_done(&mut ours, there);
    }
}

/// The peer learns of the new key, though nothing is written any more.
#[test]
fn a_request_for_a_key_update_leaves_with_the_reads() {
    let (mut ours, _far) = both_ours();
    let fits = write_until_stuck(&mut ours, usize::MAX).unwrap_err();
    for _ in 0..50 {
        let (mut ours, mut far) = both_ours();
        let Ok(mut sent) = write_until_stuck(&mut ours, fits - 20_000) else { continue };
        let Some(more) = write_until_a_request_is_stuck(&mut ours) else { continue };
        sent += more;
        let asked = ours.stats().key_updates_sent;
        let there = thread::spawn(move || {
            far.read_exact(&mut vec![0; sent]).unwrap();
            let late = deadline(10);
            while far.stats().key_updates_received < asked {
                assert!(Instant::now() < late, "{}", far.stats());
                far.set_read_deadline(Some(Instant::now() + A_WHILE));
                assert_eq!(far.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::TimedOut);
            }
            far
        });
        read_until_done(&mut ours, there);
        return;
    }
    panic!("each time it was a write that found the socket full");
}

fn is_stuck(ours: &TlsStream) -> bool {
    ours.stats().sender.would_block > 0
}

/// Writes about `most` bytes, and says how many; as an error, if there was no room for the last.
fn write_until_stuck(ours: &mut TlsStream, most: usize) -> Result<usize, usize> {
    ours.set_write_deadline(Some(Instant::now()));
    let mut sent = 0;
    while sent < most {
        sent += ours.write(&[1; 4000]).unwrap();
        if is_stuck(ours) {
            return Err(sent);
        }
    }
    Ok(sent)
}

/// How much was written before a request found no room; `None` if a write was the first that did.
fn write_until_a_request_is_stuck(ours: &mut TlsStream) -> Option<usize> {
    let mut sent = 0;
    loop {
        sent += ours.write(&[1; 10]).unwrap();
        if is_stuck(ours) {
            return None;
        }
        ours.request_key_update().unwrap();
        if is_stuck(ours) {
            return Some(sent);
        }
    }
}
