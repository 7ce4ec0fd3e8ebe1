//! Two ends that meet: one connects, the other listens until somebody comes with whom it agrees;
//! over TLS that is not whoever comes first (`reception.rs`).

use std::time::{Duration, Instant};

use super::connection::{Connection, Peer};
use super::reception::{Reception, Welcome};
use super::sealed::{Handshake, Sealed};
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

/// Connects to the other end, or waits for it, and agrees with it by `handshake`, if there is to be
/// one; says where, with the port that was got.
pub(super) fn meet(
    url: &Endpoint,
    listens: bool,
    args: &TransferArgs,
    terminal: &Terminal,
    progress: &Progress,
    tell: impl FnOnce(&Endpoint),
    handshake: Option<&Handshake<'_>>,
) -> Result<(Met, String), Failure> {
    if !listens {
        progress.wait_for(&format!("connecting to {url}"));
        let (connection, url) = (connect::connect(url, args.timeout)?, url.to_string());
        let Some(handshake) = handshake else { return Ok((Met::Plain(connection), url)) };
        return match handshake.shake(connection, &url) {
            Ok(sealed) => Ok((Met::Sealed(Box::new(sealed)), url)),
            Err(Missed::Them(failure) | Missed::Here(failure)) => Err(failure),
        };
    }
    // What visitors take is there before anybody is told where to come.
    let welcome = handshake.map(|handshake| Welcome::new(handshake, terminal)).transpose()?;
    let (listener, got) = listen::listen(url)?;
    if url.wants_any_port() {
        terminal.say(&format!("listening on {got}"));
    }
    tell(&got);
    progress.wait_for(&format!("listening on {got}"));
    let limit = args.timeout.filter(|time| !time.is_zero());
    let deadline: Deadline = limit.map(|time| (Instant::now() + time, time));
    let (listener, url) = (&listener, &got);
    let met = match &welcome {
        None => Met::Plain(listener.accept(url, deadline, terminal)?),
        Some(welcome) => {
            let reception = Reception { listener, url, deadline, welcome };
            Met::Sealed(Box::new(reception.meet()?))
        }
    };
    Ok((met, got.to_string()))
}
