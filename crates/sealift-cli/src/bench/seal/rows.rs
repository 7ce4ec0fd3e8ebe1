//! What `bench seal` can measure: `ENGINE/SUITE/BYTES`, and `/batch-1` or `/cores-2` behind it.

use std::borrow::Cow;

use sealift::crypto::baseline::Bare;
use sealift::crypto::{Inline, IpsecMb, Router, Suite, Workers};
use serde::{Deserialize, Serialize};

use super::ring::{self, AnyEngine, Call, Shape, Way};
use crate::bench::rows::{Measured, Path, Payloads, Row, Work};

/// Messages in a job of many.
pub(super) const BATCH: usize = 32;

/// What a row of `bench seal` has that one of `bench send` has not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sealing {
    /// The engine's name, or `raw`, `memcpy` or `memcpy-inline`.
    pub(crate) engine: String,
    /// The suite's name.
    pub(crate) suite: String,
    /// Messages handed over together.
    pub(crate) batch: usize,
    /// Cores that seal at a time.
    pub(crate) cores: usize,
}

/// Who does the work of a row.
#[derive(Clone, Copy)]
enum Worker {
    Bare(Call),
    /// An engine in place, behind a copy.
    Copied(fn() -> Result<AnyEngine, String>),
    Engine(fn() -> Result<AnyEngine, String>),
    /// An engine that has another core of its own.
    Crew(fn() -> Result<AnyEngine, String>),
}

/// Name, what it does, and who does it.
const WORKERS: [(&str, &str, Worker); 7] = [
    ("raw", "the bare library call, out of place", Worker::Bare(Bare::seal)),
    ("memcpy", "memcpy, then the bare library call in place", Worker::Bare(Bare::copy_and_seal)),
    ("memcpy-inline", "memcpy, then the Inline engine in place", Worker::Copied(inline)),
    ("inline", "the Inline engine: aws-lc, AES-CCM by the ccm crate", Worker::Engine(inline)),
    ("ipsec-mb", "the IpsecMb engine: Intel's multi-buffer library", Worker::Engine(ipsec_mb)),
    (
        "workers",
        "the Workers engine: one thread of its own, and the caller's",
        Worker::Crew(workers),
    ),
    ("router", "the Router over Workers: each job where it is sooner", Worker::Crew(router)),
];

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
            rows.extend(WORKERS.map(|worker| row(worker, shape, 1)).into_iter().flatten());
        }
        let shape = Shape { suite, payload_bytes, batch: BATCH, ring_bytes };
        rows.extend(WORKERS.map(|worker| row(worker, shape, 2)).into_iter().flatten());
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

/// The row, if that worker has one of this kind: bare calls know neither batches nor cores, but
/// `raw` is measured over the same memory as either batch, to be compared with both. What copies
/// first is compared with what does the same without a copy: a bare call with one, jobs with jobs.
fn row(
    (engine, about, worker): (&'static str, &'static str, Worker),
    shape: Shape,
    cores: usize,
) -> Option<Row> {
    let many = shape.batch > 1;
    let is_there = match worker {
        Worker::Bare(_) => cores == 1 && (many || engine == "raw"),
        Worker::Copied(_) => cores == 1 && many,
        Worker::Engine(_) => true,
        Worker::Crew(_) => cores == 1,
    };
    if !is_there {
        return None;
    }
    let to = match worker {
        Worker::Crew(_) | Worker::Copied(_) => "inline",
        _ if cores > 1 => engine,
        _ => "raw",
    };
    let compared_to = name(to, shape, 1);
    let work: Work = Box::new(move |_, _, duration| {
        let sample = match (worker, cores) {
            (Worker::Bare(call), _) => ring::bare(shape, call, duration),
            (Worker::Copied(open), _) => ring::one_engine(shape, Way::Copied, open()?, duration),
            (Worker::Engine(open) | Worker::Crew(open), 1) => {
                ring::one_engine(shape, Way::Apart, open()?, duration)
            }
            (Worker::Engine(open) | Worker::Crew(open), _) => {
                ring::two_engines(shape, [open()?, open()?], duration)
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
        ] {
            assert_eq!(rows.iter().filter(|row| row.name == name).count(), 1, "{name}");
        }
        for row in &rows {
            assert!(rows.iter().any(|other| other.name == row.compared_to), "{}", row.name);
        }
    }

    #[test]
    fn each_row_seals_what_it_counts() {
        let nowhere = Destination { address: ([127, 0, 0, 1], 9).into(), device: String::new() };
        for mut row in all(&Suite::ALL, &[100], 4_000) {
            match (row.work)(&nowhere, 100, Duration::from_micros(100)) {
                Ok(Measured { sample, .. }) => {
                    assert_eq!(sample.bytes, sample.messages * 100, "{}", row.name)
                }
                Err(why) => assert!(row.name.starts_with("ipsec-mb/"), "{}: {why}", row.name),
            }
        }
    }
}
