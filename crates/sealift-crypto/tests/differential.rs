//! Every engine against `Inline`: the same bytes at every length, wherever they lie.

mod support;

use std::ops::Range;

use sealift_crypto::{
    Direction, Engine, Error, Inline, Job, Key, Limits, NONCE_BYTES, Nonce, Payload, Scattered,
    Suite, TAG_BYTES, Unit, Units,
};
use support::*;

/// The longest message of TLS is 16,384 bytes; a job may hold longer ones all the same.
const MOST_BYTES: usize = 70_000;

fn key(suite: Suite) -> Key {
    let secret: Vec<u8> = (0..suite.key_bytes() as u8).map(|byte| byte ^ 0x35).collect();
    Key::new(suite, &secret, Limits { seals: u64::MAX, failures: u64::MAX }).unwrap()
}

/// What a job leaves in its destination.
fn outcome(engine: &mut dyn Engine<Bytes, Vec<u8>>, job: Job<Bytes, Vec<u8>>) -> Vec<u8> {
    let units = job.units().len();
    let done = perform(engine, job);
    assert_eq!((&done.result, done.units_done), (&Ok(()), units), "{done:?}");
    memory(done.job)
}

fn text(len: usize, seed: usize) -> Vec<u8> {
    let mut state = (seed as u32).wrapping_mul(0x9E37_79B9) | 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn in_pieces(bytes: &[u8], piece_bytes: usize) -> Bytes {
    Scattered(bytes.chunks(piece_bytes.max(1)).map(<[u8]>::to_vec).collect())
}

fn units(unit: Unit) -> Units {
    [unit].into_iter().collect()
}

/// One length of one suite: apart and in place, whole and scattered, unaligned, there and back, and
/// with one bit wrong.
fn agree(engine: &mut dyn Engine<Bytes, Vec<u8>>, key: &Key, len: usize) {
    let context = format!("{} {} {len} bytes", engine.capabilities().name, key.suite());
    let (text, nonce, to) = (text(len, len), Nonce::of(&[len as u8; 12], len as u64), len % 67);
    let associated = &[0xA5; 32][..len % 33];
    let (suffix, padding) = (!len.is_multiple_of(3), (len % 5) as u16 * 40);
    let unit = |from: usize, len, to| Unit::new(nonce, from..from + len, to).with(associated);
    let to_seal = |from, to| {
        let unit = unit(from, len, to);
        units(if suffix { unit.ending(23, padding) } else { unit })
    };
    let added = if suffix { 1 + usize::from(padding) } else { 0 };
    let sealed_len = len + added + TAG_BYTES;
    let apart = |source: Bytes, room: usize| Payload::Apart { source, destination: vec![9; room] };
    let offset = in_pieces(&[&vec![1; to], &text[..]].concat(), usize::MAX);
    let seal = |payload, units| Job::seal(key, payload, units, 0).unwrap();
    let room = to + sealed_len;
    let job = |source: Bytes| seal(apart(source, room), to_seal(to, to));
    let expected = outcome(&mut Inline::new(), job(offset.clone()));

    assert_eq!(outcome(engine, job(offset)), expected, "{context}");
    let bytes = [&vec![1; to], &text[..]].concat();
    let scattered = in_pieces(&bytes, len / (1 + len % 5) + 1);
    assert_eq!(outcome(engine, job(scattered)), expected, "{context}, scattered");
    let mut buffer = [&vec![9; to], &text[..]].concat();
    buffer.resize(room, 9);
    let sealed = outcome(engine, seal(Payload::InPlace(buffer), to_seal(to, to)));
    assert_eq!(sealed, expected, "{context}, in place");

    let open = |payload, to| {
        Job::open(key, payload, units(unit(sealed.len() - sealed_len, sealed_len, to)), 0).unwrap()
    };
    let opened = [&text[..], &vec![23; usize::from(suffix)], &vec![0; padding.into()]].concat();
    let opened = &opened[..len + added];
    let room = len + added + 3;
    let whole = outcome(engine, open(apart(in_pieces(&sealed, usize::MAX), room), 3));
    assert_eq!(&whole[3..], opened, "{context}, opened");
    let pieces = in_pieces(&sealed, sealed_len / 3 + 1);
    assert_eq!(&outcome(engine, open(apart(pieces, room), 3))[3..], opened, "{context}, scattered");
    let in_place = outcome(engine, open(Payload::InPlace(sealed.clone()), to));
    assert_eq!(&in_place[to..to + len + added], opened, "{context}, opened in place");

    let mut forged = sealed.clone();
    forged[to + (len * 31) % sealed_len] ^= 1 << (len % 8);
    for payload in [apart(in_pieces(&forged, usize::MAX), room), Payload::InPlace(forged)] {
        let at = if matches!(payload, Payload::InPlace(_)) { to } else { 3 };
        let done = perform(engine, open(payload, at));
        assert_eq!((&done.result, done.units_done), (&Err(Error::Inauthentic), 0), "{context}");
        let left = &memory(done.job)[at..at + len + added];
        assert!(left.iter().all(|byte| *byte == 0), "{context}: plaintext is left");
    }
}

fn agrees_at(test: &str, lengths: impl Iterator<Item = usize> + Clone) {
    for engine in &mut others(test) {
        let suites = engine.capabilities().suites.clone();
        for suite in suites {
            // The code of `Inline` is slow without optimisation, and the other engines call it.
            let is_slow = suite == Suite::Aes128Ccm && engine.capabilities().name != "ipsec-mb";
            let (key, stride) = (key(suite), if is_slow { 11 } else { 1 });
            let lengths = lengths.clone().step_by(stride);
            lengths.for_each(|len| agree(engine.as_mut(), &key, len));
        }
    }
}

#[test]
fn each_engine_does_as_inline_does_at_every_length_below_2100() {
    agrees_at("each_engine_does_as_inline_does_at_every_length_below_2100", 0..2_100);
}

/// A stride that is prime to every block, so that all residues are met.
#[test]
fn each_engine_does_as_inline_does_at_lengths_up_to_70000() {
    let edges = [16_384, 16_385, 32_768, 65_000, 65_001, 65_535, 65_536, MOST_BYTES];
    let lengths = (2_100..=MOST_BYTES).step_by(997).chain(edges);
    agrees_at("each_engine_does_as_inline_does_at_lengths_up_to_70000", lengths);
}

/// Messages whose lengths follow each other, to be done as one job.
struct Batch {
    key: Key,
    lens: Range<usize>,
    text: Vec<u8>,
    to_seal: Units,
    to_open: Units,
    sealed: Vec<u8>,
}

impl Batch {
    /// `Inline` seals it, in one piece, to say what is right.
    fn new(suite: Suite, lens: Range<usize>, random: &[u8]) -> Self {
        let key = key(suite);
        let (mut plain, mut wire) = (0, 0);
        let (mut to_seal, mut to_open) = (Units::new(), Units::new());
        for len in lens.clone() {
            let (nonce, sealed) =
                (Nonce::of(&[7; NONCE_BYTES], len as u64), wire..wire + len + TAG_BYTES);
            to_seal.push(Unit::new(nonce, plain..plain + len, wire).with(&[3; 13]));
            to_open.push(Unit::new(nonce, sealed.clone(), plain).with(&[3; 13]));
            (plain, wire) = (plain + len, sealed.end);
        }
        let mut text = random.repeat(plain / random.len() + 2);
        // Each batch has other bytes.
        text.drain(..lens.start);
        text.truncate(plain);
        let mut batch = Self { key, lens, text, to_seal, to_open, sealed: vec![0; wire] };
        batch.sealed = outcome(&mut Inline::new(), batch.job(Direction::Seal, usize::MAX));
        batch
    }

    /// Out of pieces of so many bytes.
    fn job(&self, direction: Direction, piece_bytes: usize) -> Job<Bytes, Vec<u8>> {
        let (from, room, units) = match direction {
            Direction::Seal => (&self.text, self.sealed.len(), &self.to_seal),
            Direction::Open => (&self.sealed, self.text.len(), &self.to_open),
        };
        let source = in_pieces(from, piece_bytes);
        let payload = Payload::Apart { source, destination: vec![9; room] };
        match direction {
            Direction::Seal => Job::seal(&self.key, payload, units.clone(), 0).unwrap(),
            Direction::Open => Job::open(&self.key, payload, units.clone(), 0).unwrap(),
        }
    }

    /// There and back, whole and with each message cut at least once, if it has two bytes.
    fn agree(&self, engine: &mut AnyEngine) {
        for piece_bytes in [usize::MAX, self.lens.start * 2 / 3 + 1] {
            for (direction, expected) in
                [(Direction::Seal, &self.sealed), (Direction::Open, &self.text)]
            {
                let found = outcome(engine.as_mut(), self.job(direction, piece_bytes));
                let name = engine.capabilities().name;
                assert!(found == *expected, "{name}: {direction:?} {:?} bytes", self.lens);
            }
        }
    }
}

/// Every length up to 70,000.
fn agrees_at_every_length(test: &str, suite: Suite) {
    const LENGTHS: usize = 8;
    let mut engines = others(test);
    let random = text(MOST_BYTES, 1);
    // A sanitizer takes many times as long; the engines are the same.
    let stride = if std::env::var_os("SEALIFT_SANITIZER").is_some() { 97 } else { 1 };
    for start in (0..=MOST_BYTES).step_by(LENGTHS * stride) {
        let batch = Batch::new(suite, start..(start + LENGTHS).min(MOST_BYTES + 1), &random);
        engines.iter_mut().for_each(|engine| batch.agree(engine));
    }
}

#[test]
fn each_engine_does_as_inline_does_at_every_length_of_aes_gcm() {
    let test = "each_engine_does_as_inline_does_at_every_length_of_aes_gcm";
    agrees_at_every_length(test, Suite::Aes128Gcm);
}

#[test]
fn each_engine_does_as_inline_does_at_every_length_of_chacha20_poly1305() {
    let test = "each_engine_does_as_inline_does_at_every_length_of_chacha20_poly1305";
    agrees_at_every_length(test, Suite::ChaCha20Poly1305);
}

/// More messages than are worked on side by side, one of them forged.
#[test]
fn a_job_of_many_messages_stops_at_the_forged_one() {
    const COUNT: usize = 75;
    let lens: Vec<usize> = (0..COUNT).map(|at| at * 37 % 1_500).collect();
    for engine in &mut others("a_job_of_many_messages_stops_at_the_forged_one") {
        for suite in Suite::ALL {
            let key = key(suite);
            let nonce = |at: usize| Nonce::of(&[7; NONCE_BYTES], at as u64);
            let all: Vec<u8> = lens.iter().flat_map(|len| text(*len, *len)).collect();
            let (mut plain, mut wire) = (0, 0);
            let (mut to_seal, mut to_open, mut places) = (Units::new(), Units::new(), Vec::new());
            for (at, len) in lens.iter().enumerate() {
                let sealed = wire..wire + len + TAG_BYTES;
                to_seal.push(Unit::new(nonce(at), plain..plain + len, wire));
                to_open.push(Unit::new(nonce(at), sealed.clone(), plain));
                places.push((plain, sealed.clone()));
                (plain, wire) = (plain + len, sealed.end);
            }
            let apart = |source: &[u8], room| Payload::Apart {
                source: in_pieces(source, usize::MAX),
                destination: vec![9; room],
            };
            let seal = || Job::seal(&key, apart(&all, wire), to_seal.clone(), 0).unwrap();
            let mut sealed = outcome(engine.as_mut(), seal());
            assert_eq!(sealed, outcome(&mut Inline::new(), seal()), "{suite}");
            let open =
                |wire: &[u8]| Job::open(&key, apart(wire, plain), to_open.clone(), 0).unwrap();
            assert_eq!(outcome(engine.as_mut(), open(&sealed)), all, "{suite}");
            for forged in [0, 31, 32, 74] {
                let (start, place) = places[forged].clone();
                sealed[place.start] ^= 4;
                let done = perform(engine.as_mut(), open(&sealed));
                assert_eq!((done.units_done, &done.result), (forged, &Err(Error::Inauthentic)));
                assert_eq!(done.job.direction(), Direction::Open);
                let left = memory(done.job);
                assert_eq!(left[..start], all[..start], "{suite}");
                let rest = &left[start..];
                assert!(rest.iter().all(|byte| matches!(byte, 0 | 9)), "{suite}: plaintext");
                sealed[place.start] ^= 4;
            }
        }
    }
}
