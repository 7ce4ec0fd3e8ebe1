//! Connections that break, half close, or lose a descriptor while data is in flight.

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;

use crate::case::{BACKENDS, Case, POLICIES};
use crate::feed::{Kind, Payload};
use crate::peer::{End, Step};
use crate::support::{tcp_pair_at, tcp_pair_through, unix_pair};

const KINDS: [Kind; 4] = [Kind::Lease, Kind::Frozen, Kind::Owned, Kind::Mixed];
const MIB: usize = 1 << 20;

fn tcp() -> (OwnedFd, OwnedFd) {
    tcp_pair_at(Ipv4Addr::LOCALHOST)
}

fn cases() -> impl Iterator<Item = Case> {
    BACKENDS.into_iter().flat_map(|backend| {
        KINDS.into_iter().flat_map(move |kind| {
            POLICIES.into_iter().map(move |policy| Case {
                policy,
                payload: Payload::UpTo(MIB / 2),
                ..Case::new(backend, kind, MIB / 2)
            })
        })
    })
}

/// A reset frees everything at once: the rest fails, with the reason, and no buffer is lost.
#[test]
fn a_reset_in_mid_flight_brings_everything_back() {
    for case in cases() {
        for script in [&[Step::Read(300_000), Step::Reset][..], &[Step::Stall, Step::Reset][..]] {
            let mut rig = case.start(tcp(), 16, script, |builder| builder);
            rig.send_until_stuck(400);
            rig.peer.go_on();
            // More than both socket buffers hold, so the reset is met at the latest here.
            assert!(!rig.feed.send(&mut rig.sender, 400, 20_000), "sent into a reset");
            let fault = rig.sender.fault().cloned();
            assert!(matches!(fault, Some(sealift_io::Error::Peer { .. })), "{fault:?}");
            // Contract 4: the first fatal error is kept, and every later call returns it.
            let flushed = rig.sender.flush(crate::support::deadline(20));
            assert_eq!(flushed.err(), fault);
            let refused = rig.sender.send(vec![1]).map(drop).unwrap_err();
            assert_eq!(Some(refused.error), fault);
            rig.finish_broken();
        }
    }
}

/// A peer that will send nothing more still hears everything.
#[test]
fn a_peer_that_shut_its_write_side_hears_everything() {
    for case in cases() {
        for connect in [tcp, unix_pair] {
            let script = [Step::ShutWrite, Step::Stall, Step::ReadToEnd];
            let mut rig = case.start(connect(), 16, &script, |builder| builder);
            rig.send_until_stuck(40);
            rig.peer.go_on();
            rig.send(20);
            rig.finish();
        }
    }
}

/// A peer that reads no more: on unix sockets an error, on TCP a reset once it closes.
#[test]
fn a_peer_that_shut_its_read_side_ends_it_in_good_order() {
    for case in cases() {
        for connect in [tcp, unix_pair] {
            let script = [Step::Read(200_000), Step::ShutRead, Step::Stall, Step::Close];
            let mut rig = case.start(connect(), 16, &script, |builder| builder);
            rig.send_until_stuck(400);
            rig.peer.go_on();
            assert!(!rig.feed.send(&mut rig.sender, 400, 20_000), "sent to nobody");
            rig.finish_broken();
        }
    }
}

/// A peer that closes with data unread: TCP resets.
#[test]
fn a_peer_that_leaves_brings_everything_back() {
    for case in cases() {
        for connect in [tcp, unix_pair] {
            let script = [Step::Read(150_000), Step::Stall, Step::Close];
            let mut rig = case.start(connect(), 16, &script, |builder| builder);
            rig.send_until_stuck(400);
            rig.peer.go_on();
            assert!(!rig.feed.send(&mut rig.sender, 400, 20_000), "sent to nobody");
            let heard = rig.finish_broken();
            assert_eq!(heard.end, End::Left);
        }
    }
}

/// Other descriptors of the same socket, and the listener, may go: the sender has its own.
#[test]
fn closing_other_descriptors_changes_nothing() {
    for case in cases() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (near, far) = tcp_pair_through(&listener);
        let duplicate = near.try_clone().unwrap();
        let script = [Step::Stall, Step::ReadToEnd];
        let mut rig = case.start((near, far), 16, &script, |builder| builder);
        rig.send_until_stuck(40);
        drop(duplicate);
        drop(listener);
        rig.peer.go_on();
        rig.send(20);
        rig.finish();
    }
}

/// At its deadline `close` aborts, says what was lost, and the kernel has let go of everything.
#[test]
fn a_close_that_aborts_brings_everything_back() {
    for case in cases() {
        for connect in [tcp, unix_pair] {
            let script = [Step::Read(100), Step::Stall, Step::ReadToEnd];
            let mut rig = case.start(connect(), 16, &script, |builder| builder);
            rig.send_until_stuck(400);
            let soon = std::time::Instant::now() + std::time::Duration::from_millis(10);
            let closed = rig.sender.close(soon);
            assert!(closed.aborted && closed.quarantined == 0, "{case:?}: {closed:?}");
            for event in closed.events {
                rig.feed.take_event(event);
            }
            rig.feed.expect_all_home();
            rig.peer.go_on();
            let heard = rig.peer.join();
            assert_eq!(heard.wrong_at, None, "{case:?}: corrupted; {heard:?}");
        }
    }
}
