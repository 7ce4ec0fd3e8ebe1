//! What `bench tls` can measure: `KIND/CONNECTIONS/WRITE_BYTES`, and `KIND/ping-pong`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::near;
use super::order::{Exchange, Kind, Order};
use crate::args::BenchTlsArgs;
use crate::bench::names;
use crate::bench::report::median;
use crate::bench::rows::{Path, Payloads, Row, Work};
use crate::bench::schedule::Run;

/// Bytes per write: a small answer, a record, what many programs write, a block of a file.
const WRITES: [usize; 4] = [1_024, 16_384, 65_536, 1 << 20];
const CONNECTIONS: [usize; 2] = [1, 8];
/// Round trips of a run, unless it is to be a small one.
const TRIPS: u64 = 20_000;
/// A run that moves less has a round trip for so many bytes.
const BYTES_PER_TRIP: u64 = 4_096;
/// The unmeasured run that comes first does this part of the work.
const WARM_UP_PART: u64 = 8;

/// What a row of `bench tls` is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// `plain`, or `tls-` and who seals and opens.
    pub(crate) kind: String,
    pub(crate) connections: usize,
    /// Bytes of each run, over all connections.
    pub(crate) total_bytes: u64,
}

/// What a run found beside its rate, or the medians over runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Processor time of the whole sending process for each 10^9 bytes; null in rows of latency.
    pub(crate) cpu_seconds_per_gb_sender: Option<f64>,
    /// The same of the receiving process.
    pub(crate) cpu_seconds_per_gb_receiver: Option<f64>,
    /// Outside of the kernel; sealing a byte counts as one.
    pub(crate) copies_per_byte_sent: Option<f64>,
    /// Outside of the kernel; opening a byte counts as one.
    pub(crate) copies_per_byte_received: Option<f64>,
    /// Of a round trip; null in rows of throughput.
    pub(crate) p50_nanoseconds: Option<f64>,
    /// The same: one in a hundred takes longer.
    pub(crate) p99_nanoseconds: Option<f64>,
}

/// What a row of a report has that one of another bench has not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tls {
    #[serde(flatten)]
    pub(crate) shape: Shape,
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

impl Tls {
    /// A row of this shape, with the medians over its runs.
    pub(crate) fn new(shape: &Shape, runs: &[Run]) -> Self {
        let of = |value: fn(Figures) -> Option<f64>| {
            median(&runs.iter().filter_map(|run| value(run.tls?)).collect::<Vec<f64>>())
        };
        let figures = Figures {
            cpu_seconds_per_gb_sender: of(|run| run.cpu_seconds_per_gb_sender),
            cpu_seconds_per_gb_receiver: of(|run| run.cpu_seconds_per_gb_receiver),
            copies_per_byte_sent: of(|run| run.copies_per_byte_sent),
            copies_per_byte_received: of(|run| run.copies_per_byte_received),
            p50_nanoseconds: of(|run| run.p50_nanoseconds),
            p99_nanoseconds: of(|run| run.p99_nanoseconds),
        };
        Self { shape: shape.clone(), figures }
    }
}

/// The rows that `--row` asks for.
pub(super) fn chosen(args: &BenchTlsArgs) -> Vec<Row> {
    let mut rows = all(args);
    names::keep(&mut rows, &args.row);
    rows
}

/// All rows, neighbours where they are compared.
pub(super) fn all(args: &BenchTlsArgs) -> Vec<Row> {
    let writes = sorted(args.write.iter().map(|&bytes| bytes as usize).collect(), &WRITES);
    let connections = args.connections.iter().map(|&count| usize::from(count)).collect();
    let connections = sorted(connections, &CONNECTIONS);
    let mut rows = Vec::new();
    for &write_bytes in &writes {
        for &connections in &connections {
            let bytes = args.size.unwrap_or_else(|| default_bytes(write_bytes));
            let exchange = Exchange::Bulk { connections, bytes, write_bytes };
            rows.extend(Kind::ALL.map(|kind| row(kind, exchange)));
        }
    }
    let trips = args.size.map_or(TRIPS, |bytes| (bytes / BYTES_PER_TRIP).clamp(1, TRIPS));
    rows.extend(Kind::ALL.map(|kind| row(kind, Exchange::PingPong { trips })));
    rows
}

fn sorted(mut asked: Vec<usize>, default: &[usize]) -> Vec<usize> {
    asked.sort_unstable();
    asked.dedup();
    if asked.is_empty() { default.to_vec() } else { asked }
}

