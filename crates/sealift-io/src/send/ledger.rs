//! What is owed to the caller: completions, release groups and flush marks.
//!
//! ```text
//!  settled message ──► in a group? ──► group, until sealed and complete ──► owed
//!                          └─ no: by its key ──────────────────────────────► owed
//! ```
//!
//! A message outside groups stays in its slot until the caller takes it, so it is moved once only.
//! A flush mark closes an *epoch*; the flush is over when every message of its epoch and of the
//! epochs before it has settled. Settling costs no search: epochs are numbered without gaps.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::message::Group;

use super::completion::{ByteCounts, Completion, GroupRelease, Tally};
use super::slots::Key;

/// Groups are numbered over all senders, so that one sender's is never taken for another's.
static NEXT_GROUP: AtomicU64 = AtomicU64::new(0);

#[derive(Default)]
struct Epoch {
    /// Messages accepted in it and not settled yet.
    open: usize,
    tally: Tally,
}

struct GroupState {
    group: Group,
    open: usize,
    sealed: bool,
    completions: Vec<Completion>,
    tally: Tally,
}

/// What the caller can take. Small, as most are messages.
pub(super) enum Owed {
    /// A settled message, still in its slot.
    Message(Key),
    Group(Box<GroupRelease>),
}

pub(crate) struct Ledger {
    owed: VecDeque<Owed>,
    /// Groups whose event is still to come, oldest first, so in the order of their numbers.
    groups: VecDeque<GroupState>,
    /// The epochs that are not over, oldest first; the last one is still growing.
    epochs: VecDeque<Epoch>,
    /// The number of the first of them.
    first_epoch: u64,
    /// Epochs that are over, not yet reported by a flush.
    over: Tally,
    /// Settled messages that are still in their slots.
    in_slots: usize,
    /// Completions inside groups.
    in_groups: usize,
}

/// A point in the order of messages; see [`Ledger::mark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(u64);

impl Ledger {
    pub(crate) fn new(capacity: usize) -> Self {
        let mut epochs = VecDeque::with_capacity(8);
        epochs.push_back(Epoch::default());
        Self {
            owed: VecDeque::with_capacity(capacity),
            groups: VecDeque::new(),
            epochs,
            first_epoch: 0,
            over: Tally::default(),
            in_slots: 0,
            in_groups: 0,
        }
    }

    /// Settled messages that wait in their slots to be taken.
    pub(super) fn in_slots(&self) -> usize {
        self.in_slots
    }

    /// Settled messages that wait in groups, whose slots are free.
    pub(super) fn in_groups(&self) -> usize {
        self.in_groups
    }

    /// A message was accepted; returns the epoch to settle it in.
    pub(crate) fn accept(&mut self, group: Option<Group>) -> u64 {
        if let Some(state) = group.and_then(|group| self.group_mut(group)) {
            state.open += 1;
        }
        if let Some(current) = self.epochs.back_mut() {
            current.open += 1;
        }
        self.first_epoch + self.epochs.len() as u64 - 1
    }

    /// Whether messages may still join the group.
    pub(crate) fn is_open(&self, group: Group) -> bool {
        self.place(group).is_some_and(|at| !self.groups[at].sealed)
    }

    /// A message of `epoch`, in no group, has settled and waits in its slot.
    pub(super) fn settle(&mut self, epoch: u64, key: Key, bytes: &ByteCounts, failed: bool) {
        self.count(epoch, bytes, failed);
        self.in_slots += 1;
        self.owed.push_back(Owed::Message(key));
    }

    /// A message of `epoch`, in `group`, has settled.
    pub(super) fn settle_grouped(&mut self, epoch: u64, group: Group, completion: Completion) {
        let failed = completion.result.is_err();
        self.count(epoch, &completion.bytes, failed);
        let Some(state) = self.group_mut(group) else { return };
        state.open -= 1;
        state.tally.count(&completion.bytes, failed);
        state.completions.push(completion);
        self.in_groups += 1;
        self.release_if_complete(group);
    }

    /// A message was accepted and has settled, and nothing is owed for it.
    #[inline]
    pub(super) fn pass(&mut self, bytes: &ByteCounts) {
        let epoch = self.accept(None);
        self.count(epoch, bytes, false);
    }

