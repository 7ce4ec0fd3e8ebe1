//! Reading with an engine that opens ahead: what a stream without one does, and how engines end.
//!
//! Every run prints its engine and seed if it fails; `SEALIFT_SEED` repeats one.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use sealift_tls::{AsyncTlsStream, Error, TlsStream, TlsStreamBuilder, rustls};
use support::ends::ours_and_theirs;
use support::opening::{Chance, Opener, Telltale, openers, seeds};
use support::puppet::Puppet;
use support::{Authority, Case, Theirs, case_tls12, case_tls13, deadline, name, pattern, tcp_pair};
use tokio::io::AsyncReadExt;

/// What a record adds at least: its header and its tag.
const RECORD_EXPANSION: u64 = 5 + 16;

fn with(opener: &Opener, seed: u64) -> TlsStreamBuilder {
    TlsStream::builder().opening_engine((opener.make)(seed))
}

/// Every engine, with its seeds, in both versions.
fn each(test: &str, runs: u64, run: impl Fn(&Opener, u64, &Case)) {
    for opener in openers(test) {
        for seed in seeds(runs) {
            let _telltale = Telltale(opener.name, seed);
            for case in [case_tls13(), case_tls12()] {
                run(&opener, seed, &case);
            }
        }
    }
}

/// Writes in parts by chance, and updates its keys on the way.
fn send(mut theirs: Theirs, sent: &[u8], case: &Case, mut chance: Chance) -> Theirs {
    let is_tls13 = case.version == &rustls::version::TLS13;
    let mut rest = sent;
    while !rest.is_empty() {
        let longest = [10, 2_000, 70_000][chance.below(3)];
        let (part, later) = rest.split_at(rest.len().min(1 + chance.below(longest)));
        rest = later;
        // An engine that fails ends the connection.
        if theirs.write_all(part).is_err() {
            return theirs;
        }
        if is_tls13 && chance.once_in(6) && theirs.connection.refresh_traffic_keys().is_err() {
            return theirs;
        }
    }
    theirs.connection.send_close_notify();
    let _ = theirs.flush();
    let _ = theirs.socket.shutdown(Shutdown::Write);
    theirs
}

#[test]
fn every_engine_opens_what_a_peer_sends_in_any_parts() {
    let sent = pattern(1 << 20, 3);
    each("every_engine_opens_what_a_peer_sends_in_any_parts", 3, |opener, seed, case| {
        let (mut ours, theirs) = ours_and_theirs(with(opener, seed), case);
        let mut chance = Chance(seed);
        thread::scope(|scope| {
            let writing = scope.spawn(|| send(theirs, &sent, case, Chance(seed + 1)));
            let (mut read, mut into) = (Vec::new(), vec![0; 100_000]);
            let end = loop {
                let longest = [10, 3_000, 100_000][chance.below(3)];
                let room = 1 + chance.below(longest);
                match ours.halves().0.receive(&mut into[..room]) {
                    Ok(count) if count > 0 => read.extend_from_slice(&into[..count]),
                    end => break end,
                }
            };
            assert!(sent.starts_with(&read));
            let stats = ours.stats();
            assert_eq!(
                (stats.bytes_opened, stats.bytes_staged),
                (read.len() as u64, stats.bytes_opened)
            );
            match end {
                Ok(_) => {
                    assert_eq!(read.len(), sent.len());
                    let least = stats.bytes_opened + stats.records_opened * RECORD_EXPANSION;
                    assert!(stats.bytes_received > least, "{stats}");
                }
                Err(Error::Engine { .. }) if opener.fails => drop(ours),
                Err(other) => panic!("{other}"),
            }
            writing.join().unwrap();
        });
    });
}

/// Both ends read ahead, both update their keys, on four threads.
#[test]
fn both_directions_are_busy_and_update_their_keys() {
    let sent = pattern(3 << 20, 5);
    for opener in openers("both_directions_are_busy_and_update_their_keys") {
        let _telltale = Telltale(opener.name, 1);
        if opener.fails {
            continue;
        }
        let (authority, case) = (Authority::new(), case_tls13());
        let (near, far) = tcp_pair();
        let (there, server) = (with(&opener, 1), authority.server(&case));
        let accepted = thread::spawn(move || there.accept(far, server, deadline(10)).unwrap());
        let here = with(&opener, 2).connect(near, authority.client(&case), name(), deadline(10));
        let ends = [here.unwrap(), accepted.join().unwrap()];
        let reopened: u64 = thread::scope(|scope| {
            let halves = ends.map(TlsStream::split);
            let running = halves.map(|(mut reader, mut writer)| {
                let sent = &sent;
                let writing = scope.spawn(move || {
                    for part in sent.chunks(40_000) {
                        writer.request_key_update().unwrap();
                        writer.write_all(part).unwrap();
                    }
                    writer
                });
                let reading = scope.spawn(move || {
                    let mut read = vec![0; sent.len()];
                    reader.read_exact(&mut read).unwrap();
                    assert!(read == *sent);
                    reader
                });
                (reading, writing)
            });
            let ended = running.map(|(reading, writing)| {
                (reading.join().unwrap(), writing.join().unwrap().stats().records_reopened)
            });
            ended.iter().map(|(_, reopened)| reopened).sum()
        });
        assert!(reopened > 0, "nothing was opened ahead of a key update");
    }
}

