//! Who comes to an end that listens over `tls://` and says nothing, or half of a word, keeps nobody
//! out, as long as no more of them come than have a place, in each second.

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::*;

const LEN: usize = 100_000;
/// The beginning of a ClientHello of 512 bytes.
const BEGUN: [u8; 7] = [22, 3, 1, 2, 0, 1, 0];

fn silent(port: u16, count: usize) -> Vec<TcpStream> {
    let visitors = (0..count).map(|number| {
        let mut visitor = connect(port);
        if number % 2 == 1 {
            visitor.write_all(&BEGUN).unwrap();
        }
        visitor
    });
    visitors.collect()
}

/// The number in `7 more failed`.
fn more_failed(line: &str) -> Option<usize> {
    let (before, _) = line.split_once(" more failed")?;
    before.rsplit([' ', '(']).next()?.parse().ok()
}

/// Some, and more than are let in at a time.
#[test]
fn silent_visitors_keep_no_sender_out() {
    for count in [2, 100] {
        let scratch = Scratch::new();
        let certificates = Certificates::new(&scratch);
        let (source, destination) = (scratch.file("source", LEN), scratch.join("destination"));
        let mut command = sealift();
        command.args(["receive", "tls://127.0.0.1:0"]).arg(&destination);
        let receiving = listen(command.arg("--cert").arg(&certificates.server));
        let came = Instant::now();
        let visitors = silent(receiving.port, count);
        if count > 2 {
            assert!(read_all(&visitors[0]).0.is_empty());
            assert!(came.elapsed() >= Duration::from_secs(1), "it had no time to say anything");
        }
        let url = format!("tls://127.0.0.1:{}", receiving.port);
        let mut command = sealift();
        command.arg("send").arg(&source).args([&url, "--timeout", "8s"]);
        assert_done(&run(command.arg("--ca").arg(&certificates.ca)));
        let received = receiving.finish();
        assert!(received.status.success(), "{}", stderr(&received));
        assert_same(&source, &destination);
        for visitor in visitors {
            assert!(read_all(&visitor).0.is_empty());
        }
        // Those whose places were needed are told of, and nobody else: more than some by number.
        let gave_way = " gave way to others; this end listens on";
        let lines = stderr(&received);
        let told = lines.lines().filter(|line| line.contains(gave_way)).count();
        let counted: usize = lines.lines().filter_map(more_failed).sum();
        assert_eq!(told + counted > 60, count > 2, "{lines}");
        // Twenty at once, and one more a second.
        let most = 30 + came.elapsed().as_secs() as usize;
        assert!(lines.lines().count() < most, "{lines}");
    }
}

#[test]
fn silent_visitors_keep_no_receiver_out() {
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch);
    let (source, destination) = (scratch.file("source", LEN), scratch.join("destination"));
    let mut command = sealift();
    command.arg("send").arg(&source).args(["tls://127.0.0.1:0", "--listen"]);
    command.args(["--engine", "workers", "--cert"]);
    let sending = listen(command.arg(&certificates.server));
    let visitors = silent(sending.port, 5);
    let url = format!("tls://127.0.0.1:{}", sending.port);
    let mut command = sealift();
    command.args(["receive", &url, "--connect", "--timeout", "8s"]).arg(&destination);
    assert_done(&run(command.arg("--ca").arg(&certificates.ca)));
    assert_done(&sending.finish());
    assert_same(&source, &destination);
    drop(visitors);
}
