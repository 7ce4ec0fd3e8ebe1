//! What a call is to write: the caller's slices, and how far they were taken.

use std::io::IoSlice;

/// A record ends before a piece of this size, rather than begin with it and copy the rest of it: so
/// a header in front of a body costs a short record, and not a copy.
const LARGE_BYTES: usize = 8 * 1024;

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

    /// The length of the next record: at most `most_bytes` and what is left, and shorter in front
    /// of a large piece, or at the end of one.
    pub(crate) fn record_bytes(&mut self, most_bytes: usize) -> usize {
        self.skip_empty();
        let (mut len, mut taken) = (0, self.taken);
        for slice in self.slices {
            let piece = slice.len() - std::mem::take(&mut taken);
            let is_large = piece >= LARGE_BYTES;
            if is_large && len > 0 {
                break;
            }
            len += piece;
            if is_large || len >= most_bytes {
                break;
            }
        }
        len.min(most_bytes)
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

    fn records(slices: &[usize]) -> Vec<usize> {
        let memory = vec![0; 100_000];
        let slices: Vec<_> = slices.iter().map(|&len| IoSlice::new(&memory[..len])).collect();
        let (mut pieces, mut records) = (Pieces::new(&slices), Vec::new());
        while pieces.left_bytes() > 0 {
            let len = pieces.record_bytes(16_384);
            records.push(len);
            pieces.advance(len);
        }
        records
    }

    #[test]
    fn what_is_large_is_not_copied_for_what_is_in_front_of_it() {
        assert_eq!(records(&[150, 65_536]), [150, 16_384, 16_384, 16_384, 16_384]);
        assert_eq!(records(&[150, 0, 1024]), [1174]);
        assert_eq!(records(&[20_000, 20_000]), [16_384, 3616, 16_384, 3616]);
        assert_eq!(records(&[30_000, 100, 100, 9000]), [16_384, 13_616, 200, 9000]);
        assert_eq!(records(&[5000, 5000, 5000, 5000]), [16_384, 3616]);
        assert_eq!(records(&[0, 16_385, 0]), [16_384, 1]);
    }

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
