//! The reported outcome equals the truth that the kernel tells.
//!
//! The truth is asked for independently of the library: raw `MSG_ZEROCOPY` sends over the same
//! path, each with its own notification read from the error queue (`support/raw.rs`). Where
//! kernel-facts.md has a table of what stays zero-copy, the truth itself is checked against it.
//! Then the same bytes go through the library, over every backend, and each completion's outcome
//! must be that truth: `ZeroCopy`, `Copied`, or, where the kernel refuses, `Plain` with a reason.

mod support;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use sealift_io::{Backend, Event, Message, Outcome, Policy, Pool, Sender};
use support::pattern::stream;
use support::raw::{self, Truth};
use support::{Drain, deadline, skip, tcp_pair_at, udp_pair, unix_pair};

/// Sends per path: enough to see a path that does not do the same every time.
const SENDS: usize = 6;
const SEED: u64 = 0x7ea1;

/// What is sent over a path: so many bytes, perhaps as a train of segments.
#[derive(Clone, Copy, Debug)]
struct Shape {
    len: usize,
    segment: Option<u16>,
}

const fn datagram(len: usize) -> Shape {
    Shape { len, segment: None }
}

const TRAIN: Shape = Shape { len: 20 * 1400, segment: Some(1400) };

/// What the kernel says about a path.
fn ask_kernel(socket: &OwnedFd, shape: Shape) -> Vec<Truth> {
    if let Some(bytes) = shape.segment {
        raw::set_segment_bytes(socket, bytes).unwrap();
    }
    raw::truth(socket, stream(SEED, 0, shape.len), SENDS)
}

/// What the library says about it, message by message, with the reason if it rules zero-copy out.
fn ask_library(
    backend: Option<Backend>,
    socket: OwnedFd,
    shape: Shape,
) -> (Vec<Outcome>, Option<String>) {
    let pool = Pool::builder().frames(2).frame_bytes(shape.len).build().unwrap();
    let mut builder = Sender::builder().policy(Policy::AlwaysZeroCopy).pool(&pool);
    if let Some(backend) = backend {
        builder = builder.backend(backend);
    }
    let mut sender = builder.build(socket).unwrap();
    let mut outcomes = Vec::new();
    for _ in 0..SENDS {
        let mut lease = pool.lease_before(deadline(10)).unwrap();
        assert_eq!(lease.fill(stream(SEED, 0, shape.len)), shape.len);
        let mut message = Message::from(lease);
        if let Some(bytes) = shape.segment {
            message = message.segmented(bytes.try_into().unwrap());
        }
        sender.send(message).unwrap();
        let Some(Event::Completed(done)) = sender.wait(deadline(10)).unwrap() else { panic!() };
        assert_eq!(done.bytes.total(), shape.len as u64);
        outcomes.push(done.result.unwrap());
    }
    let stats = sender.stats();
    assert_eq!(stats.stray_answers, 0);
    let reason = stats.backend.no_zero_copy.clone();
    let closed = sender.close(deadline(10));
    assert!(!closed.aborted && closed.quarantined == 0, "{closed:?}");
    (outcomes, reason)
}

/// Holds the library against the kernel on sockets that `connect` makes; returns the truth.
fn compare(name: &str, shape: Shape, connect: &dyn Fn() -> OwnedFd) -> Truth {
    let truths = ask_kernel(&connect(), shape);
    let truth = truths[0];
    assert!(truths.iter().all(|one| *one == truth), "{name}: no single truth: {truths:?}");
    for backend in [Some(Backend::Uring), Some(Backend::MsgZerocopy), None] {
        let (outcomes, reason) = ask_library(backend, connect(), shape);
        let expected = match (truth, &reason) {
            // This kernel's io_uring cannot say whether it copied, so it is not used to offer.
            (_, Some(_)) | (Truth::Refused(_), None) => Outcome::Plain,
            (Truth::ZeroCopy, None) => Outcome::ZeroCopy,
            (Truth::Copied, None) => Outcome::Copied,
        };
        assert_eq!(outcomes, [expected; SENDS], "{name}, {backend:?}: the kernel says {truth:?}");
        let lacking = reason.as_ref().is_some_and(|reason| reason.contains("io_uring"));
        let refused = matches!(truth, Truth::Refused(_)) || lacking;
        // The automatic choice is to copy: no zero-copy was given up, and its reason says why.
        assert!(backend.is_none() || reason.is_some() == refused, "{name}: {reason:?}");
        assert!(reason.as_ref().is_none_or(|reason| reason.len() > 10), "{name}: {reason:?}");
    }
    truth
}

