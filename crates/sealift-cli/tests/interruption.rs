//! Signals: what an interrupted transfer leaves behind, and how it ends.

mod support;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;

use support::*;

/// All that end a process and can be caught, but for those of a fault in it.
const SIGNALS: [(&str, i32); 10] = [
    ("INT", 2),
    ("TERM", 15),
    ("HUP", 1),
    ("QUIT", 3),
    ("USR1", 10),
    ("USR2", 12),
    ("ALRM", 14),
    ("VTALRM", 26),
    ("PROF", 27),
    ("XCPU", 24),
];

/// A receiver that has taken 100,000 bytes.
fn receiver_at_work(scratch: &Scratch, flags: &[&str]) -> (Listening, TcpStream) {
    let receiving = receiver(&scratch.join("destination"), flags);
    let mut stream = TcpStream::connect(("127.0.0.1", receiving.port)).unwrap();
    stream.write_all(&pattern(0, 100_000)).unwrap();
    wait_until("the partial file", || {
        let partial = scratch.names().into_iter().find(|name| name.contains(".partial-"));
        let len = partial.and_then(|name| fs::metadata(scratch.join(&name)).ok());
        len.is_some_and(|there| there.len() == 100_000)
    });
    (receiving, stream)
}

#[test]
fn an_interrupted_receiver_leaves_no_file() {
    for (signal, number) in SIGNALS {
        let scratch = Scratch::new();
        let (receiving, mut stream) = receiver_at_work(&scratch, &[]);
        receiving.running.signal(signal);
        let output = receiving.finish();
        assert_eq!(output.status.signal(), Some(number), "{:?}", output.status);
        assert!(scratch.names().is_empty(), "{:?}", scratch.names());
        // The sending end sees an error, not an end.
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn an_interrupted_receiver_keeps_the_partial_file_if_asked() {
    let scratch = Scratch::new();
    let (receiving, _stream) = receiver_at_work(&scratch, &["--keep-partial"]);
    receiving.running.signal("TERM");
    assert_eq!(receiving.finish().status.signal(), Some(15));
    assert_eq!(scratch.names(), ["destination"]);
    assert!(fs::read(scratch.join("destination")).unwrap() == pattern(0, 100_000));
}

#[test]
fn an_interrupted_listener_removes_its_socket_and_file() {
    let scratch = Scratch::new();
    let socket = scratch.join("socket");
    let url = format!("unix:{}", socket.display());
    for (signal, number) in SIGNALS {
        let receiving = start(sealift().args(["receive", &url]).arg(scratch.join("destination")));
        wait_for_socket(&socket);
        assert_eq!(scratch.names().len(), 2, "the socket and the temporary file");
        receiving.signal(signal);
        assert_eq!(receiving.finish().status.signal(), Some(number));
        assert!(scratch.names().is_empty(), "{signal}: {:?}", scratch.names());
    }
}

/// Even SIGKILL: the other end must not take a part for the whole.
#[test]
fn a_sender_that_dies_resets_the_connection() {
    for (signal, number) in [("INT", 2), ("KILL", 9)] {
        for backend in ["auto", "msg-zerocopy", "copy"] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("tcp://127.0.0.1:{}", listener.local_addr().unwrap().port());
            let mut sending = sealift();
            sending.args(["send", "-", &url, "--backend", backend]).stdin(Stdio::piped());
            let mut sending = start(&mut sending);
            let (mut stream, _) = listener.accept().unwrap();
            let stdin = sending.child().stdin.as_mut().unwrap();
            stdin.write_all(&pattern(0, 100_000)).unwrap();
            let mut bytes = vec![0; 100_000];
            stream.read_exact(&mut bytes).unwrap();
            assert!(bytes == pattern(0, 100_000));
            sending.signal(signal);
            assert_eq!(sending.finish().status.signal(), Some(number));
            let end = stream.read(&mut [0]);
            assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset, "{signal} {backend}");
        }
    }
}

/// From the first moment on: also while the connection's options are being set.
#[test]
fn a_sender_that_dies_as_soon_as_it_is_connected_resets_the_connection() {
    let name = "a_sender_that_dies_as_soon_as_it_is_connected_resets_the_connection";
    if let Some(why) = missing("strace") {
        return skip(name, &format!("needs the package strace: {why}"));
    }
    let scratch = Scratch::new();
    let source = scratch.file("source", 1000);
    // `-D`: the command itself is the child, so that it is the command that is killed. Each option
    // takes half a second to set.
    let slow = || {
        let mut command = quiet("strace");
        command.args(["-D", "-f", "-q", "-o", "/dev/null", "-e", "trace=setsockopt"]);
        command.args(["-e", "inject=setsockopt:delay_enter=500000"]);
        command.args([env!("CARGO_BIN_EXE_sealift"), "send"]);
        command
    };
    let tried = run(quiet("strace")
        .args(["-o", "/dev/null", "-e", "inject=read:delay_enter=1"])
        .arg("true"));
    if !tried.status.success() {
        return skip(name, &format!("strace cannot trace here: {}", stderr(&tried).trim()));
    }
    for listens in [false, true] {
        let (sending, mut stream) = if listens {
            let sending = listen(slow().arg(&source).args(["tcp://127.0.0.1:0", "--listen"]));
            let stream = TcpStream::connect(("127.0.0.1", sending.port)).unwrap();
            // So that it is accepted.
            std::thread::sleep(std::time::Duration::from_millis(100));
            (sending.running, stream)
        } else {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("tcp://127.0.0.1:{}", listener.local_addr().unwrap().port());
            let sending = start(slow().arg(&source).arg(&url));
            (sending, listener.accept().unwrap().0)
        };
        sending.signal("KILL");
        assert_eq!(sending.finish().status.signal(), Some(9));
        let end = stream.read(&mut [0]);
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset, "listens: {listens}");
    }
}

/// `nohup` and background jobs start a command with signals ignored: they stay so.
#[test]
fn ignored_signals_stay_ignored() {
    let scratch = Scratch::new();
    let destination = scratch.join("destination");
    let mut command = quiet("sh");
    command.args([
        "-c",
        "trap '' INT HUP QUIT USR1; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_sealift"),
    ]);
    let receiving = listen(command.args(["receive", "tcp://127.0.0.1:0"]).arg(&destination));
    let mut stream = TcpStream::connect(("127.0.0.1", receiving.port)).unwrap();
    stream.write_all(b"begin").unwrap();
    for signal in ["INT", "HUP", "QUIT", "USR1"] {
        receiving.running.signal(signal);
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    stream.write_all(b" end").unwrap();
    drop(stream);
    assert_done(&receiving.finish());
    assert_eq!(fs::read(&destination).unwrap(), b"begin end");
}

#[test]
fn an_interruption_while_connecting_or_opening_ends_the_command() {
    let scratch = Scratch::new();
    let fifo = scratch.join("fifo");
    assert!(quiet("mkfifo").arg(&fifo).status().unwrap().success());
    // Opening a pipe that nobody writes to waits.
    let sending = start(sealift().arg("send").arg(&fifo).arg("tcp://127.0.0.1:9"));
    std::thread::sleep(std::time::Duration::from_millis(200));
    sending.signal("TERM");
    assert_eq!(sending.finish().status.signal(), Some(15));
    assert!(Path::new(&fifo).exists());
}
