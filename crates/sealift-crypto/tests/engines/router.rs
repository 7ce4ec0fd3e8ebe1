//! What only a router does: decide, fall back, recycle what is late, quarantine.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sealift_crypto::{
    Chaos, Coprocessor, Crash, Done, Engine, Error, Faults, Inline, Job, Key, Nonce, Payload,
    Router, RouterBuilder, Shelf, Stopped, TAG_BYTES, Unit, Units, Workers,
};

use crate::memory::{Census, Fresh, Page, Text};
use crate::run::{key, seal, soon};

const LEN: usize = 2000;

type AllDone = VecDeque<Done<Text, Page>>;

fn jobs(census: &Census, key: &Key, tags: std::ops::Range<u64>) -> VecDeque<Job<Text, Page>> {
    let page = || census.page(vec![0; LEN + TAG_BYTES]);
    tags.map(|tag| seal(key, census.text(vec![1; LEN]), page(), LEN, tag)).collect()
}

/// Time that passes when told to.
#[derive(Clone)]
struct Clock(Instant, Arc<AtomicU64>);

impl Clock {
    fn new() -> Self {
        Self(Instant::now(), Arc::default())
    }

    fn pass(&self, span: Duration) {
        self.1.fetch_add(span.as_nanos() as u64, Ordering::SeqCst);
    }

    fn router(&self) -> RouterBuilder<Page> {
        let Self(start, passed) = self.clone();
        let now = move || start + Duration::from_nanos(passed.load(Ordering::SeqCst));
        Router::builder().clock(now).always_offloads().offload_from(1, 1)
    }
}

fn expect_sealed(key: &Key, done: Done<Text, Page>) -> Page {
    assert_eq!((done.result.clone(), done.units_done), (Ok(()), 1));
    let nonce = Nonce::of(&[0; 12], done.job.tag());
    let Payload::Apart { destination, .. } = done.job.into_parts().0 else { panic!() };
    let mut opened = vec![0; LEN];
    key.open(nonce, b"", &destination.bytes[..LEN + TAG_BYTES], &mut opened).unwrap();
    assert_eq!(opened, [1; LEN]);
    destination
}

#[test]
fn what_is_small_few_or_in_place_is_done_here() {
    let (census, key, mut done) = (Census::default(), key(), AllDone::new());
    let device = Coprocessor::builder().build().unwrap();
    let builder = Router::builder().always_offloads().offload_from(3, LEN);
    let mut engine = builder.build(device).unwrap();
    engine.submit(&mut jobs(&census, &key, 0..2));
    let short = seal(&key, census.text(vec![1; 9]), census.page(vec![0; 99]), 9, 2);
    engine.submit(&mut [short].into_iter().chain(jobs(&census, &key, 3..4)).collect());
    let units: Units = [Unit::new(Nonce::of(&[1; 12], 1), 0..LEN, 0)].into_iter().collect();
    let payload = Payload::InPlace(census.page(vec![1; LEN + TAG_BYTES]));
    let in_place = Job::seal(&key, payload, units, 4).unwrap();
    engine.submit(&mut [in_place].into_iter().collect());
    let stats = engine.router_stats();
    assert_eq!((stats.inline, stats.offloaded, stats.fallbacks.total()), (5, 0, 0));
    engine.submit(&mut jobs(&census, &key, 5..8));
    assert!(engine.router_stats().offloaded >= 1);
    engine.quiesce(soon(), &mut done).unwrap();
    assert!(done.len() == 8 && done.iter().all(|done| done.result == Ok(())));
}

#[test]
fn a_job_that_times_out_is_done_here_and_its_late_result_only_recycled() {
    let (census, key, mut done) = (Census::default(), key(), AllDone::new());
    let (clock, spares) = (Clock::new(), Fresh::default());
    let device = Coprocessor::builder().latency(Duration::from_millis(500)).build().unwrap();
    let builder = clock.router().spares(spares.clone()).timeout(Duration::from_secs(1));
    let mut engine = builder.build(device).unwrap();
    assert_eq!(engine.submit(&mut jobs(&census, &key, 0..3)), Stopped::Empty);
    assert_eq!(engine.poll(&mut done), 0);
    clock.pass(Duration::from_secs(2));
    assert_eq!((engine.poll(&mut done), engine.in_flight()), (3, 0));
    assert_eq!(engine.router_stats().fallbacks.timeout, 3);
    for done in done.drain(..) {
        expect_sealed(&key, done);
    }
    // The late ones still hold memory, until the device gives them back.
    assert_eq!((engine.router_stats().out, spares.1.load(Ordering::SeqCst)), (3, 0));
    engine.quiesce(soon(), &mut done).unwrap();
    assert_eq!((done.len(), engine.router_stats().late, engine.router_stats().out), (0, 3, 0));
    assert_eq!((spares.1.load(Ordering::SeqCst), census.alive()), (3, 0));
}

