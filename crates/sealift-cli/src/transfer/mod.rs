//! `sealift send` and `sealift receive`.
//!
//! ```text
//!  source ──► connect or listen ──► Outflow ──► acknowledged ──► report      send
//!  target ──► listen or connect ──► Inflow ──► end ──► rename ──► report     receive
//!                                   sealed/: the same over TLS
//! ```
//!
//! What can fail without the other end is done before it is called: a wrong name costs nobody a
//! connection.

pub(crate) mod connect;
pub(crate) mod connection;
mod descriptor;
mod inflow;
pub(crate) mod listen;
mod meeting;
mod outflow;
mod partial;
mod patience;
mod reception;
mod report;
mod sealed;
mod source;
mod target;

use std::io::{self, Write};
use std::time::Instant;

use crate::args::{EngineArg, OutcomeArgs, ReceiveArgs, SendArgs, TrustArgs};
use crate::cleanup;
use crate::endpoint::Endpoint;
use crate::failure::{Action, Failure};
use crate::progress::Progress;
use crate::terminal::Terminal;
use crate::trust::{self, OtherEnd, Role};
use connection::Connection;
use inflow::Inflow;
use meeting::{Met, meet};
use outflow::{Outflow, how_it_left};
use patience::Patience;
use report::{Report, Tls};
use sealed::{Handshake, Sealed, SealedInflow, SealedOutflow};
pub(crate) use sealed::{failed as tls_failed, sealing_engine};
use source::Source;
use target::Target;

/// The copies that the kernel makes where a transfer reads from a socket and writes to a file.
const KERNEL_COPIES: f64 = 2.0;

/// Sends SRC to URL.
pub(crate) fn send(args: &SendArgs, terminal: &Terminal) -> Result<(), Failure> {
    let mut report = Report::new("send", args.url.to_string());
    let outcome = check_report(args.transfer.outcome.json, false)
        .and_then(|()| try_send(args, terminal, &mut report));
    conclude(args.transfer.outcome, terminal, report, outcome, false)
}

fn try_send(args: &SendArgs, terminal: &Terminal, report: &mut Report) -> Result<String, Failure> {
    watch_signals()?;
    report.file = args.source.display().to_string();
    let mut source = Source::open(&args.source)?;
    report.file = source.name().to_owned();
    let role = Role::new(&args.trust, &args.url, args.listen, terminal)?;
    let (backend, timeout) = (args.backend.forced(), args.transfer.timeout);
    let (engine, ktls) = (args.sealing.engine, args.trust.ktls());
    let ready = |role| Handshake::new(role, backend, engine, ktls, timeout);
    let handshake = role.as_ref().map(ready).transpose()?;
    let progress = Progress::new(terminal, source.size());
    let tell = |url: &Endpoint| {
        tell_other_end(role.as_ref(), url, &args.trust, OtherEnd::Receives, terminal)
    };
    let handshake = handshake.as_ref();
    let (met, url) =
        meet(&args.url, args.listen, &args.transfer, terminal, &progress, tell, handshake)?;
    report.met(&url, met.peer());
    let patience = Patience::new(Action::Send, url.clone(), args.transfer.idle_timeout, terminal);
    let meeting = Meeting { url, progress, patience, began: Instant::now() };
    let how = match met {
        Met::Plain(connection) => send_plain(args, connection, &mut source, meeting, report)?,
        Met::Sealed(sealed) => send_sealed(*sealed, &mut source, meeting, report)?,
    };
    report.source_changed = source.was_written();
    if report.source_changed {
        terminal.notice(&format!(
            "warning: {} was written to while it was sent; compare checksums",
            source.name()
        ));
    }
    Ok(how)
}

/// This end's view of two that met.
struct Meeting {
    url: String,
    progress: Progress,
    patience: Patience,
    began: Instant,
}

/// Says what to type at the other end, where only this end knows.
pub(crate) fn tell_other_end(
    role: Option<&Role>,
    url: &Endpoint,
    args: &TrustArgs,
    there: OtherEnd,
    terminal: &Terminal,
) {
    if let Some(Role::Server { made: Some(pin), .. }) = role {
        terminal.say("made a certificate for this run; at the other end:");
        terminal.print(&format!("  {}\n", trust::line_for_other_end(url, there, args, *pin)));
    }
}

