//! Here or elsewhere: the engine that decides for each job, and does it here if elsewhere fails.
//!
//! ```text
//!  submit ─ small? in place? cheaper here? quarantined? ──────────► here ─► done ─► poll
//!              │ no                                                  ▲
//!              ▼                         refused, failed, timed out  │
//!          the other engine ───────────────────────────────┬─────────┘
//!              │                                           └ into a spare, if it timed out
//!              ├ in time ──────────────────────────────────────────────► done
//!              └ late: its destination becomes a spare, its result is forgotten
//! ```
//! 1. A job falls back once at most, from the same immutable source under the same nonce: what may
//!    have left twice is the same ciphertext twice.
//! 2. A result is released once: that of the fall-back, or that of the other engine, whichever the
//!    router had first.
//! 3. What is not authentic is not tried again.
//! 4. A job in place cannot fall back, for its source may be gone: it is done here.
//! 5. What hangs in the other engine is called back before its next trial, and once it takes up
//!    half the places. So a device that hung is reset, and has a fair trial.

mod builder;
mod costs;
mod spares;
mod standby;
mod stats;
mod trust;

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::beacon::Beacon;
use crate::engine::{self, Capabilities, Done, Engine, EngineStats, Stopped};
use crate::error::{Error, Result};
use crate::job::{Destination, Job, Payload, Source};
use crate::moment::after;
use crate::panics;
use crate::suite::Suite;

pub use builder::RouterBuilder;
pub use spares::{Shelf, Spares};
pub use stats::{Fallbacks, RouterStats};

use costs::Costs;
use standby::{Return, Standbys};
use trust::{Trust, Verdict};

const NAME: &str = "router";
/// Jobs with the other engine at most, if that has no lower limit.
const MOST_OUT: usize = 1024;
/// The pause before a job that is overdue and has no spare is looked at again.
const SPARELESS_PAUSE: Duration = Duration::from_millis(1);

/// Does small and urgent work here and hands the rest to another engine, while that pays.
///
/// Made by [`Router::builder`]. A job that is done again gets a destination from [`Spares`], into
/// which the caller's own bytes before and between its messages are copied (record headers); what
/// lies behind the last message is not.
///
/// A [`quiesce`](Engine::quiesce) does here what is still out at its deadline, as far as there are
/// spares: it ends later than that by as much as the work takes.
///
/// Its time-outs want a [`poll`](Engine::poll), a [`wait`](Engine::wait), or a look at its
/// descriptor, to be noticed.
pub struct Router<S, D, E> {
    inner: E,
    capabilities: Capabilities,
    settings: RouterBuilder<D>,
    costs: Costs,
    trust: Trust,
    standbys: Standbys<S>,
    /// On its way to the other engine, and from there; both empty between calls.
    outbox: VecDeque<Job<S, D>>,
    returned: VecDeque<Done<S, D>>,
    /// To be polled.
    done: VecDeque<Done<S, D>>,
    in_flight: usize,
    /// Since when an overdue job has found no spare, or the last recall.
    spareless_since: Option<Instant>,
    /// The caller's time in the other engine since something last came back.
    spent: Duration,
    beacon: Beacon,
    stats: EngineStats,
    counters: RouterStats,
}

/// Where a job goes.
enum Route {
    Here,
    Elsewhere { is_trial: bool },
}

impl Router<(), (), ()> {
    /// A builder with the defaults that suit most.
    pub fn builder<D: Send + 'static>() -> RouterBuilder<D> {
        RouterBuilder::default()
    }
}

impl<S: Source + Clone, D: Destination, E: Engine<S, D>> Router<S, D, E> {
    fn new(inner: E, settings: RouterBuilder<D>) -> Result<Self> {
        engine::expect_idle(&inner)?;
        let out = inner.capabilities().depth.min(MOST_OUT);
        let capabilities = Capabilities {
            name: NAME,
            suites: Suite::ALL.to_vec(),
            in_place: true,
            out_of_place: true,
            most_unit_bytes: u32::MAX as usize,
            depth: settings.depth,
            key_slots: None,
            synchronous: false,
        };
        Ok(Self {
            inner,
            capabilities,
            costs: Costs::default(),
            trust: Trust::new(settings.failures_allowed, settings.quarantine),
            standbys: Standbys::new(out),
            outbox: VecDeque::with_capacity(out),
            returned: VecDeque::with_capacity(out),
            done: VecDeque::with_capacity(settings.depth),
            in_flight: 0,
            spareless_since: None,
            spent: Duration::ZERO,
            beacon: Beacon::new(NAME)?,
            stats: EngineStats::default(),
            counters: RouterStats::default(),
            settings,
        })
    }

    /// The figures so far.
    pub fn router_stats(&self) -> RouterStats {
        let (inline_ns_per_byte, offload_ns_per_byte) = self.costs.ns_per_byte();
        let (out, quarantines) = (self.standbys.len(), self.trust.quarantines);
        RouterStats { out, quarantines, inline_ns_per_byte, offload_ns_per_byte, ..self.counters }
    }

