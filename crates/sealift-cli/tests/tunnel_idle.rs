//! A thousand connections that idle, and visitors that never finish their handshake: what they cost
//! a tunnel, and that the idle ones are still there.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use support::*;

const MANY: usize = 1000;
/// What an idle connection may add to the memory of the process.
const IDLE_BYTES: u64 = 16 * 1024;
/// What a visitor may add that has said its hello, and nothing since.
const SILENT_BYTES: u64 = 32 * 1024;
/// What goes through each before it idles.
const REQUEST: usize = 10_000;

/// `VmRSS`: the memory that a process has.
fn resident_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn ask(client: &mut TcpStream, number: usize) {
    let asked = pattern(number, REQUEST);
    client.write_all(&asked).unwrap();
    let mut answer = vec![0; REQUEST];
    client.read_exact(&mut answer).unwrap();
    assert!(answer == asked, "{number}");
}

#[test]
fn a_thousand_idle_connections_are_cheap_and_stay() {
    // Descriptors for both ends of each.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let program = Program::echo(MANY + 100);
    let pair = TunnelPair::to(&program.url(), &["--max-connections", "2000"]);
    let tunnels = [pair.sealing.running.id(), pair.opening.running.id()];
    let mut clients = Vec::new();
    let mut visit = |number| {
        let mut client = pair.connect();
        ask(&mut client, number);
        clients.push(client);
    };
    // Threads, pools and spare buffers are made once. One after the other: many at a time would
    // make threads that stay for a while.
    (0..100).for_each(&mut visit);
    let before = tunnels.map(resident_bytes);
    (100..100 + MANY).for_each(&mut visit);
    // The last of them idle, too.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let after = tunnels.map(resident_bytes);
    for (before, after) in before.into_iter().zip(after) {
        let each = after.saturating_sub(before) / MANY as u64;
        println!("{each} bytes each");
        assert!(each < IDLE_BYTES, "{each} bytes each");
    }
    for (number, client) in clients.iter_mut().enumerate() {
        ask(client, number);
    }
    drop(clients);
    program.finish();
    pair.stop();
}

/// The threads that a process has.
fn threads(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/task")).unwrap().count()
}

/// They have said their hello and been answered: that is all that there is to hold, whoever would
/// seal for them.
#[test]
fn visitors_who_stay_silent_are_cheap() {
    for engine in ["auto", "workers"] {
        assert_silence_is_cheap(engine);
    }
}

fn assert_silence_is_cheap(engine: &str) {
    let flags = ["--timeout", "1m", "--engine", engine];
    let (opening, _) = opening_tunnel("tcp://127.0.0.1:9", &flags);
    let visit = |_| {
        let mut visitor = connect(opening.port);
        visitor.write_all(&client_hello()).unwrap();
        visitor.read_exact(&mut [0; 100]).unwrap();
        visitor
    };
    let _first: Vec<TcpStream> = (0..50).map(visit).collect();
    let process = opening.running.id();
    let before = (resident_bytes(process), threads(process));
    let _silent: Vec<TcpStream> = (0..300).map(visit).collect();
    let each = resident_bytes(process).saturating_sub(before.0) / 300;
    println!("{engine}: {each} bytes each");
    assert!(each < SILENT_BYTES, "{engine}: {each} bytes each");
    // One at a time, they need few for their signatures.
    let more = threads(process).saturating_sub(before.1);
    assert!(more < 100, "{engine}: {more} threads");
}
