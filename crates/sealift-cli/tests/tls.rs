//! `tls://` between `sealift send` and `sealift receive`: what arrives, whom either end trusts, and
//! what it says where it does not.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Output, Stdio};

use support::*;

/// A receiver with a certificate made for its run, and the pin that it printed.
fn sealed_receiver(destination: &Path, flags: &[&str]) -> (Listening, String, String) {
    let mut command = sealift();
    command.args(["receive", "tls://127.0.0.1:0"]).arg(destination).args(flags);
    let mut receiving = listen(&mut command);
    let pin = pin_of(&mut receiving, "sealift send SRC tls://127.0.0.1:");
    let url = url(receiving.port);
    (receiving, url, pin)
}

/// Reads what to type at the other end, and takes the pin out of it.
fn pin_of(listening: &mut Listening, start: &str) -> String {
    let said = listening.line();
    assert_eq!(said, "sealift: made a certificate for this run; at the other end:\n");
    let line = listening.line();
    assert!(line.trim_start().starts_with(start), "{line:?} is not {start:?}");
    let pin = line.split_once(" --pin ").unwrap().1.trim();
    pin.split(' ').next().unwrap().to_owned()
}

fn url(port: u16) -> String {
    format!("tls://127.0.0.1:{port}")
}

/// A receiver that shows the server's certificate.
fn certified_receiver(
    destination: &Path,
    certificates: &Certificates,
    flags: &[&str],
) -> (Listening, String) {
    let mut command = sealift();
    command.args(["receive", "tls://127.0.0.1:0"]).arg(destination);
    command.arg("--cert").arg(&certificates.server).args(flags);
    let receiving = listen(&mut command);
    let url = url(receiving.port);
    (receiving, url)
}

fn send(source: &Path, url: &str, flags: &[&str]) -> Output {
    run(sealift().arg("send").arg(source).arg(url).args(flags))
}

/// Asserts that nothing came under the final name, nor stays beside it.
#[track_caller]
fn assert_nothing_kept(scratch: &Scratch) {
    let names = scratch.names();
    assert!(!names.iter().any(|name| name.contains("destination")), "{names:?}");
}

/// Asserts that a listening end warned of a visitor, in a line of its own, and listened on.
#[track_caller]
fn assert_warned(receiving: &mut Listening, start: &str) {
    let line = receiving.line();
    let expected = format!("sealift: warning: {start}");
    assert!(line.starts_with(&expected), "{line:?} is not {expected:?}");
    assert!(line.ends_with(", and this end listens on\n"), "{line:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn every_size_arrives_by_the_line_that_was_printed() {
    let scratch = Scratch::new();
    for len in [0, 1, 16_383, 16_384, 16_385, 524_289, 64 << 20] {
        let source = scratch.file("source", len);
        let destination = scratch.join("destination");
        let (receiving, url, pin) = sealed_receiver(&destination, &[]);
        assert_done(&send(&source, &url, &["--pin", &pin]));
        assert_done(&receiving.finish());
        assert_same(&source, &destination);
    }
    assert_eq!(scratch.names(), ["destination", "source"]);
}

#[test]
fn every_backend_seals() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 5_000_000);
    for backend in ["auto", "uring", "msg-zerocopy", "copy"] {
        let destination = scratch.join("destination");
        let (receiving, url, pin) = sealed_receiver(&destination, &[]);
        let sent = send(&source, &url, &["--pin", &pin, "--backend", backend]);
        if backend == "uring" && !sent.status.success() {
            assert_failed(&sent, "set up on");
            skip("every_backend_seals: uring", &stderr(&sent));
            continue;
        }
        assert_done(&sent);
        assert_done(&receiving.finish());
        assert_same(&source, &destination);
    }
}

