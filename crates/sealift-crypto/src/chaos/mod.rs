//! Faults on purpose: any engine, made unreliable by a seed.
//!
//! ```text
//!  submit ─ fate drawn ─► table: out ─► inner engine ─► table: home
//!                                                          │ notices: none, two, late, wrong …
//!                        poll ◄── released, if a notice names a job that is home
//! ```
//! Rust forbids handing a job back twice, so what is duplicated or misdirected here is the notice
//! of its completion, as with a real device; the table in between is what a driver needs to survive
//! that.
//!
//! 1. A job comes back once: the table releases only what is home, and then no more.
//! 2. What no notice announces (lost, or announced in another's name) comes back with an error when
//!    [`quiesce`](Engine::quiesce) gives up on it, or is dropped with the engine.
//! 3. The fate of a job, and before which job the engine stalls or dies, follow from the seed and
//!    the order of submission alone: nothing else draws from the generator. What a death finds
//!    under way, or whom a wrong notice names, is a matter of the moment.

mod faults;
mod table;

use std::cell::Cell;
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::beacon::Beacon;
use crate::engine::{self, Capabilities, Done, Engine, EngineStats, Stopped};
use crate::error::{Error, Result};
use crate::job::{Destination, Direction, Job, Source};
use crate::panics;
use crate::random::Random;
use crate::suite::TAG_BYTES;

pub use faults::Faults;
use faults::{Fate, polls};
use table::{Notice, Table};

const NAME: &str = "chaos";
/// How long a poll stands for, to those who wait: faults last so many polls, whatever the clock
/// says.
const POLL: Duration = Duration::from_micros(20);

/// How often each fault was planted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChaosStats {
    /// Completions that never showed.
    pub lost: u64,
    /// Completions that showed twice.
    pub duplicated: u64,
    /// Completions that came late.
    pub late: u64,
    /// Completions that overtook others.
    pub reordered: u64,
    /// Completions that named another job.
    pub wrong_slots: u64,
    /// Jobs that were made to fail, by an error or a death.
    pub errors: u64,
    /// Tags that were altered.
    pub corrupted: u64,
    /// Times that the engine stalled.
    pub stalls: u64,
    /// Times that it died.
    pub deaths: u64,
    /// Notices that named no job that was home, and that were ignored.
    pub strays: u64,
}

/// Wraps an engine and plants [`Faults`]. If a test panics with one alive, it prints its seed.
///
/// What is lost keeps no place of the inner engine: until [`quiesce`](Engine::quiesce) it is held
/// besides the jobs that the depth allows.
pub struct Chaos<S, D, E> {
    inner: E,
    capabilities: Capabilities,
    faults: Faults,
    seed: u64,
    random: Random,
    /// That of the next job, once it was drawn.
    next: Option<Fate>,
    table: Table<S, D>,
    notices: VecDeque<Notice>,
    /// What the inner engine gave back, or refused; empty between calls.
    returned: VecDeque<Done<S, D>>,
    refused: VecDeque<Job<S, D>>,
    polls: u64,
    /// Polls until it moves again, and until it lives again.
    stalled: usize,
    dead: usize,
    /// For who sleeps on the descriptor: when the time of so many idle polls will have passed.
    due: Cell<Option<(Instant, u32)>>,
    beacon: Beacon,
    stats: EngineStats,
    planted: ChaosStats,
}

impl<S: Source, D: Destination, E: Engine<S, D>> Chaos<S, D, E> {
    /// Plants faults around `inner`.
    ///
    /// # Errors
    /// [`Error::Engine`] if the system has no descriptor to give; [`Error::Caller`] if `inner` has
    /// jobs in flight.
    pub fn new(inner: E, faults: Faults, seed: u64) -> Result<Self> {
        engine::expect_idle(&inner)?;
        let capabilities =
            Capabilities { name: NAME, synchronous: false, ..inner.capabilities().clone() };
        Ok(Self {
            inner,
            capabilities,
            faults,
            seed,
            random: Random::new(seed),
            next: None,
            table: Table::new(),
            notices: VecDeque::new(),
            returned: VecDeque::new(),
            refused: VecDeque::new(),
            polls: 0,
            stalled: 0,
            dead: 0,
            due: Cell::new(None),
            beacon: Beacon::new(NAME)?,
            stats: EngineStats::default(),
            planted: ChaosStats::default(),
        })
    }

    /// The faults planted so far.
    pub fn planted(&self) -> ChaosStats {
        self.planted
    }

