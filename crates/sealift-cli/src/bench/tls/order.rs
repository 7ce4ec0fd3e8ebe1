//! What the two processes of a run tell each other: one JSON object a line, over the pipes of the
//! far one.

use std::io::{BufRead, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What moves the data, at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// TCP without TLS.
    Plain,
    /// TLS, sealed and opened by whoever writes and reads.
    TlsInline,
    /// TLS, sealed and opened by the `Workers` engine.
    TlsWorkers,
    /// TLS, sealed and opened by the `IpsecMb` engine.
    TlsIpsecMb,
}

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Exchange {
    /// So many bytes one way over so many connections, in writes of this size.
    Bulk { connections: usize, bytes: u64, write_bytes: usize },
    /// One byte there and back, so often.
    PingPong { trips: u64 },
}

/// The near end's first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) kind: Kind,
    pub(super) exchange: Exchange,
}

/// The far end's first word: where it listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Greeting {
    pub(super) port: u16,
    /// The pin of the key that it made; null without TLS.
    pub(super) pin: Option<String>,
}

/// The far end's second word: every connection is there, and its handshake is over.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Ready {}

/// The far end's last word: everything has come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) bytes: u64,
    /// Of the whole process, since it was ready.
    pub(super) cpu_seconds: f64,
    /// Outside of the kernel; the opening of a record counts as one.
    pub(super) copies_per_byte: f64,
}

impl Kind {
    /// All, the one first that the others are compared to.
    pub(super) const ALL: [Self; 4] =
        [Self::Plain, Self::TlsInline, Self::TlsWorkers, Self::TlsIpsecMb];

    /// As rows are named.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::TlsInline => "tls-inline",
            Self::TlsWorkers => "tls-workers",
            Self::TlsIpsecMb => "tls-ipsec-mb",
        }
    }
}

impl Exchange {
    pub(super) fn connections(self) -> usize {
        match self {
            Self::Bulk { connections, .. } => connections,
            Self::PingPong { .. } => 1,
        }
    }

    /// The bytes that the far end gets.
    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::Bulk { bytes, .. } => bytes,
            Self::PingPong { trips } => trips,
        }
    }
}

/// Says one thing.
pub(super) fn say(to: &mut impl Write, what: &impl Serialize) -> Result<(), String> {
    let mut line = serde_json::to_string(what).map_err(|error| error.to_string())?;
    line.push('\n');
    let said = to.write_all(line.as_bytes()).and_then(|()| to.flush());
    said.map_err(|error| format!("the other end takes no word: {error}"))
}

/// Hears one thing.
pub(super) fn hear<T: DeserializeOwned>(from: &mut impl BufRead) -> Result<T, String> {
    let mut line = String::new();
    match from.read_line(&mut line) {
        Ok(0) => Err("the other end has gone without a word".to_owned()),
        Ok(_) => serde_json::from_str(&line).map_err(|_| format!("it said: {}", line.trim())),
        Err(error) => Err(format!("the other end cannot be heard: {error}")),
    }
}

/// The processor time that this process has had, all its threads together.
pub(super) fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
