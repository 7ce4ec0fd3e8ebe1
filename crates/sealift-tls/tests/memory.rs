//! What a process needs for streams: little for those that are idle, and a bounded amount for one
//! that is busy.
//!
//! Truth: the kernel's own account of this process, in which both ends are. Each case is measured
//! in a process of its own, and nothing of the kernel's own memory is counted. No engine has a part
//! in it: one has memory of its own, which is its maker's to bound.

mod support;

#[path = "../../sealift-io/tests/support/process.rs"]
#[allow(dead_code, unreachable_pub, reason = "written for another crate's tests, too")]
mod process;

use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use process::in_own_process;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::{ClientConfig, ServerConfig};
use sealift_tls::{AsyncTlsStream, TlsStream, rustls};
use support::skip::skip;
use support::{Authority, Case, case_tls12, case_tls13, deadline, name, tcp_pair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CONNECTIONS: usize = 1000;
/// What each end of an idle connection may add.
const MOST_IDLE_BYTES: u64 = 16 * 1024;
const MOST_BUSY_BYTES: u64 = 64 << 20;
const REQUEST_BYTES: usize = 1000;
const ANSWER_BYTES: usize = 64 * 1024;
const TRANSFER_BYTES: usize = 1 << 30;

/// A line of the kernel's account, in bytes.
fn account(file: &str, line: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap();
    let found = text.lines().find_map(|text| text.strip_prefix(line)?.strip_suffix("kB"));
    found.unwrap().trim().parse::<u64>().unwrap() * 1024
}

fn resident_bytes() -> u64 {
    account("/proc/self/smaps_rollup", "Rss:")
}

/// Whether this process may have so many files open, and this measurement makes sense.
fn is_possible(name: &str) -> bool {
    if std::env::var_os("SEALIFT_SANITIZER").is_some() {
        skip(name, "a sanitizer has memory of its own");
        return false;
    }
    let wanted = 2 * CONNECTIONS as u64 + 200;
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    if most < wanted {
        skip(name, "RLIMIT_NOFILE does not allow 2,200 files");
        return false;
    }
    let current = Some(limit.current.unwrap_or(u64::MAX).max(wanted));
    setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum }).unwrap();
    true
}

/// Says what the idle ones cost since `before`, and fails if it is too much.
fn check_idle(what: &str, before: u64) {
    let each = resident_bytes().saturating_sub(before) / (2 * CONNECTIONS as u64);
    println!("{what}: {each} bytes for each end");
    assert!(each < MOST_IDLE_BYTES, "{what}: {each} bytes");
}

/// Both ends show a certificate.
fn configurations(case: &Case) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let authority = Authority::new();
    (Arc::new(authority.certified_client(case)), Arc::new(authority.demanding_server(case)))
}

/// Serves connections one after the other, and keeps them.
fn serve(config: Arc<ServerConfig>) -> (Sender<Work>, thread::JoinHandle<Vec<TlsStream>>) {
    let (work, works) = channel();
    let server = thread::spawn(move || {
        let (mut streams, answer) = (Vec::new(), vec![1; ANSWER_BYTES]);
        for work in works {
            match work {
                Work::Accept(socket) => {
                    let stream = TlsStream::accept(socket, config.clone(), deadline(20));
                    streams.push(stream.unwrap());
                }
                Work::Answer(at) => {
                    streams[at].read_exact(&mut [0; REQUEST_BYTES]).unwrap();
                    streams[at].write_all(&answer).unwrap();
                }
            }
        }
        streams
    });
    (work, server)
}

enum Work {
    Accept(std::net::TcpStream),
    Answer(usize),
}

fn exchange(client: &mut TlsStream, at: usize, server: &Sender<Work>, answer: &mut [u8]) {
    server.send(Work::Answer(at)).unwrap();
    client.write_all(&[1; REQUEST_BYTES]).unwrap();
    client.read_exact(answer).unwrap();
}

