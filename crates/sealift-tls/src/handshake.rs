//! The handshake: rustls speaks, this module carries its bytes until it has secrets to hand over.
//!
//! ```text
//!  socket ──► incoming: │ seen by rustls │ not yet │        one more record at a time
//!  socket ◄── flights
//!                                        └─► what is left goes to the reader: it is sealed data
//! ```
//! rustls sees no record behind the one that ends the handshake, so all data is opened here.

use std::io::IoSliceMut;
use std::time::Instant;

use rustls::ExtractedSecrets;
use sealift_io::{Receiver, Sender};

use crate::error::{Error, Result};
use crate::record::{HEADER_BYTES, MOST_EXPANSION_TLS12_BYTES, whole_record};
use crate::secrets::Kept;
use crate::speaker::{Negotiated, Next, Speaker};

/// What is received at a time, into the stack: who waits for a peer holds what came, and no room.
const ROOM_BYTES: usize = 4096;

/// A handshake that succeeded.
pub(crate) struct Done {
    pub(crate) secrets: ExtractedSecrets,
    pub(crate) kept: Kept,
    pub(crate) negotiated: Negotiated,
    /// Received behind the handshake.
    pub(crate) received: Vec<u8>,
}

/// The two ends of the socket while the handshake lasts.
pub(crate) struct Wire<'a> {
    pub(crate) sender: &'a mut Sender,
    pub(crate) receiver: &'a mut Receiver,
    pub(crate) deadline: Instant,
    /// Nothing behind a record is received before that was seen: another is to open it.
    pub(crate) is_exact: bool,
}

/// A handshake that is under way.
pub(crate) struct Handshake {
    speaker: Speaker,
    /// Received, of which rustls has seen so much, and not discarded.
    incoming: Vec<u8>,
    seen: usize,
    flight: Vec<u8>,
    awaits: Awaits,
}

/// What a handshake needs of the wire before rustls can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    Nothing,
    /// The kernel has taken the flight.
    HandedOver,
    /// There is one more record.
    Record,
}

impl Handshake {
    pub(crate) fn new(speaker: Speaker) -> Self {
        let (incoming, flight) = (Vec::new(), Vec::new());
        Self { speaker, incoming, seen: 0, flight, awaits: Awaits::Nothing }
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn awaits(&self) -> Awaits {
        self.awaits
    }

    /// What it keeps of what came, in bytes.
    #[cfg(fuzzing)]
    pub(crate) fn held_bytes(&self) -> usize {
        self.incoming.len()
    }

    /// Goes on until it is over.
    ///
    /// # Errors
    /// [`Error::Deadline`] if the wire made it wait for too long: it goes on with the next call.
    /// After any other it is over, and the alert that says why is on its way.
    pub(crate) fn go_on(&mut self, wire: &mut Wire<'_>) -> Result<()> {
        loop {
            self.await_wire(wire)?;
            let seen = &mut self.incoming[..self.seen];
            let (discard, next) = self.speaker.process(seen, &mut self.flight);
            self.incoming.drain(..discard);
            self.seen -= discard;
            match next {
                Next::Again => {}
                Next::Send => {
                    wire.send(std::mem::take(&mut self.flight))?;
                    self.awaits = Awaits::HandedOver;
                }
                Next::Record if !self.speaker.state().is_handshaking() => return Ok(()),
                Next::Record => self.awaits = Awaits::Record,
                Next::Failed(error) => {
                    // It has failed already, and says why.
                    let _ = wire.send(self.speaker.alert());
                    return Err(error);
                }
            }
        }
    }

    /// Waits for what it needs of the wire.
    ///
    /// # Errors
    /// As [`go_on`](Handshake::go_on).
    pub(crate) fn await_wire(&mut self, wire: &mut Wire<'_>) -> Result<()> {
        match self.awaits {
            Awaits::Nothing => {}
            Awaits::HandedOver => wire.hand_over()?,
            Awaits::Record => self.seen = wire.one_more_record(&mut self.incoming, self.seen)?,
        }
        self.awaits = Awaits::Nothing;
        Ok(())
    }

    /// What has come of it.
    ///
    /// # Errors
    /// [`Error::Handshake`] if it is not over.
    pub(crate) fn finish(mut self) -> Result<Done> {
        self.incoming.drain(..self.seen);
        let (secrets, kept, negotiated) = self.speaker.finish()?;
        Ok(Done { secrets, kept, negotiated, received: self.incoming })
    }
}

impl Wire<'_> {
    fn send(&mut self, flight: Vec<u8>) -> Result<()> {
        if !flight.is_empty() {
            self.sender.send(flight).map_err(|refused| refused.error)?;
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<()> {
        self.sender.hand_over(self.deadline)?;
        self.sender.drain(|_| {});
        Ok(())
    }

    /// Makes `incoming` hold one more record than was seen, and says where that ends. Where no
    /// record can begin, rustls shall see all, and judge it.
    fn one_more_record(&mut self, incoming: &mut Vec<u8>, seen: usize) -> Result<usize> {
        loop {
            match whole_record(&incoming[seen..], MOST_EXPANSION_TLS12_BYTES) {
                Ok(Some(header)) => return Ok(seen + header.record_bytes()),
                Ok(None) => {}
                Err(_) => return Ok(incoming.len()),
            }
            let most = match self.is_exact {
                true => missing_bytes(&incoming[seen..]).min(ROOM_BYTES),
                false => ROOM_BYTES,
            };
            let room = &mut [0; ROOM_BYTES][..most];
            match self.receiver.receive(&mut [IoSliceMut::new(room)], self.deadline)?.bytes {
                0 => return Err(Error::Truncated),
                count => incoming.extend_from_slice(&room[..count]),
            }
        }
    }
}

/// What the record that begins with `bytes` is surely longer: by the rest of its header, then by
/// the rest of its body. It is not whole, and its header, if it is there, was judged.
fn missing_bytes(bytes: &[u8]) -> usize {
    match bytes.first_chunk() {
        Some(&[_, _, _, high, low]) => {
            let body_bytes = usize::from(u16::from_be_bytes([high, low]));
            HEADER_BYTES + body_bytes - bytes.len()
        }
        None => HEADER_BYTES - bytes.len(),
    }
}
