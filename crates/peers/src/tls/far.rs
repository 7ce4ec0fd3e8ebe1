//! The far end of a run, in a process of its own.

use std::io;
use std::sync::Arc;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::Kind;
use super::connections::{Done, Work, accept};
use super::content::Content;
use crate::child::{listen_for_parent, meet_parent, say};

/// What it does with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// Checks it.
    Take,
    /// Sends it back.
    Echo,
}

impl Way {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Take => "take",
            Self::Echo => "echo",
        }
    }
}

/// What it has to say when everything has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) bytes: u64,
    pub(super) copies_per_byte: Option<f64>,
    pub(super) suites: Vec<Option<String>>,
}

/// Serves so many connections, says what it found, and waits until the parent ends its input.
///
/// # Errors
/// If there is no parent process, a connection breaks, or other bytes come than should.
pub fn serve(kind: Kind, connections: usize, way: Way) -> io::Result<()> {
    let identity = meet_parent()?;
    let content = Arc::new(Content::to_check());
    let connections = accept(kind, listen_for_parent()?, connections, &identity)?;
    let suites = connections.suites();
    let done = connections.work(&|_| match way {
        Way::Take => Work::Take(content.clone()),
        Way::Echo => Work::Echo,
    });
    let Done { bytes, copies_per_byte, .. } = Done::sum(done?);
    say(&Found { bytes, copies_per_byte, suites })?;
    loop {
        std::thread::park();
    }
}
