//! KeyUpdates: each way, requested and not, by the hundred, forced by a limit, and while the other
//! direction is busy; over engines as without.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use sealift_crypto::Limits;
use sealift_tls::{Error, TlsReader, TlsStream, TlsWriter};
use support::ends::{both_ours, ours_and_theirs};
use support::engines::{Telltale, sound};
use support::kits::{equipped, over_engines};
use support::{case_tls12, case_tls13, deadline, pattern};

over_engines![
    Opens: the_peers_updates_are_followed_by_the_hundred,
    answers_that_were_asked_for_are_suffered;
    Both: our_updates_are_followed_and_answered,
    updates_are_requested_and_answered_while_both_directions_are_busy,
    a_request_is_answered_by_a_reader_whose_writer_is_idle,
    a_request_does_not_hold_up_a_reader_whose_writer_waits;
];

/// Both ours, with this thread's kit.
fn kit_and_ours() -> (TlsStream, TlsStream) {
    both_ours(&case_tls13(), equipped(), equipped())
}

/// rustls requests ours with each of its own; requests that come together share an answer.
fn the_peers_updates_are_followed_by_the_hundred() {
    let (mut ours, mut theirs) = ours_and_theirs(equipped(), &case_tls13());
    for round in 0..300u32 {
        theirs.refresh();
        if round % 3 == 0 {
            theirs.write_all(&round.to_le_bytes()).unwrap();
            let mut read = [0; 4];
            ours.read_exact(&mut read).unwrap();
            assert_eq!(read, round.to_le_bytes());
        }
    }
    theirs.write_all(b"end").unwrap();
    ours.read_exact(&mut [0; 3]).unwrap();
    let stats = ours.stats();
    assert_eq!(stats.key_updates_received, 300, "{stats}");
    assert!((1..=300).contains(&stats.key_updates_sent), "{stats}");
}

/// Of what rustls may be asked, it answers each.
fn our_updates_are_followed_and_answered() {
    let (mut ours, mut theirs) = ours_and_theirs(equipped(), &case_tls13());
    for round in 0..100u32 {
        ours.request_key_update().unwrap();
        ours.send_owned(round.to_le_bytes().to_vec()).unwrap();
        ours.flush().unwrap();
        let mut read = [0; 4];
        theirs.read_exact(&mut read).unwrap();
        assert_eq!(read, round.to_le_bytes());
        theirs.write_all(&read).unwrap();
        ours.read_exact(&mut read).unwrap();
    }
    let stats = ours.stats();
    assert_eq!((stats.key_updates_sent, stats.key_updates_received), (100, 100), "{stats}");
}

/// Both directions carry data, and both ends request updates, on four threads.
fn updates_are_requested_and_answered_while_both_directions_are_busy() {
    let (near, far) = kit_and_ours();
    let sent = pattern(8 << 20, 7);
    let write = |mut writer: TlsWriter| {
        for (at, part) in sent.chunks(50_000).enumerate() {
            if at % 2 == 0 {
                writer.request_key_update().unwrap();
            }
            writer.send_owned(part.to_vec()).unwrap();
        }
        // No reader sees to the rest once it has all that it reads.
        writer.flush(deadline(20)).unwrap();
        writer
    };
    let read = |mut reader: TlsReader| {
        let mut read = vec![0; sent.len()];
        reader.read_exact(&mut read).unwrap();
        assert!(read == sent);
        reader
    };
    thread::scope(|scope| {
        let (near_reader, near_writer) = near.split();
        let (far_reader, far_writer) = far.split();
        let reading = [near_reader, far_reader].map(|reader| scope.spawn(move || read(reader)));
        let writing = [near_writer, far_writer].map(|writer| scope.spawn(move || write(writer)));
        // The readers live on until both are done: they carry the answers.
        let readers = reading.map(|thread| thread.join().unwrap());
        for writer in writing.map(|thread| thread.join().unwrap()) {
            let stats = writer.stats();
            let asked = sent.len().div_ceil(50_000).div_ceil(2) as u64;
            assert!(stats.key_updates_sent > asked, "{stats}");
            assert!(stats.key_updates_sent <= 2 * asked, "each is answered at most once: {stats}");
            assert!(stats.key_updates_received >= asked, "{stats}");
        }
        drop(readers);
    });
}

