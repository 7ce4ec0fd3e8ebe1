//! Tunnels, one or two in a row, and programs at their ends.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::{Listening, listen, sealift};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// A tunnel from `tls://` to `target`, and its pin.
pub fn opening_tunnel(target: &str, flags: &[&str]) -> (Listening, String) {
    let mut command = sealift();
    command.args(["tunnel", "tls://127.0.0.1:0", target]).args(flags);
    let mut tunnel = listen(&mut command);
    let said = tunnel.line();
    assert_eq!(said, "sealift: made a certificate for this run; at the other end:\n");
    let line = tunnel.line();
    let start = format!("  sealift tunnel tcp://127.0.0.1:PORT tls://127.0.0.1:{}", tunnel.port);
    assert!(line.starts_with(&start), "{line:?}");
    let pin = line.split_once(" --pin ").unwrap().1.trim();
    let pin = pin.split(' ').next().unwrap().to_owned();
    (tunnel, pin)
}

/// A tunnel from a plain port to `tls://127.0.0.1:port`.
pub fn sealing_tunnel(port: u16, pin: &str, flags: &[&str]) -> Listening {
    let mut command = sealift();
    let url = format!("tls://127.0.0.1:{port}");
    listen(command.args(["tunnel", "tcp://127.0.0.1:0", &url, "--pin", pin]).args(flags))
}

/// Two tunnels: plain to TLS, and TLS to plain.
pub struct TunnelPair {
    pub sealing: Listening,
    pub opening: Listening,
}

impl TunnelPair {
    /// From a port of its own to `target`.
    pub fn to(target: &str, flags: &[&str]) -> Self {
        let (opening, pin) = opening_tunnel(target, flags);
        let sealing = sealing_tunnel(opening.port, &pin, flags);
        Self { sealing, opening }
    }

    /// Connects as a program would.
    pub fn connect(&self) -> TcpStream {
        connect(self.sealing.port)
    }

    /// Tells both to stop, and asserts that they had nothing to complain about.
    pub fn stop(self) {
        for tunnel in [self.sealing, self.opening] {
            tunnel.running.signal("TERM");
            let output = tunnel.finish();
            let words = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{}: {words}", output.status);
            let mut lines = words.lines();
            // The last may not have ended yet.
            let waits = |line: &str| line.starts_with("sealift: no longer listening; waiting for");
            assert!(lines.next().is_none_or(waits) && lines.next().is_none(), "{words}");
        }
    }
}

/// A connection to a port of this machine that does not wait for ever.
pub fn connect(port: u16) -> TcpStream {
    patient(TcpStream::connect(("127.0.0.1", port)).unwrap())
}

/// What a client says first, to a server of whatever name.
pub fn client_hello() -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let mut said = Vec::new();
    ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut said).unwrap();
    said
}

/// Nothing that hangs is to hang the tests.
pub fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

/// A program that listens: what it does with `connections` connections, each on a thread.
pub struct Program {
    pub port: u16,
    threads: JoinHandle<Vec<JoinHandle<()>>>,
}

impl Program {
    pub fn serve<F>(connections: usize, serve: F) -> Self
    where
        F: Fn(TcpStream) + Clone + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let threads = thread::spawn(move || {
            let visitors = listener.incoming().take(connections);
            let serving = visitors.map(|visitor| {
                let (serve, visitor) = (serve.clone(), patient(visitor.unwrap()));
                thread::spawn(move || serve(visitor))
            });
            serving.collect()
        });
        Self { port, threads }
    }

    /// One that sends back what it gets.
    pub fn echo(connections: usize) -> Self {
        Self::serve(connections, |mut visitor| {
            let mut room = vec![0; 64 * 1024];
            loop {
                match visitor.read(&mut room) {
                    Ok(0) | Err(_) => return,
                    Ok(count) if visitor.write_all(&room[..count]).is_err() => return,
                    Ok(_) => {}
                }
            }
        })
    }

    pub fn url(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// Waits until every connection is done.
    pub fn finish(self) {
        self.threads.join().unwrap().into_iter().for_each(|serving| serving.join().unwrap());
    }
}

/// What a program reads until the end, and whether that was an end.
pub fn read_all(mut stream: impl Read) -> (Vec<u8>, Result<(), ErrorKind>) {
    let mut read = Vec::new();
    let outcome = stream.read_to_end(&mut read);
    (read, outcome.map(drop).map_err(|error| error.kind()))
}
