//! The bare io_uring loop: fill a batch, enter once, take what came back, again.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::{Clock, PATIENCE, Sample};
use crate::error::{Errno, Error, Result};
use crate::sys::baseline::{Event, Port, Request, Ring, Setup};

/// Submissions that fit in the ring at once; liburing's example has as many.
const ENTRIES: u32 = 512;

/// One way to drive a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Sends per `io_uring_enter`.
    pub(crate) batch: u32,
    /// What the sends read from.
    pub(crate) memory: Memory,
    /// When notifications are taken in.
    pub(crate) reaping: Reaping,
}

/// What the sends of a ring do with their memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Plain sends: the kernel copies.
    Copied,
    /// Zero-copy sends of ordinary memory: the kernel looks its pages up in each send.
    Ordinary,
    /// Zero-copy sends of a registered buffer.
    Registered,
}

/// When the kernel posts the notifications that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaping {
    /// On the way out of every call.
    EachCall,
    /// When asked (`DEFER_TASKRUN`): here, once that many memory holds are open.
    Deferred {
        /// Open holds that make the next call ask.
        holds: u64,
    },
}

impl Plan {
    /// What liburing's `send-zerocopy -n batch` does.
    pub(crate) const fn plain(batch: u32, memory: Memory) -> Self {
        Self { batch, memory, reaping: Reaping::EachCall }
    }

    /// The fastest of those measured. From 64 a batch on it is flat; asking for the notifications
    /// in each call costs nothing, but leaving them to each call's way out does (64 a batch, MiB/s:
    /// 42,600 against 43,300; 8 a batch: 38,900 against 40,700).
    pub(crate) const BEST: Self =
        Self { batch: 64, memory: Memory::Registered, reaping: Reaping::Deferred { holds: 64 } };

    fn request(&self, payload: &'static [u8]) -> Request {
        match self.memory {
            Memory::Copied => Request::copying(payload),
            Memory::Ordinary => Request::zero_copy(payload, false),
            Memory::Registered => Request::zero_copy(payload, true),
        }
    }
}

/// Sends `payload` on `socket` again and again until the clock runs out, then waits until the
/// kernel holds none of it.
pub(crate) fn run(
    plan: &Plan,
    socket: BorrowedFd<'_>,
    payload: &'static [u8],
    duration: Duration,
) -> Result<Sample> {
    let setup = Setup {
        entries: ENTRIES.max(plan.batch),
        deferred: matches!(plan.reaping, Reaping::Deferred { .. }),
    };
    let registered = (plan.memory == Memory::Registered).then_some(payload);
    let mut ring = Ring::new(setup, socket, registered)?;
    let mut port = ring.port()?;
    let request = plan.request(payload);
    let mut tally = Tally::default();
    let mut clock = Clock::start(duration);
    while clock.running(plan.batch) {
        port.push(&request, plan.batch)?;
        tally.unanswered += u64::from(plan.batch);
        let events = match plan.reaping {
            Reaping::EachCall => false,
            Reaping::Deferred { holds } => tally.held >= holds,
        };
        port.submit(events, if events { plan.batch } else { 0 })?;
        tally.syscalls += 1;
        tally.settle(&mut port, Settled::Answered)?;
    }
    tally.settle(&mut port, Settled::Released)?;
    Ok(tally.sample(clock.elapsed(), plan.memory != Memory::Copied))
}

/// What `Tally::settle` waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Settled {
    /// Every send has its result.
    Answered,
    /// And the kernel let go of the memory of every send.
    Released,
}

/// What went out and what came back.
#[derive(Default)]
struct Tally {
    /// Sends without a result yet.
    unanswered: u64,
    /// Sends whose memory the kernel still holds after their result.
    held: u64,
    bytes: u64,
    messages: u64,
    /// Releases seen, and how many of them said that the kernel had copied.
    released: u64,
    copied: u64,
    syscalls: u64,
    /// The first error of a send.
    failed: Option<i32>,
}

impl Tally {
    /// Takes completions in until all is settled; gives up when none comes for `PATIENCE`.
    fn settle(&mut self, port: &mut Port<'_>, until: Settled) -> Result<()> {
        let mut heard = None;
        loop {
            if port.reap(|event| self.note(event)) > 0 {
                heard = None;
            }
            let open = match until {
                Settled::Answered => self.unanswered,
                Settled::Released => self.unanswered + self.held,
            };
            if open == 0 {
                break;
            }
            if heard.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                return Err(Error::Deadline { in_flight: open as usize });
            }
            port.wait(100)?;
            self.syscalls += 1;
        }
        match self.failed {
            Some(result) => Err(Error::from_call("send", Errno::from_raw(-result))),
            None => Ok(()),
        }
    }

    #[inline]
    fn note(&mut self, event: Event) {
        match event {
            Event::Sent { result, holds } => {
                self.unanswered = self.unanswered.saturating_sub(1);
                self.held += u64::from(holds);
                match u64::try_from(result) {
                    Ok(bytes) => {
                        self.bytes += bytes;
                        self.messages += 1;
                    }
                    Err(_) => self.failed = self.failed.or(Some(result)),
                }
            }
            Event::Released { copied } => {
                self.held = self.held.saturating_sub(1);
                self.released += 1;
                self.copied += u64::from(copied);
            }
        }
    }

    fn sample(&self, elapsed: Duration, zero_copy: bool) -> Sample {
        let truly = (self.released - self.copied) as f64 / self.messages.max(1) as f64;
        Sample {
            bytes: self.bytes,
            messages: self.messages,
            elapsed,
            zerocopied_fraction: zero_copy.then_some(truly),
            syscalls: self.syscalls,
        }
    }
}
