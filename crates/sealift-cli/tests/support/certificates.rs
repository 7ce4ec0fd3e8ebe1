//! Certificates for the tests of `tls://`, made anew for each.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::Scratch;

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
    /// Makes all of them in `scratch`.
    pub fn new(scratch: &Scratch) -> Self {
        let (ours, ca) = authority("ours");
        let (theirs, _) = authority("theirs");
        let file = |name: &str, pem: String| {
            let path = scratch.join(name);
            fs::write(&path, pem).unwrap();
            path
        };
        Self {
            ca: file("ca.pem", ca),
            server: file("server.pem", issued(&ours)),
            client: file("client.pem", issued(&ours)),
            stranger: file("stranger.pem", issued(&theirs)),
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

fn issued(authority: &Authority) -> String {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut wanted = CertificateParams::new(names).unwrap();
    wanted.distinguished_name.push(DnType::CommonName, "localhost");
    let key = KeyPair::generate().unwrap();
    wanted.signed_by(&key, authority).unwrap().pem() + &key.serialize_pem()
}
