//! The end that listens: which certificate it shows, and whether it lets in whoever comes.
//!
//! | flags | who connects must |
//! |---|---|
//! | none | nothing: whoever knows the address |
//! | `--client-ca` | have a certificate issued by one of these authorities |
//! | `--pin` | have the pinned key |
//! | both | both |

use std::sync::Arc;

use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{StoresServerSessions, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, KeyLog, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
};

use super::certificate::{authorities, identity, made_for_this_run, provider};
use super::explain::set_up;
use super::pin::Pin;
use crate::args::TrustArgs;
use crate::failure::{Action, Failure};

/// The configuration of the end that listens on `host`; and the pin of its certificate, if that was
/// made for this run.
///
/// # Errors
/// What is wrong with a file.
pub(crate) fn config(
    args: &TrustArgs,
    host: &str,
    key_log: Option<Arc<dyn KeyLog>>,
) -> Result<(ServerConfig, Option<Pin>), Failure> {
    let provider = provider();
    let (shown, made) = match &args.cert {
        Some(file) => (identity(file, args.key.as_deref(), &provider)?, None),
        None => {
            let made = made_for_this_run(host)?;
            let pin = made.end_entity_cert().and_then(Pin::of).map_err(|error| set_up(&error))?;
            (made, Some(pin))
        }
    };
    let verifier = verifier(args)?;
    let asks = verifier.is_some();
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| set_up(&error))?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    // Nobody comes back to this run, so none of its secrets stay. But who is asked for a
    // certificate learns from a ticket that it was taken.
    config.send_tls13_tickets = usize::from(asks);
    config.session_storage = Arc::new(Forgets);
    config.enable_secret_extraction = true;
    if let Some(key_log) = key_log {
        config.key_log = key_log;
    }
    Ok((config, made))
}

/// Takes sessions, as there are no tickets in TLS 1.3 without, and keeps none.
#[derive(Debug)]
struct Forgets;

impl StoresServerSessions for Forgets {
    fn put(&self, _: Vec<u8>, _: Vec<u8>) -> bool {
        true
    }

    fn get(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// So that TLS 1.2 does not even make a session.
    fn can_cache(&self) -> bool {
        false
    }
}

/// Who is let in, if that is not everybody.
fn verifier(args: &TrustArgs) -> Result<Option<Arc<dyn ClientCertVerifier>>, Failure> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let issued = match &args.client_ca {
        Some(file) => {
            let roots = Arc::new(authorities(file)?);
            let built = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            Some(built.map_err(|error| {
                let remedy = "name an authority with --client-ca";
                Failure::explained(Action::SetUp, "TLS", error.to_string(), remedy)
            })?)
        }
        None => None,
    };
    Ok(match (args.pin, issued) {
        (None, issued) => issued,
        (Some(pin), issued) => Some(Arc::new(Pinned { pin, issued, algorithms })),
    })
}

/// Who has the key; and, where there is one, whom the authority vouches for.
#[derive(Debug)]
struct Pinned {
    pin: Pin,
    issued: Option<Arc<dyn ClientCertVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.issued.as_ref().map_or(&[], |issued| issued.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.pin.check(leaf)?;
        match &self.issued {
            Some(issued) => issued.verify_client_cert(leaf, chain, now),
            None => Ok(ClientCertVerified::assertion()),
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
    use std::sync::Mutex;

    use super::*;
    use crate::trust::client;
    use crate::trust::testing::{BOTH, Directory, Issued, client_of, handshake};
    use rustls::version::{TLS12, TLS13};

    /// How a server with these flags takes a client with this certificate.
    fn outcome(args: &TrustArgs, shown: Option<&Issued>) -> Result<(), String> {
        let (server, made) = config(args, "one.test", None).unwrap();
        let directory = Directory::new();
        let cert = shown.map(|shown| directory.file("both", &(shown.pem() + &shown.key())));
        let client = TrustArgs { pin: made, cert, ..TrustArgs::default() };
        let client = client::config(&client, None).unwrap();
        handshake(client, "one.test", server).1.map_err(|error| error.to_string())
    }

    /// Remembers by which keys sessions were given to a store.
    #[derive(Debug)]
    struct Spied(Arc<dyn StoresServerSessions>, Mutex<Vec<Vec<u8>>>);

    impl StoresServerSessions for Spied {
        fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
            self.1.lock().unwrap().push(key.clone());
            self.0.put(key, value)
        }

        fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
            self.0.get(key)
        }

        fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
            self.0.take(key)
        }