/// Keys change while an engine is at work with those before.
#[test]
fn updates_pass_between_what_engines_seal() {
    for sealer in sound("updates_pass_between_what_engines_seal") {
        let _telltale = Telltale(sealer.name.into(), 7);
        let (mut near, mut far) =
            both_ours(&case_tls13(), sealer.give(TlsStream::builder(), 7), TlsStream::builder());
        let sent = pattern(3 << 20, 7);
        thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let mut read = vec![0; sent.len()];
                far.read_exact(&mut read).unwrap();
                assert!(read == sent);
                far.request_key_update().unwrap();
                far.write_all(b"!").unwrap();
            });
            for (at, part) in sent.chunks(50_000).enumerate() {
                match at % 4 {
                    0 => near.request_key_update().unwrap(),
                    1 => near.write_all(part).unwrap(),
                    _ => {}
                }
                if at % 4 != 1 {
                    near.send_owned(part.to_vec()).unwrap();
                }
            }
            // The reader sees to what is not done, and then to the answer.
            near.read_exact(&mut [0; 1]).unwrap();
            reading.join().unwrap();
        });
        let stats = near.stats();
        assert_eq!(stats.key_updates_sent, 16 + 1, "{stats}");
    }
}

/// Records count against their key as soon as they are begun.
#[test]
fn a_key_is_replaced_before_its_limit_with_jobs_in_flight() {
    for sealer in sound("a_key_is_replaced_before_its_limit_with_jobs_in_flight") {
        let _telltale = Telltale(sealer.name.into(), 9);
        let builder = TlsStream::builder().limits(Limits { seals: 12, failures: 1 });
        let (mut ours, mut theirs) = ours_and_theirs(sealer.give(builder, 9), &case_tls13());
        let sent = pattern(2_000_000, 1);
        let expected = sent.clone();
        let reading = thread::spawn(move || {
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).unwrap();
            assert!(read == expected);
        });
        ours.send_owned(sent).unwrap();
        let closed = ours.close(deadline(20)).unwrap();
        let stats = closed.stats;
        assert!(!closed.aborted && stats.key_updates_sent >= stats.records_sealed / 12, "{stats}");
        reading.join().unwrap();
    }
}

/// What was begun before the limit arrives; the rest comes back.
#[test]
fn tls_1_2_gives_back_what_a_key_may_not_seal() {
    for sealer in sound("tls_1_2_gives_back_what_a_key_may_not_seal") {
        let _telltale = Telltale(sealer.name.into(), 9);
        let builder = TlsStream::builder().limits(Limits { seals: 12, failures: 1 });
        let (mut ours, mut theirs) = ours_and_theirs(sealer.give(builder, 9), &case_tls12());
        let sent = pattern(1 << 20, 1);
        let refused = ours.send_owned(sent.clone()).unwrap_err();
        assert!(matches!(refused.error, Error::KeyExhausted), "{refused}");
        let taken = sent.len() - refused.rest.len();
        assert!((16_384..10 * 16_384).contains(&taken) && sent.ends_with(&refused.rest), "{taken}");
        let reading = thread::spawn(move || {
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).unwrap();
            read
        });
        assert!(!ours.close(deadline(10)).unwrap().aborted);
        assert!(reading.join().unwrap() == sent[..taken]);
    }
}

/// What we asked for is no flood, however often we do and however little there is to read.
fn answers_that_were_asked_for_are_suffered() {
    let (mut near, far) = kit_and_ours();
    let (mut reader, _writer) = far.split();
    let reading = thread::spawn(move || {
        let mut into = [0; 1];
        while reader.read(&mut into).unwrap() > 0 {}
    });
    for round in 1..=1100 {
        near.request_key_update().unwrap();
        near.write_all(b"x").unwrap();
        let late = deadline(10);
        while near.stats().key_updates_received < round {
            assert!(Instant::now() < late, "{}", near.stats());
            near.set_read_deadline(Some(Instant::now() + Duration::from_millis(1)));
            assert_eq!(near.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::TimedOut, "{round}");
        }
    }
    assert!(!near.close(deadline(10)).unwrap().aborted);
    reading.join().unwrap();
}

