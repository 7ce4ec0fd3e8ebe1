//! Records that an engine seals: its jobs, and the order in which everything leaves.
//!
//! ```text
//!  Bytes, or a file ──► units ──► Job ──submit──► engine ──poll──┐  in any order
//!                                  └─ its place                  ▼
//!                                          Sequencer: │ done │ open │ done │ ──► Message, in order
//!  a record sealed here ─ a place, done at once ─────────────────────▲
//! ```
//!
//! 1. A record has its number, and its job its place in the order, before the engine sees it. While
//!    the order is not empty, what is sealed here takes a place as well. So the order is that of
//!    the numbers.
//! 2. A job that fails leaves a gap. Nothing behind it is released, and nothing is done over: the
//!    connection ends.
//! 3. A frame and a source are the job's until the engine gives it back, or is dropped.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealift_crypto::{Direction, Done, Engine, Job, Payload, Place, Sequencer, Stopped, Units};
use sealift_io::{Lease, Message};

use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::latency::Latency;
use crate::outflow::{Counts, read_whole};
use crate::record::MOST_PLAINTEXT_BYTES;
use crate::retirement;
use crate::sealing::Sealing;
use crate::stats::Offload;

/// What seals for a stream.
pub(crate) type SealingEngine = Box<dyn Engine<Bytes, Frame>>;

/// The pause before an engine that takes nothing, and has nothing under way, is asked again.
const REFUSED_PAUSE: Duration = Duration::from_micros(100);

/// What one job is to become.
struct Begun {
    place: Place,
    at: Instant,
    key_id: u64,
    /// The length of its records together.
    len_bytes: usize,
    records: u64,
    plaintext_bytes: u64,
}

impl Begun {
    /// Whether it is this that `job` is to do: an engine may give back what somebody else gave it.
    fn is_of(&self, job: &Job<Bytes, Frame>) -> bool {
        job.direction() == Direction::Seal
            && job.key().id() == self.key_id
            && job.units().len() as u64 == self.records
    }
}

/// What was under way when the work ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Retired {
    /// Messages that did not leave.
    pub(crate) unsent: usize,
    /// Jobs that the engine may still work on.
    pub(crate) held: usize,
    /// Its last figures, if there was an engine.
    pub(crate) offload: Option<Offload>,
}

/// The jobs of one connection.
pub(crate) struct Bulk {
    engine: SealingEngine,
    /// Made, and not taken by the engine yet.
    waiting: VecDeque<Job<Bytes, Frame>>,
    /// Given back, and not looked at.
    done: VecDeque<Done<Bytes, Frame>>,
    /// The jobs under way: the tag of each is its index here.
    begun: Vec<Option<Begun>>,
    order: Sequencer<Message>,
    /// Memory of units, to be used again.
    spare_units: Vec<Units>,
    /// Why nothing more is released (invariant 2).
    gap: Option<Error>,
    sealed: Counts,
    latency: Latency,
}

impl Bulk {
    /// `capacity` is how much may be in the order.
    pub(crate) fn new(engine: SealingEngine, capacity: usize) -> Self {
        Self {
            engine,
            waiting: VecDeque::with_capacity(1),
            done: VecDeque::with_capacity(capacity),
            begun: (0..capacity).map(|_| None).collect(),
            order: Sequencer::new(capacity),
            spare_units: Vec::with_capacity(capacity),
            gap: None,
            sealed: Counts::default(),
            latency: Latency::default(),
        }
    }

    /// Whether an engine can seal records of this stream.
    pub(crate) fn suits(engine: &SealingEngine, sealing: &Sealing) -> bool {
        let can = engine.capabilities();
        let knows = can.suites.contains(&sealing.key().suite());
        knows && can.out_of_place && can.most_unit_bytes > MOST_PLAINTEXT_BYTES
    }

    /// Whether it can seal a file where it was read to.
    pub(crate) fn seals_in_place(&self) -> bool {
        self.engine.capabilities().in_place
    }

    /// How much is in the order.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether nothing is under way, so that others may pass by.
    pub(crate) fn is_idle(&self) -> bool {
        self.order.is_empty() && self.gap.is_none()
    }

