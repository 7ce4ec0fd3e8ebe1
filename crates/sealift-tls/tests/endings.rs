//! How a stream ends: by close_notify, cut short, late, or dropped; over engines as without.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use sealift_io::Pool;
use sealift_tls::{Bytes, Error, TlsStream, TlsWriter, rustls};
use support::ends::{ours_and_theirs, ours_and_theirs_over};
use support::engines::{Telltale, sound};
use support::kits::{equip, equipped, over_engines};
use support::puppet::Puppet;
use support::{
    Authority, Theirs, both_versions, case_tls13, deadline, endings, name, pattern, tcp_pair,
};

over_engines![
    Opens: the_end_of_tcp_without_close_notify_is_an_error_every_time,
    nothing_is_read_behind_close_notify,
    a_peer_that_stalls_within_a_record_meets_the_deadline_and_may_go_on,
    an_error_found_by_the_reader_is_what_flushing_and_closing_say,
    a_flipped_bit_on_the_wire_ends_both_halves_and_tells_the_peer;
    Seals: a_stream_dropped_at_any_moment_returns_its_frames;
    Both: reading_goes_on_after_our_close_notify_and_writing_after_theirs,
    the_end_waits_for_no_peer_and_close_does,
    an_error_found_by_the_reader_wakes_a_writer_that_waits;
];

fn the_end_of_tcp_without_close_notify_is_an_error_every_time() {
    for case in both_versions() {
        let (mut ours, mut theirs) = ours_and_theirs(equipped(), &case);
        endings::the_end_of_tcp_is_an_error(&mut ours, &mut theirs);
    }
}

#[test]
fn a_record_that_is_cut_at_the_end_of_tcp_is_an_error() {
    let (mut ours, mut theirs) = ours_and_theirs(TlsStream::builder(), &case_tls13());
    theirs.connection.writer().write_all(&[7; 1000]).unwrap();
    let mut wire = Vec::new();
    theirs.connection.write_tls(&mut wire).unwrap();
    theirs.socket.write_all(&wire[..wire.len() - 1]).unwrap();
    theirs.socket.shutdown(Shutdown::Write).unwrap();
    let mut read = Vec::new();
    assert_eq!(ours.read_to_end(&mut read).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert!(read.is_empty());
}

fn reading_goes_on_after_our_close_notify_and_writing_after_theirs() {
    for case in both_versions() {
        let (mut ours, mut theirs) = ours_and_theirs(equipped(), &case);
        endings::each_way_is_ended(&mut ours, &mut theirs);

        let (mut ours, mut theirs) = ours_and_theirs(equipped(), &case);
        theirs.close();
        assert_eq!(ours.read(&mut [0; 10]).unwrap(), 0);
        ours.send_owned(b"still writing".to_vec()).unwrap();
        ours.flush().unwrap();
        theirs.read_exact(&mut [0; 13]).unwrap();
        assert!(!ours.close(deadline(10)).unwrap().aborted);
        assert_eq!(theirs.read(&mut [0; 10]).unwrap(), 0);
    }
}

fn the_end_waits_for_no_peer_and_close_does() {
    for case in both_versions() {
        let (mut ours, mut theirs) = ours_and_theirs(equipped(), &case);
        // More than the one end's kernel takes while nobody reads, and less than the other's holds.
        let sent = pattern(400_000, 5);
        ours.send_owned(sent.clone()).unwrap();
        let writer = ours.halves().1;
        for _ in 0..2 {
            writer.end(deadline(10)).unwrap();
            assert!(writer.unacknowledged_bytes() > Some(0));
        }
        let refused = writer.send(&[std::io::IoSlice::new(b"more")]).unwrap_err();
        assert!(matches!(refused, Error::Closed), "{refused}");
        let mut read = Vec::new();
        theirs.read_to_end(&mut read).unwrap();
        assert!(read == sent);
        assert!(!writer.close(deadline(10)).unwrap().aborted);
        assert!(matches!(writer.end(deadline(10)), Err(Error::Closed)));
        theirs.write_all(b"answer").unwrap();
        theirs.close();
        let mut answer = Vec::new();
        ours.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"answer");
    }
}

/// What comes behind close_notify is not looked at.
fn nothing_is_read_behind_close_notify() {
    let (mut ours, mut theirs) = ours_and_theirs(equipped(), &case_tls13());
    theirs.close();
    assert_eq!(ours.read(&mut [0; 10]).unwrap(), 0);
    assert_eq!(ours.read(&mut [0; 10]).unwrap(), 0);
}

