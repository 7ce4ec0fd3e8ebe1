//! The end that connects: whose certificate it takes, and which it shows.
//!
//! | flags | the other end must |
//! |---|---|
//! | none, `--ca` | have a certificate for the name, issued by an authority that is trusted |
//! | `--pin` | have the pinned key; names, dates and authorities do not matter |
//! | `--pin --ca` | both |
//! | `--insecure` | have any certificate |
//!
//! Whatever the rule: the other end proves that it holds the certificate's key.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, KeyLog, RootCertStore, SignatureScheme};

use super::certificate::{authorities, identity, provider};
use super::explain::set_up;
use super::pin::Pin;
use crate::args::TrustArgs;
use crate::failure::{Action, Failure};

/// The configuration of the end that connects.
///
/// # Errors
/// What is wrong with a file, or that this system trusts no authority.
pub(crate) fn config(
    args: &TrustArgs,
    key_log: Option<Arc<dyn KeyLog>>,
) -> Result<ClientConfig, Failure> {
    let provider = provider();
    let verifier = Verifier {
        rule: Rule::new(args, &provider)?,
        algorithms: provider.signature_verification_algorithms,
    };
    let shown = match &args.cert {
        Some(file) => Some(identity(file, args.key.as_deref(), &provider)?),
        None => None,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| set_up(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match shown {
        Some(shown) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown))),
        None => builder.with_no_client_auth(),
    };
    // The one connection of this run.
    config.resumption = Resumption::disabled();
    config.enable_secret_extraction = true;
    if let Some(key_log) = key_log {
        config.key_log = key_log;
    }
    Ok(config)
}

/// What the other end's certificate must be.
#[derive(Debug)]
enum Rule {
    Issued(Arc<WebPkiServerVerifier>),
    Pinned(Pin),
    PinnedAndIssued(Pin, Arc<WebPkiServerVerifier>),
    Anything,
}

impl Rule {
    fn new(args: &TrustArgs, provider: &Arc<CryptoProvider>) -> Result<Self, Failure> {
        let issued = |roots: RootCertStore| {
            let builder =
                WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
            builder.build().map_err(|error| {
                Failure::explained(Action::SetUp, "TLS", error.to_string(), "name --ca, or --pin")
            })
        };
        let named = |ca: &Path| authorities(ca).and_then(issued);
        Ok(match (args.insecure, args.pin, &args.ca) {
            (true, _, _) => Self::Anything,
            (false, Some(pin), Some(ca)) => Self::PinnedAndIssued(pin, named(ca)?),
            (false, Some(pin), None) => Self::Pinned(pin),
            (false, None, Some(ca)) => Self::Issued(named(ca)?),
            (false, None, None) => Self::Issued(issued(system_authorities()?)?),
        })
    }
}

/// The authorities that this system trusts.
fn system_authorities() -> Result<RootCertStore, Failure> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(added, ignored, errors = ?found.errors, "the system's authorities");
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(Failure::explained(
            Action::SetUp,
            "TLS",
            format!("this system trusts no authorities{why}"),
            "install the package ca-certificates, or name --ca or --pin",
        ));
    }
    Ok(roots)
}

