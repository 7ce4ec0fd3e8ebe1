//! Certificates and keys: read from PEM files, or made for this run.
//!
//! What is read is checked here, before anybody is called: each refusal names the file and what is
//! wrong with it. The text of keys, as far as it is held here, is wiped once they are made of it;
//! what the PEM reader holds while it reads is not in reach.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};
use zeroize::Zeroizing;

use crate::failure::{Action, Failure};
use crate::quantity;

/// The most that is read of a file: more than all the authorities of a system take.
const MOST_BYTES: u64 = 1 << 20;
/// What a PEM file begins each of its parts with.
const BEGIN: &[u8] = b"-----BEGIN ";
/// How the two formats of encrypted keys say that they are.
const ENCRYPTED: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];
/// How a key's part ends its first line, whatever the kind: `BEGIN DSA PRIVATE KEY-----`.
const OF_SOME_KIND: &[u8] = b" PRIVATE KEY-----";
const USABLE: &str = "make an RSA key of at least 2,048 bits, or an ECDSA or Ed25519 one: \
                      openssl genpkey -algorithm ed25519";
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// The only provider here.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A certificate with its chain and its key, read from `certificates` and `key` (or from the one
/// file that has both).
///
/// # Errors
/// What is wrong with which of the files.
pub(super) fn identity(
    certificates: &Path,
    key: Option<&Path>,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, Failure> {
    let chain = chain(certificates)?;
    let key_file = key.unwrap_or(certificates);
    let key = private_key(key_file, key.is_none())?;
    valid_now(certificates, &chain, provider)?;
    match certified(chain, &key) {
        Ok(certified) => Ok(Arc::new(certified)),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(unusable(
            key_file,
            format!("the key is not that of the certificate in {}", certificates.display()),
            "name the key that the certificate was made for",
        )),
        // All that rustls says of a key that none of its algorithms takes.
        Err(Error::General(_)) => {
            let reason = "the key is of a kind that is of no use for TLS here, or too short";
            Err(unusable(key_file, reason.to_owned(), USABLE))
        }
        Err(error) => Err(unusable(key_file, format!("the key is of no use: {error}"), USABLE)),
    }
}

/// The authorities in a file.
///
/// # Errors
/// If it cannot be read, or one of them is no certificate.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path)? {
        roots.add(certificate).map_err(|error| {
            let reason = format!("a certificate in it cannot be an authority's: {error}");
            unusable(path, reason, "name the certificate of the authority (PEM)")
        })?;
    }
    Ok(roots)
}

/// A certificate for `host` and its key, in memory only: ECDSA on P-256.
///
/// # Errors
/// If the host is no name that a certificate could be for, or there is no randomness.
pub(super) fn made_for_this_run(host: &str) -> Result<Arc<CertifiedKey>, Failure> {
    let failed = |error: String| {
        Failure::explained(
            Action::SetUp,
            "a certificate for this run",
            error,
            "give one with --cert",
        )
    };
    let names = if host.is_empty() { vec![] } else { vec![host.to_owned()] };
    let key = KeyPair::generate().map(Zeroizing::new).map_err(|error| failed(error.to_string()))?;
    // Who has the pin does not ask for the name.
    let mut wanted = CertificateParams::new(names).unwrap_or_default();
    wanted.distinguished_name.push(DnType::CommonName, "sealift");
    wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let made = wanted.self_signed(&*key).map_err(|error| failed(error.to_string()))?;
    let key = Zeroizing::new(PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())));
    let certified = certified(vec![made.der().clone()], &key);
    certified.map(Arc::new).map_err(|error| failed(error.to_string()))
}

/// As `CertifiedKey::from_der`, which takes the key along, and does not wipe it.
fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'static>,
) -> Result<CertifiedKey, Error> {
    let key: Arc<dyn SigningKey> = any_supported_type(key)?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(error) => Err(error),
    }
}

/// The certificates in a file, in their order.
fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let text = text(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| broken(path, &error))?;
    if found.is_empty() {
        return Err(unusable(
            path,
            "there is no certificate in it".to_owned(),
            "name a PEM file with `BEGIN CERTIFICATE` in it",
        ));
    }
    Ok(found)
}

