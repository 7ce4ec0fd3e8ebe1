//! The memory that a row of `bench seal` works on, and the loop of the bare library over it.
//!
//! ```text
//!  slot:   plaintext  │ message │ message │ …   a batch, one behind the other
//!          sealed     │ message + tag │ …
//! ```
//!
//! There are as many slots as the ring has room for, sealed or opened in turn. A ring that fits the
//! cache shows what sealing costs; a larger one shows memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealift::crypto::baseline::Bare;
use sealift::crypto::{NONCE_BYTES, Nonce, Suite, TAG_BYTES};
use sealift::io::baseline::Sample;

/// How a message gets from where it is to where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Sealing is the copy.
    Apart,
    /// It is copied first, by whoever makes the job, and sealed where it is then.
    Copied,
    /// Opening is the copy, of what was sealed before.
    Opened,
}

/// Where the messages of a slot are, and where they go.
pub(super) type Memory = (Arc<[u8]>, Vec<u8>);

/// As much as a TLS 1.3 record authenticates beside its text: its header.
pub(super) const ASSOCIATED: [u8; 5] = [23, 3, 3, 0x41, 0];
/// Messages between two looks at the clock, at least.
const MESSAGES_PER_LOOK: u64 = 128;

/// The shape of a row's work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) suite: Suite,
    pub(super) payload_bytes: usize,
    /// Messages that are handed over together.
    pub(super) batch: usize,
    /// Plaintext in all slots together, unless one batch is more.
    pub(super) ring_bytes: usize,
}

impl Shape {
    pub(super) fn secret(&self) -> Vec<u8> {
        vec![0x42; self.suite.key_bytes()]
    }

    /// The memory of at least `least` slots: where messages are, and where they go.
    pub(super) fn memory(&self, way: Way, least: usize) -> Result<Vec<Memory>, String> {
        let count = (self.ring_bytes / (self.payload_bytes * self.batch)).max(least);
        let slot = |_| {
            let plaintext = vec![7; self.payload_bytes * self.batch];
            let mut sealed = vec![0; (self.payload_bytes + TAG_BYTES) * self.batch];
            if way != Way::Opened {
                return Ok((plaintext.into(), sealed));
            }
            self.seal_all(&plaintext, &mut sealed)?;
            Ok((sealed.into(), plaintext))
        };
        (0..count).map(slot).collect()
    }

    /// Seals a slot's messages with the numbers that they are opened with, from 1 on.
    fn seal_all(&self, plaintext: &[u8], sealed: &mut [u8]) -> Result<(), String> {
        let bare = Bare::new(self.suite, &self.secret()).map_err(|error| error.to_string())?;
        let places = sealed.chunks_exact_mut(self.payload_bytes + TAG_BYTES);
        for (number, (text, into)) in
            (1..).zip(plaintext.chunks_exact(self.payload_bytes).zip(places))
        {
            bare.seal(nonce(number), &ASSOCIATED, text, into).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// From one message to the next, where they are and where they go.
    pub(super) fn strides(&self, way: Way) -> (usize, usize) {
        let (text, sealed) = (self.payload_bytes, self.payload_bytes + TAG_BYTES);
        match way {
            Way::Apart => (text, sealed),
            Way::Copied => (sealed, sealed),
            Way::Opened => (sealed, text),
        }
    }

    pub(super) fn sample(&self, messages: u64, elapsed: Duration) -> Sample {
        let bytes = messages * self.payload_bytes as u64;
        Sample { bytes, messages, elapsed, zerocopied_fraction: None, syscalls: 0 }
    }
}

/// One call of the bare library.
pub(super) type Call =
    fn(&Bare, Nonce, &[u8], &[u8], &mut [u8]) -> Result<(), sealift::crypto::Error>;

/// Seals or opens message by message with the bare library.
pub(super) fn bare(
    shape: Shape,
    way: Way,
    call: Call,
    duration: Duration,
) -> Result<Sample, String> {
    let bare = Bare::new(shape.suite, &shape.secret()).map_err(|error| error.to_string())?;
    let mut slots: VecDeque<_> = shape.memory(way, 1)?.into();
    let (from_stride, to_stride) = shape.strides(way);
    let mut number = 0;
    let mut next = |slots: &mut VecDeque<Memory>| {
        let Some((source, mut destination)) = slots.pop_front() else {
            return Err("the ring is empty".to_owned());
        };
        if way == Way::Opened {
            number = 0;
        }
        let places = destination.chunks_exact_mut(to_stride);
        for (text, into) in source.chunks_exact(from_stride).zip(places) {
            number += 1;
            call(&bare, nonce(number), &ASSOCIATED, text, into)
                .map_err(|error| error.to_string())?;
        }
        slots.push_back((source, destination));
        Ok(shape.batch as u64)
    };
    for _ in 0..slots.len() {
        next(&mut slots)?;
    }
    let begun = Instant::now();
    let messages = for_a_time(duration, || next(&mut slots))?;
    Ok(shape.sample(messages, begun.elapsed()))
}

/// The nonce of the message with this number.
pub(super) fn nonce(number: u64) -> Nonce {
    Nonce::of(&[0; NONCE_BYTES], number)
}

/// Repeats `step` for a time; says how many messages it sealed.
pub(super) fn for_a_time(
    duration: Duration,
    mut step: impl FnMut() -> Result<u64, String>,
) -> Result<u64, String> {
    let begun = Instant::now();
    let mut messages = 0;
    while begun.elapsed() < duration {
        let look = messages + MESSAGES_PER_LOOK;
        while messages < look {
            messages += step()?;
        }
    }
    Ok(messages)
}
