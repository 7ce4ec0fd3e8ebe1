//! `sealift bench`: what zero-copy (`send`), sealing (`seal`) and TLS (`tls`) cost on this machine.
//!
//! ```text
//! rows (what can be measured) ──► schedule (who runs when) ──► report (what was measured)
//!                                                                │
//!                                  outputs: JSON ◄───────────────┼──► table, html
//! ```
//!
//! A page or a table is made from a [`Report`] alone, so also from one that was read back. What is
//! said of `bench seal` alone is in `seal`, of `bench tls` in `tls`; the rest is of `bench send` or
//! of all.

mod command;
mod crossing;
mod format;
mod host;
mod html;
mod names;
mod outputs;
mod report;
mod rows;
mod schedule;
mod seal;
mod seed;
mod senders;
mod table;
mod tls;
mod watch;

pub(crate) use command::{row_names, run as run_send};
use report::Report;
use rows::Destination;
use schedule::{Progress, Schedule};
pub(crate) use seal::{run as run_seal, unknown_row as unknown_seal_row};
pub(crate) use tls::{run as run_tls, unknown_row as unknown_tls_row};

/// What to measure, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Bytes per message, for every row of the sweep.
    pub(crate) payloads: Vec<usize>,
    /// How often and how long each row runs.
    pub(crate) schedule: Schedule,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            payloads: vec![600, 1_400, 2_048, 4_096, 8_192, 16_384, 32_768, seed::PAYLOAD_BYTES],
            schedule: Schedule::default(),
        }
    }
}

/// Measures the rows of `bench send` and reports on them.
///
/// `sink` is where datagrams go, or why there is no such place: then the rows that need it are
/// reported as skipped. The caller has made the sink and is within its network namespace.
pub(crate) fn send(
    options: &Options,
    sink: Result<Destination, String>,
    mut rows: Vec<rows::Row>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Report {
    let cases = schedule::cases(&rows, &options.payloads);
    let outcomes = schedule::run(&mut rows, &cases, &sink, options.schedule, progress);
    let host = host::Host::here(sink.as_ref().ok());
    Report::new("send", host, options.schedule, &rows, &cases, outcomes)
}
