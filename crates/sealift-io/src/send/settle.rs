//! From the kernel's answers to settled messages.

use std::time::Duration;

use crate::error::{Errno, Error};
use crate::message::Message;

use super::completion::{Event, Returned};
use super::ledger::{Ledger, Owed};
use super::machine::{Blocked, Kind, Machine, Pending, Phase, Request};
use super::policy::{Mode, RuledOut};
use super::slots::{Key, Slots};

/// Whether the kernel may still read a request's memory after its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// It will not: the bytes were copied, or nothing was taken.
    Now,
    /// A notification will say so.
    Later,
}

/// How an error of a send is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Wait until the socket is writable.
    Wait,
    /// Ask again at once: interrupted, or cancelled by a thread that ended.
    Again,
    /// Short of notification or pinned memory: copy for a while.
    Pressure,
    /// Perhaps zero-copy is the reason: copy this message and see.
    TryCopy,
    /// The socket cannot zero-copy.
    NeverZeroCopy,
    /// Short of memory even for a copy: wait a little.
    Pause,
    /// The datagram cannot be sent; the socket is fine.
    FailMessage,
    /// The socket is of no more use.
    FailAll,
}

/// Consecutive shortages of memory for a plain send after which a stream gives up, and the first
/// and the longest pause between them (the sum is about a minute).
const MOST_SHORTAGES: u32 = 640;
const SHORTAGE_PAUSE_US: (u64, u64) = (1_000, 100_000);

fn answer(errno: Errno, mode: Mode, kind: Kind, spans: usize) -> Answer {
    let zero_copy = mode == Mode::ZeroCopy;
    match errno.raw() {
        libc::EAGAIN => Answer::Wait,
        libc::EINTR | libc::ECANCELED => Answer::Again,
        libc::ENOBUFS | libc::ENOMEM if zero_copy => Answer::Pressure,
        libc::EOPNOTSUPP if zero_copy => Answer::NeverZeroCopy,
        libc::EINVAL if zero_copy => Answer::TryCopy,
        libc::EMSGSIZE | libc::EFAULT if zero_copy && spans > 1 => Answer::TryCopy,
        libc::ENOBUFS | libc::ENOMEM if kind == Kind::Stream => Answer::Pause,
        libc::EBADF | libc::ENOTSOCK | libc::EPIPE => Answer::FailAll,
        _ if kind == Kind::Datagram => Answer::FailMessage,
        _ => Answer::FailAll,
    }
}

impl Machine {
    /// The result of a request: the bytes that the kernel accepted, or its error; and whether a
    /// notification is still to come. A key that names no request being sent is counted and
    /// ignored.
    pub(crate) fn sent(
        &mut self,
        key: Key,
        call: &'static str,
        result: std::result::Result<usize, Errno>,
        release: Release,
    ) {
        let Some(request) = self.requests.get_mut(key) else {
            self.counters.stray_answers += 1;
            return;
        };
        if request.phase != Phase::Sending {
            self.counters.stray_answers += 1;
            return;
        }
        // Held from here on, so that no answer below can settle a message under this request.
        request.phase = Phase::Held;
        request.accepted_at_us = self.now_us;
        self.sending -= 1;
        match result {
            Ok(count) => self.accept(key, count),
            Err(errno) => self.refuse(key, call, errno),
        }
        #[cfg(feature = "fault-injection")]
        let release = if self.release_early { Release::Now } else { release };
        if release == Release::Now {
            self.close(key, None);
        }
    }

    /// The notification of a request: the kernel reads its memory no more. `copied` says whether it
    /// had copied the bytes.
    pub(crate) fn released(&mut self, key: Key, copied: bool) {
        match self.requests.get(key) {
            Some(request) if request.phase == Phase::Held => {
                self.counters.notifications += 1;
                self.close(key, Some(copied));
            }
            _ => self.counters.stray_answers += 1,
        }
    }

    /// Counts `count` accepted bytes over the request's spans, in order. What a stream goes on with
    /// depends on it at once; a datagram's message is not looked at before it is released.
    fn accept(&mut self, key: Key, count: usize) {
        let Some(request) = self.requests.get_mut(key) else { return };
        if count < request.len {
            self.counters.short_sends += 1;
        }
        request.taken = true;
        let len = request.len;
        if request.mode == Mode::ZeroCopy {
            // What the kernel did not take is not pinned.
            let taken = count.min(request.len);
            self.pinned_bytes -= request.len - taken;
            request.len = taken;
        }
        let mut left = count;
        for span in &mut request.spans {
            span.accepted = span.len.min(left);
            left -= span.accepted;
        }
        if count == 0 && len > 0 && self.kind == Kind::Stream {
            // Nothing was accepted and nothing failed: ask again when there is room.
            self.blocked = Blocked::Writable;
        } else {
            self.shortages = 0;
        }
        if self.kind == Kind::Stream {
            self.advance(key);
        }
    }

