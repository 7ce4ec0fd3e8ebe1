//! A client or a server of rustls, which shakes hands and hands its secrets over.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert, UnbufferedServerConnection};
use rustls::sign::CertifiedKey;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{
    ClientConfig, CommonState, ExtractedSecrets, HandshakeKind, ProtocolVersion, ServerConfig,
    SupportedCipherSuite,
};

use crate::error::{Error, Result, Violation};
use crate::secrets::Kept;

/// What was agreed on.
#[derive(Debug)]
pub(crate) struct Negotiated {
    pub(crate) peer_certificates: Option<Vec<CertificateDer<'static>>>,
    pub(crate) alpn_protocol: Option<Vec<u8>>,
    pub(crate) protocol_version: ProtocolVersion,
    pub(crate) cipher_suite: SupportedCipherSuite,
    pub(crate) handshake_kind: HandshakeKind,
    /// What a client asked for by name, at the server.
    pub(crate) server_name: Option<String>,
}

/// A client or a server of rustls.
pub(crate) enum Speaker {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection, Arc<NameNoted>),
}

/// What rustls wants next.
pub(crate) enum Next {
    Again,
    Send,
    /// A further record, or the handshake is over.
    Record,
    Failed(Error),
}

impl Speaker {
    /// A client for the server `name`.
    ///
    /// # Errors
    /// [`Error::Handshake`] if rustls refuses the configuration.
    pub(crate) fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self> {
        // Early data would have to be written before there is a stream.
        let config = match config.enable_secret_extraction && !config.enable_early_data {
            true => config,
            false => {
                let mut own = ClientConfig::clone(&config);
                own.enable_secret_extraction = true;
                own.enable_early_data = false;
                Arc::new(own)
            }
        };
        let client = UnbufferedClientConnection::new(config, name).map_err(Error::Handshake)?;
        Ok(Self::Client(client))
    }

    /// A server.
    ///
    /// # Errors
    /// As [`client`](Speaker::client).
    pub(crate) fn server(config: &ServerConfig) -> Result<Self> {
        let mut own = ServerConfig::clone(config);
        own.enable_secret_extraction = true;
        // Early data can be replayed, and would have to be read before there is a stream.
        own.max_early_data_size = 0;
        let noted = Arc::new(NameNoted { resolver: own.cert_resolver, name: Mutex::new(None) });
        own.cert_resolver = noted.clone();
        let server = UnbufferedServerConnection::new(Arc::new(own)).map_err(Error::Handshake)?;
        Ok(Self::Server(server, noted))
    }

    /// Shows rustls what came: how much of it is done with, and what is next.
    pub(crate) fn process(&mut self, incoming: &mut [u8], flight: &mut Vec<u8>) -> (usize, Next) {
        match self {
            Self::Client(client) => judge(client.process_tls_records(incoming), flight),
            Self::Server(server, _) => judge(server.process_tls_records(incoming), flight),
        }
    }

    pub(crate) fn state(&self) -> &CommonState {
        match self {
            Self::Client(client) => client,
            Self::Server(server, _) => server,
        }
    }

    /// The alert that rustls has for the peer, if it has one.
    pub(crate) fn alert(&mut self) -> Vec<u8> {
        let mut alert = Vec::new();
        // Only as long as there is one: after an error rustls must not look at bytes again.
        while self.state().wants_write() {
            match self.process(&mut [], &mut alert) {
                (_, Next::Again) => {}
                _ => break,
            }
        }
        alert
    }

    /// What was agreed on, once the handshake is over, and what is needed to go on without rustls.
    ///
    /// # Errors
    /// [`Error::Handshake`] if it is not over.
    pub(crate) fn finish(self) -> Result<(ExtractedSecrets, Kept, Negotiated)> {
        match self {
            Self::Client(client) => {
                let negotiated = negotiated(&client, None)?;
                let extracted = client.dangerous_into_kernel_connection();
                let (secrets, kept) = extracted.map_err(Error::Handshake)?;
                Ok((secrets, Kept::Client(kept), negotiated))
            }
            Self::Server(server, noted) => {
                let name = noted.name.lock().unwrap_or_else(PoisonError::into_inner).take();
                let negotiated = negotiated(&server, name)?;
                let extracted = server.dangerous_into_kernel_connection();
                let (secrets, kept) = extracted.map_err(Error::Handshake)?;
                Ok((secrets, Kept::Server(kept), negotiated))
            }
        }
    }
}

fn judge<Data>(status: UnbufferedStatus<'_, '_, Data>, flight: &mut Vec<u8>) -> (usize, Next) {
    let UnbufferedStatus { discard, state, .. } = status;
    let next = match state {
        Ok(ConnectionState::EncodeTlsData(data)) => encode(data, flight),
        Ok(ConnectionState::TransmitTlsData(transmit)) => {
            transmit.done();
            Next::Send
        }
        Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => Next::Record,
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Next::Failed(Error::Truncated),
        Ok(_) => Next::Failed(Error::Peer(Violation::UnexpectedMessage)),
        Err(rustls::Error::AlertReceived(alert)) => Next::Failed(Error::Alert(alert)),
        Err(error) => Next::Failed(Error::Handshake(error)),
    };
    (discard, next)
}

/// Appends a message of rustls's to the flight.
fn encode<Data>(mut data: EncodeTlsData<'_, Data>, flight: &mut Vec<u8>) -> Next {
    let before = flight.len();
    let mut room = 0;
    loop {
        flight.resize(before + room, 0);
        match data.encode(&mut flight[before..]) {
            Ok(len) => {
                flight.truncate(before + len);
                return Next::Again;
            }
            Err(EncodeError::InsufficientSize(needed)) => room = needed.required_size,
            Err(EncodeError::AlreadyEncoded) => return Next::Again,
        }
    }
}

fn negotiated(state: &CommonState, server_name: Option<String>) -> Result<Negotiated> {
    let incomplete = || Error::Handshake(rustls::Error::HandshakeNotComplete);
    Ok(Negotiated {
        peer_certificates: state.peer_certificates().map(<[_]>::to_vec),
        alpn_protocol: state.alpn_protocol().map(<[_]>::to_vec),
        protocol_version: state.protocol_version().ok_or_else(incomplete)?,
        cipher_suite: state.negotiated_cipher_suite().ok_or_else(incomplete)?,
        handshake_kind: state.handshake_kind().ok_or_else(incomplete)?,
        server_name,
    })
}

/// Notes the name that a client asks for: rustls shows it to the certificate's resolver only.
#[derive(Debug)]
pub(crate) struct NameNoted {
    resolver: Arc<dyn ResolvesServerCert>,
    name: Mutex<Option<String>>,
}

impl ResolvesServerCert for NameNoted {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_owned);
        *self.name.lock().unwrap_or_else(PoisonError::into_inner) = name;
        self.resolver.resolve(hello)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.resolver.only_raw_public_keys()
    }
}
