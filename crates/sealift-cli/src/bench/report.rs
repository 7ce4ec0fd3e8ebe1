//! What a bench found, in the shape that `--json` prints.
//!
//! Every key of a row is always there; what does not apply is null. Only `skipped` comes and goes:
//! a row that has it could not run, and says why.

use std::time::Duration;

use sealift::io::baseline::Sample;
use serde::{Deserialize, Serialize};

use super::host::Host;
use super::rows::{self, Path};
use super::schedule::{Case, Outcome, Run, Schedule};
use super::seal::rows::Sealing;
use super::seed::{self, Line};
use super::tls::rows::Tls;

/// If the median row had a processor for less than this, the report says so.
const DISTURBED: f64 = 0.95;

/// All that a bench found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Which bench: `send`, `seal` or `tls`.
    pub(crate) bench: String,
    /// The version of Sealift.
    pub(crate) version: String,
    pub(crate) host: Host,
    /// Samples of each row.
    pub(crate) rounds: u32,
    /// The time of each sample; 0 of `bench tls`, whose samples end when their bytes are there.
    pub(crate) sample_seconds: f64,
    /// Bytes of plaintext that `bench seal` goes round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ring_bytes: Option<usize>,
    pub(crate) rows: Vec<Row>,
}

/// One row at one payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Stable: scripts compare by it.
    pub(crate) name: String,
    /// What the row does, in one line.
    pub(crate) about: String,
    pub(crate) path: Path,
    /// Bytes of each message.
    pub(crate) payload_bytes: usize,
    /// Bytes of the datagrams that a message is cut into, where it is.
    pub(crate) segment_bytes: Option<u16>,
    /// Payload sent in a second: the median of `samples`.
    pub(crate) bytes_per_second: Option<f64>,
    /// Payload sent in a second, of each round.
    pub(crate) samples: Vec<f64>,
    pub(crate) spread: Option<Spread>,
    /// The median.
    pub(crate) messages_per_second: Option<f64>,
    /// The part of the messages that the kernel did not copy; null where copies were asked for.
    pub(crate) zerocopied_fraction: Option<f64>,
    /// Copies of each byte from the sender's memory to the device; of `bench tls`, those outside of
    /// the kernel at the sending end.
    pub(crate) copies_per_byte: Option<f64>,
    /// System calls of the sending thread.
    pub(crate) syscalls_per_message: Option<f64>,
    /// The part of the time in which the sending thread had a processor, the median: less than all
    /// of it on the sink means that other programs disturbed the row.
    pub(crate) cpu_share: Option<f64>,
    /// The rate against that of `ratio_to` at the same payload: the median of the rounds' ratios,
    /// so that what disturbs a round for a while disturbs both.
    pub(crate) ratio: Option<f64>,
    /// The row that `ratio` compares to.
    pub(crate) ratio_to: String,
    /// `engine`, `suite`, `batch` and `cores` of a row of `bench seal`.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub(crate) sealing: Option<Sealing>,
    /// What only a row of `bench tls` has.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<Tls>,
    /// Why the row could not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) skipped: Option<String>,
}

/// How far the samples of a row lie apart, in bytes per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    /// A quarter of the samples is below.
    pub(crate) lower_quartile: f64,
    /// A quarter of the samples is above.
    pub(crate) upper_quartile: f64,
    pub(crate) max: f64,
}

impl Report {
    /// The report on `cases` and what came of each.
    pub(crate) fn new(
        bench: &str,
        host: Host,
        schedule: Schedule,
        rows: &[rows::Row],
        cases: &[Case],
        outcomes: Vec<Outcome>,
    ) -> Self {
        let found = cases.iter().zip(outcomes);
        let mut report = Self {
            bench: bench.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host,
            rounds: schedule.rounds,
            sample_seconds: schedule.sample.as_secs_f64(),
            ring_bytes: None,
            rows: found.map(|(case, outcome)| Row::new(case, &rows[case.row], outcome)).collect(),
        };
        report.compare();
        report
    }

    /// The row `name` at `payload_bytes`.
    pub(crate) fn row(&self, name: &str, payload_bytes: usize) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name && row.payload_bytes == payload_bytes)
    }

    /// The payloads of the sweep, in order: those that more than one kind of row was measured at.
    pub(crate) fn sweep(&self) -> Vec<usize> {
        let on_sink = self.rows.iter().filter(|row| row.is_swept());
        let mut payloads: Vec<usize> = on_sink.map(|row| row.payload_bytes).collect();
        payloads.sort_unstable();
        payloads.dedup();
        payloads
    }

    /// The payload that the headlines are about: the seed's if it was measured, else the largest.
    pub(crate) fn headline_payload(&self) -> Option<usize> {
        let sweep = self.sweep();
        let seed = sweep.iter().find(|payload| **payload == seed::PAYLOAD_BYTES);
        seed.or(sweep.last()).copied()
    }

    /// Whether any of our rows has a place in the seed's table.
    pub(crate) fn meets_the_seed(&self) -> bool {
        let met = |line: &Line| self.row(line.ours, seed::PAYLOAD_BYTES).is_some();
        seed::LINES.iter().any(met)
    }

    /// A warning, if other programs took so much of the processors that the figures suffered.
    pub(crate) fn disturbance(&self) -> Option<String> {
        let awake = self.rows.iter().filter(|row| row.is_swept() || row.path == Path::Memory);
        let shares: Vec<f64> = awake.filter_map(|row| row.cpu_share).collect();
        let share = median(&shares).filter(|share| *share < DISTURBED)?;
        Some(format!(
            "The machine was busy: half of the rows had a processor for less than {:.0} % of the \
             time. Run it again when nothing else runs.",
            share * 100.0
        ))
    }

    /// The report as one JSON object over many lines.
    ///
    /// # Errors
    /// None in practice: every number is finite.
    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    fn compare(&mut self) {
        let ratios: Vec<Option<f64>> = self
            .rows
            .iter()
            .map(|row| row.against(self.row(&row.ratio_to, row.payload_bytes)?))
            .collect();
        for (row, ratio) in self.rows.iter_mut().zip(ratios) {
            row.ratio = ratio;
        }
    }
}

