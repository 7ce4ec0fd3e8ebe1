//! How long jobs took, in buckets: what an average would hide shows there.

use std::time::Duration;

use serde::Serialize;

/// How long an engine's jobs took, from when they were made until the stream had them back: in the
/// engine, before it took them, and after it was done until somebody asked.
///
/// Bucket `n` has those of up to 2ⁿ microseconds that are not in the one before, the first those of
/// up to a microsecond, and the last those of more than 1.05 seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    jobs_by_bucket: [u64; Latency::BUCKETS],
    total_ns: u64,
}

impl Latency {
    /// How many buckets there are.
    pub const BUCKETS: usize = 22;

    /// The most that jobs in a bucket took; `None` for the last one, and behind it.
    pub fn bound(bucket: usize) -> Option<Duration> {
        (bucket < Self::BUCKETS - 1).then(|| Duration::from_micros(1 << bucket))
    }

    /// How many jobs are in each bucket.
    pub fn buckets(&self) -> &[u64; Self::BUCKETS] {
        &self.jobs_by_bucket
    }

    /// How many jobs came back.
    pub fn jobs(&self) -> u64 {
        self.jobs_by_bucket.iter().sum()
    }

    /// What all of them took together.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.total_ns)
    }

    /// What `share` of the jobs (0.5: the median) took at most, as far as buckets tell: twice too
    /// much at worst. `None` without jobs, or if that is in the last bucket.
    pub fn at_most(&self, share: f64) -> Option<Duration> {
        let rank = ((self.jobs() as f64 * share).ceil() as u64).max(1);
        let mut jobs = 0;
        let bucket = self.jobs_by_bucket.iter().position(|count| {
            jobs += count;
            jobs >= rank
        })?;
        Self::bound(bucket)
    }

    /// What was noted here and not in `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut grown = *self;
        for (now, before) in grown.jobs_by_bucket.iter_mut().zip(earlier.jobs_by_bucket) {
            *now = now.saturating_sub(before);
        }
        grown.total_ns = self.total_ns.saturating_sub(earlier.total_ns);
        grown
    }

    /// Adds what was noted elsewhere.
    pub fn add(&mut self, other: &Self) {
        for (own, others) in self.jobs_by_bucket.iter_mut().zip(other.jobs_by_bucket) {
            *own += others;
        }
        self.total_ns = self.total_ns.saturating_add(other.total_ns);
    }

    /// Notes a job that came back.
    pub(crate) fn note(&mut self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // The exponent of the power of two that is not below it.
        let bucket = ns.div_ceil(1000).max(1).next_power_of_two().trailing_zeros() as usize;
        self.jobs_by_bucket[bucket.min(Self::BUCKETS - 1)] += 1;
        self.total_ns = self.total_ns.saturating_add(ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(took: Duration) -> usize {
        let mut latency = Latency::default();
        latency.note(took);
        assert_eq!((latency.jobs(), latency.total()), (1, took));
        latency.buckets().iter().position(|count| *count == 1).unwrap()
    }

    #[test]
    fn each_job_is_in_the_first_bucket_that_it_fits() {
        for (ns, expected) in [(0, 0), (1000, 0), (1001, 1), (2000, 1), (2001, 2), (64_000, 6)] {
            assert_eq!(bucket(Duration::from_nanos(ns)), expected, "{ns} ns");
        }
        for at in 0..Latency::BUCKETS - 1 {
            let bound = Latency::bound(at).unwrap();
            assert_eq!(bucket(bound), at);
            assert_eq!(bucket(bound + Duration::from_nanos(1)), at + 1);
        }
        assert_eq!(bucket(Duration::from_secs(500_000)), Latency::BUCKETS - 1);
        assert_eq!(Latency::bound(Latency::BUCKETS - 1), None);
    }

    #[test]
    fn shares_are_told_by_the_bounds() {
        let mut latency = Latency::default();
        assert_eq!(latency.at_most(0.5), None);
        (0..99).for_each(|_| latency.note(Duration::from_micros(3)));
        let before = latency;
        latency.note(Duration::from_micros(900));
        let told = [0.0, 0.5, 0.99, 1.0].map(|share| latency.at_most(share).unwrap().as_micros());
        assert_eq!(told, [4, 4, 4, 1024]);
        let since = latency.since(&before);
        assert_eq!((since.jobs(), since.total()), (1, Duration::from_micros(900)));
        latency.note(Duration::from_secs(7));
        assert_eq!(latency.at_most(1.0), None, "nobody knows");
        let mut both = before;
        both.add(&since);
        assert_eq!((both.jobs(), both.total()), (100, Duration::from_micros(99 * 3 + 900)));
    }
}
