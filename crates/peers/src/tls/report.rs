//! What was found, as a table and as JSON.

use std::fmt;

use serde::Serialize;

use crate::report::Report;
use crate::rounds::{Outcome, median, ratio};
use crate::trust;

use super::near::Sample;
use super::{Kind, Load};

/// One kind with one load. Where a figure has the name that `sealift bench tls --json` has for it,
/// it is the same figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Scripts compare by it: `openssl/8/16384`, with the connections and the bytes of a write, or
    /// `openssl/ping-pong`.
    pub name: String,
    /// Whose stream it is.
    pub kind: Kind,
    /// What is measured.
    pub about: String,
    /// Bytes of each write.
    pub payload_bytes: usize,
    /// Connections at the same time.
    pub connections: usize,
    /// Bytes of each run, over all connections.
    pub total_bytes: u64,
    /// The median. In a row of latency it is that of round trips in a second.
    pub bytes_per_second: Option<f64>,
    /// The same of each round.
    pub samples: Vec<f64>,
    /// Processor time of the whole sending process for 10^9 bytes; null in rows of latency.
    pub cpu_seconds_per_gb_sender: Option<f64>,
    /// The same of the receiving process, which also checks what comes.
    pub cpu_seconds_per_gb_receiver: Option<f64>,
    /// Outside of the kernel; sealing a byte is one. Null where the library does not count.
    pub copies_per_byte_sent: Option<f64>,
    /// Outside of the kernel; opening a byte is one.
    pub copies_per_byte_received: Option<f64>,
    /// Of a round trip; null in rows of throughput.
    pub p50_nanoseconds: Option<f64>,
    /// The same: one in a hundred takes longer.
    pub p99_nanoseconds: Option<f64>,
    /// The median over the rounds: the rate against sealift's.
    pub rate_ratio: Option<f64>,
    /// The median over the rounds: processor time of both ends against sealift's.
    pub cpu_ratio: Option<f64>,
    /// The median over the rounds: `p50_nanoseconds` against sealift's; null without round trips.
    pub p50_ratio: Option<f64>,
    /// Why there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

/// What was found of all rows.
pub(super) fn of(rounds: u32, rows: &[(Load, Kind)], outcomes: &[Outcome<Sample>]) -> Report<Row> {
    let ours = |load| {
        let at = rows.iter().position(|&row| row == (load, Kind::Sealift));
        at.and_then(|at| outcomes[at].as_deref().ok()).unwrap_or_default()
    };
    let row = |(&(load, kind), outcome)| Row::new(load, kind, outcome, ours(load));
    let rows = rows.iter().zip(outcomes).map(row).collect();
    Report::new("tls", Some(trust::SUITE), rounds, rows)
}

impl Report<Row> {
    /// Whether every row has its figures: here, all that is compared is built in.
    pub fn is_whole(&self) -> bool {
        self.rows.iter().all(|row| row.skipped.is_none())
    }
}

impl Row {
    fn new(load: Load, kind: Kind, outcome: &Outcome<Sample>, ours: &[Sample]) -> Self {
        let (samples, skipped) = match outcome {
            Ok(samples) => (&samples[..], None),
            Err(why) => (&[][..], Some(why.clone())),
        };
        let bytes = load.bytes() as f64;
        let rate = |sample: &Sample| bytes / sample.elapsed.as_secs_f64();
        let both = |sample: &Sample| sample.both_ends().as_secs_f64();
        let p50 = |sample: &Sample| nanoseconds(sample, 50);
        let is_bulk = matches!(load, Load::Bulk { .. });
        let per_gb = |seconds: f64| seconds / bytes * 1e9;
        // The library that counts copies does so in each round, and finds the same.
        let last = samples.last().filter(|_| is_bulk);
        Self {
            name: load.name(kind),
            kind,
            about: kind.about(),
            payload_bytes: load.write_bytes(),
            connections: load.connections(),
            total_bytes: load.bytes(),
            bytes_per_second: median(samples, rate),
            samples: samples.iter().map(rate).collect(),
            cpu_seconds_per_gb_sender: median(samples, |sample| sample.sender.as_secs_f64())
                .filter(|_| is_bulk)
                .map(per_gb),
            cpu_seconds_per_gb_receiver: median(samples, |sample| sample.receiver.as_secs_f64())
                .filter(|_| is_bulk)
                .map(per_gb),
            copies_per_byte_sent: last.and_then(|sample| sample.copies_per_byte_sent),
            copies_per_byte_received: last.and_then(|sample| sample.copies_per_byte_received),
            p50_nanoseconds: median(samples, p50).filter(|_| !is_bulk),
            p99_nanoseconds: median(samples, |sample| nanoseconds(sample, 99)).filter(|_| !is_bulk),
            rate_ratio: ratio(samples, ours, rate),
            cpu_ratio: ratio(samples, ours, both),
            p50_ratio: ratio(samples, ours, p50).filter(|_| !is_bulk),
            skipped,
        }
    }
}

