//! The kernel's socket: what it accepted, when it reads it, and what it still holds.
//!
//! ```text
//!  accept ──► unacknowledged bytes, read on transmission and again on each retransmission
//!                  │ acknowledged (stream: in order; datagrams: as the device pleases) or reset
//!                  ▼
//!  hold ───────► ripe ──► its notification
//! ```
//!
//! Zero-copy bytes are read out of the sender's memory as late as possible: for the last time in
//! the moment before they are acknowledged.

use std::collections::VecDeque;

use super::super::machine::Kind;
use super::super::slots::Key;
use super::registry::{Load, Piece};
use super::stage::Stage;

/// The kernel's right to read the memory of one request.
pub(super) struct Hold {
    pub(super) key: Key,
    tags: Vec<u64>,
    /// The request's result is not known yet.
    open: bool,
    /// Flights that still refer to it.
    flights: usize,
    /// Bytes accepted, by message.
    accepted: Vec<(u64, u64)>,
    /// Bytes that the sender has to count as pinned.
    pinned_bytes: usize,
    zero_copy: bool,
    /// The kernel copied the bytes on acceptance after all.
    pub(super) copied: bool,
}

pub(super) type HoldId = usize;

/// Accepted bytes that the other end has not acknowledged.
struct Flight {
    hold: Option<HoldId>,
    /// Read from the sender's memory again and again; empty for bytes that were copied.
    pieces: Vec<Piece>,
    len: usize,
}

/// How a socket of a run behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) kind: Kind,
    /// Unacknowledged bytes that it takes.
    pub(super) buffer_bytes: usize,
    /// One in so many zero-copy requests is copied after all; 0 for none.
    pub(super) copies_once_in: usize,
    /// Acknowledgements stop for a while once in so many.
    pub(super) stalls_once_in: usize,
}

pub(super) struct Socket {
    pub(super) path: Path,
    holds: Vec<Hold>,
    in_flight: VecDeque<Flight>,
    unacknowledged: usize,
    /// Bytes of the stream accepted so far.
    accepted: u64,
    ripe: Vec<HoldId>,
    /// Bytes that the sender has to count as pinned by all holds.
    pub(super) pinned_bytes: usize,
    stalled_until_us: u64,
    /// Nothing can be sent any more.
    pub(super) dead: bool,
}

impl Socket {
    pub(super) fn new(path: Path) -> Self {
        Self {
            path,
            holds: Vec::new(),
            in_flight: VecDeque::new(),
            unacknowledged: 0,
            accepted: 0,
            ripe: Vec::new(),
            pinned_bytes: 0,
            stalled_until_us: 0,
            dead: false,
        }
    }

    /// Bytes that fit now.
    pub(super) fn room(&self) -> usize {
        self.path.buffer_bytes.saturating_sub(self.unacknowledged)
    }

    /// Holds on to the memory of a request that was handed over.
    pub(super) fn hold(
        &mut self,
        stage: &mut Stage,
        key: Key,
        load: &Load,
        zero_copy: bool,
    ) -> HoldId {
        for &tag in &load.tags {
            stage.registry.parcel(tag).holds += 1;
        }
        let pinned_bytes = if zero_copy { load.len } else { 0 };
        self.pinned_bytes += pinned_bytes;
        self.holds.push(Hold {
            key,
            tags: load.tags.clone(),
            open: true,
            flights: 0,
            accepted: Vec::new(),
            pinned_bytes,
            zero_copy,
            copied: zero_copy && stage.random.once_in(self.path.copies_once_in),
        });
        self.holds.len() - 1
    }

    /// Accepts `count` bytes of a request from `from` on.
    pub(super) fn accept(
        &mut self,
        stage: &mut Stage,
        load: &Load,
        (from, count): (usize, usize),
        hold: HoldId,
    ) {
        let stays = self.holds[hold].zero_copy && !self.holds[hold].copied;
        let mut pieces = Vec::new();
        for piece in load.cut(from, count) {
            let offset = piece.offset(&stage.registry);
            if self.path.kind == Kind::Stream {
                let position = stage.registry.parcels[piece.tag as usize].position;
                assert_eq!(position + offset as u64, self.accepted, "a gap or a repetition");
                self.accepted += piece.len as u64;
            }
            stage.registry.parcel(piece.tag).accepted += piece.len as u64;
            self.holds[hold].accepted.push((piece.tag, piece.len as u64));
            if stays {
                pieces.push(piece);
            } else {
                piece.check(&stage.machine, &stage.memory, &stage.registry);
            }
        }
        if self.path.kind == Kind::Datagram {
            self.check_datagram(stage, load, count);
        }
        let zero_copy = self.holds[hold].zero_copy;
        self.holds[hold].flights += usize::from(zero_copy);
        self.unacknowledged += count;
        let hold = zero_copy.then_some(hold);
        self.in_flight.push_back(Flight { hold, pieces, len: count });
    }