#[test]
fn the_sender_may_listen_and_ipv6_may_carry() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 3_000_000);
    for host in ["127.0.0.1", "[::1]"] {
        if host == "[::1]" && !Family::V6.exists() {
            skip("the_sender_may_listen_and_ipv6_may_carry: [::1]", "this machine has no IPv6");
            continue;
        }
        let destination = scratch.join("destination");
        let listening = format!("tls://{host}:0");
        let mut sending = listen(sealift().arg("send").arg(&source).args([&listening, "--listen"]));
        let url = format!("tls://{host}:{}", sending.port);
        let pin = pin_of(&mut sending, &format!("sealift receive {url} DST --connect --pin"));
        let mut receive = sealift();
        receive.args(["receive", &url]).arg(&destination).args(["--connect", "--pin", &pin]);
        assert_done(&run(&mut receive));
        assert_done(&sending.finish());
        assert_same(&source, &destination);
    }
}

#[test]
fn a_listener_on_every_address_leaves_its_name_to_fill_in() {
    let scratch = Scratch::new();
    let mut command = sealift();
    let mut receiving = listen(command.args(["receive", "tls://:0"]).arg(scratch.join("file")));
    let start = format!("sealift send SRC tls://HOST:{} --pin sha256:", receiving.port);
    pin_of(&mut receiving, &start);
}

#[test]
fn pipes_at_both_ends_bring_everything_at_once() {
    let mut receiving = sealed_receiver(Path::new("-"), &[]);
    let mut stdout = receiving.0.running.child().stdout.take().unwrap();
    let mut command = sealift();
    command.args(["send", "-", &receiving.1, "--pin", &receiving.2]).stdin(Stdio::piped());
    let mut sending = start(&mut command);
    let mut stdin = sending.child().stdin.take().unwrap();
    for word in ["one", "two", "three"] {
        stdin.write_all(word.as_bytes()).unwrap();
        let mut arrived = vec![0; word.len()];
        stdout.read_exact(&mut arrived).unwrap();
        assert_eq!(arrived, word.as_bytes());
    }
    let rest = pattern(0, 3_000_001);
    let whole = rest.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&rest).unwrap());
    let mut arrived = Vec::new();
    stdout.read_to_end(&mut arrived).unwrap();
    writer.join().unwrap();
    assert!(arrived == whole);
    assert_done(&sending.finish());
    assert_done(&receiving.0.finish());
}

#[test]
fn figures_and_json_tell_version_suite_records_and_copies() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 10_000_000);
    let destination = scratch.join("destination");
    let (receiving, url, pin) = sealed_receiver(&destination, &["--json", "--stats"]);
    let sent = send(&source, &url, &["--pin", &pin, "--json", "--stats"]);
    let received = receiving.finish();
    for (output, records, bytes, copies) in [
        (&sent, "records_sealed", "bytes_sealed", "copies_per_byte_sealed"),
        (&received, "records_opened", "bytes_opened", "copies_per_byte_opened"),
    ] {
        assert!(output.status.success(), "{}", stderr(output));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let tls = &json["tls"];
        assert_eq!(json["bytes"], 10_000_000);
        assert_eq!(tls["version"], "TLS 1.3");
        assert!(tls["suite"].as_str().unwrap().starts_with("TLS13_"), "{tls}");
        assert!(tls["stats"][records].as_u64().unwrap() >= 10_000_000 / 16_384, "{tls}");
        assert_eq!(tls["stats"][bytes], 10_000_000);
        let copies = tls[copies].as_f64().unwrap();
        assert!((1.0..1.05).contains(&copies), "{tls}");
        let table = stderr(output);
        assert!(table.contains("TLS 1.3, TLS13_") && table.contains(" records"), "{table}");
    }
}

#[test]
fn a_wrong_pin_is_refused_by_name_and_tells_both_and_the_right_one_may_follow() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 1000);
    let destination = scratch.join("destination");
    let (mut receiving, url, pin) = sealed_receiver(&destination, &["--quiet"]);
    let wrong = format!("sha256:{}", "0".repeat(64));
    let sent = send(&source, &url, &["--pin", &wrong]);
    assert_failed(&sent, &format!("connect on {url}: its key is {pin}, and not {wrong}; compare"));
    let start = format!("accept on {url}: the other end refused this end's certificate");
    assert_warned(&mut receiving, &start);
    // Whoever has the right one is still expected.
    assert_done(&send(&source, &url, &["--pin", &pin]));
    assert_done(&receiving.finish());
    assert_same(&source, &destination);
}

