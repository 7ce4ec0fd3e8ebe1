//! The engine that works on other cores.
//!
//! ```text
//!  submit ─► pending ──a batch──► jobs ─► worker ─► done ─► poll
//!               └──── less: in poll, here ────────────────────┘
//!                        wait: takes from jobs, too, before it sleeps
//! ```
//! 1. A thread is woken for a batch and never for less: a hand-over costs more than a small job.
//!    What makes no batch is done by the caller's own thread, in `poll`.
//! 2. No more jobs are in flight than each queue holds, so no push is ever refused.
//! 3. A job is in one place at a time: pending, queued, with a worker, or done. Dropping the engine
//!    ends the threads first and then drops what is in those places.

mod crew;
mod parking;

use std::cell::Cell;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::bell::Listener;
use crate::engine::{Capabilities, Done, Engine, EngineStats, Stopped};
use crate::error::{Error, Result};
use crate::job::{Destination, Job, Source};
use crate::moment::after;
use crate::panics;
use crate::suite::Suite;

use crew::{Shared, spin_until};

const NAME: &str = "workers";

/// Seals and opens on other cores, and on the caller's while it waits.
///
/// Made by [`Workers::builder`]. A source or a destination that panics costs its job the result
/// ([`Error::Engine`]) and nobody else anything. Dropping the engine drops the jobs in flight, once
/// no thread works on them any more.
///
/// A [`wait`](Engine::wait) with queued jobs does one of them instead of sleeping, so it may return
/// later than its deadline by the length of a job.
pub struct Workers<S, D> {
    capabilities: Capabilities,
    shared: Arc<Shared<S, D>>,
    threads: Vec<JoinHandle<()>>,
    settings: WorkersBuilder,
    /// Taken, and not a batch yet.
    pending: VecDeque<Job<S, D>>,
    pending_units: usize,
    pending_bytes: usize,
    /// Done by the caller's own thread.
    own: VecDeque<Done<S, D>>,
    in_flight: usize,
    listener: Listener,
    /// Somebody waits on the descriptor outside of `wait`.
    watched: Cell<bool>,
    stats: EngineStats,
}

/// Makes [`Workers`].
#[derive(Clone, Debug)]
#[must_use]
pub struct WorkersBuilder {
    threads: usize,
    depth: usize,
    batch_units: usize,
    batch_bytes: usize,
    spin: Duration,
}

impl Default for WorkersBuilder {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // Where the caller and one worker are all there is room for, spinning takes from either.
        let spin = Duration::from_micros(if cores > 2 { 20 } else { 5 });
        let threads = cores.saturating_sub(1).max(1);
        Self { threads, depth: 1024, batch_units: 8, batch_bytes: 32 * 1024, spin }
    }
}

impl WorkersBuilder {
    /// Threads; one less than the cores unless said, for the caller's core works while it waits.
    /// With none, the caller does everything.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Jobs in flight at most; at least 1.
    pub fn depth(mut self, depth: usize) -> Self {
        self.depth = depth.max(1);
        self
    }

    /// What a thread is woken for: so many messages or so many bytes, whichever are there first.
    pub fn batch(mut self, units: usize, bytes: usize) -> Self {
        (self.batch_units, self.batch_bytes) = (units, bytes);
        self
    }

    /// How long a thread looks for more before it sleeps.
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = spin;
        self
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// [`Error::Engine`] if the system has no thread or no descriptor to give.
    pub fn build<S, D>(self) -> Result<Workers<S, D>>
    where
        S: Source + 'static,
        D: Destination + 'static,
    {
        let capabilities = Capabilities {
            name: NAME,
            suites: Suite::ALL.to_vec(),
            in_place: true,
            out_of_place: true,
            most_unit_bytes: u32::MAX as usize,
            depth: self.depth,
            key_slots: None,
            synchronous: false,
        };
        let mut workers = Workers {
            capabilities,
            shared: Arc::new(Shared::new(self.depth)?),
            threads: Vec::with_capacity(self.threads),
            pending: VecDeque::with_capacity(self.depth),
            pending_units: 0,
            pending_bytes: 0,
            own: VecDeque::with_capacity(self.depth),
            in_flight: 0,
            listener: Listener::default(),
            watched: Cell::new(false),
            stats: EngineStats::default(),
            settings: self,
        };
        workers.start()?;
        Ok(workers)
    }
}

impl Workers<(), ()> {
    /// A builder with the defaults that suit most.
    pub fn builder() -> WorkersBuilder {
        WorkersBuilder::default()
    }
}

impl<S: Source + 'static, D: Destination + 'static> Workers<S, D> {
    /// Starts the threads again after [`stop`](Workers::stop).
    ///
    /// # Errors
    /// [`Error::Engine`] if the system has no thread to give; those that started stay.
    pub fn start(&mut self) -> Result<()> {
        self.shared.start(&mut self.threads, self.settings.threads, self.settings.spin)
    }

    /// Whether what is pending is worth waking a thread for.
    fn is_batch(&self) -> bool {
        let (units, bytes) = (self.settings.batch_units, self.settings.batch_bytes);
        !self.threads.is_empty() && (self.pending_units >= units || self.pending_bytes >= bytes)
    }