fn a_peer_that_stalls_within_a_record_meets_the_deadline_and_may_go_on() {
    let (mut ours, mut theirs) = ours_and_theirs(equipped(), &case_tls13());
    theirs.connection.writer().write_all(b"slowly").unwrap();
    let mut wire = Vec::new();
    theirs.connection.write_tls(&mut wire).unwrap();
    theirs.socket.write_all(&wire[..10]).unwrap();
    for _ in 0..2 {
        ours.set_read_deadline(Some(Instant::now() + Duration::from_millis(30)));
        assert_eq!(ours.read(&mut [0; 100]).unwrap_err().kind(), ErrorKind::TimedOut);
    }
    theirs.socket.write_all(&wire[10..]).unwrap();
    ours.set_read_deadline(Some(deadline(10)));
    let mut read = [0; 6];
    ours.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"slowly");
}

/// What was taken before the deadline arrives, once and in order.
#[test]
fn a_peer_that_does_not_read_meets_the_writers_deadline() {
    let (mut ours, mut theirs) = ours_and_theirs(TlsStream::builder(), &case_tls13());
    let sent = pattern(64 << 20, 5);
    let patience = Duration::from_millis(100);
    let taken = endings::write_while_nobody_reads(&mut ours, &sent, patience);
    let reading = thread::spawn(move || {
        let mut read = Vec::new();
        theirs.read_to_end(&mut read).unwrap();
        read
    });
    ours.set_write_deadline(None);
    ours.write_all(&sent[taken..]).unwrap();
    assert!(!ours.close(deadline(20)).unwrap().aborted);
    assert!(reading.join().unwrap() == sent);
}

/// What was not taken before the deadline comes back, and may be given again.
#[test]
fn what_is_given_away_meets_the_deadline_and_comes_back() {
    for sealer in sound("what_is_given_away_meets_the_deadline_and_comes_back") {
        let _telltale = Telltale(sealer.name.into(), 2);
        let builder = sealer.give(TlsStream::builder(), 2);
        let (mut ours, mut theirs) = ours_and_theirs(builder, &case_tls13());
        let sent = pattern(20 << 20, 5);
        let mut rest = Bytes::from(sent.clone());
        for _ in 0..3 {
            ours.set_write_deadline(Some(Instant::now() + Duration::from_millis(50)));
            let refused = ours.send_owned(rest).unwrap_err();
            assert!(matches!(refused.error, Error::Deadline), "{refused}");
            rest = refused.rest;
        }
        assert!(rest.len() < sent.len() && sent.ends_with(&rest));
        let reading = thread::spawn(move || {
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).unwrap();
            read
        });
        ours.set_write_deadline(None);
        ours.send_owned(rest).unwrap();
        assert!(!ours.close(deadline(20)).unwrap().aborted);
        assert!(reading.join().unwrap() == sent);
    }
}

#[test]
fn close_ends_by_its_deadline_and_says_what_was_lost() {
    let (mut ours, theirs) = ours_and_theirs(TlsStream::builder(), &case_tls13());
    endings::a_late_close_says_what_was_lost(&mut ours);
    drop(theirs);
}

fn a_flipped_bit_on_the_wire_ends_both_halves_and_tells_the_peer() {
    for case in both_versions() {
        let (ours, theirs) = ours_and_theirs(equipped(), &case);
        endings::a_flipped_bit_ends_both_halves(ours, theirs);
    }
}

