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

mod admission;
mod answers;
mod engine;
mod inflow;
mod outflow;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ProtocolVersion;
use sealift::io::Backend;
use sealift::tls::{self, Ktls, TlsStream, TlsStreamBuilder};
use serde::Serialize;

use super::connection::{Connection, Peer};
use super::meeting::Missed;
use crate::args::EngineArg;
use crate::failure::{Action, Failure};
use crate::quantity::DURATION_MAX;
use crate::trust::{self, Role};
use admission::Admission;
pub(crate) use engine::sealing_engine;
use engine::transfer_engine;
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
    pub(super) peer: Peer,
    /// This end connected, and in TLS 1.3 may still be refused.
    admission: Option<Arc<Admission>>,
    /// An engine seals for it, while this end reads on.
    has_engine: bool,
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

/// A handshake, ready to be made with one visitor after the other.
pub(super) struct Handshake<'a> {
    role: &'a Role,
    builder: TlsStreamBuilder,
    engine: EngineArg,
    ktls: Ktls,
    timeout: Duration,
}

impl<'a> Handshake<'a> {
    /// With `timeout` (zero: for ever); who listens gives nobody more than 30 seconds.
    ///
    /// # Errors
    /// What this end lacks, whoever comes.
    pub(super) fn new(
        role: &'a Role,
        backend: Option<Backend>,
        engine: EngineArg,
        ktls: Ktls,
        timeout: Option<Duration>,
    ) -> Result<Self, Failure> {
        // Each stream needs an engine of its own; this one is to know that there is one.
        drop(sealing_engine(engine)?);
        let frames = sealift::Pool::builder().frames(FRAMES);
        // Registered huge pages make a stream's packets weigh more than they are (`../outflow.rs`).
        let pool = frames.frame_bytes(FRAME_RECORDS * RECORD_BYTES).huge_pages(false).build();
        let pool = pool.map_err(|error| Failure::library(Action::SetUp, "TLS", error))?;
        let mut builder = TlsStream::builder().pool(&pool).frames_in_flight(FRAMES).ktls(ktls);
        if let Some(backend) = backend {
            builder = builder.backend(backend);
        }
        let forever = |time: Duration| if time.is_zero() { DURATION_MAX } else { time };
        let timeout = match role {
            Role::Client { .. } => timeout.map_or(TIMEOUT, forever),
            Role::Server { .. } => timeout.map_or(TIMEOUT, forever).min(TIMEOUT),
        };
        Ok(Self { role, builder, engine, ktls, timeout })
    }

    /// How long one may take.
    pub(super) fn limit(&self) -> Duration {
        self.timeout
    }

    /// Whether an engine may seal for each visitor.
    pub(super) fn has_engine(&self) -> bool {
        self.engine != EngineArg::Inline
    }

    /// Shakes hands.
    ///
    /// # Errors
    /// Whom this end did not trust, or the other; what the connection died of.
    pub(super) fn shake(&self, connection: Connection, url: &str) -> Result<Sealed, Missed> {
        let Connection { socket, peer } = connection;
        let action = match self.role {
            Role::Client { .. } => Action::Connect,
            Role::Server { .. } => Action::Accept,
        };
        // What is lacking now was there when this end began, and may be there for another.
        let lacking = |error| Missed::Them(Failure::system(action, url, error));
        let watched = socket.try_clone().map_err(lacking)?;
        let deadline = Instant::now() + self.timeout;
        let mut builder = self.builder.clone();
        let engine = transfer_engine(self.engine, self.ktls, &socket).map_err(Missed::Them)?;
        let has_engine = engine.is_some();
        if let Some(engine) = engine {
            builder = builder.sealing_engine(engine);
        }
        let mut admission = None;
        let shaken = match self.role {
            Role::Client { config, name } => {
                let (config, watched) = Admission::watch(config, self.timeout);
                admission = Some(watched);
                builder.connect(socket, config, name.clone(), deadline)
            }
            Role::Server { config, .. } => builder.accept(socket, config.clone(), deadline),
        };
        let after = self.timeout;
        let stream = shaken.map_err(|error| match error {
            tls::Error::Deadline => {
                Missed::Them(Failure::NotInTime { action, url: url.to_owned(), after })
            }
            tls::Error::KernelTls { .. } => Missed::Here(failed(action, url, &error)),
            tls::Error::Truncated => {
                let why = "the other end hung up in the middle of the handshake".to_owned();
                Missed::Them(Failure::explained(action, url, why, "look at the other end"))
            }
            error => Missed::Them(failed(action, url, &error)),
        })?;
        let is_tls13 = stream.protocol_version() == ProtocolVersion::TLSv1_3;
        let agreed = Agreed {
            version: if is_tls13 { "TLS 1.3" } else { "TLS 1.2" },
            suite: format!("{:?}", stream.negotiated_cipher_suite().suite()),
        };
        tracing::debug!(version = agreed.version, suite = agreed.suite, "sealed");
        let admission = admission.filter(|_| is_tls13);
        Ok(Sealed { stream, socket: watched, peer, admission, has_engine, agreed })
    }
}

/// What an error of the library means to a person.
pub(crate) fn failed(action: Action, url: &str, error: &tls::Error) -> Failure {
    let again = "look at the other end: it gave up before the end";
    match error {
        tls::Error::Handshake(error) => trust::explain(action, url, error),
        tls::Error::Alert(alert) => trust::explain_later(action, url, *alert),
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
