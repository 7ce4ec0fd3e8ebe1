//! Jobs on an engine, in any order; what came of them, in the order in which they were begun.
//!
//! ```text
//!  memory ─► job ─► outbox ─► engine ─► places ─┬─ this epoch's ─► Sequencer ─► release
//!    ▲                                          └─ abandoned: late ─┐             │
//!    └──────────────────────────────────────────────────────────────┴─ give_back ─┘
//! ```
//!
//! 1. A destination is spare, with a job, with an outcome, or with whoever it was released to; and
//!    there are [`MOST_JOBS`] of them. Without a spare one no job is begun.
//! 2. A job that was abandoned is the engine's until it comes back, and then only its memory
//!    counts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sealift_crypto::{
    Done, Engine, Error, Job, Key, Payload, Place, Result, Sequencer, Stopped, Units,
};

use crate::opening::MOST_JOB_BYTES;
use crate::retirement;

use super::MOST_JOBS;

/// The engines that open records ahead.
pub(crate) type OpeningEngine = Box<dyn Engine<Arc<[u8]>, Vec<u8>>>;

/// How long an engine that holds nothing, and takes nothing, is left alone.
const PAUSE: Duration = Duration::from_millis(1);

/// What a job needs besides its source.
pub(super) struct Memory {
    pub(super) plaintext: Vec<u8>,
    pub(super) units: Units,
}

impl Memory {
    /// What is left of a job. Its source, which the backlog has too, is let go of.
    fn of((payload, units): (Payload<Arc<[u8]>, Vec<u8>>, Units)) -> Self {
        let (Payload::Apart { destination: plaintext, .. } | Payload::InPlace(plaintext)) = payload;
        Self { plaintext, units }
    }
}

/// What came of a job.
pub(super) struct Outcome {
    pub(super) memory: Memory,
    /// Units done, from the front.
    pub(super) units_done: usize,
    /// What stopped it there.
    pub(super) result: Result<()>,
}

pub(super) struct Pipeline {
    /// Never locked: it makes what holds an engine `Sync`, which an engine need not be.
    engine: Mutex<OpeningEngine>,
    name: &'static str,
    is_synchronous: bool,
    /// Begun, and not taken by the engine.
    outbox: VecDeque<Job<Arc<[u8]>, Vec<u8>>>,
    /// Empty between calls.
    returned: VecDeque<Done<Arc<[u8]>, Vec<u8>>>,
    /// Of jobs that were begun and are not abandoned.
    places: Vec<Place>,
    order: Sequencer<Outcome>,
    spares: Vec<Memory>,
    /// Destinations there are, spare or not.
    memories: usize,
}

impl Pipeline {
    pub(super) fn new(engine: OpeningEngine) -> Self {
        let capabilities = engine.capabilities();
        Self {
            name: capabilities.name,
            is_synchronous: capabilities.synchronous,
            engine: Mutex::new(engine),
            outbox: VecDeque::with_capacity(MOST_JOBS),
            returned: VecDeque::with_capacity(MOST_JOBS),
            places: Vec::with_capacity(MOST_JOBS),
            order: Sequencer::new(MOST_JOBS),
            spares: Vec::with_capacity(MOST_JOBS),
            memories: 0,
        }
    }

