//! Receiving: what comes in, what is lost, and what must not come in.

mod support;

use std::fs;
use std::io::{IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::num::NonZeroU16;
use std::os::fd::AsFd;

use rustix::fs::MemfdFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sealift_io::{Backend, Error, Message, Pool, Received, Receiver, Sender};
use support::{deadline, skip, tcp_pair, udp_pair, unix_pair};

/// This process's descriptors of the memfd called `name`.
fn descriptors_of(name: &str) -> usize {
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let links = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter(|link| link.to_string_lossy().contains(name)).count()
}

/// Nobody would know of them, nor close them.
#[test]
fn descriptors_that_a_peer_passes_are_not_kept() {
    let name = "passed-by-the-peer";
    let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).unwrap();
    let (near, far) = unix_pair();
    let mut receiver = Receiver::new(near).unwrap();
    for _ in 0..20 {
        let passed = [file.as_fd(); 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(10))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
        sendmsg(&far, &[IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();
        let mut room = [0; 10];
        let mut slices = [IoSliceMut::new(&mut room)];
        assert_eq!(receiver.receive(&mut slices, deadline(5)).unwrap().bytes, 1);
    }
    assert_eq!(descriptors_of(name), 1);
}

fn receive(receiver: &mut Receiver, room: &mut [u8]) -> Received {
    receiver.receive(&mut [IoSliceMut::new(room)], deadline(5)).unwrap()
}

#[test]
fn a_look_waits_for_nothing() {
    let (near, far) = tcp_pair();
    let mut receiver = Receiver::new(near).unwrap();
    let mut look = |len: usize| {
        let mut room = vec![0; len];
        let received = receiver.try_receive(&mut [IoSliceMut::new(&mut room)]);
        received.map(|received| received.map(|received| room[..received.bytes].to_vec()))
    };
    assert_eq!(look(9), Ok(None));
    assert!(matches!(look(0), Err(Error::Caller { .. })));
    assert_eq!(rustix::io::write(&far, b"some bytes"), Ok(10));
    let mut read = Vec::new();
    while read.len() < 10 {
        read.extend(look(4).unwrap().unwrap_or_default());
    }
    assert_eq!(read, b"some bytes");
    assert_eq!(look(9), Ok(None));
    drop(far);
    while look(9).unwrap().is_none() {}
    assert_eq!(look(9), Ok(Some(Vec::new())), "the end, each time");
}

/// Ten datagrams of 1000 bytes each, as one train.
fn train() -> Message {
    let bytes: Vec<u8> = (0..10_000).map(|at| (at / 1000) as u8).collect();
    Message::from(bytes).segmented(NonZeroU16::new(1000).unwrap())
}

fn sender(near: UdpSocket) -> Sender {
    Sender::builder().backend(Backend::Copy).build(near).unwrap()
}

#[test]
fn room_for_a_datagram_is_enough_unless_trains_are_asked_for() {
    let (near, far) = udp_pair(false, true);
    let mut receiver = Receiver::new(far).unwrap();
    assert!(!receiver.gathers());
    sender(near).send(train()).unwrap();
    for number in 0..10 {
        let mut room = [0xff; 1500];
        let received = receive(&mut receiver, &mut room);
        assert_eq!((received.bytes, received.segment_bytes), (1000, None), "{number}");
        assert!(!received.truncated && room[..1000] == [number; 1000], "{number}");
    }
}

#[test]
fn a_train_that_was_asked_for_comes_in_one_receive() {
    let (near, far) = udp_pair(false, true);
    let mut receiver = Receiver::new(far).unwrap().with_trains();
    if !receiver.gathers() {
        return skip(
            "a_train_that_was_asked_for_comes_in_one_receive",
            "the kernel has no UDP_GRO",
        );
    }
    let mut sender = sender(near);
    sender.send(train()).unwrap();
    let mut room = vec![0; Receiver::TRAIN_BYTES];
    let received = receive(&mut receiver, &mut room);
    assert_eq!((received.bytes, received.segment_bytes), (10_000, Some(1000)));
    let in_order = (0..10).all(|number| room[number * 1000..][..1000] == [number as u8; 1000]);
    assert!(!received.truncated && in_order);

    sender.send(train()).unwrap();
    let cut = receive(&mut receiver, &mut room[..1500]);
    assert!(cut.truncated && cut.bytes == 1500, "{cut:?}");
}

#[test]
fn a_datagram_that_was_cut_says_so() {
    let (near, far) = udp_pair(false, true);
    let mut receiver = Receiver::new(far).unwrap();
    for (sent, truncated) in [(101, true), (100, false), (0, false)] {
        near.send(&vec![7; sent]).unwrap();
        let received = receive(&mut receiver, &mut [0; 100]);
        assert_eq!((received.bytes, received.truncated), (sent.min(100), truncated), "{sent}");
    }
}

#[test]
fn no_room_is_not_the_end_of_a_stream() {
    for (name, (near, far)) in [("tcp", tcp_pair()), ("unix", unix_pair())] {
        fs::File::from(far.try_clone().unwrap()).write_all(b"hello").unwrap();
        let mut receiver = Receiver::new(near).unwrap();
        let pool = Pool::builder().frames(1).frame_bytes(64).huge_pages(false).build().unwrap();
        let mut full = pool.try_lease().unwrap();
        full.set_len(full.capacity());
        let refused = receiver.receive_leases(std::slice::from_mut(&mut full), deadline(5));
        assert!(matches!(refused, Err(Error::Caller { .. })), "{name}: {refused:?}");
        // The room behind the first 64 slices is not used.
        let mut room = [0; 10];
        let mut slices: Vec<_> = (0..64).map(|_| IoSliceMut::new(&mut [])).collect();
        slices.push(IoSliceMut::new(&mut room));
        let refused = receiver.receive(&mut slices, deadline(5));
        assert!(matches!(refused, Err(Error::Caller { .. })), "{name}: {refused:?}");
        full.set_len(0);
        let received = receiver.receive_leases(std::slice::from_mut(&mut full), deadline(5));
        assert_eq!((received.unwrap().bytes, &*full), (5, &b"hello"[..]), "{name}");
        drop(far);
        assert_eq!(receive(&mut receiver, &mut room).bytes, 0, "{name}: the end");
    }
}
