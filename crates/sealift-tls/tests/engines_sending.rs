//! Sending over every engine: all arrives, in order, whatever the engine does, or the connection
//! ends with one clear error and a clean part of it has arrived.
//!
//! That the peer opens record after record is a comparison of ciphertexts: an AEAD has one for each
//! key, number and plaintext. `src/bulk/tests.rs` compares the bytes themselves.
//!
//! Every run prints its seed if it fails; `SEALIFT_SEED` repeats one.

mod support;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::time::{ClockId, clock_gettime};
use sealift_crypto::{
    Coprocessor, Engine, Inline, Job, Key, Limits, Nonce, Payload, Stopped, Suite, Unit,
};
use sealift_io::Pool;
use sealift_tls::{Bytes, Error, Frame, Ktls, Latency, TlsStream, TlsStreamBuilder, rustls};
use support::ends::ours_and_theirs;
use support::engines::{Sealer, Telltale, seeds, sound, unsound};
use support::puppet::{Puppet, Strings};
use support::{
    Authority, Case, Theirs, case_tls12, case_tls13, cases, deadline, name, pattern, tcp_pair,
};

/// A stream, and what the other end will have read by its end.
fn ours_and_reading(
    builder: TlsStreamBuilder,
    case: &Case,
) -> (TlsStream, JoinHandle<std::io::Result<Vec<u8>>>) {
    let (ours, mut theirs) = ours_and_theirs(builder, case);
    let reading = thread::spawn(move || {
        let mut read = Vec::new();
        theirs.read_to_end(&mut read).map(|_| read)
    });
    (ours, reading)
}