    fn count(&mut self, epoch: u64, bytes: &ByteCounts, failed: bool) {
        let at = epoch.wrapping_sub(self.first_epoch) as usize;
        if let Some(epoch) = self.epochs.get_mut(at) {
            epoch.open -= 1;
            epoch.tally.count(bytes, failed);
        }
        self.retire_epochs();
    }

    /// Opens a group with room for `messages` completions.
    pub(crate) fn open_group(&mut self, messages: usize) -> Group {
        // Relaxed: only the number itself matters.
        let group = Group(NEXT_GROUP.fetch_add(1, Ordering::Relaxed));
        self.groups.push_back(GroupState {
            group,
            open: 0,
            sealed: false,
            completions: Vec::with_capacity(messages),
            tally: Tally::default(),
        });
        group
    }

    /// No more messages join the group; its event comes when all have settled.
    pub(crate) fn seal_group(&mut self, group: Group) {
        if let Some(state) = self.group_mut(group) {
            state.sealed = true;
        }
        self.release_if_complete(group);
    }

    /// Seals whatever is open: the sender ends.
    pub(super) fn seal_all_groups(&mut self) {
        while let Some(open) = self.groups.iter().find(|state| !state.sealed) {
            self.seal_group(open.group);
        }
    }

    fn release_if_complete(&mut self, group: Group) {
        let complete = |at: &usize| self.groups[*at].sealed && self.groups[*at].open == 0;
        if let Some(at) = self.place(group).filter(complete)
            && let Some(GroupState { completions, tally, .. }) = self.groups.remove(at)
        {
            let release = GroupRelease { group, completions, tally };
            self.owed.push_back(Owed::Group(Box::new(release)));
        }
    }

    fn place(&self, group: Group) -> Option<usize> {
        self.groups.binary_search_by_key(&group.0, |state| state.group.0).ok()
    }

    fn group_mut(&mut self, group: Group) -> Option<&mut GroupState> {
        let at = self.place(group)?;
        self.groups.get_mut(at)
    }

    pub(super) fn take(&mut self) -> Option<Owed> {
        let owed = self.owed.pop_front()?;
        match &owed {
            Owed::Message(_) => self.in_slots -= 1,
            Owed::Group(release) => self.in_groups -= release.completions.len(),
        }
        Some(owed)
    }

    /// Whether something waits to be taken.
    pub(crate) fn has_event(&self) -> bool {
        !self.owed.is_empty()
    }

    /// The point behind every message accepted so far.
    pub(crate) fn mark(&mut self) -> Mark {
        let current = self.first_epoch + self.epochs.len() as u64 - 1;
        if self.epochs.back().is_some_and(|epoch| epoch.open == 0 && epoch.tally.messages() == 0) {
            // Nothing was accepted since the last mark: that one serves.
            return Mark(current);
        }
        self.epochs.push_back(Epoch::default());
        self.retire_epochs();
        Mark(current + 1)
    }

    /// Whether every message before the mark has settled.
    pub(crate) fn passed(&self, mark: Mark) -> bool {
        self.first_epoch >= mark.0
    }

