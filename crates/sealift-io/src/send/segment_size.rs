//! The segment size of a UDP socket, as far as a sender changes it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::sys::socket;

/// What `UDP_SEGMENT` is set to on the socket, which others may hold a duplicate of: put back as it
/// was found once the sender and all its requests are over.
pub(crate) struct SegmentSize {
    socket: Arc<OwnedFd>,
    found: u16,
    now: u16,
}

impl SegmentSize {
    /// Makes sure that messages without a segment size are not cut.
    pub(super) fn cleared(socket: &Arc<OwnedFd>) -> Self {
        // A socket without this option cuts nothing.
        let found = socket::segment_bytes(socket.as_fd()).unwrap_or(0);
        let mut size = Self { socket: socket.clone(), found, now: found };
        size.set(0);
        size
    }

    /// The size in force; 0 for none.
    pub(super) fn now(&self) -> u16 {
        self.now
    }

    /// Changes it, if the kernel agrees.
    pub(super) fn set(&mut self, wanted: u16) {
        if wanted != self.now && socket::set_segment_bytes(self.socket.as_fd(), wanted).is_ok() {
            self.now = wanted;
        }
    }
}

impl Drop for SegmentSize {
    fn drop(&mut self) {
        self.set(self.found);
    }
}
