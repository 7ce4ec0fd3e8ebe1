//! Each planted fault, alone, and what becomes of its job.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sealift_crypto::{
    Chaos, ChaosStats, Coprocessor, Done, Engine, Error, Faults, Inline, Job, Key, Nonce, Payload,
    Stopped, TAG_BYTES, Unit, Workers,
};

use crate::memory::{Census, Page, Text};
use crate::run::{Boxed, key, seal, seeds, soon};

const LEN: usize = 100;
const JOBS: u64 = 200;

fn job(census: &Census, key: &Key, tag: u64) -> Job<Text, Page> {
    seal(key, census.text(vec![1; LEN]), census.page(vec![0; LEN + TAG_BYTES]), LEN, tag)
}

struct Outcome {
    /// In the order in which they came; those of the deadline last.
    done: VecDeque<Done<Text, Page>>,
    /// How many of them came before the deadline.
    prompt: usize,
    planted: ChaosStats,
    refusals: usize,
}

/// Submits one by one, polling in between.
fn outcome(faults: Faults, seed: u64) -> Outcome {
    let (census, key, mut done) = (Census::default(), key(), VecDeque::new());
    let mut engine = Chaos::new(Inline::new(), faults, seed).unwrap();
    let (mut jobs, mut refusals) = (VecDeque::new(), 0);
    for tag in 0..JOBS {
        jobs.push_back(job(&census, &key, tag));
        while engine.submit(&mut jobs) != Stopped::Empty {
            refusals += 1;
            engine.poll(&mut done);
        }
        if tag % 3 == 0 {
            engine.poll(&mut done);
        }
    }
    (0..100).for_each(|_| _ = engine.poll(&mut done));
    let prompt = done.len();
    engine.quiesce(Instant::now() + Duration::from_millis(20), &mut done).unwrap();
    assert_eq!((done.len() as u64, engine.in_flight()), (JOBS, 0), "seed {seed}");
    let planted = engine.planted();
    Outcome { done, prompt, planted, refusals }
}

fn tags(done: &VecDeque<Done<Text, Page>>) -> Vec<u64> {
    done.iter().map(|done| done.job.tag()).collect()
}

fn failures(done: &VecDeque<Done<Text, Page>>) -> usize {
    done.iter().filter(|done| matches!(done.result, Err(Error::Engine { .. }))).count()
}

#[test]
fn a_seed_repeats_its_run() {
    for seed in 0..20 {
        let (one, same) = (outcome(Faults::all(10), seed), outcome(Faults::all(10), seed));
        let other = outcome(Faults::all(10), seed + 1000);
        assert_eq!(tags(&one.done), tags(&same.done));
        assert_eq!((one.planted, one.refusals), (same.planted, same.refusals));
        assert_ne!(tags(&one.done), tags(&other.done));
    }
}

/// A way to drive an engine: every so many jobs at a time, with or without a poll behind them.
fn driven(inner: Boxed, faults: Faults, seed: u64, at_a_time: usize, polls: bool) -> Outcome {
    let (census, key, mut done) = (Census::default(), key(), VecDeque::new());
    let mut engine = Chaos::new(inner, faults, seed).unwrap();
    let all: Vec<_> = (0..JOBS).map(|tag| job(&census, &key, tag)).collect();
    let (mut all, mut jobs) = (all.into_iter().peekable(), VecDeque::new());
    let (mut refusals, limit) = (0, soon());
    while all.peek().is_some() || !jobs.is_empty() {
        jobs.extend(all.by_ref().take(at_a_time));
        let is_refused = engine.submit(&mut jobs) != Stopped::Empty;
        refusals += usize::from(is_refused);
        if is_refused || polls {
            engine.poll(&mut done);
        }
        assert!(Instant::now() < limit, "seed {seed}: it takes nothing");
    }
    // What is not lost comes by itself: none of it is to meet the deadline below.
    while done.len() as u64 + engine.planted().lost < JOBS {
        engine.wait(Instant::now() + Duration::from_millis(1));
        engine.poll(&mut done);
        assert!(Instant::now() < limit, "seed {seed}: {} came", done.len());
    }
    let prompt = done.len();
    engine.quiesce(Instant::now() + Duration::from_millis(100), &mut done).unwrap();
    assert_eq!((done.len() as u64, engine.in_flight()), (JOBS, 0), "seed {seed}");
    let planted = engine.planted();
    Outcome { done, prompt, planted, refusals }
}

