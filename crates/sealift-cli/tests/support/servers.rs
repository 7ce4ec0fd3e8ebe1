//! Servers over TLS whose every step is a test's.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion};

use super::{Certificates, patient};

/// What a server is: who it shows itself as, which TLS it has, whether it asks who comes.
pub fn server_config(
    certificates: &Certificates,
    version: &'static SupportedProtocolVersion,
    asks: bool,
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(&[version]).unwrap();
    let builder = if asks {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&certificates.ca).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    Arc::new(
        builder.with_single_cert(chain(&certificates.server), key(&certificates.server)).unwrap(),
    )
}

fn chain(file: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(file).unwrap().map(Result::unwrap).collect()
}

fn key(file: &Path) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(file).unwrap()
}

/// A port of its own, and its URL.
pub fn server_port() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tls://127.0.0.1:{}", listener.local_addr().unwrap().port());
    (listener, url)
}

/// A server's end of one connection.
pub struct Served {
    pub socket: TcpStream,
    pub tls: ServerConnection,
}

impl Served {
    /// Takes a connection, and says nothing yet.
    pub fn accept(listener: &TcpListener, config: Arc<ServerConfig>) -> Self {
        let socket = patient(listener.accept().unwrap().0);
        Self { socket, tls: ServerConnection::new(config).unwrap() }
    }

    /// Shakes hands; the error is what this end did not like, of which the other is told.
    pub fn shake_hands(&mut self) -> Result<(), rustls::Error> {
        while self.tls.is_handshaking() {
            self.step()?;
        }
        self.tell();
        Ok(())
    }

    /// Hears some of what the other end says, and answers.
    pub fn step(&mut self) -> Result<(), rustls::Error> {
        if self.tls.wants_write() {
            self.tell();
            return Ok(());
        }
        assert!(self.tls.read_tls(&mut self.socket).unwrap() > 0, "it has gone");
        let heard = self.tls.process_new_packets().map(drop);
        self.tell();
        heard
    }

    /// Reads everything up to close_notify.
    pub fn read_all(&mut self) -> Vec<u8> {
        let mut read = Vec::new();
        rustls::Stream::new(&mut self.tls, &mut self.socket).read_to_end(&mut read).unwrap();
        read
    }

    /// Says the end, and goes.
    pub fn close(mut self) {
        self.tls.send_close_notify();
        self.tell();
    }

    fn tell(&mut self) {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket).unwrap();
        }
        self.socket.flush().unwrap();
    }
}
