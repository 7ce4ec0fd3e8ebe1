//! Every engine's records beside those that are sealed here: the same bytes, in the same order.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use sealift_crypto::{
    Chaos, Coprocessor, Faults, Inline, IpsecMb, Limits, Nonce, Suite, Unit, Workers,
};
use sealift_io::Pool;

use super::*;
use crate::epoch::Epoch;
use crate::record::ContentType;
use crate::sealing::Sealing;

/// Each suite in each version that has it.
const CASES: [(Suite, bool); 6] = [
    (Suite::Aes128Gcm, true),
    (Suite::Aes256Gcm, true),
    (Suite::ChaCha20Poly1305, true),
    (Suite::Aes128Gcm, false),
    (Suite::Aes256Gcm, false),
    (Suite::ChaCha20Poly1305, false),
];

/// Frames of several records, the last of which is cut by the frame's end.
const FRAME_BYTES: usize = 40_000;

/// The key of a generation.
fn epoch(suite: Suite, tls13: bool, generation: u8) -> Epoch {
    let key = vec![generation; suite.key_bytes()];
    Epoch::of(suite, &key, [3; 12], tls13, None).unwrap()
}

fn sealing(suite: Suite, tls13: bool) -> Sealing {
    Sealing::new(epoch(suite, tls13, 0))
}

fn pool() -> Pool {
    Pool::builder().frames(8).frame_bytes(FRAME_BYTES).huge_pages(false).build().unwrap()
}

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// The engines of this machine; where the library of one is not installed, its own tests say so.
fn engines() -> Vec<SealingEngine> {
    let device = Coprocessor::builder().depth(3).key_slots(1).accepts(1).reorders();
    let harmless = Faults { error: 0, death: 0, ..Faults::honest(3) };
    let mut engines: Vec<SealingEngine> = vec![
        Box::new(Inline::new()),
        Box::new(Workers::builder().threads(2).batch(1, 1).build().unwrap()),
        Box::new(device.build().unwrap()),
        Box::new(Chaos::new(Inline::new(), harmless, 5).unwrap()),
    ];
    if let Ok(engine) = IpsecMb::open() {
        engines.push(Box::new(engine));
    }
    engines
}

/// What leaves, until nothing is under way.
fn drain(bulk: &mut Bulk, wire: &mut Vec<u8>) {
    let late = Instant::now() + Duration::from_secs(20);
    while !bulk.is_idle() {
        bulk.pump().unwrap();
        while let Some(message) = bulk.release() {
            wire.extend_from_slice(message.into_buffers().get(0).unwrap().as_slice().unwrap());
        }
        assert!(Instant::now() < late, "{:?}", bulk.offload());
        bulk.wait(late);
    }
}

/// One record that is sealed here, as those who write it do.
fn record(sealing: &mut Sealing, content: ContentType, text: &[u8]) -> Vec<u8> {
    let mut record = vec![0; sealing.record_bytes(text.len())];
    assert_eq!(sealing.seal(content, text, &mut record).unwrap(), record.len());
    record
}

/// Data in frames, a record between them, another key, data again.
#[test]
fn an_engines_wire_is_the_same_as_without_it() {
    for (suite, tls13) in CASES {
        for engine in engines() {
            let name = engine.capabilities().name;
            let pool = pool();
            let mut bulk = Bulk::new(engine, 16);
            let (mut ours, mut plain) = (sealing(suite, tls13), sealing(suite, tls13));
            let (mut wire, mut expected) = (Vec::new(), Vec::new());
            for generation in 1..4 {
                let text = text(100_001);
                let mut source = Bytes::from(text.clone());
                while !source.is_empty() {
                    let lease = pool.try_lease().unwrap();
                    bulk.seal(&mut ours, &mut source, lease, MOST_PLAINTEXT_BYTES);
                    bulk.pump().unwrap();
                }
                assert!(bulk.append(record(&mut ours, ContentType::Alert, &[1, 100]).into()));
                for part in text.chunks(MOST_PLAINTEXT_BYTES) {
                    expected.extend(record(&mut plain, ContentType::ApplicationData, part));
                }
                expected.extend(record(&mut plain, ContentType::Alert, &[1, 100]));
                ours.rotate(epoch(suite, tls13, generation));
                plain.rotate(epoch(suite, tls13, generation));
                if generation == 2 {
                    drain(&mut bulk, &mut wire);
                }
            }
            drain(&mut bulk, &mut wire);
            assert!(wire == expected, "{name} {suite} {tls13}");
            assert_eq!(pool.stats().leased, 0);
            assert_eq!((bulk.sealed().records, bulk.sealed().bytes), (21, 300_003));
        }
    }
}

