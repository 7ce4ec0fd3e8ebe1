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

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use crate::link::Link;

/// Streams looked at by one that needs a frame. Each look may be a system call.
const LOOKS: usize = 8;
/// So many are not worth a search for those that are gone.
const FEW: usize = 64;

/// The streams that have frames of one pool.
#[derive(Debug, Default)]
pub(crate) struct Holders(Mutex<Listed>);

#[derive(Debug, Default)]
struct Listed {
    links: VecDeque<Weak<Link>>,
    /// How many were there when those that are gone were last struck off.
    kept: usize,
}

impl Holders {
    fn lock(&self) -> MutexGuard<'_, Listed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a stream, which is there once at most.
    pub(crate) fn list(&self, link: Weak<Link>) {
        let mut listed = self.lock();
        if listed.links.len() >= 2 * listed.kept + FEW {
            listed.links.retain(|link| link.strong_count() > 0);
            listed.kept = listed.links.len();
        }
        listed.links.push_back(link);
    }

    /// Takes back what some of them have under way no longer. Never waits for a stream that is in
    /// use.
    pub(crate) fn reap(&self) {
        let mut looks = 0;
        while looks < LOOKS {
            // Not locked while a stream is looked at, or dropped.
            let Some(link) = self.lock().links.pop_front() else { return };
            let Some(holder) = link.upgrade() else { continue };
            looks += 1;
            if holder.still_holds() {
                self.list(link);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn len(holders: &Holders) -> usize {
        holders.lock().links.len()
    }

    #[test]
    fn streams_that_are_gone_are_struck_off() {
        let holders = Holders::default();
        for _ in 0..10_000 {
            holders.list(Weak::new());
            assert!(len(&holders) <= FEW + 1);
        }
    }

    #[test]
    fn streams_that_are_gone_are_no_looks() {
        let holders = Holders::default();
        (0..3 * LOOKS).for_each(|_| holders.list(Weak::new()));
        holders.reap();
        assert_eq!(len(&holders), 0);
    }
}
