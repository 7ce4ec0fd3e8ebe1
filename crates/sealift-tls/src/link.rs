//! What the two halves of a stream share.
//!
//! ```text
//!  TlsReader ──wants──► Link ◄──► Outflow, locked while somebody writes ◄── TlsWriter
//! ```
//!
//! 1. The reading half never waits for the lock: a writer may hold it as long as the peer does not
//!    read, and the peer may not read before this side does. It leaves a want, and tries.
//! 2. Whoever gives the lock up looks at the wants afterwards: `attended.rs`.
//! 3. Whoever leaves something unsent wants it sent, and rings; whoever waits to read hears it, and
//!    sees to it: a thread by the bell (`bell.rs`), a task because it enlists before it waits
//!    (`tasks.rs`). That is asked where a call gives the lock up, and nowhere else.
//! 4. What is to be told is told when the lock is given up: a waker is others' code, which may ask
//!    for the lock.
//! 5. The first error that is fatal to both halves is kept.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};
use sealift_io::Receiver;

use crate::attended::Attended;
use crate::bell::Bell;
use crate::error::{Error, Result};
use crate::holders::Holder;
use crate::inflow;
use crate::ktls::Makers;
use crate::outgoing::Outgoing;
use crate::secrets::Secrets;
use crate::speaker::Negotiated;
use crate::stats::{Opened, Stats};
use crate::sync::{Mutex, MutexGuard};
#[cfg(feature = "tokio")]
use crate::tasks::Tasks;

/// How often a waiting reader looks after records that did not all leave.
pub(crate) const TEND_EVERY: Duration = Duration::from_millis(5);

/// The pause of a reader that is woken by what it cannot take away.
const UNHEARD_PAUSE: Duration = Duration::from_millis(1);

/// How long a failure waits for others to let go of the writing side, and for its engine, so that
/// the peer is told. A task's thread waits for this, too.
const MOMENT: Duration = Duration::from_millis(5);

/// What the reading half wants of the writing side.
pub(crate) struct Wants;

impl Wants {
    /// A KeyUpdate, because the peer requested it. Requests that come before it is sent share it
    /// (RFC 8446 section 4.6.3), so their number does not matter.
    pub(crate) const ANSWER: u8 = 1;
    /// The warning that there will be no second handshake.
    pub(crate) const REFUSAL: u8 = 2;
    /// What is sealed has not all left, and no writer waits for it.
    pub(crate) const PUMP: u8 = 4;
    pub(crate) const ANY: u8 = 7;
}

/// What those who wait are to be told (invariant 4).
struct Tidings;

impl Tidings {
    /// Something is left for them to see to (invariant 3).
    const LEFT: u8 = 1;
    /// The writing side has got on, or failed.
    const GOT_ON: u8 = 2;
}

/// Shared by the halves of one stream.
pub(crate) struct Link {
    me: Weak<Link>,
    outflow: Attended<Outgoing>,
    secrets: Mutex<Secrets>,
    failure: OnceLock<Error>,
    /// KeyUpdates that this side asked for, and has not received.
    awaited_updates: AtomicU64,
    tidings: AtomicU8,
    bell: Bell,
    opened: Opened,
    /// Whether close_notify was sent, or is about to be, where the kernel seals.
    is_ended: AtomicBool,
    pub(crate) negotiated: Negotiated,
    pub(crate) makers: Makers,
    socket: Arc<OwnedFd>,
    /// Readable while the engine that seals may have done something, if one works by itself.
    news: Option<OwnedFd>,
    /// Those of a runtime that wait for the writing side.
    #[cfg(feature = "tokio")]
    pub(crate) tasks: Arc<Tasks>,
}

