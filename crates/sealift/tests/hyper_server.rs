//! The `hyper_server` example, visited by curl and by openssl.

#[allow(dead_code, reason = "the example's own main is not used here")]
#[path = "../examples/hyper_server.rs"]
mod hyper_server;
#[path = "../../sealift-io/tests/support/skip.rs"]
#[allow(dead_code, reason = "written for another crate's tests, too")]
mod skip;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use rcgen::CertifiedKey;
use sealift::tls::rustls::pki_types::PrivatePkcs8KeyDer;
use skip::skip;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const HTTP: [(&str, &str); 2] = [("--http1.1", "1.1"), ("--http2", "2")];
const LARGE: usize = 50_000_000;

/// The example's server on threads of this process.
struct Server {
    port: u16,
    certificate: PathBuf,
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Server {
    /// `name` is the test's: each has a file of its own.
    fn start(name: &str) -> Self {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let file = format!("sealift-{name}-{}.pem", std::process::id());
        let certificate = std::env::temp_dir().join(file);
        fs::write(&certificate, cert.pem()).unwrap();
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into();
        let config = hyper_server::configuration(vec![cert.der().clone()], key).unwrap();
        let (end, ended) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap().port()).unwrap();
                hyper_server::serve(listener, config, ended).await;
            });
        });
        Self { port: told.recv().unwrap(), certificate, end, thread }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/{path}", self.port)
    }

    /// A curl that trusts this server, and no other.
    fn curl(&self, arguments: &[&str]) -> Command {
        let mut curl = Command::new("curl");
        let place = format!("localhost:{}:127.0.0.1", self.port);
        curl.args(["--silent", "--show-error", "--max-time", "60", "--resolve", &place]);
        curl.arg("--cacert").arg(&self.certificate).args(arguments);
        curl
    }

    /// What curl printed; it succeeded.
    fn fetch(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.curl(arguments).output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "curl {arguments:?}: {words}");
        output.stdout
    }

    /// Asks the server to end, and waits until it has.
    fn stop(self) {
        fs::remove_file(&self.certificate).unwrap();
        self.end.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

/// Whether the program of the package `name` is here.
fn is_there(test: &str, name: &str) -> bool {
    let found = Command::new(name).arg("version").output().is_ok();
    if !found {
        skip(test, &format!("needs the package {name}"));
    }
    found
}

/// The body of `GET /N`.
fn numbers(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at % 251) as u8).collect()
}

#[test]
fn curl_gets_large_bodies_over_one_connection() {
    let name = "curl_gets_large_bodies_over_one_connection";
    if !is_there(name, "curl") {
        return;
    }
    let server = Server::start(name);
    for (http, version) in HTTP {
        for size in [0, 1, 1000, 65_536, 65_537, LARGE] {
            let url = server.url(&size.to_string());
            assert!(server.fetch(&[http, &url]) == numbers(size), "{http} {size}");
        }
        let url = server.url("100000");
        let said = "%{http_version} %{num_connects} %{size_download}\n";
        let nowhere = ["-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null"];
        let arguments = [&[http, "-w", said, &url, &url, &url][..], &nowhere].concat();
        let told = String::from_utf8(server.fetch(&arguments)).unwrap();
        let expected = [1, 0, 0].map(|connects| format!("{version} {connects} 100000\n"));
        assert_eq!(told, expected.concat());
    }
    server.stop();
}

#[test]
fn curl_posts_and_asks_for_headers() {
    let name = "curl_posts_and_asks_for_headers";
    if !is_there(name, "curl") {
        return;
    }
    let server = Server::start(name);
    let sent = numbers(3_000_001);
    for (http, version) in HTTP {
        let (to, waiting) = (["--data-binary", "@-", "--header", "expect:"], Stdio::piped());
        let mut curl = server.curl(&[&[http, &server.url("")][..], &to].concat());
        let mut curl = curl.stdin(waiting).stdout(Stdio::piped()).spawn().unwrap();
        curl.stdin.take().unwrap().write_all(&sent).unwrap();
        let output = curl.wait_with_output().unwrap();
        assert!(output.status.success() && output.stdout == sent, "{http}: {}", output.status);

        let head = server.fetch(&[http, "--head", &server.url("123456789")]);
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with(&format!("http/{version} 200")), "{head}");
        assert!(head.contains("content-length: 123456789"), "{head}");
        let missing = ["-w", "%{http_code}", &server.url("missing")];
        assert_eq!(server.fetch(&missing), b"404");
    }
    server.stop();
}

/// A download that has begun: the first of it is read.
fn begin(server: &Server, http: &str, size: usize) -> (Child, Vec<u8>) {
    let mut curl = server.curl(&[http, &server.url(&size.to_string())]);
    let mut curl = curl.stdout(Stdio::piped()).spawn().unwrap();
    let mut read = vec![0; 1_000_000];
    curl.stdout.as_mut().unwrap().read_exact(&mut read).unwrap();
    (curl, read)
}

#[test]
fn a_client_that_leaves_early_harms_nobody() {
    let name = "a_client_that_leaves_early_harms_nobody";
    if !is_there(name, "curl") {
        return;
    }
    let server = Server::start(name);
    for (http, _) in HTTP {
        // More than all the frames there are could hold.
        for _ in 0..20 {
            let (mut curl, read) = begin(&server, http, 1 << 40);
            assert!(read == numbers(read.len()));
            curl.kill().unwrap();
            curl.wait().unwrap();
        }
        assert!(server.fetch(&[http, &server.url("10000000")]) == numbers(10_000_000));
    }
    server.stop();
}

#[test]
fn an_answer_that_has_begun_is_finished_when_the_server_ends() {
    let name = "an_answer_that_has_begun_is_finished_when_the_server_ends";
    if !is_there(name, "curl") {
        return;
    }
    for (http, _) in HTTP {
        let server = Server::start(&format!("{name}{http}"));
        let port = server.port;
        let (mut curl, mut read) = begin(&server, http, LARGE);
        let stopping = thread::spawn(move || server.stop());
        while TcpStream::connect(("127.0.0.1", port)).is_ok() {
            thread::yield_now();
        }
        curl.stdout.take().unwrap().read_to_end(&mut read).unwrap();
        assert!(curl.wait().unwrap().success() && read == numbers(LARGE), "{http}");
        stopping.join().unwrap();
    }
}

#[test]
fn openssl_gets_a_body_and_the_end_of_the_stream() {
    let name = "openssl_gets_a_body_and_the_end_of_the_stream";
    if !is_there(name, "openssl") {
        return;
    }
    let server = Server::start(name);
    for version in ["-tls1_2", "-tls1_3"] {
        let mut client = Command::new("openssl");
        client.args(["s_client", version, "-quiet", "-verify_return_error", "-servername"]);
        client.args(["localhost", "-connect", &format!("127.0.0.1:{}", server.port)]);
        client.arg("-CAfile").arg(&server.certificate);
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut client = client.spawn().unwrap();
        let request = b"GET /5000000 HTTP/1.0\r\nhost: localhost\r\n\r\n";
        client.stdin.as_mut().unwrap().write_all(request).unwrap();
        let output = client.wait_with_output().unwrap();
        let text = output.stdout;
        let body = text.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        assert!(text.starts_with(b"HTTP/1.0 200 OK\r\n"), "{version}");
        assert!(text[body..] == numbers(5_000_000), "{version}: {} bytes", text.len() - body);
        // Without close_notify it ends with an error.
        assert!(output.status.success(), "{version}: {}", output.status);
    }
    server.stop();
}