fn nanoseconds(sample: &Sample, percent: usize) -> f64 {
    sample.percentile(percent).map_or(f64::NAN, |trip| trip.as_nanos() as f64)
}

impl fmt::Display for Report<Row> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.host)?;
        let suite = self.suite.unwrap_or_default();
        writeln!(f, "two processes over loopback, {suite}, {} rounds in turns", self.rounds)?;
        writeln!(f, "GB/s: 10^9 bytes a second; CPU: seconds per GB of the sending and of the")?;
        writeln!(
            f,
            "receiving process, which checks each byte; copies of each byte outside of the"
        )?;
        writeln!(f, "kernel, where it is counted; ×: against sealift, within a round")?;
        let mut heading = None;
        for row in self.rows.iter().filter(|row| !is_of_latency(row)) {
            if heading.replace(row.payload_bytes) != Some(row.payload_bytes) {
                bulk_heading(f, row)?;
            }
            line(f, row)?;
        }
        let mut latencies = self.rows.iter().filter(|row| is_of_latency(row)).peekable();
        if latencies.peek().is_some() {
            latency_heading(f)?;
        }
        latencies.try_for_each(|row| line(f, row))
    }
}

fn is_of_latency(row: &Row) -> bool {
    row.name.ends_with("/ping-pong")
}

fn line(f: &mut fmt::Formatter<'_>, row: &Row) -> fmt::Result {
    match &row.skipped {
        Some(why) => writeln!(f, "{:<24}  failed: {why}", row.name),
        None if is_of_latency(row) => latency_line(f, row),
        None => bulk_line(f, row),
    }
}

fn bulk_heading(f: &mut fmt::Formatter<'_>, row: &Row) -> fmt::Result {
    let total = row.total_bytes as f64 / 1e9;
    writeln!(f, "\n{} bytes a write, {total:.2} GB a run", row.payload_bytes)?;
    write!(f, "{:<24}{:>8}{:>14}{:>8}{:>10}", "", "GB/s", "min–max", "rate ×", "CPU send")?;
    writeln!(f, "{:>10}{:>7}{:>9}{:>9}", "CPU recv", "CPU ×", "cop. out", "cop. in")
}

fn bulk_line(f: &mut fmt::Formatter<'_>, row: &Row) -> fmt::Result {
    let least = row.samples.iter().copied().fold(f64::INFINITY, f64::min) / 1e9;
    let most = row.samples.iter().copied().fold(0.0, f64::max) / 1e9;
    let rate = figure(row.bytes_per_second.map(|rate| rate / 1e9), 3);
    let (spread, times) = (format!("{least:.3}–{most:.3}"), figure(row.rate_ratio, 2));
    let sender = figure(row.cpu_seconds_per_gb_sender, 3);
    write!(f, "{:<24}{rate:>8}{spread:>14}{times:>8}{sender:>10}", row.name)?;
    let receiver = figure(row.cpu_seconds_per_gb_receiver, 3);
    let cpu = figure(row.cpu_ratio, 2);
    let copies = [row.copies_per_byte_sent, row.copies_per_byte_received];
    let [out, back] = copies.map(|copies| figure(copies, 2));
    writeln!(f, "{receiver:>10}{cpu:>7}{out:>9}{back:>9}")
}

