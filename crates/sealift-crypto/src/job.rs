//! A job: one key, one source, one destination, and the messages to seal or open between them.
//!
//! ```text
//!            ┌ unit 0 ┐┌ unit 1 ┐                 a unit: nonce, associated data, suffix,
//!  source    │ bytes  ││ bytes  │                         where from, where to
//!               │ seal    │ seal
//!  destination  ▼ tag     ▼ tag
//! ```
//!
//! A unit is one message of the cipher: a TLS record, a QUIC packet. A job has as many as are worth
//! handing over together. It owns all that it works on, and is fixed once it was made:
//!
//! 1. Every unit fits its source and its destination, and no two share a byte of the destination.
//! 2. A sealing job was counted on its key, so it is within the key's limit, however often it is
//!    done over.
//! 3. A source that others may read is never written. Sealing in place takes a [`Destination`],
//!    which is one holder's alone; shared memory is none:
//!
//! ```compile_fail,E0277
//! # use sealift_crypto::{Job, Key, Payload, Units};
//! # fn f(key: &Key, units: Units) {
//! let shared = bytes::Bytes::from_static(b"others read this too");
//! let job = Job::<bytes::Bytes, _>::seal(key, Payload::InPlace(shared), units, 0);
//! # }
//! ```
//!
//! 4. What is done in place is done once. Under the same nonces over what it left, a second time
//!    would undo the first, and hand out the plaintext as if it were sealed.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::error::{Error, Result};
use crate::key::{Key, Nonce};
use crate::message::Messages;
use crate::suite::{Suite, TAG_BYTES};

/// Memory that a job reads, and that nobody writes meanwhile. Others may read it too.
pub trait Source: Send {
    /// The bytes, in order, in one or more pieces; the same at every call.
    fn pieces(&self) -> impl Iterator<Item = &[u8]>;
}

/// Memory that the job alone holds, to write into.
pub trait Destination: Send {
    /// All of it; the same at every call.
    fn bytes_mut(&mut self) -> &mut [u8];
}

/// What a job reads from and writes into.
pub enum Payload<S, D> {
    /// Out of place: the source is only read.
    Apart {
        /// What is sealed or opened.
        source: S,
        /// Where the outcome goes.
        destination: D,
    },
    /// In place: a unit ends up where it was.
    InPlace(D),
}

/// The most associated data that a unit carries, in bytes: a QUIC short header with a connection
/// identifier of 20 has 25, a TLS 1.2 record 13.
pub const MOST_ASSOCIATED_BYTES: usize = 32;

/// One message to seal or open.
#[derive(Clone, Debug)]
pub struct Unit {
    nonce: Nonce,
    associated: [u8; MOST_ASSOCIATED_BYTES],
    associated_len: u8,
    /// Sealed behind the text: TLS 1.3's type of the record (RFC 8446 section 5.2).
    suffix: Option<u8>,
    /// Zeros sealed behind the suffix: its padding.
    padding: u32,
    /// Reversed if it, or `to`, is too far for 32 bits.
    from: Range<u32>,
    to: u32,
}

impl Unit {
    /// The bytes `from` of the source, sealed or opened with `nonce`, and written from `to` on.
    /// In place, `to` is where `from` begins. To seal, `from` is the plaintext; to open, it is
    /// ciphertext and tag. Offsets beyond 4 GiB are refused with the job.
    pub fn new(nonce: Nonce, from: Range<usize>, to: usize) -> Self {
        let narrow = u32::try_from;
        let (from, to) = match (narrow(from.start), narrow(from.end), narrow(to)) {
            (Ok(start), Ok(end), Ok(to)) => (start..end, to),
            _ => (Range { start: u32::MAX, end: 0 }, 0),
        };
        Self {
            nonce,
            associated: [0; MOST_ASSOCIATED_BYTES],
            associated_len: 0,
            suffix: None,
            padding: 0,
            from,
            to,
        }
    }

