//! What went wrong in kernel TLS with asynchronous crypto, and does not go wrong here: receiving.
//!
//! As for sending (`kernel_tls_failures.rs`), the engine is a puppet. What was let go is counted by
//! the allocator: the blocks that are as long as those that jobs read and write.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sealift_tls::{Error, TlsStream};
use support::ends::ours_and_theirs;
use support::puppet::{Puppet, Strings};
use support::{Theirs, case_tls13, deadline, pattern};

/// One record of the most plaintext.
const RECORD: usize = 16_384;
/// No job reads or writes a shorter block, and little else is as long.
const LONG: usize = 36_000;

/// Rounds of a test, one of which must leave nothing.
const ROUNDS: usize = 4;

static LONG_BLOCKS: AtomicIsize = AtomicIsize::new(0);
/// One test at a time, so that the blocks are its own.
static ALONE: Mutex<()> = Mutex::new(());

struct Counting;

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LONG_BLOCKS.fetch_add(isize::from(layout.size() >= LONG), Ordering::SeqCst);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LONG_BLOCKS.fetch_sub(isize::from(layout.size() >= LONG), Ordering::SeqCst);
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

type OpeningStrings = Strings<Arc<[u8]>, Vec<u8>>;

/// A stream on a puppet, and all that can be seen of it.
struct Scene {
    ours: TlsStream,
    theirs: Theirs,
    strings: OpeningStrings,
}

impl Scene {
    fn new() -> Self {
        let (puppet, strings) = Puppet::new();
        let builder = TlsStream::builder().opening_engine(puppet);
        let (ours, theirs) = ours_and_theirs(builder, &case_tls13());
        Self { ours, theirs, strings }
    }

    /// The peer sends so many records, and the engine holds at least two jobs.
    fn engaged(records: usize) -> Self {
        let mut scene = Self::new();
        scene.theirs.write_all(&pattern(records * RECORD, 1)).unwrap();
        while scene.strings.held() < 2 {
            assert!(matches!(scene.glance(), Err(Error::Deadline)));
        }
        scene
    }

    /// Reads without patience.
    fn glance(&mut self) -> Result<usize, Error> {
        self.ours.set_read_deadline(Some(Instant::now() + Duration::from_millis(5)));
        self.ours.halves().0.receive(&mut [0; 100])
    }

    /// Reads to the end, or the error, with the engine doing what it has, the newest first.
    fn finish(&mut self) -> (Vec<u8>, Result<usize, Error>) {
        let (mut read, mut into) = (Vec::new(), vec![0; 50_000]);
        let late = deadline(20);
        loop {
            assert!(Instant::now() < late, "it hangs");
            self.ours.set_read_deadline(Some(Instant::now() + Duration::from_millis(2)));
            match self.ours.halves().0.receive(&mut into) {
                Ok(0) => return (read, Ok(0)),
                Ok(count) => read.extend_from_slice(&into[..count]),
                Err(Error::Deadline) => {
                    while self.strings.finish(self.strings.held().saturating_sub(1)) {}
                }
                error => return (read, error),
            }
        }
    }
}

/// Runs a test alone, and shows that no long block outlives what it leaves. What is made once for
/// all streams may be made in one of its rounds, and not in each.
fn alone(test: impl Fn()) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = LONG_BLOCKS.load(Ordering::SeqCst);
    let engaged = Scene::engaged(4);
    assert!(LONG_BLOCKS.load(Ordering::SeqCst) > before + 2, "the blocks are counted");
    drop(engaged);
    let leaves_nothing = || {
        let before = LONG_BLOCKS.load(Ordering::SeqCst);
        test();
        let late = deadline(2);
        while LONG_BLOCKS.load(Ordering::SeqCst) > before && Instant::now() < late {
            thread::sleep(Duration::from_millis(1));
        }
        LONG_BLOCKS.load(Ordering::SeqCst) <= before
    };
    assert!((0..ROUNDS).any(|_| leaves_nothing()), "long blocks are left each time");
}

/// CVE-2023-6176 was of sending: a record was freed on an error although its job was under way.
#[test]
fn receiving_a_record_is_kept_while_its_job_lives() {
    alone(|| {
        let mut scene = Scene::engaged(6);
        scene.strings.cling();
        scene.strings.fail(0);
        scene.ours.set_read_deadline(Some(deadline(10)));
        let said = scene.ours.halves().0.receive(&mut [0; 100]).unwrap_err();
        assert!(matches!(said, Error::Engine { .. }), "{said}");
        // It goes on with what it has, which nobody waits for any more.
        assert!(scene.strings.held() > 0);
        while scene.strings.finish(0) {}
        scene.strings.let_go();
    });
}

