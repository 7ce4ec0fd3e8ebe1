//! One connection of a run, with or without TLS.
//!
//! The near end waits for nothing longer than [`PATIENCE`]. The far one ends with it, and so needs
//! no deadlines of its own.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{CipherSuite, ClientConfig, ServerConfig};
use sealift::crypto::{IpsecMb, Workers};
use sealift::tls::{Bytes, TlsStream, TlsStreamBuilder};

use super::order::Kind;

/// Longer than anything that a run waits for, but for all of the data.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// What the ends agree on, or there is no figure; and how reports call it.
const SUITE: CipherSuite = CipherSuite::TLS13_AES_256_GCM_SHA384;
pub(super) const SUITE_NAME: &str = "TLS 1.3 with AES-256-GCM";
/// What is read at a time.
const READ_BYTES: usize = 256 * 1024;

/// A connection.
pub(super) enum Stream {
    /// Sent by so many system calls.
    Plain(TcpStream, u64),
    /// Sealed by whoever writes.
    Written(TlsStream),
    /// Given away to an engine.
    Owned(TlsStream),
}

/// How a connection was used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    pub(super) bytes: u64,
    pub(super) writes: u64,
    pub(super) system_calls: u64,
    /// Outside of the kernel.
    pub(super) copies_per_byte: f64,
}

impl Stream {
    /// The end that connects, and sends.
    pub(super) fn connect(
        kind: Kind,
        socket: TcpStream,
        config: Option<&Arc<ClientConfig>>,
    ) -> Result<Self, String> {
        socket.set_nodelay(true).map_err(|error| error.to_string())?;
        let Some(config) = config else {
            let limited = socket.set_read_timeout(Some(PATIENCE));
            let limited = limited.and_then(|()| socket.set_write_timeout(Some(PATIENCE)));
            return limited.map(|()| Self::Plain(socket, 0)).map_err(|error| error.to_string());
        };
        let name = ServerName::try_from("localhost").map_err(|error| error.to_string())?;
        let builder = sealing(kind).map_err(|error| error.to_string())?;
        let stream = builder.connect(socket, config.clone(), name, soon());
        let stream = stream.map_err(|error| error.to_string())?;
        check_suite(stream.negotiated_cipher_suite().suite())?;
        Ok(if kind == Kind::TlsInline { Self::Written(stream) } else { Self::Owned(stream) })
    }

    /// The end that listens.
    pub(super) fn accept(
        kind: Kind,
        socket: TcpStream,
        config: Option<&Arc<ServerConfig>>,
    ) -> Result<Self, String> {
        socket.set_nodelay(true).map_err(|error| error.to_string())?;
        let Some(config) = config else { return Ok(Self::Plain(socket, 0)) };
        let builder = opening(kind).map_err(|error| error.to_string())?;
        let stream = builder.accept(socket, config.clone(), soon());
        Ok(Self::Written(stream.map_err(|error| error.to_string())?))
    }

    /// Lets what is sent and received from now on wait so long, and no longer.
    pub(super) fn be_patient(&mut self) {
        match self {
            // Each of its calls is.
            Self::Plain(..) => {}
            Self::Written(stream) | Self::Owned(stream) => {
                let deadline = Some(soon());
                stream.set_read_deadline(deadline);
                stream.set_write_deadline(deadline);
            }
        }
    }

