//! The memory that a row of `bench seal` works on, and the loops over it.
//!
//! ```text
//!  slot:   plaintext  │ message │ message │ …   a batch, one behind the other
//!          sealed     │ message + tag │ …
//! ```
//!
//! There are as many slots as the ring has room for, sealed in turn. A ring that fits the cache
//! shows what sealing costs; a larger one shows memory.

use std::collections::VecDeque;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use sealift::crypto::baseline::Bare;
use sealift::crypto::{
    Done, Engine, Job, Key, Limits, NONCE_BYTES, Nonce, Payload, Suite, TAG_BYTES, Unit, Units,
};
use sealift::io::baseline::Sample;

/// How a message gets from where it is to where it is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Sealing is the copy.
    Apart,
    /// It is copied first, by whoever makes the job, and sealed where it is then.
    Copied,
}

/// An engine over the memory of this bench.
pub(super) type AnyEngine = Box<dyn Engine<Arc<[u8]>, Vec<u8>>>;

/// The memory of a job between two rounds.
type Slot = (Payload<Arc<[u8]>, Vec<u8>>, Units);

/// As much as a TLS 1.3 record authenticates beside its text: its header.
const ASSOCIATED: [u8; 5] = [23, 3, 3, 0x41, 0];
/// Messages between two looks at the clock, at least.
const MESSAGES_PER_LOOK: u64 = 128;
/// Messages that an engine holds that works elsewhere: enough for a batch on either core, and one
/// behind each.
const MESSAGES_IN_FLIGHT: usize = 128;
/// How long one look for what is done may take.
const PATIENCE: Duration = Duration::from_millis(100);

/// The shape of a row's work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) suite: Suite,
    pub(super) payload_bytes: usize,
    /// Messages that are handed over together.
    pub(super) batch: usize,
    /// Plaintext in all slots together, unless one batch is more.
    pub(super) ring_bytes: usize,
}

impl Shape {
    fn secret(&self) -> Vec<u8> {
        vec![0x42; self.suite.key_bytes()]
    }

    /// At least `least` slots.
    fn slots<T>(&self, least: usize, mut slot: impl FnMut(Arc<[u8]>, Vec<u8>) -> T) -> VecDeque<T> {
        let count = (self.ring_bytes / (self.payload_bytes * self.batch)).max(least);
        let memory = |each: usize, byte| vec![byte; each * self.batch];
        let sealed_bytes = self.payload_bytes + TAG_BYTES;
        let slot = |_| slot(memory(self.payload_bytes, 7).into(), memory(sealed_bytes, 0));
        (0..count).map(slot).collect()
    }

    fn sample(&self, messages: u64, elapsed: Duration) -> Sample {
        let bytes = messages * self.payload_bytes as u64;
        Sample { bytes, messages, elapsed, zerocopied_fraction: None, syscalls: 0 }
    }
}

/// One call of the bare library.
pub(super) type Call =
    fn(&Bare, Nonce, &[u8], &[u8], &mut [u8]) -> Result<(), sealift::crypto::Error>;

/// Seals message by message with the bare library.
pub(super) fn bare(shape: Shape, call: Call, duration: Duration) -> Result<Sample, String> {
    let bare = Bare::new(shape.suite, &shape.secret()).map_err(|error| error.to_string())?;
    let mut slots = shape.slots(1, |source, destination| (source, destination));
    let mut number = 0;
    let mut seal_one = |slots: &mut VecDeque<(Arc<[u8]>, Vec<u8>)>| {
        let Some((source, mut destination)) = slots.pop_front() else {
            return Err("the ring is empty".to_owned());
        };
        let places = destination.chunks_exact_mut(shape.payload_bytes + TAG_BYTES);
        for (text, into) in source.chunks_exact(shape.payload_bytes).zip(places) {
            number += 1;
            call(&bare, Nonce::of(&[0; NONCE_BYTES], number), &ASSOCIATED, text, into)
                .map_err(|error| error.to_string())?;
        }
        slots.push_back((source, destination));
        Ok(shape.batch as u64)
    };
    for _ in 0..slots.len() {
        seal_one(&mut slots)?;
    }
    let begun = Instant::now();
    let messages = for_a_time(duration, || seal_one(&mut slots))?;
    Ok(shape.sample(messages, begun.elapsed()))
}

