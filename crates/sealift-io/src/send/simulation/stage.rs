//! What both sides of the simulation share: the machine, the caller's memory and the books.

use std::collections::BTreeMap;

use super::super::machine::{Kind, Machine};
use super::super::policy::Mode;
use super::super::slots::Key;
use super::memory::Memory;
use super::random::Random;
use super::registry::{Load, Registry};

pub(super) struct Stage {
    pub(super) random: Random,
    pub(super) machine: Machine,
    pub(super) memory: Memory,
    pub(super) registry: Registry,
    pub(super) now_us: u64,
    pub(super) wishes: Wishes,
    /// The last request promised more of the stream at once (`MSG_MORE`) and was accepted whole.
    pub(super) corked: bool,
    pub(super) seen: Seen,
}

/// What is wanted of a run besides its seed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wishes {
    /// The machine gives buffers back at the result instead of the notification.
    pub(super) release_early: bool,
    /// The books are not looked at: what is given back too early must show on the wire.
    pub(super) trusting: bool,
}

/// How often each kind of thing happened, so that a test can say what the runs covered.
#[derive(Default)]
pub(super) struct Seen {
    counts: BTreeMap<&'static str, u64>,
}

impl Seen {
    pub(super) fn note(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    pub(super) fn add(&mut self, what: &'static str, count: u64) {
        *self.counts.entry(what).or_default() += count;
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (what, count) in other.counts {
            self.add(what, count);
        }
    }

    pub(super) fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.counts.iter().try_for_each(|(what, count)| writeln!(f, "{count:>10} {what}"))
    }
}

impl Stage {
    /// The machine's next request, looked at from all sides.
    pub(super) fn next_request(&mut self) -> Option<Key> {
        let before = self.machine.pinned_bytes();
        let key = self.machine.next_request();
        self.check_cap(before);
        match key {
            Some(key) => {
                self.corked = false;
                self.check_request(key);
            }
            None => self.check_not_corked(),
        }
        key
    }

    fn check_request(&mut self, key: Key) {
        let load = Load::of(&self.machine, key);
        let limits = self.machine.limits;
        let request = self.machine.request(key).expect("the request just made");
        assert_eq!(request.len, load.len);
        assert_eq!(Some(&request.message.tag), load.tags.first());
        self.seen.note(match request.mode {
            Mode::ZeroCopy => "zero-copy requests",
            Mode::Plain => "plain requests",
        });
        if self.machine.kind() == Kind::Stream {
            assert!(load.len > 0 && load.len <= limits.request_bytes, "{} bytes", load.len);
            assert!(load.pieces.len() <= limits.spans);
            assert_eq!(self.machine.sending(), 1, "two requests could reorder");
            if load.tags.len() > 1 {
                self.seen.note("requests that gathered messages");
            }
        }
        if request.mode == Mode::ZeroCopy && request.parts().all(|part| part.arena.is_some()) {
            self.seen.note("zero-copy requests out of one arena");
        }
    }

    /// Machine invariant 4.
    fn check_cap(&self, before: usize) {
        let (pinned, cap) = (self.machine.pinned_bytes(), self.machine.limits.pinned_bytes);
        let alone = self.machine.kind() == Kind::Datagram && before == 0;
        assert!(pinned <= cap || pinned == before || alone, "{pinned} bytes pinned over {cap}");
    }

    /// The kernel keeps a part of the stream back when it was told that more follows at once, so
    /// more must follow at once.
    fn check_not_corked(&self) {
        let machine = &self.machine;
        let excused = machine.fault().is_some()
            || machine.awaits_writable()
            || machine.retry_at_us().is_some();
        assert!(!self.corked || excused, "MSG_MORE was said and nothing follows");
    }
}