#[test]
fn without_a_pin_a_certificate_made_for_a_run_is_refused() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 1000);
    let certificates = Certificates::new(&scratch);
    // Where a system trusts nobody, that is said before anybody is called.
    for flags in [&[][..], &["--ca", text(&certificates.ca)]] {
        let (mut receiving, url, _) = sealed_receiver(&scratch.join("destination"), &[]);
        let sent = send(&source, &url, flags);
        if flags.is_empty() && stderr(&sent).contains("trusts no authorities") {
            assert_failed(&sent, "set up on TLS: this system trusts no authorities");
            continue;
        }
        let start = format!("connect on {url}: its certificate is from nobody who is trusted");
        assert_failed(&sent, &start);
        assert!(stderr(&sent).contains("--pin"), "{}", stderr(&sent));
        assert_warned(&mut receiving, &format!("accept on {url}: "));
    }
    assert!(!scratch.join("destination").exists());
}

#[test]
fn insecure_is_said_aloud_even_when_quiet() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 1000);
    let destination = scratch.join("destination");
    let (receiving, url, _) = sealed_receiver(&destination, &[]);
    let sent = send(&source, &url, &["--insecure", "--quiet"]);
    assert!(sent.status.success(), "{}", stderr(&sent));
    assert!(stderr(&sent).starts_with("sealift: warning: --insecure: "), "{}", stderr(&sent));
    assert_eq!(stderr(&sent).lines().count(), 1);
    assert_done(&receiving.finish());
    assert_same(&source, &destination);
}

#[test]
fn an_authority_vouches_for_the_name() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 100_000);
    let destination = scratch.join("destination");
    let certificates = Certificates::new(&scratch);
    let ca = ["--ca", text(&certificates.ca)];
    let (receiving, url) = certified_receiver(&destination, &certificates, &[]);
    assert_done(&send(&source, &url, &ca));
    assert_done(&receiving.finish());
    assert_same(&source, &destination);
    fs::remove_file(&destination).unwrap();
    for (name, is_right) in [("localhost", true), ("other.test", false)] {
        let (mut receiving, url) = certified_receiver(&destination, &certificates, &[]);
        let sent = send(&source, &url, &[&ca[..], &["--server-name", name]].concat());
        if is_right {
            assert_done(&receiving.finish());
        } else {
            assert_warned(&mut receiving, &format!("accept on {url}: "));
            let start = format!("connect on {url}: its certificate is for ");
            assert_failed(&sent, &start);
            assert!(stderr(&sent).contains("not for other.test; "), "{}", stderr(&sent));
            assert_eq!(scratch.names().iter().filter(|name| *name == "destination").count(), 1);
        }
    }
}

#[test]
fn clients_need_a_certificate_where_an_authority_is_named() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 5_000_000);
    let destination = scratch.join("destination");
    let certificates = Certificates::new(&scratch);
    let listening = ["--client-ca", text(&certificates.ca)];
    for (shown, is_right) in
        [(Some(&certificates.client), true), (Some(&certificates.stranger), false), (None, false)]
    {
        let (mut receiving, url, pin) = sealed_receiver(&destination, &listening);
        let mut command = sealift();
        command.arg("send").arg(&source).args([&url, "--pin", &pin]);
        if let Some(shown) = shown {
            command.arg("--cert").arg(shown);
        }
        let sent = run(&mut command);
        if is_right {
            assert_done(&sent);
            assert_done(&receiving.finish());
            assert_same(&source, &destination);
            fs::remove_file(&destination).unwrap();
        } else {
            let why = match shown {
                Some(_) => "its certificate is from nobody who is trusted here; ",
                None => "it showed no certificate; ",
            };
            assert_warned(&mut receiving, &format!("accept on {url}: {why}"));
            assert_failed(&sent, &format!("send on {url}: the other end refused "));
            assert!(!destination.exists());
        }
    }
}