    /// Queues what is pending and wakes a thread.
    fn hand_over(&mut self) {
        while let Some(job) = self.pending.pop_front() {
            if let Err(job) = self.shared.jobs.push(job) {
                // Invariant 2 says no; if it were wrong, the caller's thread would do it.
                self.pending.push_front(job);
                break;
            }
        }
        (self.pending_units, self.pending_bytes) = (0, 0);
        self.shared.parking.wake(1);
    }

    /// Does what is pending, here.
    fn do_pending(&mut self) {
        while let Some(job) = self.pending.pop_front() {
            self.own.push_back(panics::perform(job, NAME));
        }
        (self.pending_units, self.pending_bytes) = (0, 0);
    }
}

impl<S, D> Workers<S, D> {
    /// Ends the threads, each after the job it is at. What they had not begun, and whatever is
    /// submitted until [`start`](Workers::start), is done by the caller's thread in `poll`.
    pub fn stop(&mut self) {
        self.shared.stop(&mut self.threads);
        self.reclaim();
        if self.watched.get() {
            self.shared.bell.ring();
        }
    }

    /// Takes back what no thread has begun.
    fn reclaim(&mut self) {
        self.pending.extend(std::iter::from_fn(|| self.shared.jobs.pop()));
    }

    /// Gives what is done, and begins nothing.
    fn collect(&mut self, done: &mut VecDeque<Done<S, D>>) {
        while let Some(one) = self.own.pop_front().or_else(|| self.shared.done.pop()) {
            self.give(one, done);
        }
    }

    fn has_something(&self) -> bool {
        let here = self.own.len() + self.pending.len();
        here > 0 || !self.shared.done.is_empty()
    }

    fn give(&mut self, one: Done<S, D>, done: &mut VecDeque<Done<S, D>>) {
        self.in_flight -= 1;
        self.stats.count(&one);
        done.push_back(one);
    }
}

impl<S: Source + 'static, D: Destination + 'static> Engine<S, D> for Workers<S, D> {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn submit(&mut self, jobs: &mut VecDeque<Job<S, D>>) -> Stopped {
        let stopped = loop {
            if jobs.is_empty() {
                break Stopped::Empty;
            } else if self.in_flight == self.settings.depth {
                break Stopped::Full;
            }
            let Some(job) = jobs.pop_front() else { break Stopped::Empty };
            self.in_flight += 1;
            self.stats.jobs += 1;
            self.pending_units += job.units().len();
            self.pending_bytes += job.len_bytes();
            self.pending.push_back(job);
            if self.is_batch() {
                self.hand_over();
            }
        };
        self.stats.depth_high = self.stats.depth_high.max(self.in_flight as u64);
        if self.watched.get() && !self.pending.is_empty() {
            self.shared.bell.ring();
        }
        stopped
    }

    fn poll(&mut self, done: &mut VecDeque<Done<S, D>>) -> usize {
        if self.watched.get() {
            self.listener.arm(&self.shared.bell);
        }
        self.do_pending();
        let before = self.in_flight;
        self.collect(done);
        before - self.in_flight
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn wait(&mut self, deadline: Instant) {
        if self.in_flight == 0 || self.has_something() {
            return;
        }
        if let Some(job) = self.shared.jobs.pop() {
            self.own.push_back(panics::perform(job, NAME));
            if self.watched.get() {
                self.shared.bell.ring();
            }
            return;
        }
        let spin_end = deadline.min(after(Instant::now(), self.settings.spin));
        if !spin_until(spin_end, || !self.shared.done.is_empty()) {
            self.listener.arm(&self.shared.bell);
            if self.shared.done.is_empty() {
                self.shared.bell.counter().sleep(deadline);
            }
        }
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        self.watched.set(true);
        self.listener.arm(&self.shared.bell);
        if self.has_something() {
            self.shared.bell.ring();
        }
        Some(self.shared.bell.counter().as_fd())
    }

    fn quiesce(&mut self, deadline: Instant, done: &mut VecDeque<Done<S, D>>) -> Result<()> {
        // All of it is done or given up below.
        (self.pending_units, self.pending_bytes) = (0, 0);
        loop {
            self.collect(done);
            if self.in_flight == 0 {
                return Ok(());
            } else if Instant::now() >= deadline {
                break;
            } else if let Some(job) = self.pending.pop_front() {
                self.own.push_back(panics::perform(job, NAME));
            } else {
                self.wait(deadline);
            }
        }
        let what = "the deadline passed before it began the job";
        self.reclaim();
        while let Some(job) = self.pending.pop_front() {
            let result = Err(Error::Engine { engine: NAME, what });
            self.give(Done { job, units_done: 0, result }, done);
        }
        match self.in_flight {
            0 => Ok(()),
            in_flight => Err(Error::Deadline { in_flight }),
        }
    }

    fn stats(&self) -> EngineStats {
        self.stats
    }
}

impl<S, D> Drop for Workers<S, D> {
    fn drop(&mut self) {
        self.stop();
        panics::discard(self.pending.drain(..));
        panics::discard(self.own.drain(..));
        panics::discard(std::iter::from_fn(|| self.shared.done.pop()));
    }
}