    /// What settled, up to the last epoch that is over, since the last call.
    pub(crate) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.over)
    }

    /// What settled at all since the last call, for an account that nothing comes behind.
    pub(crate) fn take_last_tally(&mut self) -> Tally {
        let mut tally = self.take_tally();
        self.epochs.iter_mut().for_each(|epoch| tally += std::mem::take(&mut epoch.tally));
        tally
    }

    fn retire_epochs(&mut self) {
        while self.epochs.len() > 1 && self.epochs.front().is_some_and(|epoch| epoch.open == 0) {
            if let Some(epoch) = self.epochs.pop_front() {
                self.over += epoch.tally;
                self.first_epoch += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::completion::{Outcome, Ticket};
    use super::*;
    use crate::message::Message;

    const ONE: ByteCounts = ByteCounts { zero_copied: 0, copied: 0, plain: 1 };

    fn settle(ledger: &mut Ledger, epoch: u64) {
        ledger.settle(epoch, Key::from_bits(0), &ONE, false);
    }

    fn settle_grouped(ledger: &mut Ledger, epoch: u64, group: Group) {
        let message = Message::from(&b"x"[..]).in_group(group);
        let result = Ok(Outcome::Plain);
        let completion = Completion { ticket: Ticket(0), message, bytes: ONE, result };
        ledger.settle_grouped(epoch, group, completion);
    }

    #[test]
    fn a_mark_waits_for_what_came_before_it_only() {
        let mut ledger = Ledger::new(8);
        let (a, b) = (ledger.accept(None), ledger.accept(None));
        let mark = ledger.mark();
        let later = ledger.accept(None);
        settle(&mut ledger, later);
        settle(&mut ledger, b);
        assert!(!ledger.passed(mark));
        settle(&mut ledger, a);
        assert!(ledger.passed(mark));
        assert_eq!(ledger.take_tally().plain_messages, 2);
        assert_eq!(ledger.take_tally().plain_messages, 0);
    }

    /// One that never settles hides none of those that did.
    #[test]
    fn the_last_tally_counts_what_settled_beside_what_did_not() {
        let mut ledger = Ledger::new(8);
        let epochs = [ledger.accept(None), ledger.accept(None)];
        ledger.mark();
        settle(&mut ledger, epochs[0]);
        assert_eq!(ledger.take_tally().plain_messages, 0);
        assert_eq!(ledger.take_last_tally().plain_messages, 1);
        assert_eq!(ledger.take_last_tally().plain_messages, 0);
    }

    #[test]
    fn marks_without_messages_do_not_pile_up() {
        let mut ledger = Ledger::new(8);
        let a = ledger.accept(None);
        let marks: Vec<Mark> = (0..100).map(|_| ledger.mark()).collect();
        assert!(ledger.epochs.len() <= 2);
        assert!(marks.iter().all(|&mark| !ledger.passed(mark)));
        settle(&mut ledger, a);
        assert!(marks.iter().all(|&mark| ledger.passed(mark)));
    }

    #[test]
    fn an_early_mark_on_an_idle_ledger_is_passed() {
        let mut ledger = Ledger::new(8);
        let mark = ledger.mark();
        assert!(ledger.passed(mark));
        let a = ledger.accept(None);
        let mark = ledger.mark();
        assert!(!ledger.passed(mark));
        settle(&mut ledger, a);
        assert!(ledger.passed(mark));
    }

    #[test]
    fn a_group_is_one_event() {
        let mut ledger = Ledger::new(8);
        let group = ledger.open_group(2);
        let epochs = [ledger.accept(Some(group)), ledger.accept(Some(group))];
        settle_grouped(&mut ledger, epochs[0], group);
        assert!(!ledger.has_event());
        ledger.seal_group(group);
        assert!(!ledger.has_event() && !ledger.is_open(group));
        settle_grouped(&mut ledger, epochs[1], group);
        let Some(Owed::Group(release)) = ledger.take() else { panic!("no release") };
        assert_eq!((release.completions.len(), release.tally.plain_messages), (2, 2));
        assert_eq!(ledger.in_groups(), 0);
    }

    #[test]
    fn a_group_of_another_sender_is_not_mistaken_for_an_own_one() {
        let (mut one, mut other) = (Ledger::new(8), Ledger::new(8));
        let (own, foreign) = (one.open_group(1), other.open_group(1));
        assert!(one.is_open(own) && !one.is_open(foreign));
        one.seal_group(foreign);
        assert!(one.is_open(own));
    }

    #[test]
    fn groups_end_in_any_order() {
        let mut ledger = Ledger::new(8);
        let groups: Vec<Group> = (0..5).map(|_| ledger.open_group(0)).collect();
        for at in [3, 0, 4, 1, 2] {
            ledger.seal_group(groups[at]);
            let Some(Owed::Group(release)) = ledger.take() else { panic!("no release") };
            assert_eq!(release.group, groups[at]);
            assert!(!ledger.is_open(groups[at]));
        }
    }

    #[test]
    fn an_empty_group_is_released_when_sealed() {
        let mut ledger = Ledger::new(8);
        let group = ledger.open_group(0);
        ledger.seal_group(group);
        assert!(matches!(ledger.take(), Some(Owed::Group(_))));
    }
}