impl Link {
    pub(crate) fn new(
        outflow: Outgoing,
        secrets: Secrets,
        negotiated: Negotiated,
        makers: Makers,
        socket: Arc<OwnedFd>,
        news: Option<OwnedFd>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            outflow: Attended::new(outflow),
            secrets: Mutex::new(secrets),
            failure: OnceLock::new(),
            awaited_updates: AtomicU64::new(0),
            tidings: AtomicU8::new(0),
            bell: Bell::new(),
            opened: Opened::default(),
            is_ended: AtomicBool::new(false),
            negotiated,
            makers,
            socket,
            news,
            #[cfg(feature = "tokio")]
            tasks: Arc::default(),
        })
    }

    /// Runs `work` on the writing side, then does what was wanted meanwhile (invariant 2), and
    /// leaves what did not leave to those who wait (invariant 3).
    pub(crate) fn with_outflow<R>(&self, work: impl FnOnce(&mut Outgoing) -> R) -> R {
        let mut outflow = self.outflow.lock();
        let done = work(&mut outflow);
        outflow.leave(self);
        let is_stuck = outflow.is_stuck();
        drop(outflow);
        // A socket that had no room just now has none yet.
        if !is_stuck || self.wants(Wants::ANSWER | Wants::REFUSAL) {
            self.tend();
        } else {
            self.tell();
        }
        done
    }

    /// Does what is wanted of the writing side, if nobody is at it; says whether something is left
    /// that only time brings. A task that waits to write is told what it brought.
    pub(crate) fn tend(&self) -> bool {
        let is_left = self.outflow.tend(|outflow| {
            let standing = outflow.standing();
            // An error shows at the next write.
            if outflow.tend(self).is_err() || outflow.standing() < standing {
                self.note(Tidings::GOT_ON);
            }
        });
        self.tell();
        is_left
    }

    /// Does what is wanted, and says what a reader waits for beside the peer, and until when: the
    /// engine may do what no writer waits for. While somebody writes, it is for them to look after,
    /// and for the reader to come back soon.
    pub(crate) fn news(&self, until: Instant) -> (Option<BorrowedFd<'_>>, Instant) {
        let (mut news, mut is_held) = (None, false);
        if self.news.is_some() {
            match self.outflow.try_lock() {
                Some(mut outflow) => {
                    // An error shuts the socket down, which the reader sees.
                    let _ = outflow.ask(self);
                    // An engine that has ended may have left it readable.
                    news = outflow.readiness().and(self.news.as_ref()).map(AsFd::as_fd);
                }
                None => is_held = true,
            }
        }
        match self.tend() || is_held {
            true => (news, until.min(Instant::now() + TEND_EVERY)),
            false => (news, until),
        }
    }

    /// Waits until `receiver` may have something, or `news` is readable, or something is left to
    /// see to; as [`Receiver::wait_readable_or`].
    pub(crate) fn wait(
        &self,
        receiver: &Receiver,
        news: Option<BorrowedFd<'_>>,
        until: Instant,
    ) -> sealift_io::Result<bool> {
        let now = Instant::now();
        if now >= until {
            return Err(sealift_io::Error::Deadline { in_flight: 0 });
        }
        let bell = self.bell.listen();
        // What was left before is not rung for again, and one without a bell looks by itself.
        let is_left = self.wants(Wants::ANY) || bell.is_none();
        let until = if is_left { until.min(now + TEND_EVERY) } else { until };
        let waited = receiver.wait_readable_or(news.into_iter().chain(bell), until);
        self.bell.hush();
        waited
    }

    /// Has the sender read the notifications that wake a reader. A writer at work reads them by
    /// itself; and what is in the error queue may be somebody else's.
    pub(crate) fn hear(&self) {
        let is_heard = match self.outflow.try_lock() {
            Some(mut outflow) => {
                let standing = outflow.standing();
                outflow.drain();
                outflow.standing() < standing
            }
            None => false,
        };
        if !is_heard {
            std::thread::sleep(UNHEARD_PAUSE);
        }
        self.tend();
    }

    /// This link, for who must not keep it.
    pub(crate) fn downgrade(&self) -> Weak<dyn Holder> {
        self.me.clone() as _
    }

    /// Notes what [is to be told](Link::tell).
    fn note(&self, tidings: u8) {
        self.tidings.fetch_or(tidings, Ordering::SeqCst);
    }

    /// Tells those who wait, by one who does not have the writing side, or no longer (invariant 4).
    fn tell(&self) {
        let tidings = self.tidings.swap(0, Ordering::SeqCst);
        if tidings & Tidings::LEFT != 0 {
            self.bell.ring();
        }
        #[cfg(feature = "tokio")]
        if tidings != 0 {
            self.tasks.wake();
        }
    }

    /// Held for a moment; but under it a ticket is given to the user's session store, which takes
    /// as long as that does. A writer whose key has reached its limit waits for it.
    pub(crate) fn secrets(&self) -> MutexGuard<'_, Secrets> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a want.
    pub(crate) fn want(&self, want: u8) {
        if self.outflow.want(want) && want == Wants::PUMP {
            self.note(Tidings::LEFT);
        }
    }

    pub(crate) fn wants(&self, want: u8) -> bool {
        self.outflow.is_wanted(want)
    }

    /// Takes a want, if it is there, so that it is done once.
    pub(crate) fn take_want(&self, want: u8) -> bool {
        self.outflow.take_want(want)
    }

    /// A KeyUpdate of the peer is asked for.
    pub(crate) fn await_update(&self) {
        self.awaited_updates.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether one that came was asked for. Each is asked for once.
    pub(crate) fn take_awaited_update(&self) -> bool {
        let (relaxed, less) = (Ordering::Relaxed, |count: u64| count.checked_sub(1));
        self.awaited_updates.fetch_update(relaxed, relaxed, less).is_ok()
    }

    /// Notes that the kernel seals nothing more.
    pub(crate) fn ends(&self) {
        // Relaxed: a request that comes meanwhile finds either.
        self.is_ended.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::Relaxed)
    }

    /// The error that ended the connection, if one did.
    pub(crate) fn check(&self) -> Result<()> {
        self.failure.get().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// Ends the connection: tells the peer if that is possible without waiting, and wakes a writer
    /// that waits for it.
    pub(crate) fn fail(&self, error: &Error) {
        if !self.set_failure(error) {
            return;
        }
        self.tell();
        match (self.outflow_soon(), error.alert()) {
            (Some(mut outflow), Some(alert)) => {
                // The peer may be gone.
                let _ = outflow.send_last(self, alert, Instant::now() + MOMENT);
            }
            (Some(_), None) => {}
            (None, _) => drop(shutdown(&*self.socket, Shutdown::Both)),
        }
        self.tend();
    }

    /// As [`fail`](Link::fail), by one who has the writing side, and left nothing of it; others are
    /// told when it is given up.
    pub(crate) fn fail_outflow(&self, error: &Error) {
        if self.set_failure(error) {
            let _ = shutdown(&*self.socket, Shutdown::Both);
        }
    }

    /// Keeps the first error, which is to be told; false if it is not the first.
    fn set_failure(&self, error: &Error) -> bool {
        let is_first = self.failure.set(error.clone()).is_ok();
        if is_first {
            self.note(Tidings::GOT_ON);
        }
        is_first
    }

    /// The writing side, unless a writer keeps it: those who look for frames or figures have it for
    /// a moment only.
    fn outflow_soon(&self) -> Option<MutexGuard<'_, Outgoing>> {
        let until = Instant::now() + MOMENT;
        loop {
            match self.outflow.try_lock() {
                None if Instant::now() < until => std::thread::sleep(MOMENT / 50),
                outflow => return outflow,
            }
        }
    }

    /// Tells the peer's kernel that no more comes, behind close_notify.
    pub(crate) fn end_stream(&self) -> Result<()> {
        match shutdown(&*self.socket, Shutdown::Write) {
            Ok(()) => {
                self.with_outflow(Outgoing::stream_ended);
                Ok(())
            }
            // The peer has gone already, which it may, behind its own end.
            Err(rustix::io::Errno::NOTCONN) => Ok(()),
            Err(errno) => {
                let errno = errno.into();
                Err(Error::Io(sealift_io::Error::System { call: "shutdown", errno }))
            }
        }
    }

    pub(crate) fn publish(&self, counts: &inflow::Counts, receives: u64) {
        self.opened.publish(counts, receives);
    }

    /// The figures so far. Waits for a writer that is at work, and sees to what one left before.
    pub(crate) fn stats(&self) -> Stats {
        self.tend();
        let (sealed, sealing, sender) = self
            .with_outflow(|outflow| (outflow.counts(), outflow.offload(), outflow.sender_stats()));
        let (counts, receives) = self.opened.last();
        Stats::new(self.makers.clone(), &sealed, &counts, receives, sealing, sender)
    }
}

impl Holder for Link {
    /// Of a stream that is in use nothing is taken back: it looks after that by itself, and may
    /// hold more afterwards.
    fn still_holds(&self) -> bool {
        let Some(mut outflow) = self.outflow.try_lock() else { return true };
        let standing = outflow.standing();
        let still_holds = outflow.reap();
        let has_got_on = outflow.standing() < standing;
        drop(outflow);
        if has_got_on {
            // This thread is none of the stream's.
            #[cfg(feature = "tokio")]
            self.tasks.stir();
        }
        self.tend();
        still_holds
    }
}