fn latency_heading(f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (heading, trips) = ("One byte there and back", "round trips/s");
    writeln!(f, "\n{heading:<24}{:>8}{:>14}{:>8}{trips:>15}", "p50 µs", "p99 µs", "p50 ×")
}

fn latency_line(f: &mut fmt::Formatter<'_>, row: &Row) -> fmt::Result {
    let microseconds = |nanoseconds: Option<f64>| figure(nanoseconds.map(|it| it / 1e3), 1);
    let (p50, p99) = (microseconds(row.p50_nanoseconds), microseconds(row.p99_nanoseconds));
    let (times, trips) = (figure(row.p50_ratio, 2), figure(row.bytes_per_second, 0));
    writeln!(f, "{:<24}{p50:>8}{p99:>14}{times:>8}{trips:>15}", row.name)
}

fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const BULK: Load = Load::Bulk { connections: 1, bytes: 1_000_000_000, write_bytes: 16_384 };
    const TRIPS: Load = Load::PingPong { trips: 100 };

    fn sample(elapsed_ms: u64, trip_us: u64) -> Sample {
        Sample {
            sender: Duration::from_millis(elapsed_ms / 2),
            receiver: Duration::from_millis(elapsed_ms),
            elapsed: Duration::from_millis(elapsed_ms),
            copies_per_byte_sent: Some(1.0),
            copies_per_byte_received: None,
            trips: (0..100).map(|at| Duration::from_micros(trip_us + at)).collect(),
        }
    }

    fn report(theirs: Outcome<Sample>) -> Report<Row> {
        let rows = [
            (BULK, Kind::Sealift),
            (BULK, Kind::Openssl),
            (TRIPS, Kind::Sealift),
            (TRIPS, Kind::Openssl),
        ];
        let ours = Ok(vec![sample(500, 10), sample(800, 10)]);
        of(2, &rows, &[ours.clone(), theirs.clone(), ours, theirs])
    }

    #[test]
    fn figures_are_told_against_those_of_sealift_in_the_same_round() {
        let found = report(Ok(vec![sample(1_000, 70), sample(800, 70)]));
        let [ours, theirs] = [&found.rows[0], &found.rows[1]];
        assert_eq!((ours.rate_ratio, theirs.rate_ratio), (Some(1.0), Some(0.75)));
        assert_eq!((theirs.cpu_ratio, theirs.p50_ratio), (Some(1.5), None));
        assert_eq!(theirs.cpu_seconds_per_gb_receiver, Some(0.9));
        let trips = &found.rows[3];
        assert_eq!((trips.p50_nanoseconds, trips.p99_nanoseconds), (Some(120e3), Some(169e3)));
        assert_eq!((trips.p50_ratio, trips.cpu_seconds_per_gb_sender), (Some(2.0), None));
        assert!(found.is_whole());
    }

    #[test]
    fn a_row_that_failed_is_told_and_the_report_is_not_whole() {
        let found = report(Err("another suite".to_owned()));
        assert!(!found.is_whole());
        let text = found.to_string();
        assert!(text.contains("openssl/1/16384           failed: another suite"), "{text}");
        assert!(text.contains("openssl/ping-pong         failed: another suite"), "{text}");
        assert_eq!(serde_json::to_value(&found).unwrap()["rows"][1]["skipped"], "another suite");
    }

    #[test]
    fn no_line_is_too_long_and_figures_stand_under_their_headings() {
        let text = report(Ok(vec![sample(1_000, 70), sample(800, 70)])).to_string();
        let words = |start: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap();
            line.split_whitespace().map(str::to_owned).collect()
        };
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        let expected = ["1.125", "1.000–1.250", "0.75", "0.450", "0.900", "1.50", "1.00", "-"];
        assert_eq!(words("openssl/1/16384")[1..], expected, "{text}");
        assert_eq!(words("openssl/ping-pong")[1..], ["120.0", "169.0", "2.00", "112"], "{text}");
    }
}
