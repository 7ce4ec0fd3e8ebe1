//! What only workers do: batches, stop and restart, threads that outlive panics.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use sealift_crypto::{Done, Engine, Error, Inline, Job, Source, Stopped, TAG_BYTES, Workers};

use crate::memory::{Census, Page, Text};
use crate::run::{Boxed, key, seal, soon};

/// A source that tells which threads read it.
#[derive(Clone)]
struct Witness {
    text: &'static [u8],
    readers: Arc<std::sync::Mutex<Vec<ThreadId>>>,
}

impl Source for Witness {
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.readers.lock().unwrap().push(std::thread::current().id());
        std::iter::once(self.text)
    }
}

/// Below a batch, no thread but the caller's touches a job, and polling alone completes it.
#[test]
fn a_small_job_wakes_no_thread_and_is_not_left_lying() {
    let census = Census::default();
    let mut engine = Workers::builder().threads(2).build().unwrap();
    let readers = Arc::default();
    let (key, mut done) = (key(), VecDeque::new());
    for tag in 0..100 {
        let source = Witness { text: b"small", readers: Arc::clone(&readers) };
        let page = census.page(vec![0; 5 + TAG_BYTES]);
        let mut jobs = VecDeque::from([seal(&key, source, page, 5, tag)]);
        assert_eq!(engine.submit(&mut jobs), Stopped::Empty);
        assert_eq!(engine.poll(&mut done), 1);
    }
    let own = std::thread::current().id();
    assert!(readers.lock().unwrap().iter().all(|reader| *reader == own));
    assert!(done.iter().all(|done| done.result == Ok(())));
}

#[test]
fn a_batch_is_done_elsewhere() {
    let census = Census::default();
    let mut engine = Workers::builder().threads(1).build().unwrap();
    let readers = Arc::default();
    let key = key();
    let job = |tag| {
        let source = Witness { text: &[7; 4096], readers: Arc::clone(&readers) };
        seal(&key, source, census.page(vec![0; 4096 + TAG_BYTES]), 4096, tag)
    };
    let mut jobs: VecDeque<_> = (0..8).map(job).collect();
    // Making the jobs looked at the sources too.
    readers.lock().unwrap().clear();
    engine.submit(&mut jobs);
    let (mut done, limit) = (VecDeque::new(), soon());
    while engine.in_flight() > 0 {
        engine.poll(&mut done);
        assert!(Instant::now() < limit);
    }
    let own = std::thread::current().id();
    assert!(readers.lock().unwrap().iter().all(|reader| *reader != own));
}

#[test]
fn a_worker_may_look_for_more_without_end() {
    let (census, key, mut done) = (Census::default(), key(), VecDeque::new());
    let builder = Workers::builder().threads(1).batch(1, 1).spin(Duration::MAX);
    let mut engine = builder.build().unwrap();
    let limit = soon();
    for tag in 0..3 {
        let page = census.page(vec![0; 9 + TAG_BYTES]);
        engine.submit(&mut VecDeque::from([seal(&key, census.text(vec![1; 9]), page, 9, tag)]));
        while engine.poll(&mut done) == 0 {
            assert!(Instant::now() < limit, "no thread is there");
        }
    }
}

/// Runs jobs of which every fifth panics, if so wanted; says which failed.
fn failures(engine: &mut Boxed, panics: bool) -> Vec<u64> {
    let (key, census, count) = (key(), Census::default(), 64);
    let mut jobs = VecDeque::new();
    for tag in 0..count {
        let (text, page) = (census.text(vec![1; 4096]), census.page(vec![9; 4096 + TAG_BYTES]));
        let fuses = (text.fuse(), page.fuse());
        jobs.push_back(seal(&key, text, page, 4096, tag));
        if panics && tag % 5 == 0 {
            // Either end, once the job is made.
            if tag % 2 == 0 { fuses.0.light() } else { fuses.1.light() }
        }
    }
    let (mut done, limit) = (VecDeque::<Done<Text, Page>>::new(), soon());
    while !jobs.is_empty() || engine.in_flight() > 0 {
        engine.submit(&mut jobs);
        engine.poll(&mut done);
        engine.wait(Instant::now() + Duration::from_millis(10));
        assert!(Instant::now() < limit);
    }
    assert_eq!(done.len() as u64, count);
    let mut failed = Vec::new();
    for one in done {
        match &one.result {
            Ok(()) => {}
            Err(Error::Engine { .. }) => failed.push(one.job.tag()),
            Err(other) => panic!("{other}"),
        }
        // Its drop panics too, here.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(one)));
    }
    failed.sort_unstable();
    assert_eq!(census.alive(), 0);
    failed
}

