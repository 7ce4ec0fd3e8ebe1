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
//! more than 32 of them come in a second: what exceeds that waits, and others behind it. There are
//! fewer places where there are files for fewer, or if this machine has no thread for one more.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use super::connection::{self, Connection, Peer};
use super::listen::{self, Listener};
use super::meeting::{Deadline, Missed};
use super::sealed::{Handshake, Sealed};
use crate::complaints::Complaints;
use crate::endpoint::Endpoint;
use crate::failure::{Action, Failure};
use crate::files;
use crate::terminal::Terminal;

/// Visitors that shake hands at a time; each has a thread.
const PLACES: u32 = 32;
/// How long everybody may be inside, whoever waits.
const PATIENCE: Duration = Duration::from_secs(1);

/// How a visitor's handshake went, by the visitor's number.
type Shaken = (u64, Result<Sealed, Missed>);

/// What visitors take, whoever they are.
pub(super) struct Welcome<'a> {
    handshake: &'a Handshake<'a>,
    places: usize,
    complaints: Complaints,
}

impl<'a> Welcome<'a> {
    /// As many places as there are files for.
    ///
    /// # Errors
    /// If there is no thread for what is said of visitors.
    pub(super) fn new(handshake: &'a Handshake<'a>, terminal: &Terminal) -> Result<Self, Failure> {
        let places = files::places(PLACES, handshake.has_engine(), terminal) as usize;
        let complaints = Complaints::new(terminal.clone());
        let complaints =
            complaints.map_err(|error| Failure::system(Action::Start, "a thread", error))?;
        Ok(Self { handshake, places, complaints })
    }
}

/// Where visitors are received.
pub(super) struct Reception<'a> {
    pub(super) listener: &'a Listener,
    pub(super) url: &'a Endpoint,
    pub(super) deadline: Deadline,
    pub(super) welcome: &'a Welcome<'a>,
}

/// Where a thread tells how it went.
#[derive(Clone)]
struct Teller<'a> {
    shaken: Sender<Shaken>,
    bell: &'a OwnedFd,
}

impl Teller<'_> {
    fn tell(&self, shaken: Shaken) {
        // In this order; and nobody listens who has met another.
        let _ = self.shaken.send(shaken);
        let _ = rustix::io::write(self.bell, &1u64.to_ne_bytes());
    }
}

