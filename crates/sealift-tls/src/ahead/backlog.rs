//! Records as they were received, kept until they were judged.
//!
//! ```text
//!  chunk   │ judged │ in jobs │ whole records │ a part of one │ room │
//!                   start     begun           whole           filled
//! ```
//!
//! 1. A record stays as it came until it was judged: what was opened with a key that was not its
//!    own is opened again from here.
//! 2. A chunk is received into while nobody reads it. Otherwise the part of a record at its end
//!    moves on to another chunk.
//! 3. There are [`MOST_CHUNKS`] chunks, those that a late job still reads among them. Without a
//!    free one there is no room, and nothing is received.

use std::collections::VecDeque;
use std::iter::repeat_n;
use std::ops::Range;
use std::sync::Arc;

use crate::epoch::Layout;
use crate::error::{Error, Result};
use crate::record::{Header, MOST_RECORD_BYTES, whole_record};

/// The length of a chunk, in bytes.
pub(super) const CHUNK_BYTES: usize = 128 * 1024;
/// The chunks of a stream.
pub(super) const MOST_CHUNKS: usize = 4;

struct Chunk {
    bytes: Arc<[u8]>,
    start: usize,
    begun: usize,
    whole: usize,
    filled: usize,
}

pub(super) struct Backlog {
    layout: Layout,
    /// Oldest first; only the last has a part of a record at its end.
    chunks: VecDeque<Chunk>,
    /// Chunks that hold nothing. A late job may still read one.
    free: Vec<Arc<[u8]>>,
    /// What comes behind the whole records: a malformed one, or the connection's end.
    end: Option<Error>,
}

impl Chunk {
    fn new(bytes: Arc<[u8]>) -> Self {
        Self { bytes, start: 0, begun: 0, whole: 0, filled: 0 }
    }

    /// The length of the next whole record, if it is there and can be opened at all.
    fn next_whole(&self, layout: Layout) -> Result<Option<usize>> {
        let waiting = &self.bytes[self.whole..self.filled];
        let Some(header) = whole_record(waiting, layout.most_expansion_bytes())? else {
            return Ok(None);
        };
        layout.room_bytes(&header)?;
        Ok(Some(header.record_bytes()))
    }

    /// Makes room for the rest of the record at its end, if nobody reads it; says whether there is.
    fn make_room(&mut self) -> bool {
        let Some(bytes) = Arc::get_mut(&mut self.bytes) else { return false };
        let has_room = bytes.len() - self.whole >= MOST_RECORD_BYTES;
        if self.start < self.whole || has_room && self.whole < self.filled {
            return has_room;
        }
        bytes.copy_within(self.whole..self.filled, 0);
        let part = self.filled - self.whole;
        (self.start, self.begun, self.whole, self.filled) = (0, 0, 0, part);
        true
    }
}

impl Backlog {
    /// `received` came with the end of the handshake, behind it.
    pub(super) fn new(layout: Layout, received: &[u8]) -> Self {
        let mut backlog = Self {
            layout,
            chunks: VecDeque::with_capacity(MOST_CHUNKS),
            free: Vec::new(),
            end: None,
        };
        if !received.is_empty() {
            let len = received.len().max(CHUNK_BYTES);
            let rest = repeat_n(0, len - received.len());
            backlog.chunks.push_back(Chunk::new(received.iter().copied().chain(rest).collect()));
            backlog.received(received.len());
        }
        backlog
    }

    /// Where to receive to, if there is room.
    pub(super) fn room(&mut self) -> Option<&mut [u8]> {
        if self.end.is_some() || !self.has_room() && !self.add_chunk() {
            return None;
        }
        let last = self.chunks.back_mut()?;
        let filled = last.filled;
        Arc::get_mut(&mut last.bytes).map(|bytes| &mut bytes[filled..])
    }

    fn has_room(&mut self) -> bool {
        self.chunks.back_mut().is_some_and(Chunk::make_room)
    }

    /// Takes a free chunk, and moves the part of a record there.
    fn add_chunk(&mut self) -> bool {
        let is_free = |chunk: &mut Arc<[u8]>| Arc::get_mut(chunk).is_some();
        let mut next = match self.free.iter_mut().position(is_free) {
            Some(at) => self.free.swap_remove(at),
            None if self.free.len() + self.chunks.len() < MOST_CHUNKS => {
                repeat_n(0, CHUNK_BYTES).collect()
            }
            None => return false,
        };
        let mut part = 0;
        if let (Some(last), Some(into)) = (self.chunks.back_mut(), Arc::get_mut(&mut next)) {
            part = last.filled - last.whole;
            into[..part].copy_from_slice(&last.bytes[last.whole..last.filled]);
            last.filled = last.whole;
            if last.start == last.whole {
                self.free.extend(self.chunks.pop_back().map(|chunk| chunk.bytes));
            }
        }
        self.chunks.push_back(Chunk { filled: part, ..Chunk::new(next) });
        true
    }

    /// So many bytes were received there.
    pub(super) fn received(&mut self, count: usize) {
        let Some(last) = self.chunks.back_mut() else { return };
        last.filled += count;
        loop {
            match last.next_whole(self.layout) {
                Ok(Some(len)) => last.whole += len,
                Ok(None) => break,
                Err(error) => break self.ends(error),
            }
        }
    }

    /// Nothing comes behind what is there but this.
    pub(super) fn ends(&mut self, error: Error) {
        self.end.get_or_insert(error);
    }

    /// What comes behind the whole records.
    pub(super) fn end(&self) -> Option<&Error> {
        self.end.as_ref()
    }

    /// Whole records that no job was made of, as many as lie in one chunk.
    pub(super) fn unbegun(&self) -> Option<(&Arc<[u8]>, Range<usize>)> {
        let chunk = self.chunks.iter().find(|chunk| chunk.begun < chunk.whole)?;
        Some((&chunk.bytes, chunk.begun..chunk.whole))
    }

    /// A job was made of the first so many bytes of them.
    pub(super) fn began(&mut self, len: usize) {
        if let Some(chunk) = self.chunks.iter_mut().find(|chunk| chunk.begun < chunk.whole) {
            chunk.begun += len;
        }
    }

    /// No job was made of anything that was not judged.
    pub(super) fn rewind(&mut self) {
        self.chunks.iter_mut().for_each(|chunk| chunk.begun = chunk.start);
    }

    /// The first record that was not judged.
    pub(super) fn first(&self) -> Result<Option<Header>> {
        let Some(first) = self.chunks.front() else { return Ok(None) };
        let waiting = &first.bytes[first.start..first.whole];
        whole_record(waiting, self.layout.most_expansion_bytes())
    }

    /// The first record, which is so long, was judged.
    pub(super) fn judged(&mut self, record_bytes: usize) {
        let Some(first) = self.chunks.front_mut() else { return };
        first.start += record_bytes;
        let is_empty = first.start == first.whole;
        // The last one may have a part of a record, and is received into further.
        if is_empty && self.chunks.len() > 1 {
            self.free.extend(self.chunks.pop_front().map(|chunk| chunk.bytes));
        }
    }

    /// Whether a whole record is there that was not judged.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.iter().all(|chunk| chunk.start == chunk.whole)
    }

    /// Bytes that were received and not judged.
    pub(super) fn len_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.filled - chunk.start).sum()
    }
}