    fn now(&self) -> Instant {
        (self.settings.clock)()
    }

    /// Decides about a job, with `queue` jobs at hand or under way.
    fn route(&mut self, job: &Job<S, D>, queue: usize) -> Route {
        let is_small =
            queue < self.settings.least_jobs || job.len_bytes() < self.settings.least_bytes;
        if is_small || job.is_in_place() || !self.inner.capabilities().suit(job) {
            return Route::Here;
        }
        if !self.standbys.has_room() && !self.standbys.is_clogged() {
            return Route::Here;
        }
        if !self.settings.always_offloads && !self.costs.offload_next() {
            return Route::Here;
        }
        self.ask()
    }

    /// Whether the other engine is given a job, once what hangs there was called back: no trial of
    /// a device that is stuck could go well, and each would leave one more job there.
    fn ask(&mut self) -> Route {
        let now = self.now();
        let is_trial = match self.trust.ask(now) {
            Verdict::Work => false,
            Verdict::Trial => true,
            Verdict::Nothing => return Route::Here,
        };
        if is_trial || self.standbys.is_clogged() {
            self.recall(Instant::now());
        }
        if self.standbys.has_room() {
            return Route::Elsewhere { is_trial };
        }
        // It keeps even what it was to give up.
        self.trust.failed(now, is_trial);
        Route::Here
    }

    /// Does a job on the caller's core.
    fn do_here(&mut self, job: Job<S, D>) {
        let (bytes, began) = (job.len_bytes(), self.now());
        let done = panics::perform(job, NAME);
        if bytes >= self.settings.least_bytes {
            let took = self.now().saturating_duration_since(began);
            self.costs.inline_took(bytes as u64, took);
        }
        self.done.push_back(done);
    }

    /// A call of the other engine, whose time counts.
    fn timed<T>(&mut self, call: impl FnOnce(&mut Self) -> T) -> T {
        let began = self.now();
        let outcome = call(self);
        self.spent += self.now().saturating_duration_since(began);
        outcome
    }

    /// Offers the outbox to the other engine; what that refuses is done here.
    fn hand_over(&mut self) {
        while !self.outbox.is_empty() {
            let before = self.outbox.len();
            let stopped = self.timed(|own| own.inner.submit(&mut own.outbox));
            self.counters.offloaded += (before - self.outbox.len()) as u64;
            if stopped == Stopped::Dead {
                self.trust.died(self.now());
                while self.take_back(stopped) {}
            }
            // One, then the rest is offered again: there may be room by then.
            self.take_back(stopped);
        }
    }

    /// Does the first job of the outbox here, if there is one.
    fn take_back(&mut self, why: Stopped) -> bool {
        let Some(mut job) = self.outbox.pop_front() else { return false };
        let now = self.now();
        if self.standbys.leave(&mut job).is_some_and(|back| back.is_trial) {
            self.trust.trial_refused(now);
        }
        let fallbacks = &mut self.counters.fallbacks;
        match why {
            Stopped::NoKeySlot => fallbacks.no_key_slot += 1,
            Stopped::Unsuited => fallbacks.unsuited += 1,
            Stopped::Dead => fallbacks.dead += 1,
            Stopped::Full | Stopped::Empty => fallbacks.full += 1,
        }
        self.do_here(job);
        true
    }

    /// Takes what the other engine gives back.
    fn collect(&mut self) {
        self.timed(|own| own.inner.poll(&mut own.returned));
        let mut bytes = 0;
        while let Some(done) = self.returned.pop_front() {
            bytes += done.job.len_bytes() as u64;
            self.settle(done);
        }
        if bytes > 0 {
            self.costs.offload_took(bytes, std::mem::take(&mut self.spent));
        }
    }

    /// Decides what becomes of a job that the other engine gave back.
    fn settle(&mut self, mut done: Done<S, D>) {
        // What it never was given it cannot give back.
        let Some(Return { is_trial, is_late }) = self.standbys.leave(&mut done.job) else { return };
        if is_late {
            self.counters.late += 1;
            if let Payload::Apart { source, destination } = done.job.into_parts().0 {
                panics::discard([source]);
                self.settings.spares.give(destination);
            }
            return;
        }
        if matches!(done.result, Err(Error::Engine { .. })) {
            self.trust.failed(self.now(), is_trial);
            self.counters.fallbacks.error += 1;
            self.do_here(done.job);
        } else {
            self.trust.succeeded(is_trial);
            self.done.push_back(done);
        }
    }

