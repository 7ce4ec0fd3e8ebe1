//! How a router is made.

use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::error::Result;
use crate::job::{Destination, Source};

use super::Router;
use super::spares::{Shelf, Spares};

/// Makes a [`Router`](crate::Router).
#[must_use]
pub struct RouterBuilder<D> {
    pub(super) spares: Box<dyn Spares<D>>,
    pub(super) clock: Box<dyn Fn() -> Instant + Send>,
    pub(super) depth: usize,
    pub(super) least_jobs: usize,
    pub(super) least_bytes: usize,
    pub(super) timeout: Duration,
    pub(super) failures_allowed: u32,
    pub(super) quarantine: (Duration, Duration),
    pub(super) always_offloads: bool,
}

impl<D: Send + 'static> Default for RouterBuilder<D> {
    fn default() -> Self {
        Self {
            spares: Box::new(Shelf::new(Vec::new())),
            clock: Box::new(Instant::now),
            depth: 1024,
            least_jobs: 4,
            least_bytes: 1024,
            timeout: Duration::from_millis(100),
            failures_allowed: 3,
            quarantine: (Duration::from_millis(100), Duration::from_secs(30)),
            always_offloads: false,
        }
    }
}

impl<D> RouterBuilder<D> {
    /// Destinations for jobs that time out. Without, such a job waits for its engine.
    pub fn spares(mut self, spares: impl Spares<D> + 'static) -> Self {
        self.spares = Box::new(spares);
        self
    }

    /// What time it is; for tests, which choose.
    pub fn clock(mut self, clock: impl Fn() -> Instant + Send + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// Jobs in flight at most; at least 1.
    pub fn depth(mut self, depth: usize) -> Self {
        self.depth = depth.max(1);
        self
    }

    /// Jobs of fewer bytes are done here, and any job while fewer jobs are at hand or under way.
    pub fn offload_from(mut self, jobs: usize, bytes: usize) -> Self {
        (self.least_jobs, self.least_bytes) = (jobs, bytes);
        self
    }

    /// Hands over whatever it may, without asking what it costs.
    pub fn always_offloads(mut self) -> Self {
        self.always_offloads = true;
        self
    }

    /// How long a job may be with the other engine.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many failures in a row are forgiven, how long the quarantine is after the next one, and
    /// how long it becomes at most; it doubles with each failure of a trial.
    pub fn quarantine(mut self, forgiven: u32, first: Duration, most: Duration) -> Self {
        self.failures_allowed = forgiven;
        self.quarantine = (first, most);
        self
    }

    /// Puts a router in front of `engine`.
    ///
    /// # Errors
    /// [`Error::Engine`](crate::Error::Engine) if the system has no descriptor to give;
    /// [`Error::Caller`](crate::Error::Caller) if `engine` has jobs in flight.
    pub fn build<S, E>(self, engine: E) -> Result<Router<S, D, E>>
    where
        S: Source + Clone,
        D: Destination,
        E: Engine<S, D>,
    {
        Router::new(engine, self)
    }
}