    /// The stream moves on by what was accepted of a request.
    fn advance(&mut self, key: Key) {
        let Some(request) = self.requests.get(key) else { return };
        for span in &request.spans {
            if let Some(pending) = self.messages.get_mut(span.message) {
                pending.accept(span);
            }
        }
        while let Some(&front) = self.queue.front()
            && self.messages.get(front).is_none_or(|pending| pending.finished)
        {
            self.queue.pop_front();
        }
    }

    fn refuse(&mut self, key: Key, call: &'static str, errno: Errno) {
        let Some(request) = self.requests.get(key) else { return };
        let Some(first) = request.spans.first().map(|span| span.message) else { return };
        let (answer, error) = match &self.fault {
            // The sender was given up meanwhile: nothing is asked again, and that is why.
            Some(fault) => (Answer::FailMessage, fault.clone()),
            None => {
                let answer = answer(errno, request.mode, self.kind, request.spans.len());
                (answer, Error::from_call(call, errno))
            }
        };
        match answer {
            Answer::Wait => {
                self.counters.would_block += 1;
                self.blocked = Blocked::Writable;
            }
            Answer::Again => {}
            Answer::Pressure => {
                self.counters.pressure += 1;
                self.chooser.pressure();
                // The rest of a stream's message is copied for as long as the pause lasts only.
                if self.kind == Kind::Datagram {
                    self.copy_only(first, None);
                }
            }
            Answer::TryCopy => self.copy_only(first, Some(errno)),
            Answer::NeverZeroCopy => {
                self.counters.unsupported += 1;
                self.chooser.rule_out(RuledOut::Kernel(errno));
            }
            Answer::Pause => self.pause(call, errno),
            Answer::FailMessage => {
                self.fail_message(first, error);
                return;
            }
            Answer::FailAll => {
                // Of a stream, this fails every message of the request: they are still queued.
                self.abandon(error.clone());
                self.fail_message(first, error);
                return;
            }
        }
        if self.kind == Kind::Datagram {
            self.requeue(first);
        }
    }

    /// Puts a datagram back where its number belongs: in front of all that came after it.
    fn requeue(&mut self, message: Key) {
        let number = |key: &Key| self.messages.get(*key).map(|pending| pending.completion.ticket);
        let own = number(&message);
        let at = self.queue.partition_point(|other| number(other) < own);
        self.queue.insert(at, message);
    }

    fn copy_only(&mut self, message: Key, suspect: Option<Errno>) {
        if let Some(pending) = self.messages.get_mut(message) {
            pending.copy_only = true;
            // EMSGSIZE speaks of this message's shape, not of the socket.
            pending.suspect = suspect.filter(|errno| errno.raw() == libc::EINVAL);
        }
    }

    fn pause(&mut self, call: &'static str, errno: Errno) {
        self.counters.pressure += 1;
        self.shortages += 1;
        if self.shortages > MOST_SHORTAGES {
            self.abandon(Error::from_call(call, errno));
            return;
        }
        let (first_us, most_us) = SHORTAGE_PAUSE_US;
        let pause_us = (first_us << self.shortages.min(10)).min(most_us);
        self.blocked = Blocked::Until(self.now_us + pause_us);
    }

    pub(super) fn fail_message(&mut self, key: Key, error: Error) {
        if let Some(pending) = self.messages.get_mut(key)
            && !pending.finished
        {
            pending.finished = true;
            pending.completion.result = Err(error);
        }
        self.settle_if_done(key);
    }

