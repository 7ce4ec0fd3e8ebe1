//! What is written: sealed into leases, and handed to the sender.
//!
//! ```text
//!  the caller's memory ──seal──► Lease: record │ record │ record ──► Sender ──► kernel
//!                                  ▲                                  ▲           │
//!                                 Pool ◄────────────── drained ◄──────│───────────┘
//!  owned memory ──► Bulk: sealed by an engine, released in order ─────┘
//! ```
//!
//! 1. What is sealed is sent, in the order of its numbers: a record goes to the sender before the
//!    next is sealed, or takes its place behind what an engine seals (`bulk.rs`), or nothing is
//!    sealed any more.
//! 2. Places in the sender are kept for records that are not data, so that those never wait for a
//!    peer that does not read.

use std::io::IoSlice;
use std::time::{Duration, Instant};

use rustls::AlertDescription;
use sealift_io::{Lease, Message, Refused, Sender, Tally, Ticket};

use crate::alert::Alert;
use crate::bulk::{Bulk, SealingEngine};
use crate::error::{Error, Result};
use crate::frames::Frames;
use crate::holders::Listing;
use crate::link::{Link, Wants};
use crate::pieces::Pieces;
use crate::post_handshake::key_update;
use crate::record::ContentType;
use crate::sealing::Sealing;
use crate::stats::Offload;

mod elsewhere;
mod ending;
mod files;
#[cfg(test)]
mod tests;

pub(crate) use ending::Ending;
pub(crate) use files::read_whole;

/// Places in the sender for records that are not data (invariant 2).
pub(crate) const KEPT_PLACES: usize = 4;
/// How often one who waits for a frame looks up: others may have brought one home, or the reading
/// half may have ended the connection.
pub(crate) const LOOK_UP_EVERY: Duration = Duration::from_millis(5);

/// What was sealed, counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) gathered_bytes: u64,
    pub(crate) key_updates: u64,
}

impl Counts {
    /// Both together.
    fn and(self, more: Self) -> Self {
        Self {
            records: self.records + more.records,
            bytes: self.bytes + more.bytes,
            gathered_bytes: self.gathered_bytes + more.gathered_bytes,
            key_updates: self.key_updates + more.key_updates,
        }
    }
}

/// A way into the sender.
type Put = fn(&mut Sender, Message) -> std::result::Result<Ticket, Refused>;
/// The same for a lease that was filled.
type PutLease = fn(&mut Outflow, Lease) -> Result<()>;

/// The writing side of a connection.
pub(crate) struct Outflow {
    /// `None` once closed, or dropped.
    sender: Option<Sender>,
    /// Why it was dropped.
    fault: Option<Error>,
    /// close_notify was sent: nothing may follow it.
    is_ended: bool,
    /// What the kernel has of the end: nothing, close_notify, or the end of the stream, too.
    end_bytes: usize,
    frames: Frames,
    /// Whether it is among the holders of shared frames.
    listing: Listing,
    sealing: Sealing,
    /// What an engine seals; `None` without one, and once it has ended.
    bulk: Option<Bulk>,
    /// Messages of data that may be under way.
    places: usize,
    most_plaintext_bytes: usize,
    /// The plaintext that fits a lease, in the longest records.
    lease_bytes: usize,
    counts: Counts,
    last_stats: sealift_io::Stats,
    last_offload: Option<Offload>,
}

impl Outflow {
    /// `messages` is what the sender holds; `engine` suits `sealing`.
    pub(crate) fn new(
        sender: Sender,
        frames: Frames,
        sealing: Sealing,
        engine: Option<SealingEngine>,
        messages: usize,
    ) -> Self {
        let frame_bytes = frames.pool().stats().frame_bytes;
        let most_plaintext_bytes = sealing.most_plaintext_bytes(frame_bytes);
        let records = frame_bytes / sealing.record_bytes(most_plaintext_bytes);
        Self {
            last_stats: sender.stats(),
            sender: Some(sender),
            fault: None,
            is_ended: false,
            end_bytes: 0,
            frames,
            listing: Listing::default(),
            most_plaintext_bytes,
            lease_bytes: records * most_plaintext_bytes,
            sealing,
            bulk: engine.map(|engine| Bulk::new(engine, messages)),
            places: messages - KEPT_PLACES,
            counts: Counts::default(),
            last_offload: None,
        }
    }

