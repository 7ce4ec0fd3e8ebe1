//! Certificates for the tests of `tls://`, made anew for each.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256};

use super::{Scratch, quiet, run};

/// What a certificate's key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    P256,
    P384,
    Rsa2048,
    Ed25519,
}

impl KeyKind {
    pub const ALL: [Self; 4] = [Self::P256, Self::P384, Self::Rsa2048, Self::Ed25519];

    pub fn name(self) -> &'static str {
        match self {
            Self::P256 => "ECDSA P-256",
            Self::P384 => "ECDSA P-384",
            Self::Rsa2048 => "RSA 2048",
            Self::Ed25519 => "Ed25519",
        }
    }

    fn generate(self) -> KeyPair {
        let made = match self {
            Self::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Self::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            Self::Rsa2048 => KeyPair::generate_for(&PKCS_RSA_SHA256),
            // rcgen writes the public key along, which OpenSSL 3.0 does not read (RFC 5958).
            Self::Ed25519 => {
                let pem = run(quiet("openssl").args(["genpkey", "-algorithm", "ed25519"])).stdout;
                KeyPair::from_pem(str::from_utf8(&pem).unwrap())
            }
        };
        made.unwrap()
    }
}

/// An authority, and what it issued for `localhost` and its addresses; paths of PEM files.
pub struct Certificates {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// Certificate and key of a server.
    pub server: PathBuf,
    /// Certificate and key of a client.
    pub client: PathBuf,
    /// Certificate and key that another authority issued.
    pub stranger: PathBuf,
}

impl Certificates {
    /// Makes all of them in `scratch`, with ECDSA keys on P-256.
    pub fn new(scratch: &Scratch) -> Self {
        Self::of(KeyKind::P256, scratch)
    }

    /// The same with keys of a kind; the authorities' are on P-256 all the same.
    pub fn of(kind: KeyKind, scratch: &Scratch) -> Self {
        let (ours, ca) = authority("ours");
        let (theirs, _) = authority("theirs");
        let file = |name: &str, pem: String| {
            let path = scratch.join(name);
            fs::write(&path, pem).unwrap();
            path
        };
        Self {
            ca: file("ca.pem", ca),
            server: file("server.pem", issued(&ours, kind)),
            client: file("client.pem", issued(&ours, kind)),
            stranger: file("stranger.pem", issued(&theirs, kind)),
        }
    }
}

type Authority = Issuer<'static, KeyPair>;

fn authority(name: &str) -> (Authority, String) {
    let mut wanted = CertificateParams::new([]).unwrap();
    wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wanted.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let pem = wanted.self_signed(&key).unwrap().pem();
    (Issuer::new(wanted, key), pem)
}

fn issued(authority: &Authority, kind: KeyKind) -> String {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut wanted = CertificateParams::new(names).unwrap();
    wanted.distinguished_name.push(DnType::CommonName, "localhost");
    let key = kind.generate();
    wanted.signed_by(&key, authority).unwrap().pem() + &key.serialize_pem()
}
