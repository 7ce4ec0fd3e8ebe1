//! Buffers with one owner: an arena mapped once, cut into frames, lent out as leases.
//!
//! ```text
//!  Pool ──lease──► Lease ──freeze──► Frozen ─clone, slice─► Frozen …
//!   ▲                │ drop             │ last one dropped     │
//!   └────────────────┴──────────────────┴──────────────────────┘
//! ```
//!
//! A pool never grows: an empty pool is back-pressure. The invariants are in `arena.rs`.

mod arena;
mod free_list;
mod lease;
mod live;

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::sys::mapping::Mapping;

pub(crate) use arena::Arena;
pub use lease::{Frozen, Lease};
pub use live::{LiveRegion, SharedMemory};

pub use crate::sys::mapping::Pages;

/// What to build a [`Pool`] from.
#[derive(Clone, Debug)]
pub struct PoolBuilder {
    frames: usize,
    frame_bytes: usize,
    huge_pages: bool,
}

impl PoolBuilder {
    /// How many frames; 64 unless said. All are mapped and touched at once.
    pub fn frames(mut self, frames: usize) -> Self {
        self.frames = frames;
        self
    }

    /// The size of a frame; 64 KiB unless said. Rounded up to a multiple of 64 bytes.
    pub fn frame_bytes(mut self, frame_bytes: usize) -> Self {
        self.frame_bytes = frame_bytes;
        self
    }

    /// Whether to ask for huge pages first; yes unless said.
    pub fn huge_pages(mut self, ask: bool) -> Self {
        self.huge_pages = ask;
        self
    }

    /// Maps the arena.
    ///
    /// # Errors
    /// [`Error::Caller`] for a size of zero or beyond 2^31 frames or 1 GiB a frame;
    /// [`Error::System`] if the kernel has no memory for it.
    pub fn build(self) -> Result<Pool> {
        if self.frames == 0 || self.frame_bytes == 0 {
            return Err(Error::Caller { what: "a pool needs at least one frame of one byte" });
        }
        if self.frame_bytes > 1 << 30 || self.frames > 1 << 31 {
            return Err(Error::Caller { what: "a frame is at most 1 GiB, a pool 2^31 frames" });
        }
        let frame_bytes = self.frame_bytes.next_multiple_of(64);
        let Some(len_bytes) = self.frames.checked_mul(frame_bytes) else {
            return Err(Error::Caller { what: "the pool is larger than the address space" });
        };
        let mapping = Mapping::anonymous(len_bytes, self.huge_pages)?;
        let arena = Arena::new(mapping, self.frames as u32, frame_bytes as u32);
        Ok(Pool { arena: Arc::new(arena) })
    }
}

/// A fixed number of equal frames in one mapping. Clones share it.
#[derive(Clone)]
pub struct Pool {
    arena: Arc<Arena>,
}

impl Pool {
    /// A builder with 64 frames of 64 KiB and huge pages if they can be had.
    pub fn builder() -> PoolBuilder {
        PoolBuilder { frames: 64, frame_bytes: 64 * 1024, huge_pages: true }
    }

    /// A free frame, or `None` when all are out: take completions, then ask again.
    pub fn try_lease(&self) -> Option<Lease> {
        self.arena.take().map(|frame| Lease::new(self.arena.clone(), frame))
    }

    /// A free frame, waiting for one to come home from another thread until `deadline`.
    ///
    /// # Errors
    /// [`Error::Full`] at the deadline.
    pub fn lease_before(&self, deadline: Instant) -> Result<Lease> {
        match self.arena.take_before(deadline) {
            Some(frame) => Ok(Lease::new(self.arena.clone(), frame)),
            None => Err(Error::Full),
        }
    }

    /// How many frames are at home, which others may take at any moment.
    pub fn free_frames(&self) -> usize {
        (self.arena.frames() as usize).saturating_sub(self.arena.leased().0)
    }

    /// What the pool holds and how much of it is out.
    pub fn stats(&self) -> PoolStats {
        let (leased, leased_high) = self.arena.leased();
        PoolStats {
            frames: self.arena.frames() as usize,
            frame_bytes: self.arena.frame_bytes() as usize,
            leased,
            leased_high,
            pages: self.arena.pages().clone(),
        }
    }

    pub(crate) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({:?})", self.stats())
    }
}

/// The figures of a [`Pool`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PoolStats {
    /// Frames in the pool.
    pub frames: usize,
    /// Bytes in a frame.
    pub frame_bytes: usize,
    /// Frames that are out: leased, frozen, or in the kernel's hands.
    pub leased: usize,
    /// The most that were ever out at once.
    pub leased_high: usize,
    /// What the arena is made of.
    pub pages: Pages,
}

#[cfg(all(test, not(loom)))]
mod tests;
