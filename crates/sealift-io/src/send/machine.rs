//! The send machine: messages in, requests out; results and releases in, completions out.
//!
//! It is pure: no socket, no clock, no allocation per message after start. The same machine works
//! behind every backend; a simulated kernel drives it in tests.
//!
//! ```text
//!  push ──► queue ──next_request──► Sending ──sent──► Held ──released──► settled ──► ledger
//!             ▲                        │  └── nothing to release ──────────▲
//!             └── short, try again ────┘
//! ```
//!
//! Invariants:
//! 1. A message settles exactly once: when all its bytes were accepted or it failed, *and* no
//!    request that names it is open (`Sending` or `Held`). Only then its buffers leave the machine.
//! 2. On a stream at most one request is `Sending`, so no two can reorder.
//! 3. A request is released by its own notification only: never by a result, an error, a cancel or
//!    a close.
//! 4. Bytes pinned by open zero-copy requests stay within the cap (one larger datagram excepted,
//!    alone).

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::error::{Errno, Error};
use crate::message::{Group, Message};
use crate::sys::Part;

use super::completion::{ByteCounts, Completion, Outcome, Refused, Tally, Ticket};
use super::ledger::{Ledger, Mark};
use super::policy::{Chooser, Mode, Policy};
use super::settle::Loan;
use super::slots::{Key, Slots};
use super::stats::Counters;

/// What kind of socket the bytes go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// TCP, unix stream: order matters, sends may be cut and gathered.
    Stream,
    /// UDP: a message is a datagram, or a train of them.
    Datagram,
}

/// The machine's fixed sizes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Messages accepted and not yet taken back by the caller.
    pub(crate) messages: usize,
    /// Requests in the kernel's hands.
    pub(crate) requests: usize,
    /// Buffers gathered into one stream request.
    pub(crate) spans: usize,
    /// Bytes gathered into one stream request.
    pub(crate) request_bytes: usize,
    /// Bytes in open zero-copy requests.
    pub(crate) pinned_bytes: usize,
}

/// The most buffers the kernel takes in one message (`UIO_MAXIOV`).
pub(crate) const IOV_MAX: usize = 1024;

/// A message between acceptance and return.
#[derive(Default)]
pub(super) struct Pending {
    /// The message as it goes back to the caller. Whether it failed is known from here all along.
    pub(super) completion: Completion,
    pub(super) epoch: u64,
    pub(super) len: usize,
    pub(super) accepted: usize,
    /// The buffer, and the offset in it, up to which a stream accepted.
    pub(super) reached: (u32, usize),
    pub(super) open_requests: u32,
    /// All bytes accepted, or failed: nothing more will be requested.
    pub(super) finished: bool,
    /// Settled, and waiting here to be taken.
    pub(super) settled: bool,
    /// Zero-copy failed for it: the rest is copied.
    pub(super) copy_only: bool,
    /// Zero-copy failed with this error; if the copy then works, the socket cannot zero-copy.
    pub(super) suspect: Option<Errno>,
}

impl Pending {
    /// Starts over with the message that was just put in.
    fn renew(&mut self, ticket: u64, epoch: u64, len: usize) {
        self.completion.ticket = Ticket(ticket);
        self.completion.bytes = ByteCounts::default();
        self.completion.result = Ok(Outcome::Plain);
        self.epoch = epoch;
        self.len = len;
        self.accepted = 0;
        self.reached = (0, 0);
        self.open_requests = 0;
        self.finished = false;
        self.settled = false;
        self.copy_only = false;
        self.suspect = None;
    }

    /// The message as it was handed over.
    pub(super) fn message(&self) -> &Message {
        &self.completion.message
    }

    /// Counts what the kernel accepted of it.
    pub(super) fn accept(&mut self, span: &Span) {
        self.accepted += span.accepted;
        if span.accepted > 0 {
            self.reached = (span.buffer, span.start + span.accepted);
        }
        if self.accepted == self.len {
            self.finished = true;
            // The sender was given up meanwhile, but all of this message has left.
            self.completion.result = Ok(Outcome::Plain);
        }
    }

    /// Whether nothing of it is left to do (invariant 1).
    pub(super) fn is_done(&self) -> bool {
        self.finished && self.open_requests == 0 && !self.settled
    }

    /// What a stream has not accepted of it: which buffer, from where on, how many bytes. It does
    /// not look at what is done, so that a request costs the same at the end of a long message.
    pub(super) fn rest(&self) -> impl Iterator<Item = (u32, usize, usize)> + '_ {
        let (first, offset) = self.reached;
        let buffers = &self.message().buffers;
        (first..).map_while(|at| Some((at, buffers.get(at as usize)?.len()))).filter_map(
            move |(at, len)| {
                let start = if at == first { offset } else { 0 };
                (start < len).then(|| (at, start, len - start))
            },
        )
    }
}