impl Reception<'_> {
    /// The first with whom this end agrees.
    ///
    /// # Errors
    /// If nobody comes in time; what this end lacks, whoever comes.
    pub(super) fn meet(&self) -> Result<Sealed, Failure> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let bell = bell.map_err(|errno| Failure::system(Action::Accept, self.url, errno))?;
        let (shaken, told) = mpsc::channel();
        let teller = Teller { shaken, bell: &bell };
        let met = thread::scope(|scope| self.receive(scope, &teller, &told));
        self.welcome.complaints.end();
        met
    }

    fn receive<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        teller: &Teller<'env>,
        told: &Receiver<Shaken>,
    ) -> Result<Sealed, Failure> {
        let mut inside = Inside::new(self.welcome.places);
        // Accepted, and not inside yet.
        let mut come = None;
        loop {
            // Who has come is let in, if there is all that it takes.
            let is_late = self.is_late() && (come.is_none() || inside.is_short);
            if let Some((number, shaken)) = self.next_shaken(teller.bell, told, &inside, is_late) {
                // Who gave way is nobody any more.
                let Some(visitor) = inside.leaves(number) else { continue };
                match shaken {
                    Ok(sealed) => return Ok(sealed),
                    Err(Missed::Here(failure)) => return Err(failure),
                    Err(Missed::Them(failure)) => self.warn(&failure, &visitor),
                }
            } else if let Some((_, after)) = self.deadline.filter(|_| is_late) {
                let (action, url) = (Action::Accept, self.url.to_string());
                return Err(Failure::NotInTime { action, url, after });
            } else if let Some(visitor) = come.take() {
                self.make_room(&mut inside);
                if let Err((back, failure)) = self.let_in(scope, teller, visitor, &mut inside) {
                    come = back;
                    self.wait_out(failure, &mut inside)?;
                }
            } else {
                // What was told meanwhile comes before whoever has to give way.
                match self.accept(teller.bell) {
                    Ok(visitor) => come = visitor,
                    Err(failure) => {
                        self.wait_out(failure, &mut inside)?;
                        self.make_room(&mut inside);
                    }
                }
            }
        }
    }

    /// Has a thread shake hands with the visitor, who is handed back if there is none.
    fn let_in<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        teller: &Teller<'env>,
        visitor: Connection,
        inside: &mut Inside,
    ) -> Result<(), (Option<Connection>, Failure)> {
        let number = match inside.enters(&visitor) {
            Ok(number) => number,
            Err(error) => {
                return Err((Some(visitor), Failure::system(Action::Accept, self.url, error)));
            }
        };
        let teller = teller.clone();
        let shake = move || {
            let shaken = self.welcome.handshake.shake(visitor, &self.url.to_string());
            teller.tell((number, shaken));
        };
        match thread::Builder::new().spawn_scoped(scope, shake) {
            Ok(_) => {
                inside.is_short = false;
                Ok(())
            }
            Err(error) => {
                // `shake` has gone; the socket is still held inside.
                let back = inside.leaves(number);
                let back = back.map(|Visitor { socket, peer, .. }| Connection { socket, peer });
                Err((back, Failure::system(Action::Start, "a thread", error)))
            }
        }
    }

    fn accept(&self, bell: &OwnedFd) -> Result<Option<Connection>, Failure> {
        self.listener.accept_unless(self.url, self.deadline, Some(bell.as_fd()))
    }

    fn wait_out(&self, failure: Failure, inside: &mut Inside) -> Result<(), Failure> {
        let say = |line| self.welcome.complaints.say(line);
        listen::wait_out(failure, &mut inside.is_short, say)
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
            false if is_late => self.welcome.handshake.limit(),
            _ => inside.full_for(),
        };
        told.recv_timeout(time).ok()
    }

    fn make_room(&self, inside: &mut Inside) {
        if let Some(Visitor { peer, socket, .. }) = inside.gives_way() {
            connection::reset(socket.as_fd());
            let (action, url) = (Action::Accept, self.url);
            self.welcome.complaints.say(format_args!(
                "warning: {action} on {url}: {peer} had not shaken hands, and gave way to others; \
                 this end listens on"
            ));
        }
    }

    fn warn(&self, failure: &Failure, visitor: &Visitor) {
        let peer = &visitor.peer;
        let line = format_args!("warning: {failure}; that was {peer}, and this end listens on");
        self.welcome.complaints.say(line);
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
struct Inside {
    visitors: VecDeque<Visitor>,
    came: u64,
    /// How many there may be.
    places: usize,
    /// This machine has not enough for one more, however many places there are.
    is_short: bool,
}

impl Inside {
    fn new(places: usize) -> Self {
        Self { visitors: VecDeque::new(), came: 0, places, is_short: false }
    }

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
        let is_empty = self.visitors.is_empty();
        self.visitors.len() >= self.places || self.is_short && !is_empty
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
        let welcome = &Welcome::new(handshake, terminal).unwrap();
        let reception = Reception { listener, url, deadline: None, welcome };
        let bell = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let (_tells, told) = mpsc::channel();
        let mut inside = Inside::new(1);
        inside.enters(&Connection::unix(UnixStream::pair().unwrap().0)).unwrap();
        assert!(reception.next_shaken(&bell, &told, &inside, true).is_none());
    }

    #[test]
    fn the_oldest_gives_way_when_its_place_is_needed_and_it_had_its_time() {
        let mut inside = Inside::new(32);
        let visitor = Connection::unix(UnixStream::pair().unwrap().0);
        for number in 1..=32 {
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
        inside.visitors[0].came = Instant::now() - PATIENCE;
        inside.is_short = true;
        assert!(inside.gives_way().is_some(), "there is nothing to take a place with");
    }
}
