//! `sealift bench seal`: what sealing costs, engine by engine, beside the bare library.
//!
//! ```text
//! rows (engine × suite × bytes) ──► ../schedule ──► ../report ──► bars (what must be reached)
//!        │                                                          │
//!       ring (the memory, and how it is sealed)       table, page ◄─┘
//! ```

pub(super) mod bars;
pub(super) mod page;
mod ring;
pub(super) mod rows;
pub(super) mod table;

use sealift::crypto::Suite;

use crate::args::BenchSealArgs;
use crate::failure::Failure;
use crate::terminal::Terminal;

use super::begins;
use super::host::Host;
use super::outputs::Outputs;
use super::report::Report;
use super::schedule::{self, Schedule};
use super::watch::Watch;

/// Bytes per message: a small one, a QUIC packet, a page, a TLS record.
const PAYLOADS: [usize; 4] = [64, 1_350, 4_096, 16_384];

/// Runs `sealift bench seal`.
pub(crate) fn run(args: &BenchSealArgs, terminal: &Terminal) -> Result<(), Failure> {
    let outputs = Outputs::open(&args.report)?;
    let mut rows = chosen(args);
    let schedule = Schedule::of(&args.report, &args.sample);
    let cases = schedule::cases(&rows, &[]);
    let nowhere = Err("sealing needs no sink".to_owned());
    let watch = Watch::new(terminal);
    let outcomes =
        schedule::run(&mut rows, &cases, &nowhere, schedule, &mut |progress| watch.show(progress));
    watch.end();
    let mut report = Report::new("seal", Host::here(None), schedule, &rows, &cases, outcomes);
    report.ring_bytes = Some(args.ring as usize);
    outputs.write(&report, terminal)
}

/// Names in `--row` that are no row's, nor the beginning of one up to a slash.
pub(crate) fn unknown_row(args: &BenchSealArgs) -> Option<&str> {
    let rows = all(args);
    let known = |wanted: &&String| rows.iter().any(|row| begins(&row.name, wanted));
    args.row.iter().find(|wanted| !known(wanted)).map(String::as_str)
}

fn chosen(args: &BenchSealArgs) -> Vec<super::rows::Row> {
    let mut rows = all(args);
    let wanted = |name: &str| args.row.iter().any(|wanted| begins(name, wanted));
    rows.retain(|row| args.row.is_empty() || wanted(&row.name));
    rows
}

fn all(args: &BenchSealArgs) -> Vec<super::rows::Row> {
    let mut payloads: Vec<usize> = args.payload.iter().map(|bytes| *bytes as usize).collect();
    payloads.sort_unstable();
    payloads.dedup();
    let payloads = if payloads.is_empty() { PAYLOADS.to_vec() } else { payloads };
    let asked =
        |suite: &Suite| args.suite.is_empty() || args.suite.iter().any(|s| s == suite.name());
    let suites: Vec<Suite> = Suite::ALL.into_iter().filter(asked).collect();
    rows::all(&suites, &payloads, args.ring as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_chosen_by_whole_parts_of_their_names() {
        assert!(begins("inline/aes-128-gcm/64", "inline"));
        assert!(begins("inline/aes-128-gcm/64", "inline/aes-128-gcm/64"));
        assert!(!begins("inline/aes-128-gcm/64", "in"));
        assert!(!begins("inline/aes-128-gcm/64", "inline/aes-128-gcm/6"));
        assert!(!begins("inline/aes-128-gcm/64", ""));
    }
}