#[test]
fn a_panic_costs_its_own_job_only() {
    let engines: [Boxed; 3] = [
        Box::new(Inline::new()),
        Box::new(Workers::builder().threads(1).build().unwrap()),
        Box::new(Workers::builder().threads(2).batch(1, 1).build().unwrap()),
    ];
    for mut engine in engines {
        let expected: Vec<u64> = (0..64).step_by(5).collect();
        for _ in 0..3 {
            assert_eq!(failures(&mut engine, true), expected);
        }
        assert_eq!(failures(&mut engine, false), [0; 0]);
    }
}

#[test]
fn drops_that_panic_do_not_hurt_an_engine_that_is_dropped() {
    for threads in [0, 1, 2] {
        let census = Census::default();
        let key = key();
        let mut engine = Workers::builder().threads(threads).batch(4, 1 << 20).build().unwrap();
        let mut fuses = Vec::new();
        let mut jobs: VecDeque<Job<Text, Page>> = VecDeque::new();
        for tag in 0..50 {
            let (text, page) = (census.text(vec![1; 100]), census.page(vec![0; 100 + TAG_BYTES]));
            fuses.push(text.fuse());
            jobs.push_back(seal(&key, text, page, 100, tag));
        }
        fuses.iter().for_each(crate::memory::Fuse::light);
        engine.submit(&mut jobs);
        drop(engine);
        assert_eq!(census.alive(), 0);
    }
}

#[test]
fn stopped_workers_leave_nothing_lying_and_start_again() {
    for rounds in 0..6 {
        let census = Census::default();
        let (key, mut done) = (key(), VecDeque::new());
        let mut engine = Workers::builder().threads(2).build().unwrap();
        let mut tag = 0;
        for round in 0..=rounds {
            let mut jobs = VecDeque::new();
            for _ in 0..100 {
                let page = census.page(vec![0; 4096 + TAG_BYTES]);
                jobs.push_back(seal(&key, census.text(vec![1; 4096]), page, 4096, tag));
                tag += 1;
            }
            assert_eq!(engine.submit(&mut jobs), Stopped::Empty);
            if round % 2 == 0 {
                engine.stop();
                engine.stop();
            } else {
                engine.start().unwrap();
                engine.start().unwrap();
            }
        }
        assert_eq!(engine.quiesce(soon(), &mut done), Ok(()));
        let mut tags: Vec<u64> = done.iter().map(|done| done.job.tag()).collect();
        tags.sort_unstable();
        assert_eq!(tags, (0..tag).collect::<Vec<_>>());
        assert!(done.iter().all(|done| done.result == Ok(())));
    }
}

/// A source that takes its time, and says how many were read.
#[derive(Clone)]
struct Slow(Arc<AtomicUsize>);

impl Source for Slow {
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        if self.0.fetch_add(1, Ordering::SeqCst) >= 8 {
            std::thread::sleep(Duration::from_millis(30));
        }
        std::iter::once(&[5u8; 16][..])
    }
}

#[test]
fn what_was_not_begun_by_the_deadline_is_given_up() {
    let (census, key, mut done) = (Census::default(), key(), VecDeque::new());
    let mut engine = Workers::builder().threads(1).batch(1, 1).build().unwrap();
    let reads = Arc::new(AtomicUsize::new(0));
    let page = || census.page(vec![0; 16 + TAG_BYTES]);
    let mut jobs: VecDeque<_> =
        (0..8).map(|tag| seal(&key, Slow(reads.clone()), page(), 16, tag)).collect();
    engine.submit(&mut jobs);
    let first = engine.quiesce(Instant::now(), &mut done);
    let given_up = done.iter().filter(|done| done.result.is_err()).count();
    assert!(given_up >= 6, "{given_up} given up");
    // What a thread was at may be still out; it comes later.
    if let Err(error) = first {
        assert_eq!(error, Error::Deadline { in_flight: 8 - done.len() });
    }
    assert_eq!(engine.quiesce(soon(), &mut done), Ok(()));
    assert_eq!(done.len(), 8);
}

/// What no thread was woken for, too: with nobody to hand it to, that is everything.
#[test]
fn what_is_pending_at_the_deadline_is_given_up() {
    let (census, key, mut done) = (Census::default(), key(), VecDeque::new());
    let mut engine = Workers::builder().threads(0).build().unwrap();
    let reads = Arc::new(AtomicUsize::new(0));
    let page = || census.page(vec![0; 16 + TAG_BYTES]);
    engine
        .submit(&mut (0..8).map(|tag| seal(&key, Slow(reads.clone()), page(), 16, tag)).collect());
    let before = reads.load(Ordering::SeqCst);
    assert_eq!(engine.quiesce(Instant::now(), &mut done), Ok(()));
    assert_eq!(reads.load(Ordering::SeqCst), before, "something was begun after the deadline");
    let given_up = |done: &Done<_, _>| matches!(done.result, Err(Error::Engine { .. }));
    assert!(done.len() == 8 && done.iter().all(given_up));
}

