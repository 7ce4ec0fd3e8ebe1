//! What was found, as a table and as JSON.

use std::fmt;

use serde::Serialize;

use crate::report::Report;
use crate::rounds::{Outcome, median, ratio};
use crate::trust;

use super::{Kind, Load, Options, Sample};

/// Sealift's processor time for a byte against tokio-rustls's: no more than this.
const MOST_PER_BYTE: f64 = 0.75;
/// Sealift's small answers in a second against tokio-rustls's: no less than this.
const LEAST_RATE: f64 = 1.0;

/// One server with one load.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Scripts compare by it: `sealift/1073741824`, the server and the bytes of each answer.
    pub name: String,
    /// The server.
    pub kind: Kind,
    /// Bytes of each answer.
    pub payload_bytes: u64,
    /// Answers of each measurement.
    pub requests: u64,
    /// On so many connections.
    pub connections: usize,
    /// The medians.
    pub bytes_per_second: Option<f64>,
    /// Answers in a second.
    pub requests_per_second: Option<f64>,
    /// Processor time of the server for 10^9 bytes.
    pub server_cpu_seconds_per_gb: Option<f64>,
    /// Processor time of the server for an answer, in microseconds.
    pub server_cpu_us_per_request: Option<f64>,
    /// Processor seconds of the server, of each round.
    pub samples: Vec<f64>,
    /// The median over the rounds: processor time against that of tokio-rustls.
    pub cpu_ratio: Option<f64>,
    /// The median over the rounds: answers in a second against those of tokio-rustls.
    pub rate_ratio: Option<f64>,
    /// Why it could not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

/// What was found of all rows.
pub(super) fn of(
    options: &Options,
    rows: &[(Load, Kind)],
    outcomes: &[Outcome<Sample>],
) -> Report<Row> {
    let theirs = |load| {
        let at = rows.iter().position(|&row| row == (load, Kind::TokioRustls));
        at.and_then(|at| outcomes[at].clone().ok()).unwrap_or_default()
    };
    let row = |(&(load, kind), outcome)| Row::new(options, load, kind, outcome, &theirs(load));
    let rows = rows.iter().zip(outcomes).map(row).collect();
    Report::new("http", Some(trust::SUITE), options.rounds, rows)
}

impl Report<Row> {
    /// Whether the bars, one for each load, were measured and are met.
    pub fn is_as_wanted(&self) -> bool {
        let ours = || self.rows.iter().filter(|row| row.kind == Kind::Sealift);
        ours().count() == Load::ALL.len() && ours().all(|row| row.verdict() == Some(true))
    }
}

impl Row {
    fn new(
        options: &Options,
        load: Load,
        kind: Kind,
        outcome: &Outcome<Sample>,
        theirs: &[Sample],
    ) -> Self {
        let (payload_bytes, requests, connections) = match load {
            Load::Large => (options.large_bytes, 1, 1),
            Load::Small => {
                let turns = options.requests.div_ceil(options.connections as u64);
                let requests = turns * options.connections as u64;
                (options.small_bytes, requests, options.connections)
            }
        };
        let (samples, skipped) = match outcome {
            Ok(samples) => (&samples[..], None),
            Err(why) => (&[][..], Some(why.clone())),
        };
        let (cpu, elapsed) = (
            |sample: &Sample| sample.server.as_secs_f64(),
            |sample: &Sample| sample.elapsed.as_secs_f64(),
        );
        let (all, bytes) = (requests as f64, (requests * payload_bytes) as f64);
        Self {
            name: format!("{}/{payload_bytes}", kind.name()),
            kind,
            payload_bytes,
            requests,
            connections,
            bytes_per_second: median(samples, |sample| bytes / elapsed(sample)),
            requests_per_second: median(samples, |sample| all / elapsed(sample)),
            server_cpu_seconds_per_gb: median(samples, |sample| cpu(sample) / bytes * 1e9),
            server_cpu_us_per_request: median(samples, |sample| cpu(sample) / all * 1e6),
            samples: samples.iter().map(cpu).collect(),
            cpu_ratio: ratio(samples, theirs, cpu),
            rate_ratio: ratio(samples, theirs, |sample| 1.0 / elapsed(sample)),
            skipped,
        }
    }

    /// Whether this row's bar is met; `None` if it has none, or there is no figure.
    fn verdict(&self) -> Option<bool> {
        match (self.kind, self.requests) {
            (Kind::Sealift, 1) => self.cpu_ratio.map(|ratio| ratio <= MOST_PER_BYTE),
            (Kind::Sealift, _) => self.rate_ratio.map(|ratio| ratio >= LEAST_RATE),
            _ => None,
        }
    }
}

