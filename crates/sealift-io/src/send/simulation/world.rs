//! One run: a caller and a kernel around one machine, until everything is back.

use crate::error::Error;

use super::super::machine::{Kind, Limits, Machine};
use super::super::policy::{Chooser, Policy, RuledOut};
use super::caller::Caller;
use super::calls::{CallRules, UNTRIED};
use super::kernel::{Kernel, Rules};
use super::memory::Memory;
use super::random::Random;
use super::registry::Registry;
use super::ring::RingRules;
use super::socket::{Path, Socket};
use super::stage::{Seen, Stage, Wishes};
use super::weather::{Climate, Weather};

/// Steps of the caller and the kernel while messages are still handed over.
const BUSY_STEPS: usize = 4_000;
const STEPS_AFTER_FAULT: usize = 50;
/// Steps after which a run that only drains has to be over.
const DRAIN_STEPS: usize = 500_000;
const THRESHOLD_BYTES: usize = 512;

/// What the steps of the machine are counted under.
pub(super) const STEPS_SEEN: &str = "steps of the machine";

pub(super) struct World {
    stage: Stage,
    kernel: Kernel,
    caller: Caller,
    /// The connection is given up once in so many steps.
    aborts_once_in: usize,
}

/// Prints the seed if the run ends in a panic that nobody waits for.
struct OnPanic(u64, Wishes);

impl Drop for OnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.1.release_early {
            eprintln!("the run with SEALIFT_SEED={} failed", self.0);
        }
    }
}

/// Makes one run from its seed; says what happened in it.
pub(super) fn run(seed: u64, wishes: Wishes) -> Seen {
    let _on_panic = OnPanic(seed, wishes);
    let mut world = World::new(seed, wishes);
    let mut left = BUSY_STEPS;
    while left > 0 {
        world.step(true);
        // Once the sender has failed there is little to see.
        let failed = world.stage.machine.fault().is_some();
        left = if failed { left.min(STEPS_AFTER_FAULT) } else { left } - 1;
    }
    world.drain();
    world.stage.seen
}

impl World {
    fn new(seed: u64, wishes: Wishes) -> Self {
        let mut random = Random::new(seed);
        let kind = if random.once_in(2) { Kind::Stream } else { Kind::Datagram };
        let limits = Limits {
            messages: random.within(1, 64),
            requests: random.within(1, 32),
            spans: random.within(1, 20),
            request_bytes: random.pick(&[300, 700, 4096, 16_384, 32_768]),
            pinned_bytes: random.pick(&[300, 1000, 8192, 65_536, 1 << 20]),
        };
        let policy = match random.below(8) {
            0 => Policy::AlwaysCopy,
            1 | 2 => Policy::AlwaysZeroCopy,
            _ => Policy::Adaptive(Some(THRESHOLD_BYTES)),
        };
        let mut chooser = Chooser::new(policy, THRESHOLD_BYTES);
        let rules = match random.below(5) {
            0 | 1 => Rules::Ring(RingRules::new(random.within(1, 40))),
            2 | 3 => {
                let first_number = random.pick(&[0, u32::MAX - 1, u32::MAX - 40, u32::MAX - 500]);
                let (window, pending) = (random.within(1, 128), random.within(1, 64));
                let calls = CallRules::zero_copy(first_number, window, pending);
                Rules::Calls(Box::new(calls))
            }
            _ => {
                chooser.rule_out(RuledOut::Socket);
                Rules::Calls(Box::new(CallRules::copying()))
            }
        };
        let path = Path {
            kind,
            buffer_bytes: random.pick(&[300, 3000, 20_000, 200_000]),
            copies_once_in: random.pick(&[0, 0, 1, 2, 20]),
            stalls_once_in: random.pick(&[0, 50, 500]),
        };
        let weather = Weather::new(climate(&mut random));
        #[cfg_attr(not(feature = "fault-injection"), allow(unused_mut))]
        let mut machine = Machine::new(kind, limits, chooser);
        if wishes.release_early {
            #[cfg(feature = "fault-injection")]
            machine.release_early();
        }
        let aborts_once_in = random.pick(&[0, 0, 1000, 10_000]);
        let stage = Stage {
            random,
            machine,
            memory: Memory::new(),
            registry: Registry::default(),
            now_us: 0,
            wishes,
            corked: false,
            seen: Seen::default(),
        };
        let kernel = Kernel { rules, socket: Socket::new(path), weather };
        Self { stage, kernel, caller: Caller::default(), aborts_once_in }
    }

