//! What each tool is expected to show, and what came of it, as a table.
//!
//! 1. [`why_not`] says of each cell whether it can be shown at all. It looks at nothing but the
//!    case, so that a cell never comes to be left out.
//! 2. A row is finished only when every other cell was proved; else the test fails.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;

use crate::case::{Case, SUITES, Tool, VERSIONS, Version};
use crate::support::KeyKind;

/// What is shown of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// What either end sends arrives, byte for byte; both agree on version and suite.
    Data,
    /// We update our key, and it answers with its own update, while data goes both ways.
    OurKeyUpdate,
    /// It updates its key and asks us to, which we do.
    ItsKeyUpdate,
    /// A later connection resumes an earlier one.
    Ticket,
    /// The server demands the client's certificate, and gets it.
    Certificate,
    /// The server asks for one, and the client has none: it goes on.
    NoCertificate,
    /// The server demands one, and the client has none: a clear error here.
    Missing,
    /// We send close_notify, and get what it sends afterwards.
    WeEndFirst,
    /// It sends close_notify, and gets what we send afterwards.
    ItEndsFirst,
}

use Feature::{
    Certificate, Data, ItEndsFirst, ItsKeyUpdate, Missing, NoCertificate, OurKeyUpdate, Ticket,
    WeEndFirst,
};

const FEATURES: [(Feature, &str); 9] = [
    (Data, "data"),
    (OurKeyUpdate, "our KeyUpdate"),
    (ItsKeyUpdate, "its KeyUpdate"),
    (Ticket, "ticket"),
    (Certificate, "client cert"),
    (NoCertificate, "asked, none"),
    (Missing, "demanded, none"),
    (WeEndFirst, "we end first"),
    (ItEndsFirst, "it ends first"),
];

/// Why a tool cannot show a feature; `None` if it has to (invariant 1).
pub fn why_not(case: &Case, feature: Feature) -> Option<&'static str> {
    match (feature, case.tool) {
        (OurKeyUpdate | ItsKeyUpdate, _) if case.version == Version::Tls12 => {
            Some("TLS 1.2 has no KeyUpdate")
        }
        (ItsKeyUpdate, Tool::Tstclnt | Tool::Selfserv) => {
            Some("NSS's tools have no command for it")
        }
        (WeEndFirst, Tool::SClient | Tool::GnutlsCli) => {
            Some("sends nothing any more once we have ended")
        }
        (WeEndFirst, Tool::GnutlsServ | Tool::Selfserv) => {
            Some("may close with our close_notify unread, which resets the connection")
        }
        (ItEndsFirst, Tool::SClient | Tool::SServer | Tool::GnutlsServ | Tool::Selfserv) => {
            Some("reads nothing any more once it has ended")
        }
        (ItEndsFirst, Tool::Tstclnt) => Some("never ends before we do"),
        _ => None,
    }
}

/// The same of a kind of key in the certificates of both ends.
pub fn why_not_key(tool: Tool, kind: KeyKind) -> Option<&'static str> {
    (tool.is_of_nss() && kind == KeyKind::Ed25519).then_some("NSS has no Ed25519 in TLS")
}

/// The features of a case that were proved so far.
pub struct Row<'a> {
    case: &'a Case,
    proved: Vec<Feature>,
}

impl<'a> Row<'a> {
    pub fn new(case: &'a Case) -> Self {
        Self { case, proved: Vec::new() }
    }

    /// Whether a feature has to be shown.
    pub fn wants(&self, feature: Feature) -> bool {
        why_not(self.case, feature).is_none()
    }

    /// A feature was shown, once.
    pub fn proved(&mut self, feature: Feature) {
        assert!(self.wants(feature) && !self.proved.contains(&feature), "{feature:?}");
        self.proved.push(feature);
    }

    /// The cells, all of them accounted for (invariant 2).
    pub fn finish(self) -> Vec<Cell> {
        let cell = |(feature, _): (Feature, _)| match why_not(self.case, feature) {
            Some(reason) => Cell::Cannot(reason),
            None if self.proved.contains(&feature) => Cell::Proved,
            None => panic!("{:?}: {feature:?} was not tried", self.case),
        };
        FEATURES.map(cell).to_vec()
    }
}