    /// The request is over: its memory is free as far as it is concerned.
    fn close(&mut self, key: Key, copied: Option<bool>) {
        let Some(request) = self.requests.give_back(key) else { return };
        let Request { mode, taken, len, accepted_at_us, .. } = *request;
        let is_datagram = taken && self.kind == Kind::Datagram;
        let mut accepted = 0;
        let mut proved = None;
        for (at, span) in request.spans.iter().enumerate() {
            accepted += span.accepted as u64;
            let Some(pending) = self.messages.get_mut(span.message) else { continue };
            if is_datagram {
                pending.accept(span);
                // It went out whole or not at all.
                pending.finished = true;
            }
            let bytes = &mut pending.completion.bytes;
            match (mode, copied) {
                (Mode::Plain, _) => {
                    bytes.plain += span.accepted as u64;
                    if span.accepted > 0 {
                        proved = proved.or(pending.suspect.take());
                    }
                }
                (Mode::ZeroCopy, Some(true)) => bytes.copied += span.accepted as u64,
                (Mode::ZeroCopy, _) => bytes.zero_copied += span.accepted as u64,
            }
            let next = request.spans.get(at + 1).map(|next| next.message);
            if next != Some(span.message) {
                pending.open_requests -= 1;
                settle_if_done(&mut self.messages, &mut self.ledger, span.message);
            }
        }
        if let Some(errno) = proved {
            self.chooser.rule_out(RuledOut::Kernel(errno));
        }
        if mode == Mode::Plain {
            self.counters.bytes.plain += accepted;
        } else {
            self.pinned_bytes -= len;
            match copied {
                Some(true) => self.counters.bytes.copied += accepted,
                _ => self.counters.bytes.zero_copied += accepted,
            }
            if let (Some(copied), true) = (copied, accepted > 0) {
                let held = Duration::from_micros(self.now_us.saturating_sub(accepted_at_us));
                self.chooser.report(copied, held);
            }
        }
    }

    pub(super) fn settle_if_done(&mut self, key: Key) {
        settle_if_done(&mut self.messages, &mut self.ledger, key);
    }

    /// The next completion or group release that is owed to the caller.
    #[inline]
    pub(crate) fn take_event(&mut self) -> Option<Event> {
        match self.ledger.take()? {
            Owed::Group(release) => Some(Event::Released(*release)),
            Owed::Message(key) => {
                let pending = self.messages.give_back(key)?;
                Some(Event::Completed(std::mem::take(&mut pending.completion)))
            }
        }
    }

    /// Lends the next completion to `take` where it lies, or gives it the next group release;
    /// `false` if nothing is owed.
    #[inline]
    pub(crate) fn lend_event(&mut self, take: &mut impl FnMut(Returned<'_>)) -> bool {
        match self.ledger.take() {
            None => return false,
            Some(Owed::Group(release)) => take(Returned::Group(*release)),
            Some(Owed::Message(key)) => {
                // The slot is free afterwards even if `take` panics.
                let loan = Loan::new(&mut self.messages, key);
                if let Some(pending) = loan.messages.get_mut(key) {
                    take(Returned::Message(&mut pending.completion));
                }
            }
        }
        true
    }
}

/// A taken slot that is given back, emptied, unless the message in it is to be kept.
pub(super) struct Loan<'a> {
    messages: &'a mut Slots<Pending>,
    key: Key,
}

impl<'a> Loan<'a> {
    #[inline]
    pub(super) fn new(messages: &'a mut Slots<Pending>, key: Key) -> Self {
        Self { messages, key }
    }

    /// Puts a message into the slot, for good.
    #[inline]
    pub(super) fn keep(self, make: impl FnOnce() -> Message) {
        if let Some(pending) = self.messages.get_mut(self.key) {
            let message = make();
            // What was there is empty. Not to drop it spares the new one a detour over the stack.
            let empty = std::mem::replace(&mut pending.completion.message, message);
            debug_assert!(empty.buffers.is_empty());
            std::mem::forget(empty);
        }
        std::mem::forget(self);
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if let Some(pending) = self.messages.give_back(self.key) {
            pending.completion.message.clear();
        }
    }
}

