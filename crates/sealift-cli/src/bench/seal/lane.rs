//! Engines over a ring: jobs from its slots, as many at a time as an engine may hold.

use std::collections::VecDeque;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use sealift::crypto::{Done, Engine, Job, Key, Limits, Payload, TAG_BYTES, Unit, Units};
use sealift::io::baseline::Sample;

use super::ring::{ASSOCIATED, Shape, Way, for_a_time, nonce};

/// An engine over the memory of this bench.
pub(super) type AnyEngine = Box<dyn Engine<Arc<[u8]>, Vec<u8>>>;

/// The memory of a job between two rounds.
type Slot = (Payload<Arc<[u8]>, Vec<u8>>, Units);

/// Messages that an engine holds that works elsewhere: enough for a batch on either core, and one
/// behind each.
const MESSAGES_IN_FLIGHT: usize = 128;
/// How long one look for what is done may take.
const PATIENCE: Duration = Duration::from_millis(100);

/// Seals or opens with `engine`: what is synchronous job by job, what is not with many in flight.
pub(super) fn one_engine(
    shape: Shape,
    way: Way,
    engine: AnyEngine,
    duration: Duration,
) -> Result<Sample, String> {
    let mut lane = Lane::new(shape, way, engine, key(shape)?, 0)?;
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
    let here = Lane::new(half, Way::Apart, here, key.clone(), 0)?;
    let there = Lane::new(half, Way::Apart, there, key, 1 << 62)?;
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
    way: Way,
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
    /// What is sealed is numbered from `first` on.
    fn new(
        shape: Shape,
        way: Way,
        engine: AnyEngine,
        key: Key,
        first: u64,
    ) -> Result<Self, String> {
        let depth = match engine.capabilities().synchronous {
            true => 1,
            false => (MESSAGES_IN_FLIGHT / shape.batch).max(1),
        };
        let mut originals = VecDeque::new();
        let mut slot = |(source, destination)| {
            let payload = match way {
                Way::Apart | Way::Opened => Payload::Apart { source, destination },
                Way::Copied => {
                    originals.push_back(source);
                    Payload::InPlace(destination)
                }
            };
            (payload, Units::with_capacity(shape.batch))
        };
        let slots = shape.memory(way, depth)?.into_iter().map(&mut slot).collect();
        let (jobs, done) = (VecDeque::with_capacity(depth), VecDeque::with_capacity(depth));
        Ok(Self { shape, way, engine, key, number: first, depth, slots, originals, jobs, done })
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
        let (from_stride, to_stride) = self.shape.strides(self.way);
        let mut from_bytes = self.shape.payload_bytes;
        match &mut payload {
            Payload::InPlace(buffer) => self.copy_into(buffer),
            Payload::Apart { .. } if self.way == Way::Opened => {
                (self.number, from_bytes) = (0, from_stride);
            }
            Payload::Apart { .. } => {}
        }
        units.clear();
        for at in 0..self.shape.batch {
            self.number += 1;
            let (from, to) = (at * from_stride, at * to_stride);
            let unit = Unit::new(nonce(self.number), from..from + from_bytes, to);
            units.push(unit.with(&ASSOCIATED));
        }
        let make = if self.way == Way::Opened { Job::open } else { Job::seal };
        make(&self.key, payload, units, self.number).map_err(|refused| refused.error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use sealift::crypto::{Inline, Suite};

    use super::*;

    fn lane(shape: Shape, way: Way) -> Lane {
        Lane::new(shape, way, Box::new(Inline::new()), key(shape).unwrap(), 0).unwrap()
    }

    #[test]
    fn what_is_opened_is_what_was_sealed_again_and_again() {
        for suite in Suite::ALL {
            let shape = Shape { suite, payload_bytes: 100, batch: 3, ring_bytes: 900 };
            let mut lane = lane(shape, Way::Opened);
            for (payload, _) in &mut lane.slots {
                let Payload::Apart { destination, .. } = payload else { panic!("in place") };
                destination.fill(0);
            }
            lane.go_round().unwrap();
            lane.go_round().unwrap();
            for (payload, _) in lane.slots {
                let Payload::Apart { destination, .. } = payload else { panic!("in place") };
                assert_eq!(destination, [7; 300], "{suite}");
            }
        }
    }

    #[test]
    fn what_is_copied_first_is_sealed_as_what_is_not() {
        let suite = Suite::Aes128Gcm;
        let shape = Shape { suite, payload_bytes: 100, batch: 3, ring_bytes: 900 };
        let sealed = |way| {
            let mut lane = lane(shape, way);
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
