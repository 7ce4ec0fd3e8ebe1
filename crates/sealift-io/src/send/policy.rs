//! Copy or zero-copy, per send: by size, and by what the path reported.
//!
//! ```text
//!                     half of the last 16 were copied
//!   ┌────────────┐ ─────────────────────────────────► ┌──────────┐
//!   │ zero-copy  │                                     │ copying  │ a sample now and then
//!   └────────────┘ ◄───────────────────────────────── └──────────┘
//!                     three samples in a row stayed zero-copy
//! ```
//!
//! Nothing latches: while copying, every so many sends one is offered zero-copy as a sample. The
//! one lasting verdict is a kernel that says the socket cannot (`EOPNOTSUPP`).

use std::time::Duration;

use crate::error::Errno;

/// How to choose between copying and zero-copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// Copy below the threshold, zero-copy from it on, following what the path reports. The
    /// threshold starts at this many bytes; `None` for the backend's measured default.
    Adaptive(Option<usize>),
    /// Always offer zero-copy, whatever the size and the reports.
    AlwaysZeroCopy,
    /// Always copy.
    AlwaysCopy,
}

/// How one request goes out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    ZeroCopy,
    #[default]
    Plain,
}

/// The samples that must stay zero-copy before zero-copy is trusted again.
const SAMPLES_TO_TRUST: u8 = 3;
/// Eligible sends between samples, at first and at most.
const SAMPLE_EVERY: (u32, u32) = (32, 1024);
/// Sends that are copied after the kernel ran out of notification memory, at first and at most.
const PRESSURE_PAUSE: (u32, u32) = (4, 256);
/// The threshold grows when releases take longer than this, and shrinks again below a quarter.
const SLOW_RELEASE: Duration = Duration::from_millis(200);
/// How far the threshold may grow above its start.
const THRESHOLD_GROWTH: usize = 16;
/// Reports between moves of the threshold.
const REPORTS_PER_MOVE: u8 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Zero-copy is offered; the bits are the last 16 reports, 1 for copied.
    Offered { copied_history: u16 },
    /// The path copies; a sample goes out when `until_sample` reaches zero.
    /// Only the report of a sample counts, not those of requests that were in flight before.
    Copying { until_sample: u32, interval: u32, good_samples: u8, sampling: bool },
}

impl Trust {
    fn copying(until_sample: u32, interval: u32, good_samples: u8) -> Self {
        Self::Copying { until_sample, interval, good_samples, sampling: false }
    }
}

/// Why zero-copy is not offered on this socket at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuledOut {
    /// The policy always copies.
    Policy,
    /// Known from the socket or the backend before the first send.
    Socket,
    /// The kernel answered a zero-copy send with this.
    Kernel(Errno),
}

pub(crate) struct Chooser {
    always: bool,
    ruled_out: Option<RuledOut>,
    base_bytes: usize,
    threshold_bytes: usize,
    trust: Trust,
    /// Sends still to be copied because the kernel was short of memory, and the next pause.
    paused: u32,
    next_pause: u32,
    /// The smoothed time that the kernel held requests.
    release_us: Option<u64>,
    reports: u8,
}

impl Chooser {
    pub(crate) fn new(policy: Policy, default_threshold_bytes: usize) -> Self {
        let base_bytes = match policy {
            Policy::Adaptive(Some(bytes)) => bytes,
            Policy::Adaptive(None) => default_threshold_bytes,
            Policy::AlwaysZeroCopy => 1,
            Policy::AlwaysCopy => usize::MAX,
        };
        Self {
            always: policy == Policy::AlwaysZeroCopy,
            ruled_out: (policy == Policy::AlwaysCopy).then_some(RuledOut::Policy),
            base_bytes,
            threshold_bytes: base_bytes,
            trust: Trust::Offered { copied_history: 0 },
            paused: 0,
            next_pause: PRESSURE_PAUSE.0,
            release_us: None,
            reports: 0,
        }
    }

    pub(crate) fn threshold_bytes(&self) -> usize {
        self.threshold_bytes
    }

    /// A piece of a larger buffer that is smaller than this is not worth a zero-copy send.
    pub(super) fn least_bytes(&self) -> usize {
        self.base_bytes
    }

    /// Why zero-copy is no longer offered, where the builder did not know it.
    pub(crate) fn why_ruled_out(&self) -> Option<String> {
        match self.ruled_out? {
            RuledOut::Policy => Some("the policy always copies".to_owned()),
            RuledOut::Socket => None,
            RuledOut::Kernel(errno) => Some(format!("the kernel refused it ({errno})")),
        }
    }

    /// Whether the path is being copied on because of its reports.
    pub(crate) fn is_copying(&self) -> bool {
        matches!(self.trust, Trust::Copying { .. })
    }

