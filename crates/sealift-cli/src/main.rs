//! The `sealift` command.
//!
//! ```text
//!  args ──► run ──► send, receive   transfer/
//!                ├─► tunnel          tunnel/
//!                ├─► probe           probe.rs
//!                ├─► bench           bench/
//!                └─► completions, man   manual.rs
//! ```
//!
//! Data goes to standard output, words to standard error. Exit codes: 0 done, 1 failed, 2 wrong
//! usage.
#![forbid(unsafe_code)]

mod args;
mod bench;
mod cleanup;
mod complaints;
mod endpoint;
mod failure;
mod files;
mod manual;
mod probe;
mod progress;
mod quantity;
mod terminal;
mod transfer;
mod trust;
mod tunnel;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use args::{Bench, Cli, Command};
use failure::Failure;
use terminal::Terminal;

fn main() -> ExitCode {
    let cli = Cli::parse().checked().unwrap_or_else(|error| error.exit());
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // With standard error gone there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "sealift: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Send(args) => transfer::send(&args, &Terminal::new(args.transfer.outcome.words)),
        Command::Receive(args) => {
            transfer::receive(&args, &Terminal::new(args.transfer.outcome.words))
        }
        Command::Tunnel(args) => tunnel::run(&args, &Terminal::new(args.outcome.words)),
        Command::Probe(args) => probe::run(&args),
        Command::Bench(Bench::Send(args)) => {
            bench::run_send(&args, &Terminal::new(args.report.words))
        }
        Command::Bench(Bench::Seal(args)) => {
            bench::run_seal(&args, &Terminal::new(args.report.words))
        }
        Command::Bench(Bench::Tls(args)) => {
            bench::run_tls(&args, &Terminal::new(args.report.words))
        }
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
    }
}
