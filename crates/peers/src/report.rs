//! What a comparison found. Each has rows of its own.

use serde::Serialize;

use crate::host::Host;

/// All that was found. The shape is that of `sealift bench --json`.
#[derive(Clone, Debug, Serialize)]
pub struct Report<R> {
    /// Which comparison: `transfer`, `http` or `tls`.
    pub bench: &'static str,
    /// The version of Sealift.
    pub version: &'static str,
    /// What it was measured on.
    pub host: Host,
    /// Of whatever speaks TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suite: Option<&'static str>,
    /// Measurements of each row that count.
    pub rounds: u32,
    /// One for each thing that was measured.
    pub rows: Vec<R>,
}

impl<R> Report<R> {
    /// A report on these rows, which were measured here.
    pub fn new(
        bench: &'static str,
        suite: Option<&'static str>,
        rounds: u32,
        rows: Vec<R>,
    ) -> Self {
        Self { bench, version: env!("CARGO_PKG_VERSION"), host: Host::here(), suite, rounds, rows }
    }
}
