//! Entry points for the fuzz targets.
//!
//! The input of [`tls_records`] is a byte of choices, then commands: a kind, a length, and so many
//! bytes. A kind is a record's type, whose bytes are sealed as the peer would, or 0 for bytes that
//! are received as they are.

use sealift_crypto::Suite;

use crate::epoch::Epoch;
use crate::error::{Error, Result};
use crate::inflow::{Inflow, Step};
use crate::opening::Opening;
use crate::post_handshake::Side;
use crate::record::ContentType;
use crate::sealing::Sealing;

/// What one command can bring, at most.
const MOST_BYTES: usize = 255;
/// The most that a ticket is long, in bytes.
const MOST_TICKET_BYTES: usize = 0xffff;

/// Feeds records and garbage to the reading side, and checks that data comes out of what was sealed
/// and of nothing else, in order.
pub fn tls_records(input: &[u8]) {
    // A mistake here is one of the target's own.
    let _ = run(input);
}

fn run(input: &[u8]) -> Result<()> {
    let Some((&choices, mut commands)) = input.split_first() else { return Ok(()) };
    let tls13 = choices & 1 == 0;
    let side = if choices & 2 == 0 { Side::Client } else { Side::Server };
    let mut sealing = Sealing::new(epoch(tls13, 0)?);
    let mut inflow = Inflow::new(side, Opening::new(epoch(tls13, 0)?), &[]);
    let mut into = vec![0; if choices & 4 == 0 { 1 } else { MOST_BYTES + 1 }];
    let (mut sealed, mut read) = (Vec::new(), Vec::new());
    let mut generation = 0;
    while let Some((&[kind, len], rest)) = commands.split_first_chunk() {
        let (bytes, rest) = rest.split_at(rest.len().min(len.into()));
        commands = rest;
        match ContentType::parse(kind) {
            Ok(content) => {
                let mut record = vec![0; sealing.record_bytes(bytes.len())];
                sealing.seal(content, bytes, &mut record)?;
                feed(&mut inflow, &record);
                if content == ContentType::ApplicationData {
                    sealed.extend_from_slice(bytes);
                }
            }
            Err(_) => feed(&mut inflow, bytes),
        }
        loop {
            match inflow.step(&mut into) {
                Ok(Step::Data(count)) => read.extend_from_slice(&into[..count]),
                Ok(Step::Starved) => break,
                Ok(Step::KeyUpdate { .. }) => {
                    assert!(tls13, "only TLS 1.3 has key updates");
                    generation += 1;
                    sealing.rotate(epoch(tls13, generation)?);
                    inflow.rotate(epoch(tls13, generation)?);
                }
                Ok(Step::Ticket(ticket)) => assert!(ticket.len() <= MOST_TICKET_BYTES),
                Ok(Step::Renegotiation) => assert!(!tls13, "TLS 1.3 has no renegotiation"),
                Ok(Step::Ended) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        assert!(sealed.starts_with(&read), "data that nobody sealed");
    }
    Ok(())
}

/// The room is as large as the longest record, so all that is not starved fits.
fn feed(inflow: &mut Inflow, bytes: &[u8]) {
    let room = inflow.room();
    let count = bytes.len().min(room.len());
    room[..count].copy_from_slice(&bytes[..count]);
    inflow.received(count);
}

fn epoch(tls13: bool, generation: u64) -> Result<Epoch> {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&generation.to_le_bytes());
    Epoch::of(Suite::Aes128Gcm, &key, [0; 12], tls13, None)
        .map_err(|_| Error::Caller { what: "a key of this length is none" })
}