/// Returns a message to the caller if nothing of it is left to do.
fn settle_if_done(messages: &mut Slots<Pending>, ledger: &mut Ledger, key: Key) {
    let Some(pending) = messages.get_mut(key).filter(|pending| pending.is_done()) else { return };
    pending.settled = true;
    let completion = &mut pending.completion;
    let failed = completion.result.is_err();
    if !failed {
        completion.result = Ok(completion.bytes.outcome());
    }
    match completion.message.group {
        // It stays in its slot, so that it is moved once only.
        None => ledger.settle(pending.epoch, key, &completion.bytes, failed),
        Some(group) => {
            let (epoch, completion) = (pending.epoch, std::mem::take(completion));
            messages.give_back(key);
            ledger.settle_grouped(epoch, group, completion);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::completion::Outcome;
    use super::super::machine::fixture::{THRESHOLD_BYTES, bytes, completion, machine, next};
    use super::*;

    const BIG: usize = 4 * THRESHOLD_BYTES;

    fn fails(machine: &mut Machine, key: Key, errno: i32) {
        machine.sent(key, "test", Err(Errno::from_raw(errno)), Release::Now);
    }

    #[test]
    fn a_short_send_goes_on_where_it_stopped() {
        let mut machine = machine(Kind::Stream);
        machine.push(bytes(BIG)).unwrap();
        let (first, ..) = next(&mut machine);
        machine.sent(first, "test", Ok(BIG - 10), Release::Later);
        let (rest, mode, len, _) = next(&mut machine);
        assert_eq!((mode, len), (Mode::Plain, 10));
        machine.sent(rest, "test", Ok(10), Release::Now);
        assert!(completion(&mut machine).is_none(), "the first part is held");
        machine.released(first, false);
        let done = completion(&mut machine).unwrap();
        assert_eq!(done.result, Ok(Outcome::ZeroCopy));
        assert_eq!((done.bytes.zero_copied, done.bytes.plain), (BIG as u64 - 10, 10));
    }

    #[test]
    fn what_the_kernel_did_not_take_is_not_pinned() {
        let mut machine = machine(Kind::Stream);
        machine.push(bytes(BIG)).unwrap();
        let (key, ..) = next(&mut machine);
        assert_eq!(machine.pinned_bytes(), BIG);
        machine.sent(key, "test", Ok(100), Release::Later);
        assert_eq!(machine.pinned_bytes(), 100);
        machine.released(key, false);
        assert_eq!(machine.pinned_bytes(), 0);
    }

    #[test]
    fn a_message_that_left_as_a_whole_did_not_fail_though_the_sender_was_given_up() {
        let mut machine = machine(Kind::Stream);
        for _ in 0..2 {
            machine.push(bytes(BIG)).unwrap();
        }
        let (key, _, len, _) = next(&mut machine);
        assert_eq!(len, 2 * BIG);
        machine.abandon(Error::Closed);
        machine.sent(key, "test", Ok(BIG + 1), Release::Later);
        machine.released(key, false);
        assert_eq!(completion(&mut machine).unwrap().result, Ok(Outcome::ZeroCopy));
        let part = completion(&mut machine).unwrap();
        assert_eq!((part.result, part.bytes.total()), (Err(Error::Closed), 1));
    }

    #[test]
    fn what_fails_after_the_first_error_names_the_first_error() {
        for kind in [Kind::Stream, Kind::Datagram] {
            let mut machine = machine(kind);
            machine.push(bytes(100)).unwrap();
            let (key, ..) = next(&mut machine);
            machine.abandon(Error::Closed);
            fails(&mut machine, key, libc::ECANCELED);
            assert_eq!(completion(&mut machine).unwrap().result, Err(Error::Closed));
            assert_eq!((machine.queued(), machine.open_requests()), (0, 0));
        }
    }

    /// A copy proves that zero-copy was at fault only if it took something.
    #[test]
    fn a_copy_that_took_nothing_rules_nothing_out() {
        let mut machine = machine(Kind::Stream);
        machine.push(bytes(BIG)).unwrap();
        let (key, ..) = next(&mut machine);
        fails(&mut machine, key, libc::EINVAL);
        let (copy, mode, ..) = next(&mut machine);
        assert_eq!(mode, Mode::Plain);
        machine.sent(copy, "test", Ok(0), Release::Now);
        assert_eq!(machine.chooser().why_ruled_out(), None);
        machine.writable();
        let (copy, ..) = next(&mut machine);
        machine.sent(copy, "test", Ok(BIG), Release::Now);
        assert!(machine.chooser().why_ruled_out().is_some());
    }

    /// A shortage passes; the rest of a large message need not be copied for it.
    #[test]
    fn a_shortage_copies_some_requests_of_a_stream_not_the_rest_of_the_message() {
        let mut machine = machine(Kind::Stream);
        machine.limits.request_bytes = BIG;
        machine.push(bytes(20 * BIG)).unwrap();
        let (key, mode, ..) = next(&mut machine);
        assert_eq!(mode, Mode::ZeroCopy);
        fails(&mut machine, key, libc::ENOBUFS);
        let mut modes = Vec::new();
        while let Some(key) = machine.next_request() {
            modes.push(machine.request(key).unwrap().mode);
            machine.sent(key, "test", Ok(BIG), Release::Now);
        }
        assert_eq!(modes.len(), 20);
        assert!(modes.starts_with(&[Mode::Plain; 4]) && modes.ends_with(&[Mode::ZeroCopy; 16]));
    }

    #[test]
    fn datagrams_that_are_tried_again_keep_their_order() {
        let mut machine = machine(Kind::Datagram);
        for tag in 0..6 {
            machine.push(bytes(10).tagged(tag)).unwrap();
        }
        let keys: Vec<Key> = (0..4).map(|_| next(&mut machine).0).collect();
        for at in [2, 0, 3, 1] {
            fails(&mut machine, keys[at], libc::EAGAIN);
        }
        machine.writable();
        let tag = |machine: &mut Machine| {
            let (key, ..) = next(machine);
            machine.request(key).unwrap().message.tag
        };
        assert_eq!((0..6).map(|_| tag(&mut machine)).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_stream_without_memory_pauses_longer_and_longer_and_gives_up_in_the_end() {
        let mut machine = machine(Kind::Stream);
        machine.push(bytes(10)).unwrap();
        let mut tries = 0;
        while let Some(key) = machine.next_request() {
            tries += 1;
            fails(&mut machine, key, libc::ENOMEM);
            assert!(machine.next_request().is_none());
            let Some(at_us) = machine.retry_at_us() else { break };
            machine.tick(at_us - 1);
            assert!(machine.next_request().is_none());
            machine.tick(at_us);
        }
        assert_eq!(tries, MOST_SHORTAGES + 1);
        let done = completion(&mut machine).unwrap();
        assert_eq!(done.result.unwrap_err().errno(), Some(Errno::from_raw(libc::ENOMEM)));
    }

    /// What is left in a lent completion is dropped, and its slot is free, even after a panic.
    #[test]
    fn a_lent_completion_frees_its_slot() {
        let pool = crate::Pool::builder().frames(3).frame_bytes(64).build().unwrap();
        let mut machine = machine(Kind::Stream);
        for _ in 0..3 {
            let mut lease = pool.try_lease().unwrap();
            lease.set_len(10);
            machine.push(lease).unwrap();
        }
        let (key, ..) = next(&mut machine);
        machine.sent(key, "test", Ok(30), Release::Now);
        let mut kept = None;
        assert!(machine.lend_event(&mut |event| match event {
            Returned::Message(done) => kept = done.take_lease(),
            Returned::Group(_) => panic!("no group was opened"),
        }));
        assert_eq!(pool.stats().leased, 3, "one was taken out, two wait");
        let panics = std::panic::AssertUnwindSafe(|| {
            machine.lend_event(&mut |_: Returned<'_>| panic!("in the caller's code"))
        });
        assert!(std::panic::catch_unwind(panics).is_err());
        assert_eq!((pool.stats().leased, machine.messages.in_use()), (2, 1));
        assert!(machine.lend_event(&mut |_: Returned<'_>| {}));
        assert!(!machine.lend_event(&mut |_: Returned<'_>| {}));
        assert_eq!((pool.stats().leased, machine.messages.in_use()), (1, 0));
        assert!(kept.is_some_and(|lease| lease.len() == 10));
    }

    #[test]
    fn a_group_is_given_where_completions_are_lent() {
        let mut machine = machine(Kind::Stream);
        let group = machine.open_group(1);
        machine.push(Message::from(vec![1; 10]).in_group(group)).unwrap();
        machine.seal_group(group);
        let (key, ..) = next(&mut machine);
        machine.sent(key, "test", Ok(10), Release::Now);
        let mut released = 0;
        while machine.lend_event(&mut |event| match event {
            Returned::Group(release) => released += release.completions.len(),
            Returned::Message(_) => panic!("it is in a group"),
        }) {}
        assert_eq!(released, 1);
    }

    /// An owner that panics when its buffer is dropped takes no other buffer along.
    #[test]
    fn a_panicking_owner_leaves_no_buffer_behind_in_a_slot() {
        struct Bomb;
        impl AsRef<[u8]> for Bomb {
            fn as_ref(&self) -> &[u8] {
                b"tick"
            }
        }
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in an owner's drop");
            }
        }
        let pool = crate::Pool::builder().frames(1).frame_bytes(64).build().unwrap();
        let mut machine = machine(Kind::Stream);
        let bomb = ::bytes::Bytes::from_owner(Bomb);
        let mut lease = pool.try_lease().unwrap();
        lease.set_len(6);
        machine.push(Message::from(bomb).and(lease)).unwrap();
        let (key, ..) = next(&mut machine);
        machine.sent(key, "test", Ok(10), Release::Now);
        let lends = std::panic::AssertUnwindSafe(|| machine.lend_event(&mut |_: Returned<'_>| {}));
        assert!(std::panic::catch_unwind(lends).is_err());
        assert_eq!((pool.stats().leased, machine.messages.in_use()), (0, 0));
    }
}
