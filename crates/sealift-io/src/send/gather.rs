//! From the queue to the next request: what goes together, how much, and how.

use crate::buffer::Buffer;

use super::machine::{Blocked, Kind, Machine, Span, Spans};
use super::policy::Mode;
use super::slots::Key;

impl Machine {
    /// The next request to hand to the kernel, now `Sending`; `None` when there is nothing to send
    /// or something must happen first (a result, a release, the socket writable).
    pub(crate) fn next_request(&mut self) -> Option<Key> {
        if self.blocked != Blocked::No || self.queue.is_empty() {
            return None;
        }
        if self.requests.in_use() == self.requests.capacity() {
            return None;
        }
        match self.kind {
            // Two requests that are being sent at once could reorder (invariant 2).
            Kind::Stream if self.sending > 0 => None,
            Kind::Stream => self.next_stream_request(),
            Kind::Datagram => self.next_datagram_request(),
        }
    }

    fn next_datagram_request(&mut self) -> Option<Key> {
        let message = *self.queue.front()?;
        let pending = self.messages.get_mut(message)?;
        let len = pending.len;
        let over_cap = self.pinned_bytes > 0 && self.pinned_bytes + len > self.limits.pinned_bytes;
        if over_cap && !pending.copy_only && self.chooser.preview(len) == Mode::ZeroCopy {
            self.counters.waits_for_release += 1;
            return None;
        }
        let mode = if pending.copy_only { Mode::Plain } else { self.chooser.decide(len) };
        let (key, request) = self.requests.take()?;
        request.spans.clear();
        let span = |buffer, len| Span { message, buffer, start: 0, len, accepted: 0 };
        let buffers = &pending.message().buffers;
        for (at, bytes) in (0..).map_while(|at| Some((at, buffers.get(at as usize)?))) {
            request.spans.push(span(at, bytes.len()));
        }
        if request.spans.is_empty() {
            // An empty datagram still needs a span to name its message.
            request.spans.push(span(0, 0));
        }
        request.open(mode, len, false);
        pending.open_requests += 1;
        self.queue.pop_front();
        self.count_request(mode, len);
        Some(key)
    }

    fn next_stream_request(&mut self) -> Option<Key> {
        let first = *self.queue.front()?;
        let pending = self.messages.get(first)?;
        let (_, _, left) = pending.rest().next()?;
        let copy_only = pending.copy_only;
        let mut room = self.limits.request_bytes;
        if self.mode_of(copy_only, left) == Mode::ZeroCopy {
            room = room.min(self.unpinned(left, self.pinned_bytes));
            if room == 0 {
                self.counters.waits_for_release += 1;
                return None;
            }
        }
        let mode = if copy_only { Mode::Plain } else { self.chooser.decide(left) };
        let (key, request) = self.requests.take()?;
        let mut spans = std::mem::take(&mut request.spans);
        spans.clear();
        let (len, next) = self.gather(mode, room, &mut spans);
        let more = next.is_some_and(|left| self.can_follow(mode, len, left));
        if let Some(request) = self.requests.get_mut(key) {
            request.spans = spans;
            request.open(mode, len, more);
        }
        self.hold_messages(key);
        self.count_request(mode, len);
        Some(key)
    }

    /// How many bytes may be pinned on top of `pinned_bytes`, for a request that begins with a
    /// buffer of `left` bytes. None at all rather than a sliver: a piece that is too small to be
    /// worth zero-copy waits until more is released.
    fn unpinned(&self, left: usize, pinned_bytes: usize) -> usize {
        let unpinned = self.limits.pinned_bytes.saturating_sub(pinned_bytes);
        let sliver = pinned_bytes > 0 && unpinned < left.min(self.chooser.least_bytes());
        if sliver { 0 } else { unpinned }
    }

    /// Whether the bytes behind a request, `left` of them in the next buffer, can go as soon as it
    /// is accepted. If they may have to wait for a release, the kernel must not keep the request's
    /// tail back for them (`MSG_MORE`): they could be waiting for the release of that very tail.
    fn can_follow(&self, mode: Mode, len: usize, left: usize) -> bool {
        let (pinned, has_slot) = match mode {
            Mode::Plain => (self.pinned_bytes, true),
            Mode::ZeroCopy => {
                (self.pinned_bytes + len, self.requests.in_use() < self.requests.capacity())
            }
        };
        let is_small = left < self.chooser.least_bytes();
        has_slot && (is_small || self.unpinned(left, pinned) > 0)
    }

    /// Collects consecutive bytes of one mode from the head of the queue; says how many, and, if
    /// more of the stream follows, how many bytes its next buffer has left.
    fn gather(&self, mode: Mode, mut room: usize, spans: &mut Spans) -> (usize, Option<usize>) {
        let mut len = 0;
        let mut home = None;
        for &message in &self.queue {
            let Some(pending) = self.messages.get(message) else { continue };
            for (buffer, start, left) in pending.rest() {
                let held = pending.message().buffers.get(buffer as usize);
                let arena = held.and_then(Buffer::arena).map(std::ptr::from_ref);
                let fits = spans.is_empty()
                    || (self.mode_of(pending.copy_only, left) == mode
                        // Memory that is registered together goes together.
                        && (mode == Mode::Plain || home == Some(arena)));
                if !fits || room == 0 || spans.len() == self.limits.spans {
                    return (len, Some(left));
                }
                home = Some(arena);
                let taken = left.min(room);
                spans.push(Span { message, buffer, start, len: taken, accepted: 0 });
                len += taken;
                room -= taken;
                if taken < left {
                    return (len, Some(left - taken));
                }
            }
        }
        (len, None)
    }