/// Only the reading half is at work here, and answers.
fn a_request_is_answered_by_a_reader_whose_writer_is_idle() {
    let (mut near, far) = kit_and_ours();
    let (mut reader, _writer) = far.split();
    let reading = thread::spawn(move || {
        let mut into = [0; 1];
        while reader.read(&mut into).unwrap() > 0 {}
    });
    // Nobody asks the other end for figures, which would answer by the way.
    for round in 1..=20 {
        near.request_key_update().unwrap();
        near.send_owned(b"x".to_vec()).unwrap();
        let late = deadline(10);
        while near.stats().key_updates_received < round {
            assert!(Instant::now() < late, "{}", near.stats());
            near.set_read_deadline(Some(Instant::now() + Duration::from_millis(5)));
            assert_eq!(near.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::TimedOut);
        }
    }
    assert_eq!(near.stats().key_updates_received, 20);
    assert!(!near.close(deadline(10)).unwrap().aborted);
    reading.join().unwrap();
}

/// A writer that waits for its peer to read holds up no reader, whatever the peer requests.
fn a_request_does_not_hold_up_a_reader_whose_writer_waits() {
    let (near, mut far) = kit_and_ours();
    let (mut reader, mut writer) = near.split();
    let size = 32 << 20;
    let writing = thread::spawn(move || {
        writer.send_owned(pattern(size, 3)).unwrap();
        writer.flush(deadline(20)).unwrap();
        writer
    });
    thread::sleep(Duration::from_millis(200));
    far.request_key_update().unwrap();
    far.write_all(b"read this first").unwrap();
    reader.read_exact(&mut [0; 15]).unwrap();
    let mut read = vec![0; size];
    far.read_exact(&mut read).unwrap();
    assert!(read == pattern(size, 3));
    let writer = writing.join().unwrap();
    assert_eq!(writer.stats().key_updates_sent, 1, "answered, once");
}

#[test]
fn a_key_is_replaced_before_its_limit() {
    let builder = TlsStream::builder().limits(Limits { seals: 12, failures: 1 });
    let (mut ours, mut theirs) = ours_and_theirs(builder, &case_tls13());
    let sent = pattern(2_000_000, 1);
    let expected = sent.clone();
    let reading = thread::spawn(move || {
        let mut read = vec![0; expected.len()];
        theirs.read_exact(&mut read).unwrap();
        assert!(read == expected);
        theirs.read_exact(&mut [0; 100]).unwrap();
        assert_eq!(theirs.read(&mut [0; 1]).unwrap(), 0);
    });
    ours.write_all(&sent).unwrap();
    for byte in 0..100 {
        ours.write_all(&[byte]).unwrap();
    }
    let stats = ours.stats();
    assert!(stats.key_updates_sent >= stats.records_sealed / 12, "{stats}");
    assert!(!ours.close(deadline(10)).unwrap().aborted);
    reading.join().unwrap();
}

#[test]
fn tls_1_2_ends_with_a_clear_error_at_the_limit_and_close_notify_still_fits() {
    let builder = TlsStream::builder().limits(Limits { seals: 12, failures: 1 });
    let (mut ours, mut theirs) = ours_and_theirs(builder, &case_tls12());
    let mut writes = 0;
    let refusal = loop {
        match ours.write(b"x") {
            Ok(count) => writes += count,
            Err(error) => break error,
        }
    };
    assert!(refusal.to_string().contains("TLS 1.2"), "{refusal}");
    assert!((1..12).contains(&writes));
    assert!(!ours.close(deadline(10)).unwrap().aborted);
    let mut read = Vec::new();
    theirs.read_to_end(&mut read).unwrap();
    assert_eq!(read.len(), writes);
    // A write that is cut by the limit says how far it came.
    let builder = TlsStream::builder().limits(Limits { seals: 12, failures: 1 });
    let (mut cut, mut theirs) = ours_and_theirs(builder, &case_tls12());
    let reading = thread::spawn(move || {
        let mut read = Vec::new();
        theirs.read_to_end(&mut read).unwrap();
        read.len()
    });
    let written = cut.write(&vec![1; 1 << 20]).unwrap();
    assert!((16_384..1 << 20).contains(&written), "{written}");
    assert!(cut.write(b"more").unwrap_err().to_string().contains("TLS 1.2"));
    assert!(!cut.close(deadline(10)).unwrap().aborted);
    assert_eq!(reading.join().unwrap(), written);
    let refusal = ours.request_key_update().unwrap_err();
    assert!(matches!(refusal, Error::Closed | Error::Caller { .. }), "{refusal}");
}
