//! Records of every suite, whole, damaged, and out of place, without a socket.

mod rfc_8448;

use proptest::prelude::*;
use sealift_crypto::{Key, Limits, Nonce, Suite};

use super::*;
use crate::control::MOST_FRUITLESS;
use crate::error::{Error, Violation};
use crate::post_handshake::key_update;
use crate::record::HEADER_BYTES;
use crate::room::ROOM_BYTES;
use crate::sealing::Sealing;

/// Each suite in each version that has it.
const CASES: [(Suite, bool); 6] = [
    (Suite::Aes128Gcm, true),
    (Suite::Aes256Gcm, true),
    (Suite::ChaCha20Poly1305, true),
    (Suite::Aes128Gcm, false),
    (Suite::Aes256Gcm, false),
    (Suite::ChaCha20Poly1305, false),
];

fn epoch(suite: Suite, tls13: bool, generation: u8) -> Epoch {
    let key = vec![generation; suite.key_bytes()];
    Epoch::of(suite, &key, [3; 12], tls13, None).unwrap()
}

/// The two ends of one direction.
fn ends(suite: Suite, tls13: bool) -> (Sealing, Inflow) {
    let opening = Opening::new(epoch(suite, tls13, 0));
    let inflow = Inflow::new(Side::Client, opening, &[]);
    (Sealing::new(epoch(suite, tls13, 0)), inflow)
}

fn seal(sealing: &mut Sealing, content: ContentType, text: &[u8]) -> Vec<u8> {
    let mut record = vec![0; sealing.record_bytes(text.len())];
    assert_eq!(sealing.seal(content, text, &mut record).unwrap(), record.len());
    record
}

fn data(sealing: &mut Sealing, text: &[u8]) -> Vec<u8> {
    seal(sealing, ContentType::ApplicationData, text)
}

impl Inflow {
    fn feed(&mut self, bytes: &[u8]) {
        self.room()[..bytes.len()].copy_from_slice(bytes);
        self.received(bytes.len());
    }

    /// Everything up to the next stop.
    fn read_all(&mut self, at_once: usize) -> (Vec<u8>, Result<Step>) {
        let mut read = Vec::new();
        let mut into = vec![0; at_once];
        loop {
            match self.step(&mut into) {
                Ok(Step::Data(count)) => read.extend_from_slice(&into[..count]),
                other => return (read, other),
            }
        }
    }

    fn expect(&mut self, violation: Violation) {
        match self.read_all(100).1 {
            Err(Error::Peer(found)) => assert_eq!(found, violation),
            other => panic!("{other:?} instead of {violation:?}"),
        }
    }
}

#[test]
fn records_of_every_size_are_opened_direct_or_staged() {
    for (suite, tls13) in CASES {
        for size in [0, 1, 15, 16, 17, 1000, 16_383, 16_384] {
            for at_once in [1, 100, 16_384, 16_385, 40_000] {
                let (mut sealing, mut inflow) = ends(suite, tls13);
                let text: Vec<u8> = (0..size).map(|at| at as u8).collect();
                inflow.feed(&data(&mut sealing, &text));
                let (read, end) = inflow.read_all(at_once);
                assert!(read == text, "{suite} {tls13} {size} {at_once}");
                assert_eq!(end.unwrap(), Step::Starved);
                let room = size + usize::from(tls13);
                assert_eq!(inflow.counts.direct_records == 1, room <= at_once);
            }
        }
    }
}

/// One record after another, through the end of the room many times.
#[test]
fn records_go_round_the_room() {
    let (mut sealing, mut inflow) = ends(Suite::Aes128Gcm, true);
    let mut wire = Vec::new();
    for number in 0..60u8 {
        wire.extend(data(&mut sealing, &vec![number; 16_000]));
    }
    let mut rest = &wire[..];
    let mut read = Vec::new();
    while !rest.is_empty() {
        let (some, end) = inflow.read_all(20_000);
        read.extend(some);
        assert_eq!(end.unwrap(), Step::Starved);
        let count = inflow.room().len().min(rest.len()).min(50_001);
        inflow.feed(&rest[..count]);
        rest = &rest[count..];
    }
    read.extend(inflow.read_all(20_000).0);
    assert_eq!(read.len(), 60 * 16_000);
    assert!(read.chunks(16_000).enumerate().all(|(at, part)| part == vec![at as u8; 16_000]));
}