impl Row {
    fn new(case: &Case, row: &rows::Row, outcome: Outcome) -> Self {
        let (runs, skipped) = match outcome {
            Ok(runs) => (runs, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let each = |value: fn(&Sample) -> f64| -> Vec<f64> {
            runs.iter().map(|run| value(&run.sample)).collect()
        };
        let samples = each(|run| per_second(run.bytes, run.elapsed));
        let zerocopied = zerocopied_fraction(&runs);
        let tls = row.tls.as_ref().map(|shape| Tls::new(shape, &runs));
        Self {
            name: row.name.clone().into_owned(),
            about: row.about.to_owned(),
            path: row.path,
            payload_bytes: case.payload_bytes,
            segment_bytes: row.segment_bytes,
            bytes_per_second: median(&samples),
            spread: Spread::of(&samples),
            messages_per_second: median(&each(|run| per_second(run.messages, run.elapsed))),
            zerocopied_fraction: zerocopied,
            copies_per_byte: match &tls {
                Some(tls) => tls.figures.copies_per_byte_sent,
                None => median(&samples).map(|_| row.copies_per_byte - zerocopied.unwrap_or(0.0)),
            },
            syscalls_per_message: median(&each(|run| run.syscalls as f64 / run.messages as f64)),
            // Of `bench tls` it would be that of a thread which only waits.
            cpu_share: median(&cpu_shares(&runs)),
            samples,
            ratio: None,
            ratio_to: row.compared_to.clone().into_owned(),
            sealing: row.sealing.clone(),
            tls,
            skipped,
        }
    }

    /// Whether the row is one of the sweep, and not there for contrast.
    pub(crate) fn is_swept(&self) -> bool {
        self.path == Path::Sink && self.segment_bytes.is_none()
    }

    /// The rate against that of `other`, within each round: the median.
    pub(crate) fn against(&self, other: &Self) -> Option<f64> {
        let rounds = self.samples.iter().zip(&other.samples);
        let ratios: Vec<f64> = rounds.filter_map(|(of, to)| ratio(*of, *to)).collect();
        median(&ratios)
    }

    /// The median.
    pub(crate) fn nanoseconds_per_message(&self) -> Option<f64> {
        self.messages_per_second.map(|messages| 1e9 / messages)
    }

    /// Whether the messages left without a copy, most of them at least.
    pub(crate) fn is_zero_copy(&self) -> bool {
        self.zerocopied_fraction.is_some_and(|fraction| fraction > 0.5)
    }
}

impl Spread {
    fn of(samples: &[f64]) -> Option<Self> {
        Some(Self {
            min: quantile(samples, 0.0)?,
            lower_quartile: quantile(samples, 0.25)?,
            upper_quartile: quantile(samples, 0.75)?,
            max: quantile(samples, 1.0)?,
        })
    }
}

/// The payloads that were measured, in order.
pub(crate) fn payloads(rows: &[Row]) -> Vec<usize> {
    let mut payloads: Vec<usize> = rows.iter().map(|row| row.payload_bytes).collect();
    payloads.sort_unstable();
    payloads.dedup();
    payloads
}

fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

fn cpu_shares(runs: &[Run]) -> Vec<f64> {
    runs.iter().filter(|run| run.tls.is_none()).map(|run| run.cpu_share).collect()
}

/// Over all messages of all runs; `None` if a run asked for copies.
fn zerocopied_fraction(runs: &[Run]) -> Option<f64> {
    let (mut truly, mut messages) = (0.0, 0.0);
    for Run { sample: run, .. } in runs {
        truly += run.zerocopied_fraction? * run.messages as f64;
        messages += run.messages as f64;
    }
    ratio(truly, messages)
}

fn ratio(of: f64, to: f64) -> Option<f64> {
    Some(of / to).filter(|ratio| ratio.is_finite())
}

pub(super) fn median(samples: &[f64]) -> Option<f64> {
    quantile(samples, 0.5)
}

/// The value below which `part` of the samples lie, interpolated between neighbours.
fn quantile(samples: &[f64], part: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = part * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
#[cfg(test)]
pub(crate) use tests::{four as sample_report, sealing as sealing_report, tls as tls_report};
