//! What a call is to write: the caller's slices, and how far they were taken.

use std::io::IoSlice;

/// The rest of the caller's slices.
pub(crate) struct Pieces<'a, 'b> {
    slices: &'a [IoSlice<'b>],
    /// Taken from the first of them.
    taken: usize,
    left_bytes: usize,
}

impl<'a, 'b> Pieces<'a, 'b> {
    pub(crate) fn new(slices: &'a [IoSlice<'b>]) -> Self {
        Self { slices, taken: 0, left_bytes: slices.iter().map(|slice| slice.len()).sum() }
    }

    /// Bytes that were not taken.
    pub(crate) fn left_bytes(&self) -> usize {
        self.left_bytes
    }

    /// The next bytes, if `len_bytes` of them lie in one piece.
    pub(crate) fn in_one(&mut self, len_bytes: usize) -> Option<&'a [u8]> {
        self.skip_empty();
        let first: &'a [u8] = self.slices.first()?;
        first[self.taken..].get(..len_bytes)
    }

    /// The next `len_bytes`, piece by piece.
    pub(crate) fn each(&self, len_bytes: usize) -> impl Iterator<Item = &'a [u8]> + use<'a, 'b> {
        let slices = self.slices;
        let mut taken = self.taken;
        let mut left = len_bytes;
        slices.iter().map_while(move |slice| {
            let slice: &'a [u8] = slice;
            let piece = &slice[std::mem::take(&mut taken)..];
            let piece = &piece[..piece.len().min(left)];
            left -= piece.len();
            (left > 0 || !piece.is_empty()).then_some(piece)
        })
    }

    /// Takes the next `len_bytes`.
    pub(crate) fn advance(&mut self, len_bytes: usize) {
        self.left_bytes -= len_bytes;
        self.taken += len_bytes;
        self.skip_empty();
    }

    fn skip_empty(&mut self) {
        while let Some(first) = self.slices.first() {
            if self.taken < first.len() {
                break;
            }
            self.taken -= first.len();
            self.slices = &self.slices[1..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn slices_are_taken_in_order_however_they_are_cut(
            slices in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..9),
            lengths in prop::collection::vec(1usize..12, 1..40),
        ) {
            let all: Vec<u8> = slices.concat();
            let borrowed: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
            let mut pieces = Pieces::new(&borrowed);
            let mut taken = Vec::new();
            for len in lengths {
                let len = len.min(pieces.left_bytes());
                let gathered: Vec<u8> = pieces.each(len).flatten().copied().collect();
                if let Some(piece) = pieces.in_one(len) {
                    prop_assert_eq!(piece, &gathered[..]);
                }
                taken.extend(gathered);
                pieces.advance(len);
                prop_assert_eq!(taken.len() + pieces.left_bytes(), all.len());
            }
            prop_assert_eq!(&taken[..], &all[..taken.len()]);
        }
    }
}