/// Room is given back between records, and never with a part of one in it.
#[test]
fn no_room_is_held_while_nothing_is_there() {
    let (mut sealing, mut inflow) = ends(Suite::Aes128Gcm, true);
    let (wire, mut into) = (data(&mut sealing, b"sealed by the peer"), [0; 10]);
    assert!(inflow.bytes.is_empty());
    inflow.feed(&wire[..9]);
    inflow.rest();
    assert_eq!(inflow.step(&mut into).unwrap(), Step::Starved);
    inflow.feed(&wire[9..]);
    assert_eq!(inflow.step(&mut into).unwrap(), Step::Data(10));
    inflow.rest();
    assert_eq!((inflow.step(&mut into).unwrap(), &into[..8]), (Step::Data(8), &b"the peer"[..]));
    inflow.rest();
    assert!(inflow.bytes.is_empty());
    assert_eq!(inflow.step(&mut into).unwrap(), Step::Starved);
}

#[test]
fn a_flipped_bit_at_every_position_is_one_clear_error() {
    for (suite, tls13) in CASES {
        for at_once in [10, 100] {
            let (mut sealing, _) = ends(suite, tls13);
            let record = data(&mut sealing, b"sealed by the peer");
            for bit in 0..record.len() * 8 {
                let mut wire = record.clone();
                wire[bit / 8] ^= 1 << (bit % 8);
                let (_, mut inflow) = ends(suite, tls13);
                inflow.feed(&wire);
                let (read, end) = inflow.read_all(at_once);
                assert!(read.is_empty(), "{suite} {tls13} bit {bit}");
                match end {
                    Err(Error::Inauthentic) => {}
                    // The header's type, version and length.
                    Err(Error::Peer(_)) if bit / 8 < HEADER_BYTES => {}
                    // It is longer now: its end does not come.
                    Ok(Step::Starved) if (3..HEADER_BYTES).contains(&(bit / 8)) => {}
                    other => panic!("{suite} {tls13} bit {bit}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn a_record_cut_at_any_length_is_waited_for() {
    for (suite, tls13) in CASES {
        let (mut sealing, _) = ends(suite, tls13);
        let record = data(&mut sealing, b"sealed by the peer");
        for len in 0..record.len() {
            let (_, mut inflow) = ends(suite, tls13);
            inflow.feed(&record[..len]);
            assert!(matches!(inflow.read_all(100), (read, Ok(Step::Starved)) if read.is_empty()));
            inflow.feed(&record[len..]);
            assert_eq!(inflow.read_all(100).0, b"sealed by the peer");
        }
        // With a length that says so, it is not what was sealed.
        for len in HEADER_BYTES..record.len() {
            let (_, mut inflow) = ends(suite, tls13);
            let mut cut = record[..len].to_vec();
            cut[3..HEADER_BYTES].copy_from_slice(&((len - HEADER_BYTES) as u16).to_be_bytes());
            inflow.feed(&cut);
            let (read, end) = inflow.read_all(100);
            assert!(read.is_empty() && matches!(end, Err(Error::Inauthentic)), "{len} {end:?}");
        }
    }
}

#[test]
fn replayed_reordered_and_lost_records_are_refused() {
    for (suite, tls13) in CASES {
        for order in [&[0, 0][..], &[1, 0], &[0, 2]] {
            let (mut sealing, mut inflow) = ends(suite, tls13);
            let records: Vec<Vec<u8>> =
                (0..3u8).map(|number| data(&mut sealing, &[number; 50])).collect();
            for &number in order {
                inflow.feed(&records[number]);
            }
            let (read, end) = inflow.read_all(100);
            assert!(matches!(end, Err(Error::Inauthentic)), "{suite} {tls13} {order:?} {end:?}");
            assert_eq!(read.len(), if order[0] == 0 { 50 } else { 0 });
        }
    }
}

/// What TLS 1.3 hides behind the content is looked for from the end.
fn padded(suite: Suite, number: u64, inner: &[u8]) -> Vec<u8> {
    let key = Key::new(suite, &vec![0; suite.key_bytes()], Limits::tls(suite)).unwrap();
    let body = inner.len() + sealift_crypto::TAG_BYTES;
    let header = crate::record::Header::encode(ContentType::ApplicationData, body);
    let mut record = header.to_vec();
    record.resize(HEADER_BYTES + body, 0);
    let nonce = Nonce::of(&[3; 12], number);
    key.seal(nonce, &header, inner, &[], &mut record[HEADER_BYTES..]).unwrap();
    record
}

#[test]
fn padding_is_taken_off() {
    for at_once in [10, 100, 20_000] {
        let (_, mut inflow) = ends(Suite::Aes128Gcm, true);
        let mut inner = b"padded".to_vec();
        inner.push(ContentType::ApplicationData as u8);
        for (number, zeros) in [0, 1, 15, 1000, 16_384 - 6].into_iter().enumerate() {
            let mut inner = inner.clone();
            inner.resize(inner.len() + zeros, 0);
            inflow.feed(&padded(Suite::Aes128Gcm, number as u64, &inner));
            assert_eq!(inflow.read_all(at_once).0, b"padded", "{zeros}");
        }
    }
}

#[test]
fn a_record_without_a_type_and_one_too_long_are_refused() {
    for at_once in [10, 100] {
        let (_, mut inflow) = ends(Suite::Aes128Gcm, true);
        inflow.feed(&padded(Suite::Aes128Gcm, 0, &[0; 30]));
        assert!(matches!(
            inflow.read_all(at_once).1,
            Err(Error::Peer(Violation::UnexpectedMessage))
        ));
        let (_, mut inflow) = ends(Suite::Aes128Gcm, true);
        inflow.feed(&padded(Suite::Aes128Gcm, 0, &vec![23; (1 << 14) + 2]));
        assert!(matches!(inflow.read_all(at_once).1, Err(Error::Peer(Violation::RecordTooLong))));
    }
}

#[test]
fn nothing_is_opened_ahead_of_a_key_update() {
    for at_once in [10, 100] {
        let (mut sealing, mut inflow) = ends(Suite::Aes128Gcm, true);
        let mut wire = data(&mut sealing, b"under the old key");
        wire.extend(seal(&mut sealing, ContentType::Handshake, &key_update(true)));
        sealing.rotate(epoch(Suite::Aes128Gcm, true, 1));
        wire.extend(data(&mut sealing, b"under the new key"));
        inflow.feed(&wire);
        let (read, end) = inflow.read_all(at_once);
        assert_eq!(read, b"under the old key");
        assert_eq!(end.unwrap(), Step::KeyUpdate { is_requested: true });
        inflow.rotate(epoch(Suite::Aes128Gcm, true, 1));
        assert_eq!(inflow.read_all(at_once).0, b"under the new key");
    }
}

#[test]
fn a_record_under_the_old_key_after_a_key_update_is_refused() {
    let (mut sealing, mut inflow) = ends(Suite::Aes128Gcm, true);
    inflow.feed(&seal(&mut sealing, ContentType::Handshake, &key_update(false)));
    assert!(matches!(inflow.read_all(100).1, Ok(Step::KeyUpdate { is_requested: false })));
    inflow.rotate(epoch(Suite::Aes128Gcm, true, 1));
    inflow.feed(&data(&mut sealing, b"too late"));
    assert!(matches!(inflow.read_all(100).1, Err(Error::Inauthentic)));
}

#[test]
fn no_handshake_message_is_interrupted() {
    let (mut sealing, mut inflow) = ends(Suite::Aes128Gcm, true);
    inflow.feed(&seal(&mut sealing, ContentType::Handshake, &[4, 0, 0, 9, 1]));
    inflow.feed(&data(&mut sealing, b"in between"));
    inflow.expect(Violation::UnexpectedMessage);
}

/// It is opened in the room, if a read has little memory; and the room goes from stream to stream.
#[test]
fn what_is_no_data_leaves_no_trace_in_the_room() {
    let (mut sealing, mut inflow) = ends(Suite::Aes128Gcm, true);
    let mut ticket = vec![4, 0, 0, 32];
    ticket.extend([0x5e; 32]);
    inflow.feed(&seal(&mut sealing, ContentType::Handshake, &ticket));
    assert_eq!(inflow.step(&mut [0; 8]).unwrap(), Step::Ticket(vec![0x5e; 32].into()));
    assert!(!inflow.bytes.windows(8).any(|bytes| bytes == [0x5e; 8]), "the ticket is still there");
}

/// A ticket is a secret: it does not stay in the memory that a read was given.
#[test]
fn what_is_no_data_leaves_no_trace_in_the_callers_memory() {
    let (mut sealing, mut inflow) = ends(Suite::Aes128Gcm, true);
    let mut ticket = vec![4, 0, 0, 32];
    ticket.extend([0x5e; 32]);
    inflow.feed(&seal(&mut sealing, ContentType::Handshake, &ticket));
    let mut into = [0xff; 100];
    assert_eq!(inflow.step(&mut into).unwrap(), Step::Ticket(vec![0x5e; 32].into()));
    assert!(!into.contains(&0x5e));
}

#[test]
fn too_much_without_data_in_a_row_is_refused_and_no_sooner() {
    for fruitful in [false, true] {
        let (mut sealing, mut inflow) = ends(Suite::ChaCha20Poly1305, true);
        for _ in 0..MOST_FRUITLESS {
            inflow.feed(&data(&mut sealing, b""));
            assert!(matches!(inflow.read_all(100).1, Ok(Step::Starved)));
        }
        if fruitful {
            inflow.feed(&data(&mut sealing, b"data"));
            assert_eq!(inflow.read_all(100).0, b"data");
        }
        inflow.feed(&data(&mut sealing, b""));
        match fruitful {
            true => assert!(matches!(inflow.read_all(100).1, Ok(Step::Starved))),
            false => inflow.expect(Violation::Fruitless),
        }
    }
}

#[test]
fn plaintext_and_change_cipher_spec_are_refused_once_keys_are_there() {
    for content in [ContentType::Alert, ContentType::Handshake, ContentType::ChangeCipherSpec] {
        let (_, mut inflow) = ends(Suite::Aes128Gcm, true);
        let mut record = crate::record::Header::encode(content, 40).to_vec();
        record.extend([1; 40]);
        inflow.feed(&record);
        inflow.expect(Violation::UnexpectedMessage);
    }
}

#[test]
fn alerts_end_the_connection_as_they_say() {
    for (suite, tls13) in CASES {
        let (mut sealing, mut inflow) = ends(suite, tls13);
        inflow.feed(&data(&mut sealing, b"last"));
        inflow.feed(&seal(&mut sealing, ContentType::Alert, &[1, 0]));
        let (read, end) = inflow.read_all(100);
        assert_eq!((&read[..], end.unwrap()), (&b"last"[..], Step::Ended));
        let (mut sealing, mut inflow) = ends(suite, tls13);
        inflow.feed(&seal(&mut sealing, ContentType::Alert, &[2, 20]));
        let end = inflow.read_all(100).1;
        assert!(matches!(end, Err(Error::Alert(rustls::AlertDescription::BadRecordMac))));
    }
}

proptest! {
    #[test]
    fn garbage_is_an_error_or_waited_for_and_never_data(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 1..20),
        tls13: bool,
    ) {
        let (_, mut inflow) = ends(Suite::Aes128Gcm, tls13);
        for piece in pieces {
            inflow.feed(&piece);
            let (read, end) = inflow.read_all(100);
            prop_assert!(read.is_empty());
            if end.is_err() {
                break;
            }
            prop_assert_eq!(end.unwrap(), Step::Starved);
        }
        prop_assert_eq!(inflow.bytes.len(), ROOM_BYTES);
    }
}