    /// Seals and sends all of `slices`, unless the deadline comes before; says how much that was.
    pub(crate) fn write(
        &mut self,
        link: &Link,
        slices: &[IoSlice<'_>],
        deadline: Instant,
    ) -> Result<usize> {
        self.begin(link, deadline)?;
        let mut pieces = Pieces::new(slices);
        let all = pieces.left_bytes();
        // What fills several leases leaves by one call.
        let put = if all <= self.lease_bytes { Self::send_straight } else { Self::queue_lease };
        while pieces.left_bytes() > 0 {
            match self.write_lease(link, &mut pieces, put, deadline) {
                // More would lie here until the socket has room.
                Ok(()) if self.is_stuck() && Instant::now() >= deadline => break,
                Ok(()) => {}
                // What was sealed is written, and must not be written again; the next call tells.
                Err(_) if pieces.left_bytes() < all => break,
                Err(error) => return Err(error),
            }
        }
        self.finish(link, deadline)?;
        Ok(all - pieces.left_bytes())
    }

    /// Seals the next records of `pieces` into one lease, and sends it.
    fn write_lease(
        &mut self,
        link: &Link,
        pieces: &mut Pieces<'_, '_>,
        put: PutLease,
        deadline: Instant,
    ) -> Result<()> {
        self.send_lease(link, put, deadline, |outflow, into| {
            let len = pieces.record_bytes(outflow.most_plaintext_bytes);
            if len == 0 || into.len() < outflow.sealing.record_bytes(len) {
                return Ok(0);
            }
            let is_plain = outflow.sealing.padding_bytes(len) == 0;
            let filled = match pieces.in_one(len).filter(|_| is_plain) {
                Some(piece) => outflow.sealing.seal(ContentType::ApplicationData, piece, into)?,
                None => {
                    outflow.counts.gathered_bytes += len as u64;
                    outflow.sealing.seal_gathered(pieces.each(len), len, into)?
                }
            };
            pieces.advance(len);
            outflow.count(len);
            Ok(filled)
        })
    }

    /// Checks that something can be written, and waits until what was written before has left,
    /// unless the engine is still at it: then this goes behind that.
    fn begin(&mut self, link: &Link, deadline: Instant) -> Result<()> {
        self.check_open(link)?;
        self.pump(link)?;
        match self.is_idle() {
            true => Ok(self.sender()?.hand_over(deadline)?),
            false => Ok(()),
        }
    }

    fn check_open(&self, link: &Link) -> Result<()> {
        link.check()?;
        if self.is_ended { Err(Error::Closed) } else { Ok(()) }
    }

    /// Waits until the kernel has what was written.
    fn finish(&mut self, link: &Link, deadline: Instant) -> Result<()> {
        let handed_over = match self.is_stuck() && Instant::now() >= deadline {
            // Nothing has changed since it was asked.
            true => Err(Error::Deadline),
            false => self.hand_over(link, deadline),
        };
        match handed_over {
            // It is sealed, or begun, so it is written: others see to its leaving.
            Err(Error::Deadline) => Ok(()),
            outcome => outcome,
        }
    }

    /// Leaves what did not leave to others, when the writing side is given up: the records to those
    /// who wait, and the frames to who needs one.
    pub(crate) fn leave(&mut self, link: &Link) {
        self.list(link);
        if self.sender.is_some() && !self.is_handed_over() {
            link.want(Wants::PUMP);
        }
    }

    /// Waits until something under way may have come on, but not for long: others may have brought
    /// a frame home, or the reading half may have ended the connection.
    fn wait(&mut self, deadline: Instant) -> Result<()> {
        let soon = deadline.min(Instant::now() + LOOK_UP_EVERY);
        if let Some(bulk) = self.bulk.as_mut().filter(|bulk| !bulk.is_idle()) {
            bulk.wait(soon);
            return Ok(());
        }
        match self.sender()?.wait(soon) {
            // What came back is dropped, so that its lease goes home.
            Ok(_) | Err(sealift_io::Error::Deadline { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the socket had no room just now, and nothing else is to be done.
    pub(crate) fn is_stuck(&self) -> bool {
        self.is_idle() && self.sender.as_ref().is_some_and(Sender::awaits_room)
    }

    /// What is between this and nothing under way: less of it is news to one who waits.
    pub(crate) fn standing(&self) -> (bool, bool, usize) {
        (!self.is_handed_over(), self.is_stuck(), self.in_flight())
    }

    /// Messages of this stream that are under way.
    fn in_flight(&self) -> usize {
        let begun = self.bulk.as_ref().map_or(0, Bulk::len);
        self.sender.as_ref().map_or(0, Sender::in_flight) + begun
    }

    fn count(&mut self, plaintext_bytes: usize) {
        self.counts.records += 1;
        self.counts.bytes += plaintext_bytes as u64;
    }

    /// Fills one lease with records, and has it `put` on its way. `next` seals one record into the
    /// room that is left, and says how long it is; 0 if there is none, or it does not fit.
    fn send_lease(
        &mut self,
        link: &Link,
        put: PutLease,
        deadline: Instant,
        mut next: impl FnMut(&mut Self, &mut [u8]) -> Result<usize>,
    ) -> Result<()> {
        let mut lease = self.lease(link, deadline)?;
        self.tend(link)?;
        if self.sealing.is_spent() {
            self.renew_key(link)?;
        }
        let mut filled = 0;
        let ended = loop {
            if self.sealing.is_spent() {
                break Ok(());
            }
            match next(self, &mut lease.frame_mut()[filled..]) {
                Ok(0) => break Ok(()),
                Ok(len) => filled += len,
                Err(error) => break Err(error),
            }
        };
        if filled > 0 {
            lease.set_len(filled);
            put(self, lease)?;
        }
        ended
    }

    /// Replaces a key that has sealed nearly all that it may.
    fn renew_key(&mut self, link: &Link) -> Result<()> {
        if !self.sealing.layout().is_tls13() {
            return Err(Error::KeyExhausted);
        }
        self.update_key(link, false)
    }

    /// Seals a KeyUpdate with the old key, which asks for the peer's, and goes on with the new one.
    pub(crate) fn request_key_update(&mut self, link: &Link, deadline: Instant) -> Result<()> {
        link.check()?;
        self.wait_for_place(link, deadline)?;
        self.update_key(link, true)
    }

    /// Seals a KeyUpdate with the old key, and goes on with the new one.
    fn update_key(&mut self, link: &Link, request: bool) -> Result<()> {
        if !self.sealing.layout().is_tls13() {
            return Err(Error::Caller { what: "only TLS 1.3 has key updates" });
        }
        if self.is_ended {
            return Err(Error::Closed);
        }
        let next = link.secrets().next_sealing()?;
        self.send_control(ContentType::Handshake, &key_update(request))?;
        self.sealing.rotate(next);
        self.counts.key_updates += 1;
        Ok(())
    }

    /// Tells the peer.
    pub(crate) fn send_alert(&mut self, description: AlertDescription) -> Result<()> {
        self.send_control(ContentType::Alert, &Alert::encode(description))
    }

    fn send_control(&mut self, content: ContentType, text: &[u8]) -> Result<()> {
        let mut record = vec![0; self.sealing.record_bytes(text.len())];
        self.sealing.seal(content, text, &mut record)?;
        self.send(record.into())
    }

    /// Does what the reading side wants, as far as there is room.
    pub(crate) fn tend(&mut self, link: &Link) -> Result<()> {
        // What is sent no more is wanted no more.
        if self.sender.as_ref().is_none_or(|sender| sender.fault().is_some()) {
            link.take_want(Wants::ANY);
        }
        if !link.wants(Wants::ANY) {
            return Ok(());
        }
        self.pump(link)?;
        self.drain_settled();
        if self.is_ended {
            link.take_want(Wants::ANSWER | Wants::REFUSAL);
        }
        if self.has_kept_place() && link.take_want(Wants::ANSWER) {
            self.update_key(link, false)?;
        }
        if self.has_kept_place() && link.take_want(Wants::REFUSAL) {
            self.send_alert(AlertDescription::NoRenegotiation)?;
        }
        self.sender()?.submit()?;
        if self.is_handed_over() {
            link.take_want(Wants::PUMP);
        } else {
            link.want(Wants::PUMP);
        }
        self.drain_settled();
        Ok(())
    }

    fn has_kept_place(&self) -> bool {
        self.in_flight() < self.places + KEPT_PLACES - 1
    }

    /// Sends a sealed message at once, behind what the engine is at.
    fn send(&mut self, message: Message) -> Result<()> {
        self.put(message, Sender::send)
    }

    /// As [`send`](Outflow::send), but with the next ones, in one system call.
    fn queue_lease(&mut self, lease: Lease) -> Result<()> {
        self.put(lease.into(), Sender::queue)
    }

    /// As [`send`](Outflow::send), of what nothing follows soon: past the queue, if it can.
    fn send_straight(&mut self, lease: Lease) -> Result<()> {
        if !self.is_idle() {
            return self.queue_lease(lease);
        }
        // What comes back at once goes home.
        let sent = self.sender()?.send_straight(lease).map(drop);
        self.accepted(sent)
    }

    fn put(&mut self, message: Message, put: Put) -> Result<()> {
        let Some(bulk) = self.bulk.as_mut().filter(|bulk| !bulk.is_idle()) else {
            return self.push(message, put);
        };
        if !bulk.append(message) {
            return Err(self.drop_sender(sealift_io::Error::Full.into()));
        }
        self.release()
    }

    /// Hands a sealed message over.
    fn push(&mut self, message: Message, put: Put) -> Result<()> {
        let put = put(self.sender()?, message).map(drop);
        self.accepted(put)
    }

    /// Nothing may be sealed after a message that is refused (invariant 1).
    fn accepted(&mut self, put: std::result::Result<(), Refused>) -> Result<()> {
        let Err(refused) = put else { return Ok(()) };
        // After a fault the sender refuses everything by itself.
        match self.sender()?.fault() {
            Some(_) => Err(refused.error.into()),
            None => Err(self.drop_sender(refused.error.into())),
        }
    }

    /// Sends nothing any more, and says why from now on.
    fn drop_sender(&mut self, why: Error) -> Error {
        if let Some(sender) = self.sender.take() {
            self.last_stats = sender.stats();
        }
        self.fault.get_or_insert(why).clone()
    }

    /// A frame, and a place in the sender for it.
    fn lease(&mut self, link: &Link, deadline: Instant) -> Result<Lease> {
        loop {
            self.wait_for_place(link, deadline)?;
            let in_flight = self.in_flight();
            if in_flight == 0 && self.frames.pool().free_frames() == 0 {
                self.bulk.iter_mut().for_each(Bulk::recall);
            }
            if let Some(lease) = self.frames.try_lease(in_flight)? {
                return Ok(lease);
            }
            // Frames come home from this stream, or from whoever shares the pool. Nobody else asks
            // the kernel for them while the engine is waited for.
            if !self.is_idle() && self.drain() {
                continue;
            }
            if self.in_flight() > 0 {
                self.wait(deadline)?;
            } else {
                match self.frames.pool().lease_before(deadline.min(Instant::now() + LOOK_UP_EVERY))
                {
                    Ok(lease) => return Ok(lease),
                    Err(sealift_io::Error::Full) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if Instant::now() >= deadline {
                return Err(Error::Deadline);
            }
        }
    }

    /// Waits until there is a place for data.
    pub(crate) fn wait_for_place(&mut self, link: &Link, deadline: Instant) -> Result<()> {
        loop {
            link.check()?;
            self.pump(link)?;
            self.drain_settled();
            if self.in_flight() >= self.places {
                self.drain();
            }
            if let Some(fault) = self.sender()?.fault() {
                return Err(fault.clone().into());
            }
            if self.in_flight() < self.places {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::Deadline);
            }
            self.wait(deadline)?;
        }
    }

    /// Sends home what came back already; whether something is still under way.
    fn still_holds(&mut self) -> bool {
        self.drain_settled();
        self.in_flight() > 0
    }

    /// Adds this stream to the holders of shared frames, if it is one and not among them.
    fn list(&mut self, link: &Link) {
        if self.frames.holders().is_none() || !self.still_holds() {
            return;
        }
        if let Some(holders) = self.frames.holders() {
            self.listing.enter(holders, || link.downgrade());
        }
    }

    /// Looks whether something came back, for one who needs a frame; as
    /// [`still_holds`](Outflow::still_holds).
    pub(crate) fn reap(&mut self) -> bool {
        self.drain();
        let still_holds = self.still_holds();
        self.listing.note(still_holds);
        still_holds
    }

    /// Sends leases home that are known to have come back.
    fn drain_settled(&mut self) {
        if let Some(sender) = &mut self.sender {
            sender.drain_settled(|_| {});
        }
    }

    /// Asks the kernel what came back, and sends those leases home; whether there were any.
    pub(crate) fn drain(&mut self) -> bool {
        self.sender.as_mut().is_some_and(|sender| sender.drain(|_| {}) > 0)
    }

    /// Waits until everything written before has left this machine's memory.
    pub(crate) fn flush(&mut self, link: &Link, deadline: Instant) -> Result<Tally> {
        self.settle(link, deadline)?;
        loop {
            link.check()?;
            // The reading half may end the connection, and the kernel hold what it has for as long.
            let soon = deadline.min(Instant::now() + LOOK_UP_EVERY);
            match self.sender()?.flush(soon) {
                Err(sealift_io::Error::Deadline { .. }) if soon < deadline => {}
                flushed => {
                    let tally = flushed?;
                    self.drain();
                    return Ok(tally);
                }
            }
        }
    }

    /// Waits until the kernel has everything written before.
    pub(crate) fn hand_over(&mut self, link: &Link, deadline: Instant) -> Result<()> {
        self.settle(link, deadline)?;
        self.sender()?.hand_over(deadline)?;
        if self.is_ended && self.end_bytes == 0 {
            self.end_bytes = self.sealing.record_bytes(Alert::BYTES);
        }
        Ok(())
    }

    /// The sender's figures, the last ones once it is closed.
    pub(crate) fn sender_stats(&self) -> sealift_io::Stats {
        self.sender.as_ref().map_or_else(|| self.last_stats.clone(), Sender::stats)
    }

    /// The sender, to be closed by itself, unless the connection is gone.
    pub(crate) fn into_sender(mut self) -> Option<Sender> {
        self.sender.take()
    }

    /// The sender, unless it is closed.
    pub(crate) fn sender(&mut self) -> Result<&mut Sender> {
        let why = || self.fault.clone().unwrap_or(Error::Closed);
        self.sender.as_mut().ok_or_else(why)
    }
}
