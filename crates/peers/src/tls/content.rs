//! What is sent, so that what comes can be checked to the byte, and cheaply.
//!
//! The content repeats itself after a prime number of bytes, which is no multiple of a record's: a
//! record that is lost, doubled or out of place is found as surely as a wrong byte. And it is so
//! short that it stays in the caches of whoever sends or checks it.

use std::io;

/// A prime number.
const PERIOD_BYTES: usize = 16_381;

/// The content of every connection, from its first byte on.
#[derive(Debug)]
pub(super) struct Content {
    /// A period, and as much more as is wanted in one piece.
    bytes: Vec<u8>,
}

impl Content {
    /// Of which so many bytes are wanted in one piece.
    pub(super) fn new(piece_bytes: usize) -> Self {
        let mut state: u32 = 1;
        let mut random = || {
            // Marsaglia's xorshift: different everywhere, the same each time.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        let mut bytes: Vec<u8> = (0..PERIOD_BYTES).map(|_| random()).collect();
        bytes.extend_from_within(..piece_bytes.min(PERIOD_BYTES));
        while bytes.len() < PERIOD_BYTES + piece_bytes {
            let missing = PERIOD_BYTES + piece_bytes - bytes.len();
            bytes.extend_from_within(PERIOD_BYTES..PERIOD_BYTES + missing.min(PERIOD_BYTES));
        }
        Self { bytes }
    }

    /// To check by: in little memory.
    pub(super) fn to_check() -> Self {
        Self::new(PERIOD_BYTES)
    }

    /// The same, but for one byte.
    #[cfg(test)]
    pub(super) fn wrong_at(offset: usize, piece_bytes: usize) -> Self {
        let mut content = Self::new(piece_bytes);
        content.bytes[offset] ^= 1;
        content
    }

    /// The piece at `offset`, of a length that was asked for.
    pub(super) fn piece(&self, offset: u64, length: usize) -> &[u8] {
        let at = (offset % PERIOD_BYTES as u64) as usize;
        &self.bytes[at..at + length]
    }

    /// Whether `came` is what belongs at `offset`.
    ///
    /// # Errors
    /// If not.
    pub(super) fn check(&self, offset: u64, came: &[u8]) -> io::Result<()> {
        let mut at = offset;
        for part in came.chunks(self.bytes.len() - PERIOD_BYTES) {
            if part != self.piece(at, part.len()) {
                let what = format!("other bytes came than were sent, from {at} on");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            at += part.len() as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_not_in_its_place_is_found() {
        let content = Content::new(100_000);
        let sent: Vec<u8> = content.piece(7, 100_000).to_vec();
        for piece_bytes in [1, 1_000, 16_384, 100_000] {
            Content::new(piece_bytes).check(7, &sent).unwrap();
        }
        let checker = Content::new(16_384);
        let refused = |came: &[u8]| checker.check(7, came).unwrap_err().to_string();
        let mut flipped = sent.clone();
        flipped[99_999] ^= 1;
        assert_eq!(refused(&flipped), "other bytes came than were sent, from 98311 on");
        let record = 16_384;
        let swapped = [&sent[record..2 * record], &sent[..record], &sent[2 * record..]].concat();
        refused(&swapped);
        refused(&sent[record..]);
        refused(&[&sent[..record], &sent].concat());
    }
}