/// A part of one buffer of one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) message: Key,
    pub(super) buffer: u32,
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) accepted: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Handed to the kernel; its result is not known.
    #[default]
    Sending,
    /// The result is known; the kernel may still read the bytes.
    Held,
}

/// Most requests are a part of one buffer.
pub(super) type Spans = SmallVec<[Span; 1]>;

/// One send call or io_uring request.
#[derive(Default)]
pub(super) struct Request {
    pub(super) spans: Spans,
    pub(super) mode: Mode,
    pub(super) phase: Phase,
    /// The kernel accepted it.
    pub(super) taken: bool,
    /// The bytes it asks the kernel to take; once it is held, those that the kernel took.
    pub(super) len: usize,
    pub(super) more: bool,
    pub(super) accepted_at_us: u64,
}

impl Request {
    pub(super) fn open(&mut self, mode: Mode, len: usize, more: bool) {
        self.mode = mode;
        self.phase = Phase::Sending;
        self.taken = false;
        self.len = len;
        self.more = more;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    No,
    /// Until the socket is writable.
    Writable,
    /// Until this time: the kernel was short of memory for a copy.
    Until(u64),
}

pub(crate) struct Machine {
    pub(super) kind: Kind,
    pub(super) limits: Limits,
    pub(super) chooser: Chooser,
    /// Messages with bytes that no request covers, in order.
    pub(super) queue: VecDeque<Key>,
    pub(super) messages: Slots<Pending>,
    pub(super) requests: Slots<Request>,
    pub(super) sending: usize,
    pub(super) pinned_bytes: usize,
    pub(super) blocked: Blocked,
    pub(super) shortages: u32,
    pub(super) ledger: Ledger,
    /// The first fatal error; every later call returns it.
    pub(super) fault: Option<Error>,
    pub(super) now_us: u64,
    pub(super) counters: Counters,
    pub(super) next_ticket: u64,
    /// Releases requests at their result instead of their notification: a deliberate mistake that
    /// the corruption oracle must notice.
    #[cfg(feature = "fault-injection")]
    pub(super) release_early: bool,
}

/// What a backend needs to know to issue a request.
#[derive(Clone, Copy)]
pub(crate) struct RequestView<'a> {
    pub(crate) mode: Mode,
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests look at it"))]
    pub(crate) len: usize,
    /// More bytes of the stream follow at once (`MSG_MORE`).
    pub(crate) more: bool,
    pub(crate) message: &'a Message,
    first: Key,
    spans: &'a [Span],
    messages: &'a Slots<Pending>,
}

impl<'a> RequestView<'a> {
    /// The memory of the request, in order. Valid until it is released.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part<'a>> + use<'a> {
        let Self { message, first, messages, .. } = *self;
        self.spans.iter().filter_map(move |span| {
            let message = match span.message == first {
                true => message,
                false => messages.get(span.message)?.message(),
            };
            let buffer = message.buffers.get(span.buffer as usize)?;
            let region = buffer.region().part(span.start, span.len)?;
            Some(Part { region, arena: buffer.arena() })
        })
    }
}

impl Machine {
    pub(crate) fn new(kind: Kind, limits: Limits, chooser: Chooser) -> Self {
        Self {
            kind,
            limits,
            chooser,
            queue: VecDeque::with_capacity(limits.messages),
            messages: Slots::new(limits.messages),
            requests: Slots::new(limits.requests),
            sending: 0,
            pinned_bytes: 0,
            blocked: Blocked::No,
            shortages: 0,
            ledger: Ledger::new(limits.messages),
            fault: None,
            now_us: 0,
            counters: Counters::default(),
            next_ticket: 0,
            #[cfg(feature = "fault-injection")]
            release_early: false,
        }
    }

    /// A machine with no room, to leave behind when the real one is taken away.
    pub(crate) fn hollow() -> Self {
        let limits =
            Limits { messages: 0, requests: 0, spans: 0, request_bytes: 0, pinned_bytes: 0 };
        Self::new(Kind::Datagram, limits, Chooser::new(Policy::AlwaysCopy, 0))
    }

    #[cfg(feature = "fault-injection")]
    pub(crate) fn release_early(&mut self) {
        self.release_early = true;
    }

    /// Tells the machine the time, in microseconds from any fixed point.
    pub(crate) fn tick(&mut self, now_us: u64) {
        self.now_us = now_us;
        if matches!(self.blocked, Blocked::Until(at) if at <= now_us) {
            self.blocked = Blocked::No;
        }
    }