#[test]
fn a_stream_that_is_cut_short_is_an_error_behind_all_that_came() {
    let sent = pattern(200_000, 1);
    each("a_stream_that_is_cut_short", 1, |opener, seed, case| {
        for cut in [0, 1, 400] {
            let (mut ours, mut theirs) = ours_and_theirs(with(opener, seed), case);
            let mut wire = Vec::new();
            for part in sent.chunks(10_000) {
                theirs.connection.writer().write_all(part).unwrap();
                while theirs.connection.wants_write() {
                    theirs.connection.write_tls(&mut wire).unwrap();
                }
            }
            let socket = theirs.socket.try_clone().unwrap();
            let writing = thread::spawn(move || {
                (&socket).write_all(&wire[..wire.len() - cut]).unwrap();
                socket.shutdown(Shutdown::Write).unwrap();
            });
            let mut read = Vec::new();
            let end = ours.read_to_end(&mut read).unwrap_err();
            assert!(sent.starts_with(&read));
            writing.join().unwrap();
            if opener.fails && end.kind() == ErrorKind::Other {
                continue;
            }
            assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
            assert_eq!(read.len(), sent.len() - if cut > 0 { 10_000 } else { 0 });
            assert_eq!(ours.read(&mut [0; 10]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
            // Only what the peer sends has ended.
            ours.write_all(b"still writing").unwrap();
            theirs.read_exact(&mut [0; 13]).unwrap();
        }
    });
}

/// However far ahead of it the engine was, and whatever failed behind it.
#[test]
fn a_forged_record_is_told_to_the_peer_once_and_ends_both_halves() {
    let sent = pattern(300_000, 2);
    each("a_forged_record_is_told_to_the_peer_once", 2, |opener, seed, case| {
        let (ours, mut theirs) = ours_and_theirs(with(opener, seed), case);
        let (mut reader, mut writer) = ours.split();
        let mut wire = Vec::new();
        for part in sent.chunks(10_000) {
            theirs.connection.writer().write_all(part).unwrap();
            while theirs.connection.wants_write() {
                theirs.connection.write_tls(&mut wire).unwrap();
            }
        }
        let forged = Chance(seed).below(sent.len() / 10_000);
        let record = wire.len() / (sent.len() / 10_000);
        wire[record * forged + 100] ^= 1;
        let socket = theirs.socket.try_clone().unwrap();
        let writing = thread::spawn(move || _ = (&socket).write_all(&wire));
        let mut read = Vec::new();
        let error = reader.read_to_end(&mut read).unwrap_err();
        assert!(sent.starts_with(&read));
        writing.join().unwrap();
        if opener.fails && error.kind() == ErrorKind::Other {
            return;
        }
        assert_eq!(read.len(), forged * 10_000);
        for _ in 0..2 {
            let again = reader.receive(&mut [0; 100]).unwrap_err();
            assert!(matches!(again, Error::Inauthentic), "{again}");
        }
        assert!(writer.write_all(b"more").is_err());
        // One alert, and nothing behind it.
        let told = theirs.read(&mut [0; 10]).unwrap_err().to_string();
        assert!(told.contains("BadRecordMac"), "{told}");
        drop((reader, writer));
        let mut behind = Vec::new();
        let _ = theirs.socket.read_to_end(&mut behind);
        assert!(behind.is_empty(), "{behind:?}");
    });
}

#[test]
fn nothing_is_read_behind_close_notify() {
    each("nothing_is_read_behind_close_notify", 1, |opener, seed, case| {
        let (mut ours, mut theirs) = ours_and_theirs(with(opener, seed), case);
        theirs.write_all(b"the last").unwrap();
        theirs.connection.send_close_notify();
        theirs.flush().unwrap();
        theirs.socket.write_all(&[23, 3, 3, 0, 40]).unwrap();
        theirs.socket.write_all(&[1; 40]).unwrap();
        let mut read = Vec::new();
        match ours.read_to_end(&mut read) {
            Err(error) if opener.fails => assert_eq!(error.kind(), ErrorKind::Other),
            end => assert_eq!((end.unwrap(), &read[..]), (8, &b"the last"[..])),
        }
        if read.len() == 8 {
            assert_eq!(ours.read(&mut [0; 10]).unwrap(), 0);
        }
    });
}

#[test]
fn a_read_meets_its_deadline_while_the_engine_stalls_and_loses_nothing() {
    for case in [case_tls13(), case_tls12()] {
        let (puppet, strings) = Puppet::new();
        let builder = TlsStream::builder().opening_engine(puppet);
        let (mut ours, mut theirs) = ours_and_theirs(builder, &case);
        theirs.write_all(b"slowly").unwrap();
        for _ in 0..2 {
            let before = Instant::now();
            ours.set_read_deadline(Some(before + Duration::from_millis(30)));
            assert_eq!(ours.read(&mut [0; 100]).unwrap_err().kind(), ErrorKind::TimedOut);
            assert!(before.elapsed() < Duration::from_secs(5));
        }
        assert!(strings.taken() > 0);
        while strings.finish(0) {}
        ours.set_read_deadline(Some(deadline(10)));
        let mut read = [0; 6];
        ours.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"slowly");
    }
}

/// The peer is told; both halves have the reason; nothing more is read or written.
#[test]
fn an_engine_that_fails_ends_the_connection_with_one_clear_error() {
    for case in [case_tls13(), case_tls12()] {
        let device = sealift_crypto::Coprocessor::builder();
        let device = device.crashes_after(1, sealift_crypto::Crash::Fails).build().unwrap();
        let builder = TlsStream::builder().opening_engine(device);
        let (ours, mut theirs) = ours_and_theirs(builder, &case);
        let (mut reader, mut writer) = ours.split();
        theirs.write_all(&pattern(100_000, 1)).unwrap();
        for _ in 0..2 {
            let error = reader.receive(&mut [0; 100]).unwrap_err();
            assert_eq!(error.to_string(), "the coprocessor engine failed: the device failed");
        }
        assert_eq!(writer.write(b"more").unwrap_err().kind(), ErrorKind::Other);
        let told = theirs.read(&mut [0; 10]).unwrap_err().to_string();
        assert!(told.contains("InternalError"), "{told}");
    }
}

/// With jobs in the engine's hands, which still writes their memory: it hangs nobody.
#[test]
fn a_stream_is_dropped_with_jobs_under_way() {
    each("a_stream_is_dropped_with_jobs_under_way", 5, |opener, seed, case| {
        let (mut ours, mut theirs) = ours_and_theirs(with(opener, seed), case);
        theirs.write_all(&pattern(150_000, 1)).unwrap();
        // One byte, and much ahead of it.
        let _ = ours.read(&mut [0]);
    });
}

#[test]
fn an_engine_is_for_one_stream() {
    let (authority, case) = (Authority::new(), case_tls13());
    let builder = TlsStream::builder().opening_engine(sealift_crypto::Inline::new());
    let other = builder.clone();
    drop(ours_and_theirs(builder, &case));
    let (near, _far) = tcp_pair();
    let refused = other.connect(near, authority.client(&case), name(), deadline(10)).unwrap_err();
    assert!(refused.to_string().contains("another stream"), "{refused}");
}

/// The engine wakes the task.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_engine_wakes_the_task_that_reads() {
    let authority = Authority::new();
    let sent = pattern(1 << 20, 4);
    for opener in openers("every_engine_wakes_the_task_that_reads") {
        for seed in seeds(2) {
            let _telltale = Telltale(opener.name, seed);
            for case in [case_tls13(), case_tls12()] {
                let (near, far) = tcp_pair();
                let (server, sent) = (authority.server(&case), sent.clone());
                let writing = thread::spawn(move || {
                    let theirs = Theirs::server(far, server);
                    // Its end stays until it was read: a reset would take what is on its way along.
                    send(theirs, &sent, &case, Chance(seed))
                });
                let client = authority.client(&case);
                let ours = AsyncTlsStream::connect(
                    with(&opener, seed),
                    near,
                    client,
                    name(),
                    deadline(20),
                );
                let mut ours = ours.await.unwrap();
                let mut read = Vec::new();
                let reading =
                    tokio::time::timeout(Duration::from_secs(30), ours.read_to_end(&mut read));
                match reading.await.unwrap_or_else(|_| panic!("{} hangs", opener.name)) {
                    Ok(count) => assert_eq!(count, 1 << 20),
                    Err(error) => {
                        assert!(opener.fails && error.kind() == ErrorKind::Other, "{error}");
                    }
                }
                drop((ours, writing.join().unwrap()));
                assert!(pattern(1 << 20, 4).starts_with(&read));
            }
        }
    }
}

/// Its device still writes: nobody who is done with reading waits for that.
#[test]
fn a_stream_is_dropped_at_once_whatever_the_engine_does() {
    let (puppet, strings) = Puppet::new();
    let builder = TlsStream::builder().opening_engine(puppet);
    let (mut ours, mut theirs) = ours_and_theirs(builder, &case_tls13());
    theirs.write_all(&[1; 1000]).unwrap();
    ours.halves().0.set_read_deadline(Some(Instant::now() + Duration::from_millis(50)));
    assert_eq!(ours.read(&mut [0; 10]).unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(strings.held() > 0, "nothing was begun");
    strings.cling();
    let (dropped, is_dropped) = std::sync::mpsc::channel();
    thread::spawn(move || {
        drop(ours);
        dropped.send(()).unwrap();
    });
    is_dropped.recv_timeout(Duration::from_secs(10)).expect("it waits for the engine");
    assert!(!strings.is_dropped(), "the engine has the memory still");
    strings.let_go();
    let late = deadline(10);
    while !strings.is_dropped() {
        assert!(Instant::now() < late, "the engine is kept for ever");
        thread::sleep(Duration::from_millis(1));
    }
}
