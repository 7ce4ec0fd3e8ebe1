//! No nonce comes twice on the wire, whatever an engine loses, repeats, reorders or does over.
//!
//! Truth: the wire itself, read between the two ends. AES-GCM in TLS 1.2 sends with each record the
//! part of its nonce that changes (RFC 5288 section 3), so that it can be read without a key.

mod support;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::{self, JoinHandle};

use sealift_tls::TlsStream;
use support::engines::{Sealer, Telltale, seeds, sound, unsound};
use support::{Authority, Theirs, case_tls12, deadline, name, pattern, tcp_pair};

const HEADER_BYTES: usize = 5;
const EXPLICIT_BYTES: usize = 8;
const CHANGE_CIPHER_SPEC: u8 = 20;

/// Carries everything between the two, and gives what came from the first of them.
fn between(one: TcpStream, other: TcpStream) -> JoinHandle<Vec<u8>> {
    let (mut back_from, mut back_to) = (other.try_clone().unwrap(), one.try_clone().unwrap());
    thread::spawn(move || {
        // Ends with either of them, however they end.
        let _ = std::io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(Shutdown::Write);
    });
    thread::spawn(move || {
        let (mut one, mut other) = (one, other);
        let (mut wire, mut room) = (Vec::new(), vec![0; 65_536]);
        while let Ok(count @ 1..) = one.read(&mut room) {
            wire.extend_from_slice(&room[..count]);
            let _ = other.write_all(&room[..count]);
        }
        let _ = other.shutdown(Shutdown::Write);
        wire
    })
}

/// The sealed records by their nonces; none may be there twice.
fn by_nonce(wire: &[u8]) -> HashMap<&[u8], &[u8]> {
    let (mut rest, mut is_sealed, mut records) = (wire, false, HashMap::new());
    while let Some((header, behind)) = rest.split_at_checked(HEADER_BYTES) {
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        // A connection that failed may end within a record.
        let Some((body, behind)) = behind.split_at_checked(len) else { break };
        if is_sealed {
            let (nonce, ciphertext) = body.split_at(EXPLICIT_BYTES);
            assert!(records.insert(nonce, ciphertext).is_none(), "{nonce:?} came twice");
        }
        is_sealed |= header[0] == CHANGE_CIPHER_SPEC;
        rest = behind;
    }
    records
}

/// What left of a transfer, and whether all did.
fn transfer(sealer: &Sealer, seed: u64) -> (Vec<u8>, bool) {
    let (authority, case) = (Authority::new(), case_tls12());
    let ((near, here), (there, far)) = (tcp_pair(), tcp_pair());
    let wire = between(here, there);
    let server = authority.server(&case);
    let reading = thread::spawn(move || {
        let mut read = Vec::new();
        Theirs::server(far, server).read_to_end(&mut read).is_ok_and(|_| true)
    });
    let builder = sealer.give(TlsStream::builder(), seed);
    let mut ours = builder.connect(near, authority.client(&case), name(), deadline(20)).unwrap();
    let mut is_sent = true;
    for part in pattern(2_000_000, 1).chunks(150_000) {
        is_sent &= ours.send_owned(part.to_vec()).is_ok() && ours.write(b"between").is_ok();
    }
    is_sent &= ours.close(deadline(20)).is_ok_and(|closed| !closed.aborted);
    drop(ours);
    assert_eq!(reading.join().unwrap(), is_sent);
    (wire.join().unwrap(), is_sent)
}

#[test]
fn no_nonce_comes_twice() {
    let all = [sound("no_nonce_comes_twice"), unsound()].concat();
    for sealer in all {
        for seed in seeds(4) {
            let _telltale = Telltale(sealer.name.into(), seed);
            let (wire, is_sent) = transfer(&sealer, seed);
            let records = by_nonce(&wire);
            // Finished, ten records of each part and seven bytes, and close_notify.
            let whole = 1 + 13 * 10 + 4 + 14 + 1;
            match is_sent {
                true => assert_eq!(records.len(), whole),
                false => assert!(sealer.may_fail && records.len() < whole, "{}", records.len()),
            }
        }
    }
}
