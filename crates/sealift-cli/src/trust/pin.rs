//! A pin: the SHA-256 of the public key that the other end must prove to hold.
//!
//! It is taken over the SubjectPublicKeyInfo of the leaf certificate (RFC 7469 section 2.4), as by
//! curl's `--pinnedpubkey`. So it needs no name and no authority, and outlives a certificate that
//! is renewed with the same key.

use std::fmt;
use std::str::FromStr;

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, OtherError};

use crate::terminal::shown;

/// The length of a SHA-256.
const PIN_BYTES: usize = 32;

/// The SHA-256 of a key, shown as `sha256:` and hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pin([u8; PIN_BYTES]);

/// The other end has another key.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("its key is {seen}, and not {expected}")]
pub(crate) struct Mismatch {
    expected: Pin,
    seen: Pin,
}

impl Pin {
    /// The pin of a certificate's key.
    ///
    /// # Errors
    /// [`Error::InvalidCertificate`] if it is no certificate.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self, Error> {
        Self::of_key(&ParsedCertificate::try_from(certificate)?.subject_public_key_info())
    }

    fn of_key(key: &SubjectPublicKeyInfoDer<'_>) -> Result<Self, Error> {
        // The provider's own: another SHA-256 would be one more to trust.
        let suite = TLS13_AES_128_GCM_SHA256.tls13();
        let hash = suite.map(|suite| suite.common.hash_provider.hash(key));
        let pin = hash.and_then(|hash| hash.as_ref().try_into().ok());
        pin.map(Self).ok_or_else(|| Error::General("there is no SHA-256".to_owned()))
    }

    /// Checks that a certificate's key is the pinned one.
    ///
    /// # Errors
    /// [`Mismatch`] inside of [`Error::InvalidCertificate`].
    pub(crate) fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let seen = Self::of(certificate)?;
        if seen == *self {
            return Ok(());
        }
        let mismatch = Mismatch { expected: *self, seen };
        Err(CertificateError::Other(OtherError(std::sync::Arc::new(mismatch))).into())
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Pin {
    type Err = String;

    /// Reads `sha256:` and hexadecimal digits or base64; curl's `sha256//` too.
    fn from_str(text: &str) -> Result<Self, String> {
        let value = text.strip_prefix("sha256:").or_else(|| text.strip_prefix("sha256//"));
        let value = value.ok_or("write it as sha256:HEX or sha256:BASE64")?;
        let read = if value.len() == 2 * PIN_BYTES { hexadecimal(value) } else { base64(value) };
        read.map(Self).ok_or_else(|| {
            format!("'{}' is no SHA-256: 64 hexadecimal digits, or 44 of base64", shown(value))
        })
    }
}

fn hexadecimal(text: &str) -> Option<[u8; PIN_BYTES]> {
    let mut bytes = [0; PIN_BYTES];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        for digit in digits {
            *byte = *byte * 16 + char::from(*digit).to_digit(16)? as u8;
        }
    }
    Some(bytes)
}

/// The reader of PEM files knows base64.
fn base64(text: &str) -> Option<[u8; PIN_BYTES]> {
    let label = "PUBLIC KEY-----";
    let pem = format!("-----BEGIN {label}\n{text}\n-----END {label}\n");
    let read = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok()?;
    read.as_ref().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::testing::Issued;

    const HEX: &str = "47dc540c94ceb704a23875c11273e16bb0b8a87aed84de911f2133568115f254";
    const BASE64: &str = "R9xUDJTOtwSiOHXBEnPha7C4qHrthN6RHyEzVoEV8lQ=";

    #[test]
    fn hexadecimal_and_base64_name_the_same_pin() {
        let pin: Pin = format!("sha256:{HEX}").parse().unwrap();
        assert_eq!(pin.to_string(), format!("sha256:{HEX}"));
        for text in [
            format!("sha256:{}", HEX.to_uppercase()),
            format!("sha256:{BASE64}"),
            format!("sha256//{BASE64}"),
        ] {
            assert_eq!(text.parse(), Ok(pin), "{text}");
        }
    }

    #[test]
    fn what_is_no_pin_is_refused_with_a_hint() {
        for (text, hint) in [
            (HEX.to_owned(), "sha256:HEX"),
            (format!("sha1:{HEX}"), "sha256:HEX"),
            (format!("sha256:{}", &HEX[2..]), "64 hexadecimal digits"),
            (format!("sha256:{}g", &HEX[1..]), "64 hexadecimal digits"),
            (format!("sha256:{}", "+1".repeat(32)), "64 hexadecimal digits"),
            ("sha256:".to_owned(), "''"),
            ("sha256:\u{1b}".to_owned(), "'\\u{1b}'"),
            (format!("sha256:{}ä", &HEX[2..]), "64 hexadecimal digits"),
        ] {
            let error = text.parse::<Pin>().unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn a_pin_is_of_the_key_and_not_of_the_certificate() {
        let issued = Issued::by_itself("one.test");
        let renewed = issued.renewed("two.test");
        let pin = Pin::of(&issued.der()).unwrap();
        assert_eq!(Pin::of(&renewed.der()).unwrap(), pin);
        pin.check(&renewed.der()).unwrap();
        let other = Issued::by_itself("one.test");
        let error = pin.check(&other.der()).unwrap_err().to_string();
        let seen = Pin::of(&other.der()).unwrap();
        assert!(error.contains(&format!("{seen}")) || error.contains("Mismatch"), "{error}");
    }

    #[test]
    fn what_is_no_certificate_has_no_pin() {
        assert!(Pin::of(&CertificateDer::from(vec![1, 2, 3])).is_err());
    }
}
