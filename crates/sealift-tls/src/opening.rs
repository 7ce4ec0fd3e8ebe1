//! The way in to plaintext: records opened into the caller's memory, or where they lie.
//!
//! A TLS 1.3 record hides what it carries behind its content (RFC 8446 section 5.2): `content │
//! type │ zeros`. Room is needed for all of it, and what it was shows afterwards.

use std::ops::Range;

use sealift_crypto::{Key, Nonce, Unit, Units};

use crate::epoch::{Epoch, Layout, associated_tls12};
use crate::error::{Error, Result, Violation};
use crate::record::{
    ContentType, HEADER_BYTES, Header, MOST_EXPANSION_TLS12_BYTES, MOST_PLAINTEXT_BYTES,
    whole_record,
};

/// The most plaintext of a job, in bytes: two of the longest records.
pub(crate) const MOST_JOB_BYTES: usize = 2 * (MOST_PLAINTEXT_BYTES + MOST_EXPANSION_TLS12_BYTES);
/// The most records of a job.
const MOST_JOB_RECORDS: usize = 32;

/// Opens the records of one direction.
pub(crate) struct Opening {
    epoch: Epoch,
}

/// What a record turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) content: ContentType,
    /// The length of its content, in bytes.
    pub(crate) len_bytes: usize,
}

impl Opening {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self { epoch }
    }

    /// Opens with this key from now on.
    pub(crate) fn rotate(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    pub(crate) fn is_tls13(&self) -> bool {
        self.epoch.layout.is_tls13()
    }

    /// By how much a body may be longer than the most plaintext.
    pub(crate) fn most_expansion_bytes(&self) -> usize {
        self.epoch.layout.most_expansion_bytes()
    }

    /// See [`Layout::room_bytes`].
    pub(crate) fn room_bytes(&self, header: &Header) -> Result<usize> {
        self.epoch.layout.room_bytes(header)
    }

    /// Opens `record` into `into`, which has exactly the room that it needs. If it is not
    /// authentic, `into` holds zeros.
    pub(crate) fn open_apart(
        &mut self,
        header: &Header,
        record: &[u8],
        into: &mut [u8],
    ) -> Result<Opened> {
        let (nonce, associated, associated_bytes) = self.place(record, into.len())?;
        let sealed = &record[HEADER_BYTES + self.epoch.layout.explicit_bytes()..];
        self.epoch.key.open(nonce, &associated[..associated_bytes], sealed, into)?;
        self.look_behind(header, into)
    }

    /// Opens `record` where it lies, and says where its content is in it.
    pub(crate) fn open_in_place(
        &mut self,
        header: &Header,
        record: &mut [u8],
    ) -> Result<(Opened, Range<usize>)> {
        let room = self.room_bytes(header)?;
        let (nonce, associated, associated_bytes) = self.place(record, room)?;
        let text_at = HEADER_BYTES + self.epoch.layout.explicit_bytes();
        let sealed = &mut record[text_at..];
        self.epoch.key.open_in_place(nonce, &associated[..associated_bytes], sealed)?;
        let opened = self.look_behind(header, &record[text_at..text_at + room])?;
        Ok((opened, text_at..text_at + opened.len_bytes))
    }

    /// Appends to `units` how an engine opens the records in `whole` of `chunk`, at most so many of
    /// them, and as many as fit [`MOST_JOB_BYTES`]; says how far it came. Plaintexts lie one behind
    /// the other, each with the room that it needs. It uses up numbers, as opening does.
    pub(crate) fn units(
        &mut self,
        chunk: &[u8],
        whole: Range<usize>,
        most: usize,
        units: &mut Units,
    ) -> Result<usize> {
        let (mut at, mut to) = (whole.start, 0);
        while units.len() < most.min(MOST_JOB_RECORDS) {
            let waiting = &chunk[at..whole.end];
            let Some(header) = whole_record(waiting, self.most_expansion_bytes())? else { break };
            let (record, room) = (&waiting[..header.record_bytes()], self.room_bytes(&header)?);
            if to + room > MOST_JOB_BYTES {
                break;
            }
            let (nonce, associated, associated_bytes) = self.place(record, room)?;
            let text_at = at + HEADER_BYTES + self.epoch.layout.explicit_bytes();
            at += record.len();
            units.push(Unit::new(nonce, text_at..at, to).with(&associated[..associated_bytes]));
            to += room;
        }
        Ok(at - whole.start)
    }

    pub(crate) fn key(&self) -> &Key {
        &self.epoch.key
    }

    pub(crate) fn layout(&self) -> Layout {
        self.epoch.layout
    }

    /// The record's nonce and associated data, and how much that is.
    fn place(&mut self, record: &[u8], room: usize) -> Result<(Nonce, [u8; 13], usize)> {
        let number = self.epoch.take_number()?;
        // Whoever asks knows that the record has room for all of this.
        let Some((header, body)) = record.split_first_chunk() else {
            return Err(Error::Inauthentic);
        };
        let nonce = match body.first_chunk() {
            Some(explicit) if self.epoch.layout.explicit_bytes() > 0 => {
                self.epoch.nonce_with(*explicit)
            }
            _ => self.epoch.nonce(number),
        };
        if !self.is_tls13() {
            return Ok((nonce, associated_tls12(number, header, room), 13));
        }
        let mut associated = [0; 13];
        associated[..HEADER_BYTES].copy_from_slice(header);
        Ok((nonce, associated, HEADER_BYTES))
    }

    /// Finds the type and the end of what was opened.
    pub(crate) fn look_behind(&self, header: &Header, plaintext: &[u8]) -> Result<Opened> {
        let opened = if self.is_tls13() {
            let Some(type_at) = plaintext.iter().rposition(|&byte| byte != 0) else {
                return Err(Error::Peer(Violation::UnexpectedMessage));
            };
            // RFC 8446 section 5.4: the padding counts, too.
            if plaintext.len() > MOST_PLAINTEXT_BYTES + 1 {
                return Err(Error::Peer(Violation::RecordTooLong));
            }
            Opened { content: ContentType::parse(plaintext[type_at])?, len_bytes: type_at }
        } else {
            Opened { content: header.content, len_bytes: plaintext.len() }
        };
        if opened.len_bytes > MOST_PLAINTEXT_BYTES {
            return Err(Error::Peer(Violation::RecordTooLong));
        }
        Ok(opened)
    }
}
