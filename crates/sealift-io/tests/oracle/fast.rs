//! Peers that read, at once or after a stall, on every kind of wire.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use sealift_io::Backend;

use crate::case::{Case, POLICIES, every_nth_case};
use crate::feed::{Kind, Payload};
use crate::peer::Step;
use crate::support::{tcp_pair_at, unix_pair};

const PAYLOADS: [Payload; 5] = [
    Payload::Of(1),
    Payload::Of(1400),
    Payload::Of(65_435),
    Payload::Of(1 << 20),
    Payload::UpTo(1 << 20),
];

type Connect<'a> = &'a dyn Fn() -> (OwnedFd, OwnedFd);

fn local_wires() -> [(&'static str, Connect<'static>); 3] {
    [
        ("tcp4", &|| tcp_pair_at(Ipv4Addr::LOCALHOST)),
        ("tcp6", &|| tcp_pair_at(Ipv6Addr::LOCALHOST)),
        ("unix", &unix_pair),
    ]
}

/// Enough to fill every socket buffer several times, but not more than a test has time for.
fn messages(case: &Case) -> u64 {
    let messages = (6_000_000 / case.payload.longest() as u64).clamp(10, 120);
    // Shared memory is written word by word, which takes its time without optimisation.
    if case.kind == Kind::Shared { messages / 3 } else { messages }
}

/// Every combination with these payloads, on the first so many wires.
fn cases(backend: Backend, wires: usize, payloads: &[Payload], run: impl Fn(Case, Connect<'_>)) {
    let mut number = 0;
    for (wire, connect) in local_wires().into_iter().take(wires) {
        for kind in Kind::ALL {
            for &payload in payloads {
                for policy in POLICIES {
                    number += 1;
                    if number % every_nth_case() == 0 {
                        let case = Case::new(backend, kind, payload.longest()).reseeded(number);
                        run(Case { wire, policy, payload, ..case }, connect);
                    }
                }
            }
        }
    }
}

fn reads_at_once(case: Case, connect: Connect<'_>) {
    let mut rig = case.start(connect(), 8, &[Step::ReadToEnd], |builder| builder);
    rig.send(messages(&case));
    rig.finish();
}

/// The data sits in the sender's write queue, by reference, while everything that came back
/// is overwritten.
fn stalls_first(case: Case, connect: Connect<'_>) {
    let script = [Step::Read(100), Step::Stall, Step::ReadToEnd];
    let mut rig = case.start(connect(), 16, &script, |builder| builder);
    rig.send_until_stuck(messages(&case));
    rig.peer.go_on();
    rig.send(messages(&case));
    rig.finish();
}

#[test]
fn uring_to_peers_that_read() {
    cases(Backend::Uring, 3, &PAYLOADS, reads_at_once);
}

#[test]
fn msg_zerocopy_to_peers_that_read() {
    cases(Backend::MsgZerocopy, 3, &PAYLOADS, reads_at_once);
}

#[test]
fn copy_to_peers_that_read() {
    cases(Backend::Copy, 3, &PAYLOADS, reads_at_once);
}

#[test]
fn uring_to_peers_that_stall() {
    cases(Backend::Uring, 2, &PAYLOADS[2..], stalls_first);
}

#[test]
fn msg_zerocopy_to_peers_that_stall() {
    cases(Backend::MsgZerocopy, 2, &PAYLOADS[2..], stalls_first);
}

#[test]
fn copy_to_peers_that_stall() {
    cases(Backend::Copy, 2, &PAYLOADS[2..], stalls_first);
}

/// A peer in another namespace, behind a veth pair, is reached through a device's queue and
/// not through loopback.
#[cfg(feature = "sandbox")]
#[test]
fn a_peer_behind_a_veth_hears_the_same() {
    use crate::case::BACKENDS;
    use crate::support::{if_kernel_has, in_sandbox, tcp_pair_through};
    use sealift_io::sandbox::{FarEnd, Veth};
    use std::net::{IpAddr, TcpListener};

    fn listener(veth: &Veth, address: IpAddr) -> TcpListener {
        veth.namespace.run(|| TcpListener::bind((address, 0))).unwrap().unwrap()
    }

    let name = "a_peer_behind_a_veth_hears_the_same";
    in_sandbox(name, |sandbox| {
        let Some(veth) = if_kernel_has(name, sandbox.add_veth(1500, FarEnd::Host)) else { return };
        let (v4, v6) =
            (listener(&veth, veth.near.peer_v4.into()), listener(&veth, veth.near.peer_v6.into()));
        let wires: [(&'static str, Connect<'_>); 2] =
            [("veth4", &|| tcp_pair_through(&v4)), ("veth6", &|| tcp_pair_through(&v6))];
        for backend in BACKENDS {
            for (wire, connect) in wires {
                for payload in [Payload::Of(65_435), Payload::UpTo(1 << 20)] {
                    for kind in [Kind::Lease, Kind::Frozen, Kind::Owned, Kind::Mixed] {
                        let case = Case::new(backend, kind, payload.longest());
                        stalls_first(Case { wire, payload, ..case }, connect);
                    }
                }
            }
        }
    });
}

/// The oracle itself: a library that hands buffers back before the kernel is done with them is
/// caught. The case in which the kernel still reads: data queued behind a stalled TCP peer.
#[cfg(feature = "fault-injection")]
#[test]
fn an_early_release_is_seen_as_corruption() {
    for backend in [Backend::Uring, Backend::MsgZerocopy] {
        for kind in [Kind::Lease, Kind::Bytes, Kind::Owned, Kind::Vec, Kind::Shared, Kind::Frozen] {
            let case = Case::new(backend, kind, 128 * 1024);
            let heard = |early: bool| {
                let script = [Step::Stall, Step::ReadToEnd];
                let pair = tcp_pair_at(Ipv4Addr::LOCALHOST);
                let mut rig = case.start(pair, 16, &script, |builder| match early {
                    true => builder.inject_early_release(),
                    false => builder,
                });
                rig.send_until_stuck(64);
                rig.peer.go_on();
                rig.feed.drain(&mut rig.sender);
                drop(rig.sender);
                rig.peer.join()
            };
            let honest = heard(false);
            assert_eq!(honest.wrong_at, None, "{case:?}");
            let early = heard(true);
            assert!(early.wrong_at.is_some(), "the oracle is blind: {case:?} {early:?}");
        }
    }
}
