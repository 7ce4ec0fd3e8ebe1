//! What an engine has done that works inside `submit`, until it is polled.

use std::collections::VecDeque;

use crate::engine::{Done, EngineStats, Stopped};
use crate::error::Result;
use crate::job::{Destination, Job, Source};
use crate::panics;

/// Jobs that wait to be polled, at most.
pub(crate) const DEPTH: usize = 1024;

/// Jobs that are done, in order, and how many there were.
pub(crate) struct Finished<S, D> {
    engine: &'static str,
    done: VecDeque<Done<S, D>>,
    stats: EngineStats,
}

impl<S, D> Finished<S, D> {
    /// None yet, of the engine of that name.
    pub(crate) fn new(engine: &'static str) -> Self {
        Self { engine, done: VecDeque::with_capacity(DEPTH), stats: EngineStats::default() }
    }

    /// Moves all of it to the end of `into`; says how many.
    pub(crate) fn poll(&mut self, into: &mut VecDeque<Done<S, D>>) -> usize {
        let count = self.done.len();
        if into.is_empty() {
            // The memory changes places, and no job is moved.
            std::mem::swap(into, &mut self.done);
        } else {
            into.append(&mut self.done);
        }
        count
    }

    pub(crate) fn len(&self) -> usize {
        self.done.len()
    }

    pub(crate) fn stats(&self) -> EngineStats {
        self.stats
    }
}

impl<S, D> Drop for Finished<S, D> {
    fn drop(&mut self) {
        panics::discard(self.done.drain(..));
    }
}

impl<S: Source, D: Destination> Finished<S, D> {
    /// Does jobs from the front of `jobs` by `work`, which counts the units that it has done.
    #[inline]
    pub(crate) fn submit(
        &mut self,
        jobs: &mut VecDeque<Job<S, D>>,
        mut work: impl FnMut(&mut Job<S, D>, &mut usize) -> Result<()>,
    ) -> Stopped {
        while self.done.len() < DEPTH {
            // Done before it is moved: a job that was just made and is moved at once costs as much
            // as to seal some hundred bytes.
            let Some(job) = jobs.front_mut() else { break };
            let (units_done, result) = panics::complete(job, self.engine, &mut work);
            let Some(job) = jobs.pop_front() else { break };
            let done = Done { job, units_done, result };
            self.stats.jobs += 1;
            self.stats.count(&done);
            self.done.push_back(done);
        }
        self.stats.depth_high = self.stats.depth_high.max(self.done.len() as u64);
        if jobs.is_empty() { Stopped::Empty } else { Stopped::Full }
    }
}
