//! Keys: prepared once, shared by jobs, counted, and wiped when the last holder lets go.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use aws_lc_rs::aead::{self, Aad, LessSafeKey, UnboundKey};
use ccm::aead::inout::InOutBuf;
use ccm::aead::{AeadInOut, KeyInit};
use ccm::consts::{U12, U16};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::ffi::Schedule;
use crate::suite::{Limits, NONCE_BYTES, Suite, TAG_BYTES};

type Aes128Ccm = ccm::Ccm<aes::Aes128, U16, U12>;

/// Numbers keys over the whole process, so that engines can keep prepared forms of them.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A number that is used once with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nonce(pub [u8; NONCE_BYTES]);

impl Nonce {
    /// The nonce of message `number` in TLS 1.3 and QUIC: the number, big-endian, padded on the
    /// left, exclusive-or the IV (RFC 8446 section 5.3, RFC 9001 section 5.3).
    #[inline]
    pub fn of(iv: &[u8; NONCE_BYTES], number: u64) -> Self {
        let mut nonce = *iv;
        let own = nonce[NONCE_BYTES - 8..].iter_mut();
        own.zip(number.to_be_bytes()).for_each(|(own, byte)| *own ^= byte);
        Self(nonce)
    }
}

/// A key for one suite. Clones share it and its counts; its secret is wiped with the last of them
/// and never printed.
#[derive(Clone)]
pub struct Key {
    shared: Arc<Shared>,
}

struct Shared {
    id: u64,
    suite: Suite,
    limits: Limits,
    prepared: Prepared,
    /// For engines that prepare keys themselves.
    secret: Zeroizing<Vec<u8>>,
    /// As the multi-buffer library wants it, once that was asked for.
    schedule: OnceLock<Schedule>,
    sealed: AtomicU64,
    failures: AtomicU64,
}

/// A key as the library of its suite has it.
pub(crate) enum Prepared {
    /// Wiped by aws-lc when it is freed.
    AwsLc(LessSafeKey),
    /// Wiped by the `zeroize` feature of `aes`.
    Ccm(Box<Aes128Ccm>),
}

impl Prepared {
    pub(crate) fn new(suite: Suite, secret: &[u8]) -> Result<Self> {
        if secret.len() != suite.key_bytes() {
            return Err(Error::Caller { what: "the key is not as long as its suite wants it" });
        }
        let refused = Error::Caller { what: "the key was refused by the crypto library" };
        let aws_lc = |algorithm| {
            let key = UnboundKey::new(algorithm, secret).map_err(|_| refused.clone())?;
            Ok(Self::AwsLc(LessSafeKey::new(key)))
        };
        match suite {
            Suite::Aes128Gcm => aws_lc(&aead::AES_128_GCM),
            Suite::Aes256Gcm => aws_lc(&aead::AES_256_GCM),
            Suite::ChaCha20Poly1305 => aws_lc(&aead::CHACHA20_POLY1305),
            Suite::Aes128Ccm => {
                let key = Aes128Ccm::new_from_slice(secret).map_err(|_| refused.clone())?;
                Ok(Self::Ccm(Box::new(key)))
            }
        }
    }
}

