//! Reading ahead: records opened on an engine, before those in front of them were read.
//!
//! ```text
//!  bytes ─► Backlog ──whole records──► Pipeline: jobs on the engine
//!              │ kept                     │ in order
//!              └── first record ──► Control ◄── its plaintext     a KeyUpdate: back to the backlog
//!                                      │
//!                                      ▼ staged ─► the caller's memory
//! ```
//!
//! TLS 1.3 hides what a record carries until it is open, so what is behind a KeyUpdate may have
//! been opened with the key before it.
//!
//! 1. Records are judged one by one, in order, and as [`Inflow`](crate::inflow::Inflow) does: what
//!    a reader sees is the same, byte for byte and error for error.
//! 2. Until then nothing counts: what was opened, or failed to open, behind a KeyUpdate is thrown
//!    away unread, and opened again from the backlog with the next key.
//! 3. No more records are ahead than were judged since the last KeyUpdate, and [`FEWEST_AHEAD`]: a
//!    peer cannot make this side open records over and over.
//! 4. Memory is bounded: [`MOST_CHUNKS`] of [`CHUNK_BYTES`] for ciphertext, and [`MOST_JOBS`] of
//!    `MOST_JOB_BYTES` for plaintext; 1.1 MiB.

mod backlog;
mod pipeline;

use std::ops::Range;
#[cfg(feature = "tokio")]
use std::os::fd::BorrowedFd;
use std::time::Instant;

use sealift_crypto::Limits;
use zeroize::Zeroize;

use crate::control::Control;
use crate::epoch::Epoch;
use crate::error::{Error, Result};
use crate::inflow::{Counts, Step};
use crate::opening::{Opened, Opening};
use crate::post_handshake::Side;
use crate::record::{ContentType, Header, MOST_RECORD_BYTES};

use backlog::{Backlog, CHUNK_BYTES, MOST_CHUNKS};
pub(crate) use pipeline::OpeningEngine;
use pipeline::{Memory, Outcome, Pipeline};

/// Jobs at a time.
const MOST_JOBS: usize = 16;
/// Records that are opened ahead behind a KeyUpdate.
const FEWEST_AHEAD: usize = 4;
/// While less than this was received and not read, more is received.
const LOW_BYTES: usize = MOST_CHUNKS * CHUNK_BYTES / 2;

/// The limits of a key that opens ahead. It seals nothing. Its failures are judged here, where it
/// is known which of them are the peer's: the first of those ends the connection.
pub(crate) const LIMITS: Limits = Limits { seals: 0, failures: u64::MAX };

/// Received bytes on their way through an engine to the reader.
pub(crate) struct Ahead {
    backlog: Backlog,
    pipeline: Pipeline,
    opening: Opening,
    control: Control,
    /// What came of the job whose records are judged now.
    head: Option<Head>,
    /// How many records may be in jobs and not judged, and how many are.
    window: usize,
    unjudged: usize,
    pub(crate) counts: Counts,
}

/// A job that came back.
struct Head {
    memory: Memory,
    /// Units that were done and not judged, and where the first one's plaintext begins.
    units_left: usize,
    at: usize,
    /// Content that was not copied out.
    staged: Range<usize>,
    /// What comes behind the units that were done.
    result: sealift_crypto::Result<()>,
}

impl Ahead {
    /// `received` came with the end of the handshake, behind it.
    pub(crate) fn new(
        side: Side,
        opening: Opening,
        received: &[u8],
        engine: OpeningEngine,
    ) -> Self {
        Self {
            backlog: Backlog::new(opening.layout(), received),
            pipeline: Pipeline::new(engine),
            control: Control::new(side, opening.is_tls13()),
            opening,
            head: None,
            window: FEWEST_AHEAD,
            unjudged: 0,
            counts: Counts { received_bytes: received.len() as u64, ..Counts::default() },
        }
    }

    /// Whether an engine can open such records.
    pub(crate) fn suits(engine: &OpeningEngine, opening: &Opening) -> bool {
        let able = engine.capabilities();
        let has_suite = able.suites.contains(&opening.key().suite());
        has_suite && able.out_of_place && able.most_unit_bytes >= MOST_RECORD_BYTES
    }

    /// Where to receive to, if there is room. Where jobs that the engine has lost read all of it,
    /// they are called back: nothing else is under way that would have it look for them.
    pub(crate) fn room(&mut self) -> Option<&mut [u8]> {
        let is_lost = self.backlog.is_empty() && self.pipeline.is_idle();
        if is_lost && self.backlog.end().is_none() && self.backlog.room().is_none() {
            self.pipeline.recall();
        }
        self.backlog.room()
    }

    /// So many bytes were received there.
    pub(crate) fn received(&mut self, count: usize) {
        self.backlog.received(count);
        self.counts.received_bytes += count as u64;
    }

    /// The connection ended, or failed, behind what was received.
    pub(crate) fn ends(&mut self, error: Error) {
        self.backlog.ends(error);
    }

    /// Whether receiving more now would give the engine something to do meanwhile.
    pub(crate) fn is_hungry(&self) -> bool {
        let is_busy = self.unjudged > 0 && !self.pipeline.is_synchronous();
        is_busy && self.backlog.end().is_none() && self.backlog.len_bytes() < LOW_BYTES
    }

    /// See [`Control::forgive`].
    pub(crate) fn forgive(&mut self) {
        self.control.forgive();
    }