/// What became of each job, by its tag: its result and its bytes.
fn fates(done: VecDeque<Done<Text, Page>>) -> Vec<(u64, Result<(), Error>, Vec<u8>)> {
    let fate = |done: Done<Text, Page>| {
        let (tag, result) = (done.job.tag(), done.result);
        let Payload::Apart { destination, .. } = done.job.into_parts().0 else { panic!() };
        (tag, result, destination.bytes.clone())
    };
    let mut fates: Vec<_> = done.into_iter().map(fate).collect();
    fates.sort_unstable_by_key(|(tag, ..)| *tag);
    fates
}

/// However its engine is driven, and whenever that is done with a job.
fn ways(faults: Faults, seed: u64) -> [Outcome; 4] {
    let two = || Workers::builder().threads(2).spin(Duration::ZERO).batch(1, 1);
    let device = Coprocessor::builder().depth(7).reorders().seed(seed ^ 1).build().unwrap();
    [
        driven(Box::new(Inline::new()), faults, seed, 1, true),
        driven(Box::new(two().build().unwrap()), faults, seed, 200, false),
        driven(Box::new(two().depth(3).build().unwrap()), faults, seed, 1, true),
        driven(Box::new(device), faults, seed, 20, true),
    ]
}

/// Fates that are the job's own: what a death finds under way, or whom a wrong notice names, is a
/// matter of the moment.
#[test]
fn a_seed_repeats_the_fates_over_any_engine() {
    let faults = Faults { wrong_slot: 0, death: 0, ..Faults::all(8) };
    for seed in seeds(4) {
        let all = ways(faults, seed).map(|Outcome { done, mut planted, .. }| {
            // When they show is a matter of the moment, too.
            planted.strays = 0;
            (planted, fates(done))
        });
        assert!(all.iter().all(|one| *one == all[0]), "seed {seed}: {:?}", all.map(|one| one.0));
    }
}

#[test]
fn a_seed_repeats_deaths_and_stalls_over_any_engine() {
    // `driven` counts on what is not lost to come by itself.
    let faults = Faults { wrong_slot: 0, ..Faults::all(8) };
    for seed in seeds(4) {
        let all = ways(faults, seed).map(|one| (one.planted.deaths, one.planted.stalls));
        assert!(all[0].0 > 5 && all.iter().all(|one| *one == all[0]), "seed {seed}: {all:?}");
    }
}

#[test]
fn all_faults_come_in_a_run_of_all() {
    let planted: Vec<_> =
        seeds(4).into_iter().map(|seed| outcome(Faults::all(10), seed).planted).collect();
    let sum = |of: fn(&ChaosStats) -> u64| planted.iter().map(of).sum::<u64>();
    let each = [
        sum(|planted| planted.lost),
        sum(|planted| planted.duplicated),
        sum(|planted| planted.late),
        sum(|planted| planted.reordered),
        sum(|planted| planted.wrong_slots),
        sum(|planted| planted.errors),
        sum(|planted| planted.corrupted),
        sum(|planted| planted.stalls),
        sum(|planted| planted.deaths),
    ];
    assert!(each.iter().all(|times| *times > 0), "{planted:?}");
}

#[test]
fn without_faults_nothing_changes() {
    let Outcome { done, prompt, planted, refusals } = outcome(Faults::default(), 1);
    assert_eq!(tags(&done), (0..JOBS).collect::<Vec<_>>());
    assert_eq!((prompt as u64, failures(&done), refusals), (JOBS, 0, 0));
    assert_eq!(planted, ChaosStats::default());
}

