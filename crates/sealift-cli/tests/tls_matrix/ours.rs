//! Our end: rustls's configurations for a case.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::case::Case;
use crate::credentials::Credentials;

/// What the server wants of the client, whichever end that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Nothing.
    No,
    /// A certificate, if it has one.
    Politely,
    /// A certificate.
    Firmly,
}

/// The configuration of our end.
pub enum Config {
    Client(Arc<ClientConfig>),
    Server(Arc<ServerConfig>),
}

impl Config {
    /// Our end: as the client it shows its certificate if it `shows`; as the server it `asks`.
    pub fn new(case: &Case, credentials: &Credentials, asks: Asks, shows: bool) -> Self {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites = vec![case.supported_suite()];
        let provider = Arc::new(provider);
        match case.tool.is_server() {
            true => Self::Client(Arc::new(client(case, credentials, provider, shows))),
            false => Self::Server(Arc::new(server(case, credentials, provider, asks))),
        }
    }
}

fn client(
    case: &Case,
    credentials: &Credentials,
    provider: Arc<CryptoProvider>,
    shows: bool,
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[case.version.supported()])
        .unwrap()
        .with_root_certificates(roots(credentials));
    if !shows {
        return builder.with_no_client_auth();
    }
    let file = std::fs::read(&credentials.files.client).unwrap();
    builder.with_client_auth_cert(chain(&file), key(&file)).unwrap()
}

fn server(
    case: &Case,
    credentials: &Credentials,
    provider: Arc<CryptoProvider>,
    asks: Asks,
) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[case.version.supported()])
        .unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(credentials), provider);
    let builder = match asks {
        Asks::No => builder.with_no_client_auth(),
        Asks::Politely => {
            builder.with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
        }
        Asks::Firmly => builder.with_client_cert_verifier(verifier.build().unwrap()),
    };
    let file = std::fs::read(&credentials.files.server).unwrap();
    let mut config = builder.with_single_cert(chain(&file), key(&file)).unwrap();
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    config
}

fn roots(credentials: &Credentials) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let file = std::fs::read(&credentials.files.ca).unwrap();
    roots.add_parsable_certificates(chain(&file));
    assert_eq!(roots.len(), 1);
    Arc::new(roots)
}

/// The certificates of a PEM file.
pub fn chain(file: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(file).map(Result::unwrap).collect()
}

fn key(file: &[u8]) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(file).unwrap()
}
