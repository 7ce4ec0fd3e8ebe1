//! The engines of this machine, and how a job goes through one.
#![allow(unreachable_pub, dead_code, reason = "shared by the tests, none of which needs it all")]

#[path = "../../../sealift-io/tests/support/skip.rs"]
mod skip;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sealift_crypto::{
    Chaos, Coprocessor, Destination, Done, Engine, Faults, Inline, IpsecMb, Job, Payload, Router,
    Scattered, Source, Spares, Unavailable, Workers,
};

pub type Bytes = Scattered<Vec<u8>>;
pub type AnyEngine = Box<dyn Engine<Bytes, Vec<u8>>>;

/// Destinations for a router, as many as it wants.
struct Fresh;

impl Spares<Vec<u8>> for Fresh {
    fn take(&mut self, len_bytes: usize) -> Option<Vec<u8>> {
        Some(vec![9; len_bytes])
    }

    fn give(&mut self, _destination: Vec<u8>) {}
}

/// What the faults of `Chaos` are drawn from.
const SEED: u64 = 0x5ea1;

/// A device that fails at times, and a router that makes it good.
fn router() -> AnyEngine {
    let device = Coprocessor::builder().latency(Duration::ZERO).loses_once_in(500).seed(SEED);
    let device = Chaos::new(device.build().unwrap(), Faults::honest(50), SEED).unwrap();
    let builder = Router::builder().spares(Fresh).always_offloads().offload_from(1, 1);
    let builder = builder.timeout(Duration::from_millis(5));
    Box::new(builder.quarantine(3, Duration::ZERO, Duration::ZERO).build(device).unwrap())
}

/// The engines of this machine, but for `Inline`. Their faults leave no job undone.
pub fn others(test: &str) -> Vec<AnyEngine> {
    let workers = Workers::builder().threads(1).batch(1, 1).build().unwrap();
    let device = Coprocessor::builder().latency(Duration::ZERO).reorders().build().unwrap();
    let faults = Faults { error: 0, death: 0, ..Faults::honest(10) };
    let chaos = Chaos::new(Inline::new(), faults, SEED).unwrap();
    let mut engines: Vec<AnyEngine> =
        vec![Box::new(workers), Box::new(device), Box::new(chaos), router()];
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
    let (mut jobs, mut done) = (VecDeque::from([job]), VecDeque::new());
    let limit = Instant::now() + Duration::from_secs(10);
    while !jobs.is_empty() || engine.in_flight() > 0 {
        engine.submit(&mut jobs);
        if engine.poll(&mut done) == 0 {
            engine.wait(limit);
        }
        assert!(Instant::now() < limit, "{} hangs", engine.capabilities().name);
    }
    assert_eq!(done.len(), 1);
    done.pop_front().unwrap()
}

pub fn memory<S, D>(job: Job<S, D>) -> D {
    match job.into_parts().0 {
        Payload::Apart { destination, .. } => destination,
        Payload::InPlace(buffer) => buffer,
    }
}
