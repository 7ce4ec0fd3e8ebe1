//! Each failure is one line, `sealift: WHAT on WHAT: WHY; WHAT TO DO`, and exit code 1; and leaves
//! nothing behind.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with, sockopt};
use support::*;

fn send_to(url: &str, source: &Path) -> std::process::Output {
    run(sealift().arg("send").arg(source).arg(url))
}

/// The command in namespaces of its own, or why that cannot be.
fn isolated(namespaces: &str) -> Result<Command, String> {
    if let Some(why) = missing("unshare") {
        return Err(why);
    }
    let tried = run(quiet("unshare").args([namespaces, "true"]));
    if !tried.status.success() {
        return Err(format!("unshare {namespaces}: {}", stderr(&tried).trim()));
    }
    let mut command = quiet("unshare");
    command.args([namespaces]);
    Ok(command)
}

#[test]
fn nobody_listens() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 10);
    let port = free_port();
    let refused = send_to(&format!("tcp://127.0.0.1:{port}"), &source);
    let start = format!("connect on tcp://127.0.0.1:{port}: Connection refused; start the");
    assert_failed(&refused, &start);
    // A name with two addresses is still one line.
    let refused = send_to(&format!("tcp://localhost:{port}"), &source);
    let start = format!("connect on tcp://localhost:{port}: Connection refused");
    assert_failed(&refused, &start);
    let socket = scratch.join("none");
    let refused = send_to(&format!("unix:{}", socket.display()), &source);
    assert_failed(&refused, &format!("connect on unix:{}: No such file", socket.display()));
    let destination = scratch.join("destination");
    let url = format!("tcp://127.0.0.1:{port}");
    let refused = run(sealift().args(["receive", &url]).arg(&destination).arg("--connect"));
    assert_failed(&refused, &format!("connect on {url}: Connection refused"));
    assert_eq!(scratch.names(), ["source"]);
}

#[test]
fn every_address_of_a_name_is_tried() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 10);
    // `localhost` is ::1 first where there is IPv6; nobody listens there.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let sending = start(sealift().arg("send").arg(&source).arg(format!("tcp://localhost:{port}")));
    let mut bytes = Vec::new();
    listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
    assert_done(&sending.finish());
    assert_eq!(bytes, pattern(0, 10));
}

#[test]
fn a_listener_on_a_name_is_there_on_each_of_its_addresses() {
    let test = "a_listener_on_a_name_is_there_on_each_of_its_addresses";
    let scratch = Scratch::new();
    let source = scratch.file("source", 10);
    for host in ["127.0.0.1", "[::1]"] {
        if host == "[::1]" && !Family::V6.exists() {
            skip(&format!("{test}: {host}"), "no IPv6");
            continue;
        }
        for name in ["", "localhost"] {
            let destination = scratch.join("destination");
            let url = format!("tcp://{name}:0");
            let receiving = listen(sealift().args(["receive", &url]).arg(&destination));
            let sent = send_to(&format!("tcp://{host}:{}", receiving.port), &source);
            // Where the name has one address only, the other is refused.
            if name == "localhost" && !sent.status.success() {
                skip(&format!("{test}: {host}"), "localhost has one address here");
                continue;
            }
            assert_done(&sent);
            assert_done(&receiving.finish());
        }
    }
}

#[test]
fn no_way_and_no_name() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 10);
    let mut unreachable = match isolated("-rn") {
        Ok(command) => command,
        Err(why) => return skip("no_way_and_no_name", &why),
    };
    let program = env!("CARGO_BIN_EXE_sealift");
    let output = run(unreachable.args([program, "send"]).arg(&source).arg("tcp://192.0.2.1:9"));
    assert_failed(&output, "connect on tcp://192.0.2.1:9: Network is unreachable; check the");
    let mut nameless = isolated("-rn").unwrap();
    let url = "tcp://no-such-host.invalid:9";
    let output = run(nameless.args([program, "send"]).arg(&source).arg(url));
    assert_failed(&output, &format!("resolve on {url}: "));
}

#[test]
fn nobody_answers_in_time() {
    let scratch = Scratch::new();
    let destination = scratch.join("destination");
    let mut command = sealift();
    command.args(["receive", "tcp://127.0.0.1:0"]).arg(&destination).args(["--timeout", "200ms"]);
    let receiving = listen(&mut command);
    let start =
        format!("accept on tcp://127.0.0.1:{}: no connection within 200 ms", receiving.port);
    assert_failed(&receiving.finish(), &start);
    assert!(scratch.names().is_empty());
}

