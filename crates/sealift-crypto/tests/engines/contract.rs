//! The contract, for every engine.

use std::time::Duration;

use sealift_crypto::{Coprocessor, Crash, Inline, Workers};

use crate::run::{Allowed, Boxed, Caller, Telltale, seeds};

/// An engine to test: its name, how to make it, and what it may do.
pub(crate) struct Candidate {
    pub(crate) name: String,
    pub(crate) make: Box<dyn Fn(u64) -> Boxed>,
    pub(crate) allowed: Allowed,
}

fn candidate(name: &str, make: impl Fn(u64) -> Boxed + 'static) -> Candidate {
    Candidate { name: name.into(), make: Box::new(make), allowed: Allowed::default() }
}

fn failing(name: &str, make: impl Fn(u64) -> Boxed + 'static) -> Candidate {
    Candidate { allowed: Allowed { failures: true, corruption: false }, ..candidate(name, make) }
}

/// Those that do what they are asked.
pub(crate) fn honest() -> Vec<Candidate> {
    vec![
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
}

/// All of them.
pub(crate) fn every() -> Vec<Candidate> {
    let mut all = honest();
    all.push(failing("coprocessor that loses", |seed| {
        Box::new(Coprocessor::builder().loses_once_in(20).seed(seed).build().unwrap())
    }));
    all.push(failing("coprocessor that hangs", |_| {
        Box::new(Coprocessor::builder().depth(200).crashes_after(60, Crash::Hangs).build().unwrap())
    }));
    all
}

const JOBS: usize = 150;
const PATIENCE: Duration = Duration::from_millis(300);

#[test]
fn every_job_comes_back_once_and_right() {
    for Candidate { name, make, allowed } in every() {
        for seed in seeds(4) {
            let _telltale = Telltale(name.clone(), seed);
            let outcome = Caller::new(make(seed), allowed, seed).run(JOBS, PATIENCE);
            assert_eq!(outcome.done, JOBS);
        }
    }
}

#[test]
fn an_engine_dropped_at_any_moment_keeps_no_memory() {
    for Candidate { name, make, allowed } in every() {
        for seed in seeds(12) {
            let _telltale = Telltale(name.clone(), seed);
            let mut caller = Caller::new(make(seed), allowed, seed);
            for _ in 0..seed % 13 {
                caller.step(100);
            }
            caller.drop_engine();
        }
    }
}

#[test]
fn quiesce_ends_by_its_deadline_in_any_state() {
    for Candidate { name, make, .. } in every() {
        for seed in seeds(6) {
            let _telltale = Telltale(name.clone(), seed);
            // What is given up comes back with an error.
            let allowed = Allowed { failures: true, corruption: true };
            let mut caller = Caller::new(make(seed), allowed, seed);
            for _ in 0..seed % 11 {
                caller.step(100);
            }
            caller.submit();
            caller.quiesce(Duration::from_millis(50));
            caller.drop_engine();
        }
    }
}