    /// Authenticates `associated` too. More than [`MOST_ASSOCIATED_BYTES`] are refused with the
    /// job.
    #[inline]
    pub fn with(mut self, associated: &[u8]) -> Self {
        self.associated_len = u8::try_from(associated.len()).unwrap_or(u8::MAX);
        let (words, _) = self.associated.as_chunks_mut::<8>();
        for (at, word) in words.iter_mut().enumerate() {
            let part = associated.get(at * 8..).unwrap_or_default();
            // In whole words, which stay in registers until the unit is where it is kept: to read
            // shorter writes back as longer ones, to move them, stalls for ten nanoseconds.
            let bytes = part.iter().take(8).rev();
            *word = bytes.fold(0, |word, byte| word << 8 | u64::from(*byte)).to_le_bytes();
        }
        self
    }

    /// Seals `suffix` and `padding` zeros behind the text, as TLS 1.3 does with a record's type.
    pub fn ending(mut self, suffix: u8, padding: u16) -> Self {
        self.suffix = Some(suffix);
        self.padding = padding.into();
        self
    }

    pub(crate) fn nonce(&self) -> Nonce {
        self.nonce
    }

    pub(crate) fn associated(&self) -> &[u8] {
        &self.associated[..usize::from(self.associated_len)]
    }

    pub(crate) fn from(&self) -> Range<usize> {
        self.from.start as usize..self.from.end as usize
    }

    /// The bytes that are sealed, suffix and padding included, or opened.
    pub fn len_bytes(&self) -> usize {
        self.from().len() + self.suffix_len()
    }

    fn suffix_len(&self) -> usize {
        usize::from(self.suffix.is_some()) + self.padding as usize
    }

    /// How far into the destination its outcome reaches.
    pub(crate) fn outcome_end(&self, direction: Direction) -> usize {
        self.to(direction).end
    }

    /// Where its outcome goes, tag included.
    pub(crate) fn to(&self, direction: Direction) -> Range<usize> {
        let (from, to) = (self.from(), self.to as usize);
        match direction {
            Direction::Seal => to..to + from.len() + self.suffix_len() + TAG_BYTES,
            Direction::Open => to..to + from.len().saturating_sub(TAG_BYTES),
        }
    }
}

/// The messages of a job, in the order of their places in the destination. Their memory comes back
/// with the job, to be used for the next one.
pub type Units = Vec<Unit>;

/// Which way a job goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Plaintext to ciphertext and tag.
    Seal,
    /// Ciphertext and tag to plaintext.
    Open,
}

/// Work for an [`Engine`](crate::Engine). It owns its memory until it comes back.
pub struct Job<S, D> {
    tag: u64,
    key: Key,
    direction: Direction,
    payload: Payload<S, D>,
    units: Units,
    /// In place, and begun: its source is gone, or a part of it (invariant 4).
    spent: bool,
}

/// A job that was not made, with everything that was to be in it.
#[derive(thiserror::Error)]
#[error("the job was refused: {error}")]
pub struct Refused<S, D> {
    /// What it was to work on.
    pub payload: Payload<S, D>,
    /// What it was to do.
    pub units: Units,
    /// Why it was refused.
    #[source]
    pub error: Error,
}

impl<S: Source, D: Destination> Job<S, D> {
    /// A job that seals `units`. Its key counts them here, once and for all. `tag` is the caller's
    /// own number.
    ///
    /// # Errors
    /// [`Refused`], with [`Error::KeyExhausted`] at the key's limit, or with [`Error::Caller`] if a
    /// unit does not fit.
    pub fn seal(
        key: &Key,
        payload: Payload<S, D>,
        units: Units,
        tag: u64,
    ) -> Result<Self, Box<Refused<S, D>>> {
        Self::new(key, Direction::Seal, payload, units, tag)
    }

    /// A job that opens `units`. It stops at the first that is not authentic.
    ///
    /// # Errors
    /// [`Refused`] with [`Error::KeyExhausted`] once too many messages of the key failed; with
    /// [`Error::Caller`] if a unit does not fit.
    pub fn open(
        key: &Key,
        payload: Payload<S, D>,
        units: Units,
        tag: u64,
    ) -> Result<Self, Box<Refused<S, D>>> {
        Self::new(key, Direction::Open, payload, units, tag)
    }

