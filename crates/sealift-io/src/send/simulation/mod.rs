//! A simulated kernel drives the send machine, in virtual time and from a printed seed.
//!
//! ```text
//!  caller ──push──► machine ──next_request──► ring or calls ──accept──► socket ──► the wire
//!    ▲ ▲               │ ▲                          │  ▲                  │ reads the memory,
//!    │ └─ completions ─┘ └── sent, released ────────┘  └──── ripe ────────┘ late and repeatedly
//!    │                                                                    │
//!    └─ overwrites what is back ─► memory ◄──────── compared ─────────────┘
//! ```
//!
//! - `random.rs` chance, `world.rs` one run, `stage.rs` what both sides share;
//! - `caller.rs` the user; `memory.rs` its buffers; `registry.rs` who holds what;
//! - `kernel.rs`, `ring.rs`, `calls.rs` the backends' rules; `socket.rs` what is in flight;
//!   `weather.rs` what fails.
//!
//! A run fails if a buffer comes back twice, never, or while the kernel holds it; if the stream has
//! a gap, a repetition or other bytes; if a datagram leaves in parts or twice; if sums differ; if
//! nothing can happen any more, or it does not end. A run is its seed, and a failure prints it:
//! `SEALIFT_SEED=n` makes that run again. `SEALIFT_STEPS=n` makes longer work of it, from the seed
//! `SEALIFT_FIRST_SEED=n` on.

mod caller;
mod calls;
mod kernel;
mod memory;
mod random;
mod registry;
mod ring;
mod socket;
mod stage;
mod weather;
mod world;

use stage::{Seen, Wishes};
use world::{STEPS_SEEN, run};

const STEPS: u64 = 1_000_000;

/// What must have happened in that many steps for the test to be worth its name.
const MUST_HAPPEN: &[&str] = &[
    "EAGAIN for want of room",
    "EMSGSIZE for too many buffers",
    "ENOBUFS for want of notification memory",
    "counters that wrapped",
    "errors in storms",
    "fatal errors",
    "flushes that missed their deadline",
    "full windows of notifications",
    "groups released",
    "merged notifications",
    "pieces read again",
    "ranges across the wrap",
    "requests cancelled in their midst",
    "requests that gathered messages",
    "senders given up",
    "short sends",
    "failed sends that were numbered",
    "zero-copy errors with F_MORE",
    "zero-copy errors without F_MORE",
    "zero-copy refused by an old kernel or an upper layer",
    "zero-copy requests out of one arena",
];

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

#[test]
fn every_buffer_comes_back_once_whatever_the_kernel_does() {
    if let Some(seed) = number_from("SEALIFT_SEED") {
        println!("{}", run(seed, Wishes::default()));
        return;
    }
    let wanted = number_from("SEALIFT_STEPS").unwrap_or(STEPS);
    let first_seed = number_from("SEALIFT_FIRST_SEED").unwrap_or(1);
    let mut seen = Seen::default();
    let mut runs = 0;
    while seen.count(STEPS_SEEN) < wanted {
        seen.merge(run(first_seed + runs, Wishes::default()));
        runs += 1;
    }
    println!("{runs} runs from seed {first_seed}:\n{seen}");
    for what in MUST_HAPPEN {
        assert!(wanted < STEPS || seen.count(what) > 0, "no run had any {what}");
    }
}

/// The simulation must notice what it is there to notice: here the machine gives buffers back at
/// the result of a zero-copy send instead of its notification.
#[cfg(feature = "fault-injection")]
mod early_release {
    use std::panic::catch_unwind;

    use super::*;

    /// Seeds of runs in which much is sent zero-copy and read again.
    fn seeds() -> impl Iterator<Item = u64> {
        let much = |seed: &u64| {
            let seen = run(*seed, Wishes::default());
            seen.count("zero-copy requests") > 300 && seen.count("pieces read again") > 200
        };
        (1..).filter(much).take(8)
    }

    fn complaint(seed: u64, trusting: bool) -> String {
        let panic = catch_unwind(|| run(seed, Wishes { release_early: true, trusting }));
        let Err(payload) = panic else { return "none".to_owned() };
        payload.downcast_ref::<String>().cloned().unwrap_or_else(|| "no words".to_owned())
    }

    #[test]
    fn is_noticed_when_the_buffer_comes_back() {
        for seed in seeds() {
            let complaint = complaint(seed, false);
            let noticed = [
                "while the kernel holds it",
                "other bytes than the kernel told",
                "the kernel read other bytes",
                "a flush was over with",
                // The last resort, if each buffer was lucky.
                "answers that the machine did not wait for",
            ];
            assert!(noticed.iter().any(|n| complaint.contains(n)), "seed {seed}: {complaint}");
        }
    }

    /// Without the books, by the bytes that the kernel then reads. A run may be lucky.
    #[test]
    fn is_noticed_on_the_wire_alone() {
        let corrupted = seeds().filter(|&seed| complaint(seed, true).starts_with("corrupted"));
        assert!(corrupted.count() >= 5);
    }
}