    /// One thing happens, on one side or the other.
    fn step(&mut self, busy: bool) {
        let Self { stage, kernel, caller, .. } = self;
        stage.now_us += stage.random.below(200) as u64;
        match stage.random.below(12) {
            0..4 if busy => {
                if stage.machine.messages.in_use() < stage.machine.limits.messages
                    || stage.random.once_in(10)
                {
                    caller.push(stage);
                }
                if stage.random.once_in(2) {
                    kernel.pump(stage);
                }
            }
            0..6 => kernel.pump(stage),
            6..10 => {
                for _ in 0..stage.random.within(1, 4) {
                    kernel.work(stage);
                }
            }
            10 => {
                let most = stage.random.within(1, 8);
                caller.take_events(stage, most);
            }
            _ if busy && stage.random.once_in(3) => caller.regroup(stage),
            _ if busy && stage.random.once_in(3) => caller.flush(stage),
            _ => stage.now_us += stage.random.below(20_000) as u64,
        }
        let late = caller.attend_flushes(stage);
        let weary = if late { self.aborts_once_in / 100 } else { self.aborts_once_in };
        if busy && stage.random.once_in(weary) {
            self.give_up(late);
        }
        self.caller.check_fault(&self.stage);
        self.check_alive();
        if !self.stage.wishes.release_early {
            assert_eq!(self.stage.machine.pinned_bytes(), self.kernel.socket.pinned_bytes);
        }
    }

    /// As `Sender::close` does at its deadline, or a sender that is dropped.
    fn give_up(&mut self, late: bool) {
        let Self { stage, kernel, .. } = self;
        let in_flight = stage.machine.unsettled();
        let error = if late { Error::Deadline { in_flight } } else { Error::Closed };
        stage.machine.abandon(error);
        stage.seen.note("senders given up");
        if stage.random.once_in(2) {
            kernel.socket.reset();
        }
    }

    /// If the kernel has nothing to do, the machine must have something to do, or be done.
    fn check_alive(&mut self) {
        let Self { stage, kernel, .. } = self;
        if !kernel.is_idle() || stage.machine.unsettled() == 0 {
            return;
        }
        if let Some(retry_at_us) = stage.machine.retry_at_us() {
            stage.now_us = stage.now_us.max(retry_at_us);
        }
        let before = stage.machine.counters().requests;
        kernel.pump(stage);
        let machine = &stage.machine;
        let moved = machine.counters().requests > before || machine.unsettled() == 0;
        assert!(moved, "deadlock: {} messages wait for nothing", machine.unsettled());
    }

    /// No more messages and no more errors: the run must come to its end.
    fn drain(&mut self) {
        self.caller.seal_all(&mut self.stage);
        self.kernel.weather.calm_down();
        self.kernel.socket.resume();
        let mut steps = 0;
        while self.stage.machine.unsettled() > 0 || !self.kernel.is_idle() {
            self.step(false);
            steps += 1;
            assert!(steps < DRAIN_STEPS, "the run does not end");
        }
        let Self { stage, caller, .. } = self;
        caller.check_end(stage);
        let machine = &stage.machine;
        assert_eq!(machine.pinned_bytes(), 0);
        assert_eq!((machine.open_requests(), machine.queued(), machine.sending()), (0, 0, 0));
        let counters = machine.counters();
        assert_eq!(counters.stray_answers, 0, "answers that the machine did not wait for");
        assert_eq!(counters.messages, stage.registry.parcels.len() as u64);
        stage.memory.check_all_home();
        // A request is made, answered and perhaps released; a message comes and goes.
        let untried = stage.seen.count(UNTRIED);
        let requests = counters.requests - untried;
        let steps = 2 * requests + counters.notifications + 2 * counters.messages;
        stage.seen.add(STEPS_SEEN, steps);
    }
}

fn climate(random: &mut Random) -> Climate {
    let refusals = [libc::EOPNOTSUPP, libc::EINVAL, libc::ENOMEM, libc::ENOBUFS];
    Climate {
        errors_once_in: random.pick(&[0, 5, 50, 500]),
        storms_once_in: random.pick(&[0, 30, 300]),
        fatal_once_in: random.pick(&[0, 0, 300, 3000]),
        no_zero_copy: random.once_in(12).then(|| random.pick(&refusals)),
        endless_shortage: random.once_in(60),
    }
}
