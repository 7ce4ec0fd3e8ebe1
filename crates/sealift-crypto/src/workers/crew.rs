//! The threads, and the two queues between them and the engine's owner.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;

use crate::bell::{Bell, EventCounter};
use crate::engine::Done;
use crate::error::{Error, Result};
use crate::job::{Destination, Job, Source};
use crate::moment::after;
use crate::panics;
use crate::sync::atomic::{AtomicBool, Ordering};

use super::NAME;
use super::parking::Parking;

/// Looks at a queue between two looks at the clock.
const LOOKS: usize = 32;

/// What the threads and the owner share.
pub(super) struct Shared<S, D> {
    /// Jobs that nobody has begun.
    pub(super) jobs: ArrayQueue<Job<S, D>>,
    /// Jobs that are over. Either queue has room for all jobs that are in flight.
    pub(super) done: ArrayQueue<Done<S, D>>,
    pub(super) parking: Parking,
    pub(super) bell: Bell<EventCounter>,
    stopping: AtomicBool,
}

impl<S, D> Shared<S, D> {
    pub(super) fn new(depth: usize) -> Result<Self> {
        Ok(Self {
            jobs: ArrayQueue::new(depth),
            done: ArrayQueue::new(depth),
            parking: Parking::new(),
            bell: Bell::new(EventCounter::new(NAME)?),
            stopping: AtomicBool::new(false),
        })
    }

    fn is_stopping(&self) -> bool {
        // Relaxed: it says only that there is an end; the parking's fences order it for sleepers.
        self.stopping.load(Ordering::Relaxed)
    }

    /// Makes the threads end once each has finished its job, and waits for them.
    pub(super) fn stop(&self, threads: &mut Vec<JoinHandle<()>>) {
        self.stopping.store(true, Ordering::Relaxed);
        self.parking.wake(threads.len());
        for thread in threads.drain(..) {
            // A worker catches what its jobs throw, so it has no panic to tell of.
            let _ = thread.join();
        }
        self.stopping.store(false, Ordering::Relaxed);
    }
}

impl<S: Source + 'static, D: Destination + 'static> Shared<S, D> {
    /// Starts threads until there are `count`.
    pub(super) fn start(
        self: &Arc<Self>,
        threads: &mut Vec<JoinHandle<()>>,
        count: usize,
        spin: Duration,
    ) -> Result<()> {
        while threads.len() < count {
            let shared = self.clone();
            let builder = std::thread::Builder::new().name("sealift-worker".into());
            let thread = builder.spawn(move || shared.work(spin)).map_err(|_| Error::Engine {
                engine: NAME,
                what: "the system did not let it start a thread",
            })?;
            threads.push(thread);
        }
        Ok(())
    }

    fn work(&self, spin: Duration) {
        while !self.is_stopping() {
            if let Some(job) = self.jobs.pop() {
                self.finish(panics::perform(job, NAME));
                continue;
            }
            let has_work = || !self.jobs.is_empty() || self.is_stopping();
            if !spin_until(after(Instant::now(), spin), has_work) {
                self.parking.park(has_work);
            }
        }
    }

    fn finish(&self, mut done: Done<S, D>) {
        // There is room for every job in flight.
        while let Err(refused) = self.done.push(done) {
            done = refused;
            std::thread::yield_now();
        }
        self.bell.ring();
    }
}

/// Looks until there is something or it is `end`; says whether there was.
pub(super) fn spin_until(end: Instant, is_there: impl Fn() -> bool) -> bool {
    loop {
        for _ in 0..LOOKS {
            if is_there() {
                return true;
            }
            std::hint::spin_loop();
        }
        if Instant::now() >= end {
            return false;
        }
    }
}
