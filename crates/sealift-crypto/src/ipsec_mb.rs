//! The engine over Intel's multi-buffer library, where that is installed.
//!
//! It works on the caller's core, inside `submit`, as [`Inline`](crate::Inline) does, and is the
//! faster of the two on packets: AES-GCM and ChaCha20-Poly1305 have less to do before the first
//! byte, and AES-CCM takes the messages of a job side by side.
//!
//! The library is opened when the engine is made, and must then agree with `Inline` on every
//! suite, at lengths around each of its block sizes, in both directions.

use std::collections::VecDeque;
use std::time::Instant;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use smallvec::SmallVec;

use crate::engine::{Capabilities, Done, Engine, EngineStats, Stopped};
use crate::error::{Error, Result, Unavailable};
use crate::ffi::{Library, MOST_CCM_BYTES, MOST_MESSAGES, Schedule};
use crate::finished::{DEPTH, Finished};
use crate::job::{Destination, Direction, Job, Payload, Source, Unit};
use crate::key::{Key, Nonce};
use crate::message::Message;
use crate::suite::{Limits, Suite, TAG_BYTES};

const NAME: &str = "ipsec-mb";

/// Lengths at which the library is checked: around blocks of 16, 64 and 256 bytes and 48 blocks of
/// AES, and a packet and a record.
const CHECKED_BYTES: [usize; 18] =
    [0, 1, 15, 16, 17, 63, 64, 65, 127, 255, 256, 257, 767, 768, 769, 1350, 4_097, 16_385];

/// Seals and opens at once, with `libIPSec_MB`.
pub struct IpsecMb<S, D> {
    library: Library,
    capabilities: Capabilities,
    finished: Finished<S, D>,
}

impl<S, D> IpsecMb<S, D> {
    /// An engine, if the library is installed, is of a known version, and computes what it should.
    ///
    /// # Errors
    /// [`Unavailable`] says which of these it is not.
    pub fn open() -> Result<Self, Unavailable> {
        Self::over(Library::open()?)
    }

    /// An engine over `library`, if that computes what it should.
    fn over(mut library: Library) -> Result<Self, Unavailable> {
        for suite in Suite::ALL {
            if check(&mut library, suite) != Ok(true) {
                return Err(Unavailable::Differs { suite });
            }
        }
        let capabilities = Capabilities {
            name: NAME,
            suites: Suite::ALL.to_vec(),
            in_place: true,
            out_of_place: true,
            most_unit_bytes: u32::MAX as usize,
            depth: DEPTH,
            key_slots: None,
            synchronous: true,
        };
        Ok(Self { library, capabilities, finished: Finished::new(NAME) })
    }
}

impl<S: Source, D: Destination> Engine<S, D> for IpsecMb<S, D> {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn submit(&mut self, jobs: &mut VecDeque<Job<S, D>>) -> Stopped {
        let library = &mut self.library;
        self.finished.submit(jobs, |job, units_done| perform(library, job, units_done))
    }

    fn poll(&mut self, done: &mut VecDeque<Done<S, D>>) -> usize {
        self.finished.poll(done)
    }

    fn in_flight(&self) -> usize {
        self.finished.len()
    }

    fn wait(&mut self, _deadline: Instant) {}

    fn stats(&self) -> EngineStats {
        self.finished.stats()
    }
}

/// Does a job; `units_done` grows with each unit.
fn perform<S: Source, D: Destination>(
    library: &mut Library,
    job: &mut Job<S, D>,
    units_done: &mut usize,
) -> Result<()> {
    let (suite, direction) = (job.key().suite(), job.direction());
    // So long a message is no packet and no record, and its lane would overflow.
    let most = MOST_CCM_BYTES;
    if suite == Suite::Aes128Ccm && job.units().iter().any(|unit| unit.len_bytes() > most) {
        return job.perform(units_done);
    }
    let (key, messages) = job.messages();
    let schedule = key.schedule(|secret| library.schedule(suite, secret));
    let mut work = Work { library, key, schedule, direction };
    match suite {
        Suite::Aes128Ccm => work.side_by_side(messages, units_done),
        _ => work.one_by_one(messages, units_done),
    }
}

/// What the messages of a job have in common.
struct Work<'job> {
    library: &'job mut Library,
    key: &'job Key,
    schedule: &'job Schedule,
    direction: Direction,
}

