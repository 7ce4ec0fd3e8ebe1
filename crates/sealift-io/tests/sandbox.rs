//! Sandboxes keep their packets to themselves, and their devices do what they say.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(feature = "sandbox")]

mod support;

use std::fs;
use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use sealift_io::probe::Offloads;
use sealift_io::sandbox::{Device, FarEnd, Sandbox, SinkKind};
use support::{if_kernel_has, in_sandbox, skip};

const PORT: u16 = 4433;
const WAIT_AT_MOST: Duration = Duration::from_secs(10);

/// Sends `count` datagrams to the device's peer, over both address families.
fn send(device: &Device, count: u64, length: usize) {
    let ways: [(IpAddr, IpAddr); 2] = [
        (device.local_v4.into(), device.peer_v4.into()),
        (device.local_v6.into(), device.peer_v6.into()),
    ];
    for (local, peer) in ways {
        let socket = UdpSocket::bind((local, 0)).unwrap();
        for _ in 0..count / 2 {
            assert_eq!(socket.send_to(&vec![7; length], (peer, PORT)).unwrap(), length);
        }
    }
}

#[test]
fn every_kind_of_sink_frees_and_counts() {
    for kind in SinkKind::ALL {
        let name = format!("every_kind_of_sink_frees_and_counts: {}", kind.as_str());
        in_sandbox(&name, |sandbox| {
            let sink = sandbox.add_sink_of(kind, 65535);
            let Some(sink) = if_kernel_has(&name, sink) else { return };
            let before = sink.counters().unwrap();
            send(&sink, 20, 60_000);
            let after = sink.counters().unwrap();
            // A few more may be the kernel's own reports of multicast groups.
            let packets = after.packets - before.packets;
            assert!((20..25).contains(&packets), "{kind:?}: {before:?} {after:?}");
            assert!(after.bytes - before.bytes >= 20 * 60_000, "{kind:?}: {before:?} {after:?}");
        });
    }
}

#[test]
fn the_first_sink_is_where_the_documentation_says() {
    let name = "the_first_sink_is_where_the_documentation_says";
    in_sandbox(name, |sandbox| {
        let sink = if_kernel_has(name, sandbox.add_sink(65535));
        let Some(sink) = sink else { return };
        assert_eq!((sink.local_v4, sink.peer_v4), ([10, 99, 0, 1].into(), [10, 99, 0, 2].into()));
        let v6 = [sink.local_v6.to_string(), sink.peer_v6.to_string()];
        assert_eq!(v6, ["fd99::1", "fd99::2"]);
        let second = sandbox.add_sink(1500).unwrap();
        assert_ne!((&sink.name, sink.peer_v4), (&second.name, second.peer_v4));
        send(&second, 2, 1000);
        second.set_mtu(9000).unwrap();
    });
}

#[test]
fn offloads_are_switched_off_and_on() {
    let name = "offloads_are_switched_off_and_on";
    in_sandbox(name, |sandbox| {
        for kind in SinkKind::ALL {
            let name = format!("{name}: {}", kind.as_str());
            let Some(sink) = if_kernel_has(&name, sandbox.add_sink_of(kind, 65535)) else {
                continue;
            };
            assert_eq!(sink.offloads().unwrap(), Offloads::ALL, "{kind:?}");
            for off in [
                Offloads { udp_segmentation: false, ..Offloads::ALL },
                Offloads { tcp_segmentation: false, ..Offloads::ALL },
                Offloads {
                    scatter_gather: false,
                    tx_checksum: false,
                    tcp_segmentation: false,
                    udp_segmentation: false,
                },
            ] {
                sink.set_offloads(off).unwrap_or_else(|error| panic!("{kind:?} {off:?}: {error}"));
                assert_eq!(sink.offloads().unwrap(), off, "{kind:?}");
                send(&sink, 2, 60_000);
            }
            sink.set_offloads(Offloads::ALL).unwrap();
        }
    });
}

