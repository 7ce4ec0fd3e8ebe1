//! Bytes in both directions at once, in any parts, out of any pool, on every backend.

mod support;

use std::io::{IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sealift_io::{Backend, Policy, Pool};
use sealift_tls::{TlsReader, TlsStream, TlsWriter};
use support::ends::both_ours;
use support::engines::{pairs, sound};
use support::{Authority, cases, deadline, name, pattern};

/// Writes `sent` in parts of these sizes, over and over, and gives every third away.
fn write_in_parts(writer: &mut TlsWriter, sent: &[u8], sizes: &[usize]) {
    let mut rest = sent;
    for (at, &size) in sizes.iter().cycle().enumerate() {
        if rest.is_empty() {
            break;
        }
        let (part, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        if at % 3 == 0 {
            writer.send_owned(part.to_vec()).unwrap();
            continue;
        }
        let (first, second) = part.split_at(part.len() / 3);
        let slices = [IoSlice::new(first), IoSlice::new(&[]), IoSlice::new(second)];
        assert_eq!(writer.write_vectored(&slices).unwrap(), part.len());
    }
    assert!(!writer.close(deadline(20)).unwrap().aborted);
}

fn read_in_parts(reader: &mut TlsReader, sizes: &[usize]) -> Vec<u8> {
    let mut read = Vec::new();
    for &size in sizes.iter().cycle() {
        let before = read.len();
        read.resize(before + size, 0);
        let count = reader.read(&mut read[before..]).unwrap();
        read.truncate(before + count);
        if count == 0 {
            break;
        }
    }
    read
}

#[test]
fn both_directions_carry_any_parts_at_once() {
    let backends = [Backend::Uring, Backend::MsgZerocopy, Backend::Copy];
    let policies = [Policy::AlwaysZeroCopy, Policy::Adaptive(None)];
    let sizes = || prop::collection::vec(prop_oneof![1..200usize, 1..70_000usize], 1..20);
    let plan = (
        prop::sample::select(cases()),
        prop::sample::select(backends.to_vec()),
        prop::sample::select(policies.to_vec()),
        (prop::sample::select(sound("both_directions_carry_any_parts_at_once")), any::<u64>()),
        // Frames of less than a record, of one, of several.
        prop::sample::select(vec![100usize, 5_000, 16_448, 65_664, 200_000]),
        sizes(),
        sizes(),
        1usize..400_000,
    );
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let outcome =
        runner.run(&plan, |(case, backend, policy, engine, frame_bytes, writes, reads, total)| {
            let pool = Pool::builder().frames(6).frame_bytes(frame_bytes).huge_pages(false);
            let pool = pool.build().unwrap();
            let total = if frame_bytes < 1_000 { total / 10 } else { total };
            let builder = TlsStream::builder().pool(&pool).backend(backend).policy(policy);
            // One end seals on an engine, the other here.
            let (sealer, seed) = engine;
            let (near, far) = both_ours(&case, sealer.give(builder.clone(), seed), builder);
            let directions = [(near, 1u8, 2u8), (far, 2, 1)];
            thread::scope(|scope| {
                for (stream, seed, expected) in directions {
                    let (mut reader, mut writer) = stream.split();
                    let (writes, reads) = (&writes, &reads);
                    scope.spawn(move || {
                        write_in_parts(&mut writer, &pattern(total, seed), writes);
                    });
                    scope.spawn(move || {
                        let read = read_in_parts(&mut reader, reads);
                        assert!(read == pattern(total, expected));
                    });
                }
            });
            prop_assert_eq!(pool.stats().leased, 0);
            Ok(())
        });
    outcome.unwrap();
}

#[test]
fn a_unix_stream_does_as_well() {
    let authority = Authority::new();
    let case = support::case_tls13();
    let (near, far) = UnixStream::pair().unwrap();
    let server = authority.server(&case);
    let there = thread::spawn(move || {
        let mut far = TlsStream::accept(far, server, deadline(10)).unwrap();
        let mut read = Vec::new();
        far.read_to_end(&mut read).unwrap();
        far.write_all(&read).unwrap();
        assert!(!far.close(deadline(10)).unwrap().aborted);
    });
    let mut near = TlsStream::connect(near, authority.client(&case), name(), deadline(10)).unwrap();
    near.write_all(&pattern(1_000_000, 1)).unwrap();
    assert!(!near.close(deadline(10)).unwrap().aborted);
    let mut read = Vec::new();
    near.read_to_end(&mut read).unwrap();
    assert!(read == pattern(1_000_000, 1));
    there.join().unwrap();
}

/// Each byte is touched once by the seal and once by the opening, if the reader gives it room.
#[test]
fn a_bulk_transfer_touches_each_byte_once_per_side() {
    for case in cases() {
        let (mut near, mut far) = both_ours(&case, TlsStream::builder(), TlsStream::builder());
        let sent = pattern(4 << 20, 9);
        thread::scope(|scope| {
            scope.spawn(|| {
                near.write_all(&sent).unwrap();
                let stats = near.stats();
                assert_eq!((stats.bytes_sealed, stats.bytes_gathered), (4 << 20, 0));
                assert_eq!(stats.copies_per_byte_sealed(), 1.0);
                assert_eq!(stats.records_sealed, 256);
            });
            let mut read = vec![0; sent.len() + 1];
            let mut filled = 0;
            while filled < sent.len() {
                filled += far.read(&mut read[filled..]).unwrap();
            }
            assert!(read[..filled] == sent);
            let stats = far.stats();
            assert_eq!((stats.records_opened, stats.bytes_staged), (256, 0), "{stats}");
            assert_eq!(stats.copies_per_byte_opened(), 1.0);
        });
    }
}

/// What is written by a write is on its way when it returns: nobody has to flush.
#[test]
fn a_small_write_needs_no_flush() {
    for case in cases() {
        let (mut near, mut far) = both_ours(&case, TlsStream::builder(), TlsStream::builder());
        for round in 0..50u8 {
            near.write_all(&[round]).unwrap();
            let mut read = [0];
            far.set_read_deadline(Some(deadline(10)));
            far.read_exact(&mut read).unwrap();
            assert_eq!(read, [round]);
        }
        let tally = near.halves().1.flush(deadline(10)).unwrap();
        assert!(tally.messages() >= 50, "{tally:?}");
    }
}

/// As in rustls: an empty record says nothing, but that somebody wrote. What arrives tells.
#[test]
fn nothing_to_write_sends_nothing() {
    let nothing: [fn(&mut TlsStream); 4] = [
        |_| {},
        |near| assert_eq!(near.write(&[]).unwrap(), 0),
        |near| assert_eq!(near.write_vectored(&[IoSlice::new(&[]); 2]).unwrap(), 0),
        |near| near.send_owned(Vec::new()).unwrap(),
    ];
    for (sealer, case) in pairs("nothing_to_write_sends_nothing") {
        let (mut near, mut far) =
            both_ours(&case, sealer.give(TlsStream::builder(), 1), TlsStream::builder());
        let received = nothing.map(|nothing| {
            let before = far.stats().bytes_received;
            nothing(&mut near);
            near.write_all(b"!").unwrap();
            far.read_exact(&mut [0; 1]).unwrap();
            far.stats().bytes_received - before
        });
        assert_eq!(received, [received[0]; 4], "{sealer:?} {case:?}");
        assert_eq!(near.stats().records_sealed, 4, "one for each byte");
    }
}