/// Seals with `engine`: what is synchronous job by job, what is not with many in flight.
pub(super) fn one_engine(
    shape: Shape,
    way: Way,
    engine: AnyEngine,
    duration: Duration,
) -> Result<Sample, String> {
    let mut lane = Lane::new(shape, way, engine, key(shape)?, 0);
    lane.go_round()?;
    let begun = Instant::now();
    let messages = for_a_time(duration, || lane.step())? + lane.drain()?;
    Ok(shape.sample(messages, begun.elapsed()))
}

/// Seals the messages of one key with an engine on each of two cores, half of the ring each.
pub(super) fn two_engines(
    shape: Shape,
    engines: [AnyEngine; 2],
    duration: Duration,
) -> Result<Sample, String> {
    let key = key(shape)?;
    let half = Shape { ring_bytes: shape.ring_bytes / 2, ..shape };
    let ready = Barrier::new(2);
    let run = |mut lane: Lane| {
        let round = lane.go_round();
        ready.wait();
        let begun = Instant::now();
        let messages = round.and_then(|()| for_a_time(duration, || lane.step()))?;
        Ok::<_, String>((messages, begun.elapsed()))
    };
    let [here, there] = engines;
    let here = Lane::new(half, Way::Apart, here, key.clone(), 0);
    let there = Lane::new(half, Way::Apart, there, key, 1 << 62);
    let (here, there) = std::thread::scope(|scope| {
        let there = scope.spawn(|| run(there));
        (run(here), there.join())
    });
    let there = there.map_err(|_| "the second core's thread panicked".to_owned())?;
    let ((here, here_took), (there, there_took)) = (here?, there?);
    Ok(shape.sample(here + there, here_took.max(there_took)))
}

/// One key for all that a row seals.
fn key(shape: Shape) -> Result<Key, String> {
    // The bench sends nothing, so nobody can use what many messages under one key would give away.
    let unlimited = Limits { seals: u64::MAX, failures: u64::MAX };
    Key::new(shape.suite, &shape.secret(), unlimited).map_err(|error| error.to_string())
}

/// An engine and the slots that it seals in turn.
struct Lane {
    shape: Shape,
    engine: AnyEngine,
    key: Key,
    number: u64,
    /// Jobs that the engine may hold.
    depth: usize,
    slots: VecDeque<Slot>,
    /// What is copied into the slots, in turn; nothing if sealing is the copy.
    originals: VecDeque<Arc<[u8]>>,
    jobs: VecDeque<Job<Arc<[u8]>, Vec<u8>>>,
    done: VecDeque<Done<Arc<[u8]>, Vec<u8>>>,
}

impl Lane {
    /// Messages are numbered from `first` on.
    fn new(shape: Shape, way: Way, engine: AnyEngine, key: Key, first: u64) -> Self {
        let depth = match engine.capabilities().synchronous {
            true => 1,
            false => (MESSAGES_IN_FLIGHT / shape.batch).max(1),
        };
        let mut originals = VecDeque::new();
        let slots = shape.slots(depth, |source, destination| match way {
            Way::Apart => Payload::Apart { source, destination },
            Way::Copied => {
                originals.push_back(source);
                Payload::InPlace(destination)
            }
        });
        let with_units = |payload| (payload, Units::with_capacity(shape.batch));
        let slots = slots.into_iter().map(with_units).collect();
        let (jobs, done) = (VecDeque::with_capacity(depth), VecDeque::with_capacity(depth));
        Self { shape, engine, key, number: first, depth, slots, originals, jobs, done }
    }