impl Work<'_> {
    fn one_by_one<'job>(
        &mut self,
        messages: impl Iterator<Item = Message<'job>>,
        units_done: &mut usize,
    ) -> Result<()> {
        for mut message in messages {
            self.key_permits()?;
            match self.direction {
                Direction::Seal => {
                    let tag_into = std::mem::take(&mut message.tag_into);
                    self.alone(&mut message, tag_into)?;
                }
                Direction::Open => {
                    let mut tag = [0; TAG_BYTES];
                    self.alone(&mut message, &mut tag)?;
                    self.judge(message, &tag)?;
                }
            }
            *units_done += 1;
        }
        Ok(())
    }

    /// Seals or opens one message, whose tag goes to `tag`.
    fn alone(&mut self, message: &mut Message<'_>, tag: &mut [u8]) -> Result<()> {
        if self.key.suite() != Suite::ChaCha20Poly1305 {
            self.library.gcm(self.schedule, self.direction, message, tag);
            return Ok(());
        }
        let mut its = [[0; TAG_BYTES]];
        let one = std::slice::from_mut(message);
        let done = self.library.batch(self.schedule, self.direction, one, &mut its);
        if done.is_err() {
            message.into.fill(0);
        }
        tag.copy_from_slice(&its[0]);
        done
    }

    fn side_by_side<'job>(
        &mut self,
        mut messages: impl Iterator<Item = Message<'job>>,
        units_done: &mut usize,
    ) -> Result<()> {
        let mut tags = [[0; TAG_BYTES]; MOST_MESSAGES];
        loop {
            let mut batch: SmallVec<[Message<'job>; MOST_MESSAGES]> =
                messages.by_ref().take(MOST_MESSAGES).collect();
            if batch.is_empty() {
                return Ok(());
            }
            self.key_permits()?;
            let tags = &mut tags[..batch.len()];
            let mut result = self.library.batch(self.schedule, self.direction, &mut batch, tags);
            for (message, tag) in batch.into_iter().zip(tags) {
                match result {
                    Ok(()) => result = self.finish(message, tag),
                    // It may have been opened before the one that failed was looked at.
                    Err(_) => message.into.fill(0),
                }
                *units_done += usize::from(result.is_ok());
            }
            result?;
        }
    }

    /// Whether the key may still be used; what is sealed was counted before.
    fn key_permits(&self) -> Result<()> {
        match self.direction {
            Direction::Seal => Ok(()),
            Direction::Open => self.key.may_open(),
        }
    }

    /// Puts the tag behind what was sealed, or judges by it what was opened.
    fn finish(&self, message: Message<'_>, tag: &[u8; TAG_BYTES]) -> Result<()> {
        match self.direction {
            Direction::Seal => {
                message.tag_into.copy_from_slice(tag);
                Ok(())
            }
            Direction::Open => self.judge(message, tag),
        }
    }

    fn judge(&self, message: Message<'_>, tag: &[u8; TAG_BYTES]) -> Result<()> {
        let authentic = verify_slices_are_equal(tag, &message.tag).is_ok();
        self.key.judge(authentic, message.into)
    }
}

/// Whether a suite of the library seals as `Inline` does, opens that again, and nothing else.
fn check(library: &mut Library, suite: Suite) -> Result<bool> {
    let secret: Vec<u8> = (1..=suite.key_bytes() as u8).collect();
    let limits = Limits { seals: u64::MAX, failures: u64::MAX };
    let key = Key::new(suite, &secret, limits)?;
    for (number, len) in (0..).zip(CHECKED_BYTES) {
        let text: Vec<u8> = (0..len).map(|at| (at * 7 + number) as u8).collect();
        let nonce = Nonce::of(&[0x5A; 12], number as u64);
        let associated = &secret[..number % 14];
        let mut sealed = vec![0; len + TAG_BYTES];
        key.seal(nonce, associated, &text, &[], &mut sealed)?;
        let mut work = |direction, source: &[u8], room: usize| {
            let unit = Unit::new(nonce, 0..source.len(), 0).with(associated);
            let payload = Payload::Apart { source: source.to_vec(), destination: vec![0; room] };
            let units = [unit].into_iter().collect();
            let mut job = match direction {
                Direction::Seal => Job::seal(&key, payload, units, 0),
                Direction::Open => Job::open(&key, payload, units, 0),
            }
            .map_err(|refused| refused.error)?;
            perform(library, &mut job, &mut 0)?;
            match job.into_parts().0 {
                Payload::Apart { destination, .. } => Ok(destination),
                Payload::InPlace(buffer) => Ok(buffer),
            }
        };
        let seals = work(Direction::Seal, &text, sealed.len())? == sealed;
        let opens = work(Direction::Open, &sealed, len)? == text;
        let last = sealed.len() - 1;
        sealed[last] ^= 1;
        let refuses = work(Direction::Open, &sealed, len) == Err(Error::Inauthentic);
        if !(seals && opens && refuses) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip::skip;

    #[test]
    fn a_library_that_computes_otherwise_is_refused_and_told_by_the_suite() {
        for suite in [Suite::Aes128Gcm, Suite::Aes256Gcm] {
            let mut library = match Library::open() {
                Ok(library) => library,
                Err(error) => {
                    let name = "a_library_that_computes_otherwise_is_refused_and_told_by_the_suite";
                    return skip(name, &error.to_string());
                }
            };
            assert_eq!(check(&mut library, suite), Ok(true));
            library.spoil(suite.key_bytes());
            let refused = IpsecMb::<Vec<u8>, Vec<u8>>::over(library).map(drop);
            assert_eq!(refused, Err(Unavailable::Differs { suite }));
        }
    }
}
