//! A fixed number of slots, found again by keys that go stale when the slot is given back.
//!
//! A key fits 32 bits (index and generation), so it can travel through the kernel as user data; a
//! key that comes back stale or out of range finds nothing.

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    index: u16,
    generation: u16,
}

impl Key {
    pub(crate) fn to_bits(self) -> u32 {
        (u32::from(self.generation) << 16) | u32::from(self.index)
    }

    pub(crate) fn from_bits(bits: u32) -> Self {
        Self { index: bits as u16, generation: (bits >> 16) as u16 }
    }

    /// Whether it was ever a key: those that come from elsewhere may not be.
    fn is_of_a_holder(self) -> bool {
        self.generation & 1 == 1
    }
}

struct Slot<T> {
    /// Grows by one when the slot is taken, and when it is given back: odd while it is taken.
    generation: u16,
    value: T,
}

/// Slots keep their value when they are given back, so its allocations are used again. They are
/// made when they are first needed: a sender that never has much under way stays small.
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u16>,
    capacity: usize,
}

impl<T: Default> Slots<T> {
    /// Room for `capacity` slots, at most 65,536.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), capacity: capacity.min(1 << 16) }
    }

    /// Takes a slot; its value is whatever the last holder left.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<(Key, &mut T)> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => self.make()?,
        };
        let slot = &mut self.slots[usize::from(index)];
        slot.generation = slot.generation.wrapping_add(1);
        Some((Key { index, generation: slot.generation }, &mut slot.value))
    }

    /// One slot more, if there may be.
    #[cold]
    fn make(&mut self) -> Option<u16> {
        let index = self.slots.len();
        if index == self.capacity {
            return None;
        }
        self.slots.push(Slot { generation: 0, value: T::default() });
        // Giving it back will not allocate.
        self.free.reserve(self.slots.len());
        Some(index as u16)
    }

    /// Gives a slot back; its key is stale from now on. What is in it can be looked at once more.
    #[inline]
    pub(crate) fn give_back(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(usize::from(key.index))?;
        if slot.generation != key.generation || !key.is_of_a_holder() {
            return None;
        }
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(&mut slot.value)
    }

    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(usize::from(key.index))?;
        (slot.generation == key.generation && key.is_of_a_holder()).then_some(&slot.value)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(usize::from(key.index))?;
        (slot.generation == key.generation && key.is_of_a_holder()).then_some(&mut slot.value)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn in_use(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_keys_find_nothing() {
        let mut slots: Slots<u32> = Slots::new(1);
        let (key, value) = slots.take().unwrap();
        *value = 7;
        assert!(slots.take().is_none());
        assert_eq!(slots.get(Key::from_bits(key.to_bits())), Some(&7));
        slots.give_back(key);
        assert_eq!(slots.get(key), None);
        slots.give_back(key);
        assert_eq!((slots.in_use(), slots.free.len()), (0, 1));
        let (again, _) = slots.take().unwrap();
        assert_ne!(again, key);
    }

    #[test]
    fn slots_are_made_when_they_are_needed_and_no_more_than_there_may_be() {
        let mut slots: Slots<u32> = Slots::new(3);
        let (first, _) = slots.take().unwrap();
        slots.give_back(first);
        slots.take().unwrap();
        assert_eq!((slots.slots.len(), slots.in_use(), slots.capacity()), (1, 1, 3));
        assert!(slots.take().is_some() && slots.take().is_some() && slots.take().is_none());
        assert_eq!((slots.slots.len(), slots.in_use()), (3, 3));
    }

    #[test]
    fn keys_from_nowhere_find_nothing() {
        let mut slots: Slots<u32> = Slots::new(2);
        assert_eq!(slots.get(Key::from_bits(u32::MAX)), None);
        assert_eq!(slots.get_mut(Key::from_bits(0)), None);
    }
}
