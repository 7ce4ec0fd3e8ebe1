//! What a comparison found, as a table and as JSON.

use std::fmt;

use serde::Serialize;

use crate::report::Report;
use crate::rounds::{Outcome, median, ratio};

use super::{Contender, Options};

/// One program.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Scripts compare by it.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Bytes of each run.
    pub payload_bytes: u64,
    /// The median.
    pub bytes_per_second: Option<f64>,
    /// Of each round.
    pub samples: Vec<f64>,
    /// The median over the rounds of how many times as fast as this sealift was.
    pub sealift_ratio: Option<f64>,
    /// What that should be at least.
    pub sealift_ratio_wanted: Option<f64>,
    /// Why it could not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

/// What was found of all programs, of each a rate per round in bytes per second.
pub(super) fn of(
    options: &Options,
    contenders: &[Contender],
    outcomes: Vec<Outcome<f64>>,
) -> Report<Row> {
    let ours = outcomes.first().and_then(|first| first.clone().ok()).unwrap_or_default();
    let rows = contenders.iter().zip(outcomes).map(|(contender, outcome)| {
        let (samples, skipped) = match outcome {
            Ok(samples) => (samples, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let wanted = contender.wanted_ratio();
        Row {
            name: contender.name(),
            about: contender.about(),
            payload_bytes: options.bytes,
            bytes_per_second: median(&samples, |&rate| rate),
            sealift_ratio: wanted.and_then(|_| ratio(&ours, &samples, |&rate| rate)),
            sealift_ratio_wanted: wanted,
            samples,
            skipped,
        }
    });
    Report::new("transfer", None, options.rounds, rows.collect())
}

impl Report<Row> {
    /// Whether every ratio that is wanted was measured, and is what it should be.
    pub fn is_as_wanted(&self) -> bool {
        let mut bars = self.rows.iter().filter_map(|row| {
            let wanted = row.sealift_ratio_wanted?;
            Some(row.sealift_ratio.is_some_and(|ratio| ratio >= wanted))
        });
        // Without any there was no comparison.
        bars.next() == Some(true) && bars.all(|is_met| is_met)
    }
}

impl fmt::Display for Report<Row> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.rows.first().map_or(0, |row| row.payload_bytes);
        writeln!(f, "{}", self.host)?;
        writeln!(f, "{bytes} bytes over loopback TCP, {} rounds, GB/s = 10^9 bytes", self.rounds)?;
        writeln!(f, "\n{:<10}{:>8}{:>14}{:>12}", "", "GB/s", "min–max", "sealift ×")?;
        for row in &self.rows {
            let Some(rate) = row.bytes_per_second else {
                let why = row.skipped.as_deref().unwrap_or("no round was run");
                writeln!(f, "{:<10}  skipped: {why}", row.name)?;
                continue;
            };
            let least = row.samples.iter().copied().fold(f64::INFINITY, f64::min);
            let most = row.samples.iter().copied().fold(0.0, f64::max);
            let spread = format!("{:.2}–{:.2}", least / 1e9, most / 1e9);
            write!(f, "{:<10}{:>8.2}{spread:>14}", row.name, rate / 1e9)?;
            match (row.sealift_ratio, row.sealift_ratio_wanted) {
                (Some(ratio), Some(wanted)) => {
                    let verdict = if ratio >= wanted { "" } else { ", and is not" };
                    writeln!(f, "{ratio:>12.2}  (at least {wanted:.1} is wanted{verdict})")?;
                }
                _ => writeln!(f)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(socat: Outcome<f64>) -> Report<Row> {
        report_of(Ok(vec![3e9, 4e9, 2e9]), socat)
    }

    fn report_of(ours: Outcome<f64>, socat: Outcome<f64>) -> Report<Row> {
        let options = Options {
            bytes: 10,
            rounds: 3,
            sealift: "sealift".into(),
            directory: "/dev/shm".into(),
        };
        let contenders = [Contender::Sealift("sealift".into()), Contender::Socat];
        of(&options, &contenders, vec![ours, socat])
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let found = report(Ok(vec![2e9, 2e9, 2e9]));
        assert_eq!(found.rows[1].sealift_ratio, Some(1.5));
        assert!(found.is_as_wanted());
        assert!(!report(Ok(vec![3e9, 4e9, 2e9])).is_as_wanted());
    }

    #[test]
    fn nothing_is_as_wanted_where_sealift_did_not_run() {
        assert!(!report_of(Err("it failed".into()), Ok(vec![2e9])).is_as_wanted());
    }

    #[test]
    fn nothing_is_as_wanted_without_a_comparison() {
        assert!(!report_of(Ok(Vec::new()), Ok(Vec::new())).is_as_wanted(), "no round");
        let mut alone = report(Ok(vec![1e9; 3]));
        assert!(alone.is_as_wanted());
        alone.rows.truncate(1);
        assert!(!alone.is_as_wanted(), "no other program");
    }

    #[test]
    fn a_missing_program_is_said_and_its_bar_is_not_met() {
        let found = report(Err("socat is not installed".into()));
        assert!(!found.is_as_wanted());
        assert!(found.to_string().contains("socat       skipped: socat is not installed"));
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!(json["rows"][1]["skipped"], "socat is not installed");
        assert!(json["rows"][0].get("skipped").is_none());
    }
}