#[test]
fn a_veth_reaches_the_far_namespace() {
    let name = "a_veth_reaches_the_far_namespace";
    in_sandbox(name, |sandbox| {
        let Some(veth) = if_kernel_has(name, sandbox.add_veth(1500, FarEnd::Host)) else {
            return;
        };
        for peer in [IpAddr::from(veth.near.peer_v4), IpAddr::from(veth.near.peer_v6)] {
            let listen = || TcpListener::bind((peer, 0));
            let listener = veth.namespace.run(listen).unwrap().unwrap();
            let address = SocketAddr::new(peer, listener.local_addr().unwrap().port());
            let near = TcpStream::connect_timeout(&address, WAIT_AT_MOST).unwrap();
            let (mut far, _) = listener.accept().unwrap();
            far.set_read_timeout(Some(WAIT_AT_MOST)).unwrap();
            std::io::Write::write_all(&mut &near, b"through the wall").unwrap();
            drop(near);
            let mut heard = Vec::new();
            far.read_to_end(&mut heard).unwrap();
            assert_eq!(heard, b"through the wall");
        }
        assert!(veth.far.counters().unwrap().packets > 0);
    });
}

#[test]
fn a_bridged_veth_swallows_everything() {
    let name = "a_bridged_veth_swallows_everything";
    in_sandbox(name, |sandbox| {
        let veth = sandbox.add_veth(9000, FarEnd::BridgePort);
        let Some(veth) = if_kernel_has(name, veth) else { return };
        let before = veth.near.counters().unwrap();
        send(&veth.near, 10, 8000);
        let after = veth.near.counters().unwrap();
        assert!(after.packets - before.packets >= 10, "{before:?} {after:?}");
        assert_eq!(after.dropped, before.dropped);
    });
}

#[test]
fn a_tun_hands_packets_to_the_program() {
    let name = "a_tun_hands_packets_to_the_program";
    in_sandbox(name, |sandbox| {
        let Some(mut tun) = if_kernel_has(name, sandbox.add_tun(1500)) else { return };
        let socket = UdpSocket::bind((tun.local_v4, 0)).unwrap();
        socket.send_to(b"a packet for the program", (tun.peer_v4, PORT)).unwrap();
        let mut packet = [0; 2048];
        loop {
            let length = tun.packets.read(&mut packet).unwrap();
            // The kernel may have its own to say first, over IPv6.
            if packet[0] >> 4 == 4 {
                assert!(packet[..length].ends_with(b"a packet for the program"));
                break;
            }
        }
    });
}

#[test]
fn a_sandbox_reaches_nothing_outside_and_only_its_thread_is_in_it() {
    let namespace = || fs::read_link("/proc/thread-self/ns/net").unwrap();
    let outside = namespace();
    let name = "a_sandbox_reaches_nothing_outside_and_only_its_thread_is_in_it";
    in_sandbox(name, |_| {
        assert_ne!(namespace(), outside);
        let child = std::thread::spawn(namespace).join().unwrap();
        assert_eq!(child, namespace());
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let error = socket.send_to(b"x", "192.0.2.1:9").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH));
        assert!(TcpListener::bind("127.0.0.1:0").is_ok());
    });
    assert_eq!(namespace(), outside);
}

#[test]
fn a_process_with_threads_is_told_to_enter_earlier() {
    // The test harness has a second thread.
    let outcome = std::thread::spawn(|| Sandbox::enter_process().map(drop)).join().unwrap();
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("second thread"), "{error}");
}

/// A thread that may leave its namespace but not set up the new one is back where it was.
#[test]
fn a_sandbox_that_cannot_be_set_up_is_left_again() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

    let name = "a_sandbox_that_cannot_be_set_up_is_left_again";
    let here = || fs::read_link("/proc/thread-self/ns/net").unwrap();
    let outcome = std::thread::spawn(move || {
        let mut sets = capabilities(None).unwrap();
        if !sets.effective.contains(CapabilitySet::SYS_ADMIN) {
            return Err("needs CAP_SYS_ADMIN");
        }
        sets.effective.remove(CapabilitySet::NET_ADMIN);
        set_capabilities(None, sets).unwrap();
        let before = here();
        let error = Sandbox::enter_thread().unwrap_err().to_string();
        assert!(error.starts_with("configuring the sandbox: set ") && error.contains("root"));
        assert_eq!(here(), before);
        Ok(())
    });
    if let Err(why) = outcome.join().unwrap() {
        skip(name, why);
    }
}
