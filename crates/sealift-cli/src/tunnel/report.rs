//! What `--json` and `--stats` say about a tunnel.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::figures::Figures;
use super::outcome::Outcome;
use crate::quantity;
use crate::terminal::shown;

/// What a tunnel did. Every key is always there but `error`, which a failure adds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    command: &'static str,
    version: &'static str,
    /// With the port that was got.
    pub(super) listen: String,
    target: String,
    pub(super) seconds: f64,
    connections: u64,
    /// Connections by how they ended.
    outcomes: Map<String, Value>,
    #[serde(flatten)]
    counts: Map<String, Value>,
    /// Why it failed, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

impl Report {
    pub(super) fn new(listen: String, target: String) -> Self {
        Self {
            command: "tunnel",
            version: env!("CARGO_PKG_VERSION"),
            listen,
            target,
            seconds: 0.0,
            connections: 0,
            outcomes: Map::new(),
            counts: Map::new(),
            error: None,
        }
    }

    /// Notes the final figures.
    pub(super) fn take(&mut self, figures: &Figures, time: Duration) {
        let number = |(name, count): (&str, u64)| (name.to_owned(), count.into());
        self.seconds = time.as_secs_f64();
        self.connections = figures.accepted.get();
        let outcomes = Outcome::ALL.map(|one| (one.name(), figures.finished_as(one).get()));
        self.outcomes = outcomes.into_iter().map(number).collect();
        self.counts = figures.counts().into_iter().map(number).collect();
    }

    /// One line for a person who watched.
    pub(super) fn summary(&self) -> String {
        let bytes = |name| {
            let count = self.counts.get(name).and_then(Value::as_u64).unwrap_or(0);
            quantity::bytes(count as f64)
        };
        format!(
            "{} in {}: {} sealed, {} opened",
            quantity::connections(self.connections),
            quantity::duration(Duration::from_secs_f64(self.seconds)),
            bytes("bytes_sealed"),
            bytes("bytes_opened")
        )
    }

    /// The report as one line of JSON.
    pub(super) fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self).map(|line| line + "\n")
    }

    /// The figures as a table.
    pub(super) fn stats(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:<24}{}", name.replace('_', " "), shown(value));
        };
        line("listen", &self.listen);
        line("target", &self.target);
        line("seconds", &format!("{:.3}", self.seconds));
        line("connections", &self.connections.to_string());
        let happened = self.outcomes.iter().filter(|(_, count)| count.as_u64() != Some(0));
        let happened = happened.map(|(name, count)| (format!("  {name}"), count));
        let counts = self.counts.iter().map(|(name, count)| (name.clone(), count));
        happened.chain(counts).for_each(|(name, count)| line(&name, &count.to_string()));
        text
    }
}