#[test]
fn a_unix_listener_that_does_not_accept_is_given_up_in_time() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 10);
    let socket = scratch.join("socket");
    let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let listener = listener.unwrap();
    rustix::net::bind(&listener, &SocketAddrUnix::new(&socket).unwrap()).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _queued = UnixStream::connect(&socket).unwrap();
    let url = format!("unix:{}", socket.display());
    let mut command = sealift();
    let output = run(command.arg("send").arg(&source).args([&url, "--timeout", "300ms"]));
    assert_failed(&output, &format!("connect on {url}: no connection within 300 ms; look"));

    // One that accepts later is waited for.
    let sending = start(sealift().arg("send").arg(&source).arg(&url));
    std::thread::sleep(Duration::from_millis(200));
    let listener = UnixListener::from(listener);
    listener.accept().unwrap();
    let mut bytes = Vec::new();
    listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
    assert_done(&sending.finish());
    assert_eq!(bytes, pattern(0, 10));
}

/// What a unix socket's other end has not read dies with it.
#[test]
fn a_unix_peer_that_goes_without_reading_is_an_error() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 1000);
    let socket = scratch.join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let url = format!("unix:{}", socket.display());
    let sending = start(sealift().arg("send").arg(&source).arg(&url));
    let (peer, _) = listener.accept().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    drop(peer);
    assert_failed(&sending.finish(), &format!("send on {url}: Connection reset by peer; look"));
}

#[test]
fn what_cannot_be_opened_is_named() {
    let scratch = Scratch::new();
    // The connection is not even tried.
    let url = "tcp://127.0.0.1:9";
    let none = scratch.join("none");
    assert_failed(&send_to(url, &none), &format!("open on {}: No such file", none.display()));
    let directory = scratch.path();
    let start = format!("open on {}: Is a directory; name a file", directory.display());
    assert_failed(&send_to(url, directory), &start);
    let long = scratch.join(&"x".repeat(256));
    let start = format!("open on {}: File name too long; use a shorter", long.display());
    assert_failed(&send_to(url, &long), &start);
}

#[test]
fn where_nothing_can_be_written_nobody_is_listened_to() {
    let scratch = Scratch::new();
    let receive =
        |destination: &Path| run(sealift().args(["receive", "tcp://127.0.0.1:0"]).arg(destination));
    let directory = scratch.path();
    let start = format!("create on {}: Is a directory; name a file", directory.display());
    assert_failed(&receive(directory), &start);
    let nowhere = scratch.join("no/where");
    let start = format!("create on {}: No such file or directory; make", nowhere.display());
    assert_failed(&receive(&nowhere), &start);
    let long = scratch.join(&"x".repeat(256));
    assert_failed(&receive(&long), &format!("create on {}: File name too long", long.display()));
    let file = scratch.file("file", 1);
    let below = file.join("below");
    assert_failed(&receive(&below), &format!("create on {}: Not a directory", below.display()));
    let dangling = scratch.join("dangling");
    std::os::unix::fs::symlink("nothing", &dangling).unwrap();
    assert_failed(&receive(&dangling), &format!("open on {}: No such file", dangling.display()));
    assert_eq!(scratch.names(), ["dangling", "file"]);
}

#[test]
fn the_longest_name_that_a_file_can_have_works() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 10);
    let long = scratch.join(&"x".repeat(255));
    let receiving = receiver(&long, &[]);
    assert_done(&send_to(&format!("tcp://127.0.0.1:{}", receiving.port), &source));
    assert_done(&receiving.finish());
    assert_same(&source, &long);
}

#[test]
fn no_permission() {
    let name = "no_permission";
    let scratch = Scratch::new();
    let secret = scratch.file("secret", 10);
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = env!("CARGO_BIN_EXE_sealift");
    let mut as_nobody: Vec<&str> = Vec::new();
    if rustix::process::geteuid().is_root() {
        if let Some(why) = missing("setpriv") {
            return skip(name, &why);
        }
        as_nobody = vec!["--reuid=65534", "--regid=65534", "--clear-groups"];
    }
    let run_as = |arguments: &[&str]| {
        let mut command = quiet(if as_nobody.is_empty() { program } else { "setpriv" });
        if !as_nobody.is_empty() {
            command.args(&as_nobody).arg(program);
        }
        run(command.args(arguments))
    };
    let version = run_as(&["--version"]);
    if !version.status.success() {
        return skip(name, "the program cannot be run by another user where it lies");
    }
    let (secret, place) = (secret.to_str().unwrap(), scratch.join("new"));
    let output = run_as(&["send", secret, "tcp://127.0.0.1:9"]);
    assert_failed(&output, &format!("open on {secret}: Permission denied; get"));
    let taken = if as_nobody.is_empty() { "/new" } else { place.to_str().unwrap() };
    let output = run_as(&["receive", "tcp://127.0.0.1:0", taken]);
    assert_failed(&output, &format!("create on {taken}: Permission denied; choose"));
    let output = run_as(&["receive", "tcp://127.0.0.1:0", secret]);
    assert_failed(&output, &format!("write on {secret}: Permission denied; choose"));
}

