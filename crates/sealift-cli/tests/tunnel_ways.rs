//! The way from a tunnel to TARGET: by name, and where nobody answers.

mod support;

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketType, bind, listen as listen_on, socket};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use support::*;

/// More visitors than a tunnel has threads.
const MANY: usize = 150;

/// Who connects there hears nothing, as behind a firewall: the queue is full.
struct Deaf {
    listener: TcpListener,
    _queued: TcpStream,
}

impl Deaf {
    fn new() -> Self {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        listen_on(&socket, 0).unwrap();
        let listener = TcpListener::from(socket);
        let _queued = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Self { listener, _queued }
    }

    fn url(&self) -> String {
        format!("tcp://{}", self.listener.local_addr().unwrap())
    }
}

fn client_config(certificates: &Certificates) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificates.ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// A visitor who has shaken hands.
fn visitor(port: u16, config: &Arc<ClientConfig>) -> (TcpStream, ClientConnection) {
    let mut socket = connect(port);
    let name = "localhost".try_into().unwrap();
    let mut tls = ClientConnection::new(config.clone(), name).unwrap();
    while tls.is_handshaking() || tls.wants_write() {
        tls.complete_io(&mut socket).unwrap();
    }
    (socket, tls)
}

/// They have an hour for it: who had to wait for one of them would wait as long.
#[test]
fn ways_on_which_nobody_answers_hold_up_no_handshake() {
    let (scratch, deaf) = (Scratch::new(), Deaf::new());
    let certificates = Certificates::new(&scratch);
    let mut command = sealift();
    command.args(["tunnel", "tls://127.0.0.1:0", &deaf.url(), "--timeout", "1h", "--json"]);
    let opening = listen(command.arg("--cert").arg(&certificates.server));
    let config = client_config(&certificates);
    let visitors: Vec<_> = (0..MANY).map(|_| visitor(opening.port, &config)).collect();
    // Nor do they hold up the end.
    let port = opening.port;
    opening.running.signal("TERM");
    wait_until("an end of listening", || !is_listening(port));
    opening.running.signal("TERM");
    let output = opening.finish();
    assert_eq!(output.status.signal(), Some(15));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["connections"], MANY, "{report}");
    drop(visitors);
}

#[test]
fn a_target_that_does_not_answer_in_time_is_given_up() {
    let deaf = Deaf::new();
    let (mut opening, pin) = opening_tunnel(&deaf.url(), &["--timeout", "1s"]);
    let sealing = sealing_tunnel(opening.port, &pin, &[]);
    let client = connect(sealing.port);
    let (read, end) = read_all(&client);
    assert_eq!((read, end), (vec![], Err(std::io::ErrorKind::ConnectionReset)));
    let line = opening.line();
    let said = format!("connect on {}: no connection within 1 s; look", deaf.url());
    assert!(line.contains(&said), "{line}");
}

/// Where it has several addresses, nobody listens on the first.
#[test]
fn a_target_may_have_a_name() {
    let program = Program::echo(1);
    let target = format!("tcp://localhost:{}", program.port);
    let pair = TunnelPair::to(&target, &[]);
    let mut client = pair.connect();
    std::io::Write::write_all(&mut client, b"by name").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_all(&client), (b"by name".to_vec(), Ok(())));
    program.finish();
    pair.stop();
}
