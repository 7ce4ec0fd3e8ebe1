//! What may seal for a stream: every engine, sound and unsound, by a seed.

use std::time::Duration;

use sealift_crypto::{
    Chaos, Coprocessor, Crash, Engine, Faults, Inline, IpsecMb, Router, Unavailable, Workers,
};
use sealift_io::Pool;
use sealift_tls::sealift_crypto;
use sealift_tls::{Bytes, Frame, TlsStreamBuilder};

use super::skip::skip;
use super::{Case, case_tls12, case_tls13, cases};

type SealingEngine = Box<dyn Engine<Bytes, Frame>>;

/// An engine by its name, or none.
#[derive(Clone, Copy, Debug)]
pub struct Sealer {
    pub name: &'static str,
    make: Option<fn(u64) -> SealingEngine>,
    /// Its failures are the connection's.
    pub may_fail: bool,
}

impl Sealer {
    /// Has the next stream of `builder` sealed by it.
    pub fn give(&self, builder: TlsStreamBuilder, seed: u64) -> TlsStreamBuilder {
        match self.make {
            Some(make) => builder.sealing_engine(make(seed)),
            None => builder,
        }
    }
}

fn sealer(name: &'static str, make: fn(u64) -> SealingEngine) -> Sealer {
    Sealer { name, make: Some(make), may_fail: false }
}

/// Those whose streams carry everything, whatever they do.
pub fn sound(test: &str) -> Vec<Sealer> {
    let mut sealers = vec![
        Sealer { name: "none", make: None, may_fail: false },
        sealer("inline", |_| Box::new(Inline::new())),
        sealer("workers", |_| Box::new(Workers::builder().threads(2).batch(1, 1).build().unwrap())),
        sealer("coprocessor", |seed| {
            let device = Coprocessor::builder().depth(3).accepts(2).key_slots(1).reorders();
            Box::new(device.seed(seed).build().unwrap())
        }),
        sealer("router over chaos over workers", |seed| {
            let faults = Faults { corrupted: 0, ..Faults::all(6) };
            let workers = Workers::builder().batch(1, 1).build().unwrap();
            router(Chaos::new(workers, faults, seed).unwrap())
        }),
        sealer("router over a coprocessor that hangs", |seed| {
            let after = 3 + seed as usize % 10;
            router(Coprocessor::builder().crashes_after(after, Crash::Hangs).build().unwrap())
        }),
        sealer("router over a coprocessor that loses", |seed| {
            router(Coprocessor::builder().loses_once_in(5).seed(seed).build().unwrap())
        }),
    ];
    match IpsecMb::<Bytes, Frame>::open() {
        Ok(_) => sealers.push(sealer("ipsec-mb", |_| Box::new(IpsecMb::open().unwrap()))),
        Err(Unavailable::NotInstalled { .. }) => {
            skip(&format!("{test}: ipsec-mb"), "needs the package libipsec-mb1");
        }
        Err(error) => skip(&format!("{test}: ipsec-mb"), &error.to_string()),
    }
    sealers
}

/// Every sound one with a case of each version, and every case with one of them.
pub fn pairs(test: &str) -> Vec<(Sealer, Case)> {
    let sound = sound(test);
    let workers = sound.iter().find(|sealer| sealer.name == "workers").unwrap();
    let versions = |sealer: &Sealer| [case_tls13(), case_tls12()].map(|case| (*sealer, case));
    let others = sound.iter().filter(|sealer| sealer.name != "workers").flat_map(versions);
    cases().into_iter().map(|case| (*workers, case)).chain(others).collect()
}

/// Those that fail now and then, and their connections with them.
pub fn unsound() -> Vec<Sealer> {
    let all = vec![
        sealer("chaos over workers", |seed| {
            let workers = Workers::builder().batch(1, 1).build().unwrap();
            Box::new(Chaos::new(workers, Faults::honest(40), seed).unwrap())
        }),
        sealer("chaos over inline", |seed| {
            Box::new(Chaos::new(Inline::new(), Faults::honest(40), seed).unwrap())
        }),
        sealer("coprocessor that breaks down", |seed| {
            let device = Coprocessor::builder().depth(4).reorders().seed(seed);
            let after = 5 + seed as usize % 40;
            Box::new(device.crashes_after(after, Crash::Fails).build().unwrap())
        }),
    ];
    all.into_iter().map(|sealer| Sealer { may_fail: true, ..sealer }).collect()
}

/// A router that hands over whatever it may, and has spares as long as any test's frames.
fn router(inner: impl Engine<Bytes, Frame> + 'static) -> SealingEngine {
    let spares = Pool::builder().frames(8).frame_bytes(256 * 1024).huge_pages(false);
    let router = Router::builder().spares(spares.build().unwrap()).offload_from(1, 1);
    let router = router.always_offloads().timeout(Duration::from_millis(10));
    let pauses = (Duration::from_millis(1), Duration::from_millis(50));
    Box::new(router.quarantine(2, pauses.0, pauses.1).build(inner).unwrap())
}

/// The seeds to run with: the one of `SEALIFT_SEED`, or the first `count`.
pub fn seeds(count: u64) -> Vec<u64> {
    // Under a sanitizer each takes many times as long.
    let sanitizer = std::env::var_os("SEALIFT_SANITIZER");
    let count = if sanitizer.is_some() { count.div_ceil(4) } else { count };
    match std::env::var("SEALIFT_SEED").map(|seed| seed.parse()) {
        Ok(Ok(seed)) => vec![seed],
        _ => (0..count).collect(),
    }
}

/// Says what was running, if the test fails.
pub struct Telltale(pub String, pub u64);

impl Drop for Telltale {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} failed with SEALIFT_SEED={}", self.0, self.1);
        }
    }
}
