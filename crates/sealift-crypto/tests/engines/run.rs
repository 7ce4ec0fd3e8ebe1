//! A caller that submits, polls and waits by chance, and checks all that comes back.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sealift_crypto::{
    Direction, Done, Engine, Error, Job, Key, Limits, Nonce, Payload, Source, Stopped, Suite,
    TAG_BYTES, Unit,
};

use crate::memory::{Page, Text};
use crate::plan::{Expected, Planner};

pub(crate) type Boxed = Box<dyn Engine<Text, Page>>;

/// What an engine may do to its jobs.
#[derive(Clone, Copy, Default)]
pub(crate) struct Allowed {
    /// Jobs may come back with [`Error::Engine`].
    pub(crate) failures: bool,
    /// A tag may be wrong.
    pub(crate) corruption: bool,
}

/// How a run went.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) done: usize,
    pub(crate) failed: usize,
    pub(crate) corrupted: usize,
}

/// A run that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// The seeds to run with: the one of `SEALIFT_SEED`, or some.
pub(crate) fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SEALIFT_SEED").map(|seed| seed.parse()) {
        Ok(Ok(seed)) => vec![seed],
        _ => (0..count).map(|at| 0x5ea1 + at * 7919).collect(),
    }
}

/// Says which engine and seed it was, if the test fails.
pub(crate) struct Telltale(pub(crate) String, pub(crate) u64);

impl Drop for Telltale {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} failed with SEALIFT_SEED={}", self.0, self.1);
        }
    }
}

pub(crate) struct Caller {
    pub(crate) planner: Planner,
    engine: Boxed,
    allowed: Allowed,
    waiting: VecDeque<Job<Text, Page>>,
    done: VecDeque<Done<Text, Page>>,
    seen: Vec<bool>,
    taken: usize,
    units: u64,
    outcome: Outcome,
    started: Instant,
}

impl Caller {
    pub(crate) fn new(engine: Boxed, allowed: Allowed, seed: u64) -> Self {
        Self {
            planner: Planner::new(seed),
            engine,
            allowed,
            waiting: VecDeque::new(),
            done: VecDeque::new(),
            seen: Vec::new(),
            taken: 0,
            units: 0,
            outcome: Outcome::default(),
            started: Instant::now(),
        }
    }

    /// Submits what waits; the engine takes a prefix and leaves the rest as it was.
    pub(crate) fn submit(&mut self) -> Stopped {
        let offered: Vec<u64> = self.waiting.iter().map(Job::tag).collect();
        let before = self.engine.in_flight();
        let stopped = self.engine.submit(&mut self.waiting);
        let left: Vec<u64> = self.waiting.iter().map(Job::tag).collect();
        assert!(offered.ends_with(&left), "not a prefix: {offered:?}, {left:?} left");
        assert_eq!(stopped == Stopped::Empty, left.is_empty(), "{stopped:?}, {left:?} left");
        self.taken += offered.len() - left.len();
        assert_eq!(self.engine.in_flight(), before + offered.len() - left.len());
        stopped
    }

    /// Polls, and checks what came back.
    pub(crate) fn poll(&mut self) {
        let count = self.engine.poll(&mut self.done);
        assert_eq!(count, self.done.len());
        self.check();
    }

    fn check(&mut self) {
        while let Some(done) = self.done.pop_front() {
            let tag = done.job.tag() as usize;
            assert!(!self.seen[tag], "job {tag} came back twice");
            self.seen[tag] = true;
            self.outcome.done += 1;
            self.units += done.units_done as u64;
            self.judge(done, tag);
        }
        assert_eq!(self.taken - self.outcome.done, self.engine.in_flight());
    }

    fn judge(&mut self, done: Done<Text, Page>, tag: usize) {
        let expected = &self.planner.expected[tag];
        self.outcome.failed += usize::from(done.result.is_err());
        if let Err(Error::Engine { .. }) = done.result {
            assert!(self.allowed.failures, "job {tag}: {:?}", done.result);
            return;
        }
        assert_eq!((&done.result, done.units_done), (&expected.result, expected.units_done));
        let page = match done.job.into_parts().0 {
            Payload::Apart { destination, .. } | Payload::InPlace(destination) => destination,
        };
        self.outcome.corrupted += usize::from(!is_right(&page, expected, self.allowed, tag));
    }

