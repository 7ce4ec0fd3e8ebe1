//! How long the jobs of all engines took, as a histogram of Prometheus.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};
use sealift::tls::Latency;

/// Shared by the streams, which add what they have noted themselves, and by who asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies(Arc<Mutex<Latency>>);

impl Latencies {
    pub(super) fn add(&self, noted: &Latency) {
        self.lock().add(noted);
    }

    /// All so far.
    pub(super) fn sum(&self) -> Latency {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Latency> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TypedMetric for Latencies {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Latencies {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let sum = self.sum();
        let bounds = (0..).map(|at| Latency::bound(at).map_or(f64::INFINITY, |b| b.as_secs_f64()));
        let buckets: Vec<(f64, u64)> = bounds.zip(sum.buckets().iter().copied()).collect();
        let seconds = sum.total().as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(seconds, sum.jobs(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// In microseconds; more than the last bound is told as that.
pub(super) fn micros(latency: &Latency, share: f64) -> u64 {
    let most = Latency::bound(Latency::BUCKETS - 2).unwrap_or(Duration::MAX);
    match latency.jobs() {
        0 => 0,
        _ => latency.at_most(share).unwrap_or(most).as_micros() as u64,
    }
}