    /// Does overdue jobs here, as long as there are spares. If there is none for as long as a job
    /// may take, the lost ones have them all, and are called back.
    fn fall_back_overdue(&mut self) {
        let now = self.now();
        while let Some(at) = self.standbys.overdue(now) {
            if self.fall_back(at) {
                continue;
            }
            let since = *self.spareless_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= self.settings.timeout {
                self.spareless_since = Some(now);
                self.recall(Instant::now());
            }
            return;
        }
        self.spareless_since = None;
    }

    /// Makes the other engine bring back what it can; what it gives up is done here.
    fn recall(&mut self, deadline: Instant) {
        let mut returned = std::mem::take(&mut self.returned);
        // What it cannot bring back stays in its slot.
        let _ = self.inner.quiesce(deadline, &mut returned);
        returned.drain(..).for_each(|one| self.settle(one));
        self.returned = returned;
    }

    /// Does a job here that is with the other engine, if there is a spare.
    fn fall_back(&mut self, at: usize) -> bool {
        let len_bytes = self.standbys.destination_bytes(at);
        let Some(spare) = self.settings.spares.take(len_bytes) else {
            self.counters.spareless += 1;
            return false;
        };
        let is_trial = self.standbys.is_trial(at);
        match self.standbys.again(at, spare) {
            Ok(job) => {
                self.trust.failed(self.now(), is_trial);
                self.counters.fallbacks.timeout += 1;
                self.do_here(job);
                true
            }
            Err(spare) => {
                self.settings.spares.give(spare);
                self.counters.spareless += 1;
                false
            }
        }
    }

    /// How long until there is something to do, if nothing comes back.
    fn pause(&self) -> Option<Duration> {
        let is_ready = self.inner.capabilities().synchronous && self.inner.in_flight() > 0;
        if is_ready || !self.done.is_empty() {
            return Some(Duration::ZERO);
        }
        let left = self.standbys.next_deadline()?.saturating_duration_since(self.now());
        Some(left.max(SPARELESS_PAUSE))
    }

    /// Gives the caller what is done.
    fn give(&mut self, done: &mut VecDeque<Done<S, D>>) -> usize {
        let count = self.done.len();
        self.in_flight -= count;
        self.done.iter().for_each(|one| self.stats.count(one));
        done.append(&mut self.done);
        self.beacon.shine(self.pause());
        count
    }
}

impl<S: Source + Clone, D: Destination, E: Engine<S, D>> Engine<S, D> for Router<S, D, E> {
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
            let queue = jobs.len() + self.standbys.len();
            let Some(mut job) = jobs.pop_front() else { break Stopped::Empty };
            self.in_flight += 1;
            self.stats.jobs += 1;
            if let Route::Elsewhere { is_trial } = self.route(&job, queue) {
                let deadline = after(self.now(), self.settings.timeout);
                if self.standbys.enter(&mut job, deadline, is_trial) {
                    self.outbox.push_back(job);
                    continue;
                } else if is_trial {
                    self.trust.trial_refused(self.now());
                }
            }
            // First what others can be busy with meanwhile.
            self.hand_over();
            self.counters.inline += 1;
            self.do_here(job);
        };
        self.hand_over();
        self.stats.depth_high = self.stats.depth_high.max(self.in_flight as u64);
        self.beacon.shine(self.pause());
        stopped
    }

    fn poll(&mut self, done: &mut VecDeque<Done<S, D>>) -> usize {
        self.collect();
        self.fall_back_overdue();
        self.give(done)
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn wait(&mut self, deadline: Instant) {
        if self.in_flight == 0 || !self.done.is_empty() {
            return;
        }
        let pause = self.pause().unwrap_or(Duration::MAX);
        let until = Instant::now().checked_add(pause).map_or(deadline, |at| at.min(deadline));
        self.timed(|own| own.inner.wait(until));
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        let descriptor = self.beacon.watch(self.inner.readiness());
        self.beacon.shine(self.pause());
        descriptor
    }

    fn quiesce(&mut self, deadline: Instant, done: &mut VecDeque<Done<S, D>>) -> Result<()> {
        self.poll(done);
        // Late jobs too: they hold memory.
        while !self.standbys.is_empty() && Instant::now() < deadline {
            let pause = self.pause().unwrap_or(Duration::MAX);
            let until = Instant::now().checked_add(pause).map_or(deadline, |at| at.min(deadline));
            self.inner.wait(until);
            self.poll(done);
        }
        if !self.standbys.is_empty() {
            self.recall(deadline);
            while self.standbys.any_out().is_some_and(|at| self.fall_back(at)) {}
            self.give(done);
        }
        match self.standbys.len() {
            0 => Ok(()),
            in_flight => Err(Error::Deadline { in_flight }),
        }
    }

    fn stats(&self) -> EngineStats {
        EngineStats { fallbacks: self.counters.fallbacks.total(), ..self.stats }
    }
}

impl<S, D, E> Drop for Router<S, D, E> {
    fn drop(&mut self) {
        panics::discard(self.done.drain(..));
    }
}
