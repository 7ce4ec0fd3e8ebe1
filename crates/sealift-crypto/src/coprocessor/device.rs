//! The device's side: what it holds, and the thread that does its work.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::bell::{Bell, EventCounter};
use crate::engine::Done;
use crate::error::{Error, Result};
use crate::job::{Destination, Job, Source};
use crate::moment::after;
use crate::panics;
use crate::random::Random;

use super::{CoprocessorBuilder, Crash, NAME};

pub(super) struct Device<S, D> {
    state: Mutex<State<S, D>>,
    changed: Condvar,
    pub(super) bell: Bell<EventCounter>,
}

struct State<S, D> {
    /// Jobs to do, each from its moment on.
    queued: Vec<(Instant, Job<S, D>)>,
    /// Jobs that it took and will never do.
    vanished: Vec<Job<S, D>>,
    done: VecDeque<Done<S, D>>,
    random: Random,
    /// Jobs taken since it was last reset.
    taken: usize,
    crashed: bool,
    stopping: bool,
}

/// What the thread does next.
enum Next<S, D> {
    Work(Job<S, D>),
    Sleep(Option<Duration>),
}

impl<S, D> Device<S, D> {
    pub(super) fn new(settings: &CoprocessorBuilder) -> Result<Self> {
        let state = State {
            queued: Vec::with_capacity(settings.depth),
            vanished: Vec::new(),
            done: VecDeque::with_capacity(settings.depth),
            random: Random::new(settings.seed),
            taken: 0,
            crashed: false,
            stopping: false,
        };
        let bell = Bell::new(EventCounter::new(NAME)?);
        Ok(Self { state: Mutex::new(state), changed: Condvar::new(), bell })
    }

    fn lock(&self) -> MutexGuard<'_, State<S, D>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it crashed in a way that shows.
    pub(super) fn is_dead(&self, settings: &CoprocessorBuilder) -> bool {
        let fails = matches!(settings.crash, Some((_, Crash::Fails)));
        fails && self.lock().crashed
    }

    /// Takes a job.
    pub(super) fn take(&self, job: Job<S, D>, settings: &CoprocessorBuilder) {
        let mut state = self.lock();
        state.taken += 1;
        if state.crashed || state.random.once_in(settings.loses_once_in) {
            state.vanished.push(job);
        } else {
            state.queued.push((after(Instant::now(), settings.latency), job));
        }
        // With this job, lost or not: it counts.
        if let Some((_, crash)) = settings.crash.filter(|(jobs, _)| state.taken >= *jobs) {
            state.break_down(crash);
        }
        let has_done = !state.done.is_empty();
        drop(state);
        self.changed.notify_one();
        if has_done {
            self.bell.ring();
        }
    }

    /// Lets go of everything that is not done, and works again.
    pub(super) fn reset(&self) {
        let mut state = self.lock();
        state.fail_all("the device was reset");
        (state.taken, state.crashed) = (0, false);
        drop(state);
        self.bell.ring();
    }

    pub(super) fn has_done(&self) -> bool {
        !self.lock().done.is_empty()
    }

    pub(super) fn take_done(&self) -> Option<Done<S, D>> {
        self.lock().done.pop_front()
    }

    /// Makes the thread end.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.changed.notify_one();
    }

    /// Drops all that it holds.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        let State { queued, vanished, done, .. } = &mut *state;
        panics::discard(queued.drain(..));
        panics::discard(vanished.drain(..));
        panics::discard(done.drain(..));
    }
}

impl<S: Source, D: Destination> Device<S, D> {
    pub(super) fn run(&self, reorders: bool) {
        let mut state = self.lock();
        while !state.stopping {
            match state.next(reorders) {
                Next::Work(job) => {
                    drop(state);
                    let done = panics::perform(job, NAME);
                    state = self.lock();
                    state.done.push_back(done);
                    self.bell.ring();
                }
                Next::Sleep(Some(span)) => {
                    let woken = self.changed.wait_timeout(state, span);
                    state = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
                Next::Sleep(None) => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

impl<S, D> State<S, D> {
    /// The oldest job that is due, or any of those.
    fn next(&mut self, reorders: bool) -> Next<S, D> {
        let now = Instant::now();
        // Each has the same latency, so they are due in the order in which they came.
        let due = self.queued.partition_point(|(due, _)| *due <= now);
        if due == 0 {
            let first = self.queued.first();
            return Next::Sleep(first.map(|(due, _)| due.saturating_duration_since(now)));
        }
        let at = if reorders { self.random.below(due) } else { 0 };
        Next::Work(self.queued.remove(at).1)
    }

    /// Does none of what it holds any more.
    fn break_down(&mut self, crash: Crash) {
        self.crashed = true;
        match crash {
            Crash::Fails => self.fail_all("the device failed"),
            Crash::Hangs => self.vanished.extend(self.queued.drain(..).map(|(_, job)| job)),
        }
    }

    fn fail_all(&mut self, what: &'static str) {
        let Self { queued, vanished, done, .. } = self;
        for job in queued.drain(..).map(|(_, job)| job).chain(vanished.drain(..)) {
            let result = Err(Error::Engine { engine: NAME, what });
            done.push_back(Done { job, units_done: 0, result });
        }
    }
}
