//! A task's turn: what it seals at most before others have theirs. A peer that keeps up would never
//! make it wait, and so never yield.

use std::io::IoSlice;

/// What one turn seals: as much as one system call hands over, in a fraction of a millisecond.
pub(super) const TURN_BYTES: usize = 512 * 1024;
/// Slices of one turn, where it does not take all.
const TURN_SLICES: usize = 64;

/// Does `work` with the front of `slices`: all of them, or what one turn takes.
pub(super) fn with_front<R>(slices: &[IoSlice<'_>], work: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
    if slices.iter().map(|slice| slice.len()).sum::<usize>() <= TURN_BYTES {
        return work(slices);
    }
    let mut front = [IoSlice::new(&[]); TURN_SLICES];
    let (mut filled, mut left) = (0, TURN_BYTES);
    let whole = slices.iter().filter(|slice| !slice.is_empty());
    for (piece, slice) in front.iter_mut().zip(whole) {
        *piece = IoSlice::new(&slice[..slice.len().min(left)]);
        left -= piece.len();
        filled += 1;
        if left == 0 {
            break;
        }
    }
    work(&front[..filled])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn front(lens: &[usize]) -> Vec<usize> {
        let bytes = vec![0; 2 * TURN_BYTES];
        let slices: Vec<_> = lens.iter().map(|&len| IoSlice::new(&bytes[..len])).collect();
        with_front(&slices, |front| front.iter().map(|slice| slice.len()).collect())
    }

    #[test]
    fn a_turn_takes_all_that_it_may() {
        assert_eq!(front(&[]), []);
        assert_eq!(front(&[0, TURN_BYTES - 1, 1]), [0, TURN_BYTES - 1, 1]);
        assert_eq!(front(&[1, TURN_BYTES]), [1, TURN_BYTES - 1]);
        assert_eq!(front(&[TURN_BYTES, 1]), [TURN_BYTES]);
        // What is empty stands in nobody's way.
        let mut lens = vec![0; TURN_SLICES];
        lens.extend([TURN_BYTES + 1; 2]);
        assert_eq!(front(&lens), [TURN_BYTES]);
        assert_eq!(front(&[TURN_BYTES / 32; 2 * TURN_SLICES]), [TURN_BYTES / 32; 32]);
        assert_eq!(front(&[TURN_BYTES / 100; 2 * TURN_SLICES]), [TURN_BYTES / 100; TURN_SLICES]);
    }
}