/// TCP connections whose far ends are read by threads.
fn drained(pair: impl Fn() -> (OwnedFd, OwnedFd)) -> impl Fn() -> OwnedFd {
    move || {
        let (near, far) = pair();
        let _reads_until_the_end = Drain::collect(far);
        near
    }
}

const STREAM: Shape = datagram(300_000);

/// Truth: loopback copies (kernel-facts.md), and the error queue says so.
#[test]
fn loopback_copies() {
    for v6 in [false, true] {
        for shape in [datagram(1400), datagram(60_000), TRAIN] {
            let (_, far) = udp_pair(v6, false);
            let to = far.local_addr().unwrap();
            let connect = || {
                let (near, _) = udp_pair(v6, false);
                near.connect(to).unwrap();
                near.into()
            };
            let truth = compare("UDP over loopback", shape, &connect);
            assert_eq!(truth, Truth::Copied, "v6={v6} {shape:?}");
        }
    }
    let tcp4 = drained(|| tcp_pair_at(Ipv4Addr::LOCALHOST));
    let tcp6 = drained(|| tcp_pair_at(Ipv6Addr::LOCALHOST));
    assert_eq!(compare("TCP over loopback", STREAM, &tcp4), Truth::Copied);
    assert_eq!(compare("TCP over loopback, IPv6", STREAM, &tcp6), Truth::Copied);
}

/// Truth: `SO_ZEROCOPY` on a unix socket fails with EOPNOTSUPP.
#[test]
fn unix_sockets_refuse() {
    let truth = compare("unix", STREAM, &drained(unix_pair));
    assert_eq!(truth, Truth::Refused(libc::EOPNOTSUPP));
}

/// An MPTCP connection, or `None` where the kernel has none.
fn mptcp_pair(v6: bool) -> Option<(OwnedFd, OwnedFd)> {
    use rustix::net::{accept, bind, connect, getsockname, listen, socket_with};

    let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let make =
        || socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::MPTCP)).ok();
    let (listener, near) = (make()?, make()?);
    let any = if v6 { (Ipv6Addr::LOCALHOST, 0).into() } else { (Ipv4Addr::LOCALHOST, 0).into() };
    bind(&listener, &SocketAddr::clone(&any)).unwrap();
    listen(&listener, 1).unwrap();
    let to = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
    connect(&near, &to).unwrap();
    let far = accept(&listener).unwrap();
    Some((near, far))
}

/// Truth: the kernel's answer to a raw zero-copy send on an MPTCP socket. Never an error of the
/// library: it copies, and says why.
#[test]
fn mptcp_is_no_error_and_says_why() {
    for v6 in [false, true] {
        if mptcp_pair(v6).is_none() {
            return skip("mptcp_is_no_error_and_says_why", "the kernel has no MPTCP");
        }
        let connect = drained(|| mptcp_pair(v6).unwrap());
        let truth = compare("MPTCP", STREAM, &connect);
        assert_eq!(truth, Truth::Refused(libc::EOPNOTSUPP));
        for backend in [Backend::Uring, Backend::MsgZerocopy] {
            let (_, reason) = ask_library(Some(backend), connect(), STREAM);
            assert!(reason.is_some_and(|reason| reason.contains("MPTCP")), "{backend}");
        }
    }
}

