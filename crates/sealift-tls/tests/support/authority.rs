//! Certificates, made anew for each test, and configurations that trust them.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sealift_tls::rustls;

use super::Case;

/// One authority, a server it vouches for, and a client.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self { issuer: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    /// A certificate for `name`, and its key.
    pub fn certify(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        (vec![certificate.der().clone()], key.into())
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        Arc::new(roots)
    }

    fn provider(case: &Case) -> Arc<CryptoProvider> {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites = vec![case.suite];
        Arc::new(provider)
    }

    /// A client without a certificate.
    pub fn client(&self, case: &Case) -> Arc<ClientConfig> {
        Arc::new(self.client_config(case))
    }

    /// The same, to be changed.
    pub fn client_config(&self, case: &Case) -> ClientConfig {
        ClientConfig::builder_with_provider(Self::provider(case))
            .with_protocol_versions(&[case.version])
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth()
    }

    /// A client that has a certificate.
    pub fn certified_client(&self, case: &Case) -> ClientConfig {
        let (chain, key) = self.certify("client.example");
        ClientConfig::builder_with_provider(Self::provider(case))
            .with_protocol_versions(&[case.version])
            .unwrap()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(chain, key)
            .unwrap()
    }

    /// A server that asks for no certificate.
    pub fn server(&self, case: &Case) -> Arc<ServerConfig> {
        Arc::new(self.server_config(case))
    }

    /// The same, to be changed.
    pub fn server_config(&self, case: &Case) -> ServerConfig {
        let (chain, key) = self.certify("sealift.example");
        ServerConfig::builder_with_provider(Self::provider(case))
            .with_protocol_versions(&[case.version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    }

    /// A server that wants a certificate of this authority.
    pub fn demanding_server(&self, case: &Case) -> ServerConfig {
        let (chain, key) = self.certify("sealift.example");
        let provider = Self::provider(case);
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), provider.clone());
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[case.version])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(chain, key)
            .unwrap()
    }
}
