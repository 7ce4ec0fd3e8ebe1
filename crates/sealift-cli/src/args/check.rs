//! What no single flag shows: flags against each other, and names against what there is.

use std::path::Path;

use clap::CommandFactory;
use clap::error::ErrorKind;
use sealift::tls::Ktls;

use super::{Bench, Cli, Command, EngineArg, ReportArgs, SendArgs, TrustArgs};
use crate::bench;
use crate::endpoint::Endpoint;
use crate::terminal::shown;

/// What is out of place, and why.
type Refusal = (ErrorKind, String);

impl Cli {
    /// Checks what no single flag shows.
    ///
    /// # Errors
    /// The usage error to end with.
    pub(crate) fn checked(self) -> Result<Self, clap::Error> {
        let refusal = match &self.command {
            Command::Send(args) => send(args),
            Command::Receive(args) => way(&args.url, !args.connect, &args.trust),
            Command::Tunnel(args) => args
                .check()
                .map_err(conflict)
                .and_then(|()| one_sealer(args.sealing.engine, &args.trust)),
            Command::Bench(Bench::Send(args)) => reports(&args.report),
            Command::Bench(Bench::Seal(args)) => {
                rows(bench::unknown_seal_row(args)).and_then(|()| reports(&args.report))
            }
            Command::Bench(Bench::Tls(args)) => {
                rows(bench::unknown_tls_row(args)).and_then(|()| reports(&args.report))
            }
            Command::Probe(_) | Command::Completions(_) | Command::Man(_) => Ok(()),
        };
        match refusal {
            Ok(()) => Ok(self),
            Err((kind, text)) => Err(self.usage().error(kind, text)),
        }
    }

    /// The command that was given, which its usage error shows how to use.
    fn usage(&self) -> clap::Command {
        let path: &[&str] = match &self.command {
            Command::Send(_) => &["send"],
            Command::Receive(_) => &["receive"],
            Command::Tunnel(_) => &["tunnel"],
            Command::Probe(_) => &["probe"],
            Command::Bench(Bench::Send(_)) => &["bench", "send"],
            Command::Bench(Bench::Seal(_)) => &["bench", "seal"],
            Command::Bench(Bench::Tls(_)) => &["bench", "tls"],
            Command::Completions(_) => &["completions"],
            Command::Man(_) => &["man"],
        };
        let mut all = Self::command();
        all.build();
        let step = |at: &clap::Command, name: &&str| at.find_subcommand(name).cloned();
        path.iter().try_fold(all.clone(), |at, name| step(&at, name)).unwrap_or(all)
    }
}

fn conflict(text: String) -> Refusal {
    (ErrorKind::ArgumentConflict, text)
}

fn send(args: &SendArgs) -> Result<(), Refusal> {
    if args.sealing.engine != EngineArg::Auto && !matches!(args.url, Endpoint::Tls { .. }) {
        return Err(conflict(format!("--engine is for tls:// only: {} is not sealed", args.url)));
    }
    one_sealer(args.sealing.engine, &args.trust)?;
    way(&args.url, args.listen, &args.trust)
}

/// The kernel and an engine cannot both seal.
fn one_sealer(engine: EngineArg, trust: &TrustArgs) -> Result<(), Refusal> {
    let is_chosen = !matches!(engine, EngineArg::Auto | EngineArg::Inline);
    match trust.ktls() == Ktls::On && is_chosen {
        true => Err(conflict("--ktls on has the kernel seal: leave --engine out".to_owned())),
        false => Ok(()),
    }
}

/// The other end, and whom to trust there.
fn way(url: &Endpoint, listens: bool, trust: &TrustArgs) -> Result<(), Refusal> {
    if !listens && let Some(missing) = url.lacks() {
        let text = format!("to connect, name {missing}: {}host:port", url.scheme());
        return Err((ErrorKind::ValueValidation, text));
    }
    trust.check(url, listens).map_err(conflict)
}

/// A name of a row that there is not, and what there is.
fn rows(unknown: Option<(String, Vec<String>)>) -> Result<(), Refusal> {
    let Some((name, instead)) = unknown else { return Ok(()) };
    let (name, instead) = (shown(&name), instead.join(", "));
    let text =
        format!("no row is called '{name}', nor begins so up to a slash\n  [rows: {instead}]");
    Err((ErrorKind::ValueValidation, text))
}

fn reports(args: &ReportArgs) -> Result<(), Refusal> {
    if args.json.as_deref() == Some(Path::new("-")) && args.html == args.json {
        let text = "standard output takes one report: give --json or --html a file";
        return Err(conflict(text.to_owned()));
    }
    Ok(())
}
