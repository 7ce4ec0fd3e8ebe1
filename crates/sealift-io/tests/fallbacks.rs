//! What this kernel lacks, or a socket rules out, is no error: every backend, forced or chosen,
//! sends over every kind of socket, and says why it does not do more.
//!
//! Prints a line `FALLBACK <backend> <reason>` for each, which the lab of virtual machines
//! collects from older kernels. Truth: the bytes that arrive, `support/pattern.rs`.

mod support;

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use sealift_io::probe::{Verdict, probe};
use sealift_io::{Backend, Message, Policy, Pool, Ring, Sender};
use support::pattern::{first_wrong, stream};
use support::process::in_own_process;
use support::{deadline, raw, skip, tcp_pair_at, udp_pair, unix_pair};

const SEED: u64 = 0xfa11;
const FORCED: [Option<Backend>; 4] =
    [None, Some(Backend::Uring), Some(Backend::MsgZerocopy), Some(Backend::Copy)];

/// A kind of socket, its two ends, and whether it is a stream.
type Wire = (&'static str, fn() -> Option<(OwnedFd, OwnedFd)>, bool);

const WIRES: [Wire; 6] = [
    ("tcp4", || Some(tcp_pair_at(Ipv4Addr::LOCALHOST)), true),
    ("tcp6", || Some(tcp_pair_at(Ipv6Addr::LOCALHOST)), true),
    ("unix", || Some(unix_pair()), true),
    ("mptcp", mptcp_pair, true),
    ("udp4", || Some(udp(false)), false),
    ("udp6", || Some(udp(true)), false),
];

fn udp(v6: bool) -> (OwnedFd, OwnedFd) {
    let (near, far) = udp_pair(v6, true);
    (near.into(), far.into())
}

/// MPTCP on this side; the listener is plain.
fn mptcp_pair() -> Option<(OwnedFd, OwnedFd)> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
    let near =
        rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(ipproto::MPTCP)).ok()?;
    rustix::net::connect(&near, &listener.local_addr().unwrap()).unwrap();
    Some((near, listener.accept().unwrap().0.into()))
}

/// The two ends of a wire, or a word on the part of a test that goes without.
fn ends(
    test: &str,
    wire: &str,
    connect: fn() -> Option<(OwnedFd, OwnedFd)>,
) -> Option<(OwnedFd, OwnedFd)> {
    let ends = connect();
    if ends.is_none() {
        skip(&format!("{test}: {wire}"), "the kernel has no such sockets");
    }
    ends
}

/// Sends messages of every shape: one lease, two of one arena, pieces of different kinds, and on
/// datagram sockets a train. Asserts that they arrive.
fn send_every_shape(mut sender: Sender, pool: &Pool, far: OwnedFd, is_stream: bool) {
    let mut offset = 0;
    let mut next = |len: usize| {
        offset += len as u64;
        stream(SEED, offset - len as u64, len)
    };
    let lease = |bytes: &[u8]| {
        let mut lease = pool.lease_before(deadline(10)).unwrap();
        assert_eq!(lease.fill(bytes), bytes.len());
        lease
    };
    let mut peer = Peer::new(far);
    for _ in 0..2 {
        let one = Message::from(lease(next(20_000)));
        let two = Message::from(lease(next(15_000))).and(lease(next(15_000)));
        let mixed = Message::from(lease(next(9_000))).and(next(100)).and(next(9_000).to_vec());
        let train = Message::from(lease(next(12_345)));
        let train = match is_stream {
            true => train,
            false => train.segmented(1200.try_into().unwrap()),
        };
        for message in [one, two, mixed, train] {
            let len = message.len();
            sender.send(message).unwrap();
            let tally = sender.flush(deadline(20)).unwrap();
            assert_eq!(tally.failed_messages, 0, "{}", sender.stats());
            peer.hear(len);
            while sender.poll().is_some() {}
        }
    }
    let closed = sender.close(deadline(20));
    assert!(!closed.aborted && closed.quarantined == 0 && closed.error.is_none(), "{closed:?}");
    assert_eq!(peer.heard, offset);
    assert_eq!(pool.stats().leased, 0);
}

/// Reads and checks what was sent, at once, so that no datagram is lost.
struct Peer {
    file: std::fs::File,
    room: Vec<u8>,
    heard: u64,
}

impl Peer {
    fn new(far: OwnedFd) -> Self {
        let timeout = Some(std::time::Duration::from_secs(20));
        sockopt::set_socket_timeout(&far, sockopt::Timeout::Recv, timeout).unwrap();
        Self { file: far.into(), room: vec![0; 1 << 16], heard: 0 }
    }

    fn hear(&mut self, mut len: usize) {
        while len > 0 {
            let count = self.file.read(&mut self.room).unwrap();
            assert!((1..=len).contains(&count), "{count} bytes came, {len} are to come");
            assert_eq!(first_wrong(SEED, self.heard, &self.room[..count]), None);
            self.heard += count as u64;
            len -= count;
        }
    }
}

fn pool() -> Pool {
    Pool::builder().frames(8).frame_bytes(32 * 1024).build().unwrap()
}