    /// Waits in one of the ways there are.
    fn wait(&mut self) {
        let deadline = Instant::now() + Duration::from_millis(3);
        if self.planner.chance.once_in(2) {
            self.engine.wait(deadline);
        } else if let Some(descriptor) = self.engine.readiness() {
            let limit = Timespec { tv_sec: 0, tv_nsec: 3_000_000 };
            poll(&mut [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)], Some(&limit)).unwrap();
        }
    }

    /// One step by chance; new jobs come while there are fewer than `jobs`.
    pub(crate) fn step(&mut self, jobs: usize) {
        let count = 1 + self.planner.chance.below(20);
        for _ in 0..count.min(jobs.saturating_sub(self.seen.len())) {
            let job = self.planner.job();
            self.waiting.push_back(job);
            self.seen.push(false);
        }
        self.submit();
        match self.planner.chance.below(4) {
            0 => {}
            1 => self.wait(),
            _ => self.poll(),
        }
        assert!(self.started.elapsed() < LIMIT, "it hangs with {} out", self.engine.in_flight());
    }

    /// Brings everything back, asking for it `patience` long.
    pub(crate) fn quiesce(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut result = self.engine.quiesce(deadline, &mut self.done);
        let late = Instant::now().saturating_duration_since(deadline);
        assert!(late < Duration::from_secs(2), "{late:?} late");
        self.check();
        if let Err(error) = result {
            // What was under somebody's hands at the deadline.
            assert!(matches!(error, Error::Deadline { in_flight } if in_flight > 0), "{error}");
            result = self.engine.quiesce(Instant::now() + LIMIT, &mut self.done);
            self.check();
        }
        assert_eq!(result, Ok(()));
        assert_eq!(self.engine.in_flight(), 0);
    }

    /// All jobs, to the end.
    pub(crate) fn run(mut self, jobs: usize, patience: Duration) -> Outcome {
        while self.seen.len() < jobs || !self.waiting.is_empty() {
            self.step(jobs);
        }
        self.quiesce(patience);
        assert!(self.seen.iter().all(|seen| *seen), "a job was lost");
        let stats = self.engine.stats();
        assert_eq!(stats.jobs, jobs as u64);
        assert_eq!(stats.units, self.units);
        assert_eq!(stats.failed, self.outcome.failed as u64);
        assert!(stats.depth_high >= 1 && stats.depth_high <= jobs as u64, "{stats:?}");
        let outcome = std::mem::take(&mut self.outcome);
        self.expect_nothing_kept();
        outcome
    }

    /// Drops the engine as it is; its memory goes home.
    pub(crate) fn drop_engine(mut self) {
        self.waiting.clear();
        self.expect_nothing_kept();
    }

    fn expect_nothing_kept(self) {
        let Self { planner, engine, done, .. } = self;
        drop((engine, done));
        assert_eq!(planner.census.alive(), 0, "memory did not come home");
    }
}

fn is_right(page: &Page, expected: &Expected, allowed: Allowed, tag: usize) -> bool {
    let mut is_right = true;
    for (range, bytes) in &expected.parts {
        let found = &page.bytes[range.clone()];
        if found != bytes && allowed.corruption && expected.direction == Direction::Seal {
            let text = bytes.len() - TAG_BYTES;
            assert_eq!(found[..text], bytes[..text], "job {tag}: more than its tag is wrong");
            is_right = false;
        } else {
            assert!(found == bytes, "job {tag}: other bytes (in place: {})", expected.in_place);
        }
    }
    is_right
}

/// A deadline that is not meant to be reached.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub(crate) fn key() -> Key {
    let suite = Suite::Aes128Gcm;
    Key::new(suite, &[1; 16], Limits::tls(suite)).unwrap()
}

/// A job of one message.
pub(crate) fn seal<S: Source>(
    key: &Key,
    source: S,
    page: Page,
    len: usize,
    tag: u64,
) -> Job<S, Page> {
    let unit = Unit::new(Nonce::of(&[0; 12], tag), 0..len, 0);
    let payload = Payload::Apart { source, destination: page };
    Job::seal(key, payload, [unit].into_iter().collect(), tag).unwrap()
}