#[test]
fn the_callers_own_bytes_are_in_the_spare_too() {
    let (census, key, clock) = (Census::default(), key(), Clock::new());
    let device = Coprocessor::builder().crashes_after(1, Crash::Hangs).build().unwrap();
    let mut engine = clock.router().spares(Fresh::default()).build(device).unwrap();
    let page = |sealed: &[[u8; 3 + TAG_BYTES]]| -> Vec<u8> {
        sealed.iter().flat_map(|sealed| [&b"header"[..], sealed].concat()).collect()
    };
    let unit = |at: usize| {
        let to = at * (9 + TAG_BYTES) + 6;
        Unit::new(Nonce::of(&[0; 12], at as u64), at * 3..at * 3 + 3, to)
    };
    let sealed = [0u64, 1].map(|at| {
        let (nonce, mut into) = (Nonce::of(&[0; 12], at), [0; 3 + TAG_BYTES]);
        key.seal(nonce, b"", b"abc", b"", &mut into).unwrap();
        into
    });
    let destination = census.page(page(&[[0; 3 + TAG_BYTES]; 2]));
    let payload = Payload::Apart { source: census.text(b"abcabc".to_vec()), destination };
    let job = Job::seal(&key, payload, [unit(0), unit(1)].into_iter().collect(), 7).unwrap();
    engine.submit(&mut [job].into_iter().collect());
    clock.pass(Duration::from_secs(5));
    let mut done = AllDone::new();
    assert_eq!(engine.poll(&mut done), 1);
    let Payload::Apart { destination, .. } = done.remove(0).unwrap().job.into_parts().0 else {
        panic!()
    };
    assert_eq!(destination.bytes, page(&sealed));
}

#[test]
fn without_a_spare_a_job_waits_and_comes_back_once() {
    let (census, key, clock, mut done) = (Census::default(), key(), Clock::new(), AllDone::new());
    let device = Coprocessor::builder().latency(Duration::from_millis(500)).build().unwrap();
    let shelf = Shelf::new(vec![census.page(vec![0; 10]), census.page(vec![0; 2 * LEN])]);
    let mut engine = clock.router().spares(shelf).build(device).unwrap();
    engine.submit(&mut jobs(&census, &key, 0..3));
    clock.pass(Duration::from_secs(5));
    // One of the two fits.
    assert_eq!(engine.poll(&mut done), 1);
    assert!(engine.router_stats().spareless > 0);
    engine.quiesce(soon(), &mut done).unwrap();
    // A late one's page is a spare for the next.
    let stats = engine.router_stats();
    assert_eq!((done.len(), stats.late), (3, stats.fallbacks.timeout));
    for done in done {
        expect_sealed(&key, done);
    }
}

/// Every lost job keeps a page of the shelf, until there is none.
#[test]
fn lost_jobs_do_not_keep_the_spares() {
    let (census, key, clock, mut done) = (Census::default(), key(), Clock::new(), AllDone::new());
    let device = Coprocessor::builder().loses_once_in(1).build().unwrap();
    let shelf = Shelf::new(vec![census.page(vec![0; 2 * LEN])]);
    let builder = clock.router().spares(shelf).timeout(Duration::from_secs(1));
    let mut engine = builder.quarantine(100, Duration::ZERO, Duration::ZERO).build(device).unwrap();
    for round in 0..3 {
        engine.submit(&mut jobs(&census, &key, 4 * round..4 * round + 4));
        // Too late; without a spare for too long; and once more, for a lost one that is at hand.
        for _ in 0..3 {
            clock.pass(Duration::from_secs(2));
            engine.poll(&mut done);
        }
        assert_eq!((done.len(), engine.in_flight()), (4, 0), "{:?}", engine.router_stats());
        for done in done.drain(..) {
            expect_sealed(&key, done);
        }
    }
    assert!(engine.router_stats().late >= 2, "{:?}", engine.router_stats());
}

