//! Streams that share an engine: each has its own order, and none waits for another.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use sealift_crypto::{
    Chaos, Coprocessor, Done, Engine, Faults, Job, Place, Sequencer, Source, TAG_BYTES, Workers,
};

use crate::memory::{Census, Page};
use crate::run::{key, seal, soon};

/// Jobs of each stream.
const JOBS: u64 = 40;
const LEN: usize = 64;

/// What holds up whoever reads behind it, while it is shut.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn set(&self, shut: bool) {
        *self.0.0.lock().unwrap() = shut;
        self.0.1.notify_all();
    }

    fn shut(&self) -> Shut<'_> {
        self.set(true);
        Shut(self)
    }

    fn pass(&self) {
        let shut = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(shut, |shut| *shut).unwrap());
    }
}

/// Shut until this is dropped, by a test that fails as well: threads wait behind it.
struct Shut<'gate>(&'gate Gate);

impl Drop for Shut<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

#[derive(Clone)]
struct Gated(Option<Gate>);

impl Source for Gated {
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().for_each(Gate::pass);
        std::iter::once(&[7; LEN][..])
    }
}

/// One direction of one connection: its jobs, and the order in which they leave.
struct Stream {
    order: Sequencer<Done<Gated, Page>>,
    places: Vec<Place>,
    released: Vec<u64>,
}

impl Stream {
    fn new() -> Self {
        let mut order = Sequencer::new(JOBS as usize);
        let places = std::iter::from_fn(|| order.start()).collect();
        Self { order, places, released: Vec::new() }
    }

    fn finish(&mut self, done: Done<Gated, Page>) {
        assert_eq!(done.result, Ok(()));
        let place = self.places[(done.job.tag() % JOBS) as usize];
        assert!(self.order.finish(place, done).is_ok());
        let released = std::iter::from_fn(|| self.order.release());
        self.released.extend(released.map(|done| done.job.tag() % JOBS));
    }
}

/// Jobs of both streams by turns; one of the first has `gate` before it.
fn jobs(census: &Census, held: u64, gate: &Gate) -> VecDeque<Job<Gated, Page>> {
    let key = key();
    let tags = (0..JOBS).flat_map(|at| [at, at + JOBS]);
    let jobs = tags.map(|tag| {
        let source = Gated((tag == held).then(|| gate.clone()));
        seal(&key, source, census.page(vec![0; LEN + TAG_BYTES]), LEN, tag)
    });
    jobs.collect()
}

/// Polls until so many jobs came back.
fn drive(engine: &mut dyn Engine<Gated, Page>, streams: &mut [Stream; 2], jobs: u64) {
    let (mut done, limit, mut count) = (VecDeque::new(), soon(), 0);
    while count < jobs {
        // No wait: it would lend a hand, and be held up itself.
        engine.poll(&mut done);
        for done in done.drain(..) {
            count += 1;
            streams[usize::from(done.job.tag() >= JOBS)].finish(done);
        }
        std::thread::yield_now();
        assert!(Instant::now() < limit, "{count} of {jobs}");
    }
}

#[test]
fn a_stalled_job_stalls_its_own_stream_only() {
    let everything: Vec<u64> = (0..JOBS).collect();
    for held in [0, 17, JOBS - 1] {
        let (census, gate) = (Census::default(), Gate::default());
        let mut streams = [Stream::new(), Stream::new()];
        let mut engine = Workers::builder().threads(2).batch(1, 1).build().unwrap();
        let mut jobs = jobs(&census, held, &gate);
        let shut = gate.shut();
        engine.submit(&mut jobs);
        drive(&mut engine, &mut streams, 2 * JOBS - 1);
        assert_eq!(streams[1].released, everything, "the other stream has all of its own");
        assert_eq!(streams[0].released, everything[..held as usize], "up to the one that is held");
        assert_eq!(streams[0].order.len() as u64, JOBS - held);
        drop(shut);
        drive(&mut engine, &mut streams, 1);
        assert_eq!(streams[0].released, everything);
        drop((engine, streams));
        assert_eq!(census.alive(), 0);
    }
}

/// A device that does the jobs in any order, and tells of them late.
#[test]
fn streams_that_share_a_disorderly_device_are_each_in_order() {
    let (census, everything) = (Census::default(), (0..JOBS).collect::<Vec<u64>>());
    for seed in 0..5 {
        let device = Coprocessor::builder().depth(200).reorders().seed(seed).build().unwrap();
        let faults = Faults { error: 0, death: 0, stall: 0, ..Faults::honest(4) };
        let mut engine = Chaos::new(device, faults, seed).unwrap();
        let mut streams = [Stream::new(), Stream::new()];
        engine.submit(&mut jobs(&census, 0, &Gate::default()));
        drive(&mut engine, &mut streams, 2 * JOBS);
        assert!(streams.iter().all(|stream| stream.released == everything), "seed {seed}");
    }
}
