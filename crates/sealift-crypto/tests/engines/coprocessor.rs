//! What only the simulated device does: slots, partial accepts, crashes and resets.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sealift_crypto::{Coprocessor, Crash, Done, Engine, Error, Job, Stopped, TAG_BYTES};

use crate::memory::{Census, Page, Text};
use crate::run::{key, seal, seeds, soon};

type Jobs = VecDeque<Job<Text, Page>>;
type AllDone = VecDeque<Done<Text, Page>>;

const LEN: usize = 64;

fn jobs(census: &Census, key: &sealift_crypto::Key, tags: std::ops::Range<u64>) -> Jobs {
    let page = || census.page(vec![0; LEN + TAG_BYTES]);
    tags.map(|tag| seal(key, census.text(vec![1; LEN]), page(), LEN, tag)).collect()
}

#[test]
fn a_job_whose_key_has_no_slot_waits_until_one_is_free() {
    let (census, keys, mut done) = (Census::default(), [key(), key()], AllDone::new());
    let mut engine = Coprocessor::builder().key_slots(1).build().unwrap();
    let mut offered = jobs(&census, &keys[0], 0..2);
    offered.append(&mut jobs(&census, &keys[1], 2..3));
    assert_eq!(engine.submit(&mut offered), Stopped::NoKeySlot);
    assert_eq!((offered.len(), offered[0].tag(), engine.in_flight()), (1, 2, 2));
    // A job of the key that has the slot still gets in; one of the other key does not.
    offered.append(&mut jobs(&census, &keys[0], 3..4));
    offered.swap(0, 1);
    assert_eq!(engine.submit(&mut offered), Stopped::NoKeySlot);
    assert_eq!(offered.len(), 1);
    engine.quiesce(soon(), &mut done).unwrap();
    assert_eq!(engine.submit(&mut offered), Stopped::Empty);
    engine.quiesce(soon(), &mut done).unwrap();
    assert!(done.len() == 4 && done.iter().all(|done| done.result == Ok(())));
}

#[test]
fn depth_and_accepts_bound_what_is_taken() {
    let (census, key, mut done) = (Census::default(), key(), AllDone::new());
    let latency = Duration::from_secs(5);
    let mut engine = Coprocessor::builder().depth(5).accepts(3).latency(latency).build().unwrap();
    let mut offered = jobs(&census, &key, 0..9);
    assert_eq!((engine.submit(&mut offered), offered.len()), (Stopped::Full, 6));
    assert_eq!((engine.submit(&mut offered), offered.len()), (Stopped::Full, 4));
    assert_eq!((engine.submit(&mut offered), offered.len()), (Stopped::Full, 4));
    assert_eq!(engine.poll(&mut done), 0, "the latency is not over");
    engine.reset();
    assert_eq!(engine.poll(&mut done), 5);
    assert!(done.iter().all(|done| matches!(done.result, Err(Error::Engine { .. }))));
    assert_eq!((engine.submit(&mut offered), offered.len()), (Stopped::Full, 1));
}

#[test]
fn jobs_take_the_latency_and_keep_their_order_unless_told_otherwise() {
    let (census, key) = (Census::default(), key());
    let latency = Duration::from_millis(10);
    let order = |engine: &mut Coprocessor<Text, Page>| -> Vec<u64> {
        let (mut offered, mut done) = (jobs(&census, &key, 0..40), AllDone::new());
        let began = Instant::now();
        engine.submit(&mut offered);
        engine.quiesce(soon(), &mut done).unwrap();
        assert!(began.elapsed() >= latency);
        done.iter().map(|done| done.job.tag()).collect()
    };
    let builder = Coprocessor::builder().latency(latency);
    let sorted: Vec<u64> = (0..40).collect();
    assert_eq!(order(&mut builder.clone().build().unwrap()), sorted);
    let mut shuffled = order(&mut builder.reorders().seed(5).build().unwrap());
    assert_ne!(shuffled, sorted);
    shuffled.sort_unstable();
    assert_eq!(shuffled, sorted);
}

