//! What one half of a stream is to the other where the kernel makes the records: a reader that
//! waits, alone or behind its own writer's end, and a failure that either half may find first.

mod support;

use std::fs::read_to_string;
use std::io::{IoSlice, Read, Write};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::gettid;
use rustix::time::{ClockId, clock_gettime};
use sealift_io::{Backend, Policy::AlwaysZeroCopy, Sender};
use sealift_tls::{Error, Maker, TlsStream, Violation, rustls};
use support::ends::{narrow_tcp_pair, ours_and_theirs, ours_and_theirs_over};
use support::ktls::{has_kernel_tls, kernel_changes_keys, on};
use support::{
    Case, Theirs, both_versions, case_tls12, case_tls13, deadline, endings, pattern, tcp_pair,
};

/// Far more than there are spare rooms.
const STREAMS: usize = 100;
/// The reader's room, without which it waits.
const ROOM_BYTES: u64 = 128 * 1024;

/// The cases whose records the kernel opens.
fn opened_by_the_kernel() -> Vec<Case> {
    let follows = |case: &Case| case.version == &rustls::version::TLS12 || kernel_changes_keys();
    both_versions().into_iter().filter(follows).collect()
}

/// Our client, for which the kernel opens.
fn pair(case: &Case) -> (TlsStream, Theirs) {
    let (ours, theirs) = ours_and_theirs(on(), case);
    assert_eq!(ours.stats().makers.opening, Maker::Kernel);
    (ours, theirs)
}

/// The memory of this process, whether or not it has been touched.
fn data_bytes() -> u64 {
    let status = read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:")?.strip_suffix("kB"));
    line.unwrap().trim().parse::<u64>().unwrap() * 1024
}

/// Waits until a thread of ours sleeps.
fn wait_until_it_sleeps(thread: i32) {
    let late = Instant::now() + Duration::from_secs(20);
    loop {
        let stat = read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
        if stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('S')) {
            return;
        }
        assert!(Instant::now() < late, "it does not sleep: {stat}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn readers_that_wait_hold_no_room() {
    if !has_kernel_tls("readers_that_wait_hold_no_room") {
        return;
    }
    for case in opened_by_the_kernel() {
        let (begun, began) = channel();
        let mut readers = Vec::new();
        for _ in 0..STREAMS {
            let (mut ours, theirs) = pair(&case);
            let (begun, (go, may_go)) = (begun.clone(), channel());
            let reading = thread::spawn(move || {
                begun.send(gettid().as_raw_nonzero().get()).unwrap();
                may_go.recv().unwrap();
                begun.send(0).unwrap();
                // Too small for a record.
                assert_eq!(ours.read(&mut [0; 100]).unwrap(), 1);
            });
            readers.push((reading, began.recv().unwrap(), go, theirs));
        }
        let before = data_bytes();
        for (_, thread, go, _) in &readers {
            go.send(()).unwrap();
            began.recv().unwrap();
            wait_until_it_sleeps(*thread);
        }
        let held = data_bytes().saturating_sub(before);
        for (reading, _, _, mut theirs) in readers {
            theirs.write_all(b"!").unwrap();
            reading.join().unwrap();
        }
        assert!(held < STREAMS as u64 / 2 * ROOM_BYTES, "{STREAMS} readers hold {held} bytes");
    }
}

/// The socket calls a part of a record readable: behind our end, and on old kernels always.
#[test]
fn a_reader_sleeps_behind_its_own_end_while_a_record_comes() {
    if !has_kernel_tls("a_reader_sleeps_behind_its_own_end_while_a_record_comes") {
        return;
    }
    for case in opened_by_the_kernel() {
        let (ours, mut theirs) = pair(&case);
        let (mut reader, mut writer) = ours.split();
        let sent = pattern(16_000, 7);
        theirs.connection.writer().write_all(&sent).unwrap();
        let mut wire = Vec::new();
        theirs.connection.write_tls(&mut wire).unwrap();
        assert!(!writer.close(deadline(20)).unwrap().aborted);
        theirs.socket.set_nodelay(true).unwrap();
        theirs.socket.write_all(&wire[..100]).unwrap();
        let reading = thread::spawn(move || {
            let work = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
            let (began, worked) = (Instant::now(), work());
            let mut read = vec![0; 16_000];
            reader.read_exact(&mut read).unwrap();
            (read, work() - worked, began.elapsed())
        });
        thread::sleep(Duration::from_millis(2000));
        theirs.socket.write_all(&wire[100..]).unwrap();
        let (read, worked, waited) = reading.join().unwrap();
        assert!(read == sent);
        assert!(worked < waited / 2, "it worked for {worked:?} of {waited:?}, and did not sleep");
    }
}

/// Somebody sent without copies before the stream was made, and has not asked what became of it.
#[test]
fn a_reader_sleeps_whatever_lies_in_the_error_queue() {
    if !has_kernel_tls("a_reader_sleeps_whatever_lies_in_the_error_queue") {
        return;
    }
    for case in opened_by_the_kernel() {
        let (near, mut far) = tcp_pair();
        let duplicate = near.try_clone().unwrap();
        let earlier = Sender::builder().backend(Backend::MsgZerocopy).policy(AlwaysZeroCopy);
        let mut earlier = earlier.build(duplicate).unwrap();
        earlier.send(vec![7; 20_000]).unwrap();
        far.read_exact(&mut [0; 20_000]).unwrap();
        std::mem::forget(earlier);
        let builder = on().backend(Backend::Copy);
        let (mut ours, mut theirs) = ours_and_theirs_over((near, far), builder, &case);
        let reading = thread::spawn(move || {
            let work = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
            let (began, worked) = (Instant::now(), work());
            ours.read_exact(&mut [0]).unwrap();
            (work() - worked, began.elapsed())
        });
        thread::sleep(Duration::from_millis(2000));
        theirs.write_all(b"!").unwrap();
        let (worked, waited) = reading.join().unwrap();
        assert!(worked < waited / 2, "it worked for {worked:?} of {waited:?}, and did not sleep");
    }
}

/// The alert has to wait, as what the peer has not read is before it.
#[test]
fn close_tells_the_peer_what_there_was_no_room_for() {
    if !has_kernel_tls("close_tells_the_peer_what_there_was_no_room_for") {
        return;
    }
    for case in both_versions() {
        let (mut ours, mut theirs) = ours_and_theirs_over(narrow_tcp_pair(), on(), &case);
        let sent = pattern(64 << 20, 5);
        let patience = Duration::from_millis(300);
        let taken = endings::write_while_nobody_reads(&mut ours, &sent, patience);
        theirs.socket.write_all(&[&[23, 3, 3, 0, 40][..], &[0; 40]].concat()).unwrap();
        let found = ours.halves().0.receive(&mut [0; 100]).unwrap_err();
        assert!(matches!(found, Error::Inauthentic), "{found}");
        let reading = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            let mut read = Vec::new();
            let told = theirs.read_to_end(&mut read).unwrap_err();
            // rustls keeps what came in one piece with the alert, and has no end for it.
            let _ = theirs.connection.reader().read_to_end(&mut read);
            (read, told)
        });
        let closed = ours.close(deadline(20)).unwrap_err();
        assert!(matches!(closed, Error::Inauthentic), "{closed}");
        drop(ours);
        let (read, told) = reading.join().unwrap();
        assert!(told.to_string().contains("BadRecordMac"), "{told}");
        assert!(read == sent[..taken], "{} bytes of {taken}", read.len());
    }
}