#[test]
fn even_a_byte_is_not_sent_in_vain() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 1);
    let certificates = Certificates::new(&scratch);
    let listening = ["--client-ca", text(&certificates.ca)];
    // All of it fits the socket before the other end has judged the certificate.
    let (mut receiving, url, pin) = sealed_receiver(&scratch.join("destination"), &listening);
    let sent = send(&source, &url, &["--pin", &pin]);
    assert_failed(&sent, &format!("send on {url}: the other end refused whoever shows no"));
    assert_warned(&mut receiving, &format!("accept on {url}: it showed no certificate; "));
}

#[test]
fn a_client_may_be_pinned() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 100_000);
    let destination = scratch.join("destination");
    let certificates = Certificates::new(&scratch);
    let Some(pin) = openssl_pin(&certificates.client, "a_client_may_be_pinned") else { return };
    for (shown, is_right) in [(&certificates.client, true), (&certificates.stranger, false)] {
        let (mut receiving, url, server_pin) = sealed_receiver(&destination, &["--pin", &pin]);
        let sent = send(&source, &url, &["--pin", &server_pin, "--cert", text(shown)]);
        assert_eq!(sent.status.success(), is_right, "{}", stderr(&sent));
        match is_right {
            true => assert_done(&receiving.finish()),
            false => assert_warned(&mut receiving, &format!("accept on {url}: ")),
        }
    }
    assert_same(&source, &destination);
}

/// The pin as the help says to take it.
fn openssl_pin(certificate: &Path, test: &str) -> Option<String> {
    if let Some(why) = missing("openssl") {
        skip(test, &format!("needs the package openssl: {why}"));
        return None;
    }
    let script = "openssl x509 -in \"$0\" -pubkey -noout \
        | openssl pkey -pubin -outform der | sha256sum";
    let output = run(quiet("sh").args(["-c", script]).arg(certificate));
    assert!(output.status.success(), "{}", stderr(&output));
    let line = String::from_utf8(output.stdout).unwrap();
    Some(format!("sha256:{}", line.split(' ').next().unwrap()))
}

#[test]
fn an_end_that_is_killed_is_an_error_at_the_other() {
    for signal in ["INT", "KILL"] {
        let scratch = Scratch::new();
        let (receiving, url, pin) = sealed_receiver(&scratch.join("destination"), &[]);
        let mut sending = sealing_sender(&url, &pin);
        sending.child().stdin.as_mut().unwrap().write_all(&pattern(0, 100_000)).unwrap();
        wait_for_partial(&scratch, 100_000);
        sending.signal(signal);
        assert!(sending.finish().status.signal().is_some());
        let start = format!("receive on {url}: Connection reset by peer; look");
        assert_failed(&receiving.finish(), &start);
        assert!(scratch.names().is_empty(), "{signal}: {:?}", scratch.names());

        let (receiving, url, pin) = sealed_receiver(&scratch.join("destination"), &[]);
        let mut sending = sealing_sender(&url, &pin);
        sending.child().stdin.as_mut().unwrap().write_all(&pattern(0, 100_000)).unwrap();
        wait_for_partial(&scratch, 100_000);
        receiving.running.signal(signal);
        let start = format!("send on {url}: Connection reset by peer; look");
        assert_failed(&sending.finish(), &start);
    }
}

fn sealing_sender(url: &str, pin: &str) -> Running {
    start(sealift().args(["send", "-", url, "--pin", pin]).stdin(Stdio::piped()))
}

fn wait_for_partial(scratch: &Scratch, len: u64) {
    wait_until("the partial file", || {
        let partial = scratch.names().into_iter().find(|name| name.contains(".partial-"));
        let there = partial.and_then(|name| fs::metadata(scratch.join(&name)).ok());
        there.is_some_and(|there| there.len() == len)
    });
}