#[test]
fn a_device_that_failed_takes_nothing_until_its_reset() {
    let (census, key, mut done) = (Census::default(), key(), AllDone::new());
    let builder = Coprocessor::builder().latency(Duration::from_secs(5));
    let mut engine = builder.crashes_after(3, Crash::Fails).build().unwrap();
    let mut offered = jobs(&census, &key, 0..5);
    assert_eq!((engine.submit(&mut offered), offered.len()), (Stopped::Dead, 2));
    assert_eq!(engine.poll(&mut done), 3);
    assert!(done.iter().all(|done| matches!(done.result, Err(Error::Engine { .. }))));
    assert_eq!((engine.submit(&mut offered), offered.len()), (Stopped::Dead, 2));
    assert_eq!(engine.quiesce(Instant::now(), &mut done), Ok(()));
    assert_eq!((engine.submit(&mut offered), offered.len()), (Stopped::Empty, 0));
}

/// Whichever job is the one that breaks it, and again after each reset.
#[test]
fn a_device_that_loses_jobs_breaks_down_all_the_same() {
    for crash in [Crash::Fails, Crash::Hangs] {
        let (census, key, mut done) = (Census::default(), key(), AllDone::new());
        let builder = Coprocessor::builder().loses_once_in(1).crashes_after(2, crash);
        let mut engine = builder.build().unwrap();
        for round in 0..3 {
            let mut offered = jobs(&census, &key, 3 * round..3 * round + 3);
            let (stopped, taken, back) = match crash {
                Crash::Fails => (Stopped::Dead, 2, 2),
                Crash::Hangs => (Stopped::Empty, 3, 0),
            };
            assert_eq!((engine.submit(&mut offered), 3 - offered.len()), (stopped, taken));
            assert_eq!(engine.poll(&mut done), back, "{crash:?}");
            engine.reset();
            engine.poll(&mut done);
            assert_eq!(engine.in_flight(), 0);
        }
        assert!(done.iter().all(|done| matches!(done.result, Err(Error::Engine { .. }))));
    }
}

/// Loss and crash together: half is lost, and the rest goes down with the device.
#[test]
fn what_a_device_lost_before_it_failed_comes_back_with_the_rest() {
    for seed in seeds(20) {
        let (census, key, mut done) = (Census::default(), key(), AllDone::new());
        let builder = Coprocessor::builder().latency(Duration::from_secs(5)).seed(seed);
        let mut engine = builder.loses_once_in(2).crashes_after(9, Crash::Fails).build().unwrap();
        let mut offered = jobs(&census, &key, 0..12);
        assert_eq!((engine.submit(&mut offered), offered.len()), (Stopped::Dead, 3), "seed {seed}");
        assert_eq!((engine.poll(&mut done), engine.in_flight()), (9, 0), "seed {seed}");
        let mut tags: Vec<u64> = done.iter().map(|done| done.job.tag()).collect();
        tags.sort_unstable();
        assert_eq!(tags, (0..9).collect::<Vec<_>>(), "seed {seed}");
        assert!(done.iter().all(|done| matches!(done.result, Err(Error::Engine { .. }))));
    }
}

#[test]
fn a_device_that_hangs_keeps_its_jobs_until_its_reset() {
    let (census, key, mut done) = (Census::default(), key(), AllDone::new());
    let mut engine = Coprocessor::builder().crashes_after(1, Crash::Hangs).build().unwrap();
    let mut offered = jobs(&census, &key, 0..5);
    assert_eq!(engine.submit(&mut offered), Stopped::Empty);
    engine.wait(Instant::now() + Duration::from_millis(30));
    assert_eq!((engine.poll(&mut done), engine.in_flight()), (0, 5));
    engine.reset();
    assert_eq!((engine.poll(&mut done), engine.in_flight()), (5, 0));
}
