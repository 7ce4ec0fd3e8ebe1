//! What a bench can measure: one entry per row of its table. The rows here are of `bench send`.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use sealift::io::baseline::{self, Baseline, Sample, TRAIN_BYTES, Wire};
use serde::{Deserialize, Serialize};

use super::seal::rows::Sealing;
use super::tls::rows::{Figures, Shape};

/// Where datagrams go: a device that frees each packet without copying it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    /// The peer's address; nobody is there, and nobody needs to be.
    pub(crate) address: SocketAddr,
    /// What kind of device the packets end in: `dummy`, `ifb` or `bridge`.
    pub(crate) device: String,
}

/// Runs a row once: so many bytes a message, for so long.
pub(crate) type Work = Box<dyn FnMut(&Destination, usize, Duration) -> Result<Measured, String>>;

/// What one run of a row found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    pub(crate) sample: Sample,
    /// What a row of `bench tls` found beside it.
    pub(crate) tls: Option<Figures>,
}

impl From<Sample> for Measured {
    fn from(sample: Sample) -> Self {
        Self { sample, tls: None }
    }
}

/// The way that a row's messages take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Path {
    /// To the device that does not copy.
    Sink,
    /// Over loopback, where the kernel always copies: for contrast.
    Loopback,
    /// Nowhere: from memory to memory.
    Memory,
}

/// The sizes at which a row is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payloads {
    /// At each size of the sweep.
    Sweep,
    /// At the largest size of the sweep.
    Largest,
    /// At this size, whatever the sweep.
    Fixed(usize),
}

/// One row: a name that scripts compare by, and how to run it.
pub(crate) struct Row {
    pub(crate) name: Cow<'static, str>,
    /// What it does, in one line.
    pub(crate) about: &'static str,
    pub(crate) path: Path,
    pub(crate) payloads: Payloads,
    /// The size of the datagrams that a message is cut into, where it is.
    pub(crate) segment_bytes: Option<u16>,
    /// The row at the same payload that this one is compared to.
    pub(crate) compared_to: Cow<'static, str>,
    /// Copies of each byte that nobody avoids.
    pub(crate) copies_per_byte: f64,
    /// What is sealed and by whom, if the row is of `bench seal`.
    pub(crate) sealing: Option<Sealing>,
    /// What kind of connections, if the row is of `bench tls`.
    pub(crate) tls: Option<Shape>,
    pub(crate) work: Work,
}

impl Row {
    /// A row that is measured at each size of the sweep, on the sink.
    pub(crate) fn swept(name: &'static str, about: &'static str, work: Work) -> Self {
        Self {
            name: name.into(),
            about,
            path: Path::Sink,
            payloads: Payloads::Sweep,
            segment_bytes: None,
            compared_to: "msg-zerocopy".into(),
            copies_per_byte: 1.0,
            sealing: None,
            tls: None,
            work,
        }
    }

    fn bare(bare: Baseline) -> Self {
        let work: Work = Box::new(move |destination, payload_bytes, duration| {
            let sample = bare.run(destination.address, payload_bytes, duration);
            sample.map(Measured::from).map_err(|error| error.to_string())
        });
        let swept = Self::swept(bare.name(), bare.about(), work);
        match bare.wire() {
            Wire::Udp => swept,
            Wire::UdpTrains => Self {
                payloads: Payloads::Fixed(TRAIN_BYTES),
                segment_bytes: Some(baseline::SEGMENT_BYTES),
                compared_to: "gso-copy".into(),
                ..swept
            },
            Wire::TcpLoopback => Self {
                path: Path::Loopback,
                payloads: Payloads::Largest,
                compared_to: "tcp-copy".into(),
                ..swept
            },
        }
    }
}

/// The bare loops: what the library is compared against.
pub(crate) fn baselines() -> Vec<Row> {
    baseline::ALL.into_iter().map(Row::bare).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_the_bench_are_there_by_name() {
        let rows = baselines();
        for name in [
            "copy",
            "msg-zerocopy",
            "msg-zerocopy-batched",
            "uring-copy-8",
            "uring-zc-1",
            "uring-zc-8",
            "uring-zc-fixed-1",
            "uring-zc-fixed-8",
            "uring-zc-fixed-best",
            "gso-copy",
            "gso-msg-zerocopy",
            "gso-uring-zc-fixed",
            "tcp-copy",
            "tcp-msg-zerocopy",
            "tcp-uring-zc-fixed-8",
        ] {
            assert_eq!(rows.iter().filter(|row| row.name == name).count(), 1, "{name}");
        }
    }

    #[test]
    fn each_row_is_compared_to_a_row_that_is_there() {
        let rows = baselines();
        for row in &rows {
            assert!(rows.iter().any(|other| other.name == row.compared_to), "{}", row.name);
        }
    }
}