    /// Draws for the next job, if that was not done: what stands before it, and its fate.
    fn draw(&mut self) -> Fate {
        if let Some(fate) = self.next {
            return fate;
        }
        if self.random.once_in(self.faults.death) {
            self.dead = polls(&mut self.random);
            self.planted.deaths += 1;
            self.table.doom();
        }
        if self.random.once_in(self.faults.stall) {
            self.stalled = polls(&mut self.random);
            self.planted.stalls += 1;
        }
        *self.next.insert(Fate::draw(&self.faults, &mut self.random))
    }

    /// Why nothing is taken at this moment, if so.
    fn obstacle(&self) -> Option<Stopped> {
        let stalled = (self.stalled > 0).then_some(Stopped::Full);
        (self.dead > 0).then_some(Stopped::Dead).or(stalled)
    }

    /// Offers one job to the inner engine; gives it back if it was refused.
    fn offer(
        &mut self,
        mut job: Job<S, D>,
        fate: Fate,
    ) -> std::result::Result<(), (Job<S, D>, Stopped)> {
        self.table.enter(&mut job, fate);
        self.refused.push_back(job);
        let stopped = self.inner.submit(&mut self.refused);
        match self.refused.pop_front() {
            Some(mut job) => {
                self.table.strike(&mut job);
                Err((job, stopped))
            }
            None => {
                self.next = None;
                Ok(())
            }
        }
    }

    /// Takes home what the inner engine gave back, and announces it as its fate says.
    fn harvest(&mut self) {
        let mut returned = std::mem::take(&mut self.returned);
        self.inner.poll(&mut returned);
        for done in returned.drain(..) {
            self.take_home(done);
        }
        self.returned = returned;
    }

    fn take_home(&mut self, mut done: Done<S, D>) {
        let slot = done.job.tag() as usize;
        let fate = self.table.fate(slot);
        match fate {
            Fate::Error => {
                self.planted.errors += 1;
                fail(&mut done, "a planted error");
            }
            Fate::Corrupted => self.planted.corrupted += u64::from(corrupt(&mut done)),
            _ => {}
        }
        self.table.bring_home(slot, done);
        let (now, planted) = (self.polls, &mut self.planted);
        let notice = self.table.notice(slot, now);
        match fate {
            Fate::Good | Fate::Error | Fate::Corrupted => self.notices.push_back(notice),
            Fate::Lost => planted.lost += 1,
            Fate::Duplicated => {
                planted.duplicated += 1;
                self.notices.extend([notice, notice]);
            }
            Fate::Late { polls } => {
                planted.late += 1;
                self.notices.push_back(Notice { from_poll: now + polls as u64, ..notice });
            }
            Fate::Reordered { at } => {
                planted.reordered += 1;
                self.notices.insert(at % (self.notices.len() + 1), notice);
            }
            Fate::WrongSlot { other } => {
                planted.wrong_slots += 1;
                let other = other % self.table.slots();
                let other = if other == slot { (slot + 1) % self.table.slots() } else { other };
                self.notices.push_back(self.table.notice(other, now));
            }
        }
    }

    /// Believes the notices that show by `poll`, as far as they can be believed.
    fn read_notices(&mut self, poll: u64, done: &mut VecDeque<Done<S, D>>) {
        for _ in 0..self.notices.len() {
            let Some(notice) = self.notices.pop_front() else { break };
            if notice.from_poll > poll {
                self.notices.push_back(notice);
            } else if let Some(one) = self.table.release(notice) {
                self.stats.count(&one);
                done.push_back(one);
            } else {
                self.planted.strays += 1;
            }
        }
    }

    /// How many polls bring nothing yet, if the inner engine stands still; `None` if none ever
    /// will.
    fn idle_polls(&self) -> Option<u32> {
        if self.table.is_empty() {
            return None;
        } else if self.inner.capabilities().synchronous && self.inner.in_flight() > 0 {
            return Some(0);
        }
        let earliest = self.notices.iter().map(|notice| notice.from_poll).min();
        let late = earliest.map(|poll| poll.saturating_sub(self.polls + 1) as u32);
        let stalled = self.stalled as u32;
        late.map(|late| late.max(stalled)).or((stalled > 0).then_some(stalled))
    }

    /// So many polls' time has passed.
    fn pass(&mut self, polls: u32) {
        self.due.set(None);
        self.polls += u64::from(polls);
        self.stalled = self.stalled.saturating_sub(polls as usize);
        self.dead = self.dead.saturating_sub(polls as usize);
    }

