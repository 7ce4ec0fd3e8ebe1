//! Jobs by chance, each with what must come of it.

use std::ops::Range;

use sealift_crypto::{
    Direction, Error, Job, Key, Limits, NONCE_BYTES, Nonce, Payload, Result, Suite, TAG_BYTES,
    Unit, Units,
};

use crate::memory::{Census, Page, Text};

/// Chance that can be replayed (splitmix64).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(len);
        bytes
    }
}

/// What must come back.
pub(crate) struct Expected {
    pub(crate) direction: Direction,
    pub(crate) in_place: bool,
    pub(crate) units_done: usize,
    pub(crate) result: Result<()>,
    /// Parts of the destination.
    pub(crate) parts: Vec<(Range<usize>, Vec<u8>)>,
}

/// Makes jobs with tags from 0 on.
pub(crate) struct Planner {
    pub(crate) chance: Chance,
    pub(crate) census: Census,
    /// Whether some jobs work in place.
    pub(crate) in_place: bool,
    /// Whether some messages to open are forged.
    pub(crate) forged: bool,
    keys: Vec<Key>,
    pub(crate) expected: Vec<Expected>,
    messages: u64,
}

struct Message {
    unit: Unit,
    /// What is put in, and what comes out.
    ends: (Vec<u8>, Vec<u8>),
}

impl Planner {
    pub(crate) fn new(seed: u64) -> Self {
        let key = |at: usize| {
            let suite = Suite::ALL[at % Suite::ALL.len()];
            let secret = vec![at as u8; suite.key_bytes()];
            Key::new(suite, &secret, Limits { seals: 1 << 30, failures: 1 << 30 }).unwrap()
        };
        Self {
            chance: Chance::new(seed),
            census: Census::default(),
            in_place: true,
            forged: true,
            keys: (0..2 * Suite::ALL.len()).map(key).collect(),
            expected: Vec::new(),
            messages: 0,
        }
    }

    /// The next job.
    pub(crate) fn job(&mut self) -> Job<Text, Page> {
        let key = self.keys[self.chance.below(self.keys.len())].clone();
        let direction = [Direction::Seal, Direction::Open][self.chance.below(2)];
        let in_place = self.in_place && self.chance.once_in(4);
        let most = if self.chance.once_in(3) { 12 } else { 2 };
        let count = 1 + self.chance.below(most);
        let forged = self.forged && direction == Direction::Open && self.chance.once_in(10);
        let forged = forged.then(|| self.chance.below(count));

        let (mut source, mut destination) = (Vec::new(), Vec::new());
        let (mut units, mut parts) = (Units::new(), Vec::new());
        for at in 0..count {
            let to = destination.len();
            let from = if in_place { to } else { source.len() };
            let Message { unit, ends: (mut input, output) } =
                self.message(&key, direction, from, to);
            if forged == Some(at) {
                input[0] ^= 1;
            }
            source.extend_from_slice(&input);
            destination.extend_from_slice(if in_place { &input } else { &[] });
            destination.resize(to + output.len().max(if in_place { input.len() } else { 0 }), 0);
            let end = to + output.len();
            match forged {
                Some(forged) if forged == at => parts.push((to..end, vec![0; output.len()])),
                Some(forged) if forged < at => {}
                _ => parts.push((to..end, output)),
            }
            units.push(unit);
        }
        self.expected.push(Expected {
            direction,
            in_place,
            units_done: forged.unwrap_or(count),
            result: if forged.is_some() { Err(Error::Inauthentic) } else { Ok(()) },
            parts,
        });
        let destination = self.census.page(destination);
        let payload = match in_place {
            true => Payload::InPlace(destination),
            false => Payload::Apart { source: self.census.text(source), destination },
        };
        let tag = self.expected.len() as u64 - 1;
        match direction {
            Direction::Seal => Job::seal(&key, payload, units, tag).unwrap(),
            Direction::Open => Job::open(&key, payload, units, tag).unwrap(),
        }
    }

    fn message(&mut self, key: &Key, direction: Direction, from: usize, to: usize) -> Message {
        // The longest are rare, and never AES-CCM's, which is slow without optimisation.
        let most = [20, 300, 1350, 1350, 4096, 16_384][self.chance.below(6)];
        let most = if key.suite() == Suite::Aes128Ccm { most.min(1350) } else { most };
        let len = if self.chance.once_in(20) { 0 } else { self.chance.below(most + 1) };
        let (text, associated) = (self.chance.bytes(len), self.chance.below(33));
        let associated = self.chance.bytes(associated);
        let nonce = Nonce::of(&[7; NONCE_BYTES], self.messages);
        self.messages += 1;
        let suffix = self.chance.once_in(2).then_some(23);
        let ends_so = if direction == Direction::Seal { suffix.as_slice() } else { &[] };
        let mut sealed = vec![0; len + ends_so.len() + TAG_BYTES];
        key.seal(nonce, &associated, &text, ends_so, &mut sealed).unwrap();
        let ends = if direction == Direction::Seal { (text, sealed) } else { (sealed, text) };
        let mut unit = Unit::new(nonce, from..from + ends.0.len(), to);
        if !ends_so.is_empty() {
            unit = unit.ending(23, 0);
        }
        Message { unit: unit.with(&associated), ends }
    }
}
