//! What `bench seal` can measure: `ENGINE/SUITE/BYTES`, and `/batch-1` or `/cores-2` behind it. An
//! engine that opens has `-open` behind its name.

use std::borrow::Cow;

use sealift::crypto::baseline::Bare;
use sealift::crypto::{Inline, IpsecMb, Router, Suite, Workers};
use serde::{Deserialize, Serialize};

use super::lane::{self, AnyEngine};
use super::ring::{self, Call, Shape, Way};
use crate::bench::rows::{Measured, Path, Payloads, Row, Work};

/// Messages in a job of many.
pub(super) const BATCH: usize = 32;

/// What a row of `bench seal` has that one of `bench send` has not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sealing {
    /// The engine's name, or `raw`, `memcpy` or `memcpy-inline`; `-open` behind it if it opens.
    pub(crate) engine: String,
    /// The suite's name.
    pub(crate) suite: String,
    /// Messages handed over together.
    pub(crate) batch: usize,
    /// Cores that seal at a time.
    pub(crate) cores: usize,
}

/// What an engine that opens has behind its name.
const OPENING: &str = "-open";

impl Sealing {
    pub(super) fn opens(&self) -> bool {
        self.engine.ends_with(OPENING)
    }

    /// The engine's name, whichever way it goes.
    pub(super) fn sealer(&self) -> &str {
        self.engine.strip_suffix(OPENING).unwrap_or(&self.engine)
    }
}

/// Who does the work of a row.
#[derive(Clone, Copy)]
enum Worker {
    Bare(Call),
    Engine(fn() -> Result<AnyEngine, String>),
    /// An engine that has another core of its own.
    Crew(fn() -> Result<AnyEngine, String>),
}

/// Name, what it does, which way, and who does it.
type Part = (&'static str, &'static str, Way, Worker);

const PARTS: [Part; 11] = [
    ("raw", "the bare library call, out of place", Way::Apart, Worker::Bare(Bare::seal)),
    (
        "memcpy",
        "memcpy, then the bare library call in place",
        Way::Apart,
        Worker::Bare(Bare::copy_and_seal),
    ),
    ("memcpy-inline", "memcpy, then the Inline engine in place", Way::Copied, INLINE),
    ("inline", "the Inline engine: aws-lc, AES-CCM by the ccm crate", Way::Apart, INLINE),
    ("ipsec-mb", "the IpsecMb engine: Intel's multi-buffer library", Way::Apart, IPSEC_MB),
    ("workers", "the Workers engine: one thread of its own, and the caller's", Way::Apart, WORKERS),
    (
        "router",
        "the Router over Workers: each job where it is sooner",
        Way::Apart,
        Worker::Crew(router),
    ),
    ("raw-open", "the bare library call that opens", Way::Opened, Worker::Bare(Bare::open)),
    ("inline-open", "the Inline engine, opening", Way::Opened, INLINE),
    ("ipsec-mb-open", "the IpsecMb engine, opening", Way::Opened, IPSEC_MB),
    ("workers-open", "the Workers engine, opening", Way::Opened, WORKERS),
];

const INLINE: Worker = Worker::Engine(inline);
const IPSEC_MB: Worker = Worker::Engine(ipsec_mb);
const WORKERS: Worker = Worker::Crew(workers);

fn inline() -> Result<AnyEngine, String> {
    Ok(Box::new(Inline::new()))
}

fn ipsec_mb() -> Result<AnyEngine, String> {
    IpsecMb::open().map(|engine| Box::new(engine) as AnyEngine).map_err(|why| why.to_string())
}

fn workers() -> Result<AnyEngine, String> {
    let workers = Workers::builder().threads(1).build();
    workers.map(|engine| Box::new(engine) as AnyEngine).map_err(|why| why.to_string())
}

fn router() -> Result<AnyEngine, String> {
    let workers = Workers::builder().threads(1).build().map_err(|why| why.to_string())?;
    let router = Router::builder().build(workers);
    router.map(|engine| Box::new(engine) as AnyEngine).map_err(|why| why.to_string())
}

/// All rows of the suites at the payloads, neighbours where they are compared.
pub(super) fn all(suites: &[Suite], payloads: &[usize], ring_bytes: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for (&payload_bytes, &suite) in payloads.iter().flat_map(|p| suites.iter().map(move |s| (p, s)))
    {
        for batch in [BATCH, 1] {
            let shape = Shape { suite, payload_bytes, batch, ring_bytes };
            rows.extend(PARTS.into_iter().filter_map(|part| row(part, shape, 1)));
        }
        let shape = Shape { suite, payload_bytes, batch: BATCH, ring_bytes };
        rows.extend(PARTS.into_iter().filter_map(|part| row(part, shape, 2)));
    }
    rows
}