#[test]
fn what_is_lost_comes_home_at_the_deadline_with_an_error() {
    let Outcome { done, prompt, planted, .. } =
        outcome(Faults { lost: 10, ..Faults::default() }, 2);
    assert!(planted.lost > 5);
    assert_eq!(prompt as u64, JOBS - planted.lost);
    assert_eq!(failures(&done) as u64, planted.lost);
}

/// However many polls it lasts.
#[test]
fn a_wait_sleeps_until_what_is_late_is_due() {
    let (census, key, mut done) = (Census::default(), key(), VecDeque::new());
    for seed in 0..20 {
        let faults = Faults { late: 1, ..Faults::default() };
        let mut engine = Chaos::new(Inline::new(), faults, seed).unwrap();
        engine.submit(&mut VecDeque::from([job(&census, &key, seed)]));
        engine.poll(&mut done);
        engine.wait(soon());
        engine.poll(&mut done);
        assert_eq!((done.len() as u64, engine.in_flight()), (seed + 1, 0), "one wait is enough");
    }
}

/// Who sleeps on the descriptor, too: one poll finds it late, and the next one has it.
#[test]
fn the_descriptor_is_silent_until_what_is_late_is_due() {
    let (census, key, mut done) = (Census::default(), key(), VecDeque::new());
    for seed in 0..20 {
        let faults = Faults { late: 1, ..Faults::default() };
        let mut engine = Chaos::new(Inline::new(), faults, seed).unwrap();
        engine.submit(&mut VecDeque::from([job(&census, &key, seed)]));
        for expected in [0, 1] {
            let descriptor = engine.readiness().unwrap();
            let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
            let flags = rustix::event::PollFlags::IN;
            let mut descriptors = [rustix::event::PollFd::from_borrowed_fd(descriptor, flags)];
            assert_eq!(rustix::event::poll(&mut descriptors, Some(&limit)).unwrap(), 1);
            assert_eq!(engine.poll(&mut done), expected, "seed {seed}");
        }
    }
}

#[test]
fn a_second_notice_releases_nothing() {
    let Outcome { done, planted, .. } = outcome(Faults { duplicated: 4, ..Faults::default() }, 3);
    assert!(planted.duplicated > 20);
    assert_eq!((planted.strays, failures(&done)), (planted.duplicated, 0));
}

#[test]
fn a_notice_for_a_job_that_is_not_done_releases_nothing() {
    let (census, key, mut done) = (Census::default(), key(), VecDeque::new());
    let device = Coprocessor::builder().latency(Duration::from_millis(2)).build().unwrap();
    let faults = Faults { wrong_slot: 5, ..Faults::default() };
    let mut engine = Chaos::new(device, faults, 4).unwrap();
    let mut jobs: VecDeque<_> = (0..JOBS).map(|tag| job(&census, &key, tag)).collect();
    while !jobs.is_empty() {
        engine.submit(&mut jobs);
        engine.poll(&mut done);
    }
    engine.quiesce(Instant::now() + Duration::from_millis(200), &mut done).unwrap();
    let planted = engine.planted();
    assert!(planted.wrong_slots > 10 && planted.strays > 0, "{planted:?}");
    assert_eq!(done.len() as u64, JOBS);
    assert!(failures(&done) > 0, "nobody announced some of them");
    // What came back as good is good.
    for done in done.into_iter().filter(|done| done.result == Ok(())) {
        let Payload::Apart { destination, .. } = done.job.into_parts().0 else { panic!() };
        assert!(destination.bytes[LEN..] != [0; TAG_BYTES]);
    }
}

#[test]
fn what_is_late_or_reordered_comes_back_in_another_order() {
    for faults in
        [Faults { late: 5, ..Faults::default() }, Faults { reordered: 2, ..Faults::default() }]
    {
        let Outcome { done, prompt, .. } = outcome(faults, 5);
        assert_eq!((prompt as u64, failures(&done)), (JOBS, 0));
        assert_ne!(tags(&done), (0..JOBS).collect::<Vec<_>>());
    }
}

