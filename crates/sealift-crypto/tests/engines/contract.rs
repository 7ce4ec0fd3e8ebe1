//! The contract, for every engine.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sealift_crypto::{
    Chaos, Coprocessor, Crash, Engine, Error, Faults, Inline, IpsecMb, Job, Key, Limits,
    NONCE_BYTES, Nonce, Payload, Router, Stopped, Suite, TAG_BYTES, Unit, Workers,
};

use crate::memory::{Census, Fresh};
use crate::run::{Allowed, Boxed, Caller, Telltale, key, seal, seeds, soon};

/// An engine to test: its name, how to make it, and what it may do.
struct Candidate {
    name: String,
    make: Box<dyn Fn(u64) -> Boxed>,
    allowed: Allowed,
    /// How long it has to bring everything back before it gives up on the rest.
    patience: Duration,
}

fn candidate(name: &str, make: impl Fn(u64) -> Boxed + 'static) -> Candidate {
    let (allowed, patience) = (Allowed::default(), Duration::from_secs(20));
    Candidate { name: name.into(), make: Box::new(make), allowed, patience }
}

fn failing(name: &str, make: impl Fn(u64) -> Boxed + 'static) -> Candidate {
    let allowed = Allowed { failures: true, corruption: false };
    Candidate { allowed, patience: GIVING_UP, ..candidate(name, make) }
}

/// Those that do what they are asked.
fn honest() -> Vec<Candidate> {
    [
        candidate("inline", |_| Box::new(Inline::new())),
        candidate("workers", |_| Box::new(Workers::builder().depth(64).build().unwrap())),
        candidate("workers, two, that sleep at once", |_| {
            let builder = Workers::builder().threads(2).spin(Duration::ZERO);
            Box::new(builder.batch(1, 1).depth(5).build().unwrap())
        }),
        candidate("coprocessor", |seed| {
            let builder = Coprocessor::builder().depth(9).key_slots(2).accepts(4);
            Box::new(builder.reorders().seed(seed).build().unwrap())
        }),
        candidate("workers, none", |_| Box::new(Workers::builder().threads(0).build().unwrap())),
    ]
    .into_iter()
    .chain(ipsec_mb())
    .collect()
}

/// Where its library is not installed, its own tests say so.
fn ipsec_mb() -> Option<Candidate> {
    let make = |_| Box::new(IpsecMb::open().unwrap()) as Boxed;
    IpsecMb::<(), ()>::open().ok().map(|_| candidate("ipsec-mb", make))
}

/// Those that fail on their own.
fn weak() -> Vec<Candidate> {
    vec![
        failing("coprocessor that loses", |seed| {
            Box::new(Coprocessor::builder().loses_once_in(20).seed(seed).build().unwrap())
        }),
        failing("coprocessor that hangs", |_| {
            let builder = Coprocessor::builder().depth(200).key_slots(99);
            Box::new(builder.crashes_after(60, Crash::Hangs).build().unwrap())
        }),
        failing("coprocessor that loses, reorders and hangs", |seed| {
            let builder = Coprocessor::builder().depth(200).key_slots(99).reorders();
            let builder = builder.loses_once_in(5).crashes_after(60, Crash::Hangs);
            Box::new(builder.seed(seed).build().unwrap())
        }),
    ]
}

/// Every engine in a wrapping, which may do to jobs what the wrapping does.
fn wrapped(
    all: Vec<Candidate>,
    wrapping: &str,
    allowed: Allowed,
    wrap: impl Fn(Boxed, u64) -> Boxed + Copy + 'static,
) -> Vec<Candidate> {
    let wrapped = |inner: Candidate| Candidate {
        name: format!("{wrapping} {}", inner.name),
        make: Box::new(move |seed| wrap((inner.make)(seed), seed)),
        allowed,
        patience: GIVING_UP,
    };
    all.into_iter().map(wrapped).collect()
}

/// All of them.
fn every() -> Vec<Candidate> {
    let mut all = honest();
    all.extend(weak());
    let allowed = Allowed { failures: true, corruption: true };
    all.extend(wrapped(honest(), "chaos over", allowed, |inner, seed| {
        Box::new(Chaos::new(inner, Faults::all(30), seed).unwrap())
    }));
    // A router makes good whatever shows: errors, deaths, what is lost or late.
    let good = Allowed::default();
    all.extend(wrapped(honest(), "router over", good, |inner, _| router(inner)));
    all.extend(wrapped(weak(), "router over", good, |inner, _| router(inner)));
    all.extend(wrapped(honest(), "router over chaos over", good, |inner, seed| {
        let faults = Faults { corrupted: 0, ..Faults::all(30) };
        router(Box::new(Chaos::new(inner, faults, seed).unwrap()))
    }));
    all
}

fn router(inner: Boxed) -> Boxed {
    let builder = Router::builder().spares(Fresh::default()).offload_from(2, 100);
    let builder = builder.always_offloads().timeout(Duration::from_millis(10));
    let pauses = (Duration::from_millis(1), Duration::from_millis(4));
    Box::new(builder.quarantine(2, pauses.0, pauses.1).build(inner).unwrap())
}

/// Where something is lost, waiting longer brings nothing.
const GIVING_UP: Duration = Duration::from_millis(100);

/// Jobs of a run; fewer where each takes many times as long.
fn jobs() -> usize {
    if std::env::var_os("SEALIFT_SANITIZER").is_some() { 40 } else { 100 }
}

#[test]
fn every_job_comes_back_once_and_right() {
    for Candidate { name, make, allowed, patience } in every() {
        for seed in seeds(2) {
            let _telltale = Telltale(name.clone(), seed);
            let outcome = Caller::new(make(seed), allowed, seed).run(jobs(), patience);
            assert_eq!(outcome.done, jobs());
        }
    }
}