/// Behind our end there is no key to update: the request asks for nothing.
#[test]
fn the_peer_may_request_a_key_behind_our_end() {
    if !has_kernel_tls("the_peer_may_request_a_key_behind_our_end") {
        return;
    }
    let (ours, mut theirs) = ours_and_theirs(on(), &case_tls13());
    let (mut reader, mut writer) = ours.split();
    assert!(!writer.close(deadline(20)).unwrap().aborted);
    for round in 0..3u8 {
        theirs.refresh();
        theirs.write_all(&[round]).unwrap();
        let mut read = [0];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(read, [round]);
    }
}

/// The kernel has seen the damage before anybody reads, and refuses to send.
#[test]
fn a_writer_that_comes_upon_damage_first_says_what_the_reader_will() {
    if !has_kernel_tls("a_writer_that_comes_upon_damage_first_says_what_the_reader_will") {
        return;
    }
    for (wire, expected, alert) in [
        (&[23, 3, 3, 0x50, 0, 0, 0][..], Violation::RecordTooLong, "RecordOverflow"),
        (&[23, 2, 0, 0, 40, 0, 0], Violation::WrongVersion, "ProtocolVersion"),
    ] {
        let (ours, mut theirs) = pair(&case_tls12());
        let (mut reader, mut writer) = ours.split();
        theirs.socket.write_all(&[wire, &[0; 64]].concat()).unwrap();
        // By then the kernel has it.
        thread::sleep(Duration::from_millis(200));
        for _ in 0..2 {
            let found = writer.send(&[IoSlice::new(b"x")]).unwrap_err();
            assert!(matches!(&found, Error::Peer(found) if *found == expected), "{found}");
            let found = reader.receive(&mut [0; 100]).unwrap_err();
            assert!(matches!(&found, Error::Peer(found) if *found == expected), "{found}");
        }
        let told = theirs.read(&mut [0; 10]).unwrap_err();
        assert!(told.to_string().contains(alert), "{told}");
    }
}
