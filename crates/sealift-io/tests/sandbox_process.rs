//! A whole process moves into a sandbox: a test without the harness, which would start threads.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::UdpSocket;

use sealift_io::probe::probe_path;
use sealift_io::sandbox::Sandbox;

fn main() {
    let name = "the_process_enters_a_sandbox";
    the_process_enters_a_sandbox(name);
    // As the harness says it, so that the run counts it; a skip is taken from that count.
    println!("test {name} ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured");
}

fn the_process_enters_a_sandbox(name: &str) {
    if std::env::var("SEALIFT_SANITIZER").is_ok_and(|which| which == "tsan") {
        return support::skip(name, "the thread sanitizer has a thread of its own");
    }
    let mut sandbox = match Sandbox::enter_process() {
        Ok(sandbox) => sandbox,
        Err(error) => return support::skip(name, &error.to_string()),
    };
    let Some(sink) = support::if_kernel_has(name, sandbox.add_sink(65535)) else { return };
    let before = sink.counters().unwrap();
    // Threads that start later are in the sandbox, too.
    let peer = sink.peer_v4;
    std::thread::spawn(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for _ in 0..10 {
            socket.send_to(&[1; 60_000], (peer, 4433)).unwrap();
        }
    })
    .join()
    .unwrap();
    assert!(sink.counters().unwrap().packets - before.packets >= 10);
    let path = probe_path(sink.peer_v6.into());
    assert!(path.zero_copy.is_yes(), "{path}");
    let again = Sandbox::enter_process().map(drop);
    assert!(again.is_ok(), "sandboxes nest: {again:?}");
}