/// What cannot be read is not sent; what was read before it is.
#[test]
fn a_files_wire_is_the_same_as_without_an_engine() {
    let text = text(100_001);
    let file = file(&text);
    for (suite, tls13) in CASES {
        for engine in engines() {
            let name = engine.capabilities().name;
            let pool = pool();
            let mut bulk = Bulk::new(engine, 16);
            let (mut ours, mut plain) = (sealing(suite, tls13), sealing(suite, tls13));
            let (mut wire, mut expected) = (Vec::new(), Vec::new());
            // It ends sooner than the range.
            let mut range = 7..200_000;
            while range.start < range.end {
                let lease = pool.try_lease().unwrap();
                let most = MOST_PLAINTEXT_BYTES;
                bulk.seal_file(&mut ours, file.as_fd(), &mut range, lease, most).unwrap();
            }
            assert_eq!(range, 100_001..100_001);
            for part in text[7..].chunks(MOST_PLAINTEXT_BYTES) {
                expected.extend(record(&mut plain, ContentType::ApplicationData, part));
            }
            let (unreadable, _) = std::os::unix::net::UnixStream::pair().unwrap();
            let lease = pool.try_lease().unwrap();
            let refused = bulk.seal_file(&mut ours, unreadable.as_fd(), &mut (0..9), lease, 9);
            assert!(matches!(refused, Err(Error::Io(_))), "{refused:?}");
            drain(&mut bulk, &mut wire);
            assert!(wire == expected, "{name} {suite} {tls13}");
            assert_eq!((pool.stats().leased, bulk.sealed().bytes), (0, 100_001 - 7));
        }
    }
}

/// A file in memory.
fn file(content: &[u8]) -> File {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::memfd_create("sealift-tls-test", flags).unwrap());
    file.write_all(content).unwrap();
    file
}

/// Data stops before the key's limit, and what ends the key still fits.
#[test]
fn jobs_count_against_the_limit_before_they_are_done() {
    let limits = Limits { seals: 10, failures: 1 };
    let (pool, mut bulk) = (pool(), Bulk::new(Box::new(Inline::new()), 16));
    let epoch = Epoch::of(Suite::Aes128Gcm, &[1; 16], [3; 12], true, Some(limits)).unwrap();
    let mut sealing = Sealing::new(epoch);
    let mut source = Bytes::from(text(1000));
    // Records of 100 bytes: all would fit one lease.
    bulk.seal(&mut sealing, &mut source, pool.try_lease().unwrap(), 100);
    assert_eq!((source.len(), sealing.is_spent()), (400, true));
    bulk.seal(&mut sealing, &mut source, pool.try_lease().unwrap(), 100);
    assert_eq!((source.len(), bulk.len()), (400, 1), "a job of nothing is none");
    for _ in 0..4 {
        record(&mut sealing, ContentType::Alert, &[1, 0]);
    }
    let mut record = vec![0; sealing.record_bytes(2)];
    let refused = sealing.seal(ContentType::Alert, &[1, 0], &mut record);
    assert!(matches!(refused, Err(Error::KeyExhausted)), "{refused:?}");
}

/// An engine may have been somebody else's before.
#[test]
fn a_job_of_somebody_elses_is_not_taken_for_one_of_the_streams() {
    for has_own_key in [false, true] {
        let (suite, pool) = (Suite::Aes128Gcm, pool());
        let mut sealing = sealing(suite, true);
        let other = epoch(suite, true, 9);
        // A record more than was begun, or another's key.
        let (key, records) = match has_own_key {
            true => (sealing.key().clone(), 2),
            false => (Sealing::new(other).key().clone(), 1),
        };
        let unit = |at: u64| {
            let at_bytes = at as usize * 200;
            Unit::new(Nonce::of(&[0; 12], at), 0..100, at_bytes)
        };
        let destination = Frame::from(pool.try_lease().unwrap());
        let payload = Payload::Apart { source: Bytes::from(text(100)), destination };
        let job = Job::seal(&key, payload, (0..records).map(unit).collect(), 0).unwrap();
        let mut engine: SealingEngine = Box::new(Inline::new());
        assert_eq!(engine.submit(&mut VecDeque::from([job])), Stopped::Empty);
        let mut bulk = Bulk::new(engine, 8);
        let mut source = Bytes::from(text(100));
        bulk.seal(&mut sealing, &mut source, pool.try_lease().unwrap(), MOST_PLAINTEXT_BYTES);
        let said = bulk.pump().unwrap_err();
        assert!(matches!(said, Error::Engine { engine: "inline", .. }), "{said}");
        assert!(bulk.release().is_none(), "it was nobody's record");
    }
}
