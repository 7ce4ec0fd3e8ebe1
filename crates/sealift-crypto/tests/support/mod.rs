//! The engines of this machine, and how a job goes through one.
#![allow(unreachable_pub, dead_code, reason = "shared by the tests, none of which needs it all")]

#[path = "../../../sealift-io/tests/support/skip.rs"]
mod skip;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sealift_crypto::{
    Destination, Done, Engine, IpsecMb, Job, Payload, Scattered, Source, Stopped, Unavailable,
    Workers,
};

pub type Bytes = Scattered<Vec<u8>>;
pub type AnyEngine = Box<dyn Engine<Bytes, Vec<u8>>>;

/// The engines of this machine, but for `Inline`.
pub fn others(test: &str) -> Vec<AnyEngine> {
    let workers = Workers::builder().threads(1).batch(1, 1).build().unwrap();
    let mut engines: Vec<AnyEngine> = vec![Box::new(workers)];
    match IpsecMb::open() {
        Ok(engine) => engines.push(Box::new(engine)),
        Err(Unavailable::NotInstalled { .. }) => {
            skip::skip(&format!("{test}: ipsec-mb"), "needs the package libipsec-mb1");
        }
        Err(error) => skip::skip(&format!("{test}: ipsec-mb"), &error.to_string()),
    }
    engines
}

pub fn perform<S: Source, D: Destination>(
    engine: &mut (impl Engine<S, D> + ?Sized),
    job: Job<S, D>,
) -> Done<S, D> {
    let mut jobs = VecDeque::from([job]);
    assert_eq!(engine.submit(&mut jobs), Stopped::Empty);
    let mut done = VecDeque::new();
    engine.quiesce(Instant::now() + Duration::from_secs(10), &mut done).unwrap();
    assert_eq!((engine.in_flight(), done.len()), (0, 1));
    done.pop_front().unwrap()
}

pub fn memory<S, D>(job: Job<S, D>) -> D {
    match job.into_parts().0 {
        Payload::Apart { destination, .. } => destination,
        Payload::InPlace(buffer) => buffer,
    }
}