fn private_key(path: &Path, shared: bool) -> Result<Zeroizing<PrivateKeyDer<'static>>, Failure> {
    let text = text(path)?;
    let has = |part: &[u8]| text.windows(part.len()).any(|window| window == part);
    if ENCRYPTED.iter().any(|label| has(label)) {
        return Err(unusable(
            path,
            "the key is encrypted".to_owned(),
            "decrypt it: openssl pkey -in FILE -out PLAIN",
        ));
    }
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(Zeroizing::new(key)),
        Err(pem::Error::NoItemsFound) if has(OF_SOME_KIND) => Err(unusable(
            path,
            "its private key is of a kind that is of no use for TLS here".to_owned(),
            USABLE,
        )),
        Err(pem::Error::NoItemsFound) => Err(unusable(
            path,
            "there is no private key in it".to_owned(),
            if shared { "name the key's file with --key" } else { "name the key's PEM file" },
        )),
        Err(error) => Err(broken(path, &error)),
    }
}

/// The content of a PEM file, which may be a key's.
fn text(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // All that is read fits: one that grows leaves what it had in memory that is not wiped.
    let mut text = Zeroizing::new(Vec::with_capacity(MOST_BYTES as usize + 1));
    let read = File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut text));
    read.map_err(|error| match error.kind() {
        std::io::ErrorKind::IsADirectory => {
            Failure::Directory { action: Action::Read, name: path.display().to_string() }
        }
        _ => Failure::system(Action::Read, path.display(), error),
    })?;
    if text.len() as u64 > MOST_BYTES {
        let reason = format!("it is longer than {}", quantity::bytes(MOST_BYTES as f64));
        return Err(unusable(path, reason, "name a PEM file"));
    }
    if text.is_empty() {
        return Err(unusable(path, "it is empty".to_owned(), "name a PEM file"));
    }
    if text.windows(BEGIN.len()).any(|window| window == BEGIN) {
        return Ok(text);
    }
    Err(unusable(
        path,
        "it is not PEM".to_owned(),
        "convert it: openssl x509 (or pkey) -inform DER -in FILE -out PEM",
    ))
}

/// An expired certificate would be refused by the other end, which could only guess why.
fn valid_now(
    path: &Path,
    chain: &[CertificateDer<'static>],
    provider: &CryptoProvider,
) -> Result<(), Failure> {
    let Some(leaf) = chain.first() else { return Ok(()) };
    let algorithms = provider.signature_verification_algorithms.all;
    // Trusting nobody, it always fails; but the time is looked at first.
    let checked = ParsedCertificate::try_from(leaf).and_then(|leaf| {
        let nobody = RootCertStore::empty();
        let now = UnixTime::now();
        verify_server_cert_signed_by_trust_anchor(&leaf, &nobody, &[], now, algorithms)
    });
    let Err(Error::InvalidCertificate(error)) = checked else { return Ok(()) };
    let (reason, remedy) = match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            (format!("the certificate expired on {}", date(not_after)), "renew it")
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            let reason = format!("the certificate is not valid before {}", date(not_before));
            (reason, "check this machine's clock")
        }
        CertificateError::BadEncoding => {
            ("what it calls a certificate is none".to_owned(), "make it anew")
        }
        _ => return Ok(()),
    };
    Err(unusable(path, reason, remedy))
}

fn broken(path: &Path, error: &pem::Error) -> Failure {
    let what = match error {
        pem::Error::MissingSectionEnd { .. } => "a part of it has no end".to_owned(),
        pem::Error::Base64Decode(_) => "a part of it is not base64".to_owned(),
        other => other.to_string(),
    };
    unusable(path, format!("it is broken PEM: {what}"), "get the file anew")
}

fn unusable(path: &Path, reason: String, remedy: &'static str) -> Failure {
    Failure::explained(Action::Read, path.display(), reason, remedy)
}

