//! Entry points for the fuzz targets.
//!
//! The input of [`tls_records`] is a byte of choices (version, side, lengths, and in the upper
//! three bits the suite), then commands: a kind, a length, and so many bytes. A kind is a record's
//! type, whose bytes are sealed as the peer would, or 0 for bytes that are received as they are.

mod handshakes;

use sealift_crypto::{Chaos, Faults, Inline, Suite};

pub use handshakes::{Configs, tls_handshakes};

use crate::ahead::{self, OpeningEngine};
use crate::epoch::Epoch;
use crate::error::{Error, Result};
use crate::incoming::Incoming;
use crate::inflow::Step;
use crate::opening::Opening;
use crate::post_handshake::Side;
use crate::record::ContentType;
use crate::sealing::Sealing;

/// What one command can bring, at most.
const MOST_BYTES: usize = 255;
/// The most that a ticket is long, in bytes.
const MOST_TICKET_BYTES: usize = 0xffff;

/// Feeds records and garbage to the reading side, and checks that data comes out of what was sealed
/// and of nothing else, in order; and that a reader that opens ahead, on an engine that is late and
/// out of order, is told the same of it all, received in parts or at once.
pub fn tls_records(input: &[u8]) {
    // A mistake here is one of the target's own.
    let _ = run(input);
}

fn run(input: &[u8]) -> Result<()> {
    let Some((&choices, mut commands)) = input.split_first() else { return Ok(()) };
    let mut sealing = Sealing::new(epoch(choices, 0)?);
    let mut reader = Reader::new(choices, None)?;
    let (mut wire, mut sealed) = (Vec::new(), Vec::new());
    while let Some((&[kind, len], rest)) = commands.split_first_chunk() {
        let (bytes, rest) = rest.split_at(rest.len().min(len.into()));
        commands = rest;
        let mut record = bytes.to_vec();
        if let Ok(content) = ContentType::parse(kind) {
            record.resize(sealing.record_bytes(bytes.len()), 0);
            sealing.seal(content, bytes, &mut record)?;
            if content == ContentType::ApplicationData {
                sealed.extend_from_slice(bytes);
            }
        }
        wire.extend_from_slice(&record[..reader.feed(&record)]);
        let generation = reader.generation;
        let goes_on = reader.read();
        for generation in generation..reader.generation {
            sealing.rotate(epoch(choices, generation + 1)?);
        }
        assert!(sealed.starts_with(&reader.data), "data that nobody sealed");
        if !goes_on {
            break;
        }
    }
    let faults = Faults { error: 0, death: 0, ..Faults::honest(3) };
    let chaos = Chaos::new(Inline::new(), faults, wire.len() as u64 ^ u64::from(choices))?;
    let mut ahead = Reader::new(choices, Some(Box::new(chaos)))?;
    ahead.read_all(&wire, [usize::MAX, 100, 7, 1][usize::from(choices >> 3) % 4]);
    assert!(ahead.data == reader.data, "other data");
    assert_eq!(ahead.steps, reader.steps);
    Ok(())
}

/// A reading side, and what it told.
struct Reader {
    incoming: Incoming,
    choices: u8,
    into: Vec<u8>,
    generation: u64,
    data: Vec<u8>,
    /// Whatever else there was, and behind how much data.
    steps: Vec<(usize, String)>,
}

impl Reader {
    fn new(choices: u8, engine: Option<OpeningEngine>) -> Result<Self> {
        let side = if choices & 2 == 0 { Side::Client } else { Side::Server };
        let opening = Opening::new(epoch(choices, 0)?);
        let into = vec![0; if choices & 4 == 0 { 1 } else { MOST_BYTES + 1 }];
        let incoming = Incoming::new(engine, side, opening, &[])?;
        Ok(Self { incoming, choices, into, generation: 0, data: Vec::new(), steps: Vec::new() })
    }

    /// Receives what there is room for. That is as large as the longest record, so all that is not
    /// starved fits.
    fn feed(&mut self, bytes: &[u8]) -> usize {
        let room = self.incoming.room().unwrap_or_default();
        let count = bytes.len().min(room.len());
        room[..count].copy_from_slice(&bytes[..count]);
        self.incoming.received(count);
        count
    }

    /// Receives everything, so much at a time.
    fn read_all(&mut self, mut wire: &[u8], at_once: usize) {
        while self.read() && !wire.is_empty() {
            wire = &wire[self.feed(&wire[..wire.len().min(at_once)])..];
        }
    }

    /// Reads what there is; false at the end.
    fn read(&mut self) -> bool {
        loop {
            let step = match self.incoming.step(&mut self.into) {
                Ok(Step::Data(count)) => {
                    self.data.extend_from_slice(&self.into[..count]);
                    continue;
                }
                Ok(Step::Starved) => return true,
                // It gets further each time that it is asked.
                Ok(Step::Working) => continue,
                Ok(step) => step,
                Err(error) => {
                    self.steps.push((self.data.len(), format!("{error:?}")));
                    return false;
                }
            };
            self.steps.push((self.data.len(), format!("{step:?}")));
            if !self.attend(&step) {
                return false;
            }
        }
    }

    /// Does what a message asks for; false at the end.
    fn attend(&mut self, step: &Step) -> bool {
        match step {
            Step::KeyUpdate { .. } => {
                assert!(is_tls13(self.choices), "only TLS 1.3 has key updates");
                self.generation += 1;
                match (&mut self.incoming, epoch(self.choices, self.generation)) {
                    (Incoming::Direct(inflow), Ok(epoch)) => inflow.rotate(epoch),
                    (Incoming::Ahead(ahead), Ok(epoch)) => ahead.rotate(epoch),
                    _ => return false,
                }
            }
            Step::Ticket(ticket) => assert!(ticket.len() <= MOST_TICKET_BYTES),
            Step::Renegotiation => assert!(!is_tls13(self.choices), "TLS 1.3 has no renegotiation"),
            _ => {}
        }
        !matches!(step, Step::Ended)
    }
}

fn is_tls13(choices: u8) -> bool {
    choices & 1 == 0
}

fn epoch(choices: u8, generation: u64) -> Result<Epoch> {
    let suite = Suite::ALL[usize::from(choices >> 5) % Suite::ALL.len()];
    let mut key = vec![0; suite.key_bytes()];
    key[..8].copy_from_slice(&generation.to_le_bytes());
    // It seals, too.
    let limits = sealift_crypto::Limits { seals: u64::MAX, ..ahead::LIMITS };
    Epoch::of(suite, &key, [0; 12], is_tls13(choices), Some(limits))
        .map_err(|_| Error::Caller { what: "a key of this length is none" })
}