/// It takes as many jobs as its depth says, and puts what is done behind what was polled before.
#[test]
fn no_more_than_the_depth_is_taken_and_all_of_it_is_told() {
    let routers = wrapped(honest(), "router over", Allowed::default(), |inner, _| router(inner));
    for Candidate { name, make, .. } in honest().into_iter().chain(routers) {
        let _telltale = Telltale(name, 1);
        let (census, key, mut engine, mut done) =
            (Census::default(), key(), make(1), VecDeque::new());
        let depth = engine.capabilities().depth;
        let page = || census.page(vec![0; 16 + TAG_BYTES]);
        let job = |tag| seal(&key, census.text(vec![1; 16]), page(), 16, tag);
        let mut jobs: VecDeque<_> = (0..=depth as u64).map(job).collect();
        let limit = soon();
        while jobs.len() > 1 {
            engine.submit(&mut jobs);
            assert!(Instant::now() < limit, "it takes no more than {}", engine.in_flight());
        }
        assert_eq!((engine.submit(&mut jobs), jobs.len()), (Stopped::Full, 1));
        assert_eq!((engine.in_flight(), engine.stats().depth_high), (depth, depth as u64));
        while !jobs.is_empty() {
            engine.poll(&mut done);
            engine.submit(&mut jobs);
            assert!(Instant::now() < limit, "it has no room again");
        }
        engine.quiesce(limit, &mut done).unwrap();
        let mut tags: Vec<u64> = done.iter().map(|done| done.job.tag()).collect();
        tags.sort_unstable();
        assert_eq!(tags, (0..=depth as u64).collect::<Vec<_>>());
    }
}

#[test]
fn an_engine_dropped_at_any_moment_keeps_no_memory() {
    for Candidate { name, make, allowed, .. } in every() {
        for seed in seeds(6) {
            let _telltale = Telltale(name.clone(), seed);
            let mut caller = Caller::new(make(seed), allowed, seed);
            for _ in 0..seed % 13 {
                caller.step(jobs());
            }
            caller.drop_engine();
        }
    }
}

#[test]
fn quiesce_ends_by_its_deadline_in_any_state() {
    for Candidate { name, make, .. } in every() {
        for seed in seeds(3) {
            let _telltale = Telltale(name.clone(), seed);
            // What is given up comes back with an error.
            let allowed = Allowed { failures: true, corruption: true };
            let mut caller = Caller::new(make(seed), allowed, seed);
            for _ in 0..seed % 11 {
                caller.step(jobs());
            }
            caller.submit();
            caller.quiesce(Duration::from_millis(50));
            caller.drop_engine();
        }
    }
}

#[test]
fn memory_that_panics_as_it_goes_hurts_no_engine_that_is_dropped() {
    for Candidate { name, make, .. } in honest() {
        let _telltale = Telltale(name, 1);
        let (census, key, mut engine) = (Census::default(), key(), make(1));
        let fuses: Vec<_> = (0..5)
            .map(|tag| {
                let (text, page) = (census.text(vec![1; 9]), census.page(vec![0; 9 + TAG_BYTES]));
                let fuses = (text.fuse(), page.fuse());
                engine.submit(&mut VecDeque::from([seal(&key, text, page, 9, tag)]));
                fuses
            })
            .collect();
        for (text, page) in &fuses {
            text.light();
            page.light();
        }
        drop(engine);
        assert_eq!(census.alive(), 0);
    }
}

/// Its jobs would be taken for others: they have the tags that their caller gave them.
#[test]
fn an_engine_with_jobs_in_flight_is_not_wrapped() {
    let (census, key) = (Census::default(), key());
    let busy = || {
        let mut engine = Inline::new();
        let page = census.page(vec![0; 9 + TAG_BYTES]);
        engine.submit(&mut VecDeque::from([seal(&key, census.text(vec![1; 9]), page, 9, 7)]));
        engine
    };
    let routed = Router::builder().build(busy()).map(drop);
    let wrapped = Chaos::new(busy(), Faults::default(), 1).map(drop);
    for refused in [routed, wrapped] {
        assert!(matches!(refused, Err(Error::Caller { .. })), "{refused:?}");
    }
    assert_eq!(census.alive(), 0);
}

/// A second time would undo the first: under its nonce, what was sealed would be plaintext again.
#[test]
fn what_is_done_in_place_is_done_once() {
    const TEXT: &[u8] = b"for nobody else";
    let (census, nonce) = (Census::default(), Nonce([3; NONCE_BYTES]));
    for Candidate { name, make, .. } in honest() {
        for suite in Suite::ALL {
            let key = Key::new(suite, &vec![1; suite.key_bytes()], Limits::tls(suite)).unwrap();
            let mut engine = make(1);
            let mut perform = |job| {
                let (mut jobs, mut done) = (VecDeque::from([job]), VecDeque::new());
                engine.submit(&mut jobs);
                engine.quiesce(soon(), &mut done).unwrap();
                done.pop_front().unwrap()
            };
            let page = census.page([TEXT, &[0; TAG_BYTES]].concat());
            let units = vec![Unit::new(nonce, 0..TEXT.len(), 0)];
            let once = perform(Job::seal(&key, Payload::InPlace(page), units, 0).unwrap());
            assert_eq!(once.result, Ok(()));
            let twice = perform(once.job);
            let Payload::InPlace(page) = twice.job.into_parts().0 else { panic!() };
            assert_ne!(&page.bytes[..TEXT.len()], TEXT, "{name} gives the plaintext away");
            assert!(matches!(twice.result, Err(Error::Caller { .. })), "{:?}", twice.result);
            key.open(nonce, b"", &page.bytes, &mut [0; TEXT.len()]).unwrap();
        }
    }
}