impl fmt::Display for Report<Row> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.host)?;
        let suite = self.suite.unwrap_or_default();
        writeln!(f, "hyper on one thread, {suite}, {} rounds in turns", self.rounds)?;
        writeln!(f, "CPU: the server process; ratios: against tokio-rustls, within a round\n")?;
        let (name, per_gb, each, rate) = ("", "CPU s/GB", "CPU µs/answer", "answers/s");
        writeln!(f, "{name:<26}{per_gb:>10}{each:>15}{rate:>12}{:>7}{:>7}", "CPU ×", "rate ×")?;
        for row in &self.rows {
            if let Some(why) = &row.skipped {
                writeln!(f, "{:<26}  skipped: {why}", row.name)?;
                continue;
            }
            let figure = |value: Option<f64>, digits| {
                value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
            };
            let (per_gb, each) = (
                figure(row.server_cpu_seconds_per_gb, 3),
                figure(row.server_cpu_us_per_request, 2),
            );
            let rate = figure(row.requests_per_second, 1);
            let (cpu, times) = (figure(row.cpu_ratio, 3), figure(row.rate_ratio, 3));
            write!(f, "{:<26}{per_gb:>10}{each:>15}{rate:>12}{cpu:>7}{times:>7}", row.name)?;
            let bar = match (row.kind, row.requests) {
                (Kind::Sealift, 1) => format!("  CPU ×: at most {MOST_PER_BYTE} is wanted"),
                (Kind::Sealift, _) => format!("  rate ×: at least {LEAST_RATE:.1} is wanted"),
                _ => String::new(),
            };
            let verdict = if row.verdict() == Some(false) { ", and is not" } else { "" };
            writeln!(f, "{bar}{verdict}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ROWS: [(Load, Kind); 4] = [
        (Load::Large, Kind::Sealift),
        (Load::Small, Kind::Sealift),
        (Load::Large, Kind::TokioRustls),
        (Load::Small, Kind::TokioRustls),
    ];

    fn report(ours: [u64; 2], theirs: [u64; 2]) -> Report<Row> {
        let sample = |[cpu, elapsed]: [u64; 2]| Sample {
            server: Duration::from_millis(cpu),
            elapsed: Duration::from_millis(elapsed),
        };
        report_of([ours, ours, theirs, theirs].map(|figures| Ok(vec![sample(figures)])))
    }

    fn report_of(outcomes: [Outcome<Sample>; 4]) -> Report<Row> {
        let options = Options {
            large_bytes: 1 << 30,
            small_bytes: 1024,
            requests: 90,
            connections: 8,
            rounds: 1,
            kinds: vec![Kind::Sealift, Kind::TokioRustls],
        };
        of(&options, &ROWS, &outcomes)
    }

    #[test]
    fn a_bar_that_sealift_did_not_run_for_is_not_met() {
        let mut found = report([75, 100], [100, 100]);
        assert!(found.is_as_wanted());
        found.rows.remove(0);
        assert!(!found.is_as_wanted(), "only small answers");
        found.rows.clear();
        assert!(!found.is_as_wanted(), "nothing");
    }

    #[test]
    fn a_bar_without_a_comparison_is_not_met() {
        let sample = || {
            let (server, elapsed) = (Duration::from_millis(1), Duration::from_millis(1));
            Ok(vec![Sample { server, elapsed }])
        };
        let missing = || Err("it failed".to_owned());
        assert!(!report_of([sample(), sample(), missing(), missing()]).is_as_wanted());
        assert!(!report_of([missing(), missing(), sample(), sample()]).is_as_wanted());
        assert!(!report_of([const { Ok(Vec::new()) }; 4]).is_as_wanted(), "no round");
    }

    #[test]
    fn each_load_has_its_own_bar() {
        assert!(report([75, 100], [100, 100]).is_as_wanted());
        assert!(!report([76, 100], [100, 100]).is_as_wanted(), "processor time for large answers");
        assert!(!report([75, 101], [100, 100]).is_as_wanted(), "rate of small answers");
        let found = report([75, 100], [100, 100]);
        assert_eq!(found.rows[1].requests, 96, "whole turns");
        assert_eq!(found.rows[0].name, "sealift/1073741824");
        assert!(found.to_string().contains("sealift/1024"));
    }
}
