//! A ring that senders share: registered memory, registered sockets, and whose answer is whose.
//!
//! ```text
//!  sender ──entries──► ┌──────┐ ──► kernel
//!  sender ──entries──► │ ring │
//!  sender ◄──mailbox── └──────┘ ◄── completions, for whichever sender
//! ```
//!
//! Whoever enters the ring takes all completions and puts each into its sender's mailbox. A sender
//! that sleeps on [`Seat::wait_descriptors`] meanwhile is woken through its own eventfd, one that
//! awaits through its task's waker.
//!
//! A stream whose peer does not read keeps a request in flight for as long. So a sender that has
//! none may always make one, and only what it has beyond that counts: nobody waits for another's
//! peer.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Resource, getrlimit};
use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::pool::{Arena, Pool};
use crate::probe::ring_features;
use crate::sys::Part;
use crate::sys::uring::{SendEntry, Uring};

/// What to build a [`Ring`] from.
#[derive(Debug, Default)]
pub struct RingBuilder {
    pools: Vec<Pool>,
    senders: usize,
    requests: usize,
    batch: usize,
}

/// What the kernel may refuse without harm when a ring is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    /// Why the pools' memory is not registered, if it is not.
    pub(crate) why_not: Option<String>,
}

impl RingBuilder {
    /// Registers a pool's memory with the ring; sends out of it are the cheapest there are.
    pub fn pool(mut self, pool: &Pool) -> Self {
        self.pools.push(pool.clone());
        self
    }

    /// How many senders may share the ring; 64 unless said, at most 32,768 and as many as this
    /// process may have files open (`RLIMIT_NOFILE`).
    pub fn senders(mut self, senders: usize) -> Self {
        self.senders = senders;
        self
    }

    /// How many requests may be in flight over all senders, beside the first of each; 1,024 unless
    /// said, at most 16,384. A sender that is alone on the ring has so many and no more.
    pub fn requests(mut self, requests: usize) -> Self {
        self.requests = requests;
        self
    }

    /// How many requests are handed over in one system call at most; 32 unless said.
    pub fn batch(mut self, batch: usize) -> Self {
        self.batch = batch;
        self
    }

    /// Sets up the ring. Memory that the kernel will not register (`RLIMIT_MEMLOCK`) is sent
    /// unregistered; [`Ring::why_unregistered`] says so.
    ///
    /// # Errors
    /// [`Error::System`] if the kernel has no usable io_uring.
    pub fn build(self) -> Result<Ring> {
        let files = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |most| most as usize);
        let senders = self.senders.clamp(1, 1 << 15).min(files.max(1));
        let requests = self.requests.clamp(1, 1 << 14);
        let batch = self.batch.clamp(1, requests);
        let mut uring = Uring::new(
            batch.next_power_of_two() as u32,
            // What does not fit waits in the kernel (`IORING_FEAT_NODROP`).
            (requests + senders - 1).next_power_of_two().min(1 << 15) as u32,
            senders as u32,
            ring_features().fixed_sendmsg_zc.is_yes(),
        )?;
        let arenas: Vec<Arc<Arena>> = self.pools.iter().map(|pool| pool.arena().clone()).collect();
        let why_not = if arenas.is_empty() {
            Some("no pool was given to the ring".to_owned())
        } else {
            uring.register_arenas(arenas).err().map(|error| {
                format!("the pool could not be registered ({error}); raise RLIMIT_MEMLOCK")
            })
        };
        let descriptor = uring.as_fd().as_raw_fd();
        let inner = Inner {
            uring,
            mailboxes: (0..senders).map(|_| Mailbox::default()).collect(),
            free: (0..senders as u16).rev().collect(),
            further: 0,
            most_further: requests - 1,
            starved: false,
        };
        let shared =
            Shared { inner: Mutex::new(inner), descriptor, registered: Registered { why_not } };
        Ok(Ring { shared: Arc::new(shared) })
    }
}

/// One io_uring instance. Clones share it; it is closed when the last sender on it is gone and the
/// kernel has let go of every buffer.
#[derive(Clone)]
pub struct Ring {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
    /// The ring's descriptor, open as long as `inner`.
    descriptor: RawFd,
    registered: Registered,
}

struct Inner {
    uring: Uring,
    mailboxes: Box<[Mailbox]>,
    free: Vec<u16>,
    /// Requests whose last completion was not seen, but for one of each seat that has any; at most
    /// `most_further`.
    further: usize,
    most_further: usize,
    /// A seat found no room since the last wake-up of all such seats.
    starved: bool,
}

