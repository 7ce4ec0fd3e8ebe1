//! One key of one direction, and where it is: nonces and associated data of each record.
//!
//! ```text
//!                 nonce                        associated data                  on the wire before
//!                                                                               the ciphertext
//!  TLS 1.3        IV xor number                the header                       nothing
//!  1.2 AES-GCM    IV xor number (12 bytes)     number, type, version, length    its last 8 bytes
//!  1.2 ChaCha20   IV xor number                number, type, version, length    nothing
//! ```
//! (RFC 8446 section 5.3, RFC 5288 section 3, RFC 7905 section 2.) For AES-GCM in TLS 1.2 the first
//! 4 bytes of the IV are the salt; any other 8 may follow that never come twice, and these do not.
//!
//! 1. A number is used for one record: it is taken before the record is sealed, and never put back.
//! 2. The key counts what it seals, and refuses at its limit.

use rustls::ConnectionTrafficSecrets as Secrets;
use sealift_crypto::{Key, Limits, NONCE_BYTES, Nonce, Suite, TAG_BYTES};
use zeroize::Zeroize;

use crate::error::{Error, Result, Violation};
use crate::record::{
    ContentType, HEADER_BYTES, Header, MOST_EXPANSION_TLS12_BYTES, MOST_EXPANSION_TLS13_BYTES,
};

/// The part of a TLS 1.2 AES-GCM nonce that travels with the record, in bytes.
pub(crate) const EXPLICIT_BYTES: usize = 8;

/// How a version and suite lay a record out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Tls13,
    Tls12ExplicitNonce,
    Tls12,
}

impl Layout {
    /// The layout of a suite's records.
    pub(crate) fn of(suite: Suite, tls13: bool) -> Self {
        match suite {
            _ if tls13 => Self::Tls13,
            Suite::ChaCha20Poly1305 => Self::Tls12,
            _ => Self::Tls12ExplicitNonce,
        }
    }

    pub(crate) fn is_tls13(self) -> bool {
        self == Self::Tls13
    }

    /// Bytes of a body before its ciphertext.
    pub(crate) fn explicit_bytes(self) -> usize {
        if self == Self::Tls12ExplicitNonce { EXPLICIT_BYTES } else { 0 }
    }

    /// By how much a record is longer than its plaintext.
    pub(crate) fn overhead_bytes(self) -> usize {
        HEADER_BYTES + self.explicit_bytes() + usize::from(self.is_tls13()) + TAG_BYTES
    }

    /// By how much the body of a peer's record may be longer than the most plaintext.
    pub(crate) fn most_expansion_bytes(self) -> usize {
        if self.is_tls13() { MOST_EXPANSION_TLS13_BYTES } else { MOST_EXPANSION_TLS12_BYTES }
    }

    /// The room that a record's plaintext needs: its length, and in TLS 1.3 its type and padding.
    pub(crate) fn room_bytes(self, header: &Header) -> Result<usize> {
        let expected = !self.is_tls13() || header.content == ContentType::ApplicationData;
        if !expected || header.content == ContentType::ChangeCipherSpec {
            return Err(Error::Peer(Violation::UnexpectedMessage));
        }
        let room = header.body_bytes.checked_sub(self.explicit_bytes() + TAG_BYTES);
        // A body that cannot hold even an empty record was not sealed by anybody.
        room.filter(|&room| room > 0 || !self.is_tls13()).ok_or(Error::Inauthentic)
    }
}

/// A key, its IV, and the number of the next record.
pub(crate) struct Epoch {
    pub(crate) key: Key,
    pub(crate) layout: Layout,
    iv: [u8; NONCE_BYTES],
    number: u64,
}

impl Epoch {
    /// From what rustls negotiated; `limits` instead of the suite's own, if given.
    pub(crate) fn new(
        number: u64,
        secrets: Secrets,
        tls13: bool,
        limits: Option<Limits>,
    ) -> Result<Self> {
        let (suite, key, iv) = parts(&secrets)?;
        let mut epoch = Self::of(suite, key, iv, tls13, limits)?;
        epoch.number = number;
        Ok(epoch)
    }

    /// The epoch of a key and an IV, from its first record on.
    pub(crate) fn of(
        suite: Suite,
        key: &[u8],
        iv: [u8; NONCE_BYTES],
        tls13: bool,
        limits: Option<Limits>,
    ) -> Result<Self> {
        let limits = limits.unwrap_or_else(|| Limits::tls(suite));
        let key = Key::new(suite, key, limits)?;
        Ok(Self { key, layout: Layout::of(suite, tls13), iv, number: 0 })
    }

    /// The number of the next record, used up (invariant 1).
    pub(crate) fn take_number(&mut self) -> Result<u64> {
        let number = self.number;
        // RFC 8446 section 5.3: it must not wrap.
        self.number = number.checked_add(1).ok_or(Error::KeyExhausted)?;
        Ok(number)
    }

    /// The nonce of record `number`.
    pub(crate) fn nonce(&self, number: u64) -> Nonce {
        Nonce::of(&self.iv, number)
    }

    /// The nonce of a record that brings a part of it along.
    pub(crate) fn nonce_with(&self, explicit: [u8; EXPLICIT_BYTES]) -> Nonce {
        let mut nonce = self.iv;
        nonce[NONCE_BYTES - EXPLICIT_BYTES..].copy_from_slice(&explicit);
        Nonce(nonce)
    }

    /// How many records the key may still seal.
    pub(crate) fn seals_left(&self) -> u64 {
        self.key.seals_left().min(u64::MAX - self.number)
    }
}

/// Suite, key and IV of what rustls negotiated.
pub(crate) fn parts(secrets: &Secrets) -> Result<(Suite, &[u8], [u8; NONCE_BYTES])> {
    let (suite, key, iv) = match secrets {
        Secrets::Aes128Gcm { key, iv } => (Suite::Aes128Gcm, key, iv),
        Secrets::Aes256Gcm { key, iv } => (Suite::Aes256Gcm, key, iv),
        Secrets::Chacha20Poly1305 { key, iv } => (Suite::ChaCha20Poly1305, key, iv),
        _ => return Err(Error::Caller { what: "the suite has no AEAD that is known here" }),
    };
    let Ok(iv) = iv.as_ref().try_into() else {
        return Err(Error::Caller { what: "the suite's IV is not of 12 bytes" });
    };
    Ok((suite, key.as_ref(), iv))
}

/// What TLS 1.2 authenticates beside a record's content (RFC 5246 section 6.2.3.3): its number, its
/// type and version as they stand in the header, and the plaintext's length.
pub(crate) fn associated_tls12(
    number: u64,
    header: &[u8; HEADER_BYTES],
    plaintext_bytes: usize,
) -> [u8; 13] {
    let mut associated = [0; 13];
    associated[..8].copy_from_slice(&number.to_be_bytes());
    associated[8..11].copy_from_slice(&header[..3]);
    associated[11..].copy_from_slice(&(plaintext_bytes as u16).to_be_bytes());
    associated
}

impl Drop for Epoch {
    fn drop(&mut self) {
        self.iv.zeroize();
    }
}