/// The writer waits for a peer that does not read; what the reader finds wakes it.
fn an_error_found_by_the_reader_wakes_a_writer_that_waits() {
    let (ours, mut theirs) = ours_and_theirs(equipped(), &case_tls13());
    let (mut reader, mut writer) = ours.split();
    let writing = thread::spawn(move || writer.send_owned(vec![1; 64 << 20]).unwrap_err());
    // It has begun, and comes to wait for the peer.
    theirs.read_exact(&mut [0; 1]).unwrap();
    thread::sleep(Duration::from_millis(200));
    theirs.socket.write_all(&[23, 3, 3, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    theirs.socket.write_all(&[0; 10]).unwrap();
    assert_eq!(reader.read(&mut [0; 100]).unwrap_err().kind(), ErrorKind::InvalidData);
    let woken = writing.join().unwrap().error;
    assert!(matches!(woken, Error::Inauthentic), "{woken}");
}

/// So is one that flushes or closes told why, and not only that the socket is no more.
fn an_error_found_by_the_reader_is_what_flushing_and_closing_say() {
    type End = fn(&mut TlsWriter) -> std::io::Result<()>;
    let ends: [End; 3] = [
        |writer| writer.flush(deadline(20)).map(drop).map_err(std::io::Error::from),
        Write::flush,
        // What is begun ends with an account.
        |writer| match writer.close(deadline(20))?.error {
            Some(error) => Err(error.into()),
            None => Ok(()),
        },
    ];
    for end in ends {
        let sockets = tcp_pair();
        // So that some of what is written stays here.
        rustix::net::sockopt::set_socket_send_buffer_size(&sockets.0, 32 << 10).unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size(&sockets.1, 32 << 10).unwrap();
        let (ours, mut theirs) = ours_and_theirs_over(sockets, equipped(), &case_tls13());
        let (mut reader, mut writer) = ours.split();
        writer.set_write_deadline(Some(Instant::now() + Duration::from_millis(50)));
        assert!(writer.write(&vec![1; 64 << 20]).unwrap() > 0);
        writer.set_write_deadline(Some(deadline(20)));
        let ending = thread::spawn(move || end(&mut writer).unwrap_err());
        thread::sleep(Duration::from_millis(100));
        theirs.socket.write_all(&[&[23, 3, 3, 0, 40], &[7; 40][..]].concat()).unwrap();
        assert_eq!(reader.read(&mut [0; 100]).unwrap_err().kind(), ErrorKind::InvalidData);
        let told = ending.join().unwrap();
        assert_eq!(told.kind(), ErrorKind::InvalidData, "{told}");
    }
}

/// Whenever a stream is dropped, its frames come home, and the peer does not take a part for all.
fn a_stream_dropped_at_any_moment_returns_its_frames() {
    let authority = Authority::new();
    let case = case_tls13();
    let pool = Pool::builder().frames(6).huge_pages(false).build().unwrap();
    for written in [0, 1, 100_000, 4 << 20, 64 << 20] {
        let (near, far) = tcp_pair();
        let server = authority.server(&case);
        let theirs = thread::spawn(move || Theirs::server(far, server));
        let config: Arc<_> = authority.client(&case);
        let server_name: ServerName<'static> = name();
        let builder = equip(TlsStream::builder().pool(&pool));
        let mut ours = builder.connect(near, config, server_name, deadline(10)).unwrap();
        let mut theirs = theirs.join().unwrap();
        ours.set_write_deadline(Some(Instant::now() + Duration::from_millis(50)));
        let _ = ours.send_owned(vec![1; written]);
        drop(ours);
        let mut read = Vec::new();
        assert!(theirs.read_to_end(&mut read).is_err(), "{written}");
        let late = deadline(10);
        while pool.stats().leased > 0 {
            assert!(Instant::now() < late, "{written}: {:?}", pool.stats());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The alert leaves behind what the engine is at, though others look at the writing side meanwhile.
#[test]
fn a_failure_is_told_behind_what_the_engine_seals() {
    let (puppet, strings) = Puppet::new();
    let builder = TlsStream::builder().sealing_engine(puppet);
    let (ours, mut theirs) = ours_and_theirs(builder, &case_tls13());
    let (mut reader, mut writer) = ours.split();
    writer.send_owned(vec![1; 100_000]).unwrap();
    strings.wait_for(1);
    let looking = thread::spawn(move || {
        // Each has the writing side for a millisecond.
        while let Err(Error::Deadline) = writer.flush(Instant::now() + Duration::from_millis(1)) {
            thread::sleep(Duration::from_millis(1));
        }
        writer
    });
    theirs.socket.write_all(&[23, 3, 3, 0, 40]).unwrap();
    theirs.socket.write_all(&[7; 40]).unwrap();
    assert!(matches!(reader.receive(&mut [0; 10]), Err(Error::Inauthentic)));
    let mut writer = looking.join().unwrap();
    let doing = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        while strings.finish(0) {}
    });
    assert!(matches!(writer.close(deadline(10)), Err(Error::Inauthentic)));
    doing.join().unwrap();
    // It is sealed behind the rest, and so is readable only behind the rest.
    let told = format!("{:?}", theirs.read_to_end(&mut Vec::new()).unwrap_err());
    assert!(told.contains("AlertReceived(BadRecordMac)"), "{told}");
}
