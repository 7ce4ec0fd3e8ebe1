//! A bell that rings only for whoever listens: how the thread that takes completions is woken.
//!
//! ```text
//!  listener:  take the last ring's count, arm ─ fence ─ look at the queue ─ sleep on the counter
//!  ringer:    push ─ fence ─ armed? disarm, and add to the counter
//! ```
//! 1. One of the two sees the other: the listener what was pushed, or the ringer that the bell is
//!    armed. That is what the two fences are for.
//! 2. A bell rings once for each arming, so a busy listener costs its ringers one load.
//! 3. Only the listener arms. If it comes between a ringer's disarming and adding, it leaves the
//!    bell as it is: the count that is on its way wakes it then.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::error::{Error, Result};
use crate::sync::atomic::{AtomicBool, Ordering, fence};

/// What a listener sleeps on: a number that any thread adds to.
pub(crate) trait Counter {
    /// Adds one, which wakes the listener.
    fn add(&self);
    /// Sets it to zero; false if it was.
    fn take(&self) -> bool;
}

pub(crate) struct Bell<C> {
    armed: AtomicBool,
    counter: C,
}

/// The listener's own side of a bell.
#[derive(Default)]
pub(crate) struct Listener {
    /// The bell was armed, and the count of its ring was not taken.
    owed: Cell<bool>,
}

impl<C: Counter> Bell<C> {
    pub(crate) fn new(counter: C) -> Self {
        Self { armed: AtomicBool::new(false), counter }
    }

    /// Wakes the listener if it listens. What it is to see was pushed before.
    pub(crate) fn ring(&self) {
        fence(Ordering::SeqCst);
        // Relaxed: the fence orders it. The exchange lets one ringer through.
        if self.armed.load(Ordering::Relaxed) && self.armed.swap(false, Ordering::AcqRel) {
            self.counter.add();
        }
    }

    pub(crate) fn counter(&self) -> &C {
        &self.counter
    }
}

impl Listener {
    /// Makes the next push wake this thread. The queue is to be looked at after this, and before
    /// going to sleep.
    pub(crate) fn arm<C: Counter>(&self, bell: &Bell<C>) {
        // Acquire: pairs with the exchange of the ringer, whose adding may still be to come.
        if !bell.armed.load(Ordering::Acquire) && (!self.owed.get() || bell.counter.take()) {
            self.owed.set(true);
            bell.armed.store(true, Ordering::Release);
        }
        fence(Ordering::SeqCst);
    }
}

/// An event descriptor, which `poll` and `epoll` can wait on.
pub(crate) struct EventCounter {
    descriptor: OwnedFd,
}

impl EventCounter {
    pub(crate) fn new(engine: &'static str) -> Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let what = "it could not get an event descriptor";
        let descriptor = eventfd(0, flags).map_err(|_| Error::Engine { engine, what })?;
        Ok(Self { descriptor })
    }

    /// Sleeps until it is not zero, or until `deadline`.
    pub(crate) fn sleep(&self, deadline: Instant) {
        sleep_on(self.as_fd(), deadline);
    }
}

/// Sleeps until `descriptor` is readable, or until `deadline`. May return early.
pub(crate) fn sleep_on(descriptor: BorrowedFd<'_>, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    // Beyond what the type holds, as long as it can: the caller looks at the time itself.
    let limit = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 });
    // An interruption is an early return; nothing else can fail here.
    let _ = poll(&mut [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)], Some(&limit));
}

impl Counter for EventCounter {
    fn add(&self) {
        // Fails only if the counter is full, when it is readable anyway.
        let _ = rustix::io::write(&self.descriptor, &1u64.to_ne_bytes());
    }

    fn take(&self) -> bool {
        rustix::io::read(&self.descriptor, &mut [0u8; 8]).is_ok()
    }
}

impl AsFd for EventCounter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn is_readable(counter: &EventCounter) -> bool {
        let mut descriptors = [PollFd::from_borrowed_fd(counter.as_fd(), PollFlags::IN)];
        poll(&mut descriptors, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }

    #[test]
    fn a_bell_is_silent_until_armed_and_rings_once() {
        let bell = Bell::new(EventCounter::new("test").unwrap());
        let listener = Listener::default();
        bell.ring();
        assert!(!is_readable(bell.counter()));
        listener.arm(&bell);
        listener.arm(&bell);
        assert!(!is_readable(bell.counter()));
        bell.ring();
        bell.ring();
        assert!(is_readable(bell.counter()));
        listener.arm(&bell);
        assert!(!is_readable(bell.counter()), "the count was taken, and was one");
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use crate::sync::{Condvar, Mutex, lock};
    use loom::sync::Arc;

    #[derive(Default)]
    struct Modelled {
        count: Mutex<usize>,
        added: Condvar,
    }

    impl Modelled {
        fn sleep(&self) {
            let mut count = lock(&self.count);
            while *count == 0 {
                count = self.added.wait(count).unwrap();
            }
        }
    }

    impl Counter for Modelled {
        fn add(&self) {
            *lock(&self.count) += 1;
            self.added.notify_one();
        }

        fn take(&self) -> bool {
            std::mem::take(&mut *lock(&self.count)) > 0
        }
    }

    /// A listener that slept through a push would never end, which loom reports.
    fn listen(ringers: usize, pushes: usize) {
        let bell = Arc::new(Bell::new(Modelled::default()));
        // Stands for the queue; relaxed, so that only the bell's fences order it.
        let queue = Arc::new(crate::sync::atomic::AtomicUsize::new(0));
        for _ in 0..ringers {
            let (bell, queue) = (bell.clone(), queue.clone());
            loom::thread::spawn(move || {
                for _ in 0..pushes {
                    queue.fetch_add(1, Ordering::Relaxed);
                    bell.ring();
                }
            });
        }
        let (listener, mut seen) = (Listener::default(), 0);
        while seen < ringers * pushes {
            listener.arm(&bell);
            match queue.swap(0, Ordering::Relaxed) {
                0 => bell.counter().sleep(),
                pushed => seen += pushed,
            }
        }
    }

    #[test]
    fn loom_no_push_is_slept_through() {
        loom::model(|| listen(1, 2));
    }

    #[test]
    fn loom_no_push_of_two_ringers_is_slept_through() {
        loom::model(|| listen(2, 1));
    }
}
