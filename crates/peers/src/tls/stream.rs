//! One blocking connection, by whichever library.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{
    SslAcceptor, SslConnector, SslContextBuilder, SslMethod, SslStream, SslVersion,
};
use openssl::x509::X509;
use sealift::tls::TlsStream;

use super::Kind;
use crate::trust::{self, Identity, SUITE};

/// Longer than a handshake takes, or what is left at the end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection.
pub(super) enum Stream {
    Plain(TcpStream),
    Sealift(Box<TlsStream>),
    Openssl(SslStream<TcpStream>),
}

impl Stream {
    /// The end that connects.
    pub(super) fn connect(kind: Kind, socket: TcpStream, identity: &Identity) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        Ok(match kind {
            Kind::Sealift => {
                let (config, name) = (identity.client()?, trust::name()?);
                let stream = TlsStream::builder().connect(socket, config, name, soon());
                Self::Sealift(Box::new(stream.map_err(io::Error::other)?))
            }
            Kind::Openssl => {
                let stream = openssl_client(identity)?.connect(trust::NAME, socket);
                Self::Openssl(stream.map_err(|error| io::Error::other(error.to_string()))?)
            }
            Kind::Plain | Kind::TokioRustls => Self::Plain(socket),
        })
    }

    /// The end that listens.
    pub(super) fn accept(kind: Kind, socket: TcpStream, identity: &Identity) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        Ok(match kind {
            Kind::Sealift => {
                let stream = TlsStream::builder().accept(socket, identity.server()?, soon());
                Self::Sealift(Box::new(stream.map_err(io::Error::other)?))
            }
            Kind::Openssl => {
                let stream = openssl_server(identity)?.accept(socket);
                Self::Openssl(stream.map_err(|error| io::Error::other(error.to_string()))?)
            }
            Kind::Plain | Kind::TokioRustls => Self::Plain(socket),
        })
    }

    /// What was agreed on, by rustls's name; `None` is no TLS.
    pub(super) fn suite(&self) -> Option<String> {
        match self {
            Self::Plain(_) => None,
            Self::Sealift(stream) => {
                Some(format!("{:?}", stream.negotiated_cipher_suite().suite()))
            }
            Self::Openssl(stream) => {
                let cipher = stream.ssl().current_cipher();
                Some(cipher.map_or("nothing".to_owned(), |cipher| by_rustls(cipher.name())))
            }
        }
    }

    /// Ends what is sent; how often each byte was touched for it.
    pub(super) fn end(&mut self) -> io::Result<Option<f64>> {
        match self {
            Self::Plain(socket) => socket.shutdown(Shutdown::Write).map(|()| Some(0.0)),
            Self::Sealift(stream) => {
                let closed = stream.close(soon()).map_err(io::Error::other)?;
                if closed.aborted {
                    return Err(io::Error::other("the connection was cut off at its end"));
                }
                Ok(Some(closed.stats.copies_per_byte_sealed()))
            }
            Self::Openssl(stream) => stream.shutdown().map(|_| None).map_err(io::Error::other),
        }
    }

    /// How often each byte that came was touched outside of the kernel.
    pub(super) fn copies_per_byte_opened(&self) -> Option<f64> {
        match self {
            Self::Plain(_) => Some(0.0),
            Self::Sealift(stream) => Some(stream.stats().copies_per_byte_opened()),
            Self::Openssl(_) => None,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(into),
            Self::Sealift(stream) => stream.read(into),
            Self::Openssl(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Sealift(stream) => stream.write(bytes),
            Self::Openssl(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Sealift(stream) => stream.flush(),
            Self::Openssl(stream) => stream.flush(),
        }
    }
}

fn openssl_client(identity: &Identity) -> Result<SslConnector, ErrorStack> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    builder.cert_store_mut().add_cert(X509::from_der(&identity.certificate)?)?;
    only_the_suite(&mut builder)?;
    Ok(builder.build())
}

fn openssl_server(identity: &Identity) -> Result<SslAcceptor, ErrorStack> {
    let mut builder = SslAcceptor::mozilla_modern_v5(SslMethod::tls_server())?;
    let (certificate, key) =
        (X509::from_der(&identity.certificate)?, PKey::private_key_from_der(&identity.key)?);
    builder.set_certificate(&certificate)?;
    builder.set_private_key(&key)?;
    only_the_suite(&mut builder)?;
    Ok(builder.build())
}

fn only_the_suite(builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
    builder.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    // rustls says of each TLS 1.3 suite that it is one, where the registry and OpenSSL do not.
    builder.set_ciphersuites(&SUITE.replacen("TLS13_", "TLS_", 1))
}

/// The name that rustls gives a suite of OpenSSL's.
fn by_rustls(name: &str) -> String {
    name.replacen("TLS_", "TLS13_", 1)
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}