    /// Sends all of `bytes`.
    pub(super) fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        match self {
            Self::Plain(socket, system_calls) => {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    *system_calls += 1;
                    rest = &rest[socket.write(rest)?..];
                }
                Ok(())
            }
            Self::Written(stream) => stream.write_all(&bytes),
            Self::Owned(stream) => stream.send_owned(bytes).map_err(|refused| refused.error.into()),
        }
    }

    /// Receives as much as there is; nothing is the end.
    pub(super) fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket, _) => socket.read(into),
            Self::Written(stream) | Self::Owned(stream) => stream.read(into),
        }
    }

    /// Ends the sending half of what took `writes`.
    pub(super) fn finish(mut self, bytes: u64, writes: u64) -> Result<Usage, String> {
        match &mut self {
            Self::Plain(socket, system_calls) => {
                socket.shutdown(Shutdown::Write).map_err(|error| error.to_string())?;
                let system_calls = *system_calls;
                Ok(Usage { bytes, writes, system_calls, copies_per_byte: 0.0 })
            }
            Self::Written(stream) | Self::Owned(stream) => {
                let closed = stream.close(soon()).map_err(|error| error.to_string())?;
                if closed.aborted {
                    return Err("the connection was cut off at its end".to_owned());
                }
                let system_calls = closed.stats.sender.system_calls;
                let copies_per_byte = closed.stats.copies_per_byte_sealed();
                Ok(Usage { bytes, writes, system_calls, copies_per_byte })
            }
        }
    }

    /// Receives to the end.
    pub(super) fn drain(mut self) -> Result<Usage, String> {
        let mut memory = vec![0; READ_BYTES];
        let mut bytes = 0;
        loop {
            match self.receive(&mut memory) {
                Ok(0) => break,
                Ok(count) => bytes += count as u64,
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(Usage { bytes, copies_per_byte: self.copies_per_byte_opened(), ..Usage::default() })
    }

    /// Sends each byte back that comes.
    pub(super) fn echo(mut self) -> Result<Usage, String> {
        let (mut memory, mut bytes) = ([0; 64], 0);
        loop {
            let count = self.receive(&mut memory).map_err(|error| error.to_string())?;
            if count == 0 {
                break;
            }
            bytes += count as u64;
            let answer = Bytes::copy_from_slice(&memory[..count]);
            self.send(answer).map_err(|error| error.to_string())?;
        }
        Ok(Usage { bytes, copies_per_byte: self.copies_per_byte_opened(), ..Usage::default() })
    }

    fn copies_per_byte_opened(&self) -> f64 {
        match self {
            Self::Plain(..) => 0.0,
            Self::Written(stream) | Self::Owned(stream) => stream.stats().copies_per_byte_opened(),
        }
    }
}

fn check_suite(found: CipherSuite) -> Result<(), String> {
    let is_expected = found == SUITE;
    is_expected.then_some(()).ok_or_else(|| format!("{found:?} was agreed on, and not {SUITE:?}"))
}

/// Whether this machine has the engines that a kind needs.
pub(super) fn has_engines(kind: Kind) -> Result<(), String> {
    sealing(kind).map(drop).map_err(|error| error.to_string())
}

/// Each connection seals on an engine of its own.
fn sealing(kind: Kind) -> Result<TlsStreamBuilder, Box<dyn std::error::Error>> {
    let builder = TlsStream::builder();
    Ok(match kind {
        Kind::Plain | Kind::TlsInline => builder,
        Kind::TlsWorkers => builder.sealing_engine(Workers::builder().threads(1).build()?),
        Kind::TlsIpsecMb => builder.sealing_engine(IpsecMb::open()?),
    })
}

/// The same of opening.
fn opening(kind: Kind) -> Result<TlsStreamBuilder, Box<dyn std::error::Error>> {
    let builder = TlsStream::builder();
    Ok(match kind {
        Kind::Plain | Kind::TlsInline => builder,
        Kind::TlsWorkers => builder.opening_engine(Workers::builder().threads(1).build()?),
        Kind::TlsIpsecMb => builder.opening_engine(IpsecMb::open()?),
    })
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn figures_are_of_the_suite_that_reports_name() {
        assert_eq!(check_suite(SUITE), Ok(()));
        let other = check_suite(CipherSuite::TLS13_AES_128_GCM_SHA256).unwrap_err();
        assert!(other.contains("TLS13_AES_128_GCM_SHA256 was agreed on"), "{other}");
    }

    #[test]
    fn no_call_of_plain_tcp_waits_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let Ok(Stream::Plain(socket, _)) = Stream::connect(Kind::Plain, socket, None) else {
            panic!("it has no TLS");
        };
        assert_eq!(socket.read_timeout().unwrap(), Some(PATIENCE));
        assert_eq!(socket.write_timeout().unwrap(), Some(PATIENCE));
    }
}
