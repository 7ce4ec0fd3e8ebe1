//! What `--json` and `--stats` say about a transfer.

use std::fmt::Write as _;
use std::time::Duration;

use sealift::io::Stats;
use serde::Serialize;

use super::connection::Peer;
use super::inflow::Figures;
use super::sealed::Agreed;
use crate::quantity;
use crate::terminal::shown;

/// The outcome of a transfer. Every key is always there but `error`, which a failure adds.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// `send` or `receive`.
    pub(crate) command: &'static str,
    pub(crate) version: &'static str,
    pub(crate) url: String,
    /// Who was at the other end; null if nobody came.
    pub(crate) peer: Option<String>,
    /// What was read or written: a path, `standard input`, `standard output`.
    pub(crate) file: String,
    /// Bytes that were sent, or that arrived at the destination.
    pub(crate) bytes: u64,
    /// From the connection to the end.
    pub(crate) seconds: f64,
    pub(crate) bytes_per_second: f64,
    /// The share of the sent bytes that nobody copied after they were read; null when receiving,
    /// and after a failure.
    pub(crate) zerocopied_fraction: Option<f64>,
    /// Copies of each byte between file and wire: those of the kernel's sending or receiving. Null
    /// after a failed sending.
    pub(crate) copies_per_byte: Option<f64>,
    /// The sender's counters; null when receiving.
    pub(crate) sending: Option<Stats>,
    /// The receiver's counters; null when sending.
    pub(crate) receiving: Option<Figures>,
    /// What TLS did; null where it was not asked to.
    pub(crate) tls: Option<Tls>,
    /// Bytes that the other end of a `send` sent, which were thrown away.
    pub(crate) discarded_bytes: u64,
    /// Whether the source was written to while it was sent.
    pub(crate) source_changed: bool,
    /// Whether a failed `receive --keep-partial` left what came under the final name.
    pub(crate) kept_partial: bool,
    /// Why it failed, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// TLS in figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Tls {
    #[serde(flatten)]
    pub(crate) agreed: Agreed,
    /// How often each byte was touched between the source and the kernel: once, by the seal.
    pub(crate) copies_per_byte_sealed: f64,
    /// How often each byte was touched between the kernel and what is written: once, by opening it.
    pub(crate) copies_per_byte_opened: f64,
    /// The stream's counters.
    pub(crate) stats: sealift::tls::Stats,
}

impl Tls {
    pub(super) fn new(agreed: Agreed, stats: sealift::tls::Stats) -> Self {
        Self {
            agreed,
            copies_per_byte_sealed: stats.copies_per_byte_sealed(),
            copies_per_byte_opened: stats.copies_per_byte_opened(),
            stats,
        }
    }

    /// What this end did with the records, and its name.
    fn work(&self, sends: bool) -> (&'static str, String) {
        let stats = &self.stats;
        if sends {
            let copies = self.copies_per_byte_sealed;
            let by = stats.sealing.map_or(String::new(), |by| format!(", by {}", by.engine));
            let done = format!("{} records, {copies:.3} copies per byte{by}", stats.records_sealed);
            return ("sealed", done);
        }
        let (records, direct) = (stats.records_opened, stats.records_opened_direct);
        let copies = self.copies_per_byte_opened;
        (
            "opened",
            format!("{records} records, {direct} of them direct, {copies:.3} copies per byte"),
        )
    }
}

impl Report {
    pub(crate) fn new(command: &'static str, url: String) -> Self {
        Self { command, version: env!("CARGO_PKG_VERSION"), url, ..Self::default() }
    }

    /// Notes where the two ends met.
    pub(crate) fn met(&mut self, url: &str, peer: &Peer) {
        self.url = url.to_owned();
        self.peer = Some(peer.to_string());
    }

    /// Notes how long it took.
    pub(crate) fn took(&mut self, time: Duration) {
        self.seconds = time.as_secs_f64();
        if self.seconds > 0.0 {
            self.bytes_per_second = self.bytes as f64 / self.seconds;
        }
    }

    /// Notes how the bytes left. After a failure a reset purged what was queued: the sender has it
    /// back, but it was never sent.
    pub(crate) fn sent(&mut self, stats: Stats, is_done: bool) {
        self.zerocopied_fraction = is_done.then(|| stats.zero_copied_fraction());
        self.copies_per_byte = is_done.then(|| stats.copies_per_byte());
        self.sending = Some(stats);
    }

    /// One line for a person who watched.
    pub(crate) fn summary(&self, how: &str) -> String {
        let how = if how.is_empty() { String::new() } else { format!(", {how}") };
        format!(
            "{} {} in {}, {}/s{how}",
            if self.command == "send" { "sent" } else { "received" },
            quantity::bytes(self.bytes as f64),
            quantity::duration(Duration::from_secs_f64(self.seconds)),
            quantity::bytes(self.bytes_per_second)
        )
    }

    /// The report as one line of JSON.
    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self).map(|line| line + "\n")
    }

    /// The figures as a table.
    pub(crate) fn stats(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<21}{}", shown(&value));
        };
        line("url", self.url.clone());
        line("peer", self.peer.clone().unwrap_or_else(|| "none".into()));
        line("file", self.file.clone());
        line("bytes", self.bytes.to_string());
        line("seconds", format!("{:.3}", self.seconds));
        line("rate", format!("{}/s", quantity::bytes(self.bytes_per_second)));
        if let Some(tls) = &self.tls {
            line("protocol", format!("{}, {}", tls.agreed.version, tls.agreed.suite));
            let (name, done) = tls.work(self.sending.is_some());
            line(name, done);
            line("records", tls.stats.makers.to_string());
            let (sent, received) = (tls.stats.key_updates_sent, tls.stats.key_updates_received);
            line("key updates", format!("{sent} sent, {received} received"));
        }
        if let Some(figures) = &self.receiving {
            let why = figures.reason.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            line("way", format!("{}{why}", figures.way));
            line("copies per byte", format!("{:.3}", figures.copies_per_byte));
            let calls = (figures.system_calls, figures.system_calls_per_byte);
            line("system calls", format!("{} ({:.2e} per byte)", calls.0, calls.1));
        }
        if self.discarded_bytes > 0 {
            line("bytes discarded", self.discarded_bytes.to_string());
        }
        if let Some(stats) = &self.sending {
            text += &format!("{stats}\n");
        }
        text
    }
}