/// Truth: io_uring refuses zero-copy on any socket with an upper layer protocol. Kernel TLS
/// without keys passes plain bytes on, so that a test can read them.
#[test]
fn kernel_tls_sockets_copy_and_say_why() {
    let name = "kernel_tls_sockets_copy_and_say_why";
    let connect = drained(|| tcp_pair_at(Ipv4Addr::LOCALHOST));
    if let Err(error) = raw::attach_upper_layer(connect(), "tls") {
        return skip(name, &format!("the kernel attaches no TLS: {error}"));
    }
    for backend in [Some(Backend::Uring), Some(Backend::MsgZerocopy), None] {
        let socket = connect();
        raw::attach_upper_layer(&socket, "tls").unwrap();
        let (outcomes, reason) = ask_library(backend, socket, STREAM);
        assert_eq!(outcomes, [Outcome::Plain; SENDS], "{backend:?}");
        let said = reason.is_some_and(|reason| reason.contains("TLS"));
        assert!(said || backend.is_none(), "{backend:?}");

        // Attached behind the sender's back, it is found out at the first send.
        let socket = connect();
        let duplicate = socket.try_clone().unwrap();
        let mut builder = Sender::builder().policy(Policy::AlwaysZeroCopy);
        if let Some(backend) = backend {
            builder = builder.backend(backend);
        }
        let mut sender = builder.build(socket).unwrap();
        raw::attach_upper_layer(&duplicate, "tls").unwrap();
        for _ in 0..SENDS {
            sender.send(stream(SEED, 0, STREAM.len)).unwrap();
        }
        assert_eq!(sender.flush(deadline(10)).unwrap().failed_messages, 0, "{backend:?}");
    }
}

/// A listener that another socket connects to through plain TCP: MPTCP's fall-back.
#[test]
fn mptcp_that_fell_back_to_tcp_is_no_error() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = listener.local_addr().unwrap();
    let family = AddressFamily::INET;
    let make = || {
        let flags = SocketFlags::CLOEXEC;
        rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::MPTCP)).ok()
    };
    if make().is_none() {
        return skip("mptcp_that_fell_back_to_tcp_is_no_error", "the kernel has no MPTCP");
    }
    let connect = drained(|| {
        let near = make().unwrap();
        rustix::net::connect(&near, &to).unwrap();
        (near, listener.accept().unwrap().0.into())
    });
    assert_eq!(compare("MPTCP, fallen back", STREAM, &connect), Truth::Refused(libc::EOPNOTSUPP));
}

#[cfg(feature = "sandbox")]
mod sandboxed {
    use std::net::{IpAddr, UdpSocket};

    use sealift_io::probe::Offloads;
    use sealift_io::sandbox::{Device, FarEnd};

    use super::*;
    use crate::support::{if_kernel_has, in_sandbox, tcp_pair_through};

    const NO_OFFLOADS: Offloads = Offloads {
        scatter_gather: false,
        tx_checksum: false,
        tcp_segmentation: false,
        udp_segmentation: false,
    };

    fn ways(device: &Device) -> [(IpAddr, IpAddr); 2] {
        [
            (device.local_v4.into(), device.peer_v4.into()),
            (device.local_v6.into(), device.peer_v6.into()),
        ]
    }

    fn connected((local, peer): (IpAddr, IpAddr), port: u16) -> OwnedFd {
        let near = UdpSocket::bind((local, 0)).unwrap();
        near.connect((peer, port)).unwrap();
        near.into()
    }

    /// Compares over both address families; kernel-facts.md says what the truth must be.
    fn compare_udp(name: &str, device: &Device, shape: Shape, table: Truth) {
        for way in ways(device) {
            let truth = compare(name, shape, &|| connected(way, 4433));
            assert_eq!(truth, table, "{name}, {way:?}, {shape:?}");
        }
    }

