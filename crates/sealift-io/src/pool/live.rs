//! Memory that may change while the kernel reads it: guest RAM, or memory shared with another
//! process. It is never turned into a Rust reference.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::sys::mapping::{Mapping, sealed_memfd, shrink_sealed_len};

/// A region of memory that somebody may write while it is being sent.
///
/// What the peer sees of bytes written meanwhile is unspecified, byte by byte: the old value or
/// the new. A stream that retransmits may even send the old value first and the new one later,
/// so the peer can only rely on a byte once it was sent again after its last change (as live
/// migration does with its dirty bitmap).
#[derive(Clone)]
pub struct LiveRegion {
    base: *const u8,
    len: usize,
    /// Keeps the memory mapped. Twice indirect, so that a region is three words.
    owner: Arc<Owner>,
}

type Owner = Box<dyn Any + Send + Sync>;

// SAFETY: the region is only ever read by the kernel, or by the relaxed atomic loads of `read`; the
// owner, which keeps it mapped, is Send and Sync itself.
unsafe impl Send for LiveRegion {}
// SAFETY: as for `Send`; no method hands out a reference into the region.
unsafe impl Sync for LiveRegion {}

impl LiveRegion {
    /// A region of `len_bytes` bytes at `base`, kept alive by `owner`.
    ///
    /// # Safety
    /// Until `owner` (and every clone of it that this region makes) is dropped, the bytes must stay
    /// mapped and readable: not unmapped, not truncated below (a file or memfd), not protected.
    /// They may be written at any time by anyone, also while the kernel reads them; the caller
    /// accepts that the peer then sees any mixture of old and new bytes.
    pub unsafe fn new(
        base: *const u8,
        len_bytes: usize,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self { base, len: len_bytes, owner: Arc::new(Box::new(owner)) }
    }

    /// The region's length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the region has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A part of the region.
    ///
    /// # Panics
    /// If the range reaches past the end.
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "the range is out of the region"
        );
        // SAFETY: the offset is inside the region, which `new`'s contract keeps mapped.
        let base = unsafe { self.base.add(range.start) };
        Self { base, len: range.end - range.start, owner: self.owner.clone() }
    }

    /// The first byte, for the kernel only.
    pub(crate) fn base(&self) -> *const u8 {
        self.base
    }
}

impl fmt::Debug for LiveRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LiveRegion({} bytes)", self.len)
    }
}

/// Anonymous memory that several processes can map (a memfd), readable and writable through
/// copies, and sendable as [`LiveRegion`]s.
#[derive(Clone)]
pub struct SharedMemory {
    mapping: Arc<Mapping>,
    file: Arc<OwnedFd>,
}

impl SharedMemory {
    /// New zeroed memory. Its file is sealed against shrinking, so no process that it is given to
    /// can take pages away under a send.
    ///
    /// # Errors
    /// [`Error::System`] if the kernel has no memory for it; [`Error::Caller`] for zero bytes.
    pub fn create(len_bytes: usize) -> Result<Self> {
        let file = sealed_memfd(len_bytes)?;
        let mapping = Mapping::shared(&file, len_bytes)?;
        Ok(Self { mapping: Arc::new(mapping), file: Arc::new(file) })
    }

    /// Maps memory that another process made.
    ///
    /// # Errors
    /// [`Error::Caller`] if the file is not sealed against shrinking (`F_SEAL_SHRINK`): a peer
    /// could truncate it and so crash this process.
    pub fn open(file: OwnedFd) -> Result<Self> {
        let len_bytes = shrink_sealed_len(&file)?;
        let mapping = Mapping::shared(&file, len_bytes)?;
        Ok(Self { mapping: Arc::new(mapping), file: Arc::new(file) })
    }

    /// The file to hand to another process.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.mapping.len()
    }

    /// Whether there are no bytes; never true.
    pub fn is_empty(&self) -> bool {
        self.mapping.len() == 0
    }

    /// A part of the memory as a region that can be sent.
    ///
    /// # Panics
    /// If the range reaches past the end.
    pub fn region(&self, range: Range<usize>) -> LiveRegion {
        let all = LiveRegion {
            base: self.mapping.base().as_ptr(),
            len: self.mapping.len(),
            owner: Arc::new(Box::new(self.mapping.clone())),
        };
        all.slice(range)
    }

    /// Writes `bytes` at `offset`. Others may read or write the same bytes at the same time.
    ///
    /// # Errors
    /// [`Error::Caller`] if the bytes reach past the end.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        self.check(offset, bytes.len())?;
        let mut at = 0;
        while at < bytes.len() {
            if let (0, Some(word)) = ((offset + at) % 8, bytes[at..].first_chunk::<8>()) {
                self.word(offset + at).store(u64::from_ne_bytes(*word), Ordering::Relaxed);
                at += 8;
            } else {
                self.byte(offset + at).store(bytes[at], Ordering::Relaxed);
                at += 1;
            }
        }
        Ok(())
    }

    /// Reads from `offset` into `into`. Others may write the same bytes at the same time.
    ///
    /// # Errors
    /// [`Error::Caller`] if the bytes reach past the end.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        self.check(offset, into.len())?;
        let mut at = 0;
        while at < into.len() {
            if let (0, Some(word)) = ((offset + at) % 8, into[at..].first_chunk_mut::<8>()) {
                *word = self.word(offset + at).load(Ordering::Relaxed).to_ne_bytes();
                at += 8;
            } else {
                into[at] = self.byte(offset + at).load(Ordering::Relaxed);
                at += 1;
            }
        }
        Ok(())
    }

    fn check(&self, offset: usize, len: usize) -> Result<()> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len() => Ok(()),
            _ => Err(Error::Caller { what: "the bytes reach past the end of the shared memory" }),
        }
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len());
        // SAFETY: inside the mapping (asserted), aligned (the mapping is page-aligned and the
        // offset a multiple of eight), and every access in this process is atomic.
        unsafe { AtomicU64::from_ptr(self.mapping.base().as_ptr().add(offset).cast()) }
    }

    fn byte(&self, offset: usize) -> &AtomicU8 {
        assert!(offset < self.len());
        // SAFETY: inside the mapping (asserted); every access in this process is atomic.
        unsafe { AtomicU8::from_ptr(self.mapping.base().as_ptr().add(offset)) }
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedMemory({} bytes)", self.len())
    }
}
