//! The bare calls of the libraries, which `sealift bench seal` compares the engines against.
//!
//! No job, no shared key, no count, and of checks only those that slices need: what is left is what
//! the library itself costs, and the branch that says which library that is. Nothing but a
//! measurement should use it.

use aws_lc_rs::aead::Aad;
use ccm::aead::inout::InOutBuf;

use crate::error::{Error, Result};
use crate::key::{DetachedCcm, Nonce, Prepared, WRONG_LENGTH};
use crate::suite::{Suite, TAG_BYTES};

/// A key as the library has it.
pub struct Bare {
    key: Prepared,
}

impl Bare {
    /// Prepares a key.
    ///
    /// # Errors
    /// [`Error::Caller`] if `secret` is not as long as the suite's keys.
    pub fn new(suite: Suite, secret: &[u8]) -> Result<Self> {
        Ok(Self { key: Prepared::new(suite, secret)? })
    }

    /// One call of the library: `plaintext` sealed into `into`, which is longer by the tag.
    ///
    /// # Errors
    /// [`Error::Caller`] for wrong lengths.
    #[inline]
    pub fn seal(
        &self,
        nonce: Nonce,
        associated: &[u8],
        plaintext: &[u8],
        into: &mut [u8],
    ) -> Result<()> {
        let (text, tag) = into.split_at_mut_checked(plaintext.len()).ok_or(WRONG_LENGTH)?;
        match &self.key {
            Prepared::AwsLc(key) => {
                let (nonce, aad) = (nonce.for_aws_lc(), Aad::from(associated));
                key.seal_out_of_place_scatter(nonce, aad, plaintext, text, &[], tag)
                    .map_err(|_| WRONG_LENGTH)
            }
            Prepared::Ccm(key) => {
                let buffer = InOutBuf::new(plaintext, text).map_err(|_| WRONG_LENGTH)?;
                key.seal(nonce, associated, buffer, whole_tag(tag)?)
            }
        }
    }

    /// One call of the library: `sealed`, ciphertext and tag, opened into `into`, which is shorter
    /// by the tag.
    ///
    /// # Errors
    /// [`Error::Inauthentic`], also for wrong lengths.
    #[inline]
    pub fn open(
        &self,
        nonce: Nonce,
        associated: &[u8],
        sealed: &[u8],
        into: &mut [u8],
    ) -> Result<()> {
        let (text, tag) = sealed.split_at_checked(into.len()).ok_or(Error::Inauthentic)?;
        let is_opened = match &self.key {
            Prepared::AwsLc(key) => {
                let (nonce, aad) = (nonce.for_aws_lc(), Aad::from(associated));
                key.open_separate_gather(nonce, aad, text, tag, into).is_ok()
            }
            Prepared::Ccm(key) => {
                let buffer = InOutBuf::new(text, into).map_err(|_| WRONG_LENGTH)?;
                key.open(nonce, associated, buffer, tag)
            }
        };
        if is_opened { Ok(()) } else { Err(Error::Inauthentic) }
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
        let (text, tag) = into.split_at_mut_checked(plaintext.len()).ok_or(WRONG_LENGTH)?;
        text.copy_from_slice(plaintext);
        match &self.key {
            Prepared::AwsLc(key) => {
                let (nonce, aad) = (nonce.for_aws_lc(), Aad::from(associated));
                key.seal_in_place_scatter(nonce, aad, text, &[], tag).map_err(|_| WRONG_LENGTH)
            }
            Prepared::Ccm(key) => key.seal(nonce, associated, text.into(), whole_tag(tag)?),
        }
    }
}

/// As aws-lc looks itself, and the `ccm` crate does not.
fn whole_tag(tag: &mut [u8]) -> Result<&mut [u8; TAG_BYTES]> {
    tag.try_into().map_err(|_| WRONG_LENGTH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;
    use crate::suite::Limits;

    #[test]
    fn both_ways_seal_alike_and_as_a_key_does_and_it_is_opened() {
        for suite in Suite::ALL {
            let secret = vec![3; suite.key_bytes()];
            let (bare, nonce) = (Bare::new(suite, &secret).unwrap(), Nonce([1; 12]));
            let key = Key::new(suite, &secret, Limits::tls(suite)).unwrap();
            let [mut apart, mut copied, mut expected] = [const { [0; 1000 + TAG_BYTES] }; 3];
            bare.seal(nonce, b"head", &[7; 1000], &mut apart).unwrap();
            bare.copy_and_seal(nonce, b"head", &[7; 1000], &mut copied).unwrap();
            key.seal(nonce, b"head", &[7; 1000], &[], &mut expected).unwrap();
            assert_eq!((apart, copied), (expected, expected), "{suite}");
            let mut opened = [0; 1000];
            bare.open(nonce, b"head", &apart, &mut opened).unwrap();
            assert_eq!(opened, [7; 1000], "{suite}");
            assert!(bare.open(nonce, b"tail", &apart, &mut opened).is_err());
            for room in [0, 999, 1000 + TAG_BYTES, 2000] {
                assert!(bare.open(nonce, b"head", &apart, &mut vec![0; room]).is_err());
            }
            for room in [999, 1000, 1000 + TAG_BYTES - 1, 1000 + TAG_BYTES + 1] {
                assert!(bare.seal(nonce, b"", &[7; 1000], &mut vec![0; room]).is_err());
                assert!(bare.copy_and_seal(nonce, b"", &[7; 1000], &mut vec![0; room]).is_err());
            }
        }
    }
}