    /// Has the descriptor tell when there is something to poll.
    fn shine(&self) {
        let idle = self.idle_polls();
        if self.due.get().is_some_and(|(_, polls)| Some(polls) == idle) {
            return;
        }
        let due = |polls| Some((Instant::now().checked_add(POLL * polls)?, polls));
        let is_slept_on = self.beacon.is_watched();
        self.due.set(idle.filter(|polls| is_slept_on && *polls > 0).and_then(due));
        self.beacon.shine(idle.map(|polls| POLL * polls));
    }
}

/// Makes a job fail, as if it had not been done.
fn fail<S: Source, D: Destination>(done: &mut Done<S, D>, what: &'static str) {
    panics::wipe(&mut done.job, 0);
    done.units_done = 0;
    done.result = Err(Error::Engine { engine: NAME, what });
}

/// Alters the last tag that was sealed; says whether there was one.
fn corrupt<S: Source, D: Destination>(done: &mut Done<S, D>) -> bool {
    if done.job.direction() == Direction::Open || done.result.is_err() {
        return false;
    }
    let Some(last) = done.units_done.checked_sub(1) else { return false };
    let altered = panics::caught(|| {
        let tag = done.job.outcome_mut(last)?.last_chunk_mut::<TAG_BYTES>()?;
        tag[0] ^= 0x10;
        Some(())
    });
    altered.flatten().is_some()
}

impl<S: Source, D: Destination, E: Engine<S, D>> Engine<S, D> for Chaos<S, D, E> {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn submit(&mut self, jobs: &mut VecDeque<Job<S, D>>) -> Stopped {
        let stopped = loop {
            if jobs.is_empty() {
                break Stopped::Empty;
            }
            let fate = self.draw();
            if let Some(stopped) = self.obstacle() {
                break stopped;
            }
            let Some(job) = jobs.pop_front() else { break Stopped::Empty };
            match self.offer(job, fate) {
                Ok(()) => self.stats.jobs += 1,
                Err((job, stopped)) => {
                    jobs.push_front(job);
                    break stopped;
                }
            }
        };
        self.stats.depth_high = self.stats.depth_high.max(self.table.len() as u64);
        self.shine();
        stopped
    }

    fn poll(&mut self, done: &mut VecDeque<Done<S, D>>) -> usize {
        let before = done.len();
        if let Some((_, polls)) = self.due.take().filter(|(at, _)| Instant::now() >= *at) {
            self.pass(polls);
        }
        self.polls += 1;
        self.dead = self.dead.saturating_sub(1);
        self.harvest();
        if self.stalled > 0 {
            self.stalled -= 1;
        } else {
            self.read_notices(self.polls, done);
        }
        self.shine();
        done.len() - before
    }

    fn in_flight(&self) -> usize {
        self.table.len()
    }

    fn wait(&mut self, deadline: Instant) {
        let (idle, now) = (self.idle_polls(), Instant::now());
        if self.table.is_empty() || idle == Some(0) {
            return;
        }
        let due = idle.and_then(|polls| now.checked_add(POLL * polls));
        let until = due.map_or(deadline, |due| due.min(deadline));
        if self.inner.in_flight() > 0 {
            self.inner.wait(until);
        } else {
            std::thread::sleep(until.saturating_duration_since(now));
        }
        if let (Some(polls), Some(due)) = (idle, due)
            && Instant::now() >= due
        {
            self.pass(polls);
        }
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        let descriptor = self.beacon.watch(self.inner.readiness());
        self.shine();
        descriptor
    }

    fn quiesce(&mut self, deadline: Instant, done: &mut VecDeque<Done<S, D>>) -> Result<()> {
        self.poll(done);
        while !self.table.is_empty() && Instant::now() < deadline {
            self.wait(deadline);
            self.poll(done);
        }
        let mut returned = VecDeque::new();
        // What it cannot bring back is counted below.
        let _ = self.inner.quiesce(deadline, &mut returned);
        returned.into_iter().for_each(|one| self.take_home(one));
        self.read_notices(u64::MAX, done);
        for mut one in self.table.release_all() {
            fail(&mut one, "its completion was lost");
            self.stats.count(&one);
            done.push_back(one);
        }
        match self.table.len() {
            0 => Ok(()),
            in_flight => Err(Error::Deadline { in_flight }),
        }
    }

    fn stats(&self) -> EngineStats {
        self.stats
    }
}

impl<S, D, E> Drop for Chaos<S, D, E> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("chaos had the seed {}", self.seed);
        }
        panics::discard(self.table.release_all());
    }
}