/// Between the two, somebody cuts the connection as if it were its end.
#[test]
fn an_end_without_close_notify_is_an_error() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 300_000);
    for keep in [false, true] {
        let destination = scratch.join("destination");
        let flags: &[&str] = if keep { &["--keep-partial"] } else { &[] };
        let (receiving, _, pin) = sealed_receiver(&destination, flags);
        let between = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = url(between.local_addr().unwrap().port());
        let sending = start(sealift().arg("send").arg(&source).args([&url, "--pin", &pin]));
        let mut from = between.accept().unwrap().0;
        let mut to = TcpStream::connect(("127.0.0.1", receiving.port)).unwrap();
        let (mut back_from, mut back_to) = (to.try_clone().unwrap(), from.try_clone().unwrap());
        let back = std::thread::spawn(move || std::io::copy(&mut back_from, &mut back_to));
        std::io::copy(&mut Read::by_ref(&mut from).take(200_000), &mut to).unwrap();
        to.shutdown(Shutdown::Write).unwrap();
        let received = receiving.finish();
        let (lines, line) = (stderr(&received), "without close_notify");
        assert_eq!(received.status.code(), Some(1), "{lines}");
        assert!(lines.contains(line) && lines.contains("; look at the other end"), "{lines}");
        assert_eq!(destination.exists(), keep);
        drop((from, to));
        let _ = back.join().unwrap();
        assert_eq!(sending.finish().status.code(), Some(1));
    }
    let kept = fs::read(scratch.join("destination")).unwrap();
    assert!(!kept.is_empty() && kept == pattern(0, kept.len()));
}

#[test]
fn a_changed_byte_is_an_error() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 300_000);
    let (receiving, receiving_url, pin) = sealed_receiver(&scratch.join("destination"), &[]);
    let between = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = url(between.local_addr().unwrap().port());
    let sending = start(sealift().arg("send").arg(&source).args([&url, "--pin", &pin]));
    let mut from = between.accept().unwrap().0;
    let mut to = TcpStream::connect(("127.0.0.1", receiving.port)).unwrap();
    let (mut back_from, mut back_to) = (to.try_clone().unwrap(), from.try_clone().unwrap());
    let back = std::thread::spawn(move || std::io::copy(&mut back_from, &mut back_to));
    std::io::copy(&mut Read::by_ref(&mut from).take(150_000), &mut to).unwrap();
    let mut byte = [0];
    from.read_exact(&mut byte).unwrap();
    to.write_all(&[byte[0] ^ 1]).unwrap();
    let forward = std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    let start = format!("receive on {receiving_url}: a record was changed on its way; do not");
    assert_failed(&receiving.finish(), &start);
    assert_eq!(sending.finish().status.code(), Some(1));
    let _ = (back.join().unwrap(), forward.join().unwrap());
    assert_nothing_kept(&scratch);
}

#[test]
fn a_sender_that_fails_says_no_close_notify() {
    let scratch = Scratch::new();
    let source = scratch.join("shrinking");
    let file = fs::File::create(&source).unwrap();
    file.set_len(1 << 30).unwrap();
    let (mut receiving, url, pin) = sealed_receiver(Path::new("-"), &[]);
    let mut stdout = receiving.running.child().stdout.take().unwrap();
    let sending = start(sealift().arg("send").arg(&source).args([&url, "--pin", &pin]));
    stdout.read_exact(&mut [0; 100_000]).unwrap();
    file.set_len(1 << 20).unwrap();
    let reading = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    assert_failed(&sending.finish(), &format!("read on {}: the file shrank", text(&source)));
    assert_failed(&receiving.finish(), &format!("receive on {url}: Connection reset"));
    assert!(reading.join().unwrap().unwrap() < 1 << 30);
}

#[test]
fn the_idle_timeout_gives_up_on_a_peer_that_stalls() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 64 << 20);
    let (receiving, url, pin) = sealed_receiver(Path::new("-"), &[]);
    let sent = send(&source, &url, &["--pin", &pin, "--idle-timeout", "400ms"]);
    assert_failed(&sent, &format!("send on {url}: nothing moved for 400 ms; look at the"));
    drop(receiving);
    // Nobody speaks: the handshake has its own time.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tls://127.0.0.1:{}", silent.local_addr().unwrap().port());
    let sent = send(&source, &url, &["--insecure", "--timeout", "300ms"]);
    assert!(stderr(&sent).contains(&format!("connect on {url}: no connection within 300 ms; ")));
    let (receiving, url, _) = sealed_receiver(Path::new("-"), &["--idle-timeout", "300ms"]);
    let mut connecting = sealift();
    connecting.args(["send", "-", &url, "--insecure"]).stdin(Stdio::piped());
    let mut silent = start(&mut connecting);
    silent.child().stdin.as_mut().unwrap().write_all(b"a").unwrap();
    let stalled = format!("receive on {url}: nothing moved for 300 ms; look at the other end");
    assert_failed(&receiving.finish(), &stalled);
}

