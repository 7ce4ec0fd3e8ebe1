//! The command around the bench: a namespace with a sink, and a bar.

use std::borrow::Cow;
use std::net::SocketAddr;

use sealift::io::sandbox::{Sandbox, Sink};

use crate::args::BenchSendArgs;
use crate::failure::Failure;
use crate::terminal::Terminal;

use super::outputs::Outputs;
use super::rows::{self, Destination, Row};
use super::watch::Watch;
use super::{Options, Schedule, senders};

/// The largest MTU that a device takes; datagrams of the seed's size fit in it whole.
const SINK_MTU: u32 = 65_535;
/// Where datagrams go: the discard service.
const PORT: u16 = 9;

/// Runs `sealift bench send`.
pub(crate) fn run(args: &BenchSendArgs, terminal: &Terminal) -> Result<(), Failure> {
    let outputs = Outputs::open(&args.report)?;
    let options = options(args);
    let (_sandbox, sink) = enter();
    if let Err(why) = &sink {
        terminal.notice(&format!("no sink, its rows are skipped: {why}"));
    }
    let destination = sink.as_ref().map(destination).map_err(Clone::clone);
    let mut rows = all_rows();
    rows.retain(|row| args.row.is_empty() || args.row.iter().any(|name| row.name == name.as_str()));
    let watch = Watch::new(terminal);
    let report = super::send(&options, destination, rows, &mut |progress| watch.show(progress));
    watch.end();
    outputs.write(&report, terminal)
}

/// What `--row` takes.
pub(crate) fn row_names() -> impl Iterator<Item = &'static str> {
    let named = |row: Row| match row.name {
        Cow::Borrowed(name) => Some(name),
        Cow::Owned(_) => None,
    };
    all_rows().into_iter().filter_map(named)
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
    Options { payloads, schedule: Schedule::of(&args.report, &args.sample) }
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