impl Key {
    /// Prepares a key.
    ///
    /// # Errors
    /// [`Error::Caller`] if `secret` is not [`Suite::key_bytes`] long.
    pub fn new(suite: Suite, secret: &[u8], limits: Limits) -> Result<Self> {
        let prepared = Prepared::new(suite, secret)?;
        let shared = Shared {
            // Relaxed, as all counts here: only the number itself matters.
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            suite,
            limits,
            prepared,
            secret: Zeroizing::new(secret.to_vec()),
            schedule: OnceLock::new(),
            sealed: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The key's suite.
    #[inline]
    pub fn suite(&self) -> Suite {
        self.shared.suite
    }

    /// A number of this key alone in this process.
    pub fn id(&self) -> u64 {
        self.shared.id
    }

    /// The key as the multi-buffer library wants it, prepared by `prepare` from its secret the
    /// first time. It is wiped with the key.
    pub(crate) fn schedule(&self, prepare: impl FnOnce(&[u8]) -> Schedule) -> &Schedule {
        self.shared.schedule.get_or_init(|| prepare(&self.shared.secret))
    }

    /// How many messages it may still seal.
    #[inline]
    pub fn seals_left(&self) -> u64 {
        let sealed = self.shared.sealed.load(Ordering::Relaxed);
        self.shared.limits.seals.saturating_sub(sealed)
    }

    /// Counts `messages` that are about to be sealed, or refuses them all.
    #[inline]
    pub(crate) fn count_seals(&self, messages: u64) -> Result<()> {
        let (sealed, limit) = (&self.shared.sealed, self.shared.limits.seals);
        // Not added and taken back: meanwhile others would be refused who are within the limit.
        let more = |sealed: u64| sealed.checked_add(messages).filter(|sum| *sum <= limit);
        let counted = sealed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        let exhausted =
            || Error::KeyExhausted { suite: self.suite(), what: "messages sealed", limit };
        counted.map(|_| ()).map_err(|_| exhausted())
    }

    /// Whether it may be used to open: not once too many messages failed.
    #[inline]
    pub(crate) fn may_open(&self) -> Result<()> {
        let limit = self.shared.limits.failures;
        if self.shared.failures.load(Ordering::Relaxed) < limit {
            return Ok(());
        }
        Err(Error::KeyExhausted { suite: self.suite(), what: "failures to open", limit })
    }

    /// Counts a message that failed to open.
    pub(crate) fn count_failure(&self) {
        self.shared.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Seals `plaintext` and `suffix` behind it into `into`, out of place, on this core, now.
    /// `into` is as long as both and [`TAG_BYTES`] together. The nonce must be new to this key.
    ///
    /// # Errors
    /// [`Error::KeyExhausted`] at the key's limit; [`Error::Caller`] for wrong lengths.
    #[inline]
    pub fn seal(
        &self,
        nonce: Nonce,
        associated: &[u8],
        plaintext: &[u8],
        suffix: &[u8],
        into: &mut [u8],
    ) -> Result<()> {
        self.count_seals(1)?;
        self.seal_counted(nonce, associated, plaintext, suffix, into)
    }

    /// Seals the front of `buffer` where it lies; the last [`TAG_BYTES`] receive the tag.
    ///
    /// # Errors
    /// As [`seal`](Key::seal).
    #[inline]
    pub fn seal_in_place(&self, nonce: Nonce, associated: &[u8], buffer: &mut [u8]) -> Result<()> {
        self.count_seals(1)?;
        self.seal_in_place_counted(nonce, associated, buffer)
    }

    /// Opens `sealed` (ciphertext and tag) into `into`, which is [`TAG_BYTES`] shorter. If it is
    /// not authentic, `into` holds zeros afterwards.
    ///
    /// # Errors
    /// [`Error::Inauthentic`]; [`Error::KeyExhausted`] once too many messages were;
    /// [`Error::Caller`] for wrong lengths.
    #[inline]
    pub fn open(
        &self,
        nonce: Nonce,
        associated: &[u8],
        sealed: &[u8],
        into: &mut [u8],
    ) -> Result<()> {
        self.may_open()?;
        let Some(len) = sealed.len().checked_sub(TAG_BYTES) else {
            self.count_failure();
            return Err(Error::Inauthentic);
        };
        if into.len() != len {
            return Err(WRONG_LENGTH);
        }
        let (ciphertext, tag) = sealed.split_at(len);
        let opened = match &self.shared.prepared {
            Prepared::AwsLc(key) => {
                let (nonce, aad) = (nonce.for_aws_lc(), Aad::from(associated));
                key.open_separate_gather(nonce, aad, ciphertext, tag, into).is_ok()
            }
            Prepared::Ccm(key) => {
                let buffer = InOutBuf::new(ciphertext, into).map_err(|_| WRONG_LENGTH)?;
                key.open(nonce, associated, buffer, tag)
            }
        };
        self.judge(opened, into)
    }

    /// Opens `buffer` (ciphertext and tag) where it lies; the plaintext is [`TAG_BYTES`] shorter.
    ///
    /// # Errors
    /// As [`open`](Key::open).
    #[inline]
    pub fn open_in_place(&self, nonce: Nonce, associated: &[u8], buffer: &mut [u8]) -> Result<()> {
        let Some(len) = buffer.len().checked_sub(TAG_BYTES) else {
            self.may_open()?;
            self.count_failure();
            return Err(Error::Inauthentic);
        };
        let (text, tag) = buffer.split_at_mut(len);
        self.open_detached(nonce, associated, text, tag)
    }

    /// As [`open_in_place`](Key::open_in_place), with the tag elsewhere.
    pub(crate) fn open_detached(
        &self,
        nonce: Nonce,
        associated: &[u8],
        text: &mut [u8],
        tag: &[u8],
    ) -> Result<()> {
        self.may_open()?;
        let opened = match &self.shared.prepared {
            Prepared::AwsLc(key) => {
                let (nonce, aad) = (nonce.for_aws_lc(), Aad::from(associated));
                key.open_in_place_separate_tag(nonce, aad, tag, text).is_ok()
            }
            Prepared::Ccm(key) => key.open(nonce, associated, (&mut *text).into(), tag),
        };
        self.judge(opened, text)
    }

    /// Wipes what was not authentic, and counts it.
    pub(crate) fn judge(&self, opened: bool, plaintext: &mut [u8]) -> Result<()> {
        if opened {
            return Ok(());
        }
        plaintext.fill(0);
        self.count_failure();
        Err(Error::Inauthentic)
    }

    /// As [`seal`](Key::seal), for a message that was counted before.
    #[inline]
    pub(crate) fn seal_counted(
        &self,
        nonce: Nonce,
        associated: &[u8],
        plaintext: &[u8],
        suffix: &[u8],
        into: &mut [u8],
    ) -> Result<()> {
        if into.len() != plaintext.len() + suffix.len() + TAG_BYTES {
            return Err(WRONG_LENGTH);
        }
        match &self.shared.prepared {
            Prepared::AwsLc(key) => {
                let (text, suffix_and_tag) = into.split_at_mut(plaintext.len());
                let (nonce, aad) = (nonce.for_aws_lc(), Aad::from(associated));
                key.seal_out_of_place_scatter(nonce, aad, plaintext, text, suffix, suffix_and_tag)
                    .map_err(|_| WRONG_LENGTH)
            }
            Prepared::Ccm(_) if !suffix.is_empty() => {
                let (text, rest) = into.split_at_mut(plaintext.len());
                text.copy_from_slice(plaintext);
                rest[..suffix.len()].copy_from_slice(suffix);
                let sealed = self.seal_in_place_counted(nonce, associated, into);
                if sealed.is_err() {
                    // It is plaintext still.
                    into.fill(0);
                }
                sealed
            }
            Prepared::Ccm(key) => {
                let (text, tag) = into.split_at_mut(plaintext.len());
                let buffer = InOutBuf::new(plaintext, text).map_err(|_| WRONG_LENGTH)?;
                key.seal(nonce, associated, buffer, tag)
            }
        }
    }

    /// As [`seal_in_place`](Key::seal_in_place), for a message that was counted before.
    #[inline]
    pub(crate) fn seal_in_place_counted(
        &self,
        nonce: Nonce,
        associated: &[u8],
        buffer: &mut [u8],
    ) -> Result<()> {
        let len = buffer.len().checked_sub(TAG_BYTES).ok_or(WRONG_LENGTH)?;
        let (text, tag) = buffer.split_at_mut(len);
        match &self.shared.prepared {
            Prepared::AwsLc(key) => {
                let (nonce, aad) = (nonce.for_aws_lc(), Aad::from(associated));
                key.seal_in_place_scatter(nonce, aad, text, &[], tag).map_err(|_| WRONG_LENGTH)
            }
            Prepared::Ccm(key) => key.seal(nonce, associated, text.into(), tag),
        }
    }
}

pub(crate) const WRONG_LENGTH: Error = Error::Caller { what: "the buffers do not fit the message" };

impl Nonce {
    #[inline]
    pub(crate) fn for_aws_lc(self) -> aead::Nonce {
        aead::Nonce::assume_unique_for_key(self.0)
    }
}

/// The two calls of the `ccm` crate in the shape that is wanted here.
pub(crate) trait DetachedCcm {
    fn seal(
        &self,
        nonce: Nonce,
        aad: &[u8],
        text: InOutBuf<'_, '_, u8>,
        tag: &mut [u8],
    ) -> Result<()>;
    fn open(&self, nonce: Nonce, aad: &[u8], text: InOutBuf<'_, '_, u8>, tag: &[u8]) -> bool;
}

impl DetachedCcm for Aes128Ccm {
    fn seal(
        &self,
        nonce: Nonce,
        aad: &[u8],
        text: InOutBuf<'_, '_, u8>,
        tag: &mut [u8],
    ) -> Result<()> {
        let made = self.encrypt_inout_detached(&nonce.0.into(), aad, text);
        tag.copy_from_slice(&made.map_err(|_| WRONG_LENGTH)?);
        Ok(())
    }

    fn open(&self, nonce: Nonce, aad: &[u8], text: InOutBuf<'_, '_, u8>, tag: &[u8]) -> bool {
        let Ok(tag) = tag.try_into() else { return false };
        self.decrypt_inout_detached(&nonce.0.into(), aad, text, tag).is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret is not printed.
        write!(f, "Key({}, number {})", self.suite(), self.id())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn what_is_refused_takes_nothing_from_others_who_count_meanwhile() {
        const SEALS: u64 = 100_000;
        let limits = Limits { seals: SEALS, failures: 1 };
        let key = Key::new(Suite::Aes128Gcm, &[1; 16], limits).unwrap();
        let (is_begun, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    assert!(key.count_seals(SEALS + 1).is_err());
                    is_begun.store(true, Ordering::Relaxed);
                }
            });
            while !is_begun.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            let refused = (0..SEALS).filter(|_| key.count_seals(1).is_err()).count();
            is_over.store(true, Ordering::Relaxed);
            assert_eq!((refused, key.seals_left()), (0, 0));
        });
        assert!(key.count_seals(1).is_err());
    }
}