    /// Accepts a message at the end of the queue and says how long it is, or gives it back.
    #[inline]
    pub(crate) fn push(
        &mut self,
        message: impl Into<Message>,
    ) -> std::result::Result<(Ticket, usize), Refused> {
        let slot = if self.is_full() { None } else { self.messages.take() };
        let Some((key, _)) = slot else {
            let error = self.fault.clone().unwrap_or(Error::Full);
            return Err(Refused { message: Box::new(message.into()), error });
        };
        // Made where it stays, as it is large. The slot is free again if making it panics.
        let loan = Loan::new(&mut self.messages, key);
        loan.keep(|| message.into());
        self.enqueue(key)
    }

    /// Accepts the message that was put into a slot, or takes it out again.
    fn enqueue(&mut self, key: Key) -> std::result::Result<(Ticket, usize), Refused> {
        let Some(pending) = self.messages.get_mut(key) else {
            // The slot was taken just before.
            return Err(Refused { message: Box::default(), error: Error::Full });
        };
        let refusal = match &self.fault {
            Some(fault) => Some(fault.clone()),
            None => refusal(self.kind, &self.ledger, pending.message()),
        };
        if let Some(error) = refusal {
            let message = Box::new(std::mem::take(&mut pending.completion.message));
            self.messages.give_back(key);
            return Err(Refused { message, error });
        }
        let ticket = self.next_ticket;
        let len = pending.message().len();
        let epoch = self.ledger.accept(pending.message().group);
        pending.renew(ticket, epoch, len);
        self.next_ticket += 1;
        self.counters.messages += 1;
        if len == 0 && self.kind == Kind::Stream {
            pending.finished = true;
            self.settle_if_done(key);
        } else {
            self.queue.push_back(key);
        }
        Ok((Ticket(ticket), len))
    }

    /// Whether a completion must be taken before another message is accepted.
    pub(crate) fn is_full(&self) -> bool {
        self.messages.in_use() + self.ledger.in_groups() >= self.limits.messages
    }

    /// A request as a backend issues it.
    pub(crate) fn request(&self, key: Key) -> Option<RequestView<'_>> {
        let request = self.requests.get(key)?;
        let first = request.spans.first()?.message;
        Some(RequestView {
            mode: request.mode,
            len: request.len,
            more: request.more,
            message: self.messages.get(first)?.message(),
            first,
            spans: &request.spans,
            messages: &self.messages,
        })
    }

    /// How the message at the head of the queue would go out now.
    pub(crate) fn peek_mode(&self) -> Option<Mode> {
        let head = self.messages.get(*self.queue.front()?)?;
        Some(if head.copy_only { Mode::Plain } else { self.chooser.preview(head.len) })
    }

    /// The segment size of the datagram at the head of the queue, 0 for none.
    pub(crate) fn peek_segment_bytes(&self) -> Option<u16> {
        let head = (self.kind == Kind::Datagram).then(|| self.queue.front())??;
        Some(self.messages.get(*head)?.message().segment_bytes.map_or(0, |bytes| bytes.get()))
    }

    /// Requests whose result is not known.
    pub(crate) fn sending(&self) -> usize {
        self.sending
    }

    /// The socket became writable.
    pub(crate) fn writable(&mut self) {
        if self.blocked == Blocked::Writable {
            self.blocked = Blocked::No;
        }
    }

    /// Whether nothing can be sent until the socket is writable.
    pub(crate) fn awaits_writable(&self) -> bool {
        self.blocked == Blocked::Writable
    }

    /// When to try again, if the kernel was short of memory.
    pub(crate) fn retry_at_us(&self) -> Option<u64> {
        match self.blocked {
            Blocked::Until(at_us) => Some(at_us),
            _ => None,
        }
    }

    /// Gives up on everything that no request covers yet. Open requests go on.
    pub(crate) fn abandon(&mut self, error: Error) {
        self.fault.get_or_insert(error.clone());
        self.blocked = Blocked::No;
        while let Some(key) = self.queue.pop_front() {
            self.fail_message(key, error.clone());
        }
    }

    /// Requests that are open: the kernel may read their memory.
    pub(crate) fn open_requests(&self) -> usize {
        self.requests.in_use()
    }

    /// Messages that have not settled.
    pub(crate) fn unsettled(&self) -> usize {
        self.messages.in_use() - self.ledger.in_slots()
    }

    /// Messages with bytes that no request covers.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn pinned_bytes(&self) -> usize {
        self.pinned_bytes
    }

    pub(crate) fn fault(&self) -> Option<&Error> {
        self.fault.as_ref()
    }

    pub(crate) fn has_event(&self) -> bool {
        self.ledger.has_event()
    }

    pub(crate) fn mark(&mut self) -> Mark {
        self.ledger.mark()
    }

    pub(crate) fn passed(&self, mark: Mark) -> bool {
        self.ledger.passed(mark)
    }

    pub(crate) fn take_tally(&mut self) -> Tally {
        self.ledger.take_tally()
    }

    pub(crate) fn take_last_tally(&mut self) -> Tally {
        self.ledger.take_last_tally()
    }

    pub(crate) fn open_group(&mut self, messages: usize) -> Group {
        self.ledger.open_group(messages.min(self.limits.messages))
    }

    pub(crate) fn seal_all_groups(&mut self) {
        self.ledger.seal_all_groups();
    }

    pub(crate) fn seal_group(&mut self, group: Group) {
        self.ledger.seal_group(group);
    }

    pub(crate) fn chooser(&self) -> &Chooser {
        &self.chooser
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }
}

