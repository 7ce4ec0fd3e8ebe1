//! The flags of the benches.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use sealift::crypto::Suite;

use super::{WordsArgs, parse_sample_time};
use crate::quantity::parse_bytes;
use crate::terminal::shown;

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    Send(BenchSendArgs),
    Seal(BenchSealArgs),
    Tls(BenchTlsArgs),
}

/// Compare the ways to send: copying, MSG_ZEROCOPY, io_uring, segmentation, and the library
///
/// Runs in a private network namespace on a device that frees packets without copying them, then
/// over loopback for contrast. Needs no root and leaves nothing behind. Rows take turns, so that
/// noise hits all alike; compare rows of one run only.
#[derive(Args, Debug)]
pub(crate) struct BenchSendArgs {
    /// Bytes per message, separated by commas [default: eight sizes from 600 to 65435]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65_507))]
    pub(crate) payload: Vec<u32>,
    /// Only these rows, separated by commas; a ratio to a row that is left out is left out, too
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    #[arg(value_parser = PossibleValuesParser::new(crate::bench::row_names()))]
    pub(crate) row: Vec<String>,
    #[command(flatten)]
    pub(crate) sample: SampleArgs,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
}

/// Compare what sealing and opening cost: each engine and suite beside the bare library, and memcpy
///
/// Seals messages out of place from memory to memory, on one core and on two; nothing is sent. Rows
/// are named ENGINE/SUITE/BYTES, as in inline/aes-128-gcm/16384: jobs of 32 messages, on one core,
/// but for workers and router, which have one of their own too. With /batch-1 behind it jobs have
/// one message, with /cores-2 an engine on each of two cores seals under one key; inline-open and
/// so on open what was sealed before. To see what sealing out of place saves, compare bare calls
/// with bare calls, raw with memcpy, and jobs with jobs, inline with memcpy-inline: those copy and
/// then seal in place. Rows take turns, so that noise hits all alike; compare rows of one run only.
#[derive(Args, Debug)]
pub(crate) struct BenchSealArgs {
    /// Bytes per message, separated by commas [default: 64,1350,4096,16384]
    #[arg(long, value_name = "LIST", value_delimiter = ',', hide_default_value = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) payload: Vec<u32>,
    /// Only these suites, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    #[arg(value_parser = PossibleValuesParser::new(Suite::ALL.map(Suite::name)))]
    pub(crate) suite: Vec<String>,
    /// Only these rows, separated by commas: names, or their beginnings up to a slash
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) row: Vec<String>,
    /// Bytes of plaintext to go round: more than the caches hold shows memory
    #[arg(long, value_name = "BYTES", default_value_t = 262_144)]
    #[arg(value_parser = clap::value_parser!(u32).range(1_024..=1 << 30))]
    pub(crate) ring: u32,
    #[command(flatten)]
    pub(crate) sample: SampleArgs,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
}

/// Compare TLS with plain TCP between two processes: rate, processor time, copies, latency
///
/// Over loopback, this process sending and a second one receiving, by TLS 1.3 with AES-256-GCM.
/// Rows are named KIND/CONNECTIONS/WRITE_BYTES, as in tls-inline/1/16384: plain, tls-inline
/// (whoever writes seals, whoever reads opens), tls-workers and tls-ipsec-mb (an engine at either
/// end, which is given the memory to send). KIND/ping-pong is one byte there and back. Rows take
/// turns, so that noise hits all alike; compare rows of one run only. All rows take about
/// ten minutes.
#[derive(Args, Debug)]
pub(crate) struct BenchTlsArgs {
    /// Bytes per write, separated by commas [default: 1024,16384,65536,1048576]
    #[arg(long, value_name = "LIST", value_delimiter = ',', hide_default_value = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 26))]
    pub(crate) write: Vec<u32>,
    /// Connections at a time, separated by commas [default: 1,8]
    #[arg(long, value_name = "LIST", value_delimiter = ',', hide_default_value = true)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) connections: Vec<u8>,
    /// Bytes of each run, over all connections, as 64M or 4G [default: 4G, but 1G for writes below
    /// 16 KiB]
    #[arg(long, value_name = "BYTES", value_parser = parse_amount)]
    pub(crate) size: Option<u64>,
    /// Only these rows, separated by commas: names, or their beginnings up to a slash
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) row: Vec<String>,
    /// Be the receiving process, which the bench starts itself.
    #[arg(long, hide = true)]
    pub(crate) far: bool,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
}

/// How long a bench measures a row at a time.
#[derive(Args, Debug)]
pub(crate) struct SampleArgs {
    /// Seconds that each sample of a row takes [default: 0.1]
    #[arg(long, value_name = "S", value_parser = parse_sample_time)]
    pub(crate) seconds: Option<Duration>,
}

/// How often a bench measures, and where its report goes.
#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// Samples of each row; the figure is their median
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Write the report as JSON to FILE (- for standard output, instead of the table)
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the report with its plots as one HTML page to FILE (- as with --json)
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) words: WordsArgs,
}

fn parse_amount(text: &str) -> Result<u64, String> {
    parse_bytes(text).map_err(|why| shown(&why).into_owned())
}