/// Who waits is woken by the thread that is done, long before the deadline.
#[test]
fn a_wait_ends_when_a_thread_is_done() {
    let (census, key, mut done) = (Census::default(), key(), VecDeque::new());
    let builder = Workers::builder().threads(1).batch(1, 1).spin(Duration::ZERO);
    let mut engine = builder.build().unwrap();
    // From here on each look at it takes a while.
    let reads = Arc::new(AtomicUsize::new(8));
    for tag in 0..5 {
        let page = census.page(vec![0; 16 + TAG_BYTES]);
        let mut jobs = VecDeque::from([seal(&key, Slow(reads.clone()), page, 16, tag)]);
        let (before, limit) = (reads.load(Ordering::SeqCst), soon());
        engine.submit(&mut jobs);
        while reads.load(Ordering::SeqCst) == before {
            assert!(Instant::now() < limit, "no thread begins");
            std::thread::yield_now();
        }
        while engine.poll(&mut done) == 0 {
            engine.wait(limit);
            assert!(Instant::now() < limit, "it slept on");
        }
    }
}

/// Sleeping on the descriptor alone is enough, below a batch and above. It is asked for once.
#[test]
fn the_descriptor_alone_brings_everything() {
    let (census, key, mut done) = (Census::default(), key(), VecDeque::new());
    let mut engine = Workers::builder().threads(1).spin(Duration::ZERO).build().unwrap();
    let descriptor = engine.readiness().unwrap().try_clone_to_owned().unwrap();
    for count in (1..40).chain([300]) {
        let text = || census.text(vec![1; 1024]);
        let page = || census.page(vec![0; 1024 + TAG_BYTES]);
        let mut jobs: VecDeque<_> =
            (0..count).map(|tag| seal(&key, text(), page(), 1024, tag)).collect();
        engine.submit(&mut jobs);
        while engine.in_flight() > 0 {
            let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
            let flags = rustix::event::PollFlags::IN;
            let mut descriptors =
                [rustix::event::PollFd::from_borrowed_fd(descriptor.as_fd(), flags)];
            assert_eq!(rustix::event::poll(&mut descriptors, Some(&limit)).unwrap(), 1);
            engine.poll(&mut done);
        }
        assert_eq!(done.drain(..).count() as u64, count);
    }
}

/// A source whose readers stay while it is shut.
#[derive(Clone, Default)]
struct Gate {
    shut: Arc<AtomicBool>,
    readers: Arc<AtomicUsize>,
}

impl Source for Gate {
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.readers.fetch_add(1, Ordering::SeqCst);
        while self.shut.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        std::iter::once(&[5u8; 16][..])
    }
}

/// The only worker is busy, so the caller does the other job while it waits.
#[test]
fn the_descriptor_tells_of_what_a_wait_has_done() {
    let (census, key, mut done) = (Census::default(), key(), VecDeque::new());
    let mut engine = Workers::builder().threads(1).batch(1, 1).build().unwrap();
    let gates = [Gate::default(), Gate::default()];
    let [mut first, mut second] = [0, 1].map(|at| {
        let page = census.page(vec![0; 16 + TAG_BYTES]);
        VecDeque::from([seal(&key, gates[at].clone(), page, 16, at as u64)])
    });
    let descriptor = engine.readiness().unwrap().try_clone_to_owned().unwrap();
    let is_readable = || {
        let mut one = [rustix::event::PollFd::new(&descriptor, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut one, Some(&now)).unwrap() == 1
    };
    gates[0].shut.store(true, Ordering::SeqCst);
    let (before, limit) = (gates[0].readers.load(Ordering::SeqCst), soon());
    engine.submit(&mut first);
    while gates[0].readers.load(Ordering::SeqCst) == before {
        assert!(Instant::now() < limit, "the worker does not begin");
    }
    assert!(!is_readable());
    engine.submit(&mut second);
    engine.wait(soon());
    let is_told = is_readable();
    assert_eq!(engine.poll(&mut done), 1);
    gates[0].shut.store(false, Ordering::SeqCst);
    assert!(is_told, "the descriptor is silent");
    assert_eq!(engine.quiesce(soon(), &mut done), Ok(()));
    assert_eq!(done.iter().map(|done| done.job.tag()).collect::<Vec<_>>(), [1, 0]);
}
