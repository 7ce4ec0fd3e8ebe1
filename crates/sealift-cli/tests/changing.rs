//! Sources that change while they are sent: what shrinks is an error that names the file, never
//! zeros, and never an end that looks complete.

mod support;

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::net::sockopt;
use support::*;

/// More than all buffers on the way hold.
const LEN: usize = 40_000_000;

/// Starts to send `source` to a peer that has taken a little.
fn begin(source: &Path, backend: &str) -> (Running, TcpStream, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    sockopt::set_socket_recv_buffer_size(&listener, 64 * 1024).unwrap();
    let url = format!("tcp://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let sending = start(sealift().arg("send").arg(source).args([&url, "--backend", backend]));
    let (mut stream, _) = listener.accept().unwrap();
    let mut first = [0; 1000];
    stream.read_exact(&mut first).unwrap();
    assert!(first[..] == pattern(0, 1000));
    (sending, stream, url)
}

/// Reads the rest; returns all that came and the error that it ended with, if it did.
fn drain(mut stream: TcpStream) -> (usize, Option<ErrorKind>) {
    let (mut at, mut room) = (1000, vec![0; 1 << 20]);
    loop {
        match stream.read(&mut room) {
            Ok(0) => return (at, None),
            Ok(count) => {
                assert!(room[..count] == pattern(at, count), "wrong bytes from {at} on");
                at += count;
            }
            Err(error) => return (at, Some(error.kind())),
        }
    }
}

#[test]
fn a_file_that_shrinks_is_an_error_and_no_zeros() {
    let scratch = Scratch::new();
    for backend in ["auto", "msg-zerocopy", "copy"] {
        // To nothing, within a page, within a frame, and by one byte.
        for left in [0, 20_000_123, 30 << 20, LEN as u64 - 1] {
            let source = scratch.file("source", LEN);
            let (sending, stream, _) = begin(&source, backend);
            File::options().write(true).open(&source).unwrap().set_len(left).unwrap();
            let (arrived, end) = drain(stream);
            let output = sending.finish();
            println!("{backend}, {left} left: {arrived} bytes arrived");
            let start = format!(
                "read on {}: the file shrank from {LEN} to {left} bytes while it was sent; send",
                source.display()
            );
            assert_failed(&output, &start);
            assert_eq!(end, Some(ErrorKind::ConnectionReset), "{arrived} bytes look complete");
            assert!(arrived < LEN);
        }
    }
}

#[test]
fn a_receiver_of_a_file_that_shrank_keeps_nothing() {
    let scratch = Scratch::new();
    let source = scratch.file("source", LEN);
    let destination = scratch.join("destination");
    let mut receiving = listen(sealift().args(["receive", "tcp://127.0.0.1:0", "-"]));
    let mut stdout = receiving.running.child().stdout.take().unwrap();
    let url = format!("tcp://127.0.0.1:{}", receiving.port);
    let sending = start(sealift().arg("send").arg(&source).arg(&url));
    stdout.read_exact(&mut [0; 1000]).unwrap();
    File::options().write(true).open(&source).unwrap().set_len(0).unwrap();
    std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    assert_eq!(sending.finish().status.code(), Some(1));
    let output = receiving.finish();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("Connection reset by peer"), "{}", stderr(&output));
    assert!(!destination.exists());
}

#[test]
fn a_file_that_grows_is_sent_as_it_was_with_a_warning() {
    let scratch = Scratch::new();
    let source = scratch.file("source", LEN);
    let (sending, stream, _) = begin(&source, "auto");
    File::options().append(true).open(&source).unwrap().write_all(b"more").unwrap();
    assert_eq!(drain(stream), (LEN, None));
    let output = sending.finish();
    assert!(output.status.success(), "{}", stderr(&output));
    let warning = format!("sealift: warning: {} was written to while", source.display());
    assert!(stderr(&output).starts_with(&warning), "{}", stderr(&output));
}

