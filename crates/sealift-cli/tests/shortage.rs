//! An end that listens and has not enough of something, files or threads, to take who comes: it
//! says so once, waits, and goes on.

mod support;

use std::fs;
use std::path::Path;

use support::*;

const LEN: usize = 100_000;

/// The limit of a process that runs: `--nofile=7:`, `--as=1000000:`.
fn limit(process: u32, limit: &str) {
    let set = run(quiet("prlimit").args(["--pid", &process.to_string(), limit]));
    assert!(set.status.success(), "{}", stderr(&set));
}

/// No descriptor is left to it from now on.
fn take_files(process: u32) {
    let has = |at: &u32| fs::symlink_metadata(format!("/proc/{process}/fd/{at}")).is_ok();
    let first_free = (0..).find(|at| !has(at)).unwrap();
    limit(process, &format!("--nofile={first_free}:"));
}

/// No thread is left to it from now on: there is no memory for its stack.
fn take_threads(process: u32) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let kib: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
    limit(process, &format!("--as={}:", (kib << 10) + (1 << 20)));
}

fn give_back(process: u32) {
    limit(process, "--nofile=1000:");
    limit(process, "--as=unlimited:");
}

/// A `receive` at `scheme`, and the arguments of a `send` to it.
fn receiving(scheme: &str, scratch: &Scratch, flags: &[&str]) -> (Listening, Vec<String>) {
    let certificates = Certificates::new(scratch);
    let mut command = sealift();
    command.args(["receive", &format!("{scheme}://127.0.0.1:0")]).args(flags);
    command.arg(scratch.join("destination"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let mut trust = Vec::new();
    if scheme == "tls" {
        command.arg("--cert").arg(&certificates.server);
        trust = vec!["--ca".to_owned(), text(&certificates.ca)];
    }
    let listening = listen(&mut command);
    let url = format!("{scheme}://127.0.0.1:{}", listening.port);
    let source = scratch.file("source", LEN);
    (listening, [vec!["send".to_owned(), text(&source), url], trust].concat())
}

#[test]
fn what_it_takes_to_let_somebody_in_is_waited_for() {
    let name = "what_it_takes_to_let_somebody_in_is_waited_for";
    if let Some(why) = missing("prlimit") {
        return skip(name, &why);
    }
    let files = "accept on URL: Too many open files; raise the limit of open files";
    let threads = "start on a thread: Resource temporarily unavailable; raise the limit of";
    for (scheme, take, what) in [
        ("tcp", take_files as fn(u32), files),
        ("tls", take_files, files),
        ("tls", take_threads, threads),
    ] {
        let scratch = Scratch::new();
        let (mut receiving, send) = receiving(scheme, &scratch, &[]);
        take(receiving.running.id());
        let sending = start(sealift().args(&send));
        let line = receiving.line();
        let expected = format!("sealift: warning: {}", what.replace("URL", &send[2]));
        assert!(line.starts_with(&expected), "{line:?} is not {expected:?}");
        assert!(line.ends_with("; until then whoever comes waits\n"), "{line:?}");
        give_back(receiving.running.id());
        assert_done(&sending.finish());
        assert_done(&receiving.finish());
        assert_same(&scratch.join("source"), &scratch.join("destination"));
    }
}

#[test]
fn a_shortage_is_not_waited_for_longer_than_a_visitor() {
    if let Some(why) = missing("prlimit") {
        return skip("a_shortage_is_not_waited_for_longer_than_a_visitor", &why);
    }
    for (scheme, take) in
        [("tcp", take_files as fn(u32)), ("tls", take_files), ("tls", take_threads)]
    {
        let scratch = Scratch::new();
        let (mut receiving, send) = receiving(scheme, &scratch, &["--timeout", "3s"]);
        take(receiving.running.id());
        let visitor = connect(receiving.port);
        assert!(receiving.line().ends_with("; until then whoever comes waits\n"));
        let late = format!("accept on {}: no connection within 3 s;", send[2]);
        assert_failed(&receiving.finish(), &late);
        drop(visitor);
    }
}

/// With so few files there are fewer places, and none is used for what cannot be done then.
#[test]
fn no_more_visitors_are_let_in_than_there_are_files_for() {
    if let Some(why) = missing("prlimit") {
        return skip("no_more_visitors_are_let_in_than_there_are_files_for", &why);
    }
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch);
    let (source, destination) = (scratch.file("source", LEN), scratch.join("destination"));
    let mut command = quiet("prlimit");
    command.args(["--nofile=64:64", env!("CARGO_BIN_EXE_sealift"), "send"]).arg(&source);
    command.args(["tls://127.0.0.1:0", "--listen", "--engine", "workers", "--cert"]);
    let mut sending = start(command.arg(&certificates.server));
    let mut said = std::io::BufReader::new(sending.child().stderr.take().unwrap());
    let mut lines = String::new();
    while !lines.contains("listening on") {
        assert!(std::io::BufRead::read_line(&mut said, &mut lines).unwrap() > 0, "{lines}");
    }
    let room = "sealift: the limit of open files, 64, has room for 2 connections at a time, not 32";
    assert!(lines.starts_with(room), "{lines}");
    let port: u16 = lines.trim().rsplit(':').next().unwrap().parse().unwrap();
    let visitors: Vec<_> = (0..6).map(|_| connect(port)).collect();
    let mut command = sealift();
    command.args(["receive", &format!("tls://127.0.0.1:{port}"), "--connect"]).arg(&destination);
    assert_done(&run(command.arg("--ca").arg(&certificates.ca)));
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut said, &mut rest).unwrap();
    assert!(sending.finish().status.success(), "{rest}");
    assert!(rest.lines().all(|line| line.contains(" gave way to others")), "{rest}");
    assert_same(&source, &destination);
    drop(visitors);
}
