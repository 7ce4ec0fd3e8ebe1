//! What the tunnel has done so far: counted once, for the status line, `--stats`, `--json` and
//! `--metrics` alike.

use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use rustls::HandshakeKind;
use sealift::tls::{self, Offload};

use super::latencies::{Latencies, micros};
use super::outcome::Outcome;

/// One label and its value.
type Label = [(&'static str, &'static str); 1];
/// A count for each value of a label.
pub(super) type Labelled = Family<Label, Counter>;

/// What becomes of bytes that are sent.
const WAYS: [&str; 3] = ["zerocopy", "copied", "plain"];
/// Whose key updates.
const UPDATES: [&str; 2] = ["sent", "received"];
/// Why the kernel did not take a send as it was offered.
const REFUSALS: [&str; 2] = ["unsupported", "pressure"];
const HANDSHAKES: [&str; 2] = ["full", "resumed"];
/// Handshakes from 250 microseconds to half a minute.
const HANDSHAKE_BUCKETS: (f64, f64, u16) = (0.000_25, 2.0, 18);

/// The figures of one run.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) accepted: Counter,
    pub(super) open: Gauge,
    pub(super) finished: Labelled,
    /// Plaintext that was sealed and sent, in bytes.
    pub(super) sealed: Counter,
    /// Plaintext that was opened and passed on, in bytes.
    pub(super) opened: Counter,
    pub(super) records_sealed: Counter,
    pub(super) records_opened: Counter,
    pub(super) key_updates: Labelled,
    /// Sealed bytes that the kernel took and let go of, by what became of them.
    pub(super) wire: Labelled,
    /// Sealed bytes that came.
    pub(super) wire_received: Counter,
    pub(super) refusals: Labelled,
    /// What engines did: jobs, and those that failed, or were done here after all.
    pub(super) engine_jobs: Counter,
    pub(super) engine_failures: Counter,
    pub(super) engine_fallbacks: Counter,
    /// Jobs that they have, as far as streams have told, and the most that one had at a time.
    pub(super) engine_depth: Gauge,
    pub(super) engine_depth_most: Gauge,
    pub(super) engine_latency: Latencies,
    pub(super) handshakes: Labelled,
    pub(super) handshake_seconds: Histogram,
}

impl Figures {
    pub(super) fn new() -> Self {
        let (start, factor, count) = HANDSHAKE_BUCKETS;
        let figures = Self {
            accepted: Counter::default(),
            open: Gauge::default(),
            finished: Family::default(),
            sealed: Counter::default(),
            opened: Counter::default(),
            records_sealed: Counter::default(),
            records_opened: Counter::default(),
            key_updates: Family::default(),
            wire: Family::default(),
            wire_received: Counter::default(),
            refusals: Family::default(),
            engine_jobs: Counter::default(),
            engine_failures: Counter::default(),
            engine_fallbacks: Counter::default(),
            engine_depth: Gauge::default(),
            engine_depth_most: Gauge::default(),
            engine_latency: Latencies::default(),
            handshakes: Family::default(),
            handshake_seconds: Histogram::new(exponential_buckets(start, factor, count)),
        };
        // What has not happened is there, too: as 0.
        for (family, label, values) in [
            (&figures.finished, "outcome", &Outcome::ALL.map(Outcome::name)[..]),
            (&figures.wire, "outcome", &WAYS),
            (&figures.handshakes, "kind", &HANDSHAKES),
            (&figures.key_updates, "way", &UPDATES),
            (&figures.refusals, "reason", &REFUSALS),
        ] {
            values.iter().for_each(|value| drop(family.get_or_create(&[(label, *value)])));
        }
        figures
    }

    /// A connection ended.
    pub(super) fn finished(&self, outcome: Outcome) {
        self.open.dec();
        self.finished_as(outcome).inc();
    }

    /// How many connections ended so.
    pub(super) fn finished_as(&self, outcome: Outcome) -> Counter {
        self.finished.get_or_create_owned(&[("outcome", outcome.name())])
    }

    /// A handshake succeeded.
    pub(super) fn shaken(&self, kind: HandshakeKind, time: Duration) {
        let kind = if kind == HandshakeKind::Resumed { HANDSHAKES[1] } else { HANDSHAKES[0] };
        self.handshakes.get_or_create(&[("kind", kind)]).inc();
        self.handshake_seconds.observe(time.as_secs_f64());
    }

