//! A message: one or more buffers that go out together, and where to.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use crate::buffer::Buffer;
use crate::buffers::Buffers;

/// What is handed to a [`Sender`](crate::Sender): on a datagram socket one datagram (or one train
/// of segments), on a stream a run of bytes.
///
/// ```
/// use sealift_io::Message;
///
/// let message = Message::from(&b"header"[..]).and(vec![0u8; 4096]).tagged(7);
/// assert_eq!(message.len(), 4102);
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct Message {
    pub(crate) buffers: Buffers,
    pub(crate) to: Option<SocketAddr>,
    pub(crate) segment_bytes: Option<NonZeroU16>,
    pub(crate) group: Option<Group>,
    pub(crate) tag: u64,
}

/// Names a release group of one sender; made by [`Sender::open_group`](crate::Sender::open_group).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Group(pub(crate) u64);

impl Message {
    /// A message of no buffers yet.
    #[inline]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a buffer behind the others.
    #[inline]
    pub fn and(mut self, buffer: impl Into<Buffer>) -> Self {
        self.buffers.push(buffer.into());
        self
    }

    /// Sends to `address`; for datagram sockets that are not connected.
    #[inline]
    pub fn to(mut self, address: SocketAddr) -> Self {
        self.to = Some(address);
        self
    }

    /// Cuts the message into datagrams of `segment_bytes` each (the last may be shorter), as one
    /// train: UDP generic segmentation offload, `UDP_SEGMENT` of `udp(7)`.
    #[inline]
    pub fn segmented(mut self, segment_bytes: NonZeroU16) -> Self {
        self.segment_bytes = Some(segment_bytes);
        self
    }

    /// Puts the message into a release group: its buffers come back with the whole group's.
    #[inline]
    pub fn in_group(mut self, group: Group) -> Self {
        self.group = Some(group);
        self
    }

    /// A number of the caller's own, returned in the completion.
    #[inline]
    pub fn tagged(mut self, tag: u64) -> Self {
        self.tag = tag;
        self
    }

    /// The caller's number; 0 if none was given.
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// The bytes of all buffers.
    pub fn len(&self) -> usize {
        (0..).map_while(|at| self.buffers.get(at)).map(Buffer::len).sum()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets go of the buffers; their memory is used again.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.buffers.clear();
    }

    /// The buffers, given back.
    pub fn into_buffers(self) -> Buffers {
        self.buffers
    }
}

impl<B: Into<Buffer>> From<B> for Message {
    #[inline]
    fn from(buffer: B) -> Self {
        let buffers = Buffers::one(buffer.into());
        Self { buffers, to: None, segment_bytes: None, group: None, tag: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages are moved several times on their way.
    #[test]
    fn a_message_stays_small() {
        assert!(size_of::<Message>() <= 208, "{}", size_of::<Message>());
    }
}
