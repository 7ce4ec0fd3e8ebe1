//! What a tunnel calls clean: both sides ended, and everything is with the kernels at both ends.

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;

use rustls::version::{TLS12, TLS13};
use support::*;

/// A tunnel's outcomes once it was told to stop, and what it said.
fn outcomes(tunnel: Listening) -> (serde_json::Value, String) {
    tunnel.running.signal("TERM");
    let output = tunnel.finish();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    (report["outcomes"].clone(), stderr(&output))
}

/// The peer says its end and goes, which a program may do that wants no more. What the program at
/// this side sends behind that is lost, however short it is.
#[test]
fn what_reached_nobody_is_never_clean() {
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch);
    for version in [&TLS13, &TLS12] {
        for len in [0, 1, 3, 5, 10, 11, 5000] {
            let (listener, url) = server_port();
            let mut command = sealift();
            command.args(["tunnel", "tcp://127.0.0.1:0", &url, "--insecure", "--json"]);
            let tunnel = listen(&mut command);
            let mut client = connect(tunnel.port);
            let config = server_config(&certificates, version, false);
            let mut served = Served::accept(&listener, config);
            served.shake_hands().unwrap();
            served.close();
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
            client.write_all(&pattern(0, len)).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let (outcomes, said) = outcomes(tunnel);
            let case = format!("{version:?}, {len} bytes: {outcomes} {said}");
            let clean = u64::from(len == 0);
            assert_eq!(outcomes["clean"], clean, "{case}");
            assert_eq!(outcomes["reset"], 1 - clean, "{case}");
            assert_eq!(said.contains(&format!("send on {url}: ")), len > 0, "{case}");
        }
    }
}
