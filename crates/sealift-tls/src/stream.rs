//! `TlsStream`: a TLS connection that reads and writes like any other stream.

use std::io::{self, IoSlice, Read, Write};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, ServerConfig, SupportedCipherSuite};

use crate::builder::TlsStreamBuilder;
use crate::error::{Refused, Result, Unfinished};
use crate::speaker::Negotiated;
use crate::split::{Closed, TlsReader, TlsWriter};
use crate::stats::Stats;

/// A TLS connection after its handshake, as client or server.
///
/// A write seals from the caller's memory straight into the memory that the kernel sends from; a
/// read opens straight into the caller's memory, where a whole record fits. Dropping it sends no
/// close_notify, so that the peer cannot take a part for the whole: [`close`](TlsStream::close) it.
#[derive(Debug)]
pub struct TlsStream {
    reader: TlsReader,
    writer: TlsWriter,
}

impl TlsStream {
    /// A builder with the defaults that suit most.
    pub fn builder() -> TlsStreamBuilder {
        TlsStreamBuilder::default()
    }

    pub(crate) fn new(reader: TlsReader, writer: TlsWriter) -> Self {
        Self { reader, writer }
    }

    /// Shakes hands as the client, with the server `name`, on a connected stream socket.
    ///
    /// # Errors
    /// As [`TlsStreamBuilder::connect`].
    pub fn connect(
        socket: impl Into<OwnedFd>,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        deadline: Instant,
    ) -> Result<Self> {
        Self::builder().connect(socket, config, name, deadline)
    }

    /// Shakes hands as the server.
    ///
    /// # Errors
    /// As [`TlsStreamBuilder::connect`].
    pub fn accept(
        socket: impl Into<OwnedFd>,
        config: Arc<ServerConfig>,
        deadline: Instant,
    ) -> Result<Self> {
        Self::builder().accept(socket, config, deadline)
    }

    /// The two halves, for two threads.
    pub fn split(self) -> (TlsReader, TlsWriter) {
        (self.reader, self.writer)
    }

    /// The two halves, lent.
    pub fn halves(&mut self) -> (&mut TlsReader, &mut TlsWriter) {
        (&mut self.reader, &mut self.writer)
    }

    /// See [`TlsReader::set_read_deadline`].
    pub fn set_read_deadline(&mut self, deadline: Option<Instant>) {
        self.reader.set_read_deadline(deadline);
    }

    /// See [`TlsWriter::set_write_deadline`].
    pub fn set_write_deadline(&mut self, deadline: Option<Instant>) {
        self.writer.set_write_deadline(deadline);
    }

    /// Sends close_notify, and ends the writing half; see [`TlsWriter::close`]. Reading goes on.
    ///
    /// # Errors
    /// As [`TlsWriter::close`].
    pub fn close(&mut self, deadline: Instant) -> Result<Closed> {
        self.writer.close(deadline)
    }

    /// See [`TlsWriter::send_owned`].
    ///
    /// # Errors
    /// As [`TlsWriter::send_owned`].
    pub fn send_owned(&mut self, bytes: impl Into<Bytes>) -> Result<(), Refused> {
        self.writer.send_owned(bytes)
    }

    /// See [`TlsWriter::send_file`].
    ///
    /// # Errors
    /// As [`TlsWriter::send_file`].
    pub fn send_file(&mut self, file: impl AsFd, range: Range<u64>) -> Result<u64, Unfinished> {
        self.writer.send_file(file, range)
    }

    /// See [`TlsWriter::request_key_update`].
    ///
    /// # Errors
    /// As [`TlsWriter::request_key_update`].
    pub fn request_key_update(&mut self) -> Result<()> {
        self.writer.request_key_update()
    }

    /// The peer's certificates, its own first; `None` if it showed none.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.negotiated().peer_certificates.as_deref()
    }

    /// The application protocol agreed on.
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.negotiated().alpn_protocol.as_deref()
    }

    /// TLS 1.2 or 1.3.
    pub fn protocol_version(&self) -> ProtocolVersion {
        self.negotiated().protocol_version
    }

    /// The cipher suite agreed on.
    pub fn negotiated_cipher_suite(&self) -> SupportedCipherSuite {
        self.negotiated().cipher_suite
    }

    /// Whether the handshake resumed an earlier connection.
    pub fn handshake_kind(&self) -> HandshakeKind {
        self.negotiated().handshake_kind
    }

    /// The name that the client asked for; `None` at the client, or if it asked for none.
    pub fn server_name(&self) -> Option<&str> {
        self.negotiated().server_name.as_deref()
    }

    /// See [`TlsWriter::unacknowledged_bytes`].
    pub fn unacknowledged_bytes(&self) -> Option<usize> {
        self.writer.unacknowledged_bytes()
    }

    /// The figures so far.
    pub fn stats(&self) -> Stats {
        self.writer.stats()
    }

    /// What the halves share.
    #[cfg(feature = "tokio")]
    pub(crate) fn link(&self) -> &crate::link::Link {
        self.writer.link()
    }

    fn negotiated(&self) -> &Negotiated {
        &self.writer.link().negotiated
    }
}

impl Read for TlsStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.reader.read(into)
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writer.write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Write::flush(&mut self.writer)
    }
}