    /// Truth: a sink keeps pages as they are, trains of segments included.
    #[test]
    fn a_sink_stays_zero_copy() {
        let name = "a_sink_stays_zero_copy";
        in_sandbox(name, |sandbox| {
            let Some(sink) = if_kernel_has(name, sandbox.add_sink(65_535)) else { return };
            for shape in [datagram(1400), datagram(60_000), TRAIN] {
                compare_udp(name, &sink, shape, Truth::ZeroCopy);
            }
            sink.set_offloads(Offloads { udp_segmentation: false, ..Offloads::ALL }).unwrap();
            compare_udp("segmentation in software", &sink, TRAIN, Truth::ZeroCopy);
        });
    }

    /// Truth: without checksum offload or scatter-gather the kernel reads the payload itself.
    #[test]
    fn a_device_without_offloads_copies() {
        let name = "a_device_without_offloads_copies";
        in_sandbox(name, |sandbox| {
            let Some(sink) = if_kernel_has(name, sandbox.add_sink(65_535)) else { return };
            // Checksums cannot be switched off alone on every kind of device; scatter-gather can.
            let no_gather = Offloads { tx_checksum: true, ..NO_OFFLOADS };
            for offloads in [no_gather, NO_OFFLOADS] {
                if let Err(error) = sink.set_offloads(offloads) {
                    let why = format!("{:?} cannot have them: {error}", sink.kind);
                    skip(&format!("{name}: {offloads:?}"), &why);
                    continue;
                }
                for shape in [datagram(1400), datagram(60_000)] {
                    compare_udp(&format!("{offloads:?}"), &sink, shape, Truth::Copied);
                }
            }
        });
    }

    /// Truth: whoever listens to packets is handed copies.
    #[test]
    fn a_packet_listener_makes_it_copy() {
        let name = "a_packet_listener_makes_it_copy";
        in_sandbox(name, |sandbox| {
            let Some(sink) = if_kernel_has(name, sandbox.add_sink(65_535)) else { return };
            let listener = sandbox.packet_listener().unwrap();
            compare_udp(name, &sink, datagram(60_000), Truth::Copied);
            compare_udp(name, &sink, TRAIN, Truth::Copied);
            drop(listener);
            compare_udp("the listener gone", &sink, datagram(60_000), Truth::ZeroCopy);
        });
    }

    /// Truth: a datagram longer than the MTU is cut by the IP layer, which copies.
    #[test]
    fn ip_fragmentation_copies() {
        let name = "ip_fragmentation_copies";
        in_sandbox(name, |sandbox| {
            let Some(sink) = if_kernel_has(name, sandbox.add_sink(1500)) else { return };
            compare_udp(name, &sink, datagram(8000), Truth::Copied);
            compare_udp("within the MTU", &sink, datagram(1400), Truth::ZeroCopy);
            compare_udp("a train within the MTU", &sink, TRAIN, Truth::ZeroCopy);
        });
    }

    /// Truth: a veth whose far end is a bridge port keeps pages, one whose far end delivers copies.
    #[test]
    fn a_veth_keeps_or_copies_by_its_far_end() {
        let name = "a_veth_keeps_or_copies_by_its_far_end";
        in_sandbox(name, |sandbox| {
            let bridged = sandbox.add_veth(9000, FarEnd::BridgePort);
            if let Some(veth) = if_kernel_has(&format!("{name}: a bridge"), bridged) {
                compare_udp("veth to a bridge", &veth.near, datagram(8000), Truth::ZeroCopy);
            }
            let Some(veth) = if_kernel_has(name, sandbox.add_veth(9000, FarEnd::Host)) else {
                return;
            };
            for way in ways(&veth.near) {
                let far = veth.namespace.run(|| UdpSocket::bind((way.1, 0))).unwrap().unwrap();
                let port = far.local_addr().unwrap().port();
                let truth = compare(name, datagram(8000), &|| connected(way, port));
                assert_eq!(truth, Truth::Copied, "{way:?}");
            }
        });
    }

