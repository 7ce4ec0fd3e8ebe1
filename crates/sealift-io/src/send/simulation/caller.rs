//! The user of the machine: makes messages of all kinds, opens groups, marks flushes, and checks
//! everything that comes back.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::error::Error;
use crate::message::{Group, Message};

use super::super::completion::{Completion, Event, GroupRelease, Tally};
use super::super::ledger::Mark;
use super::super::machine::Kind;
use super::memory::LONGEST_BUFFER;
use super::registry::{Parcel, Part};
use super::stage::Stage;

/// Groups that are open at once at most.
const OPEN_GROUPS: usize = 4;
/// Flushes that are waited for at once at most.
const FLUSHES: usize = 4;

struct OpenGroup {
    group: Group,
    members: Vec<u64>,
    sealed: bool,
}

/// A flush that is waited for.
struct Flush {
    mark: Mark,
    /// Messages handed over before it.
    messages: u64,
    deadline_us: u64,
}

#[derive(Default)]
pub(super) struct Caller {
    groups: Vec<OpenGroup>,
    flushes: VecDeque<Flush>,
    /// What the flushes told, and what the completions said.
    flushed: Tally,
    returned: Tally,
    /// The first fatal error.
    fault: Option<Error>,
}

impl Caller {
    /// Hands over one message.
    pub(super) fn push(&mut self, stage: &mut Stage) {
        let tag = stage.registry.parcels.len() as u64;
        let (mut message, parcel) = compose(stage, tag);
        let joined = (!self.groups.is_empty() && stage.random.once_in(3))
            .then(|| stage.random.below(self.groups.len()));
        message.group = joined.map(|at| self.groups[at].group);
        let stream = stage.machine.kind() == Kind::Stream;
        let mut valid = joined.is_none_or(|at| !self.groups[at].sealed);
        if stage.random.once_in(200) {
            message.to = Some(SocketAddr::from(([127, 0, 0, 1], 9)));
            valid &= !stream;
        }
        let full = stage.machine.is_full();
        let fault = stage.machine.fault().cloned();
        match stage.machine.push(message) {
            Ok((ticket, _)) => {
                assert!(valid && !full && fault.is_none(), "accepted what should be refused");
                if let Some(at) = joined {
                    self.groups[at].members.push(tag);
                }
                stage.registry.hand_over(Parcel { ticket: ticket.number(), ..parcel });
            }
            Err(refused) => {
                match (&refused.error, fault) {
                    (error, Some(fault)) => assert_eq!(*error, fault),
                    (Error::Full, None) => assert!(full),
                    (Error::Caller { .. }, None) => assert!(!valid),
                    (error, None) => panic!("refused: {error}"),
                }
                stage.seen.note("messages refused");
                take_home(stage, *refused.message, &parcel.parts);
            }
        }
    }

    /// Takes what came back.
    pub(super) fn take_events(&mut self, stage: &mut Stage, most: usize) {
        for _ in 0..most {
            match stage.machine.take_event() {
                None => return,
                Some(Event::Completed(completion)) => {
                    assert!(completion.message.group.is_none());
                    self.take(stage, completion);
                }
                Some(Event::Released(release)) => self.take_release(stage, release),
            }
        }
    }

    fn take_release(&mut self, stage: &mut Stage, release: GroupRelease) {
        stage.seen.note("groups released");
        let open = self.groups.iter().position(|open| open.group == release.group);
        let OpenGroup { mut members, sealed, .. } = self.groups.swap_remove(open.expect("a group"));
        assert!(sealed, "an open group was released");
        let before = self.returned;
        let mut came: Vec<u64> = release.completions.iter().map(|c| c.message.tag).collect();
        release.completions.into_iter().for_each(|completion| self.take(stage, completion));
        came.sort_unstable();
        members.sort_unstable();
        assert_eq!(came, members, "a group came back with other members");
        let mut sum = before;
        sum += release.tally;
        assert_eq!(sum, self.returned, "the group's tally is wrong");
    }

    /// Checks a message that came back, and overwrites its buffers.
    fn take(&mut self, stage: &mut Stage, completion: Completion) {
        self.returned.count(&completion.bytes, completion.result.is_err());
        let Completion { ticket, message, bytes, result } = completion;
        let tag = message.tag;
        let stream = stage.machine.kind() == Kind::Stream;
        let parcel = stage.registry.parcel(tag);
        assert!(!parcel.back, "message {tag} came back twice");
        parcel.back = true;
        assert_eq!(parcel.ticket, ticket.number());
        if !stage.wishes.trusting {
            assert_eq!(parcel.holds, 0, "message {tag} came back while the kernel holds it");
            assert_eq!(bytes, parcel.told, "message {tag}: other bytes than the kernel told");
            let whole = parcel.accepted == parcel.len as u64;
            match &result {
                Ok(outcome) => {
                    assert!(whole, "message {tag}: {outcome:?} with a part");
                    assert_eq!(*outcome, bytes.outcome());
                    assert!(stream || parcel.departures == 1, "message {tag} never left");
                }
                Err(error) if stream => {
                    assert!(!whole, "message {tag} left as a whole, but: {error}");
                    assert_eq!(Some(error), stage.machine.fault(), "only a fault fails a stream");
                }
                Err(_) => assert_eq!(parcel.departures, 0, "message {tag} left, but failed"),
            }
        }
        stage.seen.note(if result.is_ok() { "messages sent" } else { "messages failed" });
        let parts = std::mem::take(&mut parcel.parts);
        take_home(stage, message, &parts);
        stage.registry.parcel(tag).parts = parts;
    }

