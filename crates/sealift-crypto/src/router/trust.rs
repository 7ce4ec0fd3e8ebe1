//! Whether an engine is given work: one that keeps failing is quarantined and tried again later.
//!
//! ```text
//!  Trusted ── failures in a row ──► Quarantined { until } ── time ──► OnTrial ── well ──► Trusted
//!                                         ▲                              │
//!                                         └──── longer each time ── failed
//! ```
//! Only the trial's own job ends the trial: what was handed over before tells of the past.

use std::time::{Duration, Instant};

use crate::moment::after;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Trusted { failures: u32 },
    Quarantined { until: Instant },
    OnTrial,
}

/// What an engine is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Work,
    /// This one job, to see.
    Trial,
    Nothing,
}

#[derive(Debug)]
pub(super) struct Trust {
    standing: Standing,
    failures_allowed: u32,
    /// The first quarantine and the longest.
    bounds: (Duration, Duration),
    next: Duration,
    pub(super) quarantines: u64,
}

impl Trust {
    pub(super) fn new(failures_allowed: u32, bounds: (Duration, Duration)) -> Self {
        let standing = Standing::Trusted { failures: 0 };
        Self { standing, failures_allowed, bounds, next: bounds.0, quarantines: 0 }
    }

    /// What it is given now. A trial stands open until its job is told of.
    pub(super) fn ask(&mut self, now: Instant) -> Verdict {
        match self.standing {
            Standing::Trusted { .. } => Verdict::Work,
            Standing::Quarantined { until } if now >= until => {
                self.standing = Standing::OnTrial;
                Verdict::Trial
            }
            _ => Verdict::Nothing,
        }
    }

    /// A job was done.
    pub(super) fn succeeded(&mut self, is_trial: bool) {
        match self.standing {
            Standing::Trusted { .. } => self.standing = Standing::Trusted { failures: 0 },
            Standing::OnTrial if is_trial => {
                self.next = self.bounds.0;
                self.standing = Standing::Trusted { failures: 0 };
            }
            _ => {}
        }
    }

    /// A job failed for the engine's fault.
    pub(super) fn failed(&mut self, now: Instant, is_trial: bool) {
        match self.standing {
            Standing::Trusted { failures } if failures < self.failures_allowed => {
                self.standing = Standing::Trusted { failures: failures + 1 };
            }
            Standing::Trusted { .. } => self.quarantine(now),
            Standing::OnTrial if is_trial => self.quarantine(now),
            _ => {}
        }
    }

    /// It takes nothing any more.
    pub(super) fn died(&mut self, now: Instant) {
        if !matches!(self.standing, Standing::Quarantined { .. }) {
            self.quarantine(now);
        }
    }

    /// The trial's job was not taken, which says nothing: the next one is a trial, too.
    pub(super) fn trial_refused(&mut self, now: Instant) {
        if self.standing == Standing::OnTrial {
            self.standing = Standing::Quarantined { until: now };
        }
    }

    fn quarantine(&mut self, now: Instant) {
        self.quarantines += 1;
        self.standing = Standing::Quarantined { until: after(now, self.next) };
        self.next = self.next.saturating_mul(2).min(self.bounds.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn failures_in_a_row_end_the_trust_and_single_ones_do_not() {
        let (mut trust, now) = (Trust::new(2, (SECOND, SECOND * 4)), Instant::now());
        for _ in 0..10 {
            trust.failed(now, false);
            trust.failed(now, false);
            trust.succeeded(false);
        }
        assert_eq!(trust.ask(now), Verdict::Work);
        (0..3).for_each(|_| trust.failed(now, false));
        assert_eq!((trust.ask(now), trust.quarantines), (Verdict::Nothing, 1));
    }

    #[test]
    fn quarantines_grow_until_a_trial_goes_well() {
        let (mut trust, mut now) = (Trust::new(0, (SECOND, SECOND * 4)), Instant::now());
        trust.failed(now, false);
        for seconds in [1, 2, 4, 4] {
            assert_eq!(trust.ask(now + SECOND * seconds - SECOND / 2), Verdict::Nothing);
            now += SECOND * seconds;
            assert_eq!((trust.ask(now), trust.ask(now)), (Verdict::Trial, Verdict::Nothing));
            // What was out before says nothing about it now.
            trust.succeeded(false);
            trust.failed(now, false);
            assert_eq!(trust.ask(now), Verdict::Nothing);
            trust.failed(now, true);
        }
        now += SECOND * 4;
        assert_eq!(trust.ask(now), Verdict::Trial);
        trust.succeeded(true);
        assert_eq!(trust.ask(now), Verdict::Work);
        trust.died(now);
        assert_eq!(trust.ask(now + SECOND), Verdict::Trial, "the first length again");
        trust.trial_refused(now + SECOND);
        assert_eq!(trust.ask(now + SECOND), Verdict::Trial);
        assert_eq!(trust.quarantines, 6);
    }
}
