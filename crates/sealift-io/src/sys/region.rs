//! The address and length of memory that the kernel is asked to read.

use crate::pool::Arena;

/// Memory for the kernel to read. Only buffers make one, and it is used only while the buffer is
/// held: by the send machine until the request that names it was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    base: *const u8,
    len: usize,
}

/// A stretch of a request's memory, and the arena that it lies in, if it does in one.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) region: Region,
    pub(crate) arena: Option<&'a Arena>,
}

impl Region {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { base: bytes.as_ptr(), len: bytes.len() }
    }

    pub(crate) fn new(base: *const u8, len: usize) -> Self {
        Self { base, len }
    }

    pub(crate) fn len(self) -> usize {
        self.len
    }

    pub(crate) fn base(self) -> *const u8 {
        self.base
    }

    /// `len` bytes from `start`; `None` if they are not inside.
    pub(crate) fn part(self, start: usize, len: usize) -> Option<Self> {
        (start.checked_add(len)? <= self.len)
            .then(|| Self { base: self.base.wrapping_add(start), len })
    }

    pub(super) fn io_vector(self) -> libc::iovec {
        // The kernel only reads; the C type has no constant form.
        libc::iovec { iov_base: self.base.cast_mut().cast(), iov_len: self.len }
    }
}
