//! What is kept of a job that was handed over, so that it can be done again.
//!
//! 1. A slot belongs to one job from the hand-over until the other engine gives that very job back.
//! 2. A job is done again at most once: that takes the source out of its slot.
//! 3. The slots and all that they hold are made once and used again.

use std::time::Instant;

use crate::job::{Destination, Direction, Job, Payload, Source, Unit, Units};
use crate::key::Key;
use crate::panics;

/// A job in the other engine's hands.
pub(super) struct Standby<S> {
    tag: u64,
    key: Key,
    direction: Direction,
    /// `None` once the job was done elsewhere: what comes back then is late.
    source: Option<S>,
    deadline: Instant,
    is_trial: bool,
}

struct Slot<S> {
    standby: Option<Standby<S>>,
    units: Units,
    /// The caller's own bytes between the outcomes.
    gaps: Vec<u8>,
}

/// What the other engine's return of a job means.
pub(super) struct Return {
    pub(super) is_trial: bool,
    /// The job was done elsewhere meanwhile.
    pub(super) is_late: bool,
}

pub(super) struct Standbys<S> {
    slots: Vec<Slot<S>>,
    free: Vec<usize>,
    /// Slots of jobs that were done elsewhere meanwhile.
    late: usize,
    /// No slot's time is over before this.
    next_deadline: Option<Instant>,
}

impl<S> Standbys<S> {
    pub(super) fn new(count: usize) -> Self {
        let slot = |_| Slot { standby: None, units: Units::new(), gaps: Vec::new() };
        Self {
            slots: (0..count).map(slot).collect(),
            free: (0..count).rev().collect(),
            late: 0,
            next_deadline: None,
        }
    }

    /// Jobs in the other engine's hands, late ones too.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Whether there is no room, and half of it or more is taken up by jobs that are late.
    pub(super) fn is_clogged(&self) -> bool {
        !self.has_room() && 2 * self.late >= self.slots.len()
    }

    /// When to look for jobs whose time is over.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.next_deadline
    }

    /// Takes note of the other engine's giving a job back; it has its own tag again.
    pub(super) fn leave<D>(&mut self, job: &mut Job<S, D>) -> Option<Return> {
        let at = usize::try_from(job.tag()).ok()?;
        let Standby { tag, source, is_trial, .. } = self.slots.get_mut(at)?.standby.take()?;
        self.free.push(at);
        if self.is_empty() {
            self.next_deadline = None;
        }
        job.retag(tag);
        let is_late = source.is_none();
        self.late -= usize::from(is_late);
        panics::discard(source);
        Some(Return { is_trial, is_late })
    }

    /// A job that is still out though its time is over by `now`.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<usize> {
        if self.next_deadline.is_none_or(|next| now < next) {
            return None;
        }
        let waits = |slot: &Slot<S>| {
            let standby = slot.standby.as_ref().filter(|standby| standby.source.is_some());
            standby.map(|standby| standby.deadline)
        };
        let all = self.slots.iter().enumerate();
        let oldest = all.filter_map(|(at, slot)| Some((waits(slot)?, at))).min();
        self.next_deadline = oldest.map(|(deadline, _)| deadline);
        oldest.filter(|(deadline, _)| *deadline <= now).map(|(_, at)| at)
    }

    /// Any job that is still out and was not done elsewhere.
    pub(super) fn any_out(&self) -> Option<usize> {
        let is_out = |slot: &Slot<S>| slot.standby.as_ref().is_some_and(|s| s.source.is_some());
        self.slots.iter().position(is_out)
    }

    pub(super) fn is_trial(&self, at: usize) -> bool {
        self.slots[at].standby.as_ref().is_some_and(|standby| standby.is_trial)
    }

    /// How long a destination has to be for the job in a slot.
    pub(super) fn destination_bytes(&self, at: usize) -> usize {
        let slot = &self.slots[at];
        let direction = slot.standby.as_ref().map(|standby| standby.direction);
        let end = |unit: &Unit| direction.map_or(0, |direction| unit.outcome_end(direction));
        slot.units.last().map_or(0, end)
    }
}

impl<S: Source + Clone> Standbys<S> {
    /// Keeps what is needed to do `job` again; it carries its slot as its tag from now on. False,
    /// and nothing changed, if its memory panics.
    pub(super) fn enter<D: Destination>(
        &mut self,
        job: &mut Job<S, D>,
        deadline: Instant,
        is_trial: bool,
    ) -> bool {
        let Some(at) = self.free.pop() else { return false };
        let slot = &mut self.slots[at];
        slot.gaps.clear();
        let kept = panics::caught(|| {
            job.read_gaps(&mut slot.gaps);
            job.source().cloned()
        });
        let Some(Some(source)) = kept else {
            self.free.push(at);
            return false;
        };
        slot.units.clear();
        slot.units.extend(job.units().iter().cloned());
        let (key, direction) = (job.key().clone(), job.direction());
        let tag = job.retag(at as u64);
        slot.standby =
            Some(Standby { tag, key, direction, source: Some(source), deadline, is_trial });
        self.next_deadline = Some(self.next_deadline.map_or(deadline, |next| next.min(deadline)));
        true
    }

    /// The same job over, into `destination`; or `destination` back if it does not fit.
    pub(super) fn again<D: Destination>(
        &mut self,
        at: usize,
        destination: D,
    ) -> Result<Job<S, D>, D> {
        let Slot { standby, units, gaps } = &mut self.slots[at];
        let Some(Standby { tag, key, direction, source, .. }) = standby else {
            return Err(destination);
        };
        let Some(original) = source.take() else { return Err(destination) };
        let payload = Payload::Apart { source: original, destination };
        let mut job = Job::again(key, *direction, payload, std::mem::take(units), *tag);
        if panics::caught(|| job.fits() && job.write_gaps(gaps)) == Some(true) {
            self.late += 1;
            return Ok(job);
        }
        let (payload, unused) = job.into_parts();
        *units = unused;
        match payload {
            Payload::Apart { source: original, destination } => {
                *source = Some(original);
                Err(destination)
            }
            Payload::InPlace(destination) => Err(destination),
        }
    }
}

impl<S> Drop for Standbys<S> {
    fn drop(&mut self) {
        panics::discard(self.slots.drain(..).filter_map(|slot| slot.standby));
    }
}