/// With writes below a record's size, 4 GiB would take half a minute a run, and show the same.
fn default_bytes(write_bytes: usize) -> u64 {
    if write_bytes < 16_384 { 1 << 30 } else { 4 << 30 }
}

fn name(kind: Kind, exchange: Exchange) -> String {
    match exchange {
        Exchange::PingPong { .. } => format!("{}/ping-pong", kind.name()),
        Exchange::Bulk { connections, write_bytes, .. } => {
            format!("{}/{connections}/{write_bytes}", kind.name())
        }
    }
}

fn about(kind: Kind) -> &'static str {
    match kind {
        Kind::Plain => "TCP without TLS: write and read",
        Kind::TlsInline => "TlsStream, sealed and opened by whoever writes and reads",
        Kind::TlsWorkers => "TlsStream, either end with the Workers engine and a thread of it",
        Kind::TlsIpsecMb => "TlsStream, either end with the IpsecMb engine",
    }
}

fn row(kind: Kind, exchange: Exchange) -> Row {
    let payload_bytes = match exchange {
        Exchange::Bulk { write_bytes, .. } => write_bytes,
        Exchange::PingPong { .. } => 1,
    };
    let mut is_warm = false;
    let work: Work = Box::new(move |_, _, _| {
        let part = if std::mem::replace(&mut is_warm, true) { 1 } else { WARM_UP_PART };
        near::run(Order { kind, exchange: exchange.part(part) })
    });
    Row {
        name: Cow::Owned(name(kind, exchange)),
        about: about(kind),
        path: Path::Loopback,
        payloads: Payloads::Fixed(payload_bytes),
        segment_bytes: None,
        compared_to: Cow::Owned(name(Kind::Plain, exchange)),
        copies_per_byte: 0.0,
        sealing: None,
        tls: Some(Shape {
            kind: kind.name().to_owned(),
            connections: exchange.connections(),
            total_bytes: exchange.bytes(),
        }),
        work,
    }
}

impl Exchange {
    /// The same with one part in `parts` of the work, but with something on each connection.
    fn part(self, parts: u64) -> Self {
        match self {
            Self::Bulk { connections, bytes, write_bytes } => {
                let bytes = (bytes / parts).max(bytes.min(connections as u64));
                Self::Bulk { connections, bytes, write_bytes }
            }
            Self::PingPong { trips } => Self::PingPong { trips: (trips / parts).max(1) },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Bench, Cli, Command};

    fn args(words: &[&str]) -> BenchTlsArgs {
        let cli = Cli::try_parse_from([&["sealift", "bench", "tls"], words].concat()).unwrap();
        let Command::Bench(Bench::Tls(args)) = cli.command else { panic!("{words:?}") };
        args
    }

    #[test]
    fn the_rows_of_the_bench_are_there_by_name() {
        let rows = all(&args(&[]));
        for name in [
            "plain/1/1024",
            "tls-inline/1/16384",
            "tls-workers/8/65536",
            "tls-ipsec-mb/8/1048576",
            "plain/ping-pong",
            "tls-ipsec-mb/ping-pong",
        ] {
            assert_eq!(rows.iter().filter(|row| row.name == name).count(), 1, "{name}");
        }
        for row in &rows {
            assert!(rows.iter().any(|other| other.name == row.compared_to), "{}", row.name);
        }
        let bytes = |name: &str| {
            let row = rows.iter().find(|row| row.name == name).unwrap();
            row.tls.as_ref().unwrap().total_bytes
        };
        assert_eq!((bytes("plain/1/16384"), bytes("plain/1/1024")), (4 << 30, 1 << 30));
    }

    #[test]
    fn what_is_asked_for_is_measured_once() {
        let words = ["--write", "100,50,100", "--connections", "3", "--size", "1M"];
        let names = |words: &[&str]| -> Vec<String> {
            chosen(&args(words)).into_iter().map(|row| row.name.into_owned()).collect()
        };
        let plain = [&words[..], &["--row", "plain"]].concat();
        assert_eq!(names(&plain), ["plain/3/50", "plain/3/100", "plain/ping-pong"]);
    }

    #[test]
    fn a_warm_up_has_something_for_each_connection() {
        let exchange = |bytes| Exchange::Bulk { connections: 8, bytes, write_bytes: 1 };
        assert_eq!(exchange(64).part(8), exchange(8));
        assert_eq!(exchange(20).part(8), exchange(8));
        assert_eq!(Exchange::PingPong { trips: 5 }.part(8), Exchange::PingPong { trips: 1 });
    }
}