    /// Opens or seals a group.
    pub(super) fn regroup(&mut self, stage: &mut Stage) {
        let open = self.groups.iter().filter(|open| !open.sealed).count();
        if open < OPEN_GROUPS && stage.random.once_in(2) {
            let expected = stage.random.below(8);
            let group = stage.machine.open_group(expected);
            self.groups.push(OpenGroup { group, members: Vec::new(), sealed: false });
        } else if !self.groups.is_empty() {
            let at = stage.random.below(self.groups.len());
            self.seal(stage, at);
        }
    }

    fn seal(&mut self, stage: &mut Stage, at: usize) {
        self.groups[at].sealed = true;
        stage.machine.seal_group(self.groups[at].group);
    }

    pub(super) fn seal_all(&mut self, stage: &mut Stage) {
        (0..self.groups.len()).for_each(|at| self.seal(stage, at));
    }

    /// Begins a flush.
    pub(super) fn flush(&mut self, stage: &mut Stage) {
        if self.flushes.len() < FLUSHES {
            let mark = stage.machine.mark();
            let messages = stage.registry.parcels.len() as u64;
            let deadline_us = stage.now_us + stage.random.below(1_000_000) as u64;
            self.flushes.push_back(Flush { mark, messages, deadline_us });
        }
    }

    /// Looks after the flushes; says whether the deadline of one has passed.
    pub(super) fn attend_flushes(&mut self, stage: &mut Stage) -> bool {
        while let Some(flush) = self.flushes.front()
            && stage.machine.passed(flush.mark)
        {
            self.flushed += stage.machine.take_tally();
            assert!(self.flushed.messages() >= flush.messages, "a flush left messages out");
            let before = &stage.registry.parcels[..flush.messages as usize];
            let held = before.iter().filter(|parcel| parcel.holds > 0).count();
            assert!(
                stage.wishes.trusting || held == 0,
                "a flush was over with {held} messages held"
            );
            stage.seen.note("flushes");
            self.flushes.pop_front();
        }
        let Some(flush) = self.flushes.front() else { return false };
        let before = &stage.registry.parcels[..flush.messages as usize];
        assert!(before.iter().any(|parcel| !parcel.back), "a flush that should be over");
        let late = flush.deadline_us < stage.now_us;
        if late {
            stage.seen.note("flushes that missed their deadline");
            self.flushes.pop_front();
        }
        late
    }

    /// The first fatal error is kept.
    pub(super) fn check_fault(&mut self, stage: &Stage) {
        let fault = stage.machine.fault();
        if self.fault.is_some() {
            assert_eq!(fault, self.fault.as_ref(), "the first error was lost");
        }
        self.fault = fault.cloned();
    }

    /// Everything must be back, and every sum must be right.
    pub(super) fn check_end(&mut self, stage: &mut Stage) {
        self.take_events(stage, usize::MAX);
        self.check_fault(stage);
        let mark = stage.machine.mark();
        assert!(stage.machine.passed(mark), "the last flush is not over");
        self.flushed += stage.machine.take_tally();
        assert_eq!(self.flushed, self.returned, "flushes and completions differ");
        assert_eq!(self.returned.messages(), stage.registry.parcels.len() as u64);
        assert!(stage.registry.parcels.iter().all(|parcel| parcel.back), "not everything is back");
        assert!(self.groups.is_empty(), "a sealed group did not come back");
        let accepted: u64 = stage.registry.parcels.iter().map(|parcel| parcel.accepted).sum();
        if !stage.wishes.trusting {
            assert_eq!(accepted, self.returned.bytes.total());
        }
        stage.seen.add("bytes zero-copied", self.returned.bytes.zero_copied);
        stage.seen.add("bytes copied after all", self.returned.bytes.copied);
        stage.seen.add("bytes copied by choice", self.returned.bytes.plain);
    }
}

/// A message of some buffers of some sizes.
fn compose(stage: &mut Stage, tag: u64) -> (Message, Parcel) {
    let Stage { random, memory, .. } = stage;
    let buffers = match random.below(40) {
        0 => 0,
        1 => random.within(7, 30),
        2..8 => random.within(3, 6),
        8..16 => 2,
        _ => 1,
    };
    let mut message = Message::new().tagged(tag);
    let mut parcel = Parcel::default();
    for _ in 0..buffers {
        let len = match random.below(60) {
            0 => 0,
            1 if buffers == 1 => random.below(LONGEST_BUFFER),
            2..12 => random.within(2048, 12_000),
            12..30 => random.within(64, 2048),
            _ => random.within(1, 64),
        };
        let (buffer, content) = memory.make(random, len);
        let address = buffer.region().base() as usize;
        parcel.parts.push(Part { address, content, start: parcel.len });
        parcel.len += content.len;
        message = message.and(buffer);
    }
    (message, parcel)
}

/// The buffers of a message are the caller's again, each where it was.
fn take_home(stage: &mut Stage, message: Message, parts: &[Part]) {
    assert_eq!(message.buffers.len(), parts.len(), "buffers were lost or added");
    for (buffer, part) in message.buffers.into_iter().zip(parts) {
        assert_eq!(buffer.region().base() as usize, part.address, "another buffer came back");
        assert_eq!(buffer.len(), part.content.len);
        stage.memory.take_back(buffer);
    }
}