fn send_plain(
    args: &SendArgs,
    connection: Connection,
    source: &mut Source,
    meeting: Meeting,
    report: &mut Report,
) -> Result<String, Failure> {
    let Meeting { url, progress, patience, began } = meeting;
    let peer = connection.peer.clone();
    let mut outflow = Outflow::new(connection, args.backend.forced(), url, progress, patience)?;
    let outcome = outflow.run(source);
    let stats = outflow.stats();
    let how = how_it_left(&stats, &peer);
    report.bytes = if outcome.is_ok() { outflow.bytes() } else { stats.bytes.total() };
    report.took(began.elapsed());
    report.discarded_bytes = outflow.discarded();
    report.sent(stats, outcome.is_ok());
    outcome.map(|()| how)
}

fn send_sealed(
    sealed: Sealed,
    source: &mut Source,
    meeting: Meeting,
    report: &mut Report,
) -> Result<String, Failure> {
    let Meeting { url, progress, patience, began } = meeting;
    let agreed = sealed.agreed.clone();
    let mut outflow = SealedOutflow::new(sealed, url, progress, patience)?;
    let outcome = outflow.run(source);
    let stats = outflow.stats();
    report.bytes = outflow.bytes();
    report.took(began.elapsed());
    report.discarded_bytes = outflow.discarded();
    report.sent(stats.sender.clone(), outcome.is_ok());
    report.tls = Some(Tls::new(agreed, stats));
    outcome.map(|()| outflow.how())
}

/// Receives from URL into DST.
pub(crate) fn receive(args: &ReceiveArgs, terminal: &Terminal) -> Result<(), Failure> {
    let mut report = Report::new("receive", args.url.to_string());
    let to_stdout = target::is_standard_output(&args.destination);
    let outcome = check_report(args.transfer.outcome.json, to_stdout)
        .and_then(|()| try_receive(args, terminal, &mut report));
    conclude(args.transfer.outcome, terminal, report, outcome, to_stdout)
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
    let listens = !args.connect;
    let role = Role::new(&args.trust, &args.url, listens, terminal)?;
    let (engine, ktls) = (EngineArg::Inline, args.trust.ktls());
    let ready = |role| Handshake::new(role, None, engine, ktls, args.transfer.timeout);
    let handshake = role.as_ref().map(ready).transpose()?;
    let progress = Progress::new(terminal, None);
    let tell =
        |url: &Endpoint| tell_other_end(role.as_ref(), url, &args.trust, OtherEnd::Sends, terminal);
    let handshake = handshake.as_ref();
    let (met, url) =
        meet(&args.url, listens, &args.transfer, terminal, &progress, tell, handshake)?;
    report.met(&url, met.peer());
    let idle_timeout = args.transfer.idle_timeout;
    let patience = Patience::new(Action::Receive, url.clone(), idle_timeout, terminal);
    let meeting = Meeting { url, progress, patience, began: Instant::now() };
    match met {
        Met::Plain(connection) => fill_plain(connection, target, meeting, report),
        Met::Sealed(sealed) => fill_sealed(*sealed, target, meeting, report),
    }
}

fn fill_plain(
    connection: Connection,
    target: &Target,
    meeting: Meeting,
    report: &mut Report,
) -> Result<String, Failure> {
    let Meeting { url, progress, patience, began } = meeting;
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

fn fill_sealed(
    sealed: Sealed,
    target: &Target,
    meeting: Meeting,
    report: &mut Report,
) -> Result<String, Failure> {
    let Meeting { url, progress, patience, began } = meeting;
    let agreed = sealed.agreed.clone();
    let how = agreed.version.to_owned();
    let mut inflow = SealedInflow::new(sealed, target, url, progress, patience)?;
    let outcome = inflow.run();
    report.bytes = inflow.bytes();
    report.took(began.elapsed());
    let tls = Tls::new(agreed, inflow.stats());
    report.copies_per_byte = Some(KERNEL_COPIES + tls.copies_per_byte_opened);
    report.tls = Some(tls);
    outcome.map(|()| how)
}

fn watch_signals() -> Result<(), Failure> {
    cleanup::watch_signals().map_err(|error| Failure::system(Action::SetUp, "signals", error))
}

/// A report that nobody could read is found out before the transfer, not after it.
pub(crate) fn check_report(json: bool, stdout_has_data: bool) -> Result<(), Failure> {
    if !json || stdout_has_data {
        return Ok(());
    }
    let stdout = descriptor::share(1).map(drop);
    stdout.map_err(|error| Failure::system(Action::Open, "standard output", error))
}

/// Reports on the transfer, however it went.
fn conclude(
    args: OutcomeArgs,
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
