//! Moments at random that can be had again.

use std::time::{SystemTime, UNIX_EPOCH};

/// Numbers that follow from a seed (a linear congruential generator).
pub struct Random(u64);

impl Random {
    /// With a seed of now, or the one in `SEALIFT_SEED`, which is printed.
    pub fn new(test: &str) -> Self {
        let given = std::env::var("SEALIFT_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = given.unwrap_or_else(now);
        println!("{test}: SEALIFT_SEED={seed}");
        Self(seed)
    }

    /// The next, below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}
