//! Which way is cheaper: what a byte costs the caller's thread, here and handed over.
//!
//! 1. Here it costs the time of the work. Handed over it costs the time inside the other engine's
//!    calls, sleep in `wait` included: a caller that has nothing else to do pays for it.
//! 2. The way in use is left only for one that is cheaper by a margin, so that noise does not
//!    make it change its mind.
//! 3. The way not in use is tried now and then, or a change would never show.

use std::time::Duration;

/// How many bytes make one sample.
const SAMPLE_BYTES: u64 = 64 * 1024;
/// The weight of a new sample is one in so many.
const SMOOTHING: f64 = 8.0;
/// By how much the other way has to be cheaper.
const MARGIN: f64 = 0.9;
/// Jobs of one trial of the other way: a batch or so, for a single job tells little.
const TRIAL_JOBS: u32 = 32;
/// Jobs between two trials.
const TRIAL_EVERY: u32 = 4096;

/// What a byte costs, smoothed.
#[derive(Debug, Default)]
struct Cost {
    ns_per_byte: Option<f64>,
    bytes: u64,
    spent: Duration,
}

impl Cost {
    fn add(&mut self, bytes: u64, spent: Duration) {
        self.bytes += bytes;
        self.spent += spent;
        if self.bytes >= SAMPLE_BYTES {
            let sample = self.spent.as_nanos() as f64 / self.bytes as f64;
            let smoothed = |old: f64| old + (sample - old) / SMOOTHING;
            self.ns_per_byte = Some(self.ns_per_byte.map_or(sample, smoothed));
            (self.bytes, self.spent) = (0, Duration::ZERO);
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Costs {
    inline: Cost,
    offload: Cost,
    offloads: bool,
    jobs: u32,
}

impl Costs {
    /// Whether the next job is to be handed over.
    pub(super) fn offload_next(&mut self) -> bool {
        self.jobs = (self.jobs + 1) % TRIAL_EVERY;
        match (self.inline.ns_per_byte, self.offload.ns_per_byte) {
            // First the one, then the other is measured.
            (None, _) => false,
            (_, None) => true,
            (Some(inline), Some(offload)) => {
                self.offloads = match self.offloads {
                    true => inline >= offload * MARGIN,
                    false => offload < inline * MARGIN,
                };
                self.offloads != (self.jobs < TRIAL_JOBS)
            }
        }
    }

    /// `bytes` took that long here.
    pub(super) fn inline_took(&mut self, bytes: u64, spent: Duration) {
        self.inline.add(bytes, spent);
    }

    /// The other engine took so long of the caller's time, for `bytes` that came back.
    pub(super) fn offload_took(&mut self, bytes: u64, spent: Duration) {
        self.offload.add(bytes, spent);
    }

    /// What a byte costs here and handed over, in nanoseconds, as far as known.
    pub(super) fn ns_per_byte(&self) -> (Option<f64>, Option<f64>) {
        (self.inline.ns_per_byte, self.offload.ns_per_byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Jobs that were handed over, of so many, if they cost that.
    fn offloaded(costs: &mut Costs, jobs: u32, inline_ns: u64, offload_ns: u64) -> u32 {
        let mut count = 0;
        for _ in 0..jobs {
            if costs.offload_next() {
                costs.offload_took(16 * 1024, Duration::from_nanos(16 * 1024 * offload_ns));
                count += 1;
            } else {
                costs.inline_took(16 * 1024, Duration::from_nanos(16 * 1024 * inline_ns));
            }
        }
        count
    }

    #[test]
    fn the_cheaper_way_is_taken_and_the_other_tried_now_and_then() {
        let mut costs = Costs::default();
        assert!(offloaded(&mut costs, 10_000, 4, 1) > 9_900);
        assert!(offloaded(&mut costs, 10_000, 4, 1) >= 10_000 - 3 * TRIAL_JOBS);
        assert!(offloaded(&mut costs, 10_000, 4, 1) <= 10_000 - 2 * TRIAL_JOBS);
        let mut costs = Costs::default();
        assert!(offloaded(&mut costs, 10_000, 1, 4) < 5 * TRIAL_JOBS);
    }

    #[test]
    fn a_change_shows_after_some_trials() {
        let mut costs = Costs::default();
        offloaded(&mut costs, 10_000, 4, 1);
        offloaded(&mut costs, 10_000, 4, 40);
        assert!(offloaded(&mut costs, 10_000, 4, 40) < 5 * TRIAL_JOBS);
        offloaded(&mut costs, 40_000, 4, 1);
        assert!(offloaded(&mut costs, 10_000, 4, 1) > 9_800);
    }

    #[test]
    fn a_small_difference_changes_nothing() {
        let mut costs = Costs::default();
        offloaded(&mut costs, 10_000, 100, 50);
        assert!(offloaded(&mut costs, 10_000, 100, 105) > 9_800);
        let mut costs = Costs::default();
        offloaded(&mut costs, 10_000, 50, 100);
        assert!(offloaded(&mut costs, 10_000, 105, 100) < 200);
    }
}
