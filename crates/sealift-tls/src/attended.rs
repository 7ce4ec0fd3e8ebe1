//! Something under a lock, and what those want of its holder who never wait for the lock.
//!
//! ```text
//!  one who wants: want ──► tend ──► the lock is free: does it
//!                            └────► it is held:       its holder does
//!  a holder:      unlock ──► is_wanted ──► tend
//! ```
//!
//! 1. Who leaves a want never waits: it leaves it, and tries the lock.
//! 2. Whoever gives the lock up asks what is wanted afterwards. So what was wanted while the lock
//!    was held is done: by its holder, or by the one who wants it.
//! 3. Wants that are newly left are counted, so that one which is left again while it is being done
//!    is not taken for one that could not be done.

use std::sync::{PoisonError, TryLockError};

use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// The wants are the lowest bits, one each; above them they are counted (invariant 3).
const WANTS: u32 = 0xff;
const ONE: u32 = WANTS + 1;

/// What is under the lock, and what is wanted of it.
pub(crate) struct Attended<T> {
    held: Mutex<T>,
    wants: AtomicU32,
}

impl<T> Attended<T> {
    pub(crate) fn new(held: T) -> Self {
        Self { held: Mutex::new(held), wants: AtomicU32::new(0) }
    }

    /// Waits for the lock. Who has it asks what [is wanted](Attended::is_wanted) afterwards.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, unless somebody has it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.held.try_lock() {
            Ok(held) => Some(held),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Leaves a want, for [`tend`](Attended::tend); whether it was not there already. Sequentially
    /// consistent with the lock's use.
    pub(crate) fn want(&self, want: u8) -> bool {
        let mut is_new = false;
        // It is written even if nothing changes, so that it is in order with the others' writes.
        let _ = self.wants.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |wants| {
            is_new = wants & u32::from(want) != u32::from(want);
            let count = if is_new { ONE } else { 0 };
            Some((wants | u32::from(want)).wrapping_add(count))
        });
        is_new
    }

    /// Whether one of these is wanted, to be asked after the lock was given up.
    pub(crate) fn is_wanted(&self, wants: u8) -> bool {
        self.wants.load(Ordering::SeqCst) & u32::from(wants) != 0
    }

    /// Takes a want, if it is there, so that it is done once.
    pub(crate) fn take_want(&self, want: u8) -> bool {
        let want = u32::from(want);
        self.wants.fetch_and(!want, Ordering::SeqCst) & want != 0
    }

    /// Has `work` do what is wanted, if nobody has the lock; says whether something is left that
    /// only time brings, or its holder does.
    pub(crate) fn tend(&self, mut work: impl FnMut(&mut T)) -> bool {
        loop {
            let before = self.wants.load(Ordering::SeqCst);
            if before & WANTS == 0 {
                return false;
            }
            let Some(mut held) = self.try_lock() else { return true };
            work(&mut held);
            drop(held);
            if self.wants.load(Ordering::SeqCst) == before {
                return true;
            }
        }
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    use loom::sync::Arc;

    use super::*;

    const EACH: [u8; 2] = [1, 2];

    /// How often each of the wants was done.
    type Done = [u32; EACH.len()];

    fn tend(attended: &Attended<Done>) {
        attended.tend(|done| {
            for (done, want) in done.iter_mut().zip(EACH) {
                *done += u32::from(attended.take_want(want));
            }
            // Others may come between that and the lock's end.
            attended.is_wanted(EACH[0]);
        });
    }

    /// Some hold the lock for a moment each, while each of the others wants something once.
    fn want_among(holders: usize, wants: usize) {
        let attended = Arc::new(Attended::new([0; EACH.len()]));
        let spawn = |work: fn(&Attended<Done>, u8), want| {
            let attended = attended.clone();
            loom::thread::spawn(move || {
                work(&attended, want);
                tend(&attended);
            })
        };
        let holders = (0..holders).map(|_| spawn(|attended, _| drop(attended.lock()), 0));
        let threads: Vec<_> = holders
            .chain(
                EACH[1..wants]
                    .iter()
                    .map(|want| spawn(|attended, want| _ = attended.want(want), *want)),
            )
            .collect();
        attended.want(EACH[0]);
        tend(&attended);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let done = attended.lock()[..wants].to_vec();
        assert_eq!(done, vec![1; wants], "it is done, and once");
    }

    /// What is wanted once more, while it is done, is done once more.
    #[test]
    fn loom_what_is_wanted_again_meanwhile_is_done_again() {
        loom::model(|| {
            let attended = Arc::new(Attended::new([0; EACH.len()]));
            attended.want(EACH[0]);
            let other = attended.clone();
            let other = loom::thread::spawn(move || tend(&other));
            attended.want(EACH[0]);
            tend(&attended);
            other.join().unwrap();
            assert!(!attended.is_wanted(EACH[0]), "the second is left");
        });
    }

    #[test]
    fn loom_what_is_wanted_is_done_by_the_holder_or_by_who_wants_it() {
        loom::model(|| want_among(1, 1));
    }

    #[test]
    fn loom_what_is_wanted_is_done_among_two_holders() {
        loom::model(|| want_among(2, 1));
    }

    /// The one who is at it has to look again.
    #[test]
    fn loom_what_two_want_is_done_by_either() {
        loom::model(|| want_among(0, 2));
    }
}
