//! The command around the bench: a namespace with a sink, and a bar.

use std::net::SocketAddr;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sealift::io::sandbox::{Sandbox, Sink};

use crate::args::BenchSendArgs;
use crate::failure::Failure;
use crate::terminal::Terminal;

use super::outputs::Outputs;
use super::rows::{self, Destination, Row};
use super::{Options, Schedule, senders};

/// The largest MTU that a device takes; datagrams of the seed's size fit in it whole.
const SINK_MTU: u32 = 65_535;
/// Where datagrams go: the discard service.
const PORT: u16 = 9;

/// Runs `sealift bench send`.
pub(crate) fn run(args: &BenchSendArgs, terminal: &Terminal) -> Result<(), Failure> {
    let outputs = Outputs::open(args)?;
    let options = options(args);
    let (_sandbox, sink) = enter();
    if let Err(why) = &sink {
        terminal.notice(&format!("no sink, its rows are skipped: {why}"));
    }
    let destination = sink.as_ref().map(destination).map_err(Clone::clone);
    let mut rows = all_rows();
    rows.retain(|row| args.row.is_empty() || args.row.iter().any(|name| name == row.name));
    let bar = bar(terminal);
    let report = super::send(&options, destination, rows, &mut |progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
        bar.set_message(format!("{} {} B", progress.name, progress.payload_bytes));
    });
    bar.finish_and_clear();
    outputs.write(&report, terminal)
}

/// What `--row` takes.
pub(crate) fn row_names() -> impl Iterator<Item = &'static str> {
    all_rows().into_iter().map(|row| row.name)
}

fn all_rows() -> Vec<Row> {
    let mut rows = rows::baselines();
    rows.extend(senders::rows());
    rows
}

fn options(args: &BenchSendArgs) -> Options {
    let defaults = Options::default();
    let mut payloads = defaults.payloads;
    if !args.payload.is_empty() {
        payloads = args.payload.iter().map(|&bytes| bytes as usize).collect();
        payloads.sort_unstable();
        payloads.dedup();
    }
    let sample = args.seconds.unwrap_or(defaults.schedule.sample);
    Options { payloads, schedule: Schedule { rounds: args.rounds, sample } }
}

/// Moves into a network namespace and makes a sink there, or says why not.
fn enter() -> (Option<Sandbox>, Result<Sink, String>) {
    // This thread only, if the rights allow it: a user namespace would take the right to lock
    // memory away, and with it registered buffers beyond RLIMIT_MEMLOCK.
    let entered = Sandbox::enter_thread().or_else(|_| Sandbox::enter_process());
    match entered {
        Err(error) => (None, Err(error.to_string())),
        Ok(mut sandbox) => {
            let sink = sandbox.add_sink(SINK_MTU).map_err(|error| error.to_string());
            (Some(sandbox), sink)
        }
    }
}

fn destination(sink: &Sink) -> Destination {
    let address = SocketAddr::from((sink.peer_v4, PORT));
    Destination { address, device: sink.kind.as_str().to_owned() }
}

fn bar(terminal: &Terminal) -> ProgressBar {
    if !terminal.is_watched() {
        return ProgressBar::hidden();
    }
    let bar = terminal.bars().add(ProgressBar::no_length());
    // A wrong template would show in the first run of it; the default style is no loss.
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {percent:>3}%  {eta} left  {msg}") {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
