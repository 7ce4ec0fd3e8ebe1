//! The client: the same for every server, and cheap. HTTP as far as these servers speak it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::trust;

use super::Kind;

/// Larger than what the kernel gives at a time.
const ROOM_BYTES: usize = 256 * 1024;

/// A connection with keep-alive.
pub(super) struct Client {
    stream: Box<dyn Stream>,
    room: Vec<u8>,
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

impl Client {
    pub(super) fn connect(kind: Kind, port: u16, config: Arc<ClientConfig>) -> io::Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match kind {
            Kind::Plain => Box::new(socket),
            Kind::Sealift | Kind::TokioRustls => {
                let connection = ClientConnection::new(config, trust::name()?);
                let connection = connection.map_err(io::Error::other)?;
                Box::new(StreamOwned::new(connection, socket))
            }
        };
        Ok(Self { stream, room: vec![0; ROOM_BYTES] })
    }

    /// Asks for a body of so many bytes.
    pub(super) fn ask(&mut self, size: u64) -> io::Result<()> {
        let request = format!("GET /{size} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.stream.write_all(request.as_bytes())?;
        self.stream.flush()
    }

    /// Reads the answer, whose body is of so many bytes.
    pub(super) fn take_answer(&mut self, size: u64) -> io::Result<()> {
        let mut filled = 0;
        let body_at = loop {
            filled += self.read(filled)?;
            let head = self.room[..filled].windows(4).position(|end| end == b"\r\n\r\n");
            if let Some(end) = head {
                break end + 4;
            }
        };
        let head = String::from_utf8_lossy(&self.room[..body_at]).to_ascii_lowercase();
        let length = format!("content-length: {size}\r\n");
        if !head.starts_with("http/1.1 200") || !head.contains(&length) {
            return Err(io::Error::other(format!("another answer was expected: {head}")));
        }
        let mut left = size.checked_sub((filled - body_at) as u64);
        while let Some(more) = left.filter(|&left| left > 0) {
            left = more.checked_sub(self.read(0)? as u64);
        }
        left.map(drop).ok_or_else(|| io::Error::other("more came than was asked for"))
    }

    fn read(&mut self, at: usize) -> io::Result<usize> {
        match self.stream.read(&mut self.room[at..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }
}
