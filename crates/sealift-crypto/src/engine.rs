//! What every engine is: jobs in, a prefix at a time; jobs out, in any order, each once.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::job::Job;
use crate::suite::Suite;

/// What an engine can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Its name, as in rows of benches: `inline`, `workers`, `ipsec-mb`, `coprocessor`.
    pub name: &'static str,
    /// The suites it has.
    pub suites: Vec<Suite>,
    /// Whether it works in place.
    pub in_place: bool,
    /// Whether it works out of place.
    pub out_of_place: bool,
    /// The longest unit it takes, in bytes.
    pub most_unit_bytes: usize,
    /// How many jobs it holds at a time.
    pub depth: usize,
    /// How many keys it holds at a time, if it keeps them.
    pub key_slots: Option<usize>,
    /// Whether a job is complete when `submit` returns.
    pub synchronous: bool,
}

impl Capabilities {
    /// Whether a job is of a kind that the engine does.
    pub fn suit<S, D>(&self, job: &Job<S, D>) -> bool {
        let fits = job.units().iter().all(|unit| unit.len_bytes() <= self.most_unit_bytes);
        let placed = if job.is_in_place() { self.in_place } else { self.out_of_place };
        fits && placed && self.suites.contains(&job.key().suite())
    }
}

/// Why an engine took no more of what was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// It took everything.
    Empty,
    /// It holds as many jobs as it can: poll, then offer the rest again.
    Full,
    /// It has no slot for the next job's key until jobs of other keys are done.
    NoKeySlot,
    /// It never does jobs like the next one.
    Unsuited,
    /// It does not work (any more).
    Dead,
}

/// A job that came back.
#[derive(Debug)]
#[must_use]
pub struct Done<S, D> {
    /// The job, with all its memory.
    pub job: Job<S, D>,
    /// How many of its units were done, from the front.
    pub units_done: usize,
    /// Whether that was all of them, and if not, why. After an error the rest of the destination
    /// holds nothing of use and no plaintext.
    pub result: Result<()>,
}

/// An engine's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineStats {
    /// Jobs taken.
    pub jobs: u64,
    /// Units that were done, of the jobs that came back.
    pub units: u64,
    /// The bytes that these units read.
    pub bytes: u64,
    /// Jobs that came back with an error.
    pub failed: u64,
    /// Jobs that were meant for another engine and done here after all: a router's.
    pub fallbacks: u64,
    /// The most jobs held at a time.
    pub depth_high: u64,
}

/// Seals and opens, here or elsewhere.
///
/// 1. A job that was taken comes back exactly once, through [`poll`](Engine::poll), whatever
///    happens to the engine: done, failed, or given up by [`quiesce`](Engine::quiesce).
/// 2. A job that was not taken is still the caller's, untouched.
/// 3. Jobs come back in any order.
pub trait Engine<S, D>: Send {
    /// What it can do; the same as long as it lives.
    fn capabilities(&self) -> &Capabilities;

    /// Takes jobs from the front of `jobs` for as long as it can, and says why it stopped.
    fn submit(&mut self, jobs: &mut VecDeque<Job<S, D>>) -> Stopped;

    /// Moves jobs that are complete to the end of `done`, without waiting; says how many.
    fn poll(&mut self, done: &mut VecDeque<Done<S, D>>) -> usize;

    /// Jobs taken that have not come back.
    fn in_flight(&self) -> usize;

    /// Sleeps until there may be something to poll, or until `deadline`. Returns at once if
    /// nothing is in flight.
    fn wait(&mut self, deadline: Instant);

    /// Readable while there may be something to poll; `None` for an engine that is synchronous.
    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Brings every job back: waits until `deadline`, then gives up on what is still out. What can
    /// be given up without harm comes back with an error.
    ///
    /// # Errors
    /// [`Error::Deadline`] if jobs are still out, because something may still write their memory.
    fn quiesce(&mut self, deadline: Instant, done: &mut VecDeque<Done<S, D>>) -> Result<()> {
        loop {
            self.poll(done);
            match self.in_flight() {
                0 => return Ok(()),
                in_flight if Instant::now() >= deadline => {
                    return Err(Error::Deadline { in_flight });
                }
                _ => self.wait(deadline.min(Instant::now() + Duration::from_millis(100))),
            }
        }
    }

    /// The figures so far.
    fn stats(&self) -> EngineStats;
}

impl<S, D, E: Engine<S, D> + ?Sized> Engine<S, D> for Box<E> {
    fn capabilities(&self) -> &Capabilities {
        (**self).capabilities()
    }

    fn submit(&mut self, jobs: &mut VecDeque<Job<S, D>>) -> Stopped {
        (**self).submit(jobs)
    }

    fn poll(&mut self, done: &mut VecDeque<Done<S, D>>) -> usize {
        (**self).poll(done)
    }

    fn in_flight(&self) -> usize {
        (**self).in_flight()
    }

    fn wait(&mut self, deadline: Instant) {
        (**self).wait(deadline);
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        (**self).readiness()
    }

    fn quiesce(&mut self, deadline: Instant, done: &mut VecDeque<Done<S, D>>) -> Result<()> {
        (**self).quiesce(deadline, done)
    }

    fn stats(&self) -> EngineStats {
        (**self).stats()
    }
}

/// Refuses an engine that has jobs in flight: one that stands on it would take them for its own.
pub(crate) fn expect_idle<S, D>(engine: &impl Engine<S, D>) -> Result<()> {
    match engine.in_flight() {
        0 => Ok(()),
        _ => Err(Error::Caller { what: "an engine is wrapped while it has no job in flight" }),
    }
}

impl EngineStats {
    /// Counts a job that comes back.
    pub(crate) fn count<S, D>(&mut self, done: &Done<S, D>) {
        let units = &done.job.units()[..done.units_done];
        self.units += units.len() as u64;
        self.bytes += units.iter().map(|unit| unit.len_bytes() as u64).sum::<u64>();
        self.failed += u64::from(done.result.is_err());
    }
}