/// CVE-2024-26582: a read of a part of a record freed what the jobs behind it still wrote.
#[test]
fn receiving_a_part_of_a_record_leaves_the_rest_and_the_jobs_behind_it() {
    alone(|| {
        let mut scene = Scene::engaged(6);
        scene.theirs.close();
        assert!(scene.strings.finish(0));
        let (mut read, mut part) = (Vec::new(), [0; 7]);
        for _ in 0..1000 {
            scene.ours.set_read_deadline(Some(deadline(10)));
            scene.ours.read_exact(&mut part).unwrap();
            read.extend_from_slice(&part);
        }
        let (rest, end) = scene.finish();
        assert_eq!(end.unwrap(), 0);
        read.extend(rest);
        assert!(read == pattern(6 * RECORD, 1));
    });
}

/// CVE-2024-26800: after a failure both the error path and the job's callback released its pages.
#[test]
fn receiving_memory_is_released_by_one_of_callback_and_error_path() {
    alone(|| {
        for done_before in [false, true] {
            let mut scene = Scene::engaged(6);
            if done_before {
                assert!(scene.strings.finish(1));
            }
            scene.strings.fail(0);
            let (read, end) = scene.finish();
            assert!(matches!(end, Err(Error::Engine { .. })) && read.is_empty(), "{end:?}");
        }
    });
}

/// CVE-2024-26583: whoever waited for the last job freed the context that its callback still used.
#[test]
fn receiving_nothing_is_touched_after_its_completion() {
    alone(|| {
        for round in 0..20 {
            let scene = Scene::engaged(6);
            let strings = scene.strings.clone();
            let finishing =
                thread::spawn(move || while strings.finish(round % 2) || strings.finish(0) {});
            let Scene { mut ours, .. } = scene;
            if round % 4 < 2 {
                ours.set_read_deadline(Some(deadline(10)));
                ours.read_exact(&mut [0; RECORD]).unwrap();
            }
            drop(ours);
            finishing.join().unwrap();
        }
    });
}

/// CVE-2024-26584: a request that went to the backlog was answered twice, and taken for failed.
#[test]
fn receiving_a_job_that_waited_for_room_counts_once() {
    alone(|| {
        let mut scene = Scene::new();
        scene.strings.set_full(true);
        scene.theirs.write_all(&pattern(6 * RECORD, 1)).unwrap();
        scene.theirs.close();
        for _ in 0..3 {
            assert!(matches!(scene.glance(), Err(Error::Deadline)));
        }
        assert_eq!(scene.strings.taken(), 0);
        scene.strings.set_full(false);
        let (read, end) = scene.finish();
        assert_eq!(end.unwrap(), 0);
        assert!(read == pattern(6 * RECORD, 1), "once, and in order");
        let stats = scene.ours.stats();
        assert_eq!((stats.records_opened, stats.records_reopened), (6, 0));
    });
}

/// CVE-2025-40176: the call returned, with an error, while the engine still used its memory.
#[test]
fn receiving_no_call_returns_while_the_engine_uses_its_memory() {
    alone(|| {
        let mut scene = Scene::engaged(4);
        scene.theirs.close();
        let mut lent = vec![0xEE; 100_000];
        scene.ours.set_read_deadline(Some(Instant::now() + Duration::from_millis(20)));
        let late = scene.ours.halves().0.receive(&mut lent).unwrap_err();
        assert!(matches!(late, Error::Deadline), "{late}");
        // What completes now goes elsewhere, and to the next call.
        lent.fill(0xEE);
        while scene.strings.finish(0) {}
        assert!(lent.iter().all(|byte| *byte == 0xEE));
        let (read, end) = scene.finish();
        assert_eq!(end.unwrap(), 0);
        assert!(read == pattern(4 * RECORD, 1));
    });
}

