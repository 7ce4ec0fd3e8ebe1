//! `sealift send` and `sealift receive`.
//!
//! ```text
//!  source ──► connect or listen ──► Outflow ──► acknowledged ──► report      send
//!  target ──► listen or connect ──► Inflow ──► end ──► rename ──► report     receive
//! ```
//!
//! What can fail without the other end is done before it is called: a wrong name costs nobody a
//! connection.

mod connect;
mod connection;
mod descriptor;
mod inflow;
mod listen;
mod outflow;
mod partial;
mod patience;
mod report;
mod source;
mod target;

use std::io::{self, Write};
use std::time::Instant;

use crate::args::{ReceiveArgs, SendArgs, TransferArgs};
use crate::cleanup;
use crate::endpoint::Endpoint;
use crate::failure::{Action, Failure};
use crate::progress::Progress;
use crate::terminal::Terminal;
use connection::Connection;
use inflow::Inflow;
use outflow::{Outflow, how_it_left};
use patience::Patience;
use report::Report;
use source::Source;
use target::Target;

/// Sends SRC to URL.
pub(crate) fn send(args: &SendArgs, terminal: &Terminal) -> Result<(), Failure> {
    let mut report = Report::new("send", args.url.to_string());
    let outcome = check_report(args.transfer.json, false)
        .and_then(|()| try_send(args, terminal, &mut report));
    conclude(&args.transfer, terminal, report, outcome, false)
}

fn try_send(args: &SendArgs, terminal: &Terminal, report: &mut Report) -> Result<String, Failure> {
    watch_signals()?;
    report.file = args.source.display().to_string();
    let mut source = Source::open(&args.source)?;
    report.file = source.name().to_owned();
    let progress = Progress::new(terminal, source.size());
    let (connection, url) = meet(&args.url, args.listen, &args.transfer, terminal, &progress)?;
    let peer = connection.peer.clone();
    report.met(&url, &peer);
    let began = Instant::now();
    let patience = Patience::new(Action::Send, url.clone(), args.transfer.idle_timeout, terminal);
    let mut outflow = Outflow::new(connection, args.backend.forced(), url, progress, patience)?;
    let outcome = outflow.run(&mut source);
    let stats = outflow.stats();
    let how = how_it_left(&stats, &peer);
    report.bytes = if outcome.is_ok() { outflow.bytes() } else { stats.bytes.total() };
    report.took(began.elapsed());
    if outcome.is_ok() {
        // A reset purges what was queued: the sender has it back, but it was never sent.
        report.zerocopied_fraction = Some(stats.zero_copied_fraction());
        report.copies_per_byte = Some(stats.copies_per_byte());
    }
    report.sending = Some(stats);
    report.discarded_bytes = outflow.discarded();
    outcome?;
    report.source_changed = source.was_written();
    if report.source_changed {
        terminal.notice(&format!(
            "warning: {} was written to while it was sent; compare checksums",
            source.name()
        ));
    }
    Ok(how)
}

/// Receives from URL into DST.
pub(crate) fn receive(args: &ReceiveArgs, terminal: &Terminal) -> Result<(), Failure> {
    let mut report = Report::new("receive", args.url.to_string());
    let to_stdout = target::is_standard_output(&args.destination);
    let outcome = check_report(args.transfer.json, to_stdout)
        .and_then(|()| try_receive(args, terminal, &mut report));
    conclude(&args.transfer, terminal, report, outcome, to_stdout)
}

fn try_receive(
    args: &ReceiveArgs,
    terminal: &Terminal,
    report: &mut Report,
) -> Result<String, Failure> {
    watch_signals()?;
    report.file = args.destination.display().to_string();
    let target = Target::open(&args.destination, args.keep_partial)?;
    report.file = target.name().to_owned();
    let outcome = fill(args, &target, terminal, report);
    match outcome {
        Ok(how) => target.commit(args.sync).map(|()| how),
        Err(failure) => {
            report.kept_partial = target.abandon();
            if report.kept_partial {
                let bytes = report.bytes;
                terminal.notice(&format!("{} has the first {bytes} bytes", report.file));
            }
            Err(failure)
        }
    }
}

fn fill(
    args: &ReceiveArgs,
    target: &Target,
    terminal: &Terminal,
    report: &mut Report,
) -> Result<String, Failure> {
    let progress = Progress::new(terminal, None);
    let (connection, url) = meet(&args.url, !args.connect, &args.transfer, terminal, &progress)?;
    report.met(&url, &connection.peer);
    let began = Instant::now();
    let idle_timeout = args.transfer.idle_timeout;
    let patience = Patience::new(Action::Receive, url.clone(), idle_timeout, terminal);
    let mut inflow = Inflow::new(connection, target, url, progress, patience)?;
    let outcome = inflow.run();
    let figures = inflow.figures();
    let how = figures.way.to_owned();
    report.bytes = inflow.bytes();
    report.took(began.elapsed());
    report.copies_per_byte = Some(figures.copies_per_byte);
    report.receiving = Some(figures);
    outcome.map(|()| how)
}

/// Connects to the other end, or waits for it; says where, with the port that was got.
fn meet(
    url: &Endpoint,
    listens: bool,
    args: &TransferArgs,
    terminal: &Terminal,
    progress: &Progress,
) -> Result<(Connection, String), Failure> {
    if !listens {
        progress.wait_for(&format!("connecting to {url}"));
        return connect::connect(url, args.timeout).map(|connection| (connection, url.to_string()));
    }
    let (listener, got) = listen::listen(url)?;
    if url.wants_any_port() {
        terminal.say(&format!("listening on {got}"));
    }
    progress.wait_for(&format!("listening on {got}"));
    listener.accept(&got, args.timeout).map(|connection| (connection, got.to_string()))
}

fn watch_signals() -> Result<(), Failure> {
    cleanup::watch_signals().map_err(|error| Failure::system(Action::SetUp, "signals", error))
}

/// A report that nobody could read is found out before the transfer, not after it.
fn check_report(json: bool, stdout_has_data: bool) -> Result<(), Failure> {
    if !json || stdout_has_data {
        return Ok(());
    }
    let stdout = descriptor::share(1).map(drop);
    stdout.map_err(|error| Failure::system(Action::Open, "standard output", error))
}

/// Reports on the transfer, however it went.
fn conclude(
    args: &TransferArgs,
    terminal: &Terminal,
    mut report: Report,
    outcome: Result<String, Failure>,
    stdout_has_data: bool,
) -> Result<(), Failure> {
    match &outcome {
        Ok(how) if terminal.is_watched() && !args.stats => terminal.notice(&report.summary(how)),
        Ok(_) => {}
        Err(failure) => report.error = Some(failure.to_string()),
    }
    if args.stats {
        terminal.print(&report.stats());
    }
    if args.json {
        // Numbers and strings: there is nothing that JSON could not say.
        let line = report.to_json().unwrap_or_default();
        if stdout_has_data {
            terminal.print(&line);
        } else {
            let written = io::stdout().write_all(line.as_bytes());
            written
                .map_err(|error| Failure::system(Action::Write, "standard output", error))
                .or_else(|failure| if outcome.is_ok() { Err(failure) } else { Ok(()) })?;
        }
    }
    outcome.map(drop)
}