    /// Opens with this key from now on: again, what was opened behind the KeyUpdate.
    pub(crate) fn rotate(&mut self, epoch: Epoch) {
        self.opening.rotate(epoch);
        self.counts.key_updates += 1;
        self.counts.reopened_records += self.unjudged as u64;
        self.forget();
        self.window = FEWEST_AHEAD;
    }

    /// Goes one step on; as [`Inflow::step`](crate::inflow::Inflow::step), and [`Step::Working`].
    pub(crate) fn step(&mut self, into: &mut [u8]) -> Result<Step> {
        loop {
            if let Some(count) = self.copy_out(into) {
                return Ok(Step::Data(count));
            }
            if let Some(step) = self.control.next_message()? {
                return Ok(step);
            }
            let Some((opened, text)) = self.next_opened()? else { return self.stopped() };
            let Some(head) = &mut self.head else { continue };
            let content = &mut head.memory.plaintext[text.clone()];
            let step = self.control.take(opened, content);
            if opened.content != ContentType::ApplicationData {
                // A secret, perhaps.
                content.zeroize();
            }
            match step? {
                Some(Step::Data(len)) => {
                    head.staged = text;
                    self.counts.records += 1;
                    self.counts.bytes += len as u64;
                }
                Some(step) => return Ok(step),
                None => {}
            }
        }
    }

    fn copy_out(&mut self, into: &mut [u8]) -> Option<usize> {
        let head = self.head.as_mut().filter(|head| !head.staged.is_empty())?;
        let count = into.len().min(head.staged.len());
        let from = head.staged.start..head.staged.start + count;
        into[..count].copy_from_slice(&head.memory.plaintext[from]);
        head.staged.start += count;
        self.counts.staged_bytes += count as u64;
        Some(count)
    }

    /// The next record, and where its content is in the head; `None` if it is not open yet.
    fn next_opened(&mut self) -> Result<Option<(Opened, Range<usize>)>> {
        self.find_head()?;
        let (Some(head), Some(header)) = (&mut self.head, self.backlog.first()?) else {
            return Ok(None);
        };
        if head.units_left == 0 {
            return match &head.result {
                Ok(()) => Ok(None),
                Err(error) => Err(error.clone().into()),
            };
        }
        let room = self.opening.room_bytes(&header)?;
        let plaintext = head.memory.plaintext.get(head.at..head.at + room);
        let opened = self.opening.look_behind(&header, plaintext.unwrap_or_default())?;
        let text = head.at..head.at + opened.len_bytes;
        head.at += room;
        head.units_left -= 1;
        self.judged(&header);
        Ok(Some((opened, text)))
    }

    /// A record was opened in its turn.
    fn judged(&mut self, header: &Header) {
        self.backlog.judged(header.record_bytes());
        self.unjudged -= 1;
        self.window = self.window.saturating_add(1);
    }

    /// Goes on to the next job, if the records of the last one are all judged.
    fn find_head(&mut self) -> Result<()> {
        if self.head.as_ref().is_some_and(|head| head.units_left > 0 || head.result.is_err()) {
            return Ok(());
        }
        if let Some(head) = self.head.take() {
            self.pipeline.give_back(head.memory);
        }
        self.begin()?;
        self.pipeline.turn();
        self.head = self.pipeline.release().map(|outcome| {
            let Outcome { memory, units_done, result } = outcome;
            let units_left = units_done.min(memory.units.len());
            Head { memory, units_left, at: 0, staged: 0..0, result }
        });
        Ok(())
    }

    /// Begins jobs of what was received, as many as may be.
    pub(crate) fn begin(&mut self) -> Result<()> {
        while self.unjudged < self.window {
            let Some((chunk, whole)) = self.backlog.unbegun() else { break };
            let (chunk, most) = (chunk.clone(), self.window - self.unjudged);
            let Some(mut memory) = self.pipeline.spare() else { break };
            let begun = self.opening.units(&chunk, whole, most, &mut memory.units)?;
            self.unjudged += memory.units.len();
            self.backlog.began(begun);
            self.pipeline.begin(self.opening.key(), chunk, memory);
        }
        Ok(())
    }

    /// Why there is nothing to judge now.
    fn stopped(&mut self) -> Result<Step> {
        if self.awaits_engine() {
            return Ok(Step::Working);
        }
        self.backlog.end().map_or(Ok(Step::Starved), |error| Err(error.clone()))
    }

    /// Whether the next record is there and not open; or late jobs read all that there is to
    /// receive into.
    pub(crate) fn awaits_engine(&mut self) -> bool {
        !self.backlog.is_empty() || self.backlog.end().is_none() && self.room().is_none()
    }

    /// Gives up on all that was begun.
    fn forget(&mut self) {
        if let Some(head) = self.head.take() {
            self.pipeline.give_back(head.memory);
        }
        self.pipeline.abandon();
        self.backlog.rewind();
        self.unjudged = 0;
    }

    /// Sleeps until the engine may have got further, or until `until`.
    pub(crate) fn wait(&mut self, until: Instant) {
        self.pipeline.wait(until);
    }

    /// Whether the engine has jobs. If not, and it took none, only asking again helps.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_engine_busy(&mut self) -> bool {
        self.pipeline.engine().in_flight() > 0
    }

    /// Readable while the engine may have got further; `None` if it works when it is asked to.
    #[cfg(feature = "tokio")]
    pub(crate) fn readiness(&mut self) -> Option<BorrowedFd<'_>> {
        self.pipeline.engine().readiness()
    }

    /// Nothing is read any more: jobs come home as far as they can at once.
    pub(crate) fn close(&mut self) {
        self.forget();
        self.pipeline.close();
    }
}

#[cfg(test)]
mod tests;
