//! No allocation per job in steady state: make → submit → poll → take apart, again and again.
//!
//! Truth: an allocator that counts, over all threads, for the workers' count too. There is one test
//! here, so that nobody else allocates meanwhile.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sealift_crypto::{
    Done, Engine, Inline, Job, Key, Limits, Nonce, Payload, Router, Suite, TAG_BYTES, Unit, Units,
    Workers,
};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Rounds, one of which must be without any allocation.
const ROUNDS: usize = 8;
const JOBS: u64 = 5_000;
const TEXT: &[u8] = &[7; 2048];

/// What a job is made of, and gives back.
type Memory = (Vec<u8>, Units);

struct Cycle<E> {
    engine: E,
    key: Key,
    memory: VecDeque<Memory>,
    jobs: VecDeque<Job<&'static [u8], Vec<u8>>>,
    done: VecDeque<Done<&'static [u8], Vec<u8>>>,
    messages: u64,
}

impl<E: Engine<&'static [u8], Vec<u8>>> Cycle<E> {
    fn new(engine: E) -> Self {
        let suite = Suite::Aes128Gcm;
        let key = Key::new(suite, &[3; 16], Limits::tls(suite)).unwrap();
        let one = |_| (vec![0; TEXT.len() + TAG_BYTES], Units::new());
        let memory = (0..64).map(one).collect();
        let (jobs, done) = (VecDeque::with_capacity(64), VecDeque::with_capacity(1024));
        Self { engine, key, memory, jobs, done, messages: 0 }
    }

    fn turn(&mut self) {
        for at in 0..JOBS {
            if let Some((destination, mut units)) = self.memory.pop_front() {
                units.clear();
                units.push(Unit::new(Nonce::of(&[0; 12], self.messages), 0..TEXT.len(), 0));
                let payload = Payload::Apart { source: TEXT, destination };
                self.jobs.push_back(Job::seal(&self.key, payload, units, at).unwrap());
                self.messages += 1;
            }
            // Sometimes a lot comes at once, and sometimes the caller sleeps.
            if at % 30 == 0 || self.memory.is_empty() {
                self.engine.submit(&mut self.jobs);
                self.engine.wait(Instant::now() + Duration::from_millis(1));
            }
            self.take();
        }
        while self.engine.in_flight() > 0 {
            self.take();
        }
    }

    fn take(&mut self) {
        self.engine.poll(&mut self.done);
        for done in self.done.drain(..) {
            done.result.unwrap();
            let (Payload::Apart { destination, .. }, units) = done.job.into_parts() else {
                panic!()
            };
            self.memory.push_back((destination, units));
        }
    }

    fn expect_no_allocations(mut self, name: &str) {
        self.turn();
        let mut rounds = Vec::with_capacity(ROUNDS);
        while rounds.last() != Some(&0) {
            assert!(rounds.len() < ROUNDS, "{name}: allocations in each round: {rounds:?}");
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            self.turn();
            rounds.push(ALLOCATIONS.load(Ordering::Relaxed) - before);
        }
    }
}

#[test]
fn no_engine_allocates_per_job() {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    drop(std::hint::black_box(vec![1u8; 100]));
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > before, "the counter counts");

    Cycle::new(Inline::new()).expect_no_allocations("inline");
    Cycle::new(Workers::builder().build().unwrap()).expect_no_allocations("workers");
    let asleep = Workers::builder().threads(2).spin(Duration::ZERO).batch(1, 1);
    Cycle::new(asleep.build().unwrap()).expect_no_allocations("workers that sleep");
    let workers = Workers::builder().build().unwrap();
    let router = Router::builder().always_offloads().offload_from(1, 1).build(workers).unwrap();
    Cycle::new(router).expect_no_allocations("a router over workers");
}
