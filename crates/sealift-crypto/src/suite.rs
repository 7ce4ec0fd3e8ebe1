//! The cipher suites, and how much one key may do.

use std::fmt;

/// An authenticated cipher. All have a nonce of 12 bytes and a tag of 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Suite {
    /// AES-128-GCM (NIST SP 800-38D).
    Aes128Gcm,
    /// AES-256-GCM (NIST SP 800-38D).
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 8439).
    ChaCha20Poly1305,
    /// AES-128-CCM with a nonce of 12 bytes (RFC 3610, `AEAD_AES_128_CCM` of RFC 5116).
    Aes128Ccm,
}

/// The length of every suite's tag, in bytes.
pub const TAG_BYTES: usize = 16;
/// The length of every suite's nonce, in bytes.
pub const NONCE_BYTES: usize = 12;

impl Suite {
    /// Every suite.
    pub const ALL: [Self; 4] =
        [Self::Aes128Gcm, Self::Aes256Gcm, Self::ChaCha20Poly1305, Self::Aes128Ccm];

    /// The length of a key, in bytes.
    pub fn key_bytes(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Aes128Ccm => 16,
            Self::Aes256Gcm | Self::ChaCha20Poly1305 => 32,
        }
    }

    /// The name in lower case, as in rows of benches: `aes-128-gcm`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "aes-128-gcm",
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            Self::Aes128Ccm => "aes-128-ccm",
        }
    }

    /// The longest plaintext that one call can seal, in bytes: what CCM's length field of three
    /// bytes holds (a nonce of 12 leaves it no more), and for the others more than a job can name.
    pub fn most_bytes(self) -> usize {
        match self {
            Self::Aes128Ccm => (1 << 24) - 1,
            _ => u32::MAX as usize - TAG_BYTES,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How often a key may be used before it has to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages that may be sealed.
    pub seals: u64,
    /// Messages that may fail to open.
    pub failures: u64,
}

impl Limits {
    /// For TLS (RFC 8446 section 5.5): about 2^24.5 full records of AES-GCM; ChaCha20-Poly1305 is
    /// bounded by the sequence number alone. AES-CCM has no figure there; RFC 9001 section 6.6 has
    /// the stricter one that is used here. A record that does not open ends a TLS connection.
    pub fn tls(suite: Suite) -> Self {
        let seals = match suite {
            // 2^24.5, rounded down.
            Suite::Aes128Gcm | Suite::Aes256Gcm => 23_726_566,
            Suite::ChaCha20Poly1305 => u64::MAX,
            Suite::Aes128Ccm => Self::quic(suite).seals,
        };
        Self { seals, failures: 1 }
    }

    /// For QUIC (RFC 9001 section 6.6), packets.
    pub fn quic(suite: Suite) -> Self {
        match suite {
            Suite::Aes128Gcm | Suite::Aes256Gcm => Self { seals: 1 << 23, failures: 1 << 52 },
            // A connection has no more than 2^62 packet numbers.
            Suite::ChaCha20Poly1305 => Self { seals: 1 << 62, failures: 1 << 36 },
            // 2^21.5, rounded down, for both.
            Suite::Aes128Ccm => Self { seals: 2_965_820, failures: 2_965_820 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any other number would pass every test that counts up to a limit of its own.
    #[test]
    fn the_limits_are_those_of_the_specifications() {
        // Roots, since the figures are powers of two and a half.
        let (power_24_5, power_21_5) = ((1u64 << 49).isqrt(), (1u64 << 43).isqrt());
        let power = |exponent: u32| 2u64.pow(exponent);
        for suite in Suite::ALL {
            let tls = Limits::tls(suite);
            let (seals, quic) = match suite {
                // RFC 8446 section 5.5; RFC 9001 section 6.6.
                Suite::Aes128Gcm | Suite::Aes256Gcm => (power_24_5, (power(23), power(52))),
                Suite::ChaCha20Poly1305 => (u64::MAX, (power(62), power(36))),
                Suite::Aes128Ccm => (power_21_5, (power_21_5, power_21_5)),
            };
            assert_eq!((tls.seals, tls.failures), (seals, 1), "{suite}");
            let Limits { seals, failures } = Limits::quic(suite);
            assert_eq!((seals, failures), quic, "{suite}");
        }
    }
}
