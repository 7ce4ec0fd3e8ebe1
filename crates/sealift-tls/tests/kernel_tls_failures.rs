//! What went wrong in kernel TLS with asynchronous crypto, and does not go wrong here: sending.
//!
//! In the kernel these were uses of freed memory. Here types own the memory, so what is left to
//! show is that nothing is kept too long, let go too soon, counted twice, or begun too late. The
//! engine is a puppet, so that each moment is the worst one.

mod support;

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sealift_io::{Lease, Pool};
use sealift_tls::{Bytes, Error, TlsStream};
use support::ends::ours_and_theirs;
use support::puppet::{Puppet, Strings};
use support::{Theirs, case_tls13, deadline, pattern};

const FRAMES: usize = 9;
/// One record of the most plaintext to a frame.
const RECORD: usize = 16_384;

/// A stream on a puppet, and all that can be seen of it.
struct Scene {
    ours: TlsStream,
    theirs: Theirs,
    strings: Strings,
    pool: Pool,
    /// Sources given away that were let go.
    let_go: Arc<AtomicUsize>,
}

/// Memory that says when it is let go.
struct Given(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Given {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

impl Scene {
    fn new() -> Self {
        let (puppet, strings) = Puppet::new();
        let pool = Pool::builder().frames(FRAMES).frame_bytes(RECORD + 22).huge_pages(false);
        let pool = pool.build().unwrap();
        let builder = TlsStream::builder().pool(&pool).sealing_engine(puppet);
        let (ours, theirs) = ours_and_theirs(builder, &case_tls13());
        Self { ours, theirs, strings, pool, let_go: Arc::default() }
    }

    fn give(&mut self, bytes: &[u8]) -> Result<(), sealift_tls::Refused> {
        let given = Given(bytes.to_vec(), self.let_go.clone());
        self.ours.send_owned(Bytes::from_owner(given))
    }

    fn let_go(&self) -> usize {
        self.let_go.load(Ordering::SeqCst)
    }

    /// Lets the stream send what is done.
    fn look(&mut self) {
        let _ = self.ours.stats();
    }

    fn flush(&mut self, seconds: u64) -> Result<(), Error> {
        self.ours.halves().1.flush(deadline(seconds)).map(drop)
    }
}

/// Waits until every frame is home, and shows that each is there once.
fn all_home(pool: &Pool) {
    let late = deadline(10);
    while pool.stats().leased > 0 {
        assert!(Instant::now() < late, "{:?}", pool.stats());
        thread::sleep(Duration::from_millis(1));
    }
    let all: Vec<Lease> = std::iter::from_fn(|| pool.try_lease()).collect();
    assert_eq!(all.len(), FRAMES);
}

/// CVE-2023-6176: `bpf_exec_tx_verdict` freed a record on an error although its job was under way.
#[test]
fn sending_a_record_is_kept_while_its_job_lives() {
    let mut scene = Scene::new();
    scene.give(&pattern(3 * RECORD, 1)).unwrap();
    scene.strings.cling();
    scene.strings.fail(0);
    let said = scene.flush(10).unwrap_err();
    assert!(matches!(said, Error::Engine { .. }), "{said}");
    let Scene { ours, strings, pool, let_go, .. } = &scene;
    assert_eq!((strings.held(), pool.stats().leased, let_go.load(Ordering::SeqCst)), (2, 2, 0));
    assert_eq!(ours.stats().sealing.map(|sealing| sealing.engine), Some("puppet"));
    scene.strings.let_go();
    all_home(&scene.pool);
    assert_eq!(scene.let_go(), 1);
}

/// CVE-2024-26800: after a failure both the error path and the jobs' callbacks released the pages.
#[test]
fn sending_memory_is_released_by_one_of_callback_and_error_path() {
    for done_before in 0..4 {
        let mut scene = Scene::new();
        scene.give(&pattern(6 * RECORD, 1)).unwrap();
        (0..done_before).for_each(|_| assert!(scene.strings.finish(1)));
        scene.strings.fail(0);
        assert!(scene.strings.finish(0));
        let said = scene.flush(10).unwrap_err();
        assert!(matches!(said, Error::Engine { .. }), "{said}");
        all_home(&scene.pool);
        assert_eq!(scene.let_go(), 1);
    }
}

/// CVE-2024-26583: whoever waited for the last job freed the context that its callback still used.
#[test]
fn sending_nothing_is_touched_after_its_completion() {
    for round in 0..40 {
        let mut scene = Scene::new();
        scene.give(&pattern(4 * RECORD, 1)).unwrap();
        let strings = scene.strings.clone();
        let finishing =
            thread::spawn(move || while strings.finish(round % 2) || strings.finish(0) {});
        // It ends with the last completion, or between two of them.
        let Scene { mut ours, pool, .. } = scene;
        if round % 4 < 2 {
            assert!(!ours.close(deadline(10)).unwrap().aborted);
        }
        drop(ours);
        finishing.join().unwrap();
        all_home(&pool);
    }
}

/// CVE-2024-26584: a request that went to the backlog was answered twice, and taken for failed.
#[test]
fn sending_a_job_that_waited_for_room_counts_once() {
    let mut scene = Scene::new();
    let sent = pattern(3 * RECORD, 5);
    scene.strings.set_full(true);
    scene.ours.set_write_deadline(Some(Instant::now() + Duration::from_millis(20)));
    let refused = scene.give(&sent).unwrap_err();
    assert!(matches!(refused.error, Error::Deadline), "{refused}");
    assert_eq!((refused.rest.len(), scene.strings.taken()), (2 * RECORD, 0), "one waits for room");
    scene.strings.set_full(false);
    scene.ours.set_write_deadline(None);
    scene.ours.send_owned(refused.rest).unwrap();
    assert_eq!((scene.strings.taken(), scene.strings.held()), (3, 3), "each was taken once");
    while scene.strings.finish(scene.strings.held() - 1) && scene.strings.held() > 0 {}
    let closed = scene.ours.close(deadline(10)).unwrap();
    assert_eq!((closed.unsent, closed.stats.records_sealed), (0, 3));
    let mut read = Vec::new();
    scene.theirs.read_to_end(&mut read).unwrap();
    assert!(read == sent, "once, and in order");
    all_home(&scene.pool);
}

/// CVE-2025-40176: the call returned, with an error, while the engine still used its memory.
#[test]
fn sending_no_call_returns_while_the_engine_uses_its_memory() {
    let mut scene = Scene::new();
    // What was lent is read within the call, whatever the engine is at.
    scene.give(&pattern(RECORD, 1)).unwrap();
    scene.ours.set_write_deadline(Some(Instant::now() + Duration::from_millis(20)));
    let mut lent = pattern(RECORD, 2);
    assert_eq!(scene.ours.halves().1.send(&[IoSlice::new(&lent)]).unwrap(), RECORD);
    lent.fill(0xEE);
    // What was given is kept as long as a job reads it, although the call fails.
    let refused = scene.give(&pattern(20 * RECORD, 3)).unwrap_err();
    assert!(matches!(refused.error, Error::Deadline), "{refused}");
    let taken = 20 * RECORD - refused.rest.len();
    drop(refused);
    let jobs = scene.strings.held();
    assert_eq!((taken, scene.let_go()), ((jobs - 1) * RECORD, 0));
    while scene.strings.finish(0) {}
    let Scene { mut ours, mut theirs, let_go, .. } = scene;
    let reading = thread::spawn(move || {
        let mut read = Vec::new();
        theirs.read_to_end(&mut read).unwrap();
        read
    });
    assert!(!ours.close(deadline(10)).unwrap().aborted);
    assert_eq!(let_go.load(Ordering::SeqCst), 2);
    let read = reading.join().unwrap();
    let rest = &pattern(20 * RECORD, 3)[..taken];
    assert!(read == [&pattern(RECORD, 1), &pattern(RECORD, 2), rest].concat());
}

/// CVE-2025-40176 and its neighbours: an error path left, and jobs were still pending.
#[test]
fn sending_an_error_leaves_no_job_pending() {
    let mut scene = Scene::new();
    scene.give(&pattern(5 * RECORD, 1)).unwrap();
    scene.strings.fail(2);
    let said = scene.flush(10).unwrap_err();
    assert!(matches!(said, Error::Engine { .. }), "{said}");
    assert_eq!((scene.strings.held(), scene.let_go()), (0, 1), "when the call is back");
    all_home(&scene.pool);
    // The peer was gone before: the same.
    let mut scene = Scene::new();
    scene.give(&pattern(5 * RECORD, 1)).unwrap();
    drop(scene.theirs);
    scene.strings.finish(0);
    scene.ours.set_write_deadline(Some(Instant::now() + Duration::from_millis(20)));
    let _ = scene.ours.write(b"the first to notice");
    let said = scene.ours.close(Instant::now() + Duration::from_millis(100));
    assert!(said.is_err() || said.is_ok_and(|closed| closed.aborted));
    assert_eq!((scene.strings.held(), scene.let_go.load(Ordering::SeqCst)), (0, 1));
}

/// CVE-2024-26585 and CVE-2026-23240: a completion queued the sending again after the close.
#[test]
fn sending_nothing_is_begun_or_sent_after_the_close() {
    let mut scene = Scene::new();
    scene.give(&pattern(3 * RECORD, 1)).unwrap();
    scene.strings.cling();
    let closed = scene.ours.close(Instant::now() + Duration::from_millis(20)).unwrap();
    assert_eq!((closed.unsent, closed.quarantined), (4, 3), "{closed:?}");
    let (taken, messages) = (scene.strings.taken(), closed.stats.sender.messages);
    // Now it completes, and every call looks.
    while scene.strings.finish(0) {}
    assert!(matches!(scene.give(b"more").unwrap_err().error, Error::Closed));
    assert!(matches!(scene.flush(1).unwrap_err(), Error::Closed));
    assert_eq!(scene.ours.write(b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
    scene.ours.set_read_deadline(Some(Instant::now() + Duration::from_millis(20)));
    let _ = scene.ours.read(&mut [0; 10]);
    scene.look();
    assert_eq!(scene.ours.stats().sender.messages, messages);
    assert_eq!(scene.strings.taken(), taken);
    let mut wire = Vec::new();
    let _ = scene.theirs.socket.read_to_end(&mut wire);
    assert!(wire.is_empty(), "{} bytes", wire.len());
    scene.strings.let_go();
    all_home(&scene.pool);
}

/// CVE-2026-23414: input that was held for the engine stayed held where a failure took another way.
#[test]
fn sending_held_input_is_let_go_in_every_ending() {
    type End = fn(&mut Scene);
    let endings: [(&str, End); 6] = [
        ("flush", |scene| {
            while scene.strings.finish(0) {}
            scene.flush(10).unwrap();
        }),
        ("close", |scene| {
            while scene.strings.finish(0) {}
            assert!(!scene.ours.close(deadline(10)).unwrap().aborted);
        }),
        ("a close that is late", |scene| {
            assert!(scene.ours.close(Instant::now()).unwrap().aborted);
        }),
        ("a failure", |scene| {
            scene.strings.finish(2);
            scene.strings.fail(0);
            assert!(scene.flush(10).is_err());
        }),
        ("a death", |scene| {
            scene.strings.die();
            assert!(scene.give(b"more").is_err());
        }),
        ("a drop", |scene| drop(std::mem::replace(scene, Scene::new()))),
    ];
    for (ending, end) in endings {
        let mut scene = Scene::new();
        let let_go = scene.let_go.clone();
        scene.give(&pattern(2 * RECORD, 1)).unwrap();
        scene.give(&pattern(2 * RECORD, 1)).unwrap();
        assert_eq!(let_go.load(Ordering::SeqCst), 0);
        end(&mut scene);
        let sources = if ending == "a death" { 3 } else { 2 };
        assert_eq!(let_go.load(Ordering::SeqCst), sources, "{ending}");
        drop(scene.ours);
        assert_eq!(let_go.load(Ordering::SeqCst), sources, "{ending}");
    }
}
