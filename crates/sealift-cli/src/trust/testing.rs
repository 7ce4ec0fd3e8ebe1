//! What the tests of trust share: certificates of every kind, and connections in memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, Error, RootCertStore, ServerConfig,
    ServerConnection, SideData, SupportedProtocolVersion,
};

use super::certificate::provider;

/// Both versions of the protocol.
pub(crate) const BOTH: &[&SupportedProtocolVersion] = rustls::ALL_VERSIONS;

/// A certificate and the key it is for.
pub(crate) struct Issued {
    wanted: CertificateParams,
    key: KeyPair,
    certificate: Certificate,
}

impl Issued {
    /// One that nobody vouches for.
    pub(crate) fn by_itself(name: &str) -> Self {
        Self::signed_by_itself(CertificateParams::new([name.to_owned()]).unwrap(), new_key())
    }

    /// One that vouches for others.
    pub(crate) fn authority() -> Self {
        let mut wanted = CertificateParams::new([]).unwrap();
        wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self::signed_by_itself(wanted, new_key())
    }

    fn signed_by_itself(mut wanted: CertificateParams, key: KeyPair) -> Self {
        // Two of the same name would be taken for one.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        wanted.distinguished_name.push(DnType::CommonName, format!("number {number}"));
        let certificate = wanted.self_signed(&key).unwrap();
        Self { wanted, key, certificate }
    }

    /// One that this one vouches for.
    pub(crate) fn issues(&self, name: &str) -> Self {
        self.issues_between(name, 1975, 4096)
    }

    /// The same from the first day of a year to that of another.
    pub(crate) fn issues_between(&self, name: &str, from: i32, to: i32) -> Self {
        let mut wanted = CertificateParams::new([name.to_owned()]).unwrap();
        wanted.not_before = rcgen::date_time_ymd(from, 1, 1);
        wanted.not_after = rcgen::date_time_ymd(to, 1, 1);
        let key = new_key();
        let issuer = Issuer::from_params(&self.wanted, &self.key);
        let certificate = wanted.signed_by(&key, &issuer).unwrap();
        Self { wanted, key, certificate }
    }

    /// The same, valid from the first day of a year to that of another.
    pub(crate) fn between(mut self, from: i32, to: i32) -> Self {
        self.wanted.not_before = rcgen::date_time_ymd(from, 1, 1);
        self.wanted.not_after = rcgen::date_time_ymd(to, 1, 1);
        Self::signed_by_itself(self.wanted, self.key)
    }

    /// Another for the same key.
    pub(crate) fn renewed(&self, name: &str) -> Self {
        let key = KeyPair::from_pem(&self.key.serialize_pem()).unwrap();
        Self::signed_by_itself(CertificateParams::new([name.to_owned()]).unwrap(), key)
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// The key, in PEM.
    pub(crate) fn key(&self) -> String {
        self.key.serialize_pem()
    }

    /// The certificate with its key.
    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        self.with_key(&self.key)
    }

    /// The certificate in the hands of somebody who has another key.
    pub(crate) fn forged(&self) -> Arc<CertifiedKey> {
        self.with_key(&new_key())
    }

    fn with_key(&self, key: &KeyPair) -> Arc<CertifiedKey> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = provider().key_provider.load_private_key(key).unwrap();
        Arc::new(CertifiedKey::new(vec![self.der()], key))
    }
}

fn new_key() -> KeyPair {
    KeyPair::generate().unwrap()
}

/// A server that lets in everybody.
pub(crate) fn server_of(
    shown: Arc<CertifiedKey>,
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_protocol_versions(versions).unwrap().with_no_client_auth();
    builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)))
}

/// A client that trusts an authority and shows a certificate.
pub(crate) fn client_of(
    authority: &Issued,
    shown: Arc<CertifiedKey>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
    builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown)))
}

/// How a handshake in memory ends at the client and at the server.
pub(crate) fn handshake(
    client: ClientConfig,
    name: &str,
    server: ServerConfig,
) -> (Result<(), Error>, Result<(), Error>) {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let (mut at_client, mut at_server) = (Ok(()), Ok(()));
    while client.wants_write() || server.wants_write() {
        carry(&mut client, &mut server, &mut at_server);
        carry(&mut server, &mut client, &mut at_client);
    }
    if at_client.is_ok() && at_server.is_ok() {
        assert!(!client.is_handshaking() && !server.is_handshaking());
    }
    (at_client, at_server)
}

/// Brings what one end has to say to the other, which may not like it.
fn carry<A: SideData, B: SideData>(
    from: &mut ConnectionCommon<A>,
    to: &mut ConnectionCommon<B>,
    outcome: &mut Result<(), Error>,
) {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut wire = wire.as_slice();
    while !wire.is_empty() && outcome.is_ok() {
        to.read_tls(&mut wire).unwrap();
        *outcome = to.process_new_packets().map(drop);
    }
}

/// A directory of the test's own, removed with all that is in it.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sealift-trust-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
