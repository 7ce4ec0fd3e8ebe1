//! What others did and do with the same socket: the user through a duplicate, a sender before.

mod support;

use std::net::UdpSocket;
use std::num::NonZeroU16;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, ipproto};
use sealift_io::{Backend, Error, Event, Message, Outcome, Policy, Sender};
use support::{deadline, raw, udp_pair};

const BACKENDS: [Backend; 3] = [Backend::Uring, Backend::MsgZerocopy, Backend::Copy];

/// The lengths of the datagrams that arrived.
fn heard(far: &UdpSocket) -> Vec<usize> {
    far.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut room = vec![0; 65_536];
    std::iter::from_fn(|| far.recv(&mut room).ok()).collect()
}

/// A train sets the socket's own segment size on some backends, which cuts everybody's sends.
#[test]
fn the_segment_size_is_put_back() {
    for before in [0, 700] {
        for backend in BACKENDS {
            let (near, far) = udp_pair(false, true);
            raw::set_segment_bytes(&near, before).unwrap();
            let duplicate = near.try_clone().unwrap();
            let mut sender = Sender::builder().backend(backend).build(near).unwrap();
            sender.send(vec![1; 2000]).unwrap();
            let train = Message::from(vec![1; 3000]);
            sender.send(train.segmented(NonZeroU16::new(1000).unwrap())).unwrap();
            sender.flush(deadline(5)).unwrap();
            assert_eq!(heard(&far), [2000, 1000, 1000, 1000], "{backend} {before}");
            assert!(!sender.close(deadline(5)).aborted);
            duplicate.send(&[2; 1400]).unwrap();
            let expected: &[usize] = if before == 0 { &[1400] } else { &[700, 700] };
            assert_eq!(heard(&far), expected, "{backend} {before}");
        }
    }
}

/// The kernel numbers zero-copy sends per socket, and tells nobody how far it is.
#[test]
fn zero_copy_sends_of_others_are_not_taken_for_own_ones() {
    let sends: [&dyn Fn(&UdpSocket); 2] = [
        &|socket| {
            raw::enable_zerocopy(socket).unwrap();
            raw::send_zerocopy(socket, &[&[7; 1000]]).unwrap();
        },
        &|socket| {
            let builder = Sender::builder().backend(Backend::MsgZerocopy);
            let mut before = builder.build(socket.try_clone().unwrap()).unwrap();
            before.send(vec![1; 40_000]).unwrap();
            assert!(!before.close(deadline(5)).aborted);
        },
    ];
    for send in sends {
        let (near, _far) = udp_pair(false, true);
        send(&near);
        let builder = Sender::builder().backend(Backend::MsgZerocopy);
        let mut sender = builder.policy(Policy::AlwaysZeroCopy).build(near).unwrap();
        let why = sender.backend().no_zero_copy.clone().expect("a reason");
        assert!(why.contains("SO_ZEROCOPY is on already"), "{why}");
        sender.send(vec![1; 40_000]).unwrap();
        let Some(Event::Completed(done)) = sender.wait(deadline(5)).unwrap() else { panic!() };
        assert_eq!(done.result, Ok(Outcome::Plain));
    }
}

#[test]
fn only_sockets_that_can_be_sent_on_are_taken() {
    let others = [
        (AddressFamily::NETLINK, SocketType::RAW, None),
        (AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)),
        (AddressFamily::UNIX, SocketType::SEQPACKET, None),
        (AddressFamily::UNIX, SocketType::DGRAM, None),
        (AddressFamily::VSOCK, SocketType::STREAM, None),
    ];
    let mut refused = 0;
    for (family, kind, protocol) in others {
        // Some need rights, or a module.
        let Ok(socket) = rustix::net::socket(family, kind, protocol) else { continue };
        let error = Sender::builder().build(socket).unwrap_err();
        assert!(matches!(error, Error::Caller { .. }), "{family:?} {kind:?}: {error}");
        refused += 1;
    }
    assert!(refused >= 2, "unix and netlink sockets are always there");
}
