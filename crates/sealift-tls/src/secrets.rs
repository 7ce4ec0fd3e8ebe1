//! The traffic secrets of a connection, which rustls keeps: the next key of each direction, and
//! tickets.

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use sealift_crypto::Limits;

use crate::epoch::Epoch;
use crate::error::{Error, Result, Violation};
use crate::ktls::Secret;

/// What rustls keeps of a connection once its records are ours.
pub(crate) enum Kept {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
}

/// Makes the epochs of a TLS 1.3 connection, one after the other.
pub(crate) struct Secrets {
    kept: Kept,
    /// For sealing, instead of the suite's own.
    limits: Option<Limits>,
    /// For opening.
    opening_limits: Option<Limits>,
}

impl Secrets {
    pub(crate) fn new(kept: Kept, limits: Option<Limits>, opening_limits: Option<Limits>) -> Self {
        Self { kept, limits, opening_limits }
    }

    /// The next key to seal with.
    pub(crate) fn next_sealing(&mut self) -> Result<Epoch> {
        epoch(self.next_sealing_secret()?, self.limits)
    }

    /// The peer's next key.
    pub(crate) fn next_opening(&mut self) -> Result<Epoch> {
        epoch(self.next_opening_secret()?, self.opening_limits)
    }

    /// As [`next_sealing`](Secrets::next_sealing), to be given away.
    pub(crate) fn next_sealing_secret(&mut self) -> Result<Secret> {
        let next = match &mut self.kept {
            Kept::Client(kept) => kept.update_tx_secret(),
            Kept::Server(kept) => kept.update_tx_secret(),
        };
        next.map_err(Error::Handshake)
    }

    /// As [`next_opening`](Secrets::next_opening), to be given away.
    pub(crate) fn next_opening_secret(&mut self) -> Result<Secret> {
        let next = match &mut self.kept {
            Kept::Client(kept) => kept.update_rx_secret(),
            Kept::Server(kept) => kept.update_rx_secret(),
        };
        next.map_err(Error::Handshake)
    }

    /// Hands a ticket to the session store of the user's configuration, which rustls does under
    /// the secrets that the ticket is made of.
    pub(crate) fn take_ticket(&mut self, ticket: &[u8]) -> Result<()> {
        match &mut self.kept {
            Kept::Client(kept) => {
                kept.handle_new_session_ticket(ticket).map_err(|error| match error {
                    rustls::Error::InvalidMessage(_) => Error::Peer(Violation::MalformedHandshake),
                    error => Error::Handshake(error),
                })
            }
            // The messages were sorted before: a server is sent none.
            Kept::Server(_) => Ok(()),
        }
    }
}

fn epoch((number, secrets): Secret, limits: Option<Limits>) -> Result<Epoch> {
    Epoch::new(number, secrets, true, limits)
}
