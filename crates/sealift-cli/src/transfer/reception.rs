//! Visitors of an end that listens over TLS: several shake hands at a time, and the first with whom
//! this end agrees is met.
//!
//! ```text
//!  accept ──► a thread each: shake hands ──► met: the others are reset
//!    ▲            │ failed: a warning
//!    └────────────┘ until --timeout
//! ```
//! A port that is open is visited by whoever scans it, and by who typed the wrong pin: neither ends
//! what is waited for. Who says nothing has one of [`PLACES`]; when all are taken, the longest
//! there gives way, after [`PATIENCE`]. So those who say nothing keep nobody out, as long as no
//! more than 32 of them come in a second: what exceeds that waits, and others behind it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

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
/// How long everybody may be inside, whoever waits.
const PATIENCE: Duration = Duration::from_secs(1);

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
            // Accepted, and not inside yet.
            let mut come = None;
            loop {
                let is_late = self.is_late() && come.is_none();
                if let Some((number, shaken)) = self.next_shaken(bell, &told, &inside, is_late) {
                    // Who gave way is nobody any more.
                    let Some(visitor) = inside.leaves(number) else { continue };
                    match shaken {
                        Ok(sealed) => return Ok(sealed),
                        Err(Missed::Here(failure)) => return Err(failure),
                        Err(Missed::Them(failure)) => self.warn(&failure, &visitor),
                    }
                } else if let Some(visitor) = come.take() {
                    self.make_room(&mut inside);
                    let (number, tells) = (inside.enters(&visitor).map_err(failed)?, tells.clone());
                    let shake = move || {
                        let shaken = self.handshake.shake(visitor, name);
                        // In this order; and nobody listens who has met another.
                        let _ = tells.send((number, shaken));
                        let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
                    };
                    thread::Builder::new().spawn_scoped(scope, shake).map_err(failed)?;
                } else if let Some((_, after)) = self.deadline.filter(|_| is_late) {
                    let (action, url) = (Action::Accept, name.clone());
                    return Err(Failure::NotInTime { action, url, after });
                } else {
                    // What was told meanwhile comes before whoever has to give way.
                    come = self.accept(bell)?;
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

    /// What has come of a handshake. While nobody else may come, it is waited for.
    fn next_shaken(
        &self,
        bell: &OwnedFd,
        told: &Receiver<Shaken>,
        inside: &Inside,
        is_late: bool,
    ) -> Option<Shaken> {
        // What rings from here on is asked for the next time.
        let _ = rustix::io::read(bell, &mut [0; 8]);
        let time = match inside.visitors.is_empty() {
            // No handshake takes longer; one whose thread panicked never tells.
            false if is_late => self.handshake.limit(),
            _ => inside.full_for(),
        };
        told.recv_timeout(time).ok()
    }

    fn make_room(&self, inside: &mut Inside) {
        if let Some(Visitor { peer, socket, .. }) = inside.gives_way() {
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
    came: Instant,
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
        let came = Instant::now();
        self.visitors.push_back(Visitor { number: self.came, came, peer, socket });
        Ok(self.came)
    }

    /// How long there is no place for one more.
    fn full_for(&self) -> Duration {
        let oldest = self.visitors.front().filter(|_| self.is_full());
        oldest.map_or(Duration::ZERO, |oldest| PATIENCE.saturating_sub(oldest.came.elapsed()))
    }

    /// Who has been there longest, if its place is needed and it had its time.
    fn gives_way(&mut self) -> Option<Visitor> {
        if self.is_full() && self.full_for().is_zero() { self.visitors.pop_front() } else { None }
    }

    fn is_full(&self) -> bool {
        self.visitors.len() >= PLACES
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use sealift::tls::Ktls;

    use super::*;
    use crate::args::{EngineArg, TrustArgs, WordsArgs};
    use crate::transfer::listen;
    use crate::trust::Role;

    /// As one does whose thread panicked.
    #[test]
    fn a_handshake_that_never_tells_is_waited_for_as_long_as_it_may_take() {
        let terminal = &Terminal::new(WordsArgs { verbose: 0, quiet: true });
        let url = "tls://127.0.0.1:0".parse().unwrap();
        let (listener, url) = &listen::listen(&url).unwrap();
        let role = Role::new(&TrustArgs::default(), url, true, terminal).unwrap().unwrap();
        let limit = Duration::from_millis(10);
        let handshake = Handshake::new(&role, None, EngineArg::Inline, Ktls::Off, Some(limit));
        let handshake = &handshake.unwrap();
        let reception = Reception { listener, url, deadline: None, handshake, terminal };
        let bell = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let (_tells, told) = mpsc::channel();
        let mut inside = Inside::default();
        inside.enters(&Connection::unix(UnixStream::pair().unwrap().0)).unwrap();
        assert!(reception.next_shaken(&bell, &told, &inside, true).is_none());
    }

    #[test]
    fn the_oldest_gives_way_when_its_place_is_needed_and_it_had_its_time() {
        let mut inside = Inside::default();
        let visitor = Connection::unix(UnixStream::pair().unwrap().0);
        for number in 1..=PLACES as u64 {
            assert_eq!(inside.full_for(), Duration::ZERO);
            assert!(inside.gives_way().is_none());
            assert_eq!(inside.enters(&visitor).unwrap(), number);
        }
        inside.visitors[0].came = Instant::now() + PATIENCE;
        assert_eq!(inside.full_for(), PATIENCE);
        assert!(inside.gives_way().is_none());
        inside.visitors[0].came = Instant::now() - PATIENCE;
        assert_eq!(inside.full_for(), Duration::ZERO);
        assert_eq!(inside.gives_way().map(|visitor| visitor.number), Some(1));
        assert!(inside.gives_way().is_none(), "one place is free");
    }
}
