//! The engine that works on the caller's core, inside `submit`.

use std::collections::VecDeque;
use std::time::Instant;

use crate::engine::{Capabilities, Done, Engine, EngineStats, Stopped};
use crate::finished::{DEPTH, Finished};
use crate::job::{Destination, Job, Source};
use crate::suite::Suite;

const NAME: &str = "inline";

/// Seals and opens at once, with aws-lc (AES-CCM with the `ccm` crate). It is the reference for all
/// others.
pub struct Inline<S, D> {
    capabilities: Capabilities,
    finished: Finished<S, D>,
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
        Self { capabilities, finished: Finished::new(NAME) }
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
        self.finished.submit(jobs, Job::perform)
    }

    fn poll(&mut self, done: &mut VecDeque<Done<S, D>>) -> usize {
        self.finished.poll(done)
    }

    fn in_flight(&self) -> usize {
        self.finished.len()
    }

    fn wait(&mut self, _deadline: Instant) {}

    fn stats(&self) -> EngineStats {
        self.finished.stats()
    }
}