/// Checks by the rule, and the handshake's signature always.
#[derive(Debug)]
struct Verifier {
    rule: Rule,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.rule {
            Rule::Issued(issued) => issued.verify_server_cert(leaf, chain, name, ocsp, now),
            Rule::Pinned(pin) => pin.check(leaf).map(|()| ServerCertVerified::assertion()),
            Rule::PinnedAndIssued(pin, issued) => {
                pin.check(leaf)?;
                issued.verify_server_cert(leaf, chain, name, ocsp, now)
            }
            Rule::Anything => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::explain;
    use crate::trust::testing::{BOTH, Directory, Issued, handshake, server_of};
    use rustls::version::{TLS12, TLS13};

    fn args() -> TrustArgs {
        TrustArgs::default()
    }

    fn pinned(issued: &Issued) -> TrustArgs {
        TrustArgs { pin: Some(Pin::of(&issued.der()).unwrap()), ..args() }
    }

    /// How a client with these flags takes this server: its own error and the other's.
    fn outcome(args: &TrustArgs, name: &str, issued: &Issued) -> Result<(), String> {
        let client = config(args, None).unwrap();
        let (client, _) = handshake(client, name, server_of(issued.certified(), BOTH));
        client.map_err(|error| error.to_string())
    }

    #[test]
    fn the_right_pin_is_enough_whatever_the_name_and_the_date() {
        let issued = Issued::by_itself("one.test").between(2020, 2021);
        outcome(&pinned(&issued), "two.test", &issued).unwrap();
        outcome(&pinned(&issued), "192.0.2.1", &issued).unwrap();
    }

    #[test]
    fn a_wrong_pin_is_refused_and_both_are_named() {
        let (issued, other) = (Issued::by_itself("one.test"), Issued::by_itself("one.test"));
        let client = config(&pinned(&other), None).unwrap();
        let (client, server) = handshake(client, "one.test", server_of(issued.certified(), BOTH));
        let line = explain::tls(Action::Connect, "tls://h:1", &client.unwrap_err());
        let line = line.to_string();
        let (seen, expected) = (Pin::of(&issued.der()).unwrap(), Pin::of(&other.der()).unwrap());
        assert!(line.contains(&format!("its key is {seen}, and not {expected}; ")), "{line}");
        assert!(server.is_err());
    }

    #[test]
    fn a_pinned_certificate_without_its_key_is_refused() {
        let issued = Issued::by_itself("one.test");
        for rule in [pinned(&issued), TrustArgs { insecure: true, ..args() }] {
            for version in [&TLS13, &TLS12] {
                let forged = server_of(issued.forged(), &[version]);
                let client = config(&rule, None).unwrap();
                let (client, _) = handshake(client, "one.test", forged);
                let error = client.unwrap_err().to_string();
                assert!(error.contains("BadSignature"), "{version:?}: {error}");
            }
        }
    }

    #[test]
    fn an_authority_vouches_for_the_name_and_the_time() {
        let directory = Directory::new();
        let authority = Issued::authority();
        let ca = Some(directory.file("ca", &authority.pem()));
        let by_authority = TrustArgs { ca, ..args() };
        let issued = authority.issues("one.test");
        outcome(&by_authority, "one.test", &issued).unwrap();
        let wrong_name = outcome(&by_authority, "two.test", &issued).unwrap_err();
        assert!(wrong_name.contains("one.test"), "{wrong_name}");
        let expired = authority.issues_between("one.test", 2020, 2021);
        let expired = outcome(&by_authority, "one.test", &expired).unwrap_err();
        assert!(expired.contains("expired"), "{expired}");
        for stranger in [Issued::by_itself("one.test"), Issued::authority().issues("one.test")] {
            let unknown = outcome(&by_authority, "one.test", &stranger).unwrap_err();
            assert!(unknown.contains("UnknownIssuer"), "{unknown}");
        }
    }

    #[test]
    fn of_a_pin_and_an_authority_both_must_hold() {
        let directory = Directory::new();
        let authority = Issued::authority();
        let issued = authority.issues("one.test");
        let ca = Some(directory.file("ca", &authority.pem()));
        let both = TrustArgs { ca: ca.clone(), ..pinned(&issued) };
        outcome(&both, "one.test", &issued).unwrap();
        outcome(&both, "two.test", &issued).unwrap_err();
        let other_pin = TrustArgs { ca, ..pinned(&Issued::by_itself("one.test")) };
        outcome(&other_pin, "one.test", &issued).unwrap_err();
        let other_authority = directory.file("ca", &Issued::authority().pem());
        let other_authority = TrustArgs { ca: Some(other_authority), ..pinned(&issued) };
        outcome(&other_authority, "one.test", &issued).unwrap_err();
    }

    #[test]
    fn without_a_flag_a_certificate_made_for_a_run_is_refused() {
        let issued = Issued::by_itself("one.test");
        let refused = match config(&args(), None) {
            Ok(client) => handshake(client, "one.test", server_of(issued.certified(), BOTH)).0,
            // A machine that trusts nobody does not even ask.
            Err(failure) => return assert!(failure.to_string().contains("ca-certificates")),
        };
        assert!(refused.unwrap_err().to_string().contains("UnknownIssuer"));
        let insecure = TrustArgs { insecure: true, ..args() };
        outcome(&insecure, "two.test", &issued).unwrap();
    }
}
