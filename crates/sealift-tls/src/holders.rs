//! Streams that have frames of a shared pool under way, and perhaps nobody who looks after them.
//!
//! ```text
//!  a write leaves frames with the kernel ──list──► holders ──reap──► frames that came back
//!                                                     ▲                  │ the pool was empty
//!                                                     └── still under way ┘
//! ```
//!
//! A stream takes frames back when it is used. One that is idle after a large answer would keep
//! them for as long; so whoever finds the pool empty takes back what idle streams need no more.
//!
//! 1. A stream that is gone costs memory until it is struck off. So there are never more of those
//!    than of the others, but for [`FEW`].
//! 2. One that has frames under way is listed, and once: it notes whether it is, under its lock;
//!    and who takes it off the list to look at it puts it back, or has noted that it is off.

use std::collections::VecDeque;
use std::sync::{PoisonError, Weak};

use crate::sync::{Mutex, MutexGuard};

/// Streams looked at by one that needs a frame. Each look may be a system call.
const LOOKS: usize = 8;
/// So many are not worth a search for those that are gone.
const FEW: usize = 64;

/// One that has frames of a pool.
pub(crate) trait Holder: Send + Sync {
    /// Takes back what is under way no longer; whether something still is. Does not wait, and says
    /// yes, while the stream is in use.
    fn still_holds(&self) -> bool;
}

/// What a stream notes about itself, under its lock.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    is_listed: bool,
}

impl Listing {
    /// Lists a stream that has frames under way, unless it is listed.
    pub(crate) fn enter(&mut self, holders: &Holders, stream: impl FnOnce() -> Weak<dyn Holder>) {
        if !self.is_listed {
            holders.list(stream());
            self.is_listed = true;
        }
    }

    /// Notes what one who took the stream off the list has found.
    pub(crate) fn note(&mut self, still_holds: bool) {
        self.is_listed = still_holds;
    }
}

/// The streams that have frames of one pool.
#[derive(Debug, Default)]
pub(crate) struct Holders(Mutex<Listed>);

#[derive(Debug, Default)]
struct Listed {
    streams: VecDeque<Weak<dyn Holder>>,
    /// How many were there when those that are gone were last struck off.
    kept: usize,
}

impl Holders {
    fn lock(&self) -> MutexGuard<'_, Listed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a stream, which is there once at most.
    fn list(&self, stream: Weak<dyn Holder>) {
        let mut listed = self.lock();
        if listed.streams.len() >= 2 * listed.kept + FEW {
            listed.streams.retain(|stream| stream.strong_count() > 0);
            listed.kept = listed.streams.len();
        }
        listed.streams.push_back(stream);
    }

    /// Takes back what some of them have under way no longer. Never waits for a stream that is in
    /// use.
    pub(crate) fn reap(&self) {
        let (mut looks, listed) = (0, self.lock().streams.len());
        for _ in 0..listed {
            // Not locked while a stream is looked at, or dropped.
            let Some(stream) = self.lock().streams.pop_front() else { return };
            let Some(holder) = stream.upgrade() else { continue };
            if holder.still_holds() {
                self.list(stream);
            }
            looks += 1;
            if looks == LOOKS {
                return;
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// One that has frames under way for ever, and counts how often it was looked at.
    #[derive(Default)]
    struct Stream(AtomicUsize);

    impl Holder for Stream {
        fn still_holds(&self) -> bool {
            self.0.fetch_add(1, Ordering::SeqCst);
            true
        }
    }

    fn len(holders: &Holders) -> usize {
        holders.lock().streams.len()
    }

    #[test]
    fn streams_that_are_gone_are_struck_off() {
        let holders = Holders::default();
        for _ in 0..10_000 {
            holders.list(Weak::<Stream>::new());
            assert!(len(&holders) <= FEW + 1);
        }
    }

    #[test]
    fn streams_that_are_gone_are_no_looks() {
        let holders = Holders::default();
        (0..3 * LOOKS).for_each(|_| holders.list(Weak::<Stream>::new()));
        holders.reap();
        assert_eq!(len(&holders), 0);
    }

    /// Each look may be a system call, and so soon it finds nothing else.
    #[test]
    fn a_stream_is_looked_at_once_at_a_time_and_so_many_at_most() {
        for count in [1, LOOKS, 2 * LOOKS] {
            let holders = Holders::default();
            let streams: Vec<Arc<Stream>> = (0..count).map(|_| Arc::default()).collect();
            streams.iter().for_each(|stream| holders.list(Arc::downgrade(stream) as _));
            holders.reap();
            let looks = |stream: &Arc<Stream>| stream.0.load(Ordering::SeqCst);
            let expected = (0..count).map(|at| usize::from(at < LOOKS));
            assert!(streams.iter().map(looks).eq(expected), "{count}");
            assert_eq!(len(&holders), count, "none is lost");
        }
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    use std::sync::Arc;

    use super::*;
    use crate::attended::Attended;

    /// A stream, as far as its frames go.
    struct Stream(Attended<Account>);

    #[derive(Default)]
    struct Account {
        under_way: usize,
        listing: Listing,
    }

    impl Stream {
        /// Leaves frames with the kernel, or has all of them back.
        fn turn(self: &Arc<Self>, holders: &Holders, under_way: usize) {
            let mut account = self.0.lock();
            account.under_way = under_way;
            if under_way > 0 {
                account.listing.enter(holders, || Arc::downgrade(self) as _);
            }
        }
    }

    impl Holder for Stream {
        fn still_holds(&self) -> bool {
            let Some(mut account) = self.0.try_lock() else { return true };
            let still_holds = account.under_way > 0;
            account.listing.note(still_holds);
            still_holds
        }
    }

    /// Others look for frames while a stream has some, has none, and has some.
    fn reap_among(reapers: usize) {
        let holders = Arc::new(Holders::default());
        let stream = Arc::new(Stream(Attended::new(Account::default())));
        stream.turn(&holders, 1);
        let reap = |_| {
            let holders = holders.clone();
            loom::thread::spawn(move || holders.reap())
        };
        let reapers: Vec<_> = (0..reapers).map(reap).collect();
        stream.turn(&holders, 0);
        stream.turn(&holders, 1);
        reapers.into_iter().for_each(|reaper| reaper.join().unwrap());
        assert_eq!(holders.lock().streams.len(), 1, "it is listed, and once");
    }

    #[test]
    fn loom_a_holder_is_listed_once_whoever_looks() {
        loom::model(|| reap_among(1));
    }

    #[test]
    fn loom_a_holder_is_listed_once_though_two_look() {
        loom::model(|| reap_among(2));
    }
}
