//! The frames that are at home: a lock-free stack of frame numbers.
//!
//! Invariants:
//! 1. A frame number is on the list at most once; whoever popped it owns the frame until it pushes
//!    it back. All exclusive access to a frame's memory rests on this.
//! 2. The head carries a tag that grows with every change, so a pop that slept between reading the
//!    head and exchanging it fails instead of installing a stale successor (the ABA problem).

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Marks the end of the list; a pool never has this many frames.
const END: u32 = u32::MAX;

pub(crate) struct FreeList {
    /// Tag in the upper half, frame number in the lower.
    head: AtomicU64,
    /// The successor of each frame on the list.
    next: Box<[AtomicU32]>,
}

fn pack(tag: u32, frame: u32) -> u64 {
    (u64::from(tag) << 32) | u64::from(frame)
}

fn unpack(head: u64) -> (u32, u32) {
    ((head >> 32) as u32, head as u32)
}

impl FreeList {
    /// A list with the frames `0..frames` on it, the lowest on top.
    pub(crate) fn full(frames: u32) -> Self {
        let next = (1..=frames)
            .map(|successor| AtomicU32::new(if successor == frames { END } else { successor }))
            .collect();
        Self { head: AtomicU64::new(pack(0, if frames == 0 { END } else { 0 })), next }
    }

    /// Takes a frame, or `None` when all are out.
    pub(crate) fn pop(&self) -> Option<u32> {
        // Acquire: pairs with the release in `push`, so that what the last owner wrote to the frame
        // happened before the new owner's first access.
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let (tag, frame) = unpack(head);
            if frame == END {
                return None;
            }
            // May be stale if another thread took the frame meanwhile; the tag then differs.
            let successor = self.next[frame as usize].load(Ordering::Relaxed);
            let replacement = pack(tag.wrapping_add(1), successor);
            match self.head.compare_exchange_weak(
                head,
                replacement,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(frame),
                Err(now) => head = now,
            }
        }
    }

    /// Puts a frame back that an earlier `pop` took.
    pub(crate) fn push(&self, frame: u32) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let (tag, top) = unpack(head);
            self.next[frame as usize].store(top, Ordering::Relaxed);
            // Release: publishes this owner's accesses to the frame, and the store to `next`.
            match self.head.compare_exchange_weak(
                head,
                pack(tag.wrapping_add(1), frame),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_frame_comes_out_once() {
        let list = FreeList::full(5);
        let out: HashSet<u32> = std::iter::from_fn(|| list.pop()).collect();
        assert_eq!(out, (0..5).collect());
        list.push(3);
        assert_eq!(list.pop(), Some(3));
        assert_eq!(list.pop(), None);
    }

    #[test]
    fn an_empty_list_is_empty() {
        assert_eq!(FreeList::full(0).pop(), None);
    }

    #[test]
    fn threads_never_hold_the_same_frame() {
        let list = FreeList::full(3);
        let held: Vec<AtomicU32> = (0..3).map(|_| AtomicU32::new(0)).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if let Some(frame) = list.pop() {
                            assert_eq!(held[frame as usize].swap(1, Ordering::Relaxed), 0);
                            held[frame as usize].store(0, Ordering::Relaxed);
                            list.push(frame);
                        }
                    }
                });
            }
        });
        assert_eq!(std::iter::from_fn(|| list.pop()).count(), 3);
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    /// Two threads pop, write the frame's memory and push; loom reports any access that races.
    #[test]
    fn loom_a_frame_has_one_owner() {
        loom::model(|| {
            let list = Arc::new(FreeList::full(2));
            let memory = Arc::new([UnsafeCell::new(0u32), UnsafeCell::new(0u32)]);
            let worker = |list: Arc<FreeList>, memory: Arc<[UnsafeCell<u32>; 2]>| {
                for _ in 0..2 {
                    if let Some(frame) = list.pop() {
                        // SAFETY: invariant 1 of this module; loom checks it.
                        memory[frame as usize].with_mut(|cell| unsafe { *cell += 1 });
                        list.push(frame);
                    }
                }
            };
            let (other_list, other_memory) = (list.clone(), memory.clone());
            let other = loom::thread::spawn(move || worker(other_list, other_memory));
            worker(list.clone(), memory.clone());
            other.join().unwrap();
            let (a, b) = (list.pop(), list.pop());
            assert!(a.is_some() && b.is_some() && a != b && list.pop().is_none());
        });
    }
}