    fn mode_of(&self, copy_only: bool, len: usize) -> Mode {
        if copy_only { Mode::Plain } else { self.chooser.preview(len) }
    }

    /// The request names the messages of its spans, which are neighbours: each counts once.
    fn hold_messages(&mut self, key: Key) {
        let Some(request) = self.requests.get(key) else { return };
        let mut last = None;
        for span in &request.spans {
            if last != Some(span.message) {
                last = Some(span.message);
                if let Some(pending) = self.messages.get_mut(span.message) {
                    pending.open_requests += 1;
                }
            }
        }
    }

    fn count_request(&mut self, mode: Mode, len: usize) {
        self.sending += 1;
        self.counters.requests += 1;
        if mode == Mode::ZeroCopy {
            self.counters.zero_copy_requests += 1;
            self.pinned_bytes += len;
            self.counters.pinned_bytes_high =
                self.counters.pinned_bytes_high.max(self.pinned_bytes as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::fixture::{
        LIMITS, THRESHOLD_BYTES, bytes, completion, machine, next,
    };
    use super::super::settle::Release;
    use super::*;
    use crate::message::Message;

    #[test]
    fn small_messages_behind_one_another_go_together() {
        let mut machine = machine(Kind::Stream);
        for _ in 0..3 {
            machine.push(bytes(100)).unwrap();
        }
        machine.push(bytes(THRESHOLD_BYTES)).unwrap();
        let (key, mode, len, more) = next(&mut machine);
        assert_eq!((mode, len, more), (Mode::Plain, 300, true));
        assert!(machine.next_request().is_none(), "two requests could reorder");
        machine.sent(key, "test", Ok(300), Release::Now);
        let (_, mode, len, more) = next(&mut machine);
        assert_eq!((mode, len, more), (Mode::ZeroCopy, THRESHOLD_BYTES, false));
    }

    /// The kernel would keep a tail back for what cannot follow, and so the release of that tail
    /// too.
    #[test]
    fn more_is_not_said_when_what_follows_must_wait_for_a_release() {
        let mut machine = machine(Kind::Stream);
        machine.push(bytes(LIMITS.pinned_bytes + THRESHOLD_BYTES)).unwrap();
        let (key, _, len, more) = next(&mut machine);
        assert!(more, "there is room for another");
        machine.sent(key, "test", Ok(len), Release::Later);
        let (last, _, len, more) = next(&mut machine);
        assert!(!more, "the cap is reached");
        machine.sent(last, "test", Ok(len), Release::Later);
        assert!(machine.next_request().is_none());
        machine.released(key, false);
        assert_eq!(next(&mut machine).2, THRESHOLD_BYTES);
    }

    #[test]
    fn more_is_not_said_when_no_request_is_left() {
        let mut machine = machine(Kind::Stream);
        machine.limits.pinned_bytes = usize::MAX;
        for _ in 0..=LIMITS.requests {
            machine.push(bytes(LIMITS.request_bytes)).unwrap();
        }
        for at in 1..=LIMITS.requests {
            let (key, _, len, more) = next(&mut machine);
            assert_eq!(more, at < LIMITS.requests);
            machine.sent(key, "test", Ok(len), Release::Later);
        }
        assert!(machine.next_request().is_none());
    }

    /// A release of few bytes must not make zero-copy sends of few bytes, which would never end.
    #[test]
    fn the_cap_makes_no_slivers() {
        let mut machine = machine(Kind::Stream);
        machine.limits.pinned_bytes = 2 * THRESHOLD_BYTES - 1;
        machine.push(bytes(THRESHOLD_BYTES)).unwrap();
        let (key, _, len, _) = next(&mut machine);
        machine.sent(key, "test", Ok(len), Release::Later);
        machine.push(bytes(THRESHOLD_BYTES)).unwrap();
        assert!(machine.next_request().is_none());
        machine.released(key, false);
        assert_eq!(next(&mut machine).2, THRESHOLD_BYTES);
    }

    /// Each request looks at its own buffers only; going through all of them each time, this would
    /// take minutes.
    #[test]
    fn a_message_of_very_many_buffers_is_no_more_work_per_buffer() {
        const BUFFERS: usize = 200_000;
        let mut machine = machine(Kind::Stream);
        let message = (0..BUFFERS).fold(Message::new(), |message, _| message.and(&b"xy"[..]));
        machine.push(message).unwrap();
        let mut left = 2 * BUFFERS;
        while let Some(key) = machine.next_request() {
            let len = machine.request(key).unwrap().len;
            // Short, so that requests begin in the middle of a buffer, too.
            let count = len.min(15);
            machine.sent(key, "test", Ok(count), Release::Now);
            left -= count;
        }
        assert_eq!(left, 0);
        assert!(completion(&mut machine).unwrap().result.is_ok());
    }

    #[test]
    fn one_datagram_may_exceed_the_cap_alone() {
        let mut machine = machine(Kind::Datagram);
        machine.limits.pinned_bytes = THRESHOLD_BYTES;
        for _ in 0..2 {
            machine.push(bytes(3 * THRESHOLD_BYTES)).unwrap();
        }
        let (key, _, len, _) = next(&mut machine);
        assert!(machine.next_request().is_none());
        machine.sent(key, "test", Ok(len), Release::Later);
        assert!(machine.next_request().is_none());
        machine.released(key, false);
        assert!(machine.next_request().is_some());
    }
}