    /// Every slot once, so that memory and caches are as they stay.
    fn go_round(&mut self) -> Result<(), String> {
        let (mut messages, all) = (0, self.slots.len() * self.shape.batch);
        while messages < all as u64 {
            messages += self.step()?;
        }
        self.drain().map(|_| ())
    }

    /// Gives the engine as many jobs as it may hold, and takes back what is done; says how many
    /// messages that were.
    fn step(&mut self) -> Result<u64, String> {
        while self.engine.in_flight() + self.jobs.len() < self.depth {
            let Some(slot) = self.slots.pop_front() else { break };
            let job = self.job(slot)?;
            self.jobs.push_back(job);
        }
        self.engine.submit(&mut self.jobs);
        self.take_back()
    }

    /// Waits for what the engine still has.
    fn drain(&mut self) -> Result<u64, String> {
        let mut messages = 0;
        while self.engine.in_flight() > 0 {
            messages += self.take_back()?;
        }
        Ok(messages)
    }

    fn take_back(&mut self) -> Result<u64, String> {
        if self.engine.poll(&mut self.done) == 0 {
            self.engine.wait(Instant::now() + PATIENCE);
            self.engine.poll(&mut self.done);
        }
        let mut messages = 0;
        for done in self.done.drain(..) {
            done.result.map_err(|error| error.to_string())?;
            self.slots.push_back(done.job.into_parts());
            messages += self.shape.batch as u64;
        }
        Ok(messages)
    }

    /// Copies the next plaintext to where it is sealed in place.
    fn copy_into(&mut self, buffer: &mut [u8]) {
        let Some(original) = self.originals.pop_front() else { return };
        let bytes = self.shape.payload_bytes;
        let places = buffer.chunks_exact_mut(bytes + TAG_BYTES);
        for (text, place) in original.chunks_exact(bytes).zip(places) {
            place[..bytes].copy_from_slice(text);
        }
        self.originals.push_back(original);
    }

    fn job(&mut self, (mut payload, mut units): Slot) -> Result<Job<Arc<[u8]>, Vec<u8>>, String> {
        let Shape { payload_bytes, batch, .. } = self.shape;
        let from_stride = match &mut payload {
            Payload::Apart { .. } => payload_bytes,
            Payload::InPlace(buffer) => {
                self.copy_into(buffer);
                payload_bytes + TAG_BYTES
            }
        };
        units.clear();
        for at in 0..batch {
            self.number += 1;
            let nonce = Nonce::of(&[0; NONCE_BYTES], self.number);
            let (from, to) = (at * from_stride, at * (payload_bytes + TAG_BYTES));
            units.push(Unit::new(nonce, from..from + payload_bytes, to).with(&ASSOCIATED));
        }
        let job = Job::seal(&self.key, payload, units, self.number);
        job.map_err(|refused| refused.error.to_string())
    }
}

/// Repeats `step` for a time; says how many messages it sealed.
fn for_a_time(
    duration: Duration,
    mut step: impl FnMut() -> Result<u64, String>,
) -> Result<u64, String> {
    let begun = Instant::now();
    let mut messages = 0;
    while begun.elapsed() < duration {
        let look = messages + MESSAGES_PER_LOOK;
        while messages < look {
            messages += step()?;
        }
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use sealift::crypto::Inline;

    use super::*;

    #[test]
    fn what_is_copied_first_is_sealed_as_what_is_not() {
        let suite = Suite::Aes128Gcm;
        let shape = Shape { suite, payload_bytes: 100, batch: 3, ring_bytes: 900 };
        let sealed = |way| {
            let mut lane = Lane::new(shape, way, Box::new(Inline::new()), key(shape).unwrap(), 0);
            lane.go_round().unwrap();
            let destination = |(payload, _): Slot| match payload {
                Payload::Apart { destination, .. } | Payload::InPlace(destination) => destination,
            };
            lane.slots.into_iter().map(destination).collect::<Vec<_>>()
        };
        let (apart, copied) = (sealed(Way::Apart), sealed(Way::Copied));
        assert!(apart.len() == 3 && apart[0] != apart[1] && apart == copied);
    }
}