    /// Whether the engine has taken every job that was made.
    pub(crate) fn is_submitted(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Begins to seal the front of `source`, as much as fits the lease, and takes it from there.
    pub(crate) fn seal(
        &mut self,
        sealing: &mut Sealing,
        source: &mut Bytes,
        lease: Lease,
        most_plaintext_bytes: usize,
    ) {
        let mut batch = self.batch(lease, most_plaintext_bytes);
        let mut taken = 0;
        while let Some(len) = batch.next_len(sealing, source.len() - taken) {
            if !batch.push(sealing, taken..taken + len) {
                break;
            }
            taken += len;
        }
        let source = source.split_to(taken);
        self.begin(sealing, batch, |destination| Payload::Apart { source, destination });
    }

    /// Reads the front of `range` of a file to where it is to be sealed, as much as fits the lease,
    /// begins to seal it, and takes it from the range. Where the file ends, the range does.
    ///
    /// # Errors
    /// Those of reading; what was read before them is on its way.
    pub(crate) fn seal_file(
        &mut self,
        sealing: &mut Sealing,
        file: BorrowedFd<'_>,
        range: &mut Range<u64>,
        lease: Lease,
        most_plaintext_bytes: usize,
    ) -> Result<()> {
        let mut batch = self.batch(lease, most_plaintext_bytes);
        let mut read = Ok(());
        while let Some(len) = batch.next_len(sealing, clamped(range)) {
            let text = sealing.text_range(len);
            let text = batch.filled + text.start..batch.filled + text.end;
            match read_whole(file, range.start, &mut batch.lease.frame_mut()[text.clone()]) {
                Ok(count) => {
                    if count < len {
                        range.end = range.start + count as u64;
                    }
                    if count == 0 || !batch.push(sealing, text.start..text.start + count) {
                        break;
                    }
                    range.start += count as u64;
                }
                Err(error) => {
                    read = Err(error);
                    break;
                }
            }
        }
        self.begin(sealing, batch, Payload::InPlace);
        read
    }

    fn batch(&mut self, lease: Lease, most_plaintext_bytes: usize) -> Batch {
        let units = self.spare_units.pop().unwrap_or_default();
        Batch { lease, units, filled: 0, plaintext_bytes: 0, most_plaintext_bytes, failed: None }
    }

    /// Gives a batch its place, and the engine its job.
    fn begin(
        &mut self,
        sealing: &Sealing,
        batch: Batch,
        payload: impl FnOnce(Frame) -> Payload<Bytes, Frame>,
    ) {
        let Batch { lease, units, filled, plaintext_bytes, failed, .. } = batch;
        self.gap = self.gap.take().or(failed);
        if units.is_empty() {
            self.spare_units.push(units);
            return;
        }
        let records = units.len() as u64;
        let tag = self.begun.iter().position(Option::is_none);
        let (Some(tag), Some(place)) = (tag, self.order.start()) else {
            self.gap = Some(Error::Io(sealift_io::Error::Full));
            return;
        };
        match Job::seal(sealing.key(), payload(Frame::from(lease)), units, tag as u64) {
            Ok(job) => self.waiting.push_back(job),
            Err(refused) => self.gap = Some(refused.error.into()),
        }
        let (at, key_id) = (Instant::now(), sealing.key().id());
        self.begun[tag] =
            Some(Begun { place, at, key_id, len_bytes: filled, records, plaintext_bytes });
    }

    /// Gives what was sealed here a place behind everything that was begun; false if there is none.
    pub(crate) fn append(&mut self, message: Message) -> bool {
        let place = self.order.start();
        place.is_some_and(|place| self.order.finish(place, message).is_ok())
    }

    /// What is to leave next, if it is done.
    pub(crate) fn release(&mut self) -> Option<Message> {
        self.order.release()
    }

    /// Offers the engine what it did not take, and takes what it has done.
    ///
    /// # Errors
    /// [`Error::Engine`] if it failed; nothing is released behind that (invariant 2).
    pub(crate) fn pump(&mut self) -> Result<()> {
        if self.gap.is_none() {
            self.gap = self.advance().err();
        }
        self.gap.clone().map_or(Ok(()), Err)
    }

    fn advance(&mut self) -> Result<()> {
        self.submit()?;
        self.engine.poll(&mut self.done);
        if !self.done.is_empty() {
            let now = Instant::now();
            while let Some(done) = self.done.pop_front() {
                self.settle(done, now)?;
            }
        }
        // There may be room now.
        self.submit()
    }

    fn submit(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        match self.engine.submit(&mut self.waiting) {
            Stopped::Dead => Err(self.failure("it takes no more work")),
            Stopped::Unsuited => Err(self.failure("it refused records of the suite it has")),
            // Full, or without a slot for the key: there will be.
            _ => Ok(()),
        }
    }

    /// Finishes the place of a job that came back at `now`.
    fn settle(&mut self, done: Done<Bytes, Frame>, now: Instant) -> Result<()> {
        let Done { job, units_done, result } = done;
        let (tag, records) = (usize::try_from(job.tag()), job.units().len());
        let begun = tag.ok().and_then(|tag| self.begun.get_mut(tag));
        let begun = begun.and_then(|begun| begun.take_if(|begun| begun.is_of(&job)));
        let (payload, mut units) = job.into_parts();
        units.clear();
        self.spare_units.push(units);
        let Some(begun) = begun else {
            return Err(self.failure("it gave back what it did not have"));
        };
        self.latency.note(now.saturating_duration_since(begun.at));
        match result {
            Ok(()) if units_done == records => {}
            Err(sealift_crypto::Error::Engine { engine, what }) => {
                return Err(Error::Engine { engine, what });
            }
            Ok(()) | Err(_) => return Err(self.failure("a record was not sealed")),
        }
        let (Payload::Apart { destination: frame, .. } | Payload::InPlace(frame)) = payload;
        let mut lease = frame.into_lease();
        if begun.len_bytes > lease.capacity() {
            return Err(self.failure("it gave back a shorter frame"));
        }
        lease.set_len(begun.len_bytes);
        self.sealed.records += begun.records;
        self.sealed.bytes += begun.plaintext_bytes;
        let finished = self.order.finish(begun.place, lease.into());
        finished.map_err(|_| self.failure("it gave a job back twice"))
    }

    fn failure(&self, what: &'static str) -> Error {
        Error::Engine { engine: self.engine.capabilities().name, what }
    }

    /// Waits until there may be something to pump, or until `deadline`.
    pub(crate) fn wait(&mut self, deadline: Instant) {
        if self.engine.in_flight() > 0 {
            self.engine.wait(deadline);
        } else if !self.waiting.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            std::thread::sleep(left.min(REFUSED_PAUSE));
        }
    }

