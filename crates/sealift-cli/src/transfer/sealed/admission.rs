//! Whether the end that this one connected to has let it in.
//!
//! ```text
//!  Unasked ──asked for a certificate──► Asked ──a ticket──► Admitted
//! ```
//! In TLS 1.3 the end that connects is done before the other has looked at its certificate (RFC
//! 8446 section 2). The other end gives tickets only to whom it has let in (section 4.6.1). Whoever
//! gives none shows it by ending its side with close_notify; until one of the two nobody knows.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::{
    ClientSessionStore, ResolvesClientCert, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, NamedGroup, SignatureScheme};

/// How this end stands with the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It may be anybody.
    Unasked,
    Asked,
    Admitted,
}

/// What is known of it, and how long more of it is waited for.
#[derive(Debug)]
pub(super) struct Admission {
    standing: Mutex<Standing>,
    pub(super) within: Duration,
}

impl Admission {
    /// One that is told by the handshake of the configuration that comes back, and by what follows.
    pub(super) fn watch(config: &ClientConfig, within: Duration) -> (Arc<ClientConfig>, Arc<Self>) {
        let watched = Arc::new(Self { standing: Mutex::new(Standing::Unasked), within });
        let mut config = config.clone();
        let shows = config.client_auth_cert_resolver;
        config.client_auth_cert_resolver = Arc::new(Shown { shows, told: watched.clone() });
        config.resumption = Resumption::store(watched.clone());
        (Arc::new(config), watched)
    }

    /// Whether this end may still be refused.
    pub(super) fn is_pending(&self) -> bool {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) == Standing::Asked
    }

    fn becomes(&self, standing: Standing) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }
}

/// Shows what `shows` would, and tells that it was asked for.
#[derive(Debug)]
struct Shown {
    shows: Arc<dyn ResolvesClientCert>,
    told: Arc<Admission>,
}

impl ResolvesClientCert for Shown {
    fn resolve(
        &self,
        authorities: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.told.becomes(Standing::Asked);
        self.shows.resolve(authorities, schemes)
    }

    fn has_certs(&self) -> bool {
        self.shows.has_certs()
    }
}

/// Keeps nothing: this run makes no second connection.
impl ClientSessionStore for Admission {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {
        self.becomes(Standing::Admitted);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}