/// A day of the Gregorian calendar, in UTC: `2026-03-01`.
pub(super) fn date(time: UnixTime) -> String {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut days = time.as_secs() / DAY_SECONDS;
    let (mut year, mut month) = (1970, 1);
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::pin::Pin;
    use crate::trust::testing::{Directory, Issued};
    use std::time::Duration;

    fn read(certificates: &Path, key: Option<&Path>) -> Result<Arc<CertifiedKey>, Failure> {
        identity(certificates, key, &provider())
    }

    #[test]
    fn a_file_without_end_is_not_read_to_it() {
        let refused = read(Path::new("/dev/zero"), None).unwrap_err().to_string();
        assert!(refused.contains("it is longer than"), "{refused}");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_735_689_599, "2024-12-31"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(date(UnixTime::since_unix_epoch(Duration::from_secs(seconds))), text);
        }
    }

    #[test]
    fn a_certificate_and_its_key_may_share_a_file() {
        let directory = Directory::new();
        let issued = Issued::by_itself("one.test");
        let apart = (directory.file("cert", &issued.pem()), directory.file("key", &issued.key()));
        let both = directory.file("both", &(issued.pem() + &issued.key()));
        for identity in [read(&apart.0, Some(&apart.1)), read(&both, None)] {
            assert_eq!(identity.unwrap().cert, [issued.der()]);
        }
    }

    #[test]
    fn each_refusal_names_the_file_and_what_is_wrong() {
        let directory = Directory::new();
        let issued = Issued::by_itself("one.test");
        let (cert, key) = (issued.pem(), issued.key());
        let other_key = Issued::by_itself("one.test").key();
        let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
        let traditional = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n";
        for (cert, key, reason) in [
            ("\u{1}\u{2}", key.as_str(), "cert: it is not PEM; convert"),
            ("", key.as_str(), "cert: it is empty; name a PEM file"),
            (key.as_str(), key.as_str(), "cert: there is no certificate in it; name"),
            (cert.as_str(), cert.as_str(), "key: there is no private key in it; name"),
            (cert.as_str(), &encrypted, "key: the key is encrypted; decrypt"),
            (cert.as_str(), traditional, "key: the key is encrypted; decrypt"),
            (cert.as_str(), &other_key, "key: the key is not that of the certificate in "),
            (cert.as_str(), &key[..60], "key: it is broken PEM: a part of it has no end; get"),
            (&cert.replace("MII", "!!!"), key.as_str(), "cert: it is broken PEM: a part of it"),
        ] {
            let files = (directory.file("cert", cert), directory.file("key", key));
            let line = read(&files.0, Some(&files.1)).unwrap_err().to_string();
            assert!(line.starts_with("read on ") && line.contains(reason), "{reason}: {line}");
        }
        let none = directory.path().join("none");
        let line = read(&none, None).unwrap_err().to_string();
        assert!(line.contains("none: No such file or directory; check"), "{line}");
        let line = read(directory.path(), None).unwrap_err().to_string();
        assert!(line.contains("Is a directory"), "{line}");
    }

    #[test]
    fn an_expired_certificate_says_since_when() {
        let directory = Directory::new();
        let issued = Issued::by_itself("one.test").between(2020, 2021);
        let both = directory.file("both", &(issued.pem() + &issued.key()));
        let line = read(&both, None).unwrap_err().to_string();
        assert!(line.ends_with("both: the certificate expired on 2021-01-01; renew it"), "{line}");
        let issued = issued.between(4000, 4001);
        let both = directory.file("both", &(issued.pem() + &issued.key()));
        let line = read(&both, None).unwrap_err().to_string();
        assert!(line.contains("not valid before 4000-01-01"), "{line}");
    }

    #[test]
    fn authorities_are_read_all_and_each_is_checked() {
        let directory = Directory::new();
        let pems = Issued::authority().pem() + &Issued::authority().pem();
        assert_eq!(authorities(&directory.file("two", &pems)).unwrap().len(), 2);
        let none = pems.replacen("MII", "AII", 1);
        let line = authorities(&directory.file("none", &none)).unwrap_err().to_string();
        assert!(line.contains("cannot be an authority's"), "{line}");
    }

    #[test]
    fn each_run_makes_its_own_key() {
        let made = |host| made_for_this_run(host).unwrap();
        let pins = ["", "host.test", "::1", "not a name", "fe80::1%eth0"]
            .map(|host| Pin::of(&made(host).cert[0]).unwrap());
        assert!(pins.iter().all(|pin| pins.iter().filter(|other| *other == pin).count() == 1));
    }
}
