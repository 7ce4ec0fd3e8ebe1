//! A job's units one by one, as an engine works on them: what is read, and where it goes.
//!
//! ```text
//!            sealed                                      opened
//!  from      text, in pieces                             ciphertext, in pieces; its tag beside it
//!              │                                           │
//!  into        ▼ text │ suffix, padding │ ► tag            ▼ text
//! ```
//!
//! In place there is nothing to read `from`: `into` holds it already. Suffix and padding are put in
//! their places here.

use std::ops::Range;

use smallvec::SmallVec;

use crate::job::{Direction, Source, Unit, put_suffix};
use crate::key::Nonce;
use crate::suite::TAG_BYTES;

/// Parts of a source, in order.
pub(crate) type Pieces<'job> = SmallVec<[&'job [u8]; 2]>;

/// One unit with its memory.
pub(crate) struct Message<'job> {
    pub(crate) nonce: Nonce,
    pub(crate) associated: &'job [u8],
    /// What is read for the front of `into`; without it, `into` is worked on where it lies.
    pub(crate) from: Pieces<'job>,
    /// Where the outcome goes, without the tag.
    pub(crate) into: &'job mut [u8],
    /// To seal: where the tag goes. To open: nothing.
    pub(crate) tag_into: &'job mut [u8],
    /// To open: the tag that came. To seal: zeros.
    pub(crate) tag: [u8; TAG_BYTES],
}

impl Message<'_> {
    /// The source, if it is one piece and all of what `into` is made from.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        match self.from[..] {
            [piece] if piece.len() == self.into.len() => Some(piece),
            _ => None,
        }
    }

    /// Copies what is read to the front of `into`, to be worked on there.
    pub(crate) fn gather(&mut self) {
        let mut at = 0;
        for piece in self.from.drain(..) {
            self.into[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
    }
}

/// The messages of a job, in order.
pub(crate) struct Messages<'job, S> {
    units: std::slice::Iter<'job, Unit>,
    direction: Direction,
    /// `None` in place.
    source: Option<&'job S>,
    /// What is left of the destination, from `at` on.
    rest: &'job mut [u8],
    at: usize,
}

impl<'job, S: Source> Messages<'job, S> {
    /// Of units that were checked against source and destination.
    pub(crate) fn new(
        units: &'job [Unit],
        direction: Direction,
        source: Option<&'job S>,
        destination: &'job mut [u8],
    ) -> Self {
        Self { units: units.iter(), direction, source, rest: destination, at: 0 }
    }

    /// The next part of the destination.
    #[inline]
    fn take(&mut self, range: Range<usize>) -> &'job mut [u8] {
        let rest = std::mem::take(&mut self.rest);
        let (own, rest) = rest[range.start - self.at..].split_at_mut(range.len());
        (self.rest, self.at) = (rest, range.end);
        own
    }
}

impl<'job, S: Source> Iterator for Messages<'job, S> {
    type Item = Message<'job>;

    #[inline(always)]
    fn next(&mut self) -> Option<Message<'job>> {
        let unit = self.units.next()?;
        let (from, to) = (unit.from(), unit.to(self.direction));
        let mut message = Message {
            nonce: unit.nonce(),
            associated: unit.associated(),
            from: Pieces::new(),
            into: &mut [],
            tag_into: &mut [],
            tag: [0; TAG_BYTES],
        };
        match self.direction {
            Direction::Seal => {
                let own = self.take(to);
                let (into, tag) = own.split_at_mut(own.len() - TAG_BYTES);
                put_suffix(unit, &mut into[from.len()..]);
                (message.into, message.tag_into) = (into, tag);
                if let Some(source) = self.source {
                    message.from = pieces(source, from);
                }
            }
            Direction::Open => {
                let tag = from.end - TAG_BYTES..from.end;
                message.into = self.take(to);
                match self.source {
                    Some(source) => {
                        message.from = pieces(source, from.start..tag.start);
                        let mut at = 0;
                        for piece in pieces(source, tag) {
                            message.tag[at..at + piece.len()].copy_from_slice(piece);
                            at += piece.len();
                        }
                    }
                    None => message.tag.copy_from_slice(self.take(tag)),
                }
            }
        }
        Some(message)
    }
}

/// A range of the source, as the pieces that hold it. Of an empty range, one empty piece.
#[inline]
fn pieces<S: Source>(source: &S, range: Range<usize>) -> Pieces<'_> {
    let (mut found, mut start) = (Pieces::new(), 0);
    if range.is_empty() {
        found.push(&[]);
        return found;
    }
    for piece in source.pieces() {
        let end = start + piece.len();
        if range.start < end && start < range.end {
            found.push(&piece[range.start.max(start) - start..range.end.min(end) - start]);
        }
        if range.end <= end {
            break;
        }
        start = end;
    }
    found
}
