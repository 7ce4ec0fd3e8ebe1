//! From a socket to a sender: what it is, which backend suits it, and the sizes of everything.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::pool::Pool;
use crate::probe::ring_features;
use crate::ring::Ring;
use crate::sys::socket;

use super::backend::{Backend, Choice, choose, without_ring};
use super::machine::{Kind, Limits, Machine};
use super::policy::{Chooser, Policy, RuledOut};
use super::port::Port;
use super::segment_size::SegmentSize;
use super::sender::Sender;
use super::sendmsg_port::SendmsgPort;
use super::uring_port::UringPort;

/// From this size on zero-copy is offered at first. Out of registered memory it pays early; pages
/// that must be pinned for each send, and a system call for each notification, cost more.
const RING_THRESHOLD_BYTES: usize = 8 * 1024;
const CALLS_THRESHOLD_BYTES: usize = 24 * 1024;

/// What to build a [`Sender`] from.
#[derive(Clone, Debug)]
pub struct SenderBuilder {
    backend: Option<Backend>,
    policy: Policy,
    messages: usize,
    pinned_max_bytes: usize,
    batch: usize,
    ring: Option<Ring>,
    pool: Option<Pool>,
    #[cfg(feature = "fault-injection")]
    release_early: bool,
}

impl Default for SenderBuilder {
    fn default() -> Self {
        Self {
            backend: None,
            policy: Policy::Adaptive(None),
            messages: 256,
            pinned_max_bytes: 64 << 20,
            batch: 128,
            ring: None,
            pool: None,
            #[cfg(feature = "fault-injection")]
            release_early: false,
        }
    }
}

impl SenderBuilder {
    /// Uses this backend instead of the one that probing finds best.
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Copy or zero-copy; adaptive unless said.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// How many messages may be under way or waiting to be taken back; 256 unless said, at most
    /// 65,536.
    pub fn messages(mut self, messages: usize) -> Self {
        self.messages = messages;
        self
    }

    /// How many bytes may be in open zero-copy requests; 64 MiB unless said.
    pub fn pinned_max_bytes(mut self, bytes: usize) -> Self {
        self.pinned_max_bytes = bytes;
        self
    }

    /// How many messages [`Sender::queue`] gathers before it enters the kernel; 128 unless said.
    pub fn batch(mut self, messages: usize) -> Self {
        self.batch = messages;
        self
    }

    /// Sends through this ring, shared with other senders, if the backend is `uring`.
    pub fn ring(mut self, ring: &Ring) -> Self {
        self.ring = Some(ring.clone());
        self
    }

    /// Registers this pool with a ring of the sender's own, if the backend is `uring` and no ring
    /// was given.
    pub fn pool(mut self, pool: &Pool) -> Self {
        self.pool = Some(pool.clone());
        self
    }

    /// Releases buffers too early, on purpose: the corruption oracle must notice.
    #[cfg(feature = "fault-injection")]
    #[doc(hidden)]
    pub fn inject_early_release(mut self) -> Self {
        self.release_early = true;
        self
    }

    /// A sender for a connected TCP or unix stream, or a UDP socket, connected or not.
    ///
    /// On the `msg-zerocopy` backend the sender owns the socket's error queue, too: what else comes
    /// there (`IP_RECVERR`, timestamps) it reads and drops.
    ///
    /// # Errors
    /// [`Error::Caller`] for any other socket; [`Error::System`] if the forced `uring` backend
    /// cannot be set up. Zero-copy that is not to be had is no error: see [`Sender::backend`].
    pub fn build(self, socket: impl Into<OwnedFd>) -> Result<Sender> {
        let socket = Arc::new(socket.into());
        let identity = socket::identity(socket.as_fd())
            .map_err(|errno| Error::System { call: "getsockopt", errno })?;
        let kind = kind(&identity)?;
        let never = match &identity {
            socket::Identity { unix: true, .. } => Some("unix sockets always copy"),
            socket::Identity { mptcp: true, .. } => Some("MPTCP always copies"),
            socket::Identity { upper_layer: true, .. } => {
                Some("an upper layer protocol (kernel TLS) sits on the socket")
            }
            _ => None,
        };
        let by_calls = || prepare_for_calls(socket.as_fd());
        let mut choice = choose(self.backend, ring_features(), never, by_calls);
        let port = self.port(&socket, kind, &mut choice)?;
        tracing::debug!(backend = %choice.backend, reason = %choice.reason, "backend chosen");
        let limits = self.limits();
        let mut chooser = Chooser::new(self.policy, threshold(choice.backend));
        if let Some(why) = &choice.no_zero_copy {
            chooser.rule_out(RuledOut::Socket);
            tracing::debug!(%why, "no zero-copy");
        } else if choice.backend == Backend::Copy {
            chooser.rule_out(RuledOut::Socket);
        }
        #[cfg_attr(not(feature = "fault-injection"), allow(unused_mut))]
        let mut machine = Machine::new(kind, limits, chooser);
        #[cfg(feature = "fault-injection")]
        if self.release_early {
            machine.release_early();
        }
        let loses_when_closed = kind == Kind::Stream && !identity.unix;
        Ok(Sender::new(machine, port, socket, loses_when_closed, choice, self.batch.max(1)))
    }

