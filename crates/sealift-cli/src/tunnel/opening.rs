//! From a visitor to a connection with two sides: the handshake, and the way to TARGET.
//!
//! It blocks, on a thread for that: names are resolved, signatures made, others waited for.
//!
//! 1. A visitor over TLS shakes hands before TARGET hears of it: who is not let in costs nobody a
//!    connection.
//! 2. Whatever fails, both sides are reset.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::server::ServerSessionMemoryCache;
use sealift::tls::{self, TlsStream, TlsStreamBuilder};

use super::outcome::{Mishap, Outcome};
use crate::endpoint::Endpoint;
use crate::failure::{Action, Failure};
use crate::quantity::DURATION_MAX;
use crate::transfer::connection::{self, Connection};
use crate::transfer::{connect, tls_failed};
use crate::trust::Role;

/// Sessions that visitors may come back to.
const SESSIONS: usize = 1024;
/// Tickets that a visitor is given: the next connection takes one, and brings one.
const TICKETS: usize = 1;

/// How to bring a visitor to its target.
#[derive(Debug)]
pub(super) struct Opening {
    role: Role,
    listen: Endpoint,
    target: Endpoint,
    timeout: Duration,
}

/// A connection with both its sides.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) plain: Connection,
    pub(super) sealed: Sealed,
}

/// The sealed side.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) stream: TlsStream,
    /// The same socket, to end it.
    pub(super) socket: OwnedFd,
    /// How long the handshake took.
    pub(super) took: Duration,
}

impl Opening {
    pub(super) fn new(role: Role, listen: Endpoint, target: Endpoint, timeout: Duration) -> Self {
        Self { role: resuming(role), listen, target, timeout }
    }

    /// Whether visitors come over TLS, and have to speak first.
    pub(super) fn hears_first(&self) -> bool {
        matches!(self.role, Role::Server { .. })
    }

    /// How long a visitor's handshake may take.
    pub(super) fn patience(&self) -> Duration {
        if self.timeout.is_zero() { DURATION_MAX } else { self.timeout }
    }

    /// A visitor took too long.
    pub(super) fn too_late(&self) -> Mishap {
        self.late(Action::Accept, &self.listen)
    }

    /// Opens the other side for a visitor.
    pub(super) fn open(&self, visitor: Connection) -> Result<Opened, Mishap> {
        match &self.role {
            Role::Client { config, name } => {
                let target = self.reach()?;
                let sealed = self.shake_hands(target, |builder, socket, deadline| {
                    builder.connect(socket, config.clone(), name.clone(), deadline)
                })?;
                Ok(Opened { plain: visitor, sealed })
            }
            Role::Server { config, .. } => {
                let sealed = self.shake_hands(visitor, |builder, socket, deadline| {
                    builder.accept(socket, config.clone(), deadline)
                })?;
                match self.reach() {
                    Ok(target) => Ok(Opened { plain: target, sealed }),
                    Err(mishap) => {
                        connection::reset(sealed.socket.as_fd());
                        Err(mishap)
                    }
                }
            }
        }
    }

    fn reach(&self) -> Result<Connection, Mishap> {
        let reached = connect::connect(&self.target, Some(self.timeout));
        reached.map_err(|failure| Mishap { outcome: Outcome::TargetUnreachable, failure })
    }

    fn shake_hands(
        &self,
        connection: Connection,
        shake: impl FnOnce(TlsStreamBuilder, OwnedFd, Instant) -> tls::Result<TlsStream>,
    ) -> Result<Sealed, Mishap> {
        let (action, url) = match &self.role {
            Role::Client { .. } => (Action::Connect, &self.target),
            Role::Server { .. } => (Action::Accept, &self.listen),
        };
        let began = Instant::now();
        let socket = connection.socket.try_clone().map_err(|error| Mishap::here(url, error))?;
        let deadline = began + self.patience();
        match shake(TlsStream::builder(), connection.socket, deadline) {
            Ok(stream) => Ok(Sealed { stream, socket, took: began.elapsed() }),
            Err(tls::Error::Deadline) => Err(self.late(action, url)),
            Err(error) => {
                let failure = tls_failed(action, &url.to_string(), &error);
                Err(Mishap { outcome: Outcome::HandshakeFailed, failure })
            }
        }
    }

    fn late(&self, action: Action, url: &Endpoint) -> Mishap {
        let failure = Failure::NotInTime { action, url: url.to_string(), after: self.timeout };
        Mishap { outcome: Outcome::Timeout, failure }
    }
}

/// Unlike a transfer, a tunnel meets the same others again: they need not prove who they are each
/// time.
fn resuming(role: Role) -> Role {
    match role {
        Role::Client { config, name } => {
            let mut config = Arc::unwrap_or_clone(config);
            config.resumption = Resumption::in_memory_sessions(SESSIONS);
            Role::Client { config: Arc::new(config), name }
        }
        Role::Server { config, made } => {
            let mut config = Arc::unwrap_or_clone(config);
            config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
            config.send_tls13_tickets = TICKETS;
            Role::Server { config: Arc::new(config), made }
        }
    }
}
