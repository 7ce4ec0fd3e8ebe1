//! Buffers whose sender is gone while the kernel may still read them.
//!
//! Neither closing a socket nor closing a ring ends the kernel's use of the pages, so a sender
//! that is dropped with requests open hands its socket, its ring and its buffers over to here.
//! They are kept, counted, and given home when the kernel says that it is done. A connection that
//! never gets there is reset after [`LINGER`].

use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};
use serde::Serialize;

use crate::error::Error;
use crate::sys::socket;

use super::completion::Event;
use super::machine::{Kind, Machine};
use super::port::Port;

/// How long a dropped connection may take to deliver what it holds.
pub const LINGER: Duration = Duration::from_secs(30);
/// How often the quarantine looks, at first and at most.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(200));

struct Ward {
    machine: Machine,
    port: Port,
    socket: Arc<OwnedFd>,
    admitted: Instant,
    aborted: bool,
}

struct Wards {
    wards: Vec<Ward>,
    released: u64,
    /// A thread is looking after the wards.
    attended: bool,
}

static WARDS: Mutex<Wards> = Mutex::new(Wards { wards: Vec::new(), released: 0, attended: false });

/// What the quarantine of this process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QuarantineStats {
    /// Senders that were dropped with requests open.
    pub senders: usize,
    /// Messages whose buffers the kernel may still read.
    pub messages: usize,
    /// The bytes of their open zero-copy requests.
    pub bytes: usize,
    /// Senders whose buffers all came home since the process began.
    pub released: u64,
}

/// What the quarantine holds now. Looks after it first.
pub fn quarantine() -> QuarantineStats {
    look();
    let wards = lock();
    QuarantineStats {
        senders: wards.wards.len(),
        messages: wards.wards.iter().map(|ward| ward.machine.unsettled()).sum(),
        bytes: wards.wards.iter().map(|ward| ward.machine.pinned_bytes()).sum(),
        released: wards.released,
    }
}

fn lock() -> MutexGuard<'static, Wards> {
    WARDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a stream must be reset rather than ended: the peer must not take a part for the whole.
pub(crate) fn is_incomplete(machine: &Machine) -> bool {
    machine.queued() > 0 || machine.sending() > 0 || machine.fault().is_some()
}

/// Takes over a sender with open requests.
pub(crate) fn admit(mut machine: Machine, port: Port, socket: Arc<OwnedFd>) {
    let incomplete = is_incomplete(&machine);
    machine.abandon(Error::Closed);
    let mut ward = Ward { machine, port, socket, admitted: Instant::now(), aborted: false };
    if ward.machine.kind() == Kind::Stream {
        if incomplete {
            ward.abort();
        } else {
            let _ = shutdown(&ward.socket, Shutdown::Write);
        }
    }
    tracing::debug!(messages = ward.machine.unsettled(), "dropped in flight: quarantined");
    lock().wards.push(ward);
    look();
    let mut wards = lock();
    if !wards.wards.is_empty() && !wards.attended {
        let attendant = std::thread::Builder::new().name("sealift-quarantine".into());
        // Without a thread the wards are looked after whenever the quarantine is asked or joined.
        wards.attended = attendant.spawn(attend).is_ok();
    }
}

fn attend() {
    let mut pause = LOOK_EVERY.0;
    loop {
        std::thread::sleep(pause);
        pause = (pause * 2).min(LOOK_EVERY.1);
        look();
        let mut wards = lock();
        if wards.wards.is_empty() {
            wards.attended = false;
            return;
        }
    }
}

/// Takes the kernel's answers for every ward and lets those go that are over.
fn look() {
    let mut events = Vec::new();
    let mut over = Vec::new();
    let mut wards = lock();
    let mut at = 0;
    while at < wards.wards.len() {
        if wards.wards[at].is_over(&mut events) {
            over.push(wards.wards.swap_remove(at));
            wards.released += 1;
        } else {
            at += 1;
        }
    }
    drop(wards);
    // Dropped without the lock: a buffer's owner may run code of its own, which may come back here.
    // It may even panic, which is told by the hook, and concerns nobody who happens to look.
    let _ = catch_unwind(AssertUnwindSafe(|| drop((events, over))));
}

impl Ward {
    /// Whether the kernel has let go of everything; what came back goes into `events`.
    fn is_over(&mut self, events: &mut Vec<Event>) -> bool {
        if self.admitted.elapsed() > LINGER && !self.aborted {
            tracing::warn!("a dropped connection did not drain: resetting it");
            self.abort();
        }
        // A ring that cannot be entered gives no release: the ward stays.
        let _ = self.port.pump(&mut self.machine, self.socket.as_fd());
        events.extend(std::iter::from_fn(|| self.machine.take_event()));
        self.machine.open_requests() == 0
    }

    fn abort(&mut self) {
        self.aborted = true;
        abort(&self.socket, self.machine.kind());
    }
}

/// Makes the kernel let go: resets a TCP connection, shuts a unix one down. Datagrams that a device
/// holds are out of reach. Kernel TLS refuses to disconnect; there the close is the reset.
pub(crate) fn abort(socket: &OwnedFd, kind: Kind) {
    if kind == Kind::Stream && socket::disconnect(socket.as_fd()).is_err() {
        let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
        let _ = shutdown(socket, Shutdown::Both);
    }
}