    fn new(
        key: &Key,
        direction: Direction,
        payload: Payload<S, D>,
        units: Units,
        tag: u64,
    ) -> Result<Self, Box<Refused<S, D>>> {
        let mut job = Self { tag, key: key.clone(), direction, payload, units, spent: false };
        match job.admit() {
            Ok(()) => Ok(job),
            Err(error) => Err(Box::new(Refused { payload: job.payload, units: job.units, error })),
        }
    }

    /// Counts it on its key, if every unit has its place.
    fn admit(&mut self) -> Result<()> {
        check(&mut self.payload, &self.units, self.direction, self.key.suite())?;
        match self.direction {
            Direction::Seal => self.key.count_seals(self.units.len() as u64),
            Direction::Open => self.key.may_open(),
        }
    }

    /// A job that was made before, and counted by its key then, with another destination; see
    /// [`fits`](Job::fits).
    pub(crate) fn again(
        key: &Key,
        direction: Direction,
        payload: Payload<S, D>,
        units: Units,
        tag: u64,
    ) -> Self {
        Self { tag, key: key.clone(), direction, payload, units, spent: false }
    }

    /// Whether every unit has its place.
    pub(crate) fn fits(&mut self) -> bool {
        check(&mut self.payload, &self.units, self.direction, self.key.suite()).is_ok()
    }

    /// Appends the destination's bytes between the outcomes, which are the caller's own.
    pub(crate) fn read_gaps(&mut self, into: &mut Vec<u8>) {
        let (units, direction) = (&self.units, self.direction);
        if let Payload::Apart { destination, .. } = &mut self.payload {
            let bytes = destination.bytes_mut();
            gaps(units, direction).for_each(|gap| into.extend_from_slice(&bytes[gap]));
        }
    }

    /// Puts what [`read_gaps`](Job::read_gaps) gave into another destination; false if it is not
    /// as much as there are gaps.
    pub(crate) fn write_gaps(&mut self, mut from: &[u8]) -> bool {
        let (units, direction) = (&self.units, self.direction);
        let Payload::Apart { destination, .. } = &mut self.payload else { return from.is_empty() };
        let bytes = destination.bytes_mut();
        for gap in gaps(units, direction) {
            let Some((own, rest)) = from.split_at_checked(gap.len()) else { return false };
            bytes[gap].copy_from_slice(own);
            from = rest;
        }
        from.is_empty()
    }

    /// Says that the work begins, or that it must not.
    #[inline]
    pub(crate) fn begin(&mut self) -> Result<()> {
        if self.spent {
            return Err(Error::Caller { what: "a job in place is done once: its source is gone" });
        }
        self.spent = self.is_in_place();
        Ok(())
    }

    /// Does the work on this core; `units_done` grows by one with each unit.
    pub(crate) fn perform(&mut self, units_done: &mut usize) -> Result<()> {
        let Self { key, direction, payload, units, .. } = self;
        for unit in units.iter() {
            match (&mut *payload, *direction) {
                (Payload::Apart { source, destination }, Direction::Seal) => {
                    seal_apart(key, unit, source, destination.bytes_mut())?;
                }
                (Payload::Apart { source, destination }, Direction::Open) => {
                    open_apart(key, unit, source, destination.bytes_mut())?;
                }
                (Payload::InPlace(buffer), Direction::Seal) => {
                    seal_in_place(key, unit, buffer.bytes_mut())?;
                }
                (Payload::InPlace(buffer), Direction::Open) => key.open_in_place(
                    unit.nonce,
                    unit.associated(),
                    &mut buffer.bytes_mut()[unit.from()],
                )?,
            }
            *units_done += 1;
        }
        Ok(())
    }

    /// Where the outcome of unit `at` is.
    pub(crate) fn outcome_mut(&mut self, at: usize) -> Option<&mut [u8]> {
        let to = self.units.get(at)?.to(self.direction);
        match &mut self.payload {
            Payload::Apart { destination: into, .. } | Payload::InPlace(into) => {
                into.bytes_mut().get_mut(to)
            }
        }
    }

