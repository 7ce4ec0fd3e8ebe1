//! Who asks for a certificate may refuse it when this end has sent everything already: TLS 1.3 has
//! it so. `send` is done when it is let in, or when the other end has ended.

mod support;

use std::io::Read;
use std::thread;
use std::time::Duration;

use rustls::version::TLS13;
use support::*;

const LEN: usize = 50_000;

/// A `send` to a server that asks who comes, and has not heard the answer.
fn asked(scratch: &Scratch, shows: bool, flags: &[&str]) -> (Running, Served, String) {
    let certificates = Certificates::new(scratch);
    let source = scratch.file("source", LEN);
    let (listener, url) = server_port();
    let mut command = sealift();
    command.arg("send").arg(source).args([&url, "--ca"]).arg(&certificates.ca).args(flags);
    if shows {
        command.arg("--cert").arg(&certificates.client);
    }
    let sending = start(&mut command);
    let mut served = Served::accept(&listener, server_config(&certificates, &TLS13, true));
    // The ClientHello, and all that is said before the certificate comes.
    served.step().unwrap();
    (sending, served, url)
}

#[test]
fn a_refusal_is_heard_however_late() {
    let scratch = Scratch::new();
    let (mut sending, mut served, url) = asked(&scratch, false, &[]);
    // By now it has sent everything, and this end's kernel has it.
    thread::sleep(Duration::from_millis(2500));
    let ended = sending.child().try_wait().unwrap();
    assert!(ended.is_none(), "nobody has taken it, and it is done: {ended:?}");
    assert_eq!(served.shake_hands(), Err(rustls::Error::NoCertificatesPresented));
    let start = format!("send on {url}: the other end refused whoever shows no certificate");
    assert_failed(&sending.finish(), &start);
}

/// Its kernel had everything, and its program never looked at the certificate.
#[test]
fn a_server_that_dies_before_it_judges_has_taken_nothing() {
    let scratch = Scratch::new();
    let (sending, served, url) = asked(&scratch, true, &[]);
    let mut socket = served.socket;
    let mut unread = Vec::new();
    socket.read_to_end(&mut unread).unwrap();
    assert!(unread.len() > LEN, "{} bytes", unread.len());
    // Nothing is left to read, so this is an end to TCP, and no reset.
    drop(socket);
    let start = format!("send on {url}: it hung up before it took this end's certificate");
    assert_failed(&sending.finish(), &start);
}

#[test]
fn who_is_neither_let_in_nor_refused_has_sent_nothing() {
    let scratch = Scratch::new();
    let (sending, served, url) = asked(&scratch, true, &["--timeout", "5s"]);
    let start = format!("send on {url}: it neither took nor refused this end's certificate");
    assert_failed(&sending.finish(), &start);
    drop(served);
}

/// As programs do that wait for one another. The server's tickets say that it has let this end in.
#[test]
fn a_server_that_never_ends_holds_up_nobody_whom_it_has_let_in() {
    let scratch = Scratch::new();
    let (sending, mut served, _) = asked(&scratch, true, &["--timeout", "100s"]);
    served.shake_hands().unwrap();
    assert_eq!(served.read_all(), pattern(0, LEN));
    assert_done(&sending.finish());
    drop(served);
}

/// Its kernel has what its program has no room for yet.
#[test]
fn a_receiver_that_asks_may_be_slow() {
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch);
    // More than a pipe takes.
    let len = 110_000;
    let source = scratch.file("source", len);
    let mut command = sealift();
    command.args(["receive", "tls://127.0.0.1:0", "-", "--cert"]).arg(&certificates.server);
    let mut receiving = listen(command.arg("--client-ca").arg(&certificates.ca));
    let mut out = receiving.running.child().stdout.take().unwrap();
    let url = format!("tls://127.0.0.1:{}", receiving.port);
    let mut command = sealift();
    command.arg("send").arg(source).args([&url, "--timeout", "5s", "--ca"]).arg(&certificates.ca);
    assert_done(&run(command.arg("--cert").arg(&certificates.client)));
    let mut read = Vec::new();
    out.read_to_end(&mut read).unwrap();
    assert!(read == pattern(0, len), "{} bytes", read.len());
    assert_done(&receiving.finish());
}
