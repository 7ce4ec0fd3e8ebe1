//! Two ends that meet: one connects, the other listens until somebody comes with whom it agrees.
//!
//! ```text
//!  listen ──► accept ──► shake hands ──► met
//!               ▲            │ failed: a warning
//!               └────────────┘ until --timeout
//! ```
//! A port that is open is visited by whoever scans it, and by who typed the wrong pin: neither ends
//! what is waited for. Visitors are served one at a time.

use std::time::{Duration, Instant};

use super::connection::{Connection, Peer};
use super::sealed::Sealed;
use super::{connect, listen};
use crate::args::TransferArgs;
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::terminal::Terminal;

/// The other end, and how it is talked to.
pub(super) enum Met {
    Plain(Connection),
    Sealed(Box<Sealed>),
}

impl Met {
    pub(super) fn peer(&self) -> &Peer {
        match self {
            Self::Plain(connection) => &connection.peer,
            Self::Sealed(sealed) => &sealed.peer,
        }
    }
}

/// Why somebody who was there was not met.
pub(super) enum Missed {
    /// It is about them: another may do better.
    Them(Failure),
    /// It is about this end, whoever comes.
    Here(Failure),
}

/// When a listening end gives up, and after which time that is.
pub(super) type Deadline = Option<(Instant, Duration)>;

/// Connects to the other end, or waits for it, and agrees with it as `greet` does; says where, with
/// the port that was got.
pub(super) fn meet(
    url: &Endpoint,
    listens: bool,
    args: &TransferArgs,
    terminal: &Terminal,
    progress: &Progress,
    tell: impl FnOnce(&Endpoint),
    greet: impl Fn(Connection, &str) -> Result<Met, Missed>,
) -> Result<(Met, String), Failure> {
    if !listens {
        progress.wait_for(&format!("connecting to {url}"));
        let (connection, url) = (connect::connect(url, args.timeout)?, url.to_string());
        return match greet(connection, &url) {
            Ok(met) => Ok((met, url)),
            Err(Missed::Them(failure) | Missed::Here(failure)) => Err(failure),
        };
    }
    let (listener, got) = listen::listen(url)?;
    if url.wants_any_port() {
        terminal.say(&format!("listening on {got}"));
    }
    tell(&got);
    progress.wait_for(&format!("listening on {got}"));
    let limit = args.timeout.filter(|time| !time.is_zero());
    let deadline: Deadline = limit.map(|time| (Instant::now() + time, time));
    let url = got.to_string();
    loop {
        let connection = listener.accept(&got, deadline)?;
        let visitor = connection.peer.clone();
        match greet(connection, &url) {
            Ok(met) => return Ok((met, url)),
            Err(Missed::Here(failure)) => return Err(failure),
            Err(Missed::Them(failure)) => terminal
                .say(&format!("warning: {failure}; that was {visitor}, and this end listens on")),
        }
    }
}
