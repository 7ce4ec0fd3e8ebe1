//! Order: what was started in order is released in order, however it was finished.
//!
//! ```text
//!  start ──► │ done │ done │ open │ done │ open │      finished but not at the head: it waits
//!            └─ released ──┘
//! ```
//!
//! One per direction of a stream, or one for each of its key epochs, as its user likes: what is
//! sealed with the next key goes out behind what is sealed with this one either way. A part that is
//! not finished holds up what is behind it in its own sequencer only.

use std::collections::VecDeque;

/// A place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u64);

impl Place {
    /// Its number, from zero.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// Releases the longest finished run at its head.
#[derive(Debug)]
pub struct Sequencer<T> {
    /// Places that are not released, oldest first; `Some` once finished.
    parts: VecDeque<Option<T>>,
    /// The number of the first of them.
    first: u64,
    capacity: usize,
}

impl<T> Sequencer<T> {
    /// Room for `capacity` places between the first that is not released and the last.
    pub fn new(capacity: usize) -> Self {
        Self { parts: VecDeque::with_capacity(capacity), first: 0, capacity }
    }

    /// The next place; `None` while `capacity` are not released.
    pub fn start(&mut self) -> Option<Place> {
        if self.parts.len() >= self.capacity {
            return None;
        }
        self.parts.push_back(None);
        Some(Place(self.first + self.parts.len() as u64 - 1))
    }

    /// Finishes a place.
    ///
    /// # Errors
    /// `part` back, if the place was finished before or was never given.
    pub fn finish(&mut self, place: Place, part: T) -> Result<(), T> {
        let at = place.0.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        match at.and_then(|at| self.parts.get_mut(at)) {
            Some(slot @ None) => {
                *slot = Some(part);
                Ok(())
            }
            _ => Err(part),
        }
    }

    /// The part at the head, if it is finished.
    pub fn release(&mut self) -> Option<T> {
        let part = self.parts.front_mut()?.take()?;
        self.parts.pop_front();
        self.first += 1;
        Some(part)
    }

    /// Places that were given and not released.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether everything was released.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Gives up on the order: takes out what is finished. Places that are not finished are
    /// forgotten, and finishing one of them later gives its part back.
    pub fn abandon(&mut self) -> impl Iterator<Item = T> + '_ {
        self.first += self.parts.len() as u64;
        self.parts.drain(..).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longest_finished_run_is_released() {
        let mut order = Sequencer::new(3);
        let places: Vec<Place> = std::iter::from_fn(|| order.start()).collect();
        assert_eq!(places.len(), 3);
        order.finish(places[1], 'b').unwrap();
        assert_eq!(order.release(), None);
        order.finish(places[0], 'a').unwrap();
        assert_eq!(
            (order.release(), order.release(), order.release()),
            (Some('a'), Some('b'), None)
        );
        assert_eq!(order.start().unwrap().number(), 3);
    }

    #[test]
    fn what_is_finished_twice_or_never_started_comes_back() {
        let mut order = Sequencer::new(2);
        let place = order.start().unwrap();
        order.finish(place, 1).unwrap();
        assert_eq!(order.finish(place, 2), Err(2));
        assert_eq!(order.release(), Some(1));
        assert_eq!(order.finish(place, 3), Err(3), "it was released");
        assert_eq!(order.finish(Place(9), 4), Err(4));
        let late = order.start().unwrap();
        assert_eq!(order.abandon().count(), 0);
        assert_eq!(order.finish(late, 5), Err(5), "it was given up");
        let next = order.start().unwrap();
        assert_eq!(order.finish(late, 6), Err(6), "its place is nobody else's");
        assert_eq!((order.finish(next, 7), order.release()), (Ok(()), Some(7)));
    }

    proptest! {
        #[test]
        fn any_order_of_finishing_is_released_in_order(
            finishing in Just((0..50).collect::<Vec<usize>>()).prop_shuffle()
        ) {
            let mut order = Sequencer::new(50);
            let places: Vec<Place> = std::iter::from_fn(|| order.start()).collect();
            let mut released = Vec::new();
            for at in finishing {
                order.finish(places[at], at).unwrap();
                released.extend(std::iter::from_fn(|| order.release()));
            }
            prop_assert_eq!(released, (0..50).collect::<Vec<_>>());
        }
    }
}
