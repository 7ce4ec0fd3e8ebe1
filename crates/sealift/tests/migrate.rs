//! The `migrate` example as a test: the copy equals the original over every backend.

#[allow(dead_code, reason = "the example's own main is not used here")]
#[path = "../examples/migrate.rs"]
mod migrate;

use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use sealift::io::{Backend, Sender};

#[test]
fn live_memory_arrives_equal_over_every_backend() {
    for backend in [Backend::Uring, Backend::MsgZerocopy, Backend::Copy] {
        migrate::run(8 << 20, backend).unwrap();
    }
}

/// A sender whose peer is gone refuses every message: that ends the round.
#[test]
fn a_round_to_a_peer_that_is_gone_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    drop(listener.accept().unwrap());
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let guest = migrate::Guest::new(32 << 20).unwrap();
        let mut sender = Sender::builder().build(near).unwrap();
        let runs: Vec<_> = (0..1000).map(|run| (run, 1)).collect();
        tell.send(migrate::send_round(&mut sender, &guest, &runs).is_err()).unwrap();
    });
    assert!(told.recv_timeout(Duration::from_secs(20)).expect("the round hangs"));
}