/// What a table says in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    Proved,
    Cannot(&'static str),
}

/// Rows under headings, with the reasons below.
pub struct Table {
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<(String, Vec<Cell>)>,
}

impl Table {
    /// The table of all versions and suites with one tool.
    pub fn of_features(tool: Tool) -> Self {
        Self::new(tool, "versions, suites, features", FEATURES.map(|(_, name)| name).to_vec())
    }

    /// The table of all versions and kinds of keys with one tool.
    pub fn of_keys(tool: Tool) -> Self {
        Self::new(tool, "keys of both certificates", KeyKind::ALL.map(KeyKind::name).to_vec())
    }

    fn new(tool: Tool, what: &str, columns: Vec<&'static str>) -> Self {
        let ours = if tool.is_server() { "client" } else { "server" };
        let title = format!("{} and our {ours}: {what}", tool.name());
        Self { title, columns, rows: Vec::new() }
    }

    pub fn add(&mut self, name: String, cells: Vec<Cell>) {
        assert_eq!(cells.len(), self.columns.len());
        self.rows.push((name, cells));
    }

    /// Prints it, and adds it to what the run prints at its end (`SEALIFT_TABLES`).
    pub fn publish(&self) {
        let text = self.render();
        println!("{text}");
        let Some(path) = std::env::var_os("SEALIFT_TABLES") else { return };
        let mut tables = OpenOptions::new().create(true).append(true).open(path).unwrap();
        // One write, so that the tables of tests that run at once do not mix.
        tables.write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    fn render(&self) -> String {
        let first = self.rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut reasons: Vec<&str> = Vec::new();
        let mut text = format!("{}\n{:first$}", self.title, "");
        for column in &self.columns {
            write!(text, "  {column}").unwrap();
        }
        for (name, cells) in &self.rows {
            write!(text, "\n{name:first$}").unwrap();
            for (cell, column) in cells.iter().zip(&self.columns) {
                let word = match cell {
                    Cell::Proved => "ok".to_owned(),
                    Cell::Cannot(reason) => format!("- ({})", number(&mut reasons, reason)),
                };
                write!(text, "  {word:width$}", width = column.len()).unwrap();
            }
            text.truncate(text.trim_end().len());
        }
        for (at, reason) in reasons.iter().enumerate() {
            write!(text, "\n  ({}) {reason}", at + 1).unwrap();
        }
        text + "\n"
    }
}

/// The number of a reason under the table.
fn number<'a>(reasons: &mut Vec<&'a str>, reason: &'a str) -> usize {
    let at = reasons.iter().position(|other| *other == reason).unwrap_or_else(|| {
        reasons.push(reason);
        reasons.len() - 1
    });
    at + 1
}

#[test]
fn a_cell_is_proved_or_has_its_reason() {
    let case = |tool, version| {
        let (suite, keys) = (SUITES[0], KeyKind::P256);
        Case { tool, version, suite, keys }
    };
    let mut table = Table::of_features(Tool::Selfserv);
    for version in VERSIONS {
        let case = case(Tool::Selfserv, version);
        let mut row = Row::new(&case);
        let wanted = FEATURES.iter().filter(|(feature, _)| why_not(&case, *feature).is_none());
        wanted.for_each(|(feature, _)| row.proved(*feature));
        table.add(version.name().to_owned(), row.finish());
    }
    let text = table.render();
    assert!(text.contains("\nTLS 1.3  ok    ok             - (4)  "), "{text}");
    assert!(text.contains("\n  (1) TLS 1.2 has no KeyUpdate\n  (2) may close"), "{text}");
    let case = case(Tool::SServer, Version::Tls13);
    let unfinished = std::panic::catch_unwind(|| Row::new(&case).finish());
    assert!(unfinished.is_err(), "a row with nothing proved is no row");
}
