//! A certificate for one run, and configurations of rustls that agree on one suite.

use std::sync::Arc;
use std::{fmt, io};

use rcgen::CertifiedKey;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The one suite that everything is measured with.
pub const SUITE: &str = "TLS13_AES_256_GCM_SHA384";
/// The name in the certificate.
pub(crate) const NAME: &str = "localhost";

/// What a server shows, as text that another process can be given.
#[derive(Clone)]
pub struct Identity {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// Its key, PKCS#8, DER.
    pub key: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// A new one.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn new() -> io::Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]);
        let CertifiedKey { cert, signing_key } = made.map_err(io::Error::other)?;
        Ok(Self { certificate: cert.der().to_vec(), key: signing_key.serialize_der() })
    }

    /// A server that shows it.
    ///
    /// # Errors
    /// If it is no certificate with its key.
    pub fn server(&self) -> io::Result<Arc<ServerConfig>> {
        let chain = vec![CertificateDer::from(self.certificate.clone())];
        let key = PrivatePkcs8KeyDer::from(self.key.clone()).into();
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]);
        let builder = builder.map_err(io::Error::other)?.with_no_client_auth();
        Ok(Arc::new(builder.with_single_cert(chain, key).map_err(io::Error::other)?))
    }

    /// A client that trusts it, and no other.
    ///
    /// # Errors
    /// If it is no certificate.
    pub fn client(&self) -> io::Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from(self.certificate.clone());
        roots.add(certificate).map_err(io::Error::other)?;
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]);
        let builder = builder.map_err(io::Error::other)?.with_root_certificates(roots);
        Ok(Arc::new(builder.with_no_client_auth()))
    }
}

/// The name that the certificate is for.
///
/// # Errors
/// Never, as the name is one.
pub fn name() -> io::Result<ServerName<'static>> {
    NAME.try_into().map_err(io::Error::other)
}

fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| format!("{:?}", suite.suite()) == SUITE);
    Arc::new(provider)
}
