//! `Lease`, the exclusive owner of a frame, and `Frozen`, its shared immutable view.

use std::fmt;
use std::io;
use std::ops::{Bound, Deref, DerefMut, RangeBounds};
use std::sync::Arc;

use super::arena::Arena;

/// Exclusive ownership of one frame of a [`Pool`](super::Pool).
///
/// A lease reads as the bytes written so far (`len`), can be filled up to [`capacity`], and goes
/// home to its pool when it is dropped. A fresh lease is empty; the bytes behind `len` are
/// whatever an earlier holder left there, never uninitialised.
///
/// [`capacity`]: Lease::capacity
pub struct Lease {
    arena: Arc<Arena>,
    frame: u32,
    len: u32,
}

impl Lease {
    pub(super) fn new(arena: Arc<Arena>, frame: u32) -> Self {
        Self { arena, frame, len: 0 }
    }

    /// The frame's size in bytes.
    pub fn capacity(&self) -> usize {
        self.arena.frame_bytes() as usize
    }

    /// The bytes filled so far.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether nothing was filled yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets how many bytes of the frame count as filled.
    ///
    /// # Panics
    /// If `len_bytes` is more than the capacity.
    pub fn set_len(&mut self, len_bytes: usize) {
        assert!(len_bytes <= self.capacity(), "a lease cannot be longer than its frame");
        self.len = len_bytes as u32;
    }

    /// The whole frame, filled or not, to write into; follow with [`set_len`](Lease::set_len).
    pub fn frame_mut(&mut self) -> &mut [u8] {
        let base = self.arena.frame(self.frame).as_ptr();
        // SAFETY: arena invariants 1 to 3: valid, initialised, and this lease is the only owner.
        unsafe { std::slice::from_raw_parts_mut(base, self.capacity()) }
    }

    /// The part of the frame that is not filled yet.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        let filled = self.len();
        &mut self.frame_mut()[filled..]
    }

    /// Appends as much of `bytes` as fits and says how much that was.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let spare = self.spare_mut();
        let count = bytes.len().min(spare.len());
        spare[..count].copy_from_slice(&bytes[..count]);
        self.len += count as u32;
        count
    }

    /// Gives up writing in exchange for a view that can be cloned and sliced.
    pub fn freeze(self) -> Frozen {
        let lease = std::mem::ManuallyDrop::new(self);
        lease.arena.freeze(lease.frame);
        // SAFETY: the lease is not used again and not dropped, so this moves the reference out.
        let arena = unsafe { std::ptr::read(&lease.arena) };
        Frozen { arena, frame: lease.frame, start: 0, len: lease.len }
    }

    pub(crate) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.arena.end_lease(self.frame);
    }
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let base = self.arena.frame(self.frame).as_ptr();
        // SAFETY: arena invariants 1 to 3; `len` is at most the frame's size (`set_len`).
        unsafe { std::slice::from_raw_parts(base, self.len as usize) }
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.len();
        &mut self.frame_mut()[..len]
    }
}

impl io::Write for Lease {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.fill(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The content is not printed: it may be secret.
        write!(f, "Lease(frame {}, {} of {} bytes)", self.frame, self.len, self.capacity())
    }
}

/// An immutable view of a frame or of a part of it. Clones are cheap and allocate nothing; the
/// frame goes home when the last view is dropped and the kernel has let go.
pub struct Frozen {
    arena: Arc<Arena>,
    frame: u32,
    start: u32,
    len: u32,
}

impl Frozen {
    /// A view of a part of this view.
    ///
    /// # Panics
    /// If the range reaches past the end.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last + 1,
            Bound::Excluded(&end) => end,
            Bound::Unbounded => self.len as usize,
        };
        assert!(start <= end && end <= self.len as usize, "the range reaches past the view");
        let mut part = self.clone();
        part.start += start as u32;
        part.len = (end - start) as u32;
        part
    }

    pub(crate) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }
}

impl Clone for Frozen {
    fn clone(&self) -> Self {
        self.arena.add_view(self.frame);
        Self { arena: self.arena.clone(), ..*self }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.arena.end_view(self.frame);
    }
}

impl Deref for Frozen {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let base = self.arena.frame(self.frame).as_ptr();
        // SAFETY: arena invariants 1 to 3; `start + len` is inside the frame (`slice`), and a
        // frozen frame has no writer until its last view is gone.
        unsafe { std::slice::from_raw_parts(base.add(self.start as usize), self.len as usize) }
    }
}

impl fmt::Debug for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frozen(frame {}, {}+{} bytes)", self.frame, self.start, self.len)
    }
}