#[derive(Default)]
struct Mailbox {
    /// Grows when the seat is left, so that late answers to its last holder are not mistaken.
    generation: u16,
    answers: VecDeque<Answer>,
    /// Requests whose last completion was not seen.
    in_flight: usize,
    /// Found no room on the ring for a request.
    starved: bool,
    /// Wakes the holder when another thread delivers to it or makes room for it.
    kick: Option<Arc<OwnedFd>>,
    /// The same for a task that awaits.
    waker: Option<Waker>,
}

/// Tasks to wake once the ring is unlocked: a waker may run code that comes back here. It does so
/// when it is dropped.
#[derive(Default)]
struct Woken(SmallVec<[Waker; 8]>);

impl Drop for Woken {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}

impl Mailbox {
    fn wake(&mut self, woken: &mut Woken) {
        woken.0.extend(self.waker.take());
        if let Some(kick) = &self.kick {
            // A full counter is as good a wake-up as one more.
            let _ = rustix::io::write(kick, &1u64.to_ne_bytes());
        }
    }
}

/// A completion with the request's own 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) request: u32,
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

impl Ring {
    /// A builder for a ring of 64 senders and 1,024 requests in flight, 32 a batch.
    pub fn builder() -> RingBuilder {
        RingBuilder { pools: Vec::new(), senders: 64, requests: 1024, batch: 32 }
    }

    /// Why memory is not registered with the kernel, if it is not.
    pub fn why_unregistered(&self) -> Option<&str> {
        self.shared.registered.why_not.as_deref()
    }

    /// Takes a place on the ring for a socket.
    pub(crate) fn sit(&self, socket: BorrowedFd<'_>) -> Result<Seat> {
        let mut inner = self.shared.lock();
        let Some(mailbox) = inner.free.pop() else {
            return Err(Error::Caller { what: "the ring has no place for another sender" });
        };
        if let Err(error) = inner.uring.register_file(u32::from(mailbox), Some(socket)) {
            inner.free.push(mailbox);
            return Err(error);
        }
        let generation = inner.mailboxes[usize::from(mailbox)].generation;
        drop(inner);
        Ok(Seat { ring: self.clone(), mailbox, generation })
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ring({:?})", self.shared.registered)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under the lock leaves plain data in a usable state: entries not yet submitted
        // and answers not yet taken.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes every completion: those for `own` are passed on, others go into their mailboxes.
    fn sort(&mut self, own: u16, woken: &mut Woken, mut take: impl FnMut(Answer)) {
        let Self { uring, mailboxes, further, .. } = self;
        uring.reap(|raw| {
            let (mailbox, generation) =
                ((raw.user_data >> 48) as u16, (raw.user_data >> 32) as u16);
            let Some(target) = mailboxes.get_mut(usize::from(mailbox)) else { return };
            if !io_uring::cqueue::more(raw.flags) {
                *further = further.saturating_sub(usize::from(target.in_flight > 1));
                target.in_flight = target.in_flight.saturating_sub(1);
            }
            if target.generation != generation {
                return;
            }
            let request = raw.user_data as u32;
            let answer = Answer { request, result: raw.result, flags: raw.flags };
            if mailbox == own {
                take(answer);
            } else {
                target.answers.push_back(answer);
                target.wake(woken);
            }
        });
        if self.starved && self.further < self.most_further {
            self.starved = false;
            let starved = self.mailboxes.iter_mut().filter(|mailbox| mailbox.starved);
            starved.for_each(|mailbox| mailbox.wake(woken));
        }
    }

    /// Whether a seat may have another request in flight.
    fn has_room_for(&self, mailbox: u16) -> bool {
        let is_first = self.mailboxes[usize::from(mailbox)].in_flight == 0;
        is_first || self.further < self.most_further
    }

    /// Whether a seat has an answer, or room that was missing.
    fn has_news_for(&self, mailbox: u16) -> bool {
        let own = &self.mailboxes[usize::from(mailbox)];
        !own.answers.is_empty() || (own.starved && self.has_room_for(mailbox))
    }
}

/// A sender's place on a ring.
pub(crate) struct Seat {
    ring: Ring,
    mailbox: u16,
    generation: u16,
}

/// The ring, locked, for one round of submissions and answers of one seat.
pub(crate) struct Session<'a> {
    inner: MutexGuard<'a, Inner>,
    /// Behind `inner`, so that it is dropped after the ring is unlocked.
    woken: Woken,
    mailbox: u16,
    generation: u16,
}

