//! `sealift bench seal`: what sealing costs, engine by engine, beside the bare library.
//!
//! ```text
//! rows (engine × suite × bytes) ──► ../schedule ──► ../report ──► bars (what must be reached)
//!        │                                                          │
//!   ring (the memory), lane (engines over it)          table, page ◄─┘
//! ```

pub(super) mod bars;
mod lane;
pub(super) mod page;
mod ring;
pub(super) mod rows;
pub(super) mod table;

use sealift::crypto::Suite;

use crate::args::BenchSealArgs;
use crate::failure::Failure;
use crate::terminal::Terminal;

use super::host::Host;
use super::names;
use super::outputs::Outputs;
use super::report::Report;
use super::schedule::{self, Schedule};
use super::watch::Watch;

/// Bytes per message: a small one, a QUIC packet, a page, a TLS record.
const PAYLOADS: [usize; 4] = [64, 1_350, 4_096, 16_384];

/// Runs `sealift bench seal`.
pub(crate) fn run(args: &BenchSealArgs, terminal: &Terminal) -> Result<(), Failure> {
    let outputs = Outputs::open(&args.report)?;
    let mut rows = all(args);
    names::keep(&mut rows, &args.row);
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

/// A name in `--row` that is no row's, nor the beginning of one, with those that there are.
pub(crate) fn unknown_row(args: &BenchSealArgs) -> Option<(String, Vec<String>)> {
    names::unknown(&all(args), &args.row)
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
