//! `sealift bench tls`: TLS beside plain TCP, between two processes over loopback.
//!
//! ```text
//!  this process                                      the other: `bench tls --far`
//!  rows ─► ../schedule ─► near ──── order ─────────────► far
//!                          │ ◄───── port, pin, ready ────┤
//!                          stream ════ the data ═══════► stream
//!                          │ ◄───── what it found ───────┘
//!          ../report ◄─────┘  table, page
//! ```
//!
//! Each run has another process of its own at the far end, so that the processor time of either
//! end is its own.

mod far;
mod near;
mod order;
pub(super) mod page;
pub(super) mod rows;
mod stream;
pub(super) mod table;

use crate::args::BenchTlsArgs;
use crate::failure::Failure;
use crate::terminal::Terminal;

use super::host::Host;
use super::names;
use super::outputs::Outputs;
use super::report::Report;
use super::schedule::{self, Schedule};
use super::watch::Watch;

/// Runs `sealift bench tls`.
pub(crate) fn run(args: &BenchTlsArgs, terminal: &Terminal) -> Result<(), Failure> {
    if args.far {
        return far::serve();
    }
    let outputs = Outputs::open(&args.report)?;
    let mut rows = rows::chosen(args);
    // A run ends when its bytes are there, not at a time.
    let schedule = Schedule { rounds: args.report.rounds, sample: std::time::Duration::ZERO };
    let cases = schedule::cases(&rows, &[]);
    let nowhere = Err("TLS needs no sink".to_owned());
    let watch = Watch::new(terminal);
    let outcomes =
        schedule::run(&mut rows, &cases, &nowhere, schedule, &mut |progress| watch.show(progress));
    watch.end();
    let report = Report::new("tls", Host::here(None), schedule, &rows, &cases, outcomes);
    outputs.write(&report, terminal)
}

/// A name in `--row` that is no row's, nor the beginning of one, with those that there are.
pub(crate) fn unknown_row(args: &BenchTlsArgs) -> Option<(String, Vec<String>)> {
    names::unknown(&rows::all(args), &args.row)
}
