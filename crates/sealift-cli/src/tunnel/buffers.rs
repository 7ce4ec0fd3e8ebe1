//! Memory for bytes on their way: held only while there are some, so that what idles holds none.

use std::sync::{Arc, Mutex, PoisonError};

/// What is read at a time: as much as a stream receives at once, so that whole records are opened
/// straight into it.
const BUFFER_BYTES: usize = 128 * 1024;
/// Buffers that are kept for the next who needs one; more than cores move bytes at once.
const SPARE: usize = 32;

/// Buffers that nobody holds.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    spare: Mutex<Vec<Box<[u8]>>>,
}

/// A buffer, which goes back when it is dropped, wherever it went. As bytes it is what was read.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: Box<[u8]>,
    /// From the front.
    read: usize,
    home: Arc<Buffers>,
}

impl Buffers {
    /// A buffer whose content means nothing.
    pub(super) fn take(self: &Arc<Self>) -> Buffer {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let memory = spare.unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice());
        Buffer { memory, read: 0, home: self.clone() }
    }
}

impl Buffer {
    /// Where to read to.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    /// So many bytes were read there.
    pub(super) fn set_read(&mut self, count: usize) {
        self.read = count.min(self.memory.len());
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.read]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut spare = self.home.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE {
            spare.push(std::mem::take(&mut self.memory));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_kept() {
        let buffers = Arc::new(Buffers::default());
        let many: Vec<Buffer> = (0..SPARE + 5).map(|_| buffers.take()).collect();
        drop(many);
        assert_eq!(buffers.spare.lock().unwrap().len(), SPARE);
        let mut one = buffers.take();
        assert_eq!(one.room().len(), BUFFER_BYTES);
        assert_eq!(buffers.spare.lock().unwrap().len(), SPARE - 1);
        one.room()[0] = 7;
        one.set_read(1);
        assert_eq!(one.as_ref(), [7]);
    }
}
