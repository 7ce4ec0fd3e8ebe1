//! Transfers over TLS: the handshake, and what may go wrong from there on.
//!
//! ```text
//!  source ──read──► lease ──seal──► leases ──► kernel            sealed/outflow.rs, engine.rs
//!  target ◄─write── lease ◄─open─── received bytes ◄── kernel    sealed/inflow.rs
//! ```
//!
//! Invariants:
//! 1. close_notify is sent after the last byte of the source and after nothing else: an end that
//!    failed, or was killed, never sends it.
//! 2. Only close_notify is an end. Whatever else ends a connection is an error.

mod answers;
mod engine;
mod inflow;
mod outflow;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustls::{Error as RustlsError, ProtocolVersion};
use sealift::io::Backend;
use sealift::tls::{self, Ktls, TlsStream};
use serde::Serialize;

use super::connection::{Connection, Peer};
use crate::failure::{Action, Failure};
use crate::quantity::DURATION_MAX;
use crate::trust::{self, Role};
pub(super) use engine::{SealingEngine, engine};
pub(super) use inflow::SealedInflow;
pub(super) use outflow::SealedOutflow;

/// How long a handshake may take where nothing was said.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Records that are sealed into a frame before it is sent, and how many frames there are. Over
/// loopback, frames of a quarter of this cost a fifth of the rate: each send wakes the other end.
const FRAME_RECORDS: usize = 64;
const FRAMES: usize = 8;
/// The longest record that is sealed, in bytes: AES-GCM in TLS 1.2 adds the most (RFC 5288).
const RECORD_BYTES: usize = 5 + 8 + 16_384 + 16;

/// A connection on which both ends agreed.
#[derive(Debug)]
pub(super) struct Sealed {
    stream: TlsStream,
    /// The same socket, to watch it and to end it.
    socket: OwnedFd,
    peer: Peer,
    /// This end connected, and in TLS 1.3 does not know yet whether its certificate was taken.
    may_be_refused: bool,
    pub(super) agreed: Agreed,
}

/// What the two ends agreed on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Agreed {
    /// `TLS 1.2` or `TLS 1.3`.
    pub(crate) version: &'static str,
    /// The cipher suite by the name that the standards give it.
    pub(crate) suite: String,
}

/// Shakes hands within `timeout` (zero: for ever).
///
/// # Errors
/// Whom this end did not trust, or the other; what the connection died of.
pub(super) fn shake_hands(
    role: Role,
    connection: Connection,
    backend: Option<Backend>,
    engine: Option<SealingEngine>,
    ktls: Ktls,
    url: &str,
    timeout: Option<Duration>,
) -> Result<Sealed, Failure> {
    let Connection { socket, peer } = connection;
    let action = match &role {
        Role::Client { .. } => Action::Connect,
        Role::Server { .. } => Action::Accept,
    };
    let watched = socket.try_clone().map_err(|error| Failure::system(action, url, error))?;
    let timeout = timeout.unwrap_or(TIMEOUT);
    let deadline = Instant::now() + if timeout.is_zero() { DURATION_MAX } else { timeout };
    let frames = sealift::Pool::builder().frames(FRAMES).frame_bytes(FRAME_RECORDS * RECORD_BYTES);
    // Registered huge pages make a stream's packets weigh more than they are (`../outflow.rs`).
    let pool = frames.huge_pages(false).build();
    let pool = pool.map_err(|error| Failure::library(Action::SetUp, url, error))?;
    let mut builder = TlsStream::builder().pool(&pool).frames_in_flight(FRAMES).ktls(ktls);
    if let Some(backend) = backend {
        builder = builder.backend(backend);
    }
    if let Some(engine) = engine {
        builder = builder.sealing_engine(engine);
    }
    let is_client = matches!(role, Role::Client { .. });
    let shaken = match role {
        Role::Client { config, name } => builder.connect(socket, config, name, deadline),
        Role::Server { config, .. } => builder.accept(socket, config, deadline),
    };
    let stream = shaken.map_err(|error| match error {
        tls::Error::Deadline => Failure::NotInTime { action, url: url.to_owned(), after: timeout },
        error => failed(action, url, &error),
    })?;
    let is_tls13 = stream.protocol_version() == ProtocolVersion::TLSv1_3;
    let agreed = Agreed {
        version: if is_tls13 { "TLS 1.3" } else { "TLS 1.2" },
        suite: format!("{:?}", stream.negotiated_cipher_suite().suite()),
    };
    tracing::debug!(version = agreed.version, suite = agreed.suite, "sealed");
    let may_be_refused = is_client && is_tls13;
    Ok(Sealed { stream, socket: watched, peer, may_be_refused, agreed })
}

/// What an error of the library means to a person.
pub(crate) fn failed(action: Action, url: &str, error: &tls::Error) -> Failure {
    let again = "look at the other end: it gave up before the end";
    match error {
        tls::Error::Handshake(error) => trust::explain(action, url, error),
        tls::Error::Alert(alert) => {
            trust::explain(action, url, &RustlsError::AlertReceived(*alert))
        }
        tls::Error::Io(error) => Failure::library(action, url, error.clone()),
        tls::Error::KernelTls { .. } => {
            let remedy = "or leave it to this program: --ktls auto";
            Failure::explained(action, url, error.to_string(), remedy)
        }
        tls::Error::Inauthentic => Failure::explained(
            action,
            url,
            "a record was changed on its way".to_owned(),
            "do not trust the way; send it again over another",
        ),
        other => Failure::explained(action, url, other.to_string(), again),
    }
}
