//! `sealift send --engine`: whoever seals, the same arrives.

mod support;

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use support::*;

/// The engines of this machine, by their names.
fn engines(test: &str) -> Vec<&'static str> {
    let scratch = Scratch::new();
    let source = scratch.file("source", 1);
    // Nobody listens there, and whoever has an engine finds that out.
    let url = format!("tls://127.0.0.1:{}", free_port());
    let mut command = sealift();
    command.arg("send").arg(source).args([&url, "--insecure", "--engine", "ipsec-mb"]);
    let without = stderr(&run(&mut command));
    let mut engines = vec!["auto", "inline", "workers"];
    if without.contains("the ipsec-mb engine") {
        assert!(without.contains("leave --engine out"), "{without}");
        skip(&format!("{test}: ipsec-mb"), &format!("needs the package libipsec-mb1: {without}"));
    } else {
        engines.push("ipsec-mb");
    }
    engines
}

/// A receiver, its URL, and the pin of its key.
fn receiver_of(destination: &Path) -> (Listening, String, String) {
    let mut receiving = listen(sealift().args(["receive", "tls://127.0.0.1:0"]).arg(destination));
    receiving.line();
    let line = receiving.line();
    let pin = line.trim().rsplit(' ').next().unwrap().to_owned();
    let url = format!("tls://127.0.0.1:{}", receiving.port);
    (receiving, url, pin)
}

#[test]
fn every_engine_sends_files_of_every_size() {
    let scratch = Scratch::new();
    for engine in engines("every_engine_sends_files_of_every_size") {
        for len in [0, 1, 16_385, (1 << 20) - 1, (1 << 20) + 1, 12 << 20] {
            let source = scratch.file("source", len);
            let destination = scratch.join("destination");
            let (receiving, url, pin) = receiver_of(&destination);
            let mut command = sealift();
            command.arg("send").arg(&source).args([&url, "--pin", &pin, "--stats", "--json"]);
            let sent = run(command.args(["--engine", engine]));
            assert!(sent.status.success(), "{}", stderr(&sent));
            assert_done(&receiving.finish());
            assert_same(&source, &destination);
            let json: serde_json::Value = serde_json::from_slice(&sent.stdout).unwrap();
            let sealing = &json["tls"]["stats"]["sealing"];
            let expected = match engine {
                "auto" if cores() > 1 => Some("workers"),
                "auto" | "inline" => None,
                engine => Some(engine),
            };
            if let Some(by) = expected {
                assert_eq!(sealing["engine"], by);
                assert_eq!(sealing["failed"], 0);
                assert_eq!(sealing["jobs"], len.div_ceil(1 << 20));
                assert!(stderr(&sent).contains(&format!("by {by}")), "{}", stderr(&sent));
            } else {
                assert!(sealing.is_null(), "{json}");
            }
        }
    }
}

/// The cores that this test may use, and so may what it starts.
fn cores() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

#[test]
fn without_a_second_core_the_thread_that_reads_seals() {
    let scratch = Scratch::new();
    let (source, destination) = (scratch.file("source", 3 << 20), scratch.join("destination"));
    let (receiving, url, pin) = receiver_of(&destination);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let core = allowed.trim().split(['-', ',']).next().unwrap();
    // From util-linux, which every Debian has.
    let mut command = quiet("taskset");
    command.args(["--cpu-list", core, env!("CARGO_BIN_EXE_sealift"), "send"]).arg(&source);
    let sent = run(command.args([&url, "--pin", &pin, "--json"]));
    assert!(sent.status.success(), "{}", stderr(&sent));
    assert_done(&receiving.finish());
    assert_same(&source, &destination);
    let json: serde_json::Value = serde_json::from_slice(&sent.stdout).unwrap();
    assert!(json["tls"]["stats"]["sealing"].is_null(), "{json}");
}

/// What little comes through a pipe leaves although nothing follows it.
#[test]
fn every_engine_sends_what_a_pipe_has_at_once() {
    for engine in engines("every_engine_sends_what_a_pipe_has_at_once") {
        let (mut receiving, url, pin) = receiver_of(Path::new("-"));
        let mut stdout = receiving.running.child().stdout.take().unwrap();
        let mut command = sealift();
        command.args(["send", "-", &url, "--pin", &pin, "--engine", engine]);
        let mut sending = start(command.stdin(Stdio::piped()));
        let mut stdin = sending.child().stdin.take().unwrap();
        for len in [1, 100_000, 3] {
            stdin.write_all(&pattern(len, len)).unwrap();
            let mut arrived = vec![0; len];
            stdout.read_exact(&mut arrived).unwrap();
            assert!(arrived == pattern(len, len), "{engine}");
        }
        drop(stdin);
        assert_eq!(stdout.read(&mut [0; 1]).unwrap(), 0);
        assert_done(&sending.finish());
        assert_done(&receiving.finish());
    }
}
