//! What was received and not read yet: bytes in; data, messages and decisions out. No socket here.
//!
//! ```text
//!  bytes   │ read │ staged │ records │ a part of one │ room │
//!                     │          │
//!                     │ copy     │ open, if the whole record fits
//!                     ▼          ▼
//!                 the caller's memory
//! ```
//!
//! 1. A record that fits is opened straight into the caller's memory. One that does not is opened
//!    where it lies, and copied out from there: `staged`.
//! 2. Records are opened one by one, in order, and each with the key that its predecessor left:
//!    none is opened ahead of a KeyUpdate.
//! 3. Room is held while something lies in it, or is about to.

use std::ops::Range;

use zeroize::{Zeroize, Zeroizing};

use crate::control::Control;
use crate::epoch::Epoch;
use crate::error::Result;
use crate::opening::Opening;
use crate::post_handshake::Side;
use crate::record::{ContentType, MOST_RECORD_BYTES, whole_record};
use crate::room::Room;

/// What came of the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many bytes, at least one, are in the caller's memory now.
    Data(usize),
    /// More bytes are needed.
    Starved,
    /// Results of an engine are needed.
    Working,
    /// The peer's close_notify: there is no more.
    Ended,
    /// The peer's next key is to be given to [`Inflow::rotate`].
    KeyUpdate {
        /// The peer wants ours updated, too.
        is_requested: bool,
    },
    /// A ticket to resume with.
    Ticket(Zeroizing<Vec<u8>>),
    /// The peer asks for another handshake, and is to be refused.
    Renegotiation,
}

/// What was opened, counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) direct_records: u64,
    pub(crate) staged_bytes: u64,
    pub(crate) key_updates: u64,
    /// Opened ahead of a KeyUpdate, with the key before it, and once more with their own.
    pub(crate) reopened_records: u64,
    /// With all that records add, unless the kernel opens.
    pub(crate) received_bytes: u64,
}

/// Received bytes on their way to the reader.
pub(crate) struct Inflow {
    bytes: Room,
    /// Received and not opened.
    sealed: Range<usize>,
    /// Opened in place and not copied out.
    staged: Range<usize>,
    opening: Opening,
    control: Control,
    pub(crate) counts: Counts,
}

impl Inflow {
    /// `received` came with the end of the handshake, behind it.
    pub(crate) fn new(side: Side, opening: Opening, received: &[u8]) -> Self {
        let mut bytes = Room::default();
        if !received.is_empty() {
            bytes = Room::take();
            bytes[..received.len()].copy_from_slice(received);
        }
        let control = Control::new(side, opening.is_tls13());
        Self {
            bytes,
            sealed: 0..received.len(),
            staged: 0..0,
            opening,
            control,
            counts: Counts { received_bytes: received.len() as u64, ..Counts::default() },
        }
    }

    /// Where to receive to; ask when [`Step::Starved`].
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = Room::take();
        }
        if self.sealed.is_empty() {
            self.sealed = 0..0;
        } else if self.bytes.len() - self.sealed.start < MOST_RECORD_BYTES {
            self.bytes.copy_within(self.sealed.clone(), 0);
            self.sealed = 0..self.sealed.len();
        }
        &mut self.bytes[self.sealed.end..]
    }

    /// Gives the room back, unless something lies in it.
    pub(crate) fn rest(&mut self) {
        if self.sealed.is_empty() && self.staged.is_empty() {
            (self.sealed, self.staged) = (0..0, 0..0);
            self.bytes = Room::default();
        }
    }

    /// More than there is to read of what was received, but not by much; 0 if that is nothing.
    #[cfg(feature = "tokio")]
    pub(crate) fn at_hand_bytes(&self) -> usize {
        self.sealed.len() + self.staged.len()
    }

    /// So many bytes were received there.
    pub(crate) fn received(&mut self, count: usize) {
        self.sealed.end += count;
        self.counts.received_bytes += count as u64;
    }

    /// See [`Control::forgive`].
    pub(crate) fn forgive(&mut self) {
        self.control.forgive();
    }

    /// Opens with this key from now on.
    pub(crate) fn rotate(&mut self, epoch: Epoch) {
        self.opening.rotate(epoch);
        self.counts.key_updates += 1;
    }

    /// Goes one step on. `into` is not empty, and what is behind the data in it is of no use.
    pub(crate) fn step(&mut self, into: &mut [u8]) -> Result<Step> {
        loop {
            if !self.staged.is_empty() {
                return Ok(Step::Data(self.copy_out(into)));
            }
            if let Some(step) = self.control.next_message()? {
                return Ok(step);
            }
            let at = self.sealed.start;
            let waiting = &self.bytes[self.sealed.clone()];
            let Some(header) = whole_record(waiting, self.opening.most_expansion_bytes())? else {
                return Ok(Step::Starved);
            };
            let room = self.opening.room_bytes(&header)?;
            let record = &mut self.bytes[at..at + header.record_bytes()];
            self.sealed.start += record.len();
            let step = if header.content == ContentType::ApplicationData && room <= into.len() {
                let into = &mut into[..room];
                let opened = self.opening.open_apart(&header, record, into)?;
                let content = &into[..opened.len_bytes];
                let step = self.control.take(opened, content);
                match opened.content {
                    ContentType::ApplicationData => self.counts.direct_records += 1,
                    // A secret, perhaps.
                    _ => into.zeroize(),
                }
                step?
            } else {
                let (opened, text) = self.opening.open_in_place(&header, record)?;
                let step = self.control.take(opened, &record[text.clone()]);
                if opened.content != ContentType::ApplicationData {
                    // A secret, perhaps, and the room is another stream's next.
                    record[text.clone()].zeroize();
                }
                let step = step?;
                if let Some(Step::Data(_)) = step {
                    self.staged = at + text.start..at + text.end;
                    self.count(text.len());
                    continue;
                }
                step
            };
            match step {
                Some(Step::Data(len)) => {
                    self.count(len);
                    return Ok(Step::Data(len));
                }
                Some(step) => return Ok(step),
                None => {}
            }
        }
    }

    fn count(&mut self, len_bytes: usize) {
        self.counts.records += 1;
        self.counts.bytes += len_bytes as u64;
    }

    fn copy_out(&mut self, into: &mut [u8]) -> usize {
        let count = into.len().min(self.staged.len());
        let from = self.staged.start..self.staged.start + count;
        into[..count].copy_from_slice(&self.bytes[from]);
        self.staged.start += count;
        self.counts.staged_bytes += count as u64;
        count
    }
}

#[cfg(test)]
mod tests;