    pub(super) fn engine(&mut self) -> &mut OpeningEngine {
        self.engine.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a job is done when it was taken.
    pub(super) fn is_synchronous(&self) -> bool {
        self.is_synchronous
    }

    /// Memory for a job, if one may be begun.
    pub(super) fn spare(&mut self) -> Option<Memory> {
        if !self.outbox.is_empty() || self.order.len() == MOST_JOBS {
            return None;
        }
        self.spares.pop().or_else(|| {
            let may_be_made = self.memories < MOST_JOBS;
            self.memories += usize::from(may_be_made);
            let plaintext = || vec![0; MOST_JOB_BYTES];
            may_be_made.then(|| Memory { plaintext: plaintext(), units: Units::new() })
        })
    }

    /// Takes memory back for another job.
    pub(super) fn give_back(&mut self, memory: Memory) {
        let Memory { plaintext, mut units } = memory;
        // It may be another one than was given: a router's spare.
        if plaintext.len() < MOST_JOB_BYTES {
            self.memories -= 1;
            return;
        }
        units.clear();
        self.spares.push(Memory { plaintext, units });
    }

    /// Begins a job of the units in `memory`, and offers it to the engine.
    pub(super) fn begin(&mut self, key: &Key, source: Arc<[u8]>, memory: Memory) {
        // The caller asked for a spare first, and there are as many places.
        let Some(place) = self.order.start() else { return self.give_back(memory) };
        self.places.push(place);
        let payload = Payload::Apart { source, destination: memory.plaintext };
        match Job::open(key, payload, memory.units, place.number()) {
            Ok(job) => {
                self.outbox.push_back(job);
                self.submit();
            }
            Err(refused) => {
                let memory = Memory::of((refused.payload, refused.units));
                self.settle(place.number(), memory, 0, Err(refused.error));
            }
        }
    }

    /// Offers what it did not take yet to the engine.
    fn submit(&mut self) {
        while !self.outbox.is_empty() {
            let before = self.outbox.len();
            let engine = self.engine.get_mut().unwrap_or_else(PoisonError::into_inner);
            let what = match engine.submit(&mut self.outbox) {
                Stopped::Unsuited => "it does not do such jobs",
                Stopped::Dead => "it is dead",
                _ if self.outbox.len() == before => return,
                _ => continue,
            };
            if let Some(job) = self.outbox.pop_front() {
                let failed = Err(Error::Engine { engine: self.name, what });
                self.settle(job.tag(), Memory::of(job.into_parts()), 0, failed);
            }
        }
    }

    /// Gives the engine what it did not take yet, and takes what it has done. What that made room
    /// for is given at once: nothing else may wake who waits.
    pub(super) fn turn(&mut self) {
        loop {
            self.submit();
            if !self.collect() || self.outbox.is_empty() {
                return;
            }
        }
    }

    /// Takes what the engine has done; says whether it was anything.
    fn collect(&mut self) -> bool {
        let mut returned = std::mem::take(&mut self.returned);
        let is_some = self.engine().poll(&mut returned) > 0;
        self.settle_all(&mut returned);
        self.returned = returned;
        is_some
    }

    fn settle_all(&mut self, returned: &mut VecDeque<Done<Arc<[u8]>, Vec<u8>>>) {
        for Done { job, units_done, result } in returned.drain(..) {
            self.settle(job.tag(), Memory::of(job.into_parts()), units_done, result);
        }
    }

    /// Puts what came of a job into its place, if it still has one.
    fn settle(&mut self, tag: u64, memory: Memory, units_done: usize, result: Result<()>) {
        let Some(at) = self.places.iter().position(|place| place.number() == tag) else {
            return self.give_back(memory);
        };
        let failed = |what| Err(Error::Engine { engine: self.name, what });
        let result = match result {
            Ok(()) if units_done < memory.units.len() => failed("it did less than it said"),
            Ok(()) | Err(Error::Inauthentic | Error::Engine { .. }) => result,
            // Of the job itself none of these is true.
            Err(_) => failed("it refused a job that it could do"),
        };
        let outcome = Outcome { memory, units_done, result };
        if let Err(late) = self.order.finish(self.places.swap_remove(at), outcome) {
            self.give_back(late.memory);
        }
    }

    /// What came of the oldest job, once that is known.
    pub(super) fn release(&mut self) -> Option<Outcome> {
        self.order.release()
    }

    /// Forgets all that was begun.
    pub(super) fn abandon(&mut self) {
        self.places.clear();
        let mut unused: Vec<Memory> = self.order.abandon().map(|outcome| outcome.memory).collect();
        unused.extend(self.outbox.drain(..).map(|job| Memory::of(job.into_parts())));
        unused.into_iter().for_each(|memory| self.give_back(memory));
    }

    /// Sleeps until the engine may have got further, or until `until`.
    pub(super) fn wait(&mut self, until: Instant) {
        let engine = self.engine();
        if engine.in_flight() > 0 {
            engine.wait(until);
        } else {
            std::thread::sleep(PAUSE.min(until.saturating_duration_since(Instant::now())));
        }
    }

    /// Forgets everything, and takes back what the engine can give up soon. The rest is dropped
    /// with the engine.
    pub(super) fn close(&mut self) {
        self.abandon();
        if self.recall() > 0 {
            retirement::let_go(self.engine());
        }
    }

    /// Takes back what the engine can give up soon; says how many jobs it may still work on.
    pub(super) fn recall(&mut self) -> usize {
        let mut returned = std::mem::take(&mut self.returned);
        let held = retirement::recall(self.engine(), &mut returned);
        self.settle_all(&mut returned);
        self.returned = returned;
        held
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&mut self) -> bool {
        self.order.is_empty() && self.engine().in_flight() == 0
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.close();
    }
}
