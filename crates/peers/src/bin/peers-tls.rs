//! Compares sealift's `TlsStream` with tokio-rustls, the openssl crate, and plain TCP.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use peers::command;
use peers::tls::{Kind, Load, Options, Way, run, serve};

/// Move bytes over TLS streams of several libraries: rate, processor time, copies, latency
///
/// Over loopback, this process sending and a second one receiving, by TLS 1.3 with AES-256-GCM. The
/// loads and figures are those of `sealift bench tls`, where more of sealift is measured. Rows are
/// named KIND/CONNECTIONS/WRITE_BYTES, as in openssl/8/16384, and KIND/ping-pong; ratios are
/// against sealift, within a round. Compare what the machine does otherwise: it should do nothing.
/// All rows take about twelve minutes. The exit code is 1 if a row failed.
#[derive(Debug, Parser)]
#[command(
    name = "peers-tls",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Bytes per write, separated by commas [default: 1024,16384,65536,1048576]
    #[arg(long, value_name = "LIST", value_delimiter = ',', hide_default_value = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 26))]
    write: Vec<u32>,
    /// Connections at a time, separated by commas [default: 1,8]
    #[arg(long, value_name = "LIST", value_delimiter = ',', hide_default_value = true)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=64))]
    connections: Vec<u8>,
    /// How much each run moves over all connections, as 64MiB [default: 4GiB, but 1GiB for writes
    /// below 16 KiB]
    #[arg(long, value_name = "SIZE", value_parser = command::parse_size)]
    size: Option<u64>,
    /// Whose streams to measure
    #[arg(
        long,
        value_name = "KIND",
        value_delimiter = ',',
        default_value = "sealift,tokio-rustls,openssl,plain"
    )]
    kinds: Vec<Kind>,
    #[command(flatten)]
    report: command::ReportArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be the receiving process, for the program itself
    #[command(hide = true)]
    Far { kind: Kind, connections: usize, way: Way },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.command {
        Some(Command::Far { kind, connections, way }) => {
            serve(kind, connections, way).map(|()| true)
        }
        None => compare(&args),
    };
    command::end("peers-tls", done)
}

fn compare(args: &Args) -> std::io::Result<bool> {
    let connections: Vec<usize> = args.connections.iter().map(|&count| count.into()).collect();
    let writes: Vec<usize> = args.write.iter().map(|&bytes| bytes as usize).collect();
    let options = Options {
        loads: Load::all(&connections, &writes, args.size),
        rounds: args.report.rounds,
        kinds: args.kinds.clone(),
    };
    Ok(args.report.report(|progress| run(&options, progress))?.is_whole())
}