impl Seat {
    /// Locks the ring for a round.
    pub(crate) fn session(&self) -> Session<'_> {
        Session {
            inner: self.ring.shared.lock(),
            woken: Woken::default(),
            mailbox: self.mailbox,
            generation: self.generation,
        }
    }

    /// What becomes readable when there may be an answer: the ring, and this seat's own eventfd.
    pub(crate) fn wait_descriptors(&self) -> Result<(BorrowedFd<'_>, Arc<OwnedFd>)> {
        let mut inner = self.ring.shared.lock();
        let mailbox = &mut inner.mailboxes[usize::from(self.mailbox)];
        let kick = match &mailbox.kick {
            Some(kick) => kick.clone(),
            None => {
                let made = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                    .map_err(|errno| Error::System { call: "eventfd", errno: errno.into() })?;
                mailbox.kick.insert(Arc::new(made)).clone()
            }
        };
        drop(inner);
        Ok((self.ring.as_fd(), kick))
    }

    /// Whether an answer waits in the mailbox, or room that was missing is there.
    pub(crate) fn has_news(&self) -> bool {
        self.ring.shared.lock().has_news_for(self.mailbox)
    }

    /// Whether entries wait on the submission queue because the kernel had no memory for them:
    /// nothing will say when it has.
    pub(crate) fn has_backlog(&self) -> bool {
        self.ring.shared.lock().uring.has_backlog()
    }

    /// As [`has_news`](Seat::has_news), for a task: if not, it is woken when there is some. The
    /// ring's own readiness is not enough, because epoll looks again before it reports: a
    /// completion that another seat's thread has sorted meanwhile is then no event any more.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll_news(&self, context: &mut std::task::Context<'_>) -> bool {
        // Wakers are cloned and dropped outside the lock: that may run code of the runtime's.
        let mut waker = Some(context.waker().clone());
        let mut inner = self.ring.shared.lock();
        let news = inner.has_news_for(self.mailbox);
        if !news {
            let mailbox = &mut inner.mailboxes[usize::from(self.mailbox)];
            std::mem::swap(&mut mailbox.waker, &mut waker);
        }
        drop(inner);
        news
    }

    /// The ring that the seat is on.
    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        crate::sys::borrow(self, self.shared.descriptor)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inner = self.ring.shared.lock();
        // A file that stays registered only keeps a closed socket open a little longer.
        let _ = inner.uring.register_file(u32::from(self.mailbox), None);
        let mailbox = &mut inner.mailboxes[usize::from(self.mailbox)];
        mailbox.generation = mailbox.generation.wrapping_add(1);
        mailbox.answers.clear();
        mailbox.starved = false;
        mailbox.kick = None;
        let waker = mailbox.waker.take();
        inner.free.push(self.mailbox);
        drop(inner);
        drop(waker);
    }
}

impl Session<'_> {
    /// Whether another request may be pushed now. If not, the seat is woken when there is room.
    pub(crate) fn has_room(&mut self) -> bool {
        let starved = !self.inner.has_room_for(self.mailbox);
        self.inner.mailboxes[usize::from(self.mailbox)].starved = starved;
        self.inner.starved |= starved;
        !starved && self.inner.uring.has_room()
    }

    /// Puts a send on the queue; `has_room` said that it fits.
    pub(crate) fn push_send<'p>(
        &mut self,
        mut send: SendEntry,
        request: u32,
        parts: impl Iterator<Item = Part<'p>>,
    ) -> bool {
        send.file = u32::from(self.mailbox);
        send.user_data = self.user_data(request);
        let pushed = self.inner.uring.push_send(&send, parts);
        if pushed {
            let Inner { mailboxes, further, .. } = &mut *self.inner;
            let own = &mut mailboxes[usize::from(self.mailbox)].in_flight;
            *further += usize::from(*own > 0);
            *own += 1;
        }
        pushed
    }

    /// Hands over what was pushed and passes on every answer to this seat's requests that is
    /// there; returns the system calls made.
    pub(crate) fn submit(&mut self, mut take: impl FnMut(Answer)) -> Result<u64> {
        let called = self.inner.uring.submit();
        // What others delivered is older than what is on the ring.
        while let Some(answer) = self.inner.mailboxes[usize::from(self.mailbox)].answers.pop_front()
        {
            take(answer);
        }
        self.inner.sort(self.mailbox, &mut self.woken, take);
        called.map(u64::from)
    }

    fn user_data(&self, request: u32) -> u64 {
        (u64::from(self.mailbox) << 48) | (u64::from(self.generation) << 32) | u64::from(request)
    }
}