#[test]
fn what_is_refused_is_done_here_and_counted_by_its_reason() {
    let (census, keys, mut done) = (Census::default(), [key(), key()], AllDone::new());
    let builder = Coprocessor::builder().latency(Duration::from_secs(9));
    let spares = Fresh::default();
    let mut engine = Clock::new()
        .router()
        .spares(spares.clone())
        .build(builder.clone().depth(5).key_slots(1).build().unwrap())
        .unwrap();
    engine.submit(&mut jobs(&census, &keys[0], 0..2));
    engine.submit(&mut jobs(&census, &keys[1], 2..4));
    assert_eq!(engine.router_stats().fallbacks.no_key_slot, 2);
    assert_eq!(engine.poll(&mut done), 2);
    // As many as it holds; for more the router has no place either.
    engine.submit(&mut jobs(&census, &keys[0], 4..9));
    assert_eq!((engine.poll(&mut done), engine.router_stats().inline), (2, 2));

    let one = builder.clone().accepts(1).build().unwrap();
    let mut engine = Clock::new().router().build(one).unwrap();
    engine.submit(&mut jobs(&census, &keys[0], 0..10));
    let stats = engine.router_stats();
    assert_eq!((stats.offloaded, stats.fallbacks.full), (5, 5), "one there, one here");

    let dead = builder.crashes_after(1, Crash::Fails).build().unwrap();
    let mut engine = Clock::new().router().build(dead).unwrap();
    engine.submit(&mut jobs(&census, &keys[0], 0..10));
    assert_eq!(engine.poll(&mut done), 10);
    let stats = engine.router_stats();
    assert_eq!((stats.fallbacks.dead, stats.fallbacks.error, stats.quarantines), (9, 1, 1));
    assert_eq!(engine.stats().fallbacks, 10, "told of by any engine");
}

#[test]
fn what_is_not_authentic_is_not_tried_again() {
    let (census, clock, mut done) = (Census::default(), Clock::new(), AllDone::new());
    for _ in 0..20 {
        let key = key();
        let device = Workers::builder().threads(1).batch(1, 1).build().unwrap();
        let mut engine = clock.router().build(device).unwrap();
        let unit = Unit::new(Nonce([0; 12]), 0..LEN, 0);
        let (source, destination) = (census.text(vec![1; LEN]), census.page(vec![0; LEN]));
        let payload = Payload::Apart { source, destination };
        let job = Job::open(&key, payload, [unit].into_iter().collect(), 0).unwrap();
        engine.submit(&mut [job].into_iter().collect());
        engine.quiesce(soon(), &mut done).unwrap();
        assert_eq!(done.remove(0).unwrap().result, Err(Error::Inauthentic));
        let stats = engine.router_stats();
        assert_eq!((stats.offloaded, stats.fallbacks.total(), stats.quarantines), (1, 0, 0));
    }
}

#[test]
fn a_job_falls_back_once() {
    let (census, key, clock, mut done) = (Census::default(), key(), Clock::new(), AllDone::new());
    let faults = Faults { error: 1, ..Faults::default() };
    let failing = Chaos::new(Inline::new(), faults, 1).unwrap();
    let second = Duration::from_secs(1);
    let mut engine = clock.router().quarantine(1000, second, second).build(failing).unwrap();
    for round in 0..10 {
        engine.submit(&mut jobs(&census, &key, round * 10..round * 10 + 10));
        engine.poll(&mut done);
    }
    engine.quiesce(soon(), &mut done).unwrap();
    assert_eq!((done.len(), engine.router_stats().fallbacks.error), (100, 100));
    for done in done {
        expect_sealed(&key, done);
    }
}