/// The row's name.
pub(super) fn name(engine: &str, shape: Shape, cores: usize) -> String {
    let (suite, bytes) = (shape.suite.name(), shape.payload_bytes);
    let behind = match (shape.batch, cores) {
        (1, _) => "/batch-1",
        (_, 1) => "",
        _ => "/cores-2",
    };
    format!("{engine}/{suite}/{bytes}{behind}")
}

/// The row, if there is one of this kind: bare calls know neither batches nor cores, but `raw` is
/// measured over the same memory as either batch, to be compared with both. What copies first is
/// compared with what does the same without a copy, and what opens with what opens: a bare call
/// with one, jobs with jobs.
fn row((engine, about, way, worker): Part, shape: Shape, cores: usize) -> Option<Row> {
    let many = shape.batch > 1;
    let is_there = match (way, worker) {
        (Way::Copied | Way::Opened, _) => cores == 1 && many,
        (Way::Apart, Worker::Bare(_)) => cores == 1 && (many || engine == "raw"),
        (Way::Apart, Worker::Engine(_)) => true,
        (Way::Apart, Worker::Crew(_)) => cores == 1,
    };
    if !is_there {
        return None;
    }
    let to = match (way, worker) {
        (Way::Opened, Worker::Crew(_)) => "inline-open",
        (Way::Opened, _) => "raw-open",
        (Way::Copied, _) | (_, Worker::Crew(_)) => "inline",
        _ if cores > 1 => engine,
        _ => "raw",
    };
    let compared_to = name(to, shape, 1);
    let work: Work = Box::new(move |_, _, duration| {
        let sample = match (worker, cores) {
            (Worker::Bare(call), _) => ring::bare(shape, way, call, duration),
            (Worker::Engine(open) | Worker::Crew(open), 1) => {
                lane::one_engine(shape, way, open()?, duration)
            }
            (Worker::Engine(open) | Worker::Crew(open), _) => {
                lane::two_engines(shape, [open()?, open()?], duration)
            }
        };
        sample.map(Measured::from)
    });
    Some(Row {
        name: Cow::Owned(name(engine, shape, cores)),
        about,
        path: Path::Memory,
        payloads: Payloads::Fixed(shape.payload_bytes),
        segment_bytes: None,
        compared_to: Cow::Owned(compared_to),
        // `memcpy` and `memcpy-inline` copy, and then seal in place.
        copies_per_byte: if engine.starts_with("memcpy") { 2.0 } else { 1.0 },
        sealing: Some(Sealing {
            engine: engine.to_owned(),
            suite: shape.suite.name().to_owned(),
            batch: shape.batch,
            cores: if matches!(worker, Worker::Crew(_)) { 2 } else { cores },
        }),
        tls: None,
        work,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::rows::Destination;

    #[test]
    fn the_rows_of_the_bench_are_there_by_name() {
        let rows = all(&Suite::ALL, &[64, 1_350, 4_096, 16_384], 1 << 18);
        for name in [
            "raw/aes-128-gcm/64",
            "raw/aes-128-ccm/1350/batch-1",
            "memcpy/aes-256-gcm/16384",
            "memcpy-inline/aes-256-gcm/16384",
            "inline/aes-128-gcm/16384",
            "inline/chacha20-poly1305/1350/batch-1",
            "workers/aes-256-gcm/16384",
            "inline/aes-256-gcm/16384/cores-2",
            "ipsec-mb/aes-128-ccm/4096",
            "ipsec-mb/chacha20-poly1305/16384/cores-2",
            "raw-open/aes-128-gcm/64",
            "workers-open/aes-128-ccm/16384",
        ] {
            assert_eq!(rows.iter().filter(|row| row.name == name).count(), 1, "{name}");
        }
        for row in &rows {
            assert!(rows.iter().any(|other| other.name == row.compared_to), "{}", row.name);
        }
    }

    #[test]
    fn each_row_seals_or_opens_what_it_counts() {
        let nowhere = Destination { address: ([127, 0, 0, 1], 9).into(), device: String::new() };
        for mut row in all(&Suite::ALL, &[100], 4_000) {
            match (row.work)(&nowhere, 100, Duration::from_micros(100)) {
                Ok(Measured { sample, .. }) => {
                    assert_eq!(sample.bytes, sample.messages * 100, "{}", row.name)
                }
                Err(why) => assert!(row.name.starts_with("ipsec-mb"), "{}: {why}", row.name),
            }
        }
    }
}
