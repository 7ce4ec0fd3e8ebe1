//! The engine that works on the caller's core, inside `submit`.

use std::collections::VecDeque;
use std::time::Instant;

use crate::engine::{Capabilities, Done, Engine, EngineStats, Stopped};
use crate::job::{Destination, Job, Source};
use crate::panics;
use crate::suite::Suite;

const NAME: &str = "inline";
/// Jobs that wait to be polled, at most.
const DEPTH: usize = 1024;

/// Seals and opens at once, with aws-lc (AES-CCM with the `ccm` crate). It is the reference for all
/// others.
pub struct Inline<S, D> {
    capabilities: Capabilities,
    done: VecDeque<Done<S, D>>,
    stats: EngineStats,
}

impl<S, D> Inline<S, D> {
    /// An engine; it has no queue but for what is done.
    pub fn new() -> Self {
        let capabilities = Capabilities {
            name: NAME,
            suites: Suite::ALL.to_vec(),
            in_place: true,
            out_of_place: true,
            most_unit_bytes: u32::MAX as usize,
            depth: DEPTH,
            key_slots: None,
            synchronous: true,
        };
        Self { capabilities, done: VecDeque::with_capacity(DEPTH), stats: EngineStats::default() }
    }
}

impl<S, D> Default for Inline<S, D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Source, D: Destination> Engine<S, D> for Inline<S, D> {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn submit(&mut self, jobs: &mut VecDeque<Job<S, D>>) -> Stopped {
        while self.done.len() < DEPTH {
            let Some(job) = jobs.pop_front() else { return Stopped::Empty };
            self.done.push_back(Done { job, units_done: 0, result: Ok(()) });
            if let Some(done) = self.done.back_mut() {
                panics::complete(done, NAME, Job::perform);
                self.stats.count(done);
            }
            self.stats.jobs += 1;
        }
        self.stats.depth_high = DEPTH as u64;
        if jobs.is_empty() { Stopped::Empty } else { Stopped::Full }
    }

    fn poll(&mut self, done: &mut VecDeque<Done<S, D>>) -> usize {
        let count = self.done.len();
        self.stats.depth_high = self.stats.depth_high.max(count as u64);
        done.append(&mut self.done);
        count
    }

    fn in_flight(&self) -> usize {
        self.done.len()
    }

    fn wait(&mut self, _deadline: Instant) {}

    fn stats(&self) -> EngineStats {
        self.stats
    }
}
