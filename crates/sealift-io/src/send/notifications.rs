//! Which sends the error queue's notifications release.
//!
//! The kernel numbers the zero-copy sends of a socket with 32 bits, counting calls that queued
//! bytes, and reports inclusive ranges (`MSG_ZEROCOPY`, Documentation/networking/msg_zerocopy.rst).
//! Ranges come out of order and may wrap: `[0xffff_fffe, 1]` is four sends. A datagram that fails
//! once its packet is built (`udp_send_skb`: too many segments, a segment larger than the path, a
//! full queue, a firewall) keeps the number that it got, and is reported at once.
//!
//! Invariants:
//! 1. A number in the window stands for at most one send, and is released at most once.
//! 2. The window never spans 2^31 numbers, so a number's place in it is unambiguous.
//! 3. What the kernel says is checked: a number outside the window releases nothing.

use std::collections::VecDeque;

use super::slots::Key;

/// A notification as the error queue carries it (`struct sock_extended_err`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// `ee_info`: the first number.
    pub(crate) first: u32,
    /// `ee_data`: the last number.
    pub(crate) last: u32,
    /// `SO_EE_CODE_ZEROCOPY_COPIED`. A merged range carries the code of its first part only.
    pub(crate) copied: bool,
}

pub(crate) struct Notifications {
    /// The number of the window's first entry.
    base: u32,
    /// `None` for a send that was released while an older one was not.
    window: VecDeque<Option<Key>>,
    capacity: usize,
    outstanding: usize,
}

impl Notifications {
    /// A tracker whose socket has made no zero-copy send yet. `capacity` bounds the window.
    pub(crate) fn new(capacity: usize) -> Self {
        Self::starting_at(0, capacity)
    }

    /// A tracker for a socket whose next zero-copy send has the number `first`.
    pub(crate) fn starting_at(first: u32, capacity: usize) -> Self {
        let capacity = capacity.clamp(1, 1 << 30);
        Self { base: first, window: VecDeque::with_capacity(capacity), capacity, outstanding: 0 }
    }