        fn can_cache(&self) -> bool {
            self.0.can_cache()
        }
    }

    #[test]
    fn no_secret_of_a_session_is_kept_whoever_is_asked() {
        let (authority, directory) = (Issued::authority(), Directory::new());
        let shown = authority.issues("one.test");
        let cert = Some(directory.file("both", &(shown.pem() + &shown.key())));
        let client_ca = directory.file("ca", &authority.pem());
        for (asks, version) in [(false, &TLS12), (false, &TLS13), (true, &TLS12), (true, &TLS13)] {
            let client_ca = asks.then(|| client_ca.clone());
            let args = TrustArgs { client_ca, cert: cert.clone(), ..TrustArgs::default() };
            let (mut server, _) = config(&args, "one.test", None).unwrap();
            let spied = Arc::new(Spied(server.session_storage, Mutex::default()));
            server.session_storage = spied.clone();
            let client = client_of(&authority, authority.issues("me.test").certified(), &[version]);
            let (client, server) = handshake(client, "one.test", server);
            client.and(server).unwrap();
            let given = spied.1.lock().unwrap();
            assert!(given.iter().all(|key| spied.get(key).is_none()), "{asks} {version:?}");
            // That is a ticket: in TLS 1.3 whoever is asked learns from it that it was taken.
            assert_eq!(given.len(), usize::from(asks && version == &TLS13), "{version:?}");
        }
    }

    #[test]
    fn a_certificate_made_for_this_run_has_the_pin_that_is_told() {
        outcome(&TrustArgs::default(), None).unwrap();
    }

    #[test]
    fn a_certificate_of_ones_own_has_no_pin_to_tell() {
        let directory = Directory::new();
        let issued = Issued::by_itself("one.test");
        let both = directory.file("both", &(issued.pem() + &issued.key()));
        let args = TrustArgs { cert: Some(both), ..TrustArgs::default() };
        let (server, made) = config(&args, "one.test", None).unwrap();
        assert_eq!(made, None);
        let pin = Some(Pin::of(&issued.der()).unwrap());
        let client = TrustArgs { pin, ..TrustArgs::default() };
        let (client, server) = handshake(client::config(&client, None).unwrap(), "x.test", server);
        client.and(server).unwrap();
    }

    #[test]
    fn clients_need_a_certificate_of_the_authority() {
        let directory = Directory::new();
        let authority = Issued::authority();
        let client_ca = Some(directory.file("ca", &authority.pem()));
        let args = TrustArgs { client_ca, ..TrustArgs::default() };
        outcome(&args, Some(&authority.issues("client.test"))).unwrap();
        let missing = outcome(&args, None).unwrap_err();
        assert!(missing.contains("peer sent no certificates"), "{missing}");
        let stranger = Issued::authority().issues("client.test");
        let wrong = outcome(&args, Some(&stranger)).unwrap_err();
        assert!(wrong.contains("UnknownIssuer"), "{wrong}");
        // This end would not even show an expired one; another program would.
        let expired = authority.issues_between("client.test", 2020, 2021);
        let shown = authority.issues("one.test");
        let cert = Some(directory.file("both", &(shown.pem() + &shown.key())));
        let args = TrustArgs { cert, ..args };
        let (server, _) = config(&args, "one.test", None).unwrap();
        let client = client_of(&authority, expired.certified(), BOTH);
        let refused = handshake(client, "one.test", server).1.unwrap_err().to_string();
        assert!(refused.contains("expired"), "{refused}");
    }

    #[test]
    fn clients_may_be_pinned_and_must_hold_the_key() {
        let (one, other) = (Issued::by_itself("client.test"), Issued::by_itself("client.test"));
        let pin = Some(Pin::of(&one.der()).unwrap());
        let args = TrustArgs { pin, ..TrustArgs::default() };
        outcome(&args, Some(&one)).unwrap();
        outcome(&args, Some(&other)).unwrap_err();
        let missing = outcome(&args, None).unwrap_err();
        assert!(missing.contains("peer sent no certificates"), "{missing}");
        let authority = Issued::authority();
        let directory = Directory::new();
        let shown = authority.issues("one.test");
        let cert = Some(directory.file("both", &(shown.pem() + &shown.key())));
        let args = TrustArgs { cert, ..args };
        for version in [&TLS13, &TLS12] {
            let (server, _) = config(&args, "one.test", None).unwrap();
            let honest = client_of(&authority, one.certified(), &[version]);
            let (_, taken) = handshake(honest, "one.test", server.clone());
            taken.unwrap();
            let forged = client_of(&authority, one.forged(), &[version]);
            let (_, refused) = handshake(forged, "one.test", server);
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("BadSignature"), "{version:?}: {refused}");
        }
    }
}