    /// Adds what a stream did between two looks at it.
    pub(super) fn add(&self, before: &tls::Stats, now: &tls::Stats) {
        let grown = |of: fn(&tls::Stats) -> u64| of(now).saturating_sub(of(before));
        self.records_sealed.inc_by(grown(|stats| stats.records_sealed));
        self.records_opened.inc_by(grown(|stats| stats.records_opened));
        self.wire_received.inc_by(grown(|stats| stats.bytes_received));
        if let Some(engine) = &now.sealing {
            self.add_work(before.sealing.as_ref(), engine);
        }
        let by_way = |family: &Labelled, name, way, count| {
            let label: Label = [(name, way)];
            family.get_or_create(&label).inc_by(count);
        };
        by_way(&self.key_updates, "way", UPDATES[0], grown(|stats| stats.key_updates_sent));
        by_way(&self.key_updates, "way", UPDATES[1], grown(|stats| stats.key_updates_received));
        by_way(&self.wire, "outcome", WAYS[0], grown(|stats| stats.sender.bytes.zero_copied));
        by_way(&self.wire, "outcome", WAYS[1], grown(|stats| stats.sender.bytes.copied));
        by_way(&self.wire, "outcome", WAYS[2], grown(|stats| stats.sender.bytes.plain));
        by_way(&self.refusals, "reason", REFUSALS[0], grown(|stats| stats.sender.unsupported));
        by_way(&self.refusals, "reason", REFUSALS[1], grown(|stats| stats.sender.pressure));
    }

    /// Adds what a stream's engine did.
    fn add_work(&self, before: Option<&Offload>, now: &Offload) {
        let of_before = |of: fn(&Offload) -> u64| before.map_or(0, of);
        let grown = |of: fn(&Offload) -> u64| of(now).saturating_sub(of_before(of));
        self.engine_jobs.inc_by(grown(|engine| engine.jobs));
        self.engine_failures.inc_by(grown(|engine| engine.failed));
        self.engine_fallbacks.inc_by(grown(|engine| engine.fallbacks));
        self.engine_depth.inc_by(now.depth.cast_signed());
        self.engine_depth.dec_by(of_before(|engine| engine.depth).cast_signed());
        let most = now.depth_high.cast_signed();
        self.engine_depth_most.inner().fetch_max(most, Ordering::Relaxed);
        let earlier = before.map(|engine| engine.latency).unwrap_or_default();
        self.engine_latency.add(&now.latency.since(&earlier));
    }

    /// A stream is gone, and with it what was still in its engine.
    pub(super) fn forget(&self, last: &tls::Stats) {
        let depth = last.sealing.map_or(0, |engine| engine.depth);
        self.engine_depth.dec_by(depth.cast_signed());
    }

    /// The counts that `--stats` and `--json` tell, by name.
    pub(super) fn counts(&self) -> Vec<(&'static str, u64)> {
        let by = |family: &Labelled, name, way| family.get_or_create(&[(name, way)]).get();
        let latency = self.engine_latency.sum();
        vec![
            ("bytes_sealed", self.sealed.get()),
            ("bytes_opened", self.opened.get()),
            ("records_sealed", self.records_sealed.get()),
            ("records_opened", self.records_opened.get()),
            ("key_updates_sent", by(&self.key_updates, "way", UPDATES[0])),
            ("key_updates_received", by(&self.key_updates, "way", UPDATES[1])),
            ("wire_bytes_zero_copied", by(&self.wire, "outcome", WAYS[0])),
            ("wire_bytes_copied", by(&self.wire, "outcome", WAYS[1])),
            ("wire_bytes_plain", by(&self.wire, "outcome", WAYS[2])),
            ("wire_bytes_received", self.wire_received.get()),
            ("send_refusals_unsupported", by(&self.refusals, "reason", REFUSALS[0])),
            ("send_refusals_pressure", by(&self.refusals, "reason", REFUSALS[1])),
            ("engine_jobs", self.engine_jobs.get()),
            ("engine_failures", self.engine_failures.get()),
            ("engine_fallbacks", self.engine_fallbacks.get()),
            ("engine_depth_most", self.engine_depth_most.get().cast_unsigned()),
            ("engine_latency_p50_us", micros(&latency, 0.5)),
            ("engine_latency_p99_us", micros(&latency, 0.99)),
            ("handshakes_full", by(&self.handshakes, "kind", HANDSHAKES[0])),
            ("handshakes_resumed", by(&self.handshakes, "kind", HANDSHAKES[1])),
        ]
    }
}
