//! Where workers sleep, and how they are woken.
//!
//! ```text
//!  worker:     lock ─ count itself ─ fence ─ look for work ─ sleep (unlocks)
//!  submitter:  push ─ fence ─ anyone counted? lock, unlock, notify
//! ```
//! 1. Either the worker sees the work, or the submitter the worker: two fences, as in the bell.
//! 2. A worker that was counted holds the lock until it sleeps, so no notification comes too early.
//! 3. While all workers are awake, waking costs the submitter a load.

use crate::sync::atomic::{AtomicUsize, Ordering, fence};
use crate::sync::{Condvar, Mutex, lock};

pub(super) struct Parking {
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    woken: Condvar,
}

impl Parking {
    pub(super) fn new() -> Self {
        Self { sleepers: AtomicUsize::new(0), lock: Mutex::new(()), woken: Condvar::new() }
    }

    /// Sleeps until there is work.
    pub(super) fn park(&self, has_work: impl Fn() -> bool) {
        let mut guard = lock(&self.lock);
        // Relaxed, as all here: the fences order it.
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        while !has_work() {
            guard = self.woken.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Wakes as many workers, if so many sleep. What they are to find was pushed before.
    pub(super) fn wake(&self, workers: usize) {
        fence(Ordering::SeqCst);
        let sleepers = self.sleepers.load(Ordering::Relaxed);
        if sleepers > 0 && workers > 0 {
            drop(lock(&self.lock));
            (0..workers.min(sleepers)).for_each(|_| self.woken.notify_one());
        }
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use crate::sync::atomic::AtomicBool;
    use loom::sync::Arc;

    /// Workers take all the work and then see the end; one that slept through either would never
    /// end, which loom reports.
    fn work(workers: usize, jobs: usize) {
        let parking = Arc::new(Parking::new());
        // Stand for the queue; relaxed, so that only the fences of the parking order them.
        let (queue, stopping) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let spawn = |_| {
            let (parking, queue, stopping) = (parking.clone(), queue.clone(), stopping.clone());
            loom::thread::spawn(move || {
                let mut taken = 0;
                loop {
                    let take = |left: usize| left.checked_sub(1);
                    if queue.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                        taken += 1;
                    } else if stopping.load(Ordering::Relaxed) {
                        return taken;
                    } else {
                        parking.park(|| {
                            queue.load(Ordering::Relaxed) > 0 || stopping.load(Ordering::Relaxed)
                        });
                    }
                }
            })
        };
        let workers: Vec<_> = (0..workers).map(spawn).collect();
        for _ in 0..jobs {
            queue.fetch_add(1, Ordering::Relaxed);
            parking.wake(1);
        }
        stopping.store(true, Ordering::Relaxed);
        parking.wake(workers.len());
        let taken: usize = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
        assert_eq!(taken + queue.load(Ordering::Relaxed), jobs);
    }

    #[test]
    fn loom_a_worker_never_sleeps_through_work() {
        loom::model(|| work(1, 2));
    }

    #[test]
    fn loom_of_two_workers_none_sleeps_through_work() {
        loom::model(|| work(2, 1));
    }
}
