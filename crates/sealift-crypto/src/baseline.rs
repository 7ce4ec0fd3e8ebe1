//! The bare calls of the libraries, which `sealift bench seal` compares the engines against.
//!
//! No job, no count, no check beyond what the library does: what is left is what the library
//! itself costs. Nothing but a measurement should use it.

use crate::error::Result;
use crate::key::{Key, Nonce};
use crate::suite::{Limits, Suite};

/// A key as the library has it.
pub struct Bare {
    key: Key,
}

impl Bare {
    /// Prepares a key.
    ///
    /// # Errors
    /// [`Error::Caller`](crate::Error::Caller) if `secret` is not as long as the suite's keys.
    pub fn new(suite: Suite, secret: &[u8]) -> Result<Self> {
        let unlimited = Limits { seals: u64::MAX, failures: u64::MAX };
        Ok(Self { key: Key::new(suite, secret, unlimited)? })
    }

    /// One call of the library: `plaintext` sealed into `into`, which is longer by the tag.
    ///
    /// # Errors
    /// [`Error::Caller`](crate::Error::Caller) for wrong lengths.
    #[inline]
    pub fn seal(
        &self,
        nonce: Nonce,
        associated: &[u8],
        plaintext: &[u8],
        into: &mut [u8],
    ) -> Result<()> {
        self.key.seal_counted(nonce, associated, plaintext, &[], into)
    }

    /// What replaces a copy, with the copy: `plaintext` is copied to `into` and sealed there.
    ///
    /// # Errors
    /// As [`seal`](Bare::seal).
    #[inline]
    pub fn copy_and_seal(
        &self,
        nonce: Nonce,
        associated: &[u8],
        plaintext: &[u8],
        into: &mut [u8],
    ) -> Result<()> {
        let room = into.get_mut(..plaintext.len()).ok_or(crate::key::WRONG_LENGTH)?;
        room.copy_from_slice(plaintext);
        self.key.seal_in_place_counted(nonce, associated, into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::TAG_BYTES;

    #[test]
    fn both_ways_seal_alike_and_as_a_key_does() {
        for suite in Suite::ALL {
            let secret = vec![3; suite.key_bytes()];
            let (bare, nonce) = (Bare::new(suite, &secret).unwrap(), Nonce([1; 12]));
            let key = Key::new(suite, &secret, Limits::tls(suite)).unwrap();
            let [mut apart, mut copied, mut expected] = [const { [0; 1000 + TAG_BYTES] }; 3];
            bare.seal(nonce, b"head", &[7; 1000], &mut apart).unwrap();
            bare.copy_and_seal(nonce, b"head", &[7; 1000], &mut copied).unwrap();
            key.seal(nonce, b"head", &[7; 1000], &[], &mut expected).unwrap();
            assert_eq!((apart, copied), (expected, expected), "{suite}");
            assert!(bare.copy_and_seal(nonce, b"", &[7; 1000], &mut [0; 999]).is_err());
        }
    }
}
