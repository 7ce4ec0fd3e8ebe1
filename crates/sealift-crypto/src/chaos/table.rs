//! The driver's side of a device that may say anything: which jobs are out, and whether a notice of
//! completion is to be believed.
//!
//! 1. A notice names a slot and the slot's generation. It releases a job only if that very job is
//!    home, so a second notice, or one for a job still under way, releases nothing.
//! 2. A slot's generation grows when its job is released, so a notice for an earlier one is void.

use crate::engine::Done;
use crate::job::Job;

use super::faults::Fate;

/// Says that the job in a slot is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notice {
    pub(super) slot: usize,
    pub(super) generation: u64,
    /// The poll from which on it shows.
    pub(super) from_poll: u64,
}

enum Place<S, D> {
    Free,
    Out { tag: u64, fate: Fate },
    Home(Done<S, D>),
}

pub(super) struct Table<S, D> {
    slots: Vec<(u64, Place<S, D>)>,
    free: Vec<usize>,
}

impl<S, D> Table<S, D> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Jobs that are out or home.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a job down as out; it carries its slot from now on.
    pub(super) fn enter(&mut self, job: &mut Job<S, D>, fate: Fate) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, Place::Free));
            self.slots.len() - 1
        });
        let tag = job.retag(slot as u64);
        self.slots[slot].1 = Place::Out { tag, fate };
    }

    /// Strikes out a job that was refused after all; it has its own tag again.
    pub(super) fn strike(&mut self, job: &mut Job<S, D>) {
        let slot = job.tag() as usize;
        if let Place::Out { tag, .. } = std::mem::replace(&mut self.slots[slot].1, Place::Free) {
            job.retag(tag);
            self.free.push(slot);
        }
    }

    /// What is to happen to a job that comes home.
    pub(super) fn fate(&self, slot: usize) -> Fate {
        match self.slots[slot].1 {
            Place::Out { fate, .. } => fate,
            _ => Fate::Good,
        }
    }

    /// Every job that is out fails.
    pub(super) fn doom(&mut self) {
        for (_, place) in &mut self.slots {
            if let Place::Out { fate, .. } = place {
                *fate = Fate::Error;
            }
        }
    }

    /// Takes a job home.
    pub(super) fn bring_home(&mut self, slot: usize, mut done: Done<S, D>) {
        if let Place::Out { tag, .. } = self.slots[slot].1 {
            done.job.retag(tag);
            self.slots[slot].1 = Place::Home(done);
        }
    }

    /// A notice for the job that is in a slot now, whichever that is.
    pub(super) fn notice(&self, slot: usize, from_poll: u64) -> Notice {
        Notice { slot, generation: self.slots[slot].0, from_poll }
    }

    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The job that a notice is about, if it is home.
    pub(super) fn release(&mut self, notice: Notice) -> Option<Done<S, D>> {
        let (generation, place) = &mut self.slots[notice.slot];
        if *generation != notice.generation || !matches!(place, Place::Home(_)) {
            return None;
        }
        let Place::Home(done) = std::mem::replace(place, Place::Free) else { return None };
        *generation += 1;
        self.free.push(notice.slot);
        Some(done)
    }

    /// All jobs that are home, though nothing announced them.
    pub(super) fn release_all(&mut self) -> impl Iterator<Item = Done<S, D>> + '_ {
        (0..self.slots.len()).filter_map(|slot| self.release(self.notice(slot, 0)))
    }
}
