//! The handshake: rustls speaks, this module carries its bytes until it has secrets to hand over.
//!
//! ```text
//!  socket ──► incoming: │ seen by rustls │ not yet │        one more record at a time
//!  socket ◄── flights
//!                                        └─► what is left goes to the reader: it is sealed data
//! ```
//! rustls sees no record behind the one that ends the handshake, so all data is opened here.

use std::io::IoSliceMut;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{
    ClientHello, ResolvesServerCert, ServerConnectionData, UnbufferedServerConnection,
};
use rustls::sign::CertifiedKey;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{
    ClientConfig, CommonState, ExtractedSecrets, HandshakeKind, ProtocolVersion, ServerConfig,
    SupportedCipherSuite,
};
use sealift_io::{Receiver, Sender};

use crate::error::{Error, Result, Violation};
use crate::record::{HEADER_BYTES, MOST_EXPANSION_TLS12_BYTES, MOST_RECORD_BYTES, whole_record};
use crate::secrets::Kept;

/// How long the alert that says why may take to reach the peer's kernel.
const ALERT_LINGER: Duration = Duration::from_secs(1);

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

/// A handshake that succeeded.
pub(crate) struct Done {
    pub(crate) secrets: ExtractedSecrets,
    pub(crate) kept: Kept,
    pub(crate) negotiated: Negotiated,
    /// Received behind the handshake.
    pub(crate) received: Vec<u8>,
}

/// The two ends of the socket while the handshake lasts.
pub(crate) struct Wire<'a> {
    pub(crate) sender: &'a mut Sender,
    pub(crate) receiver: &'a mut Receiver,
    pub(crate) deadline: Instant,
    /// Nothing behind a record is received before that was seen: another is to open it.
    pub(crate) is_exact: bool,
}

/// The client's handshake.
pub(crate) fn connect(
    wire: &mut Wire<'_>,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<Done> {
    // Early data would have to be written before this returns.
    let config = match config.enable_secret_extraction && !config.enable_early_data {
        true => config,
        false => {
            let mut own = ClientConfig::clone(&config);
            own.enable_secret_extraction = true;
            own.enable_early_data = false;
            Arc::new(own)
        }
    };
    let mut client = UnbufferedClientConnection::new(config, name).map_err(Error::Handshake)?;
    let received = drive(&mut client, wire)?;
    let negotiated = negotiated(&client, None)?;
    let (secrets, kept) = client.dangerous_into_kernel_connection().map_err(Error::Handshake)?;
    Ok(Done { secrets, kept: Kept::Client(kept), negotiated, received })
}

/// The server's handshake.
pub(crate) fn accept(wire: &mut Wire<'_>, config: &ServerConfig) -> Result<Done> {
    let mut own = ServerConfig::clone(config);
    own.enable_secret_extraction = true;
    // Early data can be replayed, and would have to be read before this returns.
    own.max_early_data_size = 0;
    let noted = Arc::new(NameNoted { resolver: own.cert_resolver, name: Mutex::new(None) });
    own.cert_resolver = noted.clone();
    let mut server = UnbufferedServerConnection::new(Arc::new(own)).map_err(Error::Handshake)?;
    let received = drive(&mut server, wire)?;
    let name = noted.name.lock().unwrap_or_else(PoisonError::into_inner).take();
    let negotiated = negotiated(&server, name)?;
    let (secrets, kept) = server.dangerous_into_kernel_connection().map_err(Error::Handshake)?;
    Ok(Done { secrets, kept: Kept::Server(kept), negotiated, received })
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
struct NameNoted {
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

/// A client or a server of rustls.
trait Speaker {
    type Data;
    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;
    fn state(&self) -> &CommonState;
}

impl Speaker for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn state(&self) -> &CommonState {
        self
    }
}

impl Speaker for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn state(&self) -> &CommonState {
        self
    }
}

