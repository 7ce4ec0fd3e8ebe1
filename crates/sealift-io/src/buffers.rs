//! The buffers of a message.

use std::iter::{Chain, Flatten};
use std::{array, slice, vec};

use crate::buffer::Buffer;

/// So many buffers are kept without an allocation: header, body, digest.
const FEW: usize = 3;

/// The buffers of a message, in order; up to three are kept without an allocation.
///
/// Most messages have one. It is reached directly, and a message that is made of it is written
/// straight to where it stays: that is what this type is for, beside a vector.
#[derive(Debug, Default)]
pub struct Buffers {
    /// Filled from the front.
    few: [Option<Buffer>; FEW],
    /// Those behind, once there are more.
    more: Vec<Buffer>,
}

impl Buffers {
    /// Of one buffer.
    #[inline]
    pub(crate) fn one(buffer: Buffer) -> Self {
        Self { few: [Some(buffer), None, None], more: Vec::new() }
    }

    /// Adds a buffer behind the others.
    #[inline]
    pub(crate) fn push(&mut self, buffer: Buffer) {
        match self.few.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(buffer),
            None => self.more.push(buffer),
        }
    }

    /// Lets go of all buffers.
    #[inline]
    pub(crate) fn clear(&mut self) {
        if self.few[1].is_none() {
            self.few[0] = None;
        } else {
            // Taken out first: if one's owner panics, the others are still let go of.
            drop(std::mem::take(self));
        }
    }

    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.few.iter().flatten().count() + self.more.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.few[0].is_none()
    }

    /// The buffer at `index`, from zero.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&Buffer> {
        match self.few.get(index) {
            Some(place) => place.as_ref(),
            None => self.more.get(index - FEW),
        }
    }

    /// The first one, to be changed or taken out.
    #[inline]
    pub(crate) fn first_mut(&mut self) -> Option<&mut Buffer> {
        self.few[0].as_mut()
    }

    /// All of them, in order.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        self.few.iter().flatten().chain(&self.more)
    }
}

/// Goes through the buffers of a message.
type Iter<'a> = Chain<Flatten<slice::Iter<'a, Option<Buffer>>>, slice::Iter<'a, Buffer>>;
/// Takes the buffers of a message apart.
type IntoIter = Chain<Flatten<array::IntoIter<Option<Buffer>, FEW>>, vec::IntoIter<Buffer>>;

impl<'a> IntoIterator for &'a Buffers {
    type Item = &'a Buffer;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl IntoIterator for Buffers {
    type Item = Buffer;
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        self.few.into_iter().flatten().chain(self.more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffers(count: u8) -> Buffers {
        let mut buffers = Buffers::default();
        (0..count).for_each(|byte| buffers.push(vec![byte].into()));
        buffers
    }

    fn bytes<'a>(buffers: impl IntoIterator<Item = &'a Buffer>) -> Vec<u8> {
        buffers.into_iter().flat_map(|buffer| buffer.as_slice().unwrap().to_vec()).collect()
    }

    #[test]
    fn any_number_stays_in_order() {
        for count in 0..8 {
            let many = buffers(count);
            let expected: Vec<u8> = (0..count).collect();
            assert_eq!((many.len(), many.is_empty()), (count.into(), count == 0));
            assert_eq!(bytes(&many), expected);
            let by_index = (0..=count).filter_map(|at| many.get(at.into()));
            assert_eq!(bytes(by_index), expected);
            let taken: Vec<Buffer> = many.into_iter().collect();
            assert_eq!(bytes(&taken), expected);
        }
    }

    #[test]
    fn what_was_cleared_is_filled_from_the_front() {
        let mut buffers = buffers(5);
        buffers.clear();
        assert!(buffers.is_empty() && buffers.first_mut().is_none());
        buffers.push(vec![9].into());
        assert_eq!(bytes(&buffers), [9]);
        assert_eq!(bytes(&Buffers::one(vec![9].into())), [9]);
    }
}