    /// Whether a send of `len_bytes` is copied whatever was reported, so that there is nothing to
    /// decide.
    #[inline]
    pub(crate) fn copies(&self, len_bytes: usize) -> bool {
        self.ruled_out.is_some() || len_bytes < self.threshold_bytes.max(1)
    }

    /// What a send of `len_bytes` should be, without deciding it.
    #[inline]
    pub(crate) fn preview(&self, len_bytes: usize) -> Mode {
        let eligible = !self.copies(len_bytes) && self.paused == 0;
        let sampled = match self.trust {
            Trust::Offered { .. } => true,
            Trust::Copying { until_sample, .. } => until_sample == 0,
        };
        if eligible && (sampled || self.always) { Mode::ZeroCopy } else { Mode::Plain }
    }

    /// Decides a send of `len_bytes`.
    #[inline]
    pub(crate) fn decide(&mut self, len_bytes: usize) -> Mode {
        let mode = self.preview(len_bytes);
        if self.copies(len_bytes) {
            return mode;
        }
        self.paused = self.paused.saturating_sub(1);
        if let Trust::Copying { until_sample, interval, sampling, .. } = &mut self.trust {
            *sampling |= mode == Mode::ZeroCopy;
            *until_sample = if *until_sample == 0 { *interval } else { *until_sample - 1 };
        }
        mode
    }

    /// The kernel let go of a zero-copy send and said whether it had copied.
    #[inline]
    pub(crate) fn report(&mut self, copied: bool, release: Duration) {
        self.next_pause = PRESSURE_PAUSE.0;
        self.trust = match self.trust {
            Trust::Offered { copied_history } => {
                let copied_history = (copied_history << 1) | u16::from(copied);
                if copied_history.count_ones() >= 8 && !self.always {
                    tracing::debug!("the path copies: copying from now on, with samples");
                    let interval = SAMPLE_EVERY.0;
                    Trust::copying(interval, interval, 0)
                } else {
                    Trust::Offered { copied_history }
                }
            }
            late @ Trust::Copying { sampling: false, .. } => late,
            Trust::Copying { until_sample, interval, .. } if copied => {
                let interval = (interval * 2).min(SAMPLE_EVERY.1);
                Trust::copying(until_sample.max(interval), interval, 0)
            }
            Trust::Copying { interval, good_samples, .. } => {
                if good_samples + 1 >= SAMPLES_TO_TRUST {
                    tracing::debug!("the path stays zero-copy again");
                    Trust::Offered { copied_history: 0 }
                } else {
                    Trust::copying(0, interval, good_samples + 1)
                }
            }
        };
        self.follow(release);
    }

    /// Moves the threshold with the smoothed release latency.
    #[inline]
    fn follow(&mut self, release: Duration) {
        // As whole numbers: this is done for every release.
        let release_us = release.as_micros() as u64;
        let smoothed_us = match self.release_us {
            None => release_us,
            Some(before_us) => (before_us * 7 + release_us) / 8,
        };
        self.release_us = Some(smoothed_us);
        if self.always || self.base_bytes == usize::MAX {
            return;
        }
        self.reports += 1;
        if self.reports < REPORTS_PER_MOVE {
            return;
        }
        self.reports = 0;
        self.move_threshold(Duration::from_micros(smoothed_us));
    }

    fn move_threshold(&mut self, smoothed: Duration) {
        let before = self.threshold_bytes;
        if smoothed > SLOW_RELEASE {
            let most = self.base_bytes.saturating_mul(THRESHOLD_GROWTH);
            self.threshold_bytes = self.threshold_bytes.saturating_mul(2).clamp(1, most.max(1));
        } else if smoothed < SLOW_RELEASE / 4 {
            self.threshold_bytes = (self.threshold_bytes / 2).max(self.base_bytes);
        }
        if before != self.threshold_bytes {
            tracing::debug!(from = before, to = self.threshold_bytes, ?smoothed, "threshold moved");
        }
    }

    /// The kernel was short of notification or pinned memory (`ENOBUFS`, `ENOMEM`).
    pub(crate) fn pressure(&mut self) {
        if self.paused > 0 {
            // Another of the sends that were under way when the pause began.
            return;
        }
        self.paused = self.next_pause;
        self.next_pause = (self.next_pause * 2).min(PRESSURE_PAUSE.1);
        tracing::debug!(sends = self.paused, "short of memory for zero-copy: copying for a while");
    }