/// A port that is open is visited by whoever scans it. Whoever is expected comes after them.
#[test]
fn visitors_that_do_not_speak_tls_are_told_of_and_end_nothing() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 100_000);
    for sender_listens in [false, true] {
        let destination = scratch.join("destination");
        let (mut listening, url, pin) = if sender_listens {
            let mut command = sealift();
            command.arg("send").arg(&source).args(["tls://127.0.0.1:0", "--listen", "--quiet"]);
            let mut sending = listen(&mut command);
            let pin = pin_of(&mut sending, "sealift receive tls://127.0.0.1:");
            let url = url(sending.port);
            (sending, url, pin)
        } else {
            sealed_receiver(&destination, &["--quiet"])
        };
        // Who says nothing at all and leaves, who asks for HTTP, and who sends a file to tcp://.
        let visit = || TcpStream::connect(("127.0.0.1", listening.port)).unwrap();
        drop(visit());
        let mut scanner = visit();
        scanner.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        send(&source, &url.replace("tls:", "tcp:"), &[]);
        let start = "the other end hung up in the middle of the handshake; look at the other end";
        assert_warned(&mut listening, &format!("accept on {url}: {start}"));
        for _ in 0..2 {
            let start = format!("accept on {url}: what it says is not TLS; check that");
            assert_warned(&mut listening, &start);
        }
        drop(scanner);
        let file = if sender_listens { &destination } else { &source };
        let other = if sender_listens { "receive" } else { "send" };
        let mut command = sealift();
        match sender_listens {
            true => command.args([other, &url]).arg(file).args(["--connect", "--pin", &pin]),
            false => command.arg(other).arg(file).args([&url, "--pin", &pin]),
        };
        assert_done(&run(&mut command));
        assert_done(&listening.finish());
        assert_same(&source, &destination);
        fs::remove_file(&destination).unwrap();
    }
}

/// However many come before the time is over.
#[test]
fn listening_ends_at_its_timeout_although_there_were_visitors() {
    let scratch = Scratch::new();
    let flags = ["--timeout", "700ms"];
    let (mut receiving, url, _) = sealed_receiver(&scratch.join("destination"), &flags);
    for _ in 0..3 {
        drop(TcpStream::connect(("127.0.0.1", receiving.port)).unwrap());
        assert_warned(&mut receiving, &format!("accept on {url}: "));
    }
    assert_failed(&receiving.finish(), &format!("accept on {url}: no connection within 700 ms"));
    assert_nothing_kept(&scratch);
}

#[test]
fn the_key_log_has_the_labels_and_is_private() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 1000);
    let (given, variable) = (scratch.join("given"), scratch.join("variable"));
    let keylog = format!("--keylog={}", text(&given));
    let (receiving, url, pin) = sealed_receiver(&scratch.join("destination"), &[&keylog]);
    let mut command = sealift();
    command.arg("send").arg(&source).args([&url, "--pin", &pin, "--keylog"]);
    let sent = run(command.env("SSLKEYLOGFILE", &variable));
    assert!(sent.status.success() && receiving.finish().status.success(), "{}", stderr(&sent));
    assert!(stderr(&sent).starts_with("sealift: warning: --keylog: "), "{}", stderr(&sent));
    let (given, log) =
        (fs::read_to_string(&given).unwrap(), fs::read_to_string(&variable).unwrap());
    for label in [
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        "CLIENT_TRAFFIC_SECRET_0",
        "SERVER_TRAFFIC_SECRET_0",
        "EXPORTER_SECRET",
    ] {
        let line = log.lines().find(|line| line.starts_with(&format!("{label} ")));
        // Both ends have the same secrets.
        assert!(given.contains(line.unwrap_or_else(|| panic!("no {label} in {log}"))), "{given}");
    }
    assert_eq!(fs::metadata(&variable).unwrap().permissions().mode() & 0o777, 0o600);
    // Without the flag the variable is not looked at.
    let other = scratch.join("other");
    let (receiving, url, pin) = sealed_receiver(&scratch.join("destination"), &[]);
    let mut command = sealift();
    command.arg("send").arg(&source).args([&url, "--pin", &pin]);
    assert_done(&run(command.env("SSLKEYLOGFILE", &other)));
    assert_done(&receiving.finish());
    assert!(!other.exists());
}

