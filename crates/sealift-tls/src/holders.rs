//! Streams that have frames of the shared pool under way, and perhaps nobody who looks after them.
//!
//! ```text
//!  a write leaves frames with the kernel ──list──► holders ──reap──► frames that came back
//!                                                     ▲                  │ the pool was empty
//!                                                     └── still under way ┘
//! ```
//!
//! A stream takes frames back when it is used. One that is idle after a large answer would keep
//! them for as long; so whoever finds the pool empty takes back what idle streams need no more.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use crate::link::Link;

/// Streams looked at by one that needs a frame. Each look may be a system call.
const LOOKS: usize = 8;

static HOLDERS: Mutex<VecDeque<Weak<Link>>> = Mutex::new(VecDeque::new());

fn holders() -> MutexGuard<'static, VecDeque<Weak<Link>>> {
    HOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a stream, which is there once at most.
pub(crate) fn list(link: Weak<Link>) {
    holders().push_back(link);
}

/// Takes back what some of them have under way no longer. Never waits for a stream that is in use.
pub(crate) fn reap() {
    for _ in 0..LOOKS {
        // Not locked while a stream is looked at, or dropped.
        let Some(link) = holders().pop_front() else { return };
        if let Some(holder) = link.upgrade()
            && holder.still_holds()
        {
            list(link);
        }
    }
}
