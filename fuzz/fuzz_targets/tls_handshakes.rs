//! See `sealift_tls::fuzzing::tls_handshakes`.
#![no_main]

use std::sync::{Arc, LazyLock};

use sealift_tls::fuzzing::{Configs, tls_handshakes};
use sealift_tls::rustls;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, default_provider};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite};

const NAME: &str = "sealift.example";

/// Every suite of each version.
static CONFIGS: LazyLock<Vec<Configs>> = LazyLock::new(|| {
    let identity = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
    let suites = ALL_CIPHER_SUITES.iter().copied();
    let suites = suites.filter(|suite| !format!("{:?}", suite.suite()).contains("_RSA_"));
    suites.map(|suite| configs(suite, &identity)).collect()
});

fn configs(suite: SupportedCipherSuite, identity: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Configs {
    let mut provider = default_provider();
    provider.cipher_suites = vec![suite];
    let (provider, versions) = (Arc::new(provider), [suite.version()]);
    let mut roots = RootCertStore::empty();
    roots.add(identity.cert.der().clone()).unwrap();
    let key = PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.cert.der().clone()], key.into())
        .unwrap();
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Each input is to find the same.
    client.resumption = Resumption::disabled();
    let (client, server) = (Arc::new(client), Arc::new(server));
    Configs { client, server, name: NAME.try_into().unwrap() }
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| tls_handshakes(&CONFIGS, input).unwrap());