    /// Clears the outcomes from unit `from` on, which failed. In place they are sources still, if
    /// the work was not begun.
    pub(crate) fn wipe(&mut self, from: usize) {
        if self.spent || !self.is_in_place() {
            (from..self.units.len()).for_each(|at| {
                if let Some(outcome) = self.outcome_mut(at) {
                    outcome.fill(0);
                }
            });
        }
    }

    /// Its key, and its messages one by one.
    pub(crate) fn messages(&mut self) -> (&Key, Messages<'_, S>) {
        let Self { key, direction, payload, units, .. } = self;
        let (source, destination) = match payload {
            Payload::Apart { source, destination } => (Some(&*source), destination),
            Payload::InPlace(buffer) => (None, buffer),
        };
        (key, Messages::new(units, *direction, source, destination.bytes_mut()))
    }
}

impl<S, D> Job<S, D> {
    /// The caller's number.
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// Gives it another number for the time with an engine; says which it had.
    pub(crate) fn retag(&mut self, tag: u64) -> u64 {
        std::mem::replace(&mut self.tag, tag)
    }

    /// Its key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Which way it goes.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Whether its outcome goes where its source was.
    pub fn is_in_place(&self) -> bool {
        matches!(self.payload, Payload::InPlace(_))
    }

    /// Its messages.
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// What it reads, if that is apart from what it writes.
    pub(crate) fn source(&self) -> Option<&S> {
        match &self.payload {
            Payload::Apart { source, .. } => Some(source),
            Payload::InPlace(_) => None,
        }
    }

    /// The bytes it reads, over all units.
    pub fn len_bytes(&self) -> usize {
        self.units.iter().map(Unit::len_bytes).sum()
    }

    /// What it worked on, and its units, whose memory can be used again.
    pub fn into_parts(self) -> (Payload<S, D>, Units) {
        (self.payload, self.units)
    }
}

/// The parts of the destination before and between the outcomes.
fn gaps(units: &Units, direction: Direction) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut reached = 0;
    units.iter().map(move |unit| {
        let to = unit.to(direction);
        std::mem::replace(&mut reached, to.end)..to.start
    })
}

/// Whether every unit has its place (invariant 1).
fn check<S: Source, D: Destination>(
    payload: &mut Payload<S, D>,
    units: &Units,
    direction: Direction,
    suite: Suite,
) -> Result<()> {
    let (source_len, destination_len, in_place) = match payload {
        Payload::Apart { source, destination } => {
            let source_len = source.pieces().map(<[u8]>::len).sum();
            (source_len, destination.bytes_mut().len(), false)
        }
        Payload::InPlace(buffer) => (buffer.bytes_mut().len(), buffer.bytes_mut().len(), true),
    };
    let mut reached = 0;
    for unit in units {
        let (from, to) = (unit.from(), unit.to(direction));
        let what = if from.start > from.end {
            "a unit ends before it begins, or reaches beyond 4 GiB"
        } else if from.end > source_len {
            "a unit reaches past its source"
        } else if to.end > destination_len {
            "a unit reaches past its destination"
        } else if to.start < reached {
            "two units share a part of the destination, or are not in its order"
        } else if in_place && from.start != to.start {
            "a unit in place ends up where it was"
        } else if in_place && from.start < reached {
            "two units in place share bytes"
        } else if from.len() + unit.suffix_len() > suite.most_bytes() {
            "a unit is longer than its suite can seal"
        } else if direction == Direction::Open && unit.suffix.is_some() {
            "only what is sealed has a suffix"
        } else if usize::from(unit.associated_len) > MOST_ASSOCIATED_BYTES {
            "a unit's associated data has at most 32 bytes"
        } else if direction == Direction::Open && from.len() < TAG_BYTES {
            "what is to be opened is shorter than its tag"
        } else {
            reached = if in_place { to.end.max(from.end) } else { to.end };
            continue;
        };
        return Err(Error::Caller { what });
    }
    Ok(())
}

