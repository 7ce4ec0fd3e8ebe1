//! From a visitor to a connection with two sides: the handshake, and the way to TARGET.
//!
//! ```text
//!  visitor ──admit──► Admitted ──open──► Opened
//!  over TLS: shakes hands, then TARGET;   else: let in at once, then TARGET, which shakes hands
//! ```
//!
//! Signatures are made on threads for blocking work. Who waits for the other end of a handshake, or
//! for TARGET (`reach.rs`), holds none.
//!
//! 1. A visitor over TLS shakes hands before TARGET hears of it: who is not let in costs nobody a
//!    connection.
//! 2. Whatever fails, both sides are reset.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::ServerName;
use sealift::tls::{self, AsyncTlsStream, Ktls, TlsStream, TlsStreamBuilder};

use super::engine;
use super::outcome::{Mishap, Outcome};
use super::reach::Reach;
use crate::args::{EngineArg, TunnelArgs};
use crate::endpoint::Endpoint;
use crate::failure::{Action, Failure};
use crate::quantity::DURATION_MAX;
use crate::transfer::connection::{self, Connection};
use crate::trust::Role;

/// Sessions that this end comes back with.
const SESSIONS: usize = 32;
/// Tickets that a visitor is given: the next connection takes one, and brings one.
const TICKETS: usize = 1;

/// How to bring a visitor to its target.
#[derive(Debug)]
pub(super) struct Opening {
    role: Role,
    listen: Endpoint,
    reach: Reach,
    timeout: Duration,
    engine: EngineArg,
    ktls: Ktls,
}

/// A visitor that was let in.
#[derive(Debug)]
pub(super) enum Admitted {
    /// With what TARGET's end is to be met.
    Plain {
        visitor: Connection,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    },
    Sealed(Box<Sealed>),
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
    pub(super) stream: AsyncTlsStream,
    /// The same socket, to end it.
    pub(super) socket: OwnedFd,
    /// How long the handshake took.
    pub(super) took: Duration,
}

impl Opening {
    /// What `args` say, listening on `listen`.
    pub(super) fn new(role: Role, listen: Endpoint, args: &TunnelArgs) -> Self {
        let (reach, timeout) = (Reach::new(args.target.clone(), args.timeout), args.timeout);
        let (engine, ktls) = (args.sealing.engine, args.trust.ktls());
        Self { role: resuming(role), listen, reach, timeout, engine, ktls }
    }

    /// Whether visitors come over TLS.
    fn listens(&self) -> bool {
        matches!(self.role, Role::Server { .. })
    }

    /// Until when a visitor who comes now is to have a connection with two sides.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + if self.timeout.is_zero() { DURATION_MAX } else { self.timeout }
    }

    /// The other end took too long to shake hands.
    fn too_late(&self) -> Mishap {
        let (action, url) = (self.action(), self.sealed().to_string());
        let failure = Failure::NotInTime { action, url, after: self.timeout };
        Mishap { outcome: Outcome::Timeout, failure }
    }

    /// Lets a visitor in: one over TLS when it has shaken hands.
    pub(super) async fn admit(
        &self,
        visitor: Connection,
        deadline: Instant,
    ) -> Result<Admitted, Mishap> {
        match &self.role {
            Role::Client { config, name } => {
                Ok(Admitted::Plain { visitor, config: config.clone(), name: name.clone() })
            }
            Role::Server { config, .. } => {
                let (socket, watched) = self.both(visitor)?;
                let (builder, config) = (self.builder(), config.clone());
                let shaking = AsyncTlsStream::accept(builder, socket, config, deadline);
                self.shake_hands(shaking, watched).await.map(Box::new).map(Admitted::Sealed)
            }
        }
    }

    /// Opens the other side for a visitor.
    pub(super) async fn open(
        &self,
        visitor: Admitted,
        deadline: Instant,
    ) -> Result<Opened, Mishap> {
        let reached = self.reach.connect(deadline).await.map_err(Mishap::unreached);
        match visitor {
            Admitted::Plain { visitor, config, name } => {
                let (socket, watched) = self.both(reached?)?;
                let builder = self.builder();
                let shaking = AsyncTlsStream::connect(builder, socket, config, name, deadline);
                let sealed = self.shake_hands(shaking, watched).await?;
                Ok(Opened { plain: visitor, sealed })
            }
            Admitted::Sealed(sealed) => match reached {
                Ok(plain) => Ok(Opened { plain, sealed: *sealed }),
                Err(mishap) => {
                    connection::reset(sealed.socket.as_fd());
                    Err(mishap)
                }
            },
        }
    }

    /// What streams are built from, each with an engine of its own.
    fn builder(&self) -> TlsStreamBuilder {
        engine::equip(TlsStream::builder().ktls(self.ktls), self.engine)
    }

    /// The socket twice: for the stream, and to end it.
    fn both(&self, connection: Connection) -> Result<(OwnedFd, OwnedFd), Mishap> {
        let watched = connection.socket.try_clone();
        let watched = watched.map_err(|error| Mishap::here(self.sealed(), error))?;
        Ok((connection.socket, watched))
    }

    async fn shake_hands(
        &self,
        shaking: impl Future<Output = tls::Result<AsyncTlsStream>>,
        socket: OwnedFd,
    ) -> Result<Sealed, Mishap> {
        let began = Instant::now();
        match shaking.await {
            Ok(stream) => Ok(Sealed { stream, socket, took: began.elapsed() }),
            Err(tls::Error::Deadline) => Err(self.too_late()),
            Err(error) => Err(Mishap::unshaken(self.action(), self.sealed(), &error)),
        }
    }

    /// The side that is sealed.
    fn sealed(&self) -> &Endpoint {
        if self.listens() { &self.listen } else { self.reach.target() }
    }

    fn action(&self) -> Action {
        if self.listens() { Action::Accept } else { Action::Connect }
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
            // Visitors keep their sessions themselves, sealed. Without a key for that, none are
            // given out.
            if let Ok(ticketer) = Ticketer::new() {
                config.ticketer = ticketer;
                config.send_tls13_tickets = TICKETS;
            }
            Role::Server { config: Arc::new(config), made }
        }
    }
}