    /// A datagram is one whole message, each byte of it in its place.
    fn check_datagram(&self, stage: &mut Stage, load: &Load, count: usize) {
        let &[tag] = &load.tags[..] else { panic!("a datagram of {} messages", load.tags.len()) };
        let mut at = 0;
        for piece in &load.pieces {
            assert_eq!(piece.offset(&stage.registry), at, "a datagram out of order");
            at += piece.len;
        }
        let parcel = stage.registry.parcel(tag);
        assert_eq!((at, count), (parcel.len, parcel.len), "a part of a datagram");
        parcel.departures += 1;
        assert_eq!(parcel.departures, 1, "message {tag} was sent twice");
    }

    /// The result of a request with a notification to come is known: no more bytes of it will be
    /// accepted, and it is ripe when the last one is acknowledged.
    pub(super) fn finish(&mut self, hold: HoldId) {
        self.holds[hold].open = false;
        if self.holds[hold].flights == 0 {
            self.ripe.push(hold);
        }
    }

    /// The sender learns that the kernel took so many bytes; the rest is not pinned.
    pub(super) fn took(&mut self, hold: HoldId, count: usize) {
        let pinned = &mut self.holds[hold].pinned_bytes;
        self.pinned_bytes -= *pinned - count.min(*pinned);
        *pinned = count.min(*pinned);
    }

    /// Some hold whose memory is read no more, to be notified of now.
    pub(super) fn take_ripe(&mut self, stage: &mut Stage) -> Option<HoldId> {
        let any = stage.random.below(self.ripe.len());
        let at = if stage.random.once_in(3) { any } else { 0 };
        (!self.ripe.is_empty()).then(|| self.ripe.remove(at))
    }

    /// The sender is told that the kernel reads the memory no more, and what became of the bytes.
    pub(super) fn let_go(&mut self, stage: &mut Stage, hold: HoldId, copied: bool) {
        self.took(hold, 0);
        let Hold { tags, zero_copy, accepted, .. } = &self.holds[hold];
        for &tag in tags {
            stage.registry.parcel(tag).holds -= 1;
        }
        for &(tag, count) in accepted {
            let told = &mut stage.registry.parcel(tag).told;
            match (zero_copy, copied) {
                (false, _) => told.plain += count,
                (true, true) => told.copied += count,
                (true, false) => told.zero_copied += count,
            }
        }
    }

    pub(super) fn held(&self, hold: HoldId) -> &Hold {
        &self.holds[hold]
    }

    /// Whether the socket does nothing unless it is asked.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.ripe.is_empty()
    }

    /// Something happens on the network: bytes are sent, sent again, or acknowledged.
    pub(super) fn progress(&mut self, stage: &mut Stage) {
        if self.in_flight.is_empty() || stage.now_us < self.stalled_until_us {
            return;
        }
        if stage.random.once_in(self.path.stalls_once_in) {
            self.stalled_until_us = stage.now_us + stage.random.below(400_000) as u64;
            stage.seen.note("stalls of the other end");
            return;
        }
        let any = stage.random.below(self.in_flight.len());
        if stage.random.once_in(3) {
            let pieces = &self.in_flight[any].pieces;
            pieces.iter().for_each(|p| p.check(&stage.machine, &stage.memory, &stage.registry));
            stage.seen.add("pieces read again", pieces.len() as u64);
        } else if self.path.kind == Kind::Datagram {
            self.acknowledge(stage, any);
        } else {
            // A stream is acknowledged in order, several requests at a time.
            for _ in 0..=any.min(stage.random.below(4)) {
                self.acknowledge(stage, 0);
            }
        }
    }

    /// Reads the bytes for the last time.
    fn acknowledge(&mut self, stage: &mut Stage, at: usize) {
        let Some(flight) = self.in_flight.remove(at) else { return };
        for piece in &flight.pieces {
            piece.check(&stage.machine, &stage.memory, &stage.registry);
        }
        self.land(flight);
    }

    fn land(&mut self, flight: Flight) {
        self.unacknowledged -= flight.len;
        let Some(id) = flight.hold else { return };
        let hold = &mut self.holds[id];
        hold.flights -= 1;
        if hold.flights == 0 && !hold.open {
            self.ripe.push(id);
        }
    }

    /// The connection is gone: nothing is sent any more, and everything is let go of.
    pub(super) fn reset(&mut self) {
        self.dead = true;
        while let Some(flight) = self.in_flight.pop_front() {
            self.land(flight);
        }
    }

    /// The stalled end reads again.
    pub(super) fn resume(&mut self) {
        self.stalled_until_us = 0;
    }
}