#[test]
fn a_planted_error_leaves_nothing_in_the_destination() {
    let Outcome { done, prompt, planted, .. } =
        outcome(Faults { error: 8, ..Faults::default() }, 6);
    assert!(planted.errors > 5 && prompt as u64 == JOBS);
    assert_eq!(failures(&done) as u64, planted.errors);
    for done in done.into_iter().filter(|done| done.result.is_err()) {
        let Payload::Apart { destination, .. } = done.job.into_parts().0 else { panic!() };
        assert_eq!(destination.bytes, [0; LEN + TAG_BYTES]);
    }
}

/// In place, too: what was opened is not handed out as what failed.
#[test]
fn a_planted_error_leaves_no_plaintext_in_place() {
    let (census, key, nonce, mut done) =
        (Census::default(), key(), Nonce([0; 12]), VecDeque::new());
    let faults = Faults { error: 1, ..Faults::default() };
    let mut engine = Chaos::new(Inline::<Text, _>::new(), faults, 1).unwrap();
    let mut sealed = vec![0; LEN + TAG_BYTES];
    key.seal(nonce, b"", &[7; LEN], b"", &mut sealed).unwrap();
    let units = vec![Unit::new(nonce, 0..sealed.len(), 0)];
    let job = Job::open(&key, Payload::InPlace(census.page(sealed)), units, 0).unwrap();
    engine.submit(&mut VecDeque::from([job]));
    engine.quiesce(soon(), &mut done).unwrap();
    let done = done.pop_front().unwrap();
    assert!(matches!(done.result, Err(Error::Engine { .. })), "{:?}", done.result);
    let Payload::InPlace(page) = done.job.into_parts().0 else { panic!() };
    assert_eq!(page.bytes[..LEN], [0; LEN]);
}

#[test]
fn an_altered_tag_does_not_open() {
    let Outcome { done, planted, .. } = outcome(Faults { corrupted: 8, ..Faults::default() }, 7);
    let mut inauthentic = 0;
    for done in done {
        assert_eq!(done.result, Ok(()));
        let nonce = Nonce::of(&[0; 12], done.job.tag());
        let Payload::Apart { destination, .. } = done.job.into_parts().0 else { panic!() };
        // A fresh key each time, for its limit of failures is one.
        let opened = key().open(nonce, b"", &destination.bytes, &mut [0; LEN]);
        inauthentic += u64::from(opened == Err(Error::Inauthentic));
    }
    assert!(planted.corrupted > 5);
    assert_eq!(inauthentic, planted.corrupted);
}

#[test]
fn a_stall_passes_and_a_death_costs_what_is_under_way() {
    let Outcome { done, planted, refusals, .. } =
        outcome(Faults { stall: 20, ..Faults::default() }, 8);
    assert!(planted.stalls > 3 && refusals > 0);
    assert_eq!(failures(&done), 0);
    let Outcome { done, planted, refusals, .. } =
        outcome(Faults { death: 20, ..Faults::default() }, 9);
    assert!(planted.deaths > 3 && refusals > 0);
    assert_eq!(failures(&done) as u64, planted.errors);
    assert!(planted.errors > 0);
}

#[test]
fn what_is_lost_goes_home_with_the_engine() {
    let (census, key) = (Census::default(), key());
    let faults = Faults { lost: 1, ..Faults::default() };
    let mut engine = Chaos::new(Inline::new(), faults, 1).unwrap();
    engine.submit(&mut (0..5).map(|tag| job(&census, &key, tag)).collect());
    assert_eq!(engine.poll(&mut VecDeque::new()), 0);
    let before = Instant::now();
    engine.wait(before + Duration::from_millis(5));
    assert!(before.elapsed() >= Duration::from_millis(5) && Instant::now() < soon());
    assert_eq!(census.alive(), 10);
    drop(engine);
    assert_eq!(census.alive(), 0);
}
