//! A simulated device: real crypto, on a thread of its own, with a device's limits and failures.
//!
//! ```text
//!  submit ─ depth? key slot? at once? ─► queued ─ latency ─► the device's thread ─► done ─► poll
//!                                           │ lost, hung
//!                                           ▼
//!                                        vanished ── reset ──► done, with an error
//! ```
//! 1. A job is with the caller, queued, vanished, under the thread's hands, or done: once.
//! 2. A key holds a slot from its first job in flight to its last.
//! 3. Only a reset brings back what vanished; the thread finishes what it has under its hands.

mod device;

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
use crate::suite::Suite;

use device::Device;

const NAME: &str = "coprocessor";

/// A simulated coprocessor, for tests of what stands on engines. Made by [`Coprocessor::builder`].
///
/// [`quiesce`](Engine::quiesce) resets it, as a driver would, if it has broken down in a way that
/// shows, or if the deadline passed.
pub struct Coprocessor<S, D> {
    capabilities: Capabilities,
    settings: CoprocessorBuilder,
    device: Arc<Device<S, D>>,
    thread: Option<JoinHandle<()>>,
    /// Keys with jobs in flight, and how many.
    slots: Vec<(u64, usize)>,
    in_flight: usize,
    listener: Listener,
    /// Somebody waits on the descriptor outside of `wait`.
    watched: Cell<bool>,
    stats: EngineStats,
}

/// How a device breaks down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// What is in flight comes back with an error, and nothing is taken, until it is reset.
    Fails,
    /// It goes on taking jobs and does none of them, until it is reset.
    Hangs,
}

/// Makes a [`Coprocessor`].
#[derive(Clone, Debug)]
#[must_use]
pub struct CoprocessorBuilder {
    depth: usize,
    latency: Duration,
    key_slots: usize,
    accepts: usize,
    reorders: bool,
    loses_once_in: usize,
    crash: Option<(usize, Crash)>,
    seed: u64,
}

impl Default for CoprocessorBuilder {
    fn default() -> Self {
        Self {
            depth: 64,
            latency: Duration::from_micros(20),
            key_slots: 16,
            accepts: usize::MAX,
            reorders: false,
            loses_once_in: 0,
            crash: None,
            seed: 0,
        }
    }
}

impl CoprocessorBuilder {
    /// Jobs in flight at most; at least 1.
    pub fn depth(mut self, depth: usize) -> Self {
        self.depth = depth.max(1);
        self
    }

    /// How long a job takes, besides the work on it.
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Keys that may have jobs in flight at a time; at least 1.
    pub fn key_slots(mut self, key_slots: usize) -> Self {
        self.key_slots = key_slots.max(1);
        self
    }

    /// Jobs that one `submit` takes at most; at least 1.
    pub fn accepts(mut self, jobs: usize) -> Self {
        self.accepts = jobs.max(1);
        self
    }

    /// Jobs that are due are done in any order.
    pub fn reorders(mut self) -> Self {
        self.reorders = true;
        self
    }

    /// One in so many jobs vanishes until the device is reset; none for 0.
    pub fn loses_once_in(mut self, jobs: usize) -> Self {
        self.loses_once_in = jobs;
        self
    }

    /// It breaks down as it takes that many jobs, and again as many jobs after each reset.
    pub fn crashes_after(mut self, jobs: usize, crash: Crash) -> Self {
        self.crash = Some((jobs, crash));
        self
    }

    /// What the order and the losses are drawn from.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Starts the device.
    ///
    /// # Errors
    /// [`Error::Engine`] if the system has no thread or no descriptor to give.
    pub fn build<S, D>(self) -> Result<Coprocessor<S, D>>
    where
        S: Source + 'static,
        D: Destination + 'static,
    {
        let device = Arc::new(Device::new(&self)?);
        let (own, reorders) = (device.clone(), self.reorders);
        let builder = std::thread::Builder::new().name("sealift-device".into());
        let thread = builder.spawn(move || own.run(reorders)).map_err(|_| Error::Engine {
            engine: NAME,
            what: "the system did not let it start a thread",
        })?;
        let capabilities = Capabilities {
            name: NAME,
            suites: Suite::ALL.to_vec(),
            in_place: true,
            out_of_place: true,
            most_unit_bytes: u32::MAX as usize,
            depth: self.depth,
            key_slots: Some(self.key_slots),
            synchronous: false,
        };
        Ok(Coprocessor {
            capabilities,
            slots: Vec::with_capacity(self.key_slots),
            settings: self,
            device,
            thread: Some(thread),
            in_flight: 0,
            listener: Listener::default(),
            watched: Cell::new(false),
            stats: EngineStats::default(),
        })
    }
}