    /// How many more sends may be made: a release that never comes must not let the window grow.
    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.window.len())
    }

    /// Sends whose release was not seen.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// A zero-copy send queued bytes: it has the next number.
    pub(crate) fn sent(&mut self, key: Key) {
        self.window.push_back(Some(key));
        self.outstanding += 1;
    }

    /// Numbers up to `last` may have gone to calls that failed, at most `calls` of them: they stand
    /// for nothing, and the next send comes behind.
    pub(crate) fn skip_failed(&mut self, last: u32, calls: usize) {
        let end = self.base.wrapping_add(self.window.len() as u32);
        let ahead = last.wrapping_sub(end).wrapping_add(1) as usize;
        if (1..=calls).contains(&ahead) {
            self.window.extend((0..ahead).map(|_| None));
        }
    }

    /// Releases the sends of a range, calling `release` for each once. Returns how many numbers of
    /// the range named no outstanding send.
    pub(crate) fn released(&mut self, range: Range, mut release: impl FnMut(Key)) -> u64 {
        let count = u64::from(range.last.wrapping_sub(range.first)) + 1;
        let start = range.first.wrapping_sub(self.base);
        let window = self.window.len() as u64;
        let mut known = 0;
        // The part of the range inside the window: from `start`, or, if the range began before
        // the window, from the window's beginning.
        let (from, to) = if u64::from(start) < window {
            (u64::from(start), (u64::from(start) + count).min(window))
        } else {
            let until_base = u64::from(start.wrapping_neg());
            (0, count.saturating_sub(until_base).min(window))
        };
        for at in from..to {
            if let Some(key) = self.window.get_mut(at as usize).and_then(Option::take) {
                known += 1;
                self.outstanding -= 1;
                release(key);
            }
        }
        while let Some(None) = self.window.front() {
            self.window.pop_front();
            self.base = self.base.wrapping_add(1);
        }
        count - known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn key(number: u32) -> Key {
        Key::from_bits(number)
    }

    fn range(first: u32, last: u32) -> Range {
        Range { first, last, copied: false }
    }

    fn released(tracker: &mut Notifications, first: u32, last: u32) -> (Vec<u32>, u64) {
        let mut keys = Vec::new();
        let strays = tracker.released(range(first, last), |key| keys.push(key.to_bits()));
        (keys, strays)
    }

    /// Mistake: taking for granted that what failed was not counted.
    #[test]
    fn a_number_that_went_to_a_failed_call_releases_nothing() {
        for first in [0, u32::MAX] {
            let mut tracker = Notifications::starting_at(first, 8);
            let number = |count: u32| first.wrapping_add(count);
            tracker.sent(key(1));
            // The next call failed, and is reported before its elder.
            tracker.skip_failed(number(1), 1);
            assert_eq!(released(&mut tracker, number(1), number(1)), (vec![], 1));
            tracker.sent(key(2));
            assert_eq!(released(&mut tracker, number(2), number(2)), (vec![2], 0));
            // A number that no call can have got is believed by nobody.
            tracker.skip_failed(number(9), 1);
            assert_eq!(tracker.window.len(), 3);
            assert_eq!(released(&mut tracker, number(0), number(0)), (vec![1], 0));
            // What was sent before is not skipped again.
            tracker.sent(key(3));
            tracker.skip_failed(number(3), 1);
            assert_eq!(released(&mut tracker, number(3), number(3)), (vec![3], 0));
            assert_eq!(tracker.window.len(), 0);
        }
    }

    #[test]
    fn ranges_out_of_order_release_each_send_once() {
        let mut tracker = Notifications::new(8);
        (0..5).for_each(|number| tracker.sent(key(number)));
        assert_eq!(released(&mut tracker, 3, 4), (vec![3, 4], 0));
        assert_eq!(released(&mut tracker, 0, 3), (vec![0, 1, 2], 1));
        assert_eq!(tracker.outstanding(), 0);
        assert!(tracker.window.is_empty());
    }

    /// After the counter wraps, `ee_data < ee_info` is legal.
    #[test]
    fn a_range_across_the_wrap_is_legal() {
        let mut tracker = Notifications::starting_at(u32::MAX - 1, 8);
        (0..4).for_each(|number| tracker.sent(key(number)));
        assert_eq!(released(&mut tracker, u32::MAX - 1, 1), (vec![0, 1, 2, 3], 0));
        tracker.sent(key(9));
        assert_eq!(released(&mut tracker, 2, 2), (vec![9], 0));
    }

    #[test]
    fn what_was_never_sent_releases_nothing() {
        let mut tracker = Notifications::new(8);
        tracker.sent(key(7));
        assert_eq!(released(&mut tracker, 1, 9).0, Vec::<u32>::new());
        assert_eq!(released(&mut tracker, u32::MAX, u32::MAX).0, Vec::<u32>::new());
        // A range over everything still releases the one send, and ends quickly.
        let (keys, strays) = released(&mut tracker, 1, 0);
        assert_eq!((keys, strays), (vec![7], u64::from(u32::MAX)));
    }

    #[test]
    fn a_release_that_never_comes_bounds_the_window() {
        let mut tracker = Notifications::new(2);
        tracker.sent(key(0));
        tracker.sent(key(1));
        released(&mut tracker, 1, 1);
        assert_eq!(tracker.room(), 0);
        released(&mut tracker, 0, 0);
        assert_eq!(tracker.room(), 2);
    }

    proptest! {
        /// Against a naive model: a map from number to send.
        #[test]
        fn agrees_with_a_map(
            first in prop_oneof![Just(0u32), Just(u32::MAX - 3), any::<u32>()],
            steps in prop::collection::vec((any::<bool>(), 0u32..12, 0u32..6), 0..200),
        ) {
            let mut tracker = Notifications::starting_at(first, 1 << 12);
            let mut model: HashMap<u32, u32> = HashMap::new();
            let mut next = first;
            for (send, back, extra) in steps {
                if send {
                    tracker.sent(key(next));
                    model.insert(next, next);
                    next = next.wrapping_add(1);
                    continue;
                }
                let low = next.wrapping_sub(back);
                let high = low.wrapping_add(extra);
                let mut expected = Vec::new();
                let mut strays = 0;
                for offset in 0..=extra {
                    match model.remove(&low.wrapping_add(offset)) {
                        Some(number) => expected.push(number),
                        None => strays += 1,
                    }
                }
                let (keys, unknown) = released(&mut tracker, low, high);
                prop_assert_eq!(keys, expected);
                prop_assert_eq!(unknown, strays);
                prop_assert_eq!(tracker.outstanding(), model.len());
            }
        }
    }
}