#[test]
fn an_empty_file_that_grows_is_sent_as_it_was() {
    let scratch = Scratch::new();
    let (source, destination) = (scratch.file("source", 0), scratch.join("destination"));
    let mut command = sealift();
    command.arg("send").arg(&source).args(["tcp://127.0.0.1:0", "--listen"]);
    let sending = listen(&mut command);
    File::options().append(true).open(&source).unwrap().write_all(b"more").unwrap();
    let url = format!("tcp://127.0.0.1:{}", sending.port);
    assert_done(&run(sealift().args(["receive", &url]).arg(&destination).arg("--connect")));
    let output = sending.finish();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).starts_with("sealift: warning: "), "{}", stderr(&output));
    assert_eq!(fs::read(&destination).unwrap(), b"");
}

#[test]
fn a_file_that_says_more_than_it_has_is_an_error() {
    // A file of sysfs says a page and has a few bytes.
    let source = Path::new("/sys/kernel/mm/transparent_hugepage/enabled");
    if fs::metadata(source).map_or(0, |there| there.len()) == 0 {
        return skip("a_file_that_says_more_than_it_has_is_an_error", "no such file in /sys");
    }
    let scratch = Scratch::new();
    let destination = scratch.join("destination");
    let receiving = receiver(&destination, &[]);
    let url = format!("tcp://127.0.0.1:{}", receiving.port);
    let sent = run(sealift().arg("send").arg(source).arg(&url));
    assert_failed(&sent, &format!("read on {}: it ended at byte", source.display()));
    assert_eq!(receiving.finish().status.code(), Some(1));
    assert!(scratch.names().is_empty());
}

/// Cut and grown again between two reads: the size tells nothing, and all would be zeros.
#[test]
fn a_file_that_shrinks_and_grows_again_is_an_error_and_no_zeros() {
    let scratch = Scratch::new();
    for left in [0, 30 << 20] {
        let source = scratch.file("source", LEN);
        let (sending, stream, _) = begin(&source, "auto");
        // The sender waits for room by then, so that it does not see what happens in between.
        std::thread::sleep(Duration::from_millis(500));
        let file = File::options().write(true).open(&source).unwrap();
        file.set_len(left).unwrap();
        file.set_len(LEN as u64).unwrap();
        let (arrived, end) = drain(stream);
        let start = format!("read on {}: the file shrank from {LEN} to ", source.display());
        assert_failed(&sending.finish(), &start);
        assert_eq!(end, Some(ErrorKind::ConnectionReset), "{arrived} bytes look complete");
    }
}

#[test]
fn a_hole_that_is_punched_into_a_file_is_an_error_and_no_zeros() {
    let scratch = Scratch::new();
    let source = scratch.file("source", LEN);
    let (sending, stream, _) = begin(&source, "auto");
    let file = File::options().write(true).open(&source).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if let Err(errno) = fallocate(&file, punch, 30 << 20, 1 << 20) {
        let name = "a_hole_that_is_punched_into_a_file_is_an_error_and_no_zeros";
        return skip(name, &format!("the file system punches no holes: {errno}"));
    }
    let (_, end) = drain(stream);
    let start = format!("read on {}: the file shrank from {LEN} to ", source.display());
    assert_failed(&sending.finish(), &start);
    assert_eq!(end, Some(ErrorKind::ConnectionReset));
}

/// What fills holes, overwrites, or only touches the file's names, takes nothing away.
#[test]
fn a_file_that_is_overwritten_is_sent_with_a_warning() {
    let scratch = Scratch::new();
    let source = scratch.file("source", LEN);
    let (sending, stream, _) = begin(&source, "auto");
    let file = File::options().write(true).open(&source).unwrap();
    file.write_all_at(&pattern(20 << 20, 1 << 20), 20 << 20).unwrap();
    fs::hard_link(&source, scratch.join("link")).unwrap();
    assert_eq!(drain(stream), (LEN, None));
    let output = sending.finish();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).starts_with("sealift: warning: "), "{}", stderr(&output));

    // A file of holes, of which one is filled.
    let sparse = scratch.join("sparse");
    File::create(&sparse).unwrap().set_len(LEN as u64).unwrap();
    let file = File::options().write(true).open(&sparse).unwrap();
    file.write_all_at(&pattern(0, 1000), 0).unwrap();
    let (sending, mut stream, _) = begin(&sparse, "auto");
    file.write_all_at(b"filled", 30 << 20).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), LEN - 1000);
    assert!(sending.finish().status.success());
}
