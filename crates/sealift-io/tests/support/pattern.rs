//! Bytes that say where they belong, garbage that belongs nowhere, and a generator with a seed.

use std::sync::LazyLock;

/// The longest run of bytes that [`stream`] and [`garbage`] give at once.
pub const LONGEST: usize = 2 << 20;
/// After how many bytes a stream repeats: a prime, so that no buffer size divides it.
const PERIOD: usize = 1_048_583;

static STREAM: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut rng = Rng(0x5ea1_1f70);
    let words = (0..PERIOD.div_ceil(8)).flat_map(|_| rng.next().to_le_bytes());
    let mut table: Vec<u8> = words.take(PERIOD).collect();
    while table.len() < PERIOD + LONGEST {
        let more = (PERIOD + LONGEST - table.len()).min(PERIOD);
        table.extend_from_within(..more);
    }
    table
});

static GARBAGE: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..LONGEST).map(|at| 0xA5 ^ (at as u8)).collect());

/// `len` bytes of the stream that `seed` names, from `offset` on.
pub fn stream(seed: u64, offset: u64, len: usize) -> &'static [u8] {
    let start = (Rng(seed).next() % PERIOD as u64 + offset) % PERIOD as u64;
    &STREAM[start as usize..][..len]
}

/// What a buffer is overwritten with once it is ours again.
pub fn garbage(len: usize) -> &'static [u8] {
    &GARBAGE[..len]
}

/// The stream offset of the first byte of `bytes` that is not what [`stream`] has at `offset`.
pub fn first_wrong(seed: u64, offset: u64, bytes: &[u8]) -> Option<u64> {
    let mut at = offset;
    for chunk in bytes.chunks(LONGEST) {
        let right = stream(seed, at, chunk.len());
        if chunk != right {
            let place = chunk.iter().zip(right).position(|(is, should)| is != should);
            return place.map(|place| at + place as u64);
        }
        at += chunk.len() as u64;
    }
    None
}

/// The seed of a run: `SEALIFT_SEED`, or always the same.
pub fn base_seed() -> u64 {
    let given = std::env::var("SEALIFT_SEED").ok();
    given.map_or(0x0dd5_eed5, |text| text.parse().expect("SEALIFT_SEED is a number"))
}

/// splitmix64: small, seeded, good enough to vary a test.
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
