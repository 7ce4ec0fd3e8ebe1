//! Every message that was handed over: where its bytes are, who holds it, what became of it.

use super::super::completion::ByteCounts;
use super::super::machine::Machine;
use super::super::slots::Key;
use super::memory::{Content, Memory};

/// A buffer of a message, as it was handed over.
pub(super) struct Part {
    pub(super) address: usize,
    pub(super) content: Content,
    /// Where it begins in its message.
    pub(super) start: usize,
}

/// A message that was handed over, named by its tag.
#[derive(Default)]
pub(super) struct Parcel {
    pub(super) ticket: u64,
    pub(super) parts: Vec<Part>,
    pub(super) len: usize,
    /// Where it begins in the stream.
    pub(super) position: u64,
    /// Requests over it that the kernel has not let go of.
    pub(super) holds: u32,
    pub(super) accepted: u64,
    /// Times that it was accepted as a datagram.
    pub(super) departures: u32,
    /// What the kernel told about its bytes.
    pub(super) told: ByteCounts,
    pub(super) back: bool,
}

#[derive(Default)]
pub(super) struct Registry {
    pub(super) parcels: Vec<Parcel>,
    /// The length of the stream as far as it was handed over.
    stream_len: u64,
}

impl Registry {
    pub(super) fn parcel(&mut self, tag: u64) -> &mut Parcel {
        &mut self.parcels[tag as usize]
    }

    /// A message was accepted: it is the stream's next part.
    pub(super) fn hand_over(&mut self, mut parcel: Parcel) {
        parcel.position = self.stream_len;
        self.stream_len += parcel.len as u64;
        self.parcels.push(parcel);
    }
}

/// A part of a buffer in a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    message: Key,
    pub(super) tag: u64,
    buffer: usize,
    start: usize,
    pub(super) len: usize,
    address: usize,
}

/// The memory of a request, as the kernel was given it.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    pub(super) pieces: Vec<Piece>,
    pub(super) tags: Vec<u64>,
    pub(super) len: usize,
}

impl Load {
    /// What a backend would hand to the kernel for a request.
    pub(super) fn of(machine: &Machine, key: Key) -> Self {
        let request = machine.requests.get(key).expect("an open request");
        let mut load = Self::default();
        let view = machine.request(key).expect("an open request");
        let mut regions = view.parts().map(|part| part.region);
        for span in &request.spans {
            let message = machine.messages.get(span.message).expect("an open message").message();
            if load.tags.last() != Some(&message.tag) {
                load.tags.push(message.tag);
            }
            if message.buffers.is_empty() {
                continue;
            }
            let region = regions.next().expect("a region for each span");
            assert_eq!(region.len(), span.len);
            load.pieces.push(Piece {
                message: span.message,
                tag: message.tag,
                buffer: span.buffer as usize,
                start: span.start,
                len: span.len,
                address: region.base() as usize,
            });
            load.len += span.len;
        }
        assert!(regions.next().is_none(), "a region without a span");
        load
    }

    /// The pieces that bytes `from..from + count` of the request lie in.
    pub(super) fn cut(&self, from: usize, count: usize) -> impl Iterator<Item = Piece> + '_ {
        let mut before = 0;
        self.pieces.iter().filter_map(move |piece| {
            let first = from.max(before);
            let end = (from + count).min(before + piece.len);
            let skipped = first - before;
            before += piece.len;
            (first < end).then(|| Piece {
                start: piece.start + skipped,
                len: end - first,
                address: piece.address + skipped,
                ..*piece
            })
        })
    }
}

impl Piece {
    /// Where the piece begins in its message.
    pub(super) fn offset(&self, registry: &Registry) -> usize {
        registry.parcels[self.tag as usize].parts[self.buffer].start + self.start
    }

    /// The kernel reads the piece now, wherever the memory is meanwhile: what was handed over must
    /// still be there.
    pub(super) fn check(&self, machine: &Machine, memory: &Memory, registry: &Registry) {
        let part = &registry.parcels[self.tag as usize].parts[self.buffer];
        assert_eq!(self.address, part.address + self.start, "the request names other memory");
        let expected = &part.content.bytes()[self.start..][..self.len];
        let held = machine.messages.get(self.message).map(|pending| pending.message());
        let read = match held.filter(|message| message.tag == self.tag) {
            Some(message) => {
                let buffer = message.buffers.get(self.buffer).expect("its buffer");
                let bytes = buffer.as_slice().expect("no live memory");
                assert_eq!(bytes.as_ptr() as usize, part.address, "the buffer moved");
                Some(&bytes[self.start..][..self.len])
            }
            None => memory.at_home(self.address, self.len),
        };
        assert!(
            read == Some(expected),
            "corrupted: the kernel read other bytes than message {} held, at {} for {}",
            self.tag,
            self.start,
            self.len
        );
    }
}
