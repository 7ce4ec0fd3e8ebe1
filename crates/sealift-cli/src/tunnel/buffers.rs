//! Memory for bytes on their way: held only while there are some, so that what idles holds none.

use std::sync::{Mutex, PoisonError};

/// What is read at a time: as much as a stream receives at once, so that whole records are opened
/// straight into it.
const BUFFER_BYTES: usize = 128 * 1024;
/// Buffers that are kept for the next who needs one; more than cores move bytes at once.
const SPARE: usize = 32;

/// Bytes between one side and the other.
pub(super) type Buffer = Box<[u8]>;

/// Buffers that nobody holds.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    spare: Mutex<Vec<Buffer>>,
}

impl Buffers {
    /// A buffer whose content means nothing.
    pub(super) fn take(&self) -> Buffer {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice())
    }

    /// Gives a buffer back.
    pub(super) fn give(&self, buffer: Buffer) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE {
            spare.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_kept() {
        let buffers = Buffers::default();
        let many: Vec<Buffer> = (0..SPARE + 5).map(|_| buffers.take()).collect();
        many.into_iter().for_each(|buffer| buffers.give(buffer));
        assert_eq!(buffers.spare.lock().unwrap().len(), SPARE);
        assert_eq!(buffers.take().len(), BUFFER_BYTES);
        assert_eq!(buffers.spare.lock().unwrap().len(), SPARE - 1);
    }
}