/// What rustls wants next.
enum Next {
    Again,
    Send,
    /// A further record, or the handshake is over.
    Record,
    Failed(Error),
}

/// Carries bytes until the handshake is over; returns what was received behind it.
fn drive<S: Speaker>(speaker: &mut S, wire: &mut Wire<'_>) -> Result<Vec<u8>> {
    let mut incoming = Vec::new();
    let mut seen = 0;
    let mut flight = Vec::new();
    loop {
        let UnbufferedStatus { discard, state, .. } = speaker.process(&mut incoming[..seen]);
        let next = next(state, &mut flight);
        incoming.drain(..discard);
        seen -= discard;
        match next {
            Next::Again => {}
            Next::Send => wire.send(std::mem::take(&mut flight))?,
            Next::Record if !speaker.state().is_handshaking() => {
                incoming.drain(..seen);
                return Ok(incoming);
            }
            Next::Record => seen = wire.one_more_record(&mut incoming, seen)?,
            Next::Failed(error) => {
                wire.tell(speaker);
                return Err(error);
            }
        }
    }
}

fn next<Data>(
    state: std::result::Result<ConnectionState<'_, '_, Data>, rustls::Error>,
    flight: &mut Vec<u8>,
) -> Next {
    match state {
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
    }
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

impl Wire<'_> {
    fn send(&mut self, flight: Vec<u8>) -> Result<()> {
        if !flight.is_empty() {
            self.sender.send(flight).map_err(|refused| refused.error)?;
            self.sender.hand_over(self.deadline)?;
            self.sender.drain(|_| {});
        }
        Ok(())
    }

    /// Makes `incoming` hold one more record than was seen, and says where that ends. Where no
    /// record can begin, rustls shall see all, and judge it.
    fn one_more_record(&mut self, incoming: &mut Vec<u8>, seen: usize) -> Result<usize> {
        loop {
            match whole_record(&incoming[seen..], MOST_EXPANSION_TLS12_BYTES) {
                Ok(Some(header)) => return Ok(seen + header.record_bytes()),
                Ok(None) => {}
                Err(_) => return Ok(incoming.len()),
            }
            let filled = incoming.len();
            let most = match self.is_exact {
                true => missing_bytes(&incoming[seen..]),
                false => MOST_RECORD_BYTES,
            };
            incoming.resize(filled + most, 0);
            let room = &mut [IoSliceMut::new(&mut incoming[filled..])];
            let received = self.receiver.receive(room, self.deadline);
            let count = received.as_ref().map_or(0, |received| received.bytes);
            incoming.truncate(filled + count);
            if received?.bytes == 0 {
                return Err(Error::Truncated);
            }
        }
    }

    /// Sends the alert that rustls has for the peer, if it has one.
    fn tell<S: Speaker>(&mut self, speaker: &mut S) {
        let mut alert = Vec::new();
        // Only as long as there is one: after an error rustls must not look at bytes again.
        while speaker.state().wants_write() {
            match speaker.process(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(data)) => drop(encode(data, &mut alert)),
                _ => break,
            }
        }
        // The handshake has failed already, and says why.
        let _ = self.send(alert);
    }
}

/// What the record that begins with `bytes` is surely longer: by the rest of its header, then by
/// the rest of its body. It is not whole, and its header, if it is there, was judged.
fn missing_bytes(bytes: &[u8]) -> usize {
    match bytes.first_chunk() {
        Some(&[_, _, _, high, low]) => {
            let body_bytes = usize::from(u16::from_be_bytes([high, low]));
            HEADER_BYTES + body_bytes - bytes.len()
        }
        None => HEADER_BYTES - bytes.len(),
    }
}

/// Closes the sender of a handshake that failed, so that the alert arrives before the socket's end.
pub(crate) fn close_failed(sender: Sender, deadline: Instant) {
    let _ = sender.close(deadline.min(Instant::now() + ALERT_LINGER));
}