impl Coprocessor<(), ()> {
    /// A builder of a device that is well.
    pub fn builder() -> CoprocessorBuilder {
        CoprocessorBuilder::default()
    }
}

impl<S, D> Coprocessor<S, D> {
    /// Resets the device: what it had not done comes back with an error, and it works again.
    pub fn reset(&mut self) {
        self.device.reset();
    }

    /// Holds a slot for a job of this key, if there is one.
    fn hold_slot(&mut self, key: u64) -> bool {
        if let Some((_, jobs)) = self.slots.iter_mut().find(|(id, _)| *id == key) {
            *jobs += 1;
            return true;
        }
        let is_free = self.slots.len() < self.settings.key_slots;
        if is_free {
            self.slots.push((key, 1));
        }
        is_free
    }

    fn release_slot(&mut self, key: u64) {
        if let Some(at) = self.slots.iter().position(|(id, _)| *id == key) {
            self.slots[at].1 -= 1;
            if self.slots[at].1 == 0 {
                self.slots.swap_remove(at);
            }
        }
    }
}

impl<S: Source + 'static, D: Destination + 'static> Engine<S, D> for Coprocessor<S, D> {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn submit(&mut self, jobs: &mut VecDeque<Job<S, D>>) -> Stopped {
        let mut accepted = 0;
        while let Some(next) = jobs.front() {
            if self.device.is_dead(&self.settings) {
                return Stopped::Dead;
            } else if self.in_flight == self.settings.depth || accepted == self.settings.accepts {
                return Stopped::Full;
            } else if !self.hold_slot(next.key().id()) {
                return Stopped::NoKeySlot;
            }
            if let Some(job) = jobs.pop_front() {
                accepted += 1;
                self.in_flight += 1;
                self.stats.jobs += 1;
                self.stats.depth_high = self.stats.depth_high.max(self.in_flight as u64);
                self.device.take(job, &self.settings);
            }
        }
        Stopped::Empty
    }

    fn poll(&mut self, done: &mut VecDeque<Done<S, D>>) -> usize {
        if self.watched.get() {
            self.listener.arm(&self.device.bell);
        }
        let before = self.in_flight;
        while let Some(one) = self.device.take_done() {
            self.in_flight -= 1;
            self.release_slot(one.job.key().id());
            self.stats.count(&one);
            done.push_back(one);
        }
        before - self.in_flight
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn wait(&mut self, deadline: Instant) {
        if self.in_flight > 0 {
            self.listener.arm(&self.device.bell);
            if !self.device.has_done() {
                self.device.bell.counter().sleep(deadline);
            }
        }
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        self.watched.set(true);
        self.listener.arm(&self.device.bell);
        if self.device.has_done() {
            self.device.bell.ring();
        }
        Some(self.device.bell.counter().as_fd())
    }

    fn quiesce(&mut self, deadline: Instant, done: &mut VecDeque<Done<S, D>>) -> Result<()> {
        self.poll(done);
        while self.in_flight > 0 && Instant::now() < deadline {
            self.wait(deadline);
            self.poll(done);
        }
        if self.in_flight > 0 || self.device.is_dead(&self.settings) {
            self.reset();
            self.poll(done);
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

impl<S, D> Drop for Coprocessor<S, D> {
    fn drop(&mut self) {
        self.device.stop();
        if let Some(thread) = self.thread.take() {
            // It catches what its jobs throw, so it has no panic to tell of.
            let _ = thread.join();
        }
        self.device.clear();
    }
}