#[test]
fn an_engine_that_keeps_failing_is_quarantined_and_tried_again_later() {
    let (census, key, clock, mut done) = (Census::default(), key(), Clock::new(), AllDone::new());
    let second = Duration::from_secs(1);
    let builder = Coprocessor::builder().crashes_after(1, Crash::Hangs).latency(Duration::ZERO);
    let builder = clock
        .router()
        .spares(Fresh::default())
        .timeout(second)
        .quarantine(2, second * 10, second * 40)
        .build(builder.build().unwrap());
    let mut engine = builder.unwrap();
    let mut tags = 0u64;
    let mut round = |engine: &mut OverDevice, count: u64| {
        let before = engine.router_stats();
        engine.submit(&mut jobs(&census, &key, tags..tags + count));
        tags += count;
        clock.pass(second * 2);
        engine.poll(&mut done);
        assert_eq!(done.drain(..).count() as u64, count);
        engine.router_stats().offloaded - before.offloaded
    };
    assert_eq!(round(&mut engine, 3), 3);
    assert_eq!(engine.router_stats().quarantines, 1);
    for _ in 0..4 {
        assert_eq!(round(&mut engine, 5), 0, "in quarantine");
    }
    clock.pass(second * 5);
    assert_eq!(round(&mut engine, 5), 1, "one job on trial");
    assert_eq!(engine.router_stats().quarantines, 2);
    clock.pass(second * 10);
    assert_eq!(round(&mut engine, 5), 0, "twice as long");
}

type OverDevice = Router<Text, Page, Coprocessor<Text, Page>>;

/// A router whose clock stands still, over a device that fails its jobs in the way of `crash` at
/// the fourth after each reset. One failure ends the trust, for 10 s.
fn over_a_device_that_crashes(clock: &Clock, crash: Crash) -> OverDevice {
    let second = Duration::from_secs(1);
    let builder = clock.router().spares(Fresh::default()).timeout(second);
    let device = Coprocessor::builder().depth(4).crashes_after(4, crash).latency(Duration::ZERO);
    builder.quarantine(0, second * 10, second * 40).build(device.build().unwrap()).unwrap()
}

/// Waits for everything, while no time passes for the router.
fn wait_for_all(engine: &mut OverDevice, done: &mut AllDone) {
    let limit = soon();
    while engine.in_flight() > 0 {
        engine.wait(Instant::now() + Duration::from_millis(5));
        engine.poll(done);
        assert!(Instant::now() < limit, "it hangs: {:?}", engine.router_stats());
    }
}

/// All its places are taken by jobs that are lost, and then it is well again.
#[test]
fn a_device_that_broke_down_is_reset_and_trusted_again() {
    for crash in [Crash::Hangs, Crash::Fails] {
        let (census, key, clock, mut done) =
            (Census::default(), key(), Clock::new(), AllDone::new());
        let mut engine = over_a_device_that_crashes(&clock, crash);
        let broken = |engine: &OverDevice| engine.router_stats().quarantines == 1;
        for round in 0..2 {
            engine.submit(&mut jobs(&census, &key, 6 * round..6 * round + 6));
            clock.pass(Duration::from_secs(2));
            engine.poll(&mut done);
            assert!(broken(&engine) && engine.in_flight() == 0, "{:?}", engine.router_stats());
        }
        assert_eq!(engine.router_stats().offloaded, 4, "in quarantine it was given nothing");
        let before = engine.router_stats();
        clock.pass(Duration::from_secs(10));
        for tag in 12..15 {
            // The first is the trial.
            engine.submit(&mut jobs(&census, &key, tag..tag + 1));
            wait_for_all(&mut engine, &mut done);
        }
        let stats = engine.router_stats();
        assert_eq!((stats.offloaded, stats.fallbacks), (7, before.fallbacks), "{crash:?}");
        assert_eq!((stats.quarantines, stats.out), (1, 0), "{crash:?}");
        assert_eq!(stats.late, before.out as u64, "{crash:?}");
        assert_eq!((done.len(), before.out > 0), (15, crash == Crash::Hangs));
        for done in done {
            expect_sealed(&key, done);
        }
    }
}

/// However much is forgiven, so that no quarantine ends.
#[test]
fn a_device_full_of_lost_jobs_is_emptied() {
    let (census, key, clock, mut done) = (Census::default(), key(), Clock::new(), AllDone::new());
    let device = Coprocessor::builder().depth(4).loses_once_in(1).build().unwrap();
    let builder = clock.router().spares(Fresh::default()).timeout(Duration::from_secs(1));
    let mut engine =
        builder.quarantine(1000, Duration::ZERO, Duration::ZERO).build(device).unwrap();
    for round in 0..5 {
        engine.submit(&mut jobs(&census, &key, 4 * round..4 * round + 4));
        clock.pass(Duration::from_secs(2));
        assert_eq!((engine.poll(&mut done), engine.in_flight()), (4, 0));
    }
    let stats = engine.router_stats();
    assert_eq!((stats.offloaded, stats.late, stats.out), (20, 16, 4), "{stats:?}");
    for done in done.drain(..) {
        expect_sealed(&key, done);
    }
    assert_eq!(census.alive(), 2 * stats.out, "a source and a page each");
}

