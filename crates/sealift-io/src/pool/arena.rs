//! One mapping, cut into frames. The mapping lives as long as anything refers to it.
//!
//! Invariants (the `SAFETY` comments of this folder name them):
//! 1. `base` is valid for reads and writes of `frames × stride` bytes until the arena is dropped,
//!    and the bytes were initialised (to zero) when it was mapped.
//! 2. A frame off the free list is owned either by one `Lease` (exclusive) or by `Frozen` views
//!    (shared, read-only), counted in `views`; it goes back when the lease is dropped or the last
//!    view is.
//! 3. Frames do not overlap.

use std::ptr::NonNull;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use crate::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};
use crate::sys::mapping::{Mapping, Pages};

use super::free_list::FreeList;

pub(crate) struct Arena {
    mapping: Mapping,
    frames: u32,
    frame_bytes: u32,
    free: FreeList,
    /// How many `Frozen` views of each frame are alive.
    views: Box<[AtomicU32]>,
    leased: AtomicUsize,
    leased_high: AtomicUsize,
    /// Threads inside [`Arena::take_before`]; only then does a return cost a lock.
    waiting: AtomicUsize,
    returned: Condvar,
    gate: Mutex<()>,
}

impl Arena {
    pub(super) fn new(mapping: Mapping, frames: u32, frame_bytes: u32) -> Self {
        assert!(mapping.len() >= frames as usize * frame_bytes as usize);
        Self {
            mapping,
            frames,
            frame_bytes,
            free: FreeList::full(frames),
            views: (0..frames).map(|_| AtomicU32::new(0)).collect(),
            leased: AtomicUsize::new(0),
            leased_high: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            returned: Condvar::new(),
            gate: Mutex::new(()),
        }
    }

    pub(crate) fn frames(&self) -> u32 {
        self.frames
    }

    pub(crate) fn frame_bytes(&self) -> u32 {
        self.frame_bytes
    }

    pub(crate) fn pages(&self) -> &Pages {
        self.mapping.pages()
    }

    pub(super) fn leased(&self) -> (usize, usize) {
        (self.leased.load(Ordering::Relaxed), self.leased_high.load(Ordering::Relaxed))
    }

    /// The first byte and the length of all frames, for registration with the kernel.
    pub(crate) fn extent(&self) -> (*const u8, usize) {
        (self.mapping.base().as_ptr(), self.frames as usize * self.frame_bytes as usize)
    }

    /// The first byte of a frame.
    pub(super) fn frame(&self, frame: u32) -> NonNull<u8> {
        assert!(frame < self.frames);
        // SAFETY: invariant 1; `frame` is below `frames`, so the offset is inside the mapping.
        unsafe { self.mapping.base().add(frame as usize * self.frame_bytes as usize) }
    }

    pub(super) fn take(&self) -> Option<u32> {
        let frame = self.free.pop()?;
        let leased = self.leased.fetch_add(1, Ordering::Relaxed) + 1;
        self.leased_high.fetch_max(leased, Ordering::Relaxed);
        Some(frame)
    }

    /// Waits until a frame comes home, at most until `deadline`.
    pub(super) fn take_before(&self, deadline: Instant) -> Option<u32> {
        if let Some(frame) = self.take() {
            return Some(frame);
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        // Either this thread's pop below sees the frame that a concurrent `put` pushed, or that
        // `put` sees `waiting` and notifies: the two fences order the two pairs of accesses.
        fence(Ordering::SeqCst);
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = loop {
            if let Some(frame) = self.take() {
                break Some(frame);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break None;
            }
            (gate, _) =
                self.returned.wait_timeout(gate, left).unwrap_or_else(PoisonError::into_inner);
        };
        drop(gate);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        frame
    }

    fn put(&self, frame: u32) {
        self.leased.fetch_sub(1, Ordering::Relaxed);
        self.free.push(frame);
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            // The lock closes the gap between a waiter's failed pop and its wait.
            let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            self.returned.notify_one();
        }
    }

    /// A lease gives its frame back.
    pub(super) fn end_lease(&self, frame: u32) {
        self.put(frame);
    }

    /// A lease turns into the first view of its frame.
    pub(super) fn freeze(&self, frame: u32) {
        self.views[frame as usize].store(1, Ordering::Relaxed);
    }

    pub(super) fn add_view(&self, frame: u32) {
        // Relaxed: whoever clones a view holds one, so the frame cannot go home meanwhile.
        let before = self.views[frame as usize].fetch_add(1, Ordering::Relaxed);
        assert!(before < u32::MAX / 2, "too many views of one frame");
    }

    pub(super) fn end_view(&self, frame: u32) {
        // Release, then acquire on the last one: every reader's accesses happen before the frame
        // is handed to its next owner (as in std's Arc).
        if self.views[frame as usize].fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            self.put(frame);
        }
    }
}