fn idle_streams(case: &Case) {
    let (client, server) = configurations(case);
    let (server, serving) = serve(server);
    let mut answer = vec![0; ANSWER_BYTES];
    let mut streams = Vec::with_capacity(CONNECTIONS);
    let mut before = 0;
    for at in 0..=CONNECTIONS {
        let (near, far) = tcp_pair();
        server.send(Work::Accept(far)).unwrap();
        streams.push(TlsStream::connect(near, client.clone(), name(), deadline(20)).unwrap());
        if at == 0 {
            // What streams share is made for the first one.
            exchange(&mut streams[0], 0, &server, &mut answer);
            before = resident_bytes();
        }
    }
    // The last one is set up at the other end, too, when it has answered.
    exchange(&mut streams[CONNECTIONS], CONNECTIONS, &server, &mut answer);
    check_idle("after the handshake", before);
    for (at, stream) in streams.iter_mut().enumerate() {
        exchange(stream, at, &server, &mut answer);
    }
    check_idle("after an answer of 64 KiB", before);
    drop(server);
    assert_eq!(serving.join().unwrap().len(), streams.len());
}

#[test]
fn idle_streams_of_tls13_cost_little() {
    let name = "idle_streams_of_tls13_cost_little";
    in_own_process(name, || {
        if is_possible(name) {
            idle_streams(&case_tls13());
        }
    });
}

#[test]
fn idle_streams_of_tls12_cost_little() {
    let name = "idle_streams_of_tls12_cost_little";
    in_own_process(name, || {
        if is_possible(name) {
            idle_streams(&case_tls12());
        }
    });
}

async fn async_pair(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> (AsyncTlsStream, AsyncTlsStream) {
    let (near, far) = tcp_pair();
    let far = AsyncTlsStream::accept(TlsStream::builder(), far, server.clone(), deadline(20));
    let near =
        AsyncTlsStream::connect(TlsStream::builder(), near, client.clone(), name(), deadline(20));
    let (near, far) = tokio::join!(near, far);
    (near.unwrap(), far.unwrap())
}

async fn async_exchange((near, far): &mut (AsyncTlsStream, AsyncTlsStream), answer: &mut [u8]) {
    let answering = async {
        far.read_exact(&mut [0; REQUEST_BYTES]).await.unwrap();
        far.write_all(&[1; ANSWER_BYTES]).await.unwrap();
    };
    let asking = async {
        near.write_all(&[1; REQUEST_BYTES]).await.unwrap();
        near.read_exact(answer).await.unwrap();
    };
    tokio::join!(answering, asking);
}

async fn idle_async_streams(case: &Case) {
    let (client, server) = configurations(case);
    let mut answer = vec![0; ANSWER_BYTES];
    let mut pairs = Vec::with_capacity(CONNECTIONS);
    let mut first = async_pair(&client, &server).await;
    async_exchange(&mut first, &mut answer).await;
    let before = resident_bytes();
    for _ in 0..CONNECTIONS {
        pairs.push(async_pair(&client, &server).await);
    }
    check_idle("after the handshake", before);
    for pair in &mut pairs {
        async_exchange(pair, &mut answer).await;
    }
    check_idle("after an answer of 64 KiB", before);
}

#[test]
fn idle_async_streams_cost_little() {
    let name = "idle_async_streams_cost_little";
    in_own_process(name, || {
        if is_possible(name) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(idle_async_streams(&case_tls13()));
        }
    });
}

#[test]
fn a_long_transfer_needs_little() {
    let name = "a_long_transfer_needs_little";
    in_own_process(name, || {
        if !is_possible(name) {
            return;
        }
        let (client, server) = configurations(&case_tls13());
        let (near, far) = tcp_pair();
        let reading = thread::spawn(move || {
            let mut far = TlsStream::accept(far, server, deadline(90)).unwrap();
            std::io::copy(&mut far, &mut std::io::sink()).unwrap()
        });
        let mut near = TlsStream::connect(near, client, support::name(), deadline(90)).unwrap();
        let block = vec![1; 1 << 20];
        for _ in 0..TRANSFER_BYTES / block.len() {
            near.write_all(&block).unwrap();
        }
        assert!(!near.close(deadline(90)).unwrap().aborted);
        assert_eq!(reading.join().unwrap(), TRANSFER_BYTES as u64);
        let peak = account("/proc/self/status", "VmHWM:");
        println!("a transfer of 1 GiB: {} KiB at most, both ends", peak / 1024);
        assert!(peak < MOST_BUSY_BYTES, "{peak} bytes");
    });
}