/// Memory that says when it is let go.
struct Given {
    bytes: Vec<u8>,
    dropped: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Given {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

fn file(content: &[u8]) -> File {
    let mut file = File::from(memfd_create("sealift-tls-test", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(content).unwrap();
    file
}

fn all_home(pool: &Pool) {
    let late = deadline(10);
    while pool.stats().leased > 0 {
        assert!(Instant::now() < late, "{:?}", pool.stats());
        thread::sleep(Duration::from_millis(1));
    }
}

/// Everything that a stream can send, one behind the other, without a flush between.
fn send_everything(sealer: &Sealer, case: &Case, seed: u64) {
    let pool = Pool::builder().frames(9).frame_bytes(50_000).huge_pages(false).build().unwrap();
    let builder = sealer.give(TlsStream::builder().pool(&pool), seed);
    let (mut ours, reading) = ours_and_reading(builder, case);
    let is_tls13 = case.version == &rustls::version::TLS13;
    let dropped = Arc::new(AtomicUsize::new(0));
    let mut sent = Vec::new();
    for (round, size) in [1, 70_000, 0, 400_000, 16_384, 16_385, 1_000_000].into_iter().enumerate()
    {
        let bytes = pattern(size, round as u8 ^ seed as u8);
        sent.extend_from_slice(&bytes);
        let given = Given { bytes, dropped: dropped.clone() };
        ours.send_owned(Bytes::from_owner(given)).unwrap();
        if round % 2 == 1 {
            ours.write_all(b"between").unwrap();
            sent.extend_from_slice(b"between");
        }
        if is_tls13 && round % 3 == 0 {
            ours.request_key_update().unwrap();
        }
        if round == 4 {
            let content = pattern(300_000, 77);
            assert_eq!(ours.send_file(file(&content), 3..290_000).unwrap(), 289_997);
            sent.extend_from_slice(&content[3..290_000]);
        }
    }
    let _ = ours.halves().1.flush(deadline(20)).unwrap();
    // What a device has lost is with it until it is given up.
    if !sealer.name.starts_with("router") {
        assert_eq!(dropped.load(Ordering::SeqCst), 7);
    }
    ours.send_owned(vec![7; 100_000]).unwrap();
    sent.extend(vec![7; 100_000]);
    let closed = ours.close(deadline(20)).unwrap();
    assert!(!closed.aborted && closed.unsent == 0 && closed.quarantined == 0, "{closed:?}");
    let stats = closed.stats;
    assert_eq!(stats.bytes_sealed, sent.len() as u64, "{stats}");
    assert_eq!(stats.copies_per_byte_sealed(), 1.0, "{stats}");
    assert_eq!(stats.sealing.map_or(0, |sealing| sealing.failed), 0, "{stats}");
    assert_eq!(stats.sealing.is_some(), sealer.name != "none");
    if let Some(sealing) = stats.sealing {
        assert_eq!((sealing.latency.jobs(), sealing.depth), (sealing.jobs, 0), "{stats}");
    }
    assert!(reading.join().unwrap().unwrap() == sent);
    all_home(&pool);
    assert_eq!(dropped.load(Ordering::SeqCst), 7, "each source once");
}

#[test]
fn every_engine_carries_everything_in_order() {
    for sealer in sound("every_engine_carries_everything_in_order") {
        for case in [case_tls13(), case_tls12()] {
            for seed in seeds(2) {
                let _telltale = Telltale(format!("{} {case:?}", sealer.name), seed);
                send_everything(&sealer, &case, seed);
            }
        }
    }
}

#[test]
fn every_suite_is_carried_by_an_engine() {
    for case in cases() {
        for sealer in sound("every_suite_is_carried_by_an_engine") {
            if ["workers", "ipsec-mb"].contains(&sealer.name) {
                let _telltale = Telltale(format!("{} {case:?}", sealer.name), 3);
                send_everything(&sealer, &case, 3);
            }
        }
    }
}

/// The engine may fail, and then the connection does: once, clearly, and with a clean part read.
#[test]
fn an_unsound_engine_costs_the_connection_and_nothing_else() {
    let case = case_tls13();
    let mut failures = 0;
    for sealer in unsound() {
        for seed in seeds(12) {
            let _telltale = Telltale(sealer.name.into(), seed);
            let pool = Pool::builder().frames(9).frame_bytes(40_000).huge_pages(false);
            let pool = pool.build().unwrap();
            let builder = sealer.give(TlsStream::builder().pool(&pool), seed);
            let (mut ours, reading) = ours_and_reading(builder, &case);
            let sent = pattern(1_500_000, seed as u8);
            let dropped = Arc::new(AtomicUsize::new(0));
            let given = Given { bytes: sent.clone(), dropped: dropped.clone() };
            let outcome = ours.send_owned(Bytes::from_owner(given)).map_err(Error::from);
            let outcome = outcome.and_then(|()| ours.close(deadline(20)));
            let read = reading.join().unwrap();
            match outcome {
                Ok(closed) => {
                    assert!(!closed.aborted, "{closed:?}");
                    assert!(read.unwrap() == sent);
                }
                Err(error) => {
                    failures += 1;
                    assert!(matches!(error, Error::Engine { .. }), "{error}");
                    assert!(read.is_err(), "no part is taken for the whole");
                    same_error_again(&mut ours, &error);
                }
            }
            drop(ours);
            all_home(&pool);
            assert_eq!(dropped.load(Ordering::SeqCst), 1);
        }
    }
    assert!(failures > 0, "nothing failed: this shows nothing");
}

/// What ended the connection is what every later call says.
fn same_error_again(ours: &mut TlsStream, error: &Error) {
    let expected = error.to_string();
    assert_eq!(ours.send_owned(vec![1; 10]).unwrap_err().to_string(), expected);
    assert_eq!(ours.send_owned(vec![1; 10]).unwrap_err().rest, vec![1; 10]);
    assert_eq!(ours.write(b"more").unwrap_err().to_string(), expected);
    assert_eq!(ours.request_key_update().unwrap_err().to_string(), expected);
    let (reader, writer) = ours.halves();
    assert_eq!(writer.flush(deadline(1)).unwrap_err().to_string(), expected);
    reader.set_read_deadline(Some(deadline(10)));
    assert_eq!(reader.receive(&mut [0; 10]).unwrap_err().to_string(), expected);
    assert_eq!(writer.close(deadline(1)).unwrap_err().to_string(), expected);
}

/// A writer that waits for room, and a reader that waits for the peer.
#[test]
fn a_failure_wakes_every_waiter() {
    for is_dead in [false, true] {
        let (puppet, strings) = Puppet::new();
        let pool = Pool::builder().frames(3).frame_bytes(40_000).huge_pages(false).build().unwrap();
        let builder = TlsStream::builder().pool(&pool).sealing_engine(puppet);
        let (ours, reading) = ours_and_reading(builder, &case_tls13());
        let (mut reader, mut writer) = ours.split();
        let waiting = thread::spawn(move || {
            let refused = writer.send_owned(vec![1; 1_000_000]).unwrap_err();
            // At most the three frames that there are, and the one that was done.
            assert!(refused.rest.len() >= 1_000_000 - 4 * 2 * 16_384, "{}", refused.rest.len());
            refused.error
        });
        let listening = thread::spawn(move || reader.receive(&mut [0; 10]).unwrap_err());
        strings.wait_for(3);
        if is_dead {
            strings.set_full(true);
            strings.finish(0);
            strings.wait_for_refusal();
            strings.die();
        } else {
            strings.fail(1);
        }
        let said = waiting.join().unwrap();
        assert!(matches!(said, Error::Engine { engine: "puppet", .. }), "{said}");
        assert_eq!(listening.join().unwrap().to_string(), said.to_string());
        assert!(reading.join().unwrap().is_err());
        assert!(strings.is_dropped());
        all_home(&pool);
    }
}

#[test]
fn what_an_engine_has_and_how_long_it_took_are_told() {
    let (puppet, strings) = Puppet::new();
    let pool = Pool::builder().frames(9).frame_bytes(16_448).huge_pages(false).build().unwrap();
    let builder = TlsStream::builder().pool(&pool).sealing_engine(puppet);
    let (mut ours, reading) = ours_and_reading(builder, &case_tls13());
    let least = Duration::from_millis(20);
    ours.send_owned(pattern(3 * 16_384, 1)).unwrap();
    let told = ours.stats().sealing.unwrap();
    assert_eq!((told.depth, told.latency), (3, Latency::default()));
    thread::sleep(least);
    (0..2).for_each(|_| assert!(strings.finish(0)));
    assert!(matches!(ours.halves().1.flush(deadline(0)), Err(Error::Deadline)));
    let told = ours.stats().sealing.unwrap();
    assert_eq!((told.depth, told.latency.jobs()), (1, 2));
    assert!(strings.finish(0));
    let _ = ours.halves().1.flush(deadline(20)).unwrap();
    let told = ours.stats().sealing.unwrap();
    assert_eq!((told.depth, told.latency.jobs()), (0, 3));
    assert!(told.latency.total() >= 3 * least, "{told}");
    let is_long = |bucket: usize| Latency::bound(bucket).is_none_or(|bound| bound >= least);
    let buckets = told.latency.buckets().iter().enumerate();
    assert!(buckets.filter(|(_, jobs)| **jobs > 0).all(|(at, _)| is_long(at)), "{told:?}");
    let _ = ours.close(deadline(20)).unwrap();
    assert_eq!(reading.join().unwrap().unwrap().len(), 3 * 16_384);
}

/// Sealed, but behind what failed: it must not leave.
#[test]
fn nothing_leaves_behind_a_gap() {
    let failed = leave_a_gap(|strings| strings.fail(0));
    assert_eq!(failed.to_string(), "the puppet engine failed: it was told to fail");
    let lied = leave_a_gap(|strings| strings.lie(0));
    assert_eq!(lied.to_string(), "the puppet engine failed: a record was not sealed");
}

fn leave_a_gap(fail: impl Fn(&Strings)) -> Error {
    let (puppet, strings) = Puppet::new();
    let pool = Pool::builder().frames(9).frame_bytes(16_448).huge_pages(false).build().unwrap();
    let builder = TlsStream::builder().pool(&pool).sealing_engine(puppet);
    let (mut ours, mut theirs) = ours_and_theirs(builder, &case_tls13());
    ours.send_owned(pattern(5 * 16_384, 1)).unwrap();
    assert_eq!(strings.held(), 5);
    // The last first: one arrives, one fails, and three are sealed in vain.
    for at in [4, 3, 2, 0] {
        strings.finish(at);
    }
    assert!(ours.stats().sealing.is_some());
    let mut read = vec![0; 16_384];
    theirs.read_exact(&mut read).unwrap();
    assert!(read == pattern(5 * 16_384, 1)[..16_384]);
    fail(&strings);
    let said = ours.halves().1.flush(deadline(10)).unwrap_err();
    let mut wire = Vec::new();
    // A reset, or an end; in no case a record.
    let _ = theirs.socket.read_to_end(&mut wire);
    assert!(wire.is_empty(), "{} bytes", wire.len());
    drop(ours);
    all_home(&pool);
    said
}

/// The engine stalls for ever, and dropping it does as well.
#[test]
fn close_ends_by_its_deadline_whatever_the_engine_does() {
    for clings in [false, true] {
        let (puppet, strings) = Puppet::new();
        let pool = Pool::builder().frames(9).frame_bytes(40_000).huge_pages(false).build().unwrap();
        let builder = TlsStream::builder().pool(&pool).sealing_engine(puppet);
        let (mut ours, reading) = ours_and_reading(builder, &case_tls13());
        ours.write_all(b"this arrives").unwrap();
        ours.send_owned(vec![1; 100_000]).unwrap();
        if clings {
            strings.cling();
        }
        let before = Instant::now();
        let closed = ours.close(before + Duration::from_millis(50)).unwrap();
        assert!(before.elapsed() < Duration::from_secs(5));
        // Three frames of data, and close_notify.
        assert!(closed.aborted && closed.unsent == 4, "{closed:?}");
        assert_eq!(closed.quarantined, if clings { 3 } else { 0 }, "{closed:?}");
        // Not the end of the stream: those who look for no close_notify are told as well.
        let seen = reading.join().unwrap().unwrap_err();
        assert_eq!(seen.kind(), ErrorKind::ConnectionReset, "{seen}");
        assert_eq!(closed.stats.sealing.map(|sealing| sealing.engine), Some("puppet"));
        drop(ours);
        if clings {
            thread::sleep(Duration::from_millis(20));
            assert_eq!(pool.stats().leased, 3, "the engine may still write them");
            strings.let_go();
        }
        all_home(&pool);
    }
}

/// At any moment, over any engine.
#[test]
fn a_stream_dropped_with_jobs_in_flight_returns_every_frame() {
    let all = [sound("a_stream_dropped_with_jobs_in_flight_returns_every_frame"), unsound()];
    for sealer in all.concat() {
        for seed in seeds(4) {
            let _telltale = Telltale(sealer.name.into(), seed);
            let pool = Pool::builder().frames(9).frame_bytes(40_000).huge_pages(false);
            let pool = pool.build().unwrap();
            let builder = sealer.give(TlsStream::builder().pool(&pool), seed);
            let (mut ours, reading) = ours_and_reading(builder, &case_tls13());
            let dropped = Arc::new(AtomicUsize::new(0));
            for _ in 0..=seed {
                let given = Given { bytes: vec![1; 200_000], dropped: dropped.clone() };
                // It may have failed by now.
                let _ = ours.send_owned(Bytes::from_owner(given));
            }
            drop(ours);
            assert!(reading.join().unwrap().is_err());
            all_home(&pool);
            assert_eq!(dropped.load(Ordering::SeqCst) as u64, seed + 1);
        }
    }
}

/// A reader waits, for ever if need be, and the writer has nothing more to say.
#[test]
fn what_is_given_away_leaves_while_a_reader_waits() {
    let slow = Duration::from_millis(30);
    let slow = Coprocessor::builder().latency(slow).accepts(1).depth(2).reorders();
    let builder = TlsStream::builder().sealing_engine(slow.build().unwrap());
    let (ours, mut theirs) = ours_and_theirs(builder, &case_tls13());
    let (mut reader, mut writer) = ours.split();
    let reading = thread::spawn(move || {
        let began = Instant::now();
        assert_eq!(reader.receive(&mut [0; 10]).unwrap(), 1);
        let own = clock_gettime(ClockId::ThreadCPUTime);
        (Duration::try_from(own).unwrap(), began.elapsed())
    });
    // By then it sleeps.
    thread::sleep(Duration::from_millis(50));
    for round in 0..3 {
        let sent = pattern(300_000, round);
        writer.send_owned(sent.clone()).unwrap();
        let mut read = vec![0; sent.len()];
        theirs.read_exact(&mut read).unwrap();
        assert!(read == sent);
    }
    theirs.write_all(b"!").unwrap();
    let (worked, waited) = reading.join().unwrap();
    assert!(worked < waited / 2, "it worked for {worked:?} of {waited:?}, and did not sleep");
}

/// Their outcomes would be the stream's.
#[test]
fn an_engine_with_somebodys_jobs_in_it_is_refused() {
    let pool = Pool::builder().frames(1).frame_bytes(4096).huge_pages(false).build().unwrap();
    let limits = Limits { seals: 1, failures: 1 };
    let key = Key::new(Suite::Aes128Gcm, &[1; 16], limits).unwrap();
    let destination = Frame::from(pool.try_lease().unwrap());
    let payload = Payload::Apart { source: Bytes::from_static(b"theirs"), destination };
    let unit = Unit::new(Nonce::of(&[0; 12], 0), 0..6, 0);
    let job = Job::seal(&key, payload, [unit].into_iter().collect(), 0).unwrap();
    let mut engine = Inline::new();
    assert_eq!(engine.submit(&mut [job].into_iter().collect()), Stopped::Empty);
    let (near, _far) = support::tcp_pair();
    let client = Authority::new().client(&case_tls13());
    let builder = TlsStream::builder().sealing_engine(engine);
    let refused = builder.connect(near, client, name(), deadline(5)).unwrap_err();
    assert!(matches!(refused, Error::Caller { .. }), "{refused}");
}

/// What fails before the handshake takes no engine along: the next stream has it.
#[test]
fn a_stream_that_cannot_begin_leaves_the_engine_to_the_next() {
    let (authority, case) = (Authority::new(), case_tls13());
    let builder = TlsStream::builder().sealing_engine(Inline::new()).opening_engine(Inline::new());
    let client = authority.client(&case);
    let kernel_too = builder.clone().ktls(Ktls::On);
    let refused = kernel_too.connect(tcp_pair().0, client.clone(), name(), deadline(20));
    assert!(matches!(refused, Err(Error::Caller { .. })), "{refused:?}");
    let (near, far) = tcp_pair();
    let server = authority.server(&case);
    let theirs = thread::spawn(move || Theirs::server(far, server));
    let ours = builder.connect(near, client, name(), deadline(20)).unwrap();
    assert!(ours.stats().sealing.is_some_and(|sealing| sealing.engine == "inline"));
    drop(theirs.join().unwrap());
}
