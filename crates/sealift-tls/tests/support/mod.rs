//! What the integration tests share: an authority with certificates, the cases, and rustls's own
//! stream as the other end.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

mod authority;
pub mod endings;
pub mod ends;
pub mod engines;
pub mod kits;
pub mod ktls;
pub mod opening;
pub mod puppet;
#[path = "../../../sealift-io/tests/support/skip.rs"]
pub mod skip;
mod theirs;

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};
use sealift_tls::rustls;

#[allow(unused_imports, reason = "each test program uses its part")]
pub use authority::Authority;
#[allow(unused_imports, reason = "each test program uses its part")]
pub use theirs::Theirs;

/// The spares of a router that opens.
pub const MOST_JOB_BYTES: usize = sealift_tls::TlsStreamBuilder::OPENING_JOB_BYTES;

/// A version and a suite of it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub version: &'static SupportedProtocolVersion,
    pub suite: SupportedCipherSuite,
}

/// Every suite of each version; certificates are ECDSA.
pub fn cases() -> Vec<Case> {
    let suites = rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES.iter().copied();
    let cases: Vec<Case> = suites
        .filter(|suite| !format!("{:?}", suite.suite()).contains("_RSA_"))
        .map(|suite| Case { version: suite.version(), suite })
        .collect();
    assert_eq!(cases.len(), 6, "three suites of each version");
    cases
}

/// The first case of TLS 1.3, and the first of TLS 1.2.
pub fn case_tls13() -> Case {
    cases().into_iter().find(|case| case.version == &rustls::version::TLS13).unwrap()
}

/// See [`case_tls13`].
pub fn case_tls12() -> Case {
    cases().into_iter().find(|case| case.version == &rustls::version::TLS12).unwrap()
}

/// The server's name.
pub fn name() -> ServerName<'static> {
    "sealift.example".try_into().unwrap()
}

/// The first case of each version.
pub fn both_versions() -> [Case; 2] {
    [case_tls13(), case_tls12()]
}

/// A moment `seconds` from now.
pub fn deadline(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

/// A TCP connection over loopback.
pub fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    near.set_nodelay(true).unwrap();
    let (far, _) = listener.accept().unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

/// Bytes that differ from place to place, and by `seed`.
pub fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8) ^ ((at >> 8) as u8).wrapping_mul(31) ^ seed).collect()
}