    fn limits(&self) -> Limits {
        let messages = self.messages.clamp(1, 1 << 16);
        Limits {
            messages,
            requests: messages.min(1 << 15),
            spans: 64,
            request_bytes: 1 << 20,
            pinned_bytes: self.pinned_max_bytes.max(1),
        }
    }

    fn port(&self, socket: &Arc<OwnedFd>, kind: Kind, choice: &mut Choice) -> Result<Port> {
        if choice.backend == Backend::Uring {
            match self.uring_port(socket) {
                Ok(port) => return Ok(Port::Uring(Box::new(port))),
                Err(error) if self.backend.is_some() => return Err(error),
                Err(error) => {
                    let no_ring = format!("no ring could be set up ({error})");
                    *choice = without_ring(no_ring, || prepare_for_calls(socket.as_fd()));
                }
            }
        }
        let zero_copy = choice.backend == Backend::MsgZerocopy && choice.no_zero_copy.is_none();
        let window = zero_copy.then_some(4 * self.limits().requests);
        let segment = SegmentSize::cleared(socket);
        Ok(Port::Sendmsg(Box::new(SendmsgPort::new(kind, window, segment))))
    }

    fn uring_port(&self, socket: &Arc<OwnedFd>) -> Result<UringPort> {
        let ring = match &self.ring {
            Some(ring) => ring.clone(),
            None => {
                let requests = self.limits().requests.min(1 << 14);
                let builder = Ring::builder().senders(1).requests(requests).batch(self.batch);
                match &self.pool {
                    Some(pool) => builder.pool(pool).build()?,
                    None => builder.build()?,
                }
            }
        };
        let seat = ring.sit(socket.as_fd())?;
        Ok(UringPort::new(seat, SegmentSize::cleared(socket)))
    }
}

fn kind(identity: &socket::Identity) -> Result<Kind> {
    match identity {
        socket::Identity { stream: true, unix: true, .. } => Ok(Kind::Stream),
        socket::Identity { stream: true, internet: true, .. } => Ok(Kind::Stream),
        socket::Identity { datagram: true, internet: true, .. } => Ok(Kind::Datagram),
        _ => Err(Error::Caller { what: "a sender needs a TCP, unix stream or UDP socket" }),
    }
}

/// Makes a socket ready for `MSG_ZEROCOPY`. The kernel numbers such sends from the socket's first
/// one on, and tells nobody where it is: one that was ready before may have made some.
fn prepare_for_calls(socket: BorrowedFd<'_>) -> std::result::Result<(), &'static str> {
    match socket::is_zerocopy_enabled(socket) {
        Ok(true) => Err("SO_ZEROCOPY is on already: others may have made zero-copy sends"),
        _ => socket::enable_zerocopy(socket).map_err(|_| "SO_ZEROCOPY was refused"),
    }
}

fn threshold(backend: Backend) -> usize {
    match backend {
        Backend::Uring => RING_THRESHOLD_BYTES,
        Backend::MsgZerocopy | Backend::Copy => CALLS_THRESHOLD_BYTES,
    }
}