/// Why a socket of this kind cannot send such a message.
fn refusal(kind: Kind, ledger: &Ledger, message: &Message) -> Option<Error> {
    let what = match kind {
        Kind::Stream if message.to.is_some() => "a stream has no address per message",
        Kind::Stream if message.segment_bytes.is_some() => "a stream has no segments",
        Kind::Datagram if message.buffers.len() > IOV_MAX => "a datagram has at most 1,024 buffers",
        _ if message.group.is_some_and(|group| !ledger.is_open(group)) => {
            "the release group is not open on this sender"
        }
        _ => return None,
    };
    Some(Error::Caller { what })
}

/// A small machine for the unit tests of this folder.
#[cfg(test)]
pub(super) mod fixture {
    use super::super::completion::Event;
    use super::*;

    pub(in crate::send) const LIMITS: Limits = Limits {
        messages: 64,
        requests: 8,
        spans: 8,
        request_bytes: 64 * 1024,
        pinned_bytes: 128 * 1024,
    };
    /// From this size on the machine offers zero-copy.
    pub(in crate::send) const THRESHOLD_BYTES: usize = 4096;

    pub(in crate::send) fn machine(kind: Kind) -> Machine {
        let policy = Policy::Adaptive(Some(THRESHOLD_BYTES));
        Machine::new(kind, LIMITS, Chooser::new(policy, THRESHOLD_BYTES))
    }

    /// A message of one vector.
    pub(in crate::send) fn bytes(len: usize) -> Message {
        Message::from(vec![7; len])
    }

    /// The next request with its mode, its bytes, and whether it says that more follows.
    pub(in crate::send) fn next(machine: &mut Machine) -> (Key, Mode, usize, bool) {
        let key = machine.next_request().expect("a request");
        let RequestView { mode, len, more, .. } = machine.request(key).expect("its view");
        (key, mode, len, more)
    }

    /// The next completion; nothing else may be there.
    pub(in crate::send) fn completion(machine: &mut Machine) -> Option<Completion> {
        match machine.take_event()? {
            Event::Completed(completion) => Some(completion),
            Event::Released(release) => panic!("{release:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::{LIMITS, bytes, completion, machine};
    use super::*;

    #[test]
    fn a_full_machine_gives_the_message_back_and_is_full_until_events_are_taken() {
        let mut machine = machine(Kind::Stream);
        for _ in 0..LIMITS.messages {
            machine.push(Message::new()).unwrap();
        }
        let refused = machine.push(bytes(5)).unwrap_err();
        assert_eq!((refused.error, refused.message.len()), (Error::Full, 5));
        assert!(completion(&mut machine).is_some_and(|done| done.result.is_ok()));
        machine.push(bytes(5)).unwrap();
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let to = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
        let mut stream = machine(Kind::Stream);
        assert!(matches!(stream.push(bytes(1).to(to)).unwrap_err().error, Error::Caller { .. }));
        let segmented = bytes(9).segmented(3.try_into().unwrap());
        assert!(matches!(stream.push(segmented).unwrap_err().error, Error::Caller { .. }));
        let group = stream.open_group(1);
        stream.seal_group(group);
        let late = stream.push(bytes(1).in_group(group)).unwrap_err();
        assert!(matches!(late.error, Error::Caller { .. }));
        let mut datagrams = machine(Kind::Datagram);
        let scattered = (0..=IOV_MAX).fold(Message::new(), |message, _| message.and(&b"x"[..]));
        assert!(matches!(datagrams.push(scattered).unwrap_err().error, Error::Caller { .. }));
    }

    #[test]
    fn the_first_error_is_the_one_that_is_kept() {
        let mut machine = machine(Kind::Stream);
        machine.push(bytes(5)).unwrap();
        machine.abandon(Error::Closed);
        machine.abandon(Error::Full);
        assert_eq!(machine.push(bytes(5)).unwrap_err().error, Error::Closed);
        assert_eq!(completion(&mut machine).unwrap().result, Err(Error::Closed));
    }
}