#[test]
fn flags_that_make_no_sense_are_wrong_usage() {
    for (arguments, hint) in [
        (&["send", "f", "tcp://h:1", "--insecure"][..], "--insecure is for tls:// only"),
        (&["send", "f", "unix:/s", "--ca", "ca.pem"], "--ca is for tls:// only"),
        (&["receive", "tcp://:1", "f", "--cert", "c.pem"], "--cert is for tls:// only"),
        (&["send", "f", "tls://h:1", "--client-ca", "c"], "for the end that listens"),
        (&["receive", "tls://:1", "f", "--insecure"], "for the end that connects"),
        (&["receive", "tls://:1", "f", "--ca", "c"], "--client-ca"),
        (&["send", "f", "tls://h:1", "--key", "k"], "--cert"),
        (&["send", "f", "tls://h:1", "--pin", "sha256:12"], "is no SHA-256"),
        (&["send", "f", "tls://h:1", "--insecure", "--ca", "c"], "cannot be used with"),
        (&["send", "f", "tls://h h:1"], "--server-name"),
        (&["send", "f", "tls://h:1", "--keylog"], "--keylog=FILE, or SSLKEYLOGFILE"),
        (&["send", "f", "tls://:1"], "name a host: tls://host:port"),
    ] {
        let output = run(sealift().args(arguments).env_remove("SSLKEYLOGFILE"));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(hint), "{hint}: {}", stderr(&output));
    }
}

#[test]
fn files_that_are_of_no_use_are_named_before_anybody_is_called() {
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch);
    let source = scratch.file("source", 10);
    let none = scratch.join("none");
    let mixed = ["--cert", text(&certificates.client), "--key", text(&certificates.server)];
    for (flags, object, why) in [
        (&["--ca", text(&none)][..], &none, "No such file or directory; check"),
        (&["--ca", text(&source)], &source, "it is not PEM; "),
        (&["--cert", text(&certificates.ca)], &certificates.ca, "there is no private key in it"),
        (&mixed, &certificates.server, "the key is not that of the certificate in "),
    ] {
        let sent = send(&source, "tls://127.0.0.1:9", flags);
        assert_failed(&sent, &format!("read on {}: {why}", text(object)));
    }
}

#[test]
fn a_gibibyte_takes_little_memory() {
    const LEN: u64 = 1 << 30;
    let scratch = Scratch::new();
    let source = scratch.join("sparse");
    fs::File::create(&source).unwrap().set_len(LEN).unwrap();
    let (mut receiving, url, pin) = sealed_receiver(Path::new("-"), &[]);
    let mut stdout = receiving.running.child().stdout.take().unwrap();
    let sending = start(sealift().arg("send").arg(&source).args([&url, "--pin", &pin]));
    let processes = [sending.id(), receiving.running.id()];
    let (mut left, mut peaks, mut room) = (LEN, [0; 2], vec![0; 1 << 20]);
    while left > 0 {
        let part = room.len().min(left as usize);
        stdout.read_exact(&mut room[..part]).unwrap();
        assert!(room[..part].iter().all(|byte| *byte == 0));
        left -= part as u64;
        if left % (128 << 20) == 0 && left > 0 {
            peaks = [0, 1].map(|at| peaks[at].max(peak_bytes(processes[at])));
        }
    }
    assert_done(&sending.finish());
    assert_done(&receiving.finish());
    println!("peak memory: sender {} KiB, receiver {} KiB", peaks[0] >> 10, peaks[1] >> 10);
    assert!(peaks.iter().all(|peak| (1..64 << 20).contains(peak)), "{peaks:?}");
}
