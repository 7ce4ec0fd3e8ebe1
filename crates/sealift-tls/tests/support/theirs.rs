//! rustls's own buffered connection over a `TcpStream`: the other end.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use sealift_tls::rustls;

/// A stream of rustls.
pub struct Theirs {
    pub connection: Connection,
    pub socket: TcpStream,
}

impl Theirs {
    pub fn client(socket: TcpStream, config: Arc<ClientConfig>) -> Self {
        let connection = ClientConnection::new(config, super::name()).unwrap();
        Self::shake_hands(socket, connection.into()).unwrap()
    }

    pub fn server(socket: TcpStream, config: Arc<ServerConfig>) -> Self {
        let connection = ServerConnection::new(config).unwrap();
        Self::shake_hands(socket, connection.into()).unwrap()
    }

    pub fn shake_hands(mut socket: TcpStream, mut connection: Connection) -> io::Result<Self> {
        while connection.is_handshaking() || connection.wants_write() {
            connection.complete_io(&mut socket)?;
        }
        Ok(Self { connection, socket })
    }

    /// Updates the keys it seals with.
    pub fn refresh(&mut self) {
        self.connection.refresh_traffic_keys().unwrap();
        self.flush().unwrap();
    }

    /// Ends its half by close_notify, and the stream.
    pub fn close(&mut self) {
        self.connection.send_close_notify();
        self.flush().unwrap();
        self.socket.shutdown(Shutdown::Write).unwrap();
    }
}

impl Read for Theirs {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.connection.complete_io(&mut self.socket)?;
                }
                outcome => return outcome,
            }
        }
    }
}

impl Write for Theirs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.connection.writer().write(bytes)?;
        self.flush()?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}