    /// Asks for the frames of jobs that were done elsewhere meanwhile, which an engine that lost
    /// them keeps until it is made to give up. Nothing may be under way.
    pub(crate) fn recall(&mut self) {
        // What it cannot bring back stays with it.
        let _ = self.engine.quiesce(Instant::now(), &mut self.done);
    }

    /// Readable while there may be something to pump; `None` for an engine that works when polled.
    pub(crate) fn readiness(&self) -> Option<BorrowedFd<'_>> {
        self.engine.readiness()
    }

    /// Ends the work: what the engine does not give back soon stays with it (invariant 3).
    pub(crate) fn retire(&mut self) -> Retired {
        let unsent = self.order.len();
        self.waiting.clear();
        self.order.abandon().for_each(drop);
        let held = retirement::recall(&mut self.engine, &mut self.done);
        self.done.clear();
        let offload = Some(self.offload());
        if held > 0 {
            retirement::let_go(&mut self.engine);
        }
        Retired { unsent, held, offload }
    }

    /// What was sealed so far.
    pub(crate) fn sealed(&self) -> Counts {
        self.sealed
    }

    /// The engine's figures.
    pub(crate) fn offload(&self) -> Offload {
        let engine = &self.engine;
        let (name, stats) = (engine.capabilities().name, engine.stats());
        Offload::new(name, &stats, engine.in_flight(), self.latency)
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        self.retire();
    }
}

/// The records of one lease, as they are laid out.
struct Batch {
    lease: Lease,
    units: Units,
    /// How far the lease is taken.
    filled: usize,
    plaintext_bytes: u64,
    most_plaintext_bytes: usize,
    failed: Option<Error>,
}

impl Batch {
    /// How long the next record's plaintext is, if there is one and it fits.
    fn next_len(&self, sealing: &Sealing, left_bytes: usize) -> Option<usize> {
        let len = left_bytes.min(self.most_plaintext_bytes);
        let fits = self.filled + sealing.record_bytes(len) <= self.lease.capacity();
        (len > 0 && fits && sealing.may_seal_behind(self.units.len())).then_some(len)
    }

    /// Lays out the record of the plaintext at `from` of the source; false if that failed.
    fn push(&mut self, sealing: &mut Sealing, from: Range<usize>) -> bool {
        let len = from.len();
        match sealing.lay_out(from, self.lease.frame_mut(), self.filled) {
            Ok(unit) => {
                self.units.push(unit);
                self.filled += sealing.record_bytes(len);
                self.plaintext_bytes += len as u64;
                true
            }
            Err(error) => {
                self.failed = Some(error);
                false
            }
        }
    }
}

/// The bytes of a range, or as many as there can be in memory.
fn clamped(range: &Range<u64>) -> usize {
    usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