#[test]
fn an_address_in_use() {
    let scratch = Scratch::new();
    let destination = scratch.join("destination");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let output = run(sealift().args(["receive", &url]).arg(&destination));
    assert_failed(&output, &format!("listen on {url}: Address already in use; end the"));
    let url = "tcp://192.0.2.1:0";
    let output = run(sealift().args(["receive", url]).arg(&destination));
    assert_failed(&output, &format!("listen on {url}: Cannot assign requested address; listen"));
    assert!(scratch.names().is_empty());
}

#[test]
fn a_unix_socket_is_taken_over_only_from_the_dead() {
    let scratch = Scratch::new();
    let (socket, destination) = (scratch.join("socket"), scratch.join("destination"));
    let url = format!("unix:{}", socket.display());
    let receive = || run(sealift().args(["receive", &url]).arg(&destination));
    let listener = UnixListener::bind(&socket).unwrap();
    assert_failed(&receive(), &format!("listen on {url}: Address already in use; choose"));
    // Asking did not use up the listener's one connection.
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(listener);
    let receiving = start(sealift().args(["receive", &url]).arg(&destination));
    wait_for_socket(&socket);
    let source = scratch.file("source", 10);
    assert_done(&send_to(&url, &source));
    assert_done(&receiving.finish());
    assert_eq!(scratch.names(), ["destination", "source"]);
    fs::write(&socket, "precious").unwrap();
    assert_failed(&receive(), &format!("listen on {url}: there is a file of that name"));
    assert_eq!(fs::read(&socket).unwrap(), b"precious");
    let long = format!("unix:{}", scratch.join(&"x".repeat(120)).display());
    let output = run(sealift().args(["receive", &long]).arg(&destination));
    assert_failed(&output, &format!("listen on {long}: File name too long; use"));
}

/// A listener that takes little and whose connection ends in a reset.
fn small_listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    sockopt::set_socket_recv_buffer_size(&listener, 64 * 1024).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn reset(stream: TcpStream) {
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_reset_while_sending() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 30_000_000);
    for backend in ["auto", "msg-zerocopy", "copy"] {
        let (listener, port) = small_listener();
        let url = format!("tcp://127.0.0.1:{port}");
        let mut command = sealift();
        command.arg("send").arg(&source).args([&url, "--backend", backend, "--json"]);
        let sending = start(&mut command);
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 1000]).unwrap();
        reset(stream);
        let output = sending.finish();
        let line = stderr(&output);
        let why = if line.contains("Broken pipe") { "Broken pipe" } else { "Connection reset" };
        assert_failed(&output, &format!("send on {url}: {why}"));
        assert!(line.contains("look at the other end"), "{line}");
        // What the reset purged was never sent, so how it left is not known.
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(report["zerocopied_fraction"].is_null(), "{report}");
        assert!(report["copies_per_byte"].is_null(), "{report}");
    }
}

#[test]
fn a_reset_after_the_last_byte() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 200_000);
    let (listener, port) = small_listener();
    let url = format!("tcp://127.0.0.1:{port}");
    let sending = start(sealift().arg("send").arg(&source).arg(&url));
    let (stream, _) = listener.accept().unwrap();
    // All is sent, a part of it waits in the sender's kernel.
    std::thread::sleep(Duration::from_millis(500));
    reset(stream);
    assert_failed(&sending.finish(), &format!("send on {url}: Connection reset by peer; look"));
}

#[test]
fn a_reset_while_the_source_is_silent() {
    let (listener, port) = small_listener();
    let url = format!("tcp://127.0.0.1:{port}");
    let mut sending = start(sealift().args(["send", "-", &url]).stdin(Stdio::piped()));
    let (stream, _) = listener.accept().unwrap();
    sending.child().stdin.as_mut().unwrap().write_all(b"hello").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    reset(stream);
    let stdin = sending.child().stdin.take();
    assert_failed(&sending.finish(), &format!("send on {url}: Connection reset by peer; look"));
    drop(stdin);
}

