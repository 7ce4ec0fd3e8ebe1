//! Wakes a reader that waits for its socket, when others leave it something to see to.
//!
//! ```text
//!  the reader:  listen ──► is nothing left? ──► sleeps on socket and bell ──► hush
//!  a writer:    leaves something ──► the lock is given up ──► ring
//! ```
//!
//! 1. Who listens does so before its last look, and who leaves something rings behind that. So one
//!    of them finds what the other did.
//! 2. Whoever rings takes the mark of the listener first. So there is one ring for each mark, which
//!    that listener takes back, and nothing is rung for nobody: a write costs no system call.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, retry_on_intr, write};

use crate::sync::atomic::{AtomicBool, Ordering};

/// For one listener at a time.
pub(crate) struct Bell {
    /// A counter of the kernel's, made for the first who sleeps.
    counter: OnceLock<OwnedFd>,
    is_listening: AtomicBool,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self { counter: OnceLock::new(), is_listening: AtomicBool::new(false) }
    }

    /// Begins to listen: what is readable once it rings. Without a descriptor to be had there is
    /// no bell, and who waits has to look by itself. Behind this, look whether something is left.
    pub(crate) fn listen(&self) -> Option<BorrowedFd<'_>> {
        if self.counter.get().is_none() {
            let counter = eventfd(0, EventfdFlags::CLOEXEC).ok()?;
            let _ = self.counter.set(counter);
        }
        let counter = self.counter.get()?;
        self.mark();
        Some(counter.as_fd())
    }

    /// Ends to listen, so that the next who does hears no ring of before.
    pub(crate) fn hush(&self) {
        if let Some(counter) = self.counter.get()
            && !self.take_mark()
        {
            // Who took the mark may be about to ring: it is waited for.
            let _ = retry_on_intr(|| read(counter, &mut [0; 8]));
        }
    }

    /// Wakes who listens, if somebody does.
    pub(crate) fn ring(&self) {
        if self.take_mark()
            && let Some(counter) = self.counter.get()
        {
            let _ = retry_on_intr(|| write(counter, &1u64.to_ne_bytes()));
        }
    }

    /// A swap, not a store: either it comes behind [`take_mark`](Bell::take_mark), and with it
    /// shows what was left before that, or that finds it (invariant 1).
    fn mark(&self) {
        self.is_listening.swap(true, Ordering::SeqCst);
    }

    /// Whether this is the first to take it (invariant 2).
    fn take_mark(&self) -> bool {
        self.is_listening.swap(false, Ordering::SeqCst)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn rings(bell: BorrowedFd<'_>) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::from_borrowed_fd(bell, PollFlags::IN)], Some(&now)).unwrap() > 0
    }

    #[test]
    fn it_rings_once_for_who_listens_and_never_for_the_next() {
        let bell = Bell::new();
        bell.ring();
        for _ in 0..2 {
            let heard = bell.listen().unwrap();
            assert!(!rings(heard), "that was before");
            bell.ring();
            bell.ring();
            assert!(rings(heard));
            bell.hush();
            bell.ring();
            assert!(!rings(heard), "nobody listens");
        }
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    use loom::sync::Arc;

    use super::*;
    use crate::attended::Attended;

    const LEFT: u8 = 4;

    /// A reader that would sleep for ever knows of what is left, or is rung for.
    #[test]
    fn loom_what_is_left_is_seen_or_rung_for() {
        loom::model(|| {
            let shared = Arc::new((Attended::new(()), Bell::new()));
            let writer = shared.clone();
            let writer = loom::thread::spawn(move || {
                let held = writer.0.lock();
                writer.0.want(LEFT);
                drop(held);
                writer.1.take_mark()
            });
            shared.1.mark();
            let is_seen = shared.0.is_wanted(LEFT);
            let is_rung = writer.join().unwrap();
            assert!(is_seen || is_rung);
        });
    }
}
