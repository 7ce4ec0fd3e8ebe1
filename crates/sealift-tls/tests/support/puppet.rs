//! An engine that does what a test tells it, when it is told, and nothing by itself. It seals
//! unless its types say that it opens.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use sealift_crypto::{
    Capabilities, Destination, Done, Engine, EngineStats, Error, Inline, Job, Result, Source,
    Stopped, Suite,
};
use sealift_tls::sealift_crypto;
use sealift_tls::{Bytes, Frame};

/// The engine's side.
pub struct Puppet<S = Bytes, D = Frame> {
    capabilities: Capabilities,
    strings: Strings<S, D>,
}

/// The test's side. Clones move the same puppet.
pub struct Strings<S = Bytes, D = Frame>(Arc<(Mutex<State<S, D>>, Condvar)>);

impl<S, D> Clone for Strings<S, D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct State<S, D> {
    held: VecDeque<Job<S, D>>,
    done: VecDeque<Done<S, D>>,
    taken: u64,
    given_back: u64,
    is_full: bool,
    refusals: u64,
    is_dead: bool,
    is_dropped: bool,
    /// Jobs are the device's until the test lets go of them; dropping the engine waits for that.
    clings: bool,
}

impl<S, D> Puppet<S, D> {
    pub fn new() -> (Self, Strings<S, D>) {
        Self::of(Suite::ALL.len(), 1 << 20)
    }

    /// One that has so many suites, and takes units of at most so many bytes.
    pub fn of(suites: usize, most_unit_bytes: usize) -> (Self, Strings<S, D>) {
        let capabilities = Capabilities {
            name: "puppet",
            suites: Suite::ALL[..suites].to_vec(),
            in_place: true,
            out_of_place: true,
            most_unit_bytes,
            depth: 1024,
            key_slots: None,
            synchronous: false,
        };
        let state = State {
            held: VecDeque::new(),
            done: VecDeque::new(),
            taken: 0,
            given_back: 0,
            is_full: false,
            refusals: 0,
            is_dead: false,
            is_dropped: false,
            clings: false,
        };
        let strings = Strings(Arc::new((Mutex::new(state), Condvar::new())));
        (Self { capabilities, strings: strings.clone() }, strings)
    }
}

impl<S, D> Strings<S, D> {
    fn state(&self) -> MutexGuard<'_, State<S, D>> {
        self.0.0.lock().unwrap()
    }
}

impl<S: Source, D: Destination> Strings<S, D> {
    /// Jobs taken and not done.
    pub fn held(&self) -> usize {
        self.state().held.len()
    }

    /// Jobs ever taken.
    pub fn taken(&self) -> u64 {
        self.state().taken
    }

    pub fn is_dropped(&self) -> bool {
        self.state().is_dropped
    }

    /// From now on it takes nothing, or does again.
    pub fn set_full(&self, is_full: bool) {
        self.state().is_full = is_full;
    }

    /// From now on it is dead.
    pub fn die(&self) {
        self.state().is_dead = true;
        self.0.1.notify_all();
    }

    /// Gives up no job, even if it is dropped, until [`let_go`](Strings::let_go).
    pub fn cling(&self) {
        self.state().clings = true;
    }

    pub fn let_go(&self) {
        self.state().clings = false;
        self.0.1.notify_all();
    }

    /// Does the job at `at` of those held; false if there is none.
    pub fn finish(&self, at: usize) -> bool {
        let mut state = self.state();
        let Some(job) = state.held.remove(at) else { return false };
        let mut inline = Inline::new();
        assert_eq!(inline.submit(&mut VecDeque::from([job])), Stopped::Empty);
        inline.poll(&mut state.done);
        self.0.1.notify_all();
        true
    }

    /// Fails the job at `at` of those held.
    pub fn fail(&self, at: usize) {
        let mut state = self.state();
        let job = state.held.remove(at).unwrap();
        let result = Err(Error::Engine { engine: "puppet", what: "it was told to fail" });
        state.done.push_back(Done { job, units_done: 0, result });
        self.0.1.notify_all();
    }

    /// Gives the job at `at` back as done, and it is not.
    pub fn lie(&self, at: usize) {
        let mut state = self.state();
        let job = state.held.remove(at).unwrap();
        state.done.push_back(Done { job, units_done: 0, result: Ok(()) });
        self.0.1.notify_all();
    }

    /// Waits until it has refused a job.
    pub fn wait_for_refusal(&self) {
        let late = Instant::now() + Duration::from_secs(20);
        while self.state().refusals == 0 {
            assert!(Instant::now() < late, "it was offered nothing");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until it holds `jobs`.
    pub fn wait_for(&self, jobs: usize) {
        let late = Instant::now() + Duration::from_secs(20);
        while self.held() < jobs {
            assert!(Instant::now() < late, "it holds {} jobs", self.held());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl<S: Source, D: Destination> Engine<S, D> for Puppet<S, D> {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn submit(&mut self, jobs: &mut VecDeque<Job<S, D>>) -> Stopped {
        let mut state = self.strings.state();
        match (state.is_dead, state.is_full) {
            (true, _) => Stopped::Dead,
            (_, true) => {
                state.refusals += 1;
                Stopped::Full
            }
            _ => {
                state.taken += jobs.len() as u64;
                state.held.append(jobs);
                Stopped::Empty
            }
        }
    }

    fn poll(&mut self, done: &mut VecDeque<Done<S, D>>) -> usize {
        let mut state = self.strings.state();
        let count = state.done.len();
        state.given_back += count as u64;
        done.append(&mut state.done);
        count
    }

    fn in_flight(&self) -> usize {
        let state = self.strings.state();
        (state.taken - state.given_back) as usize
    }

    fn wait(&mut self, deadline: Instant) {
        let state = self.strings.state();
        let left = deadline.saturating_duration_since(Instant::now());
        if state.done.is_empty() && !state.is_dead {
            drop(self.strings.0.1.wait_timeout(state, left).unwrap());
        }
    }

    fn quiesce(&mut self, deadline: Instant, done: &mut VecDeque<Done<S, D>>) -> Result<()> {
        self.poll(done);
        while self.in_flight() > 0 && Instant::now() < deadline {
            self.wait(deadline);
            self.poll(done);
        }
        if !self.strings.state().clings {
            while self.strings.held() > 0 {
                self.strings.fail(0);
            }
            self.poll(done);
        }
        match self.in_flight() {
            0 => Ok(()),
            in_flight => Err(Error::Deadline { in_flight }),
        }
    }

    fn stats(&self) -> EngineStats {
        EngineStats::default()
    }
}

impl<S, D> Drop for Puppet<S, D> {
    fn drop(&mut self) {
        let mut state = self.strings.state();
        while state.clings {
            state = self.strings.0.1.wait(state).unwrap();
        }
        state.held.clear();
        state.done.clear();
        state.is_dropped = true;
    }
}