#[test]
fn a_reset_while_receiving_leaves_no_file() {
    let scratch = Scratch::new();
    let destination = scratch.join("destination");
    for old in [None, Some("old")] {
        if let Some(old) = old {
            fs::write(&destination, old).unwrap();
        }
        let receiving = receiver(&destination, &[]);
        let mut stream = TcpStream::connect(("127.0.0.1", receiving.port)).unwrap();
        stream.write_all(&pattern(0, 100_000)).unwrap();
        wait_until("the partial file", || {
            scratch.names().iter().any(|name| {
                name.starts_with(".destination.partial-")
                    && fs::metadata(scratch.join(name)).is_ok_and(|there| there.len() == 100_000)
            })
        });
        reset(stream);
        let start = format!("receive on tcp://127.0.0.1:{}", 0);
        let output = receiving.finish();
        let line = stderr(&output);
        assert!(
            line.contains(": Connection reset by peer; look at the other end"),
            "{line}{start}"
        );
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(fs::read(&destination).ok().as_deref(), old.map(str::as_bytes));
    }
    assert_eq!(scratch.names(), ["destination"]);
}

#[test]
fn a_reset_while_receiving_keeps_the_partial_file_if_asked() {
    let scratch = Scratch::new();
    let destination = scratch.join("destination");
    let receiving = receiver(&destination, &["--keep-partial", "--json"]);
    let mut stream = TcpStream::connect(("127.0.0.1", receiving.port)).unwrap();
    stream.write_all(&pattern(0, 100_000)).unwrap();
    wait_until("the bytes", || {
        let names = scratch.names();
        let partial = names.first().map(|name| scratch.join(name));
        partial.is_some_and(|path| fs::metadata(path).is_ok_and(|there| there.len() == 100_000))
    });
    reset(stream);
    let output = receiving.finish();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("has the first 100000 bytes"), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["kept_partial"], true);
    assert!(report["error"].as_str().unwrap().contains("Connection reset by peer"), "{report}");
    assert!(fs::read(&destination).unwrap() == pattern(0, 100_000));
    assert_eq!(scratch.names(), ["destination"]);
}

#[test]
fn nothing_is_kept_of_nothing() {
    let scratch = Scratch::new();
    let destination = scratch.join("destination");
    fs::write(&destination, "old").unwrap();
    let receiving = receiver(&destination, &["--keep-partial"]);
    reset(TcpStream::connect(("127.0.0.1", receiving.port)).unwrap());
    assert_eq!(receiving.finish().status.code(), Some(1));
    assert_eq!(fs::read(&destination).unwrap(), b"old");
    assert_eq!(scratch.names(), ["destination"]);
}

#[test]
fn a_full_disk_leaves_no_file() {
    let name = "a_full_disk_leaves_no_file";
    let scratch = Scratch::new();
    let source = scratch.file("source", 20_000_000);
    let mount = scratch.join("mount");
    fs::create_dir(&mount).unwrap();
    let mut command = match isolated("-rm") {
        Ok(command) => command,
        Err(why) => return skip(name, &why),
    };
    // After the command, in the same namespace, the directory is listed.
    let script = "mount -t tmpfs -o size=1m none \"$1\" || exit 77; \
        \"$2\" receive tcp://127.0.0.1:0 \"$1/file\"; code=$?; ls -A \"$1\"; exit $code";
    command.args(["sh", "-c", script, "sh"]).arg(&mount).arg(env!("CARGO_BIN_EXE_sealift"));
    let mut running = start(&mut command);
    let mut line = String::new();
    let mut words = std::io::BufReader::new(running.child().stderr.take().unwrap());
    std::io::BufRead::read_line(&mut words, &mut line).unwrap();
    let Ok(port) = line.trim().rsplit(':').next().unwrap().parse::<u16>() else {
        return skip(name, line.trim());
    };
    let url = format!("tcp://127.0.0.1:{port}");
    let sent = send_to(&url, &source);
    let output = running.finish();
    let mut rest = String::new();
    words.read_to_string(&mut rest).unwrap();
    let expected = format!(
        "sealift: write on {}/file: No space left on device; free some space",
        mount.display()
    );
    assert!(rest.starts_with(&expected), "{rest}");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "files are left");
    // The sender knows, too.
    assert_eq!(sent.status.code(), Some(1), "{}", stderr(&sent));
    assert!(stderr(&sent).starts_with(&format!("sealift: send on {url}: ")), "{}", stderr(&sent));
}

