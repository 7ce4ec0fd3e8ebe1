//! Keys as the kernel wants them: the structures of `linux/tls.h`.

use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// The version of a key's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// A cipher that kernel TLS has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES-128-GCM.
    Aes128Gcm,
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

/// The structure of a key in `linux/tls.h`: version, cipher, IV, key, salt, number.
#[derive(Clone, Copy, Debug)]
struct Layout {
    number: u16,
    key_bytes: usize,
    salt_bytes: usize,
}

const IV_BYTES: usize = 12;
pub(super) const NUMBER_BYTES: usize = 8;

impl Cipher {
    /// The length of the structure.
    pub(super) fn info_bytes(self) -> usize {
        2 + 2 + IV_BYTES + self.layout().key_bytes + NUMBER_BYTES
    }

    fn layout(self) -> Layout {
        match self {
            Self::Aes128Gcm => Layout { number: 51, key_bytes: 16, salt_bytes: 4 },
            Self::Aes256Gcm => Layout { number: 52, key_bytes: 32, salt_bytes: 4 },
            Self::ChaCha20Poly1305 => Layout { number: 54, key_bytes: 32, salt_bytes: 0 },
        }
    }
}

/// A key of one direction, as the kernel wants it. Wiped when it is dropped, and never printed.
pub struct Key {
    info: Zeroizing<Vec<u8>>,
}

impl Key {
    /// A key whose next record has this number. `iv` is of 12 bytes: with AES-GCM in TLS 1.2 the
    /// salt, and what the explicit nonce of record 0 was.
    ///
    /// There the kernel counts explicit nonces up from the one that it is given, while who sealed
    /// the records before made them by 'exclusive or' with the number, as rustls does. The kernel's
    /// begin at the sum: that is beyond all of those, as `a xor b` is at most `a + b`.
    ///
    /// # Errors
    /// [`Error::Caller`] if the key is not as long as its cipher's.
    pub fn new(
        version: Version,
        cipher: Cipher,
        key: &[u8],
        iv: &[u8; IV_BYTES],
        number: u64,
    ) -> Result<Self> {
        let layout = cipher.layout();
        if key.len() != layout.key_bytes {
            return Err(Error::Caller { what: "the key is not as long as its cipher's" });
        }
        let mut iv = Zeroizing::new(*iv);
        if version == Version::Tls12 && layout.salt_bytes > 0 {
            let explicit = &mut iv[IV_BYTES - 8..];
            let first = explicit.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            explicit.copy_from_slice(&first.wrapping_add(number).to_be_bytes());
        }
        let (salt, rest) = iv.split_at(layout.salt_bytes);
        let version: u16 = match version {
            Version::Tls12 => 0x0303,
            Version::Tls13 => 0x0304,
        };
        let mut info = Zeroizing::new(Vec::with_capacity(cipher.info_bytes()));
        info.extend(version.to_ne_bytes());
        info.extend(layout.number.to_ne_bytes());
        for part in [rest, key, salt, &number.to_be_bytes()] {
            info.extend_from_slice(part);
        }
        Ok(Self { info })
    }

    /// The structure.
    pub(super) fn info(&self) -> &[u8] {
        &self.info
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_laid_out_as_its_structure() {
        let gcm =
            Key::new(Version::Tls13, Cipher::Aes128Gcm, &[7; 16], b"saltexplicit", 0x0102).unwrap();
        let expected = [
            &0x0304u16.to_ne_bytes()[..],
            &51u16.to_ne_bytes(),
            b"explicit",
            &[7; 16],
            b"salt",
            &[0, 0, 0, 0, 0, 0, 1, 2],
        ];
        assert_eq!(*gcm.info, expected.concat());
        let chacha =
            Key::new(Version::Tls12, Cipher::ChaCha20Poly1305, &[7; 32], b"saltexplicit", 1)
                .unwrap();
        assert_eq!(chacha.info.len(), 56);
        assert_eq!(&chacha.info[4..16], b"saltexplicit", "no salt, and no nonce on the wire");
        let wrong = Key::new(Version::Tls13, Cipher::Aes256Gcm, &[0; 16], &[0; 12], 0);
        assert!(matches!(wrong, Err(Error::Caller { .. })));
        assert_eq!(format!("{gcm:?}"), "Key");
    }

    /// The handshake's Finished was sealed with the explicit nonce of number 0; the kernel counts
    /// up from what it is given.
    #[test]
    fn explicit_nonces_of_tls_1_2_begin_behind_those_that_were_used() {
        for explicit in [0u64, 1, 2, 3, 6, 0xff, u64::MAX - 1, u64::MAX] {
            let mut iv = [0; 12];
            iv[4..].copy_from_slice(&explicit.to_be_bytes());
            for number in 1..9u64 {
                let key =
                    Key::new(Version::Tls12, Cipher::Aes128Gcm, &[0; 16], &iv, number).unwrap();
                let first = u64::from_be_bytes(key.info[4..12].try_into().unwrap());
                for used in (0..number).map(|number| explicit ^ number) {
                    // So many records would have to be sealed to come round to it.
                    assert!(used.wrapping_sub(first) > u64::MAX / 2, "{explicit} {number}");
                }
            }
        }
    }
}