    /// Truth: TCP to a socket on the other side of a veth is copied on delivery.
    #[test]
    fn tcp_through_a_veth_copies() {
        let name = "tcp_through_a_veth_copies";
        in_sandbox(name, |sandbox| {
            let Some(veth) = if_kernel_has(name, sandbox.add_veth(1500, FarEnd::Host)) else {
                return;
            };
            let compare_tcp = |what: &str| {
                for (_, peer) in ways(&veth.near) {
                    let bind = || TcpListener::bind((peer, 0));
                    let listener = veth.namespace.run(bind).unwrap().unwrap();
                    let connect = drained(|| tcp_pair_through(&listener));
                    assert_eq!(compare(what, STREAM, &connect), Truth::Copied, "{what}");
                }
            };
            compare_tcp(name);
            let _listener = sandbox.packet_listener().unwrap();
            compare_tcp("TCP with a packet listener");
        });
    }

    /// Without scatter-gather the kernel still takes TCP's pages, for the segmentation in software
    /// to copy them. It marks that as a copy for packets of one segment only (measured), so there
    /// is no single truth to compare with: the sends work, and each says something.
    #[test]
    fn tcp_without_offloads_is_sent() {
        let name = "tcp_without_offloads_is_sent";
        in_sandbox(name, |sandbox| {
            let Some(veth) = if_kernel_has(name, sandbox.add_veth(1500, FarEnd::Host)) else {
                return;
            };
            veth.near.set_offloads(NO_OFFLOADS).unwrap();
            for (_, peer) in ways(&veth.near) {
                let bind = || TcpListener::bind((peer, 0));
                let listener = veth.namespace.run(bind).unwrap().unwrap();
                let connect = drained(|| tcp_pair_through(&listener));
                for backend in [Backend::Uring, Backend::MsgZerocopy] {
                    let (outcomes, reason) = ask_library(Some(backend), connect(), STREAM);
                    let offered = outcomes.iter().all(|one| *one != Outcome::Plain);
                    assert!(offered || reason.is_some(), "{backend}: {outcomes:?}");
                }
            }
        });
    }

    /// Truth: packets for a program are copied to it.
    #[test]
    fn a_tun_copies() {
        let name = "a_tun_copies";
        in_sandbox(name, |sandbox| {
            let Some(tun) = if_kernel_has(name, sandbox.add_tun(9000)) else { return };
            compare_udp(name, &tun, datagram(8000), Truth::Copied);
        });
    }

    /// The adaptive policy follows the truth: it stops offering where the path copies, and says
    /// so; it goes on where the path does not.
    #[test]
    fn the_policy_follows_the_truth() {
        let name = "the_policy_follows_the_truth";
        in_sandbox(name, |sandbox| {
            let Some(sink) = if_kernel_has(name, sandbox.add_sink(65_535)) else { return };
            for backend in [Backend::Uring, Backend::MsgZerocopy] {
                let share = |copying: bool| {
                    let listener = copying.then(|| sandbox.packet_listener().unwrap());
                    let socket = connected(ways(&sink)[0], 4433);
                    let mut sender = Sender::builder().backend(backend).build(socket).unwrap();
                    for _ in 0..300 {
                        sender.send(stream(SEED, 0, 60_000)).unwrap();
                        while sender.poll().is_some() {}
                    }
                    sender.flush(deadline(10)).unwrap();
                    drop(listener);
                    sender.stats()
                };
                let (kept, copied) = (share(false), share(true));
                let ruled_out = |stats: &sealift_io::Stats| stats.backend.no_zero_copy.clone();
                if let Some(why) = ruled_out(&kept).or(ruled_out(&copied)) {
                    skip(&format!("{name}: {backend}"), &why);
                    continue;
                }
                assert!(!kept.path_copies && kept.zero_copied_fraction() == 1.0, "{kept}");
                assert!(copied.path_copies && copied.zero_copied_fraction() == 0.0, "{copied}");
                assert!(copied.bytes.plain > 9 * copied.bytes.copied, "{backend}: {copied}");
            }
        });
    }
}