/// CVE-2025-40176 and its neighbours: an error path left, and jobs were still pending.
#[test]
fn receiving_an_error_leaves_no_job_pending() {
    alone(|| {
        let mut scene = Scene::new();
        scene.theirs.connection.set_buffer_limit(None);
        scene.theirs.connection.writer().write_all(&pattern(6 * RECORD, 1)).unwrap();
        let mut wire = Vec::new();
        while scene.theirs.connection.wants_write() {
            scene.theirs.connection.write_tls(&mut wire).unwrap();
        }
        wire[100] ^= 1;
        scene.theirs.socket.write_all(&wire).unwrap();
        while scene.strings.held() < 2 {
            assert!(matches!(scene.glance(), Err(Error::Deadline)));
        }
        // The first is forged, and those behind it are not done.
        assert!(scene.strings.finish(0));
        scene.ours.set_read_deadline(Some(deadline(10)));
        let said = scene.ours.halves().0.receive(&mut [0; 100]).unwrap_err();
        assert!(matches!(said, Error::Inauthentic), "{said}");
        assert_eq!(scene.strings.held(), 0, "when the call is back");
    });
}

/// CVE-2024-26585 and CVE-2026-23240: a completion queued work again after the close.
#[test]
fn receiving_nothing_is_begun_behind_the_end() {
    alone(|| {
        let mut scene = Scene::new();
        scene.theirs.write_all(b"the last").unwrap();
        scene.theirs.connection.send_close_notify();
        scene.theirs.flush().unwrap();
        let mut behind = vec![23, 3, 3, 0, 40];
        behind.resize(45, 1);
        let (read, end) = scene.finish();
        assert_eq!((&read[..], end.unwrap()), (&b"the last"[..], 0));
        let taken = scene.strings.taken();
        for _ in 0..20 {
            scene.theirs.socket.write_all(&behind.repeat(20)).unwrap();
            assert_eq!(scene.glance().unwrap(), 0);
        }
        assert_eq!((scene.strings.taken(), scene.strings.held()), (taken, 0));
        // Behind a failure: the same.
        let mut scene = Scene::engaged(6);
        scene.strings.fail(0);
        assert!(matches!(scene.finish().1, Err(Error::Engine { .. })));
        let taken = scene.strings.taken();
        let _ = scene.theirs.write_all(&pattern(RECORD, 2));
        assert!(matches!(scene.glance(), Err(Error::Engine { .. })));
        assert_eq!((scene.strings.taken(), scene.strings.held()), (taken, 0));
    });
}

/// CVE-2026-23414: input that was held for the engine stayed held where a failure took another way.
#[test]
fn receiving_held_input_is_let_go_in_every_ending() {
    type End = fn(&mut Scene);
    let endings: [(&str, End); 6] = [
        ("the end", |scene| {
            scene.theirs.close();
            assert_eq!(scene.finish().1.unwrap(), 0);
        }),
        ("an end without close_notify", |scene| {
            scene.theirs.socket.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(matches!(scene.finish().1, Err(Error::Truncated)));
        }),
        ("a failure", |scene| {
            scene.strings.fail(1);
            assert!(matches!(scene.finish().1, Err(Error::Engine { .. })));
        }),
        ("a death", |scene| {
            scene.strings.die();
            assert!(matches!(scene.finish().1, Err(Error::Engine { .. })));
        }),
        ("a key update", |scene| {
            scene.theirs.refresh();
            scene.theirs.write_all(&pattern(4 * RECORD, 2)).unwrap();
            scene.theirs.close();
            let (read, end) = scene.finish();
            assert_eq!((read.len(), end.unwrap()), (10 * RECORD, 0));
            assert_eq!(scene.ours.stats().key_updates_received, 1);
        }),
        ("a drop", |scene| {
            let late = scene.glance().unwrap_err();
            assert!(matches!(late, Error::Deadline), "{late}");
        }),
    ];
    alone(|| {
        for (ending, end) in endings {
            let mut scene = Scene::engaged(6);
            end(&mut scene);
            let strings = scene.strings.clone();
            drop(scene);
            assert!(strings.is_dropped() && strings.held() == 0, "{ending}");
        }
    });
}

/// A writer that waits while the other half's engine fails is woken, and told why.
#[test]
fn receiving_a_failure_wakes_the_writer_that_waits() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // Its end stays, and reads nothing.
    let Scene { ours, theirs: _theirs, strings } = Scene::engaged(6);
    let (mut reader, mut writer) = ours.split();
    let writing = thread::spawn(move || writer.write_all(&vec![1; 64 << 20]).unwrap_err());
    thread::sleep(Duration::from_millis(50));
    strings.fail(0);
    reader.set_read_deadline(Some(deadline(10)));
    let said = reader.receive(&mut [0; 100]).unwrap_err();
    assert!(matches!(said, Error::Engine { .. }), "{said}");
    let told = writing.join().unwrap();
    assert_eq!(told.kind(), ErrorKind::Other, "{told}");
}
