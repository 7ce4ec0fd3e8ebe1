//! Urgent bytes: they are bytes of the stream like all others, and no end of it.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::net::{SendFlags, send};
use support::*;

/// So that the receiver meets what was sent so far.
const PAUSE: Duration = Duration::from_millis(50);

/// Sends an urgent byte at every place that is special, first and last ones included, some while
/// the receiver waits and some behind much that it has not read yet. Returns what it sent.
fn talk(mut stream: impl Write + AsFd) -> Vec<u8> {
    let mut said = Vec::new();
    for (plain, pause) in [(0, false), (100_000, true), (1, true), (3_000_000, false), (0, true)] {
        let part = pattern(said.len(), plain);
        stream.write_all(&part).unwrap();
        said.extend(part);
        assert_eq!(send(&stream, b"!", SendFlags::OOB), Ok(1));
        said.push(b'!');
        if pause {
            sleep(PAUSE);
        }
    }
    said
}

#[test]
fn urgent_bytes_arrive_in_line_over_tcp() {
    let scratch = Scratch::new();
    let destination = scratch.join("destination");
    let receiving = receiver(&destination, &[]);
    let said = talk(TcpStream::connect(("127.0.0.1", receiving.port)).unwrap());
    assert_done(&receiving.finish());
    assert!(fs::read(&destination).unwrap() == said);

    // The same into a pipe, which is spliced into directly, and into a file that appends.
    let mut receiving = receiver(Path::new("-"), &[]);
    let mut stdout = receiving.running.child().stdout.take().unwrap();
    let arriving = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).map(|_| bytes)
    });
    let said = talk(TcpStream::connect(("127.0.0.1", receiving.port)).unwrap());
    assert_done(&receiving.finish());
    assert!(arriving.join().unwrap().unwrap() == said);

    let appending = fs::File::options().append(true).open(&destination).unwrap();
    appending.set_len(0).unwrap();
    let mut command = sealift();
    command.args(["receive", "tcp://127.0.0.1:0", "-"]).stdout(appending);
    let receiving = listen(&mut command);
    let said = talk(TcpStream::connect(("127.0.0.1", receiving.port)).unwrap());
    assert_done(&receiving.finish());
    assert!(fs::read(&destination).unwrap() == said);
}

#[test]
fn urgent_bytes_arrive_in_line_over_unix_sockets() {
    let name = "urgent_bytes_arrive_in_line_over_unix_sockets";
    let (pair, _other) = UnixStream::pair().unwrap();
    if send(&pair, b"!", SendFlags::OOB).is_err() {
        return skip(name, "this kernel has no urgent bytes on unix sockets");
    }
    let scratch = Scratch::new();
    let (socket, destination) = (scratch.join("socket"), scratch.join("destination"));
    let url = format!("unix:{}", socket.display());
    let receiving = start(sealift().args(["receive", &url]).arg(&destination));
    wait_for_socket(&socket);
    let said = talk(UnixStream::connect(&socket).unwrap());
    assert_done(&receiving.finish());
    assert!(fs::read(&destination).unwrap() == said);
}