    /// This socket cannot do zero-copy at all.
    pub(crate) fn rule_out(&mut self, reason: RuledOut) {
        if self.ruled_out.is_none() {
            tracing::debug!(?reason, "no zero-copy on this socket");
            self.ruled_out = Some(reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_micros(10);
    const BIG: usize = 1 << 20;

    fn adaptive() -> Chooser {
        Chooser::new(Policy::Adaptive(None), 16_384)
    }

    #[test]
    fn size_decides_first() {
        let mut chooser = adaptive();
        assert_eq!(chooser.decide(16_383), Mode::Plain);
        assert_eq!(chooser.decide(16_384), Mode::ZeroCopy);
    }

    /// Mistake: disabling zero-copy for good after one COPIED.
    #[test]
    fn one_copied_report_changes_nothing() {
        let mut chooser = adaptive();
        chooser.report(true, FAST);
        assert_eq!(chooser.decide(BIG), Mode::ZeroCopy);
    }

    #[test]
    fn a_copying_path_is_sampled_and_trusted_again() {
        let mut chooser = adaptive();
        for _ in 0..8 {
            chooser.report(true, FAST);
        }
        assert!(chooser.is_copying());
        let samples = |chooser: &mut Chooser, sends: u32| {
            (0..sends).filter(|_| chooser.decide(BIG) == Mode::ZeroCopy).count()
        };
        assert_eq!(samples(&mut chooser, SAMPLE_EVERY.0), 0);
        assert_eq!(samples(&mut chooser, 1), 1);
        chooser.report(true, FAST);
        assert_eq!(samples(&mut chooser, SAMPLE_EVERY.0 * 2), 0);
        for _ in 0..SAMPLES_TO_TRUST {
            assert!(chooser.is_copying());
            assert_eq!(samples(&mut chooser, 1), 1);
            chooser.report(false, FAST);
        }
        assert!(!chooser.is_copying());
        assert_eq!(chooser.decide(BIG), Mode::ZeroCopy);
    }

    #[test]
    fn samples_never_stop_coming() {
        let mut chooser = adaptive();
        for _ in 0..8 {
            chooser.report(true, FAST);
        }
        for _ in 0..10 {
            let sends = (0..=SAMPLE_EVERY.1).find(|_| chooser.decide(BIG) == Mode::ZeroCopy);
            assert!(sends.is_some());
            chooser.report(true, FAST);
        }
    }

    #[test]
    fn slow_releases_raise_the_threshold_and_fast_ones_lower_it_again() {
        let mut chooser = adaptive();
        for _ in 0..1000 {
            chooser.report(false, SLOW_RELEASE * 2);
        }
        assert_eq!(chooser.threshold_bytes(), 16_384 * THRESHOLD_GROWTH);
        for _ in 0..1000 {
            chooser.report(false, FAST);
        }
        assert_eq!(chooser.threshold_bytes(), 16_384);
    }

    #[test]
    fn pressure_pauses_and_ends() {
        let mut chooser = adaptive();
        chooser.pressure();
        assert_eq!(chooser.decide(BIG), Mode::Plain);
        let sends = (0..100).position(|_| chooser.decide(BIG) == Mode::ZeroCopy);
        assert_eq!(sends, Some(PRESSURE_PAUSE.0 as usize - 1));
    }

    #[test]
    fn one_shortage_that_hits_many_sends_is_one_pause() {
        let mut chooser = adaptive();
        for _ in 0..20 {
            chooser.pressure();
        }
        let sends = (0..100).position(|_| chooser.decide(BIG) == Mode::ZeroCopy);
        assert_eq!(sends, Some(PRESSURE_PAUSE.0 as usize));
    }

    /// Requests that were in flight when the path was found to copy are no samples: they neither
    /// make samples rarer nor restore the trust.
    #[test]
    fn late_reports_are_not_taken_for_samples() {
        for late in [true, false] {
            let mut chooser = adaptive();
            (0..8).for_each(|_| chooser.report(true, FAST));
            (0..60).for_each(|_| chooser.report(late, FAST));
            assert!(chooser.is_copying());
            let sends = (0..2000).position(|_| chooser.decide(BIG) == Mode::ZeroCopy);
            assert_eq!(sends, Some(SAMPLE_EVERY.0 as usize));
        }
    }

    #[test]
    fn pinned_policies_do_not_move() {
        let mut zero_copy = Chooser::new(Policy::AlwaysZeroCopy, 16_384);
        let mut copy = Chooser::new(Policy::AlwaysCopy, 16_384);
        for _ in 0..1000 {
            zero_copy.report(true, SLOW_RELEASE * 9);
            assert_eq!((zero_copy.decide(1), copy.decide(BIG)), (Mode::ZeroCopy, Mode::Plain));
        }
        zero_copy.rule_out(RuledOut::Kernel(Errno::from_raw(libc::EOPNOTSUPP)));
        assert_eq!(zero_copy.decide(1), Mode::Plain);
    }
}
