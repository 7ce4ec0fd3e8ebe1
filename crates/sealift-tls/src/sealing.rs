//! The way out of plaintext: records sealed from the caller's memory into the memory they leave
//! from.
//!
//! ```text
//!  plaintext (the caller's)         ┌──────────── seal ───────────┐
//!                                   ▼                             ▼
//!  into (a lease)          header │ explicit nonce │ ciphertext │ tag
//! ```
//! What is padded (RFC 8446 section 5.4) is put where its record goes, zeros behind it, and sealed
//! there.

use std::ops::Range;

use sealift_crypto::{Key, Unit};

use crate::epoch::{Epoch, Layout, associated_tls12};
use crate::error::{Error, Result};
use crate::record::{ContentType, HEADER_BYTES, Header, MOST_PLAINTEXT_BYTES};

/// Seals that are kept back for the messages that end a key, or the connection: a KeyUpdate, an
/// alert, close_notify.
pub(crate) const KEPT_BACK: u64 = 4;

/// Seals the records of one direction.
pub(crate) struct Sealing {
    epoch: Epoch,
    /// What a record's content is padded to a multiple of; 1 is no padding, as in TLS 1.2.
    pad_to_bytes: usize,
}

impl Sealing {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self { epoch, pad_to_bytes: 1 }
    }

    /// Pads every record to a multiple of so many bytes, of any key; 1 does not.
    ///
    /// # Errors
    /// [`Error::Caller`] if the version has no padding.
    pub(crate) fn pad_to(&mut self, pad_to_bytes: usize) -> Result<()> {
        if pad_to_bytes > 1 && !self.layout().is_tls13() {
            return Err(Error::Caller { what: "only TLS 1.3 can pad records" });
        }
        self.pad_to_bytes = pad_to_bytes;
        Ok(())
    }

    /// Seals with this key from now on.
    pub(crate) fn rotate(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    pub(crate) fn layout(&self) -> Layout {
        self.epoch.layout
    }

    /// The key that seals now; jobs hold it as long as they need it.
    pub(crate) fn key(&self) -> &Key {
        &self.epoch.key
    }

    /// Whether the key has to be replaced before more data is sealed.
    pub(crate) fn is_spent(&self) -> bool {
        !self.may_seal_behind(0)
    }

    /// Whether the key may seal a record of data behind `planned` ones that it has not counted.
    pub(crate) fn may_seal_behind(&self, planned: usize) -> bool {
        self.epoch.seals_left() > KEPT_BACK + planned as u64
    }

    /// The length of a record of `plaintext_bytes`.
    pub(crate) fn record_bytes(&self, plaintext_bytes: usize) -> usize {
        let padding_bytes = self.padding_bytes(plaintext_bytes);
        plaintext_bytes + padding_bytes + self.epoch.layout.overhead_bytes()
    }

    /// The zeros behind `plaintext_bytes` of a record.
    pub(crate) fn padding_bytes(&self, plaintext_bytes: usize) -> usize {
        let padded = plaintext_bytes.next_multiple_of(self.pad_to_bytes).min(MOST_PLAINTEXT_BYTES);
        padded.saturating_sub(plaintext_bytes)
    }

    /// The most plaintext of a record that has `room_bytes`, overhead included.
    pub(crate) fn most_plaintext_bytes(&self, room_bytes: usize) -> usize {
        let room = room_bytes.saturating_sub(self.epoch.layout.overhead_bytes());
        match room < MOST_PLAINTEXT_BYTES {
            true => room - room % self.pad_to_bytes,
            false => MOST_PLAINTEXT_BYTES,
        }
    }

    /// Seals one record into the front of `into` and says how long it is. `plaintext` is at most a
    /// record's, and `into` has room for it.
    pub(crate) fn seal(
        &mut self,
        content: ContentType,
        plaintext: &[u8],
        into: &mut [u8],
    ) -> Result<usize> {
        if self.padding_bytes(plaintext.len()) > 0 {
            into[self.text_range(plaintext.len())].copy_from_slice(plaintext);
            return self.seal_there(content, plaintext.len(), into);
        }
        let record = self.begin(content, plaintext.len(), into)?;
        let (associated, into) = record.parts(into);
        self.epoch.key.seal(record.nonce, associated, plaintext, record.suffix(), into)?;
        Ok(record.len_bytes)
    }

    /// As [`seal`](Sealing::seal), of application data in several pieces: they are put together
    /// where the record goes, and sealed there.
    pub(crate) fn seal_gathered<'p>(
        &mut self,
        pieces: impl Iterator<Item = &'p [u8]>,
        plaintext_bytes: usize,
        into: &mut [u8],
    ) -> Result<usize> {
        let mut filled = self.text_range(0).start;
        for piece in pieces {
            into[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
        }
        self.seal_placed(plaintext_bytes, into)
    }

    /// Where in a record its plaintext lies.
    pub(crate) fn text_range(&self, plaintext_bytes: usize) -> Range<usize> {
        let start = HEADER_BYTES + self.epoch.layout.explicit_bytes();
        start..start + plaintext_bytes
    }

    /// Seals application data that lies at its [`text_range`](Sealing::text_range) of `into`
    /// already.
    pub(crate) fn seal_placed(&mut self, plaintext_bytes: usize, into: &mut [u8]) -> Result<usize> {
        self.seal_there(ContentType::ApplicationData, plaintext_bytes, into)
    }

    fn seal_there(
        &mut self,
        content: ContentType,
        plaintext_bytes: usize,
        into: &mut [u8],
    ) -> Result<usize> {
        let record = self.begin(content, plaintext_bytes, into)?;
        let (associated, into) = record.parts(into);
        let (suffix, padding_bytes) = (record.suffix(), self.padding_bytes(plaintext_bytes));
        let (_, behind) = into.split_at_mut(plaintext_bytes);
        behind[..suffix.len()].copy_from_slice(suffix);
        behind[suffix.len()..suffix.len() + padding_bytes].fill(0);
        self.epoch.key.seal_in_place(record.nonce, associated, into)?;
        Ok(record.len_bytes)
    }

    /// Makes the next record of application data a unit of a job: its plaintext lies at `from` of
    /// the source, and its record begins at `at` of `into`, where what comes before the ciphertext
    /// is written now. The job counts it.
    pub(crate) fn lay_out(
        &mut self,
        from: Range<usize>,
        into: &mut [u8],
        at: usize,
    ) -> Result<Unit> {
        let padding_bytes = self.padding_bytes(from.len());
        let record = self.begin(ContentType::ApplicationData, from.len(), &mut into[at..])?;
        let unit = Unit::new(record.nonce, from, at + record.text_at).with(record.associated());
        Ok(match record.suffix() {
            [content] => unit.ending(*content, padding_bytes as u16),
            _ => unit,
        })
    }

    /// Writes what comes before the ciphertext.
    fn begin(
        &mut self,
        content: ContentType,
        plaintext_bytes: usize,
        into: &mut [u8],
    ) -> Result<Record> {
        let layout = self.epoch.layout;
        let number = self.epoch.take_number()?;
        let nonce = self.epoch.nonce(number);
        let len_bytes = self.record_bytes(plaintext_bytes);
        let outer = if layout.is_tls13() { ContentType::ApplicationData } else { content };
        let header = Header::encode(outer, len_bytes - HEADER_BYTES);
        into[..HEADER_BYTES].copy_from_slice(&header);
        let text_at = HEADER_BYTES + layout.explicit_bytes();
        into[HEADER_BYTES..text_at]
            .copy_from_slice(&nonce.0[nonce.0.len() - layout.explicit_bytes()..]);
        let associated = associated_tls12(number, &header, plaintext_bytes);
        Ok(Record {
            nonce,
            associated,
            header,
            layout,
            content: [content as u8],
            text_at,
            len_bytes,
        })
    }
}

/// A record that is begun.
struct Record {
    nonce: sealift_crypto::Nonce,
    associated: [u8; 13],
    header: [u8; HEADER_BYTES],
    layout: Layout,
    content: [u8; 1],
    text_at: usize,
    len_bytes: usize,
}

impl Record {
    /// The associated data, and the place of ciphertext and tag.
    fn parts<'a>(&'a self, into: &'a mut [u8]) -> (&'a [u8], &'a mut [u8]) {
        (self.associated(), &mut into[self.text_at..self.len_bytes])
    }

    fn associated(&self) -> &[u8] {
        if self.layout.is_tls13() { &self.header } else { &self.associated }
    }

    /// TLS 1.3 seals the true type behind the content.
    fn suffix(&self) -> &[u8] {
        if self.layout.is_tls13() { &self.content } else { &[] }
    }
}