/// Each reading of the clock takes a microsecond. Here, a job is between two readings; elsewhere,
/// all jobs of a submission are between two, and once more as they come back.
#[test]
fn the_cheaper_way_is_found_by_measuring() {
    for (at_a_time, is_cheaper) in [(16, true), (1, false)] {
        let (census, key, mut done) = (Census::default(), key(), AllDone::new());
        let (start, readings) = (Instant::now(), AtomicU64::new(0));
        let now = move || start + Duration::from_micros(readings.fetch_add(1, Ordering::SeqCst));
        let builder = Router::builder().clock(now).timeout(Duration::from_secs(60));
        let mut engine = builder.offload_from(1, 1).build(Inline::new()).unwrap();
        let total = 3200;
        for round in 0..total / at_a_time {
            let tags = round * at_a_time..(round + 1) * at_a_time;
            engine.submit(&mut jobs(&census, &key, tags));
            engine.poll(&mut done);
        }
        let stats = engine.router_stats();
        assert_eq!((done.len() as u64, stats.inline + stats.offloaded), (total, total));
        let elsewhere = stats.offload_ns_per_byte.unwrap();
        assert_eq!(elsewhere < stats.inline_ns_per_byte.unwrap(), is_cheaper, "{stats:?}");
        let most = if is_cheaper { stats.offloaded } else { stats.inline };
        assert!(most > total * 9 / 10, "{stats:?}");
    }
}

/// As one says that something has no end.
#[test]
fn a_span_may_be_as_long_as_its_type_holds() {
    let (census, key, never, mut done) = (Census::default(), key(), Duration::MAX, AllDone::new());
    let device = Coprocessor::builder().latency(never).build().unwrap();
    let builder = Router::builder().always_offloads().offload_from(1, 1).timeout(never);
    let mut engine = builder.quarantine(0, never, never).build(device).unwrap();
    engine.submit(&mut jobs(&census, &key, 0..2));
    assert!(engine.router_stats().offloaded == 2 && engine.readiness().is_some());
    // The device is reset, which is its first failure.
    assert_eq!(engine.quiesce(Instant::now(), &mut done), Ok(()));
    engine.submit(&mut jobs(&census, &key, 2..3));
    assert_eq!((engine.poll(&mut done), done.len()), (1, 3));
    let stats = engine.router_stats();
    assert_eq!((stats.offloaded, stats.quarantines), (2, 1));
    for done in done {
        expect_sealed(&key, done);
    }
}

/// Sleeping on the descriptor alone is enough, for what times out as well. It is asked for once.
#[test]
fn the_descriptor_alone_brings_what_times_out() {
    let (census, key, mut done) = (Census::default(), key(), AllDone::new());
    let device = Coprocessor::builder().loses_once_in(3).build().unwrap();
    let builder = Router::builder().spares(Fresh::default()).timeout(Duration::from_millis(5));
    let long = Duration::from_secs(9);
    let builder = builder.always_offloads().offload_from(1, 1).quarantine(1000, long, long);
    let mut engine = builder.build(device).unwrap();
    let descriptor = engine.readiness().unwrap().try_clone_to_owned().unwrap();
    let is_readable_within = |tv_sec| {
        let limit = rustix::event::Timespec { tv_sec, tv_nsec: 0 };
        let flags = rustix::event::PollFlags::IN;
        let mut descriptors = [rustix::event::PollFd::from_borrowed_fd(descriptor.as_fd(), flags)];
        rustix::event::poll(&mut descriptors, Some(&limit)).unwrap() == 1
    };
    for round in 0..20 {
        engine.submit(&mut jobs(&census, &key, round * 3..round * 3 + 3));
        while engine.in_flight() > 0 {
            assert!(is_readable_within(10));
            engine.poll(&mut done);
        }
    }
    // Nor does it wake anybody for nothing, once the device has said its last.
    let limit = soon();
    while is_readable_within(0) {
        engine.poll(&mut done);
        assert!(Instant::now() < limit, "it stays readable");
    }
    assert_eq!(done.len(), 60);
    assert!(engine.router_stats().fallbacks.timeout > 5);
    for done in done {
        expect_sealed(&key, done);
    }
}
