//! What a failed handshake means, and what to do about it.

use rustls::{AlertDescription, CertificateError, Error, OtherError};

use super::certificate::date;
use super::pin::Mismatch;
use crate::failure::{Action, Failure};

const LOOK: &str = "look at the other end: it says why it ended";
const COMPARE: &str =
    "compare it with the pin that the other end printed; unless it is that, do not trust it";
const VOUCH: &str =
    "name the authority with --ca, or the key with --pin as the listening end prints it";
/// How webpki calls what `openssl req -x509` makes, unless it is asked for something else.
const AUTHORITY: &str = "CaUsedAsEndEntity";
const ITSELF: &str = "trust its key with --pin, or let the authority issue one for that end";
const RENEW: &str = "renew it there, or trust its key with --pin";
const NAME: &str = "connect by a name that it has, or give that with --server-name";
const SHOW: &str = "let the end that connects show one: --cert FILE --key FILE";
const DISTRUSTED: &str = "give the other end --pin, as the listening end prints it, or --ca";
const SPEAK: &str = "check that the other end speaks TLS, too: tls://, not tcp://";
const VERSION: &str = "let the other end have TLS 1.3, or 1.2 with AES-GCM or ChaCha20";

/// TLS with the end at `url` did not come about, or broke.
pub(crate) fn tls(action: Action, url: &str, error: &Error) -> Failure {
    let (reason, remedy) = match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(alert) => alerted(*alert),
        Error::NoCertificatesPresented => ("it showed no certificate".to_owned(), SHOW),
        Error::PeerIncompatible(_) => (format!("no TLS in common: {error}"), VERSION),
        Error::InvalidMessage(_) => ("what it says is not TLS".to_owned(), SPEAK),
        other => (other.to_string(), LOOK),
    };
    Failure::explained(action, url, reason, remedy)
}

/// The other end ended a connection after the handshake. Only of certificates is that said so late.
pub(crate) fn later(action: Action, url: &str, alert: AlertDescription) -> Failure {
    let (reason, remedy) = match alert {
        AlertDescription::ProtocolVersion
        | AlertDescription::HandshakeFailure
        | AlertDescription::InsufficientSecurity
        | AlertDescription::UnrecognisedName => (refused("to go on", alert), LOOK),
        alert => alerted(alert),
    };
    Failure::explained(action, url, reason, remedy)
}

/// TLS cannot even be prepared.
pub(super) fn set_up(error: &Error) -> Failure {
    Failure::explained(Action::SetUp, "TLS", error.to_string(), "check that this system is whole")
}

/// What is wrong with the certificate of the other end.
fn certificate(error: &CertificateError) -> (String, &'static str) {
    match error {
        CertificateError::Other(OtherError(other)) => match other.downcast_ref::<Mismatch>() {
            Some(mismatch) => (mismatch.to_string(), COMPARE),
            None if other.to_string() == AUTHORITY => {
                ("its certificate is an authority's own".to_owned(), ITSELF)
            }
            None => (format!("its certificate is not accepted: {other}"), RENEW),
        },
        CertificateError::UnknownIssuer => {
            ("its certificate is from nobody who is trusted here".to_owned(), VOUCH)
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            (format!("its certificate expired on {}", date(*not_after)), RENEW)
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            let reason = format!("its certificate is not valid before {}", date(*not_before));
            (reason, "check the clocks of both ends")
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str();
            let names = if presented.is_empty() { "no name".into() } else { presented.join(", ") };
            (format!("its certificate is for {names}, and not for {expected}"), NAME)
        }
        CertificateError::BadSignature => {
            ("it does not hold the key of its certificate".to_owned(), "do not trust it")
        }
        other => (format!("its certificate is not accepted: {other}"), RENEW),
    }
}

/// What the other end did not like.
fn alerted(alert: AlertDescription) -> (String, &'static str) {
    let said = |what: &str| refused(what, alert);
    match alert {
        AlertDescription::CertificateRequired => {
            (said("whoever shows no certificate"), "show one: --cert FILE --key FILE")
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => (said("this end's certificate"), DISTRUSTED),
        AlertDescription::UnrecognisedName => (said("this name"), NAME),
        AlertDescription::ProtocolVersion
        | AlertDescription::HandshakeFailure
        | AlertDescription::InsufficientSecurity => (said("every TLS that this end has"), VERSION),
        _ => (said("to go on"), LOOK),
    }
}

fn refused(what: &str, alert: AlertDescription) -> String {
    format!("the other end refused {what} ({alert:?})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{InvalidMessage, PeerIncompatible};
    use std::time::Duration;

    #[test]
    fn each_reason_has_its_remedy() {
        let time = UnixTime::since_unix_epoch(Duration::from_secs(0));
        let expired = CertificateError::ExpiredContext { time, not_after: time };
        let expected = ServerName::try_from("one.test").unwrap();
        let presented = vec!["two.test".to_owned(), "three.test".to_owned()];
        let named = CertificateError::NotValidForNameContext { expected, presented };
        let required = AlertDescription::CertificateRequired;
        for (error, reason, remedy) in [
            (expired.into(), "its certificate expired on 1970-01-01", "renew"),
            (named.into(), "is for two.test, three.test, and not for one.test", "--server-name"),
            (CertificateError::UnknownIssuer.into(), "nobody who is trusted here", "--pin"),
            (CertificateError::BadSignature.into(), "does not hold the key", "do not trust"),
            (CertificateError::Revoked.into(), "not accepted", "renew"),
            (Error::NoCertificatesPresented, "no certificate", "--cert FILE --key FILE"),
            (Error::AlertReceived(required), "no certificate", "--cert FILE --key FILE"),
            (Error::AlertReceived(AlertDescription::UnknownCA), "this end's", "--pin"),
            (Error::AlertReceived(AlertDescription::ProtocolVersion), "every TLS", "TLS 1.3"),
            (Error::AlertReceived(AlertDescription::InternalError), "to go on", "look"),
            (InvalidMessage::InvalidContentType.into(), "is not TLS", "tls://"),
            (PeerIncompatible::Tls12NotOffered.into(), "no TLS in common", "TLS 1.3"),
            (Error::DecryptError, "decrypt", "look"),
        ] {
            let error: Error = error;
            let line = tls(Action::Connect, "tls://h:1", &error).to_string();
            let (what, to_do) = line.split_once("; ").unwrap();
            assert!(what.starts_with("connect on tls://h:1: "), "{line}");
            assert!(what.contains(reason) && to_do.contains(remedy), "{line}");
        }
    }
}
