//! Visitors of an end that listens over TLS: several shake hands at a time, and the first with whom
//! this end agrees is met.
//!
//! ```text
//!  accept ──► a thread each: shake hands ──► met: the others are reset
//!    ▲            │ failed: a warning
//!    └────────────┘ until --timeout
//! ```
//! A port that is open is visited by whoever scans it, and by who typed the wrong pin: neither ends
//! what is waited for. Who says nothing has one place of many, and the longest there gives way.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};

use super::connection::{self, Connection, Peer};
use super::listen::Listener;
use super::meeting::{Deadline, Missed};
use super::sealed::{Handshake, Sealed};
use crate::endpoint::Endpoint;
use crate::failure::{Action, Failure};
use crate::terminal::Terminal;

/// Visitors that shake hands at a time; each has a thread.
const PLACES: usize = 32;

/// How a visitor's handshake went, by the visitor's number.
type Shaken = (u64, Result<Sealed, Missed>);

/// Where visitors are received.
pub(super) struct Reception<'a> {
    pub(super) listener: &'a Listener,
    pub(super) url: &'a Endpoint,
    pub(super) deadline: Deadline,
    pub(super) handshake: &'a Handshake<'a>,
    pub(super) terminal: &'a Terminal,
}

impl Reception<'_> {
    /// The first with whom this end agrees.
    ///
    /// # Errors
    /// If nobody comes in time; what this end lacks, whoever comes.
    pub(super) fn meet(&self) -> Result<Sealed, Failure> {
        let failed = |error: io::Error| Failure::system(Action::Start, "a thread", error);
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let bell = &bell.map_err(|errno| failed(errno.into()))?;
        let (tells, told) = mpsc::channel();
        let name = &self.url.to_string();
        thread::scope(|scope| {
            let mut inside = Inside::default();
            loop {
                if let Some((number, shaken)) = self.next_shaken(bell, &told, &inside) {
                    // Who gave way is nobody any more.
                    let Some(visitor) = inside.leaves(number) else { continue };
                    match shaken {
                        Ok(sealed) => return Ok(sealed),
                        Err(Missed::Here(failure)) => return Err(failure),
                        Err(Missed::Them(failure)) => self.warn(&failure, &visitor),
                    }
                } else if let Some((_, after)) = self.deadline.filter(|_| self.is_late()) {
                    let (action, url) = (Action::Accept, name.clone());
                    return Err(Failure::NotInTime { action, url, after });
                } else if let Some(visitor) = self.accept(bell)? {
                    self.make_room(&mut inside);
                    let (number, tells) = (inside.enters(&visitor).map_err(failed)?, tells.clone());
                    let shake = move || {
                        let shaken = self.handshake.shake(visitor, name);
                        // In this order; and nobody listens who has met another.
                        let _ = tells.send((number, shaken));
                        let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
                    };
                    thread::Builder::new().spawn_scoped(scope, shake).map_err(failed)?;
                }
            }
        })
    }

    fn accept(&self, bell: &OwnedFd) -> Result<Option<Connection>, Failure> {
        self.listener.accept_unless(self.url, self.deadline.map(|(at, _)| at), bell)
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|(at, _)| Instant::now() >= at)
    }

    /// What has come of a handshake. When nobody else may come, it is waited for.
    fn next_shaken(
        &self,
        bell: &OwnedFd,
        told: &Receiver<Shaken>,
        inside: &Inside,
    ) -> Option<Shaken> {
        // What rings from here on is asked for the next time.
        let _ = rustix::io::read(bell, &mut [0; 8]);
        let shaken = told.try_recv().ok();
        let waits = shaken.is_none() && self.is_late() && !inside.visitors.is_empty();
        if waits { told.recv().ok() } else { shaken }
    }

    fn make_room(&self, inside: &mut Inside) {
        if inside.visitors.len() < PLACES {
            return;
        }
        if let Some(Visitor { peer, socket, .. }) = inside.visitors.pop_front() {
            connection::reset(socket.as_fd());
            let (action, url) = (Action::Accept, self.url);
            self.terminal.say(&format!(
                "warning: {action} on {url}: {peer} had not shaken hands, and gave way to others; \
                 this end listens on"
            ));
        }
    }

    fn warn(&self, failure: &Failure, visitor: &Visitor) {
        let peer = &visitor.peer;
        self.terminal.say(&format!("warning: {failure}; that was {peer}, and this end listens on"));
    }
}

/// A visitor that shakes hands.
struct Visitor {
    number: u64,
    peer: Peer,
    /// The same socket, to end it.
    socket: OwnedFd,
}

/// Those that shake hands, who has been there longest first. Whoever is left at the end is reset,
/// which wakes the thread.
#[derive(Default)]
struct Inside {
    visitors: VecDeque<Visitor>,
    came: u64,
}

impl Inside {
    /// A number for one more.
    fn enters(&mut self, visitor: &Connection) -> io::Result<u64> {
        let (socket, peer) = (visitor.socket.try_clone()?, visitor.peer.clone());
        self.came += 1;
        self.visitors.push_back(Visitor { number: self.came, peer, socket });
        Ok(self.came)
    }

    fn leaves(&mut self, number: u64) -> Option<Visitor> {
        let at = self.visitors.iter().position(|visitor| visitor.number == number)?;
        self.visitors.remove(at)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.visitors.iter().for_each(|visitor| connection::reset(visitor.socket.as_fd()));
    }
}
