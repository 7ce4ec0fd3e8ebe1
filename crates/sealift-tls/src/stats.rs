//! The counters of a stream: what a user cannot see they cannot trust.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use sealift_crypto::EngineStats;
use serde::Serialize;

use crate::ktls::{Maker, Makers};
use crate::latency::Latency;
use crate::{inflow, outflow};

/// The figures of a stream since its handshake.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Who sealed and opened.
    pub makers: Makers,
    /// Records of data sealed.
    pub records_sealed: u64,
    /// The plaintext bytes in them.
    pub bytes_sealed: u64,
    /// Those of the bytes that were put together from several pieces before they were sealed.
    pub bytes_gathered: u64,
    /// KeyUpdates sent.
    pub key_updates_sent: u64,
    /// Records of data opened; 0 where the kernel opens, which does not count them.
    pub records_opened: u64,
    /// The plaintext bytes in them.
    pub bytes_opened: u64,
    /// Those of the records that were opened straight into the caller's memory.
    pub records_opened_direct: u64,
    /// Bytes that were not opened straight into the caller's memory and were copied there: their
    /// record did not fit, or an engine opened it ahead.
    pub bytes_staged: u64,
    /// Records that an engine had opened ahead of a KeyUpdate, with the key before it, and that
    /// were opened again.
    pub records_reopened: u64,
    /// KeyUpdates received.
    pub key_updates_received: u64,
    /// Sealed bytes received; where the kernel opens, the plaintext in them.
    pub bytes_received: u64,
    /// How often the kernel was asked for received bytes, in vain or not; 0 where it opens.
    pub receives: u64,
    /// What the engine did that seals owned memory, if there is one.
    pub sealing: Option<Offload>,
    /// How the records left.
    pub sender: sealift_io::Stats,
}

/// What an engine did for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Offload {
    /// The engine's name: `inline`, `workers`, `ipsec-mb`, `router`.
    pub engine: &'static str,
    /// Jobs that it took, of one frame each.
    pub jobs: u64,
    /// Jobs that it failed to do.
    pub failed: u64,
    /// Jobs that a router did itself although it meant to hand them over.
    pub fallbacks: u64,
    /// Jobs that it has now.
    pub depth: u64,
    /// The most jobs that it had at a time.
    pub depth_high: u64,
    /// How long jobs took.
    pub latency: Latency,
}

impl Offload {
    pub(crate) fn new(
        engine: &'static str,
        stats: &EngineStats,
        in_flight: usize,
        latency: Latency,
    ) -> Self {
        let EngineStats { jobs, failed, fallbacks, depth_high, .. } = *stats;
        Self { engine, jobs, failed, fallbacks, depth: in_flight as u64, depth_high, latency }
    }
}

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { engine, jobs, failed, fallbacks, depth_high, latency, .. } = self;
        write!(f, "{engine}: {jobs} jobs, {depth_high} at a time at most, ")?;
        if let Some((median, most)) = latency.at_most(0.5).zip(latency.at_most(0.99)) {
            write!(f, "half of them within {median:?}, 99% within {most:?}, ")?;
        }
        write!(f, "{failed} failed, {fallbacks} fallen back")
    }
}

impl Stats {
    pub(crate) fn new(
        makers: Makers,
        sealed: &outflow::Counts,
        opened: &inflow::Counts,
        receives: u64,
        sealing: Option<Offload>,
        sender: sealift_io::Stats,
    ) -> Self {
        Self {
            makers,
            records_sealed: sealed.records,
            bytes_sealed: sealed.bytes,
            bytes_gathered: sealed.gathered_bytes,
            key_updates_sent: sealed.key_updates,
            records_opened: opened.records,
            bytes_opened: opened.bytes,
            records_opened_direct: opened.direct_records,
            bytes_staged: opened.staged_bytes,
            records_reopened: opened.reopened_records,
            key_updates_received: opened.key_updates,
            bytes_received: opened.received_bytes,
            receives,
            sealing,
            sender,
        }
    }

    /// How often each byte written was touched on this side of the kernel: once, by the seal,
    /// unless that was the kernel's, and once more if it was gathered.
    pub fn copies_per_byte_sealed(&self) -> f64 {
        touches(self.makers.sealing, self.bytes_sealed, self.bytes_gathered)
    }

    /// How often each byte read was touched on this side of the kernel: once, by the opening,
    /// unless that was the kernel's, and once more if it was staged.
    pub fn copies_per_byte_opened(&self) -> f64 {
        touches(self.makers.opening, self.bytes_opened, self.bytes_staged)
    }
}

/// The reading half's counts, as last published.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    records: AtomicU64,
    bytes: AtomicU64,
    direct_records: AtomicU64,
    staged_bytes: AtomicU64,
    key_updates: AtomicU64,
    reopened_records: AtomicU64,
    received_bytes: AtomicU64,
    receives: AtomicU64,
}

impl Opened {
    pub(crate) fn publish(&self, counts: &inflow::Counts, receives: u64) {
        // Relaxed: they are figures, and nothing is concluded from them.
        self.records.store(counts.records, Ordering::Relaxed);
        self.bytes.store(counts.bytes, Ordering::Relaxed);
        self.direct_records.store(counts.direct_records, Ordering::Relaxed);
        self.staged_bytes.store(counts.staged_bytes, Ordering::Relaxed);
        self.key_updates.store(counts.key_updates, Ordering::Relaxed);
        self.reopened_records.store(counts.reopened_records, Ordering::Relaxed);
        self.received_bytes.store(counts.received_bytes, Ordering::Relaxed);
        self.receives.store(receives, Ordering::Relaxed);
    }

    /// The counts, and how often the kernel was asked.
    pub(crate) fn last(&self) -> (inflow::Counts, u64) {
        let counts = inflow::Counts {
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            direct_records: self.direct_records.load(Ordering::Relaxed),
            staged_bytes: self.staged_bytes.load(Ordering::Relaxed),
            key_updates: self.key_updates.load(Ordering::Relaxed),
            reopened_records: self.reopened_records.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
        };
        (counts, self.receives.load(Ordering::Relaxed))
    }
}

fn touches(maker: Maker, all: u64, again: u64) -> f64 {
    let once = if maker == Maker::Sealift { 1.0 } else { 0.0 };
    if all == 0 { 0.0 } else { once + again as f64 / all as f64 }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "records              {}", self.makers)?;
        writeln!(
            f,
            "sealed               {} bytes in {} records, {:.3} copies per byte",
            self.bytes_sealed,
            self.records_sealed,
            self.copies_per_byte_sealed()
        )?;
        writeln!(
            f,
            "opened               {} bytes in {} records ({} direct), {:.3} copies per byte",
            self.bytes_opened,
            self.records_opened,
            self.records_opened_direct,
            self.copies_per_byte_opened()
        )?;
        writeln!(f, "received             {} bytes", self.bytes_received)?;
        writeln!(
            f,
            "key updates          {} sent, {} received",
            self.key_updates_sent, self.key_updates_received
        )?;
        if let Some(sealing) = &self.sealing {
            writeln!(f, "sealing engine       {sealing}")?;
        }
        self.sender.fmt(f)
    }
}
