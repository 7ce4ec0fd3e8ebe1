//! A reader that waits sleeps: behind a zero-copy write, behind its own writer's end, and with
//! something wanted of a writer that has ended. Its processor time tells, and how often it woke.

mod support;

use std::fs::read_to_string;
use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use sealift_crypto::Workers;
use sealift_io::{Backend, Policy};
use sealift_tls::{TlsReader, TlsStream};
use support::ends::ours_and_theirs;
use support::{case_tls13, deadline};

/// How long the peer says nothing.
const SILENCE: Duration = Duration::from_millis(1500);
/// One that asks again and again works for hundreds of milliseconds meanwhile.
const MOST_WORK: Duration = Duration::from_millis(60);
/// One that looks every five milliseconds wakes three hundred times.
const MOST_WAKE_UPS: u64 = 60;

/// Waits for one byte, on this thread; says how long it worked for that and how often it slept.
fn wait_for_byte(reader: &mut TlsReader) -> (Duration, u64) {
    let work = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let (worked, slept) = (work(), sleeps());
    reader.read_exact(&mut [0; 1]).unwrap();
    (work() - worked, sleeps() - slept)
}

/// How often this thread gave its core up by itself.
fn sleeps() -> u64 {
    let status = read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

/// The notifications come once the peer has read, which is after the write.
#[test]
fn a_reader_sleeps_behind_a_zero_copy_write() {
    for backend in [Backend::MsgZerocopy, Backend::Uring] {
        let builder = TlsStream::builder().backend(backend).policy(Policy::AlwaysZeroCopy);
        let (mut ours, mut theirs) = ours_and_theirs(builder, &case_tls13());
        let size = 2 << 20;
        let there = thread::spawn(move || {
            thread::sleep(Duration::from_millis(200));
            theirs.read_exact(&mut vec![0; size]).unwrap();
            thread::sleep(SILENCE);
            theirs.write_all(b"!").unwrap();
            theirs
        });
        ours.write_all(&vec![1; size]).unwrap();
        let (worked, _) = wait_for_byte(ours.halves().0);
        assert!(worked < MOST_WORK, "{backend}: {worked:?}; {}", ours.stats());
        there.join().unwrap();
    }
}

/// An engine that ends leaves its bell as it is, which may be ringing.
#[test]
fn a_reader_sleeps_behind_the_end_of_an_engine() {
    let engine = Workers::builder().build().unwrap();
    let builder = TlsStream::builder().sealing_engine(engine);
    let (ours, mut theirs) = ours_and_theirs(builder, &case_tls13());
    let (mut reader, mut writer) = ours.split();
    let reading = thread::spawn(move || wait_for_byte(&mut reader));
    // The reader listens to the engine.
    thread::sleep(Duration::from_millis(50));
    let there = thread::spawn(move || {
        theirs.read_exact(&mut vec![0; 300_000]).unwrap();
        thread::sleep(SILENCE);
        theirs.write_all(b"!").unwrap();
        theirs
    });
    writer.send_owned(vec![1; 300_000]).unwrap();
    assert!(!writer.close(deadline(10)).unwrap().aborted);
    let (worked, _) = reading.join().unwrap();
    assert!(worked < MOST_WORK, "{worked:?}");
    there.join().unwrap();
}

/// What is wanted of a writer that has ended is not waited for.
#[test]
fn a_reader_sleeps_though_a_request_cannot_be_answered() {
    let (mut ours, mut theirs) = ours_and_theirs(TlsStream::builder(), &case_tls13());
    assert!(!ours.close(deadline(10)).unwrap().aborted);
    let there = thread::spawn(move || {
        assert_eq!(theirs.read(&mut [0; 1]).unwrap(), 0);
        theirs.refresh();
        thread::sleep(SILENCE);
        theirs.write_all(b"!").unwrap();
        theirs
    });
    let (_, slept) = wait_for_byte(ours.halves().0);
    assert!(slept < MOST_WAKE_UPS, "it woke {slept} times");
    assert_eq!(ours.stats().key_updates_received, 1);
    there.join().unwrap();
}