fn seal_apart(key: &Key, unit: &Unit, source: &impl Source, destination: &mut [u8]) -> Result<()> {
    let into = &mut destination[unit.to(Direction::Seal)];
    let suffix = unit.suffix.as_slice();
    match contiguous(source, unit.from()) {
        Some(text) if unit.padding == 0 => {
            key.seal_counted(unit.nonce, unit.associated(), text, suffix, into)
        }
        _ => {
            let (text, rest) = into.split_at_mut(unit.from().len());
            gather(source, unit.from(), text);
            put_suffix(unit, rest);
            key.seal_in_place_counted(unit.nonce, unit.associated(), into)
        }
    }
}

fn seal_in_place(key: &Key, unit: &Unit, buffer: &mut [u8]) -> Result<()> {
    let into = &mut buffer[unit.to(Direction::Seal)];
    put_suffix(unit, &mut into[unit.from().len()..]);
    key.seal_in_place_counted(unit.nonce, unit.associated(), into)
}

fn open_apart(key: &Key, unit: &Unit, source: &impl Source, destination: &mut [u8]) -> Result<()> {
    let into = &mut destination[unit.to(Direction::Open)];
    if let Some(sealed) = contiguous(source, unit.from()) {
        return key.open(unit.nonce, unit.associated(), sealed, into);
    }
    let (from, mut tag) = (unit.from(), [0; TAG_BYTES]);
    let text_end = from.end.saturating_sub(TAG_BYTES);
    gather(source, from.start..text_end, into);
    gather(source, text_end..from.end, &mut tag);
    key.open_detached(unit.nonce, unit.associated(), into, &tag)
}

/// Writes what is sealed behind the text to the front of `rest`.
pub(crate) fn put_suffix(unit: &Unit, rest: &mut [u8]) {
    let place = &mut rest[..unit.suffix_len()];
    place.fill(0);
    if let (Some(first), Some(suffix)) = (place.first_mut(), unit.suffix) {
        *first = suffix;
    }
}

/// The range as one slice, if one piece of the source holds all of it.
fn contiguous(source: &impl Source, range: Range<usize>) -> Option<&[u8]> {
    if range.is_empty() {
        return Some(&[]);
    }
    let mut start = 0;
    for piece in source.pieces() {
        let end = start + piece.len();
        if range.start < end {
            return piece.get(range.start - start..range.end - start);
        }
        start = end;
    }
    None
}

/// Copies a range of the source, from however many pieces.
fn gather(source: &impl Source, range: Range<usize>, mut into: &mut [u8]) {
    let mut start = 0;
    for piece in source.pieces() {
        let end = start + piece.len();
        let from = range.start.clamp(start, end) - start..range.end.clamp(start, end) - start;
        let (part, rest) = into.split_at_mut(from.len());
        part.copy_from_slice(&piece[from]);
        into = rest;
        start = end;
    }
}

macro_rules! contiguous_source {
    ($($type:ty),*) => {$(
        impl Source for $type {
            fn pieces(&self) -> impl Iterator<Item = &[u8]> {
                std::iter::once(&self[..])
            }
        }
    )*};
}

contiguous_source!(Bytes, Vec<u8>, Box<[u8]>, Arc<[u8]>, &'static [u8]);

/// Several sources, one behind the other.
#[derive(Clone, Debug, Default)]
pub struct Scattered<S>(pub Vec<S>);

impl<S: Source> Source for Scattered<S> {
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().flat_map(Source::pieces)
    }
}

impl Destination for Vec<u8> {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl Destination for Box<[u8]> {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl Destination for BytesMut {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl<S, D> fmt::Debug for Job<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the content: it may be secret.
        let (direction, bytes, units) = (self.direction, self.len_bytes(), self.units.len());
        write!(f, "Job({direction:?} {bytes} bytes in {units} units, tag {})", self.tag)
    }
}

impl<S, D> fmt::Debug for Refused<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Refused({:?})", self.error)
    }
}

impl<S, D> fmt::Debug for Payload<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::InPlace(_)) { "InPlace" } else { "Apart" })
    }
}
