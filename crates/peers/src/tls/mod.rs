//! Bytes over TLS streams of several libraries: what it costs either end, and how long one takes.
//!
//! ```text
//!  this process                                   another process: far
//!  rounds ─► near ─ Connections ══ loopback ═══► Connections ─► content: what came is checked
//!              │     threads: sealift │ openssl │ plain    │
//!              │     tasks:   tokio-rustls                 │
//!              ◄──── what was agreed on, and what came ────┘
//! ```
//!
//! The loads and the figures are those of `sealift bench tls`. Each library is used as its users
//! use it: blocking streams each have a thread, those of tokio-rustls a task of tokio's usual
//! runtime. Each measurement has a far end of its own, so that the processor time of either end is
//! its own. All agree on one suite, and a run whose two ends do not both say so is not reported.

mod connections;
mod content;
mod far;
mod load;
mod near;
mod report;
mod stream;
mod tasks;
mod threads;

use std::io;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub use far::{Way, serve};
pub use load::Load;
pub use report::Row;

use crate::report::Report;
use crate::rounds::measure_in_turns;
use crate::trust::Identity;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Each of these with each kind.
    pub loads: Vec<Load>,
    /// Measurements of each row.
    pub rounds: u32,
    /// What to measure them over.
    pub kinds: Vec<Kind>,
}

/// Whose stream it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `sealift::tls::TlsStream`, which seals and opens where it writes and reads.
    Sealift,
    /// `tokio_rustls::TlsStream`.
    TokioRustls,
    /// `openssl::ssl::SslStream`.
    Openssl,
    /// `std::net::TcpStream`: no TLS.
    Plain,
}

impl Kind {
    /// The row's name; scripts compare by it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sealift => "sealift",
            Self::TokioRustls => "tokio-rustls",
            Self::Openssl => "openssl",
            Self::Plain => "plain",
        }
    }

    /// What is measured, in one line.
    fn about(self) -> String {
        match self {
            Self::Sealift => "sealift's TlsStream, a thread for each".to_owned(),
            Self::TokioRustls => "tokio-rustls's TlsStream, a task for each, on tokio's usual \
                                  runtime"
                .to_owned(),
            Self::Openssl => {
                let version = openssl::version::version();
                format!("the openssl crate's SslStream, a thread for each; {version}")
            }
            Self::Plain => "TcpStream, a thread for each".to_owned(),
        }
    }
}

/// Measures all rows in turns. `progress` hears what is about to run.
///
/// # Errors
/// If no certificate can be made. A row that fails says so itself.
pub fn run(options: &Options, progress: &mut dyn FnMut(&str)) -> io::Result<Report<Row>> {
    let identity = Identity::new()?;
    // What is compared is measured close together.
    let of = |&load: &Load| options.kinds.iter().map(move |&kind| (load, kind));
    let rows: Vec<(Load, Kind)> = options.loads.iter().flat_map(of).collect();
    let names: Vec<String> = rows.iter().map(|(load, kind)| load.name(*kind)).collect();
    let outcomes = measure_in_turns(options.rounds, &names, progress, |index| {
        let (load, kind) = rows[index];
        near::measure(load, kind, &identity).map_err(|error| error.to_string())
    });
    Ok(report::of(options.rounds, &rows, &outcomes))
}
