//! Compares hyper over `AsyncTlsStream`, over tokio-rustls and without TLS: the server's cost.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use peers::command;
use peers::http::{Kind, Options, run, serve};

/// Serve 1 GiB bodies and 1 KiB bodies by hyper, and measure the server's processor time
///
/// Each server is a process of its own with one thread for its tasks; the client is the same for
/// all. Compare what the machine does otherwise: it should do nothing.
#[derive(Debug, Parser)]
#[command(
    name = "peers-http",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Bytes of a large body
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    large: u64,
    /// Bytes of a small body
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    small: u64,
    /// Small bodies in each round
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    requests: u64,
    /// Connections for the small bodies
    #[arg(long, value_name = "N", default_value_t = 16)]
    connections: usize,
    /// Servers to measure
    #[arg(
        long,
        value_name = "KIND",
        value_delimiter = ',',
        default_value = "sealift,tokio-rustls,plain"
    )]
    kinds: Vec<Kind>,
    #[command(flatten)]
    report: command::ReportArgs,
    /// End with exit code 1 if a ratio is not what it should be, or could not be measured
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be a server, for the program itself
    #[command(hide = true)]
    Serve { kind: Kind },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.command {
        Some(Command::Serve { kind }) => serve(kind).map(|()| true),
        None => compare(&args),
    };
    command::end("peers-http", done)
}

fn compare(args: &Args) -> std::io::Result<bool> {
    let options = Options {
        large_bytes: args.large,
        small_bytes: args.small,
        requests: args.requests,
        connections: args.connections.max(1),
        rounds: args.report.rounds,
        kinds: args.kinds.clone(),
    };
    let report = args.report.report(|progress| run(&options, progress))?;
    Ok(!args.strict || report.is_as_wanted())
}