/// What a sender gave up, with the reason.
fn given_up(forced: Option<Backend>, wire: &str, sender: &Sender) -> Vec<String> {
    let stats = sender.stats();
    let mut lines = Vec::new();
    let choice = &stats.backend;
    assert!(choice.reason.len() > 5, "{choice}");
    if let Some(why) = &choice.no_zero_copy {
        assert!(why.len() > 5, "{choice}");
        lines.push(format!("{} {wire}: {why}", choice.backend));
    }
    if forced.is_none() && choice.backend != Backend::Uring {
        lines.push(format!("{} {wire}: chosen because {}", choice.backend, choice.reason));
    }
    lines.extend(stats.unregistered.map(|why| format!("{} {wire}: {why}", choice.backend)));
    lines
}

#[test]
fn every_backend_sends_over_every_socket_and_says_what_it_gave_up() {
    let mut lines = BTreeSet::new();
    for finding in probe().findings {
        if finding.name.starts_with("io_uring.") && finding.verdict != Verdict::Yes {
            let reason = finding.reason.expect("a 'no' has a reason");
            lines.insert(format!("uring {}: {reason}", finding.title));
        }
    }
    for (wire, connect, is_stream) in WIRES {
        for forced in FORCED {
            for policy in [Policy::AlwaysZeroCopy, Policy::Adaptive(None), Policy::AlwaysCopy] {
                let Some((near, far)) = connect() else {
                    lines.insert(format!("any {wire}: the kernel makes no such socket"));
                    continue;
                };
                let pool = pool();
                let mut builder = Sender::builder().policy(policy).pool(&pool);
                if let Some(backend) = forced {
                    builder = builder.backend(backend);
                }
                let sender = match builder.build(near) {
                    Ok(sender) => sender,
                    Err(error) => {
                        // The one backend that can be impossible, and only when it was forced.
                        assert_eq!(forced, Some(Backend::Uring), "{wire}: {error}");
                        lines.insert(format!("uring {wire}: {error}"));
                        continue;
                    }
                };
                assert!(forced.is_none_or(|backend| sender.backend().backend == backend));
                if policy != Policy::AlwaysCopy {
                    lines.extend(given_up(forced, wire, &sender));
                }
                send_every_shape(sender, &pool, far, is_stream);
            }
        }
    }
    lines.iter().for_each(|line| println!("FALLBACK {line}"));
    // Known on every kernel: unix sockets copy, whatever was asked for.
    assert!(lines.iter().any(|line| line.starts_with("uring unix: ") || line.contains("io_uring")));
    assert!(lines.iter().any(|line| line.starts_with("msg-zerocopy unix: ")));
}

/// In a container that forbids io_uring, the automatic choice is another, and says why; the
/// forced backend is an error that names the call.
#[test]
fn a_forbidden_io_uring_is_fallen_back_from() {
    let name = "a_forbidden_io_uring_is_fallen_back_from";
    in_own_process(name, || {
        if let Err(error) = raw::forbid_io_uring() {
            return skip(name, &format!("no seccomp filter can be set: {error}"));
        }
        let pool = pool();
        for (wire, connect, is_stream) in WIRES {
            let Some((near, far)) = ends(name, wire, connect) else { continue };
            let sender = Sender::builder().pool(&pool).build(near).unwrap();
            let choice = sender.backend().clone();
            assert_ne!(choice.backend, Backend::Uring, "{wire}");
            let ruled_out = ["unix", "mptcp"].contains(&wire);
            assert!(ruled_out || choice.reason.contains("io_uring"), "{wire}: {choice}");
            send_every_shape(sender, &pool, far, is_stream);

            let (near, _far) = connect().unwrap();
            let error = Sender::builder().backend(Backend::Uring).build(near).unwrap_err();
            assert!(error.to_string().starts_with("io_uring_setup: "), "{wire}: {error}");
        }
        assert!(Ring::builder().build().is_err());
    });
}

/// A ring with no place left is the caller's mistake when forced, and a reason when not.
#[test]
fn a_ring_without_a_place_is_fallen_back_from() {
    let name = "a_ring_without_a_place_is_fallen_back_from";
    let ring = match Ring::builder().senders(1).build() {
        Ok(ring) => ring,
        Err(error) => return skip(name, &error.to_string()),
    };
    let connect = || tcp_pair_at(Ipv4Addr::LOCALHOST);
    let (near, _far) = connect();
    let first = Sender::builder().backend(Backend::Uring).ring(&ring).build(near).unwrap();
    let (near, _far) = connect();
    let forced = Sender::builder().backend(Backend::Uring).ring(&ring).build(near);
    assert!(matches!(forced, Err(sealift_io::Error::Caller { .. })), "{forced:?}");
    let (near, far) = connect();
    let chosen = Sender::builder().ring(&ring).build(near).unwrap();
    let choice = chosen.backend().clone();
    assert_eq!(choice.backend, Backend::MsgZerocopy);
    assert!(choice.reason.len() > 5, "{choice}");
    send_every_shape(chosen, &pool(), far, true);

    // The place is free again once its sender is gone.
    drop(first);
    let (near, _far) = connect();
    assert!(Sender::builder().backend(Backend::Uring).ring(&ring).build(near).is_ok());
}
