//! The engines that open ahead, each drawn from a seed, and how runs with a seed are told of.

use std::sync::Arc;
use std::time::Duration;

use sealift_crypto::{
    Chaos, Coprocessor, Engine, Faults, Inline, IpsecMb, Router, Shelf, Unavailable, Workers,
};

use super::MOST_JOB_BYTES;
use super::skip::skip;

pub type OpeningEngine = Box<dyn Engine<Arc<[u8]>, Vec<u8>>>;

/// An engine, and whether it may fail a job.
pub struct Opener {
    pub name: &'static str,
    pub fails: bool,
    pub make: fn(u64) -> OpeningEngine,
}

const fn sound(name: &'static str, make: fn(u64) -> OpeningEngine) -> Opener {
    Opener { name, fails: false, make }
}

/// Every engine of this machine. `test` is told of those that are not there.
pub fn openers(test: &str) -> Vec<Opener> {
    let mut openers = vec![
        sound("inline", |_| Box::new(Inline::new())),
        sound("workers", |_| Box::new(workers())),
        sound("coprocessor", |seed| {
            let device = Coprocessor::builder().depth(5).accepts(2).key_slots(1).reorders();
            Box::new(device.latency(Duration::from_micros(50)).seed(seed).build().unwrap())
        }),
        sound("chaos that loses and fails nothing", |seed| {
            let faults = Faults { error: 0, death: 0, ..Faults::honest(3) };
            Box::new(Chaos::new(Inline::new(), faults, seed).unwrap())
        }),
        sound("a router over chaos over workers", |seed| {
            let chaos = Chaos::new(workers(), Faults::all(8), seed).unwrap();
            let spares = Shelf::new(vec![vec![0; MOST_JOB_BYTES]; 16]);
            let router = Router::builder().offload_from(0, 0).always_offloads().spares(spares);
            Box::new(router.timeout(Duration::from_millis(2)).build(chaos).unwrap())
        }),
        sound("a router over a coprocessor that loses, with few spares", |seed| {
            let device = Coprocessor::builder().loses_once_in(4).seed(seed).build().unwrap();
            let spares = Shelf::new(vec![vec![0; MOST_JOB_BYTES]; 2]);
            let router = Router::builder().offload_from(0, 0).always_offloads().spares(spares);
            let router = router.quarantine(10, Duration::ZERO, Duration::from_millis(1));
            Box::new(router.timeout(Duration::from_millis(2)).build(device).unwrap())
        }),
        Opener {
            name: "chaos",
            fails: true,
            make: |seed| Box::new(Chaos::new(workers(), Faults::honest(40), seed).unwrap()),
        },
        Opener {
            name: "a coprocessor that crashes",
            fails: true,
            make: |seed| {
                let crash = sealift_crypto::Crash::Fails;
                let device = Coprocessor::builder().crashes_after(30, crash).seed(seed);
                Box::new(device.reorders().build().unwrap())
            },
        },
    ];
    match IpsecMb::<Arc<[u8]>, Vec<u8>>::open() {
        Ok(_) => openers.push(sound("ipsec-mb", |_| Box::new(IpsecMb::open().unwrap()))),
        Err(Unavailable::NotInstalled { .. }) => {
            skip(&format!("{test}: ipsec-mb"), "needs the package libipsec-mb1");
        }
        Err(error) => skip(&format!("{test}: ipsec-mb"), &error.to_string()),
    }
    openers
}

fn workers() -> Workers<Arc<[u8]>, Vec<u8>> {
    Workers::builder().threads(1).batch(1, 1).build().unwrap()
}

/// The seeds to run with: the one of `SEALIFT_SEED`, or some.
pub fn seeds(count: u64) -> Vec<u64> {
    // Under a sanitizer each takes many times as long.
    let sanitizer = std::env::var_os("SEALIFT_SANITIZER");
    let count = if sanitizer.is_some() { count.div_ceil(4) } else { count };
    match std::env::var("SEALIFT_SEED").map(|seed| seed.parse()) {
        Ok(Ok(seed)) => vec![seed],
        _ => (0..count).map(|at| 0x5ea1 + at * 7919).collect(),
    }
}

/// Says which engine and seed it was, if the test fails.
pub struct Telltale(pub &'static str, pub u64);

impl Drop for Telltale {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} failed with SEALIFT_SEED={}", self.0, self.1);
        }
    }
}

/// Chance that can be replayed (splitmix64).
#[derive(Clone)]
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end.max(1) as u64) as usize
    }

    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}