#[test]
fn a_limit_on_file_sizes_is_an_error_like_any_other() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 5_000_000);
    let destination = scratch.join("destination");
    let script = "ulimit -f 1000; exec \"$@\"";
    let mut command = quiet("bash");
    command.args(["-c", script, "bash", env!("CARGO_BIN_EXE_sealift"), "receive"]);
    let receiving = listen(command.arg("tcp://127.0.0.1:0").arg(&destination));
    send_to(&format!("tcp://127.0.0.1:{}", receiving.port), &source);
    let output = receiving.finish();
    let start = format!("write on {}: File too large; raise the limit", destination.display());
    assert_failed(&output, &start);
    assert_eq!(scratch.names(), ["source"]);
}

#[test]
fn a_closed_standard_output_is_an_error_not_a_panic() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 30_000_000);
    let mut receiving = receiver(Path::new("-"), &[]);
    let mut stdout = receiving.running.child().stdout.take().unwrap();
    let sending = start(
        sealift().arg("send").arg(&source).arg(format!("tcp://127.0.0.1:{}", receiving.port)),
    );
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    let start = "write on standard output: Broken pipe; keep the reading program";
    assert_failed(&receiving.finish(), start);
    assert_eq!(sending.finish().status.code(), Some(1));
    for arguments in [&["probe"][..], &["man"], &["completions", "bash"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(sealift().args(arguments).stdout(writer));
        assert_failed(&output, "write on standard output: Broken pipe; keep");
    }
}

#[test]
fn a_peer_that_lets_nothing_move_is_given_up_if_asked() {
    let scratch = Scratch::new();
    let source = scratch.file("source", 30_000_000);
    let (listener, port) = small_listener();
    let url = format!("tcp://127.0.0.1:{port}");
    let began = Instant::now();
    let sending = start(sealift().arg("send").arg(&source).args([&url, "--idle-timeout", "700ms"]));
    let (mut stream, _) = listener.accept().unwrap();
    assert_failed(&sending.finish(), &format!("send on {url}: nothing moved for 700 ms; look"));
    assert!(began.elapsed() > Duration::from_millis(700));
    // It does not look like the end to who wakes up later.
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes);
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);

    let destination = scratch.join("destination");
    let receiving = receiver(&destination, &["--idle-timeout", "300ms"]);
    let silent = TcpStream::connect(("127.0.0.1", receiving.port)).unwrap();
    let output = receiving.finish();
    assert!(stderr(&output).contains(": nothing moved for 300 ms; look"), "{}", stderr(&output));
    assert_eq!(scratch.names(), ["source"]);
    drop(silent);
}

#[test]
fn a_slow_source_is_no_stalled_peer() {
    let scratch = Scratch::new();
    let destination = scratch.join("destination");
    let receiving = receiver(&destination, &[]);
    let url = format!("tcp://127.0.0.1:{}", receiving.port);
    let mut sending =
        start(sealift().args(["send", "-", &url, "--idle-timeout", "200ms"]).stdin(Stdio::piped()));
    let mut stdin = sending.child().stdin.take().unwrap();
    stdin.write_all(b"a").unwrap();
    std::thread::sleep(Duration::from_millis(800));
    stdin.write_all(b"b").unwrap();
    drop(stdin);
    assert_done(&sending.finish());
    assert_done(&receiving.finish());
    assert_eq!(fs::read(&destination).unwrap(), b"ab");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        &[][..],
        &["send"],
        &["send", "file", "localhost:5000"],
        &["send", "file", "ssl://host:1"],
        &["send", "file", "tcp://::1:5000"],
        &["send", "file", "tcp://:5000"],
        &["receive", "tcp://h:1", "file", "--backend", "copy"],
        &["receive", "tcp://h:1", "file", "--timeout", "soon"],
        // More than a clock can add to now.
        &["receive", "tcp://127.0.0.1:0", "file", "--timeout", "10000000000000000000"],
        &["send", "/dev/null", "tcp://127.0.0.1:9", "--timeout", "10000000000000000000"],
        &["send", "/dev/null", "tcp://127.0.0.1:9", "--idle-timeout", "10000000000000000000"],
        &["bench", "send", "--seconds", "10000000000000000000"],
        &["frobnicate"],
    ] {
        let output = run(sealift().args(arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("--help"), "{}", stderr(&output));
    }
}
