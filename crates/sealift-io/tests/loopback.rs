//! Messages over loopback: every backend, every kind of socket, each buffer back exactly once.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealift_io::{Backend, Event, Message, Outcome, Policy, Pool, Sender, SharedMemory};
use support::{Drain, deadline, tcp_pair, udp_pair, unix_pair};

const BACKENDS: [Backend; 3] = [Backend::Uring, Backend::MsgZerocopy, Backend::Copy];

fn pool() -> Pool {
    Pool::builder().frames(16).frame_bytes(256 * 1024).build().unwrap()
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

#[test]
fn a_stream_carries_every_kind_of_buffer_in_order() {
    for backend in BACKENDS {
        for (name, (near, far)) in [("tcp", tcp_pair()), ("unix", unix_pair())] {
            let drain = Drain::collect(far);
            let pool = pool();
            let mut sender = Sender::builder().backend(backend).pool(&pool).build(near).unwrap();
            let mut expected = Vec::new();
            let memory = SharedMemory::create(100_000).unwrap();
            memory.write(0, &pattern(100_000, 9)).unwrap();
            for round in 0..40u8 {
                let mut lease = pool.lease_before(deadline(5)).unwrap();
                let body = pattern(200_000, round);
                assert_eq!(lease.fill(&body), body.len());
                let message = Message::from(vec![round; 24])
                    .and(lease)
                    .and(Bytes::from(pattern(1000, round)))
                    .and(&b"static"[..])
                    .and(memory.region(5..90_000))
                    .tagged(round.into());
                expected.extend_from_slice(&[round; 24]);
                expected.extend_from_slice(&body);
                expected.extend_from_slice(&pattern(1000, round));
                expected.extend_from_slice(b"static");
                expected.extend_from_slice(&pattern(100_000, 9)[5..90_000]);
                sender.send(message).unwrap();
                while sender.in_flight() > 4 {
                    let Some(Event::Completed(done)) = sender.wait(deadline(10)).unwrap() else {
                        panic!("{backend} {name}: no completion");
                    };
                    assert!(done.result.is_ok());
                }
                while sender.poll().is_some() {}
            }
            let tally = sender.flush(deadline(10)).unwrap();
            assert_eq!(tally.messages(), 40, "{backend} {name}");
            assert_eq!(tally.bytes.total(), expected.len() as u64);
            let closed = sender.close(deadline(10));
            assert!(!closed.aborted && closed.quarantined == 0, "{backend} {name}: {closed:?}");
            assert_eq!(closed.stats.stray_answers, 0);
            assert_eq!(drain.join(), expected, "{backend} {name}");
            drop(closed);
            assert_eq!(pool.stats().leased, 0);
        }
    }
}

#[test]
fn datagrams_go_out_one_by_one_in_trains_and_by_address() {
    for backend in BACKENDS {
        for v6 in [false, true] {
            let (near, far) = udp_pair(v6, false);
            let to = far.local_addr().unwrap();
            let pool = pool();
            let mut sender = Sender::builder().backend(backend).pool(&pool).build(near).unwrap();
            for round in 0..20u8 {
                let mut lease = pool.lease_before(deadline(5)).unwrap();
                lease.fill(&pattern(20_000, round));
                sender.send(Message::from(lease).to(to)).unwrap();
                let mut got = vec![0; 65_536];
                let (count, _) = far.recv_from(&mut got).unwrap();
                assert_eq!(got[..count], pattern(20_000, round), "{backend} v6={v6}");
                let mut train = pool.lease_before(deadline(5)).unwrap();
                train.fill(&pattern(13_500, round));
                let segment = 1200.try_into().unwrap();
                sender.send(Message::from(train).to(to).segmented(segment)).unwrap();
                let mut rest = &pattern(13_500, round)[..];
                while !rest.is_empty() {
                    let (count, _) = far.recv_from(&mut got).unwrap();
                    assert_eq!(count, rest.len().min(1200), "{backend} v6={v6}");
                    assert_eq!(got[..count], rest[..count]);
                    rest = &rest[count..];
                }
                while sender.poll().is_some() {}
            }
            assert_eq!(sender.flush(deadline(5)).unwrap().failed_messages, 0);
        }
    }
}

/// Loopback copies, and each backend that offers zero-copy says so.
#[test]
fn loopback_is_reported_as_copied() {
    for backend in [Backend::Uring, Backend::MsgZerocopy] {
        let (near, far) = tcp_pair();
        let drain = Drain::collect(far);
        let mut sender = Sender::builder().backend(backend).build(near).unwrap();
        sender.send(vec![7u8; 1 << 20]).unwrap();
        let Some(Event::Completed(done)) = sender.wait(deadline(5)).unwrap() else { panic!() };
        assert_eq!(done.result, Ok(Outcome::Copied), "{backend}");
        assert!(!sender.close(deadline(5)).aborted);
        assert_eq!(drain.join().len(), 1 << 20);
    }
}

#[test]
fn a_group_comes_back_as_one_event() {
    for backend in BACKENDS {
        let (near, far) = tcp_pair();
        let drain = Drain::collect(far);
        let mut sender = Sender::builder().backend(backend).build(near).unwrap();
        let group = sender.open_group(10);
        for round in 0..10u8 {
            sender.queue(Message::from(pattern(50_000, round)).in_group(group)).unwrap();
        }
        sender.seal_group(group);
        let Some(Event::Released(release)) = sender.wait(deadline(5)).unwrap() else { panic!() };
        assert_eq!((release.completions.len(), release.tally.messages()), (10, 10));
        assert!(sender.wait(deadline(5)).unwrap().is_none());
        assert!(sender.queue(Message::from(vec![1]).in_group(group)).is_err());
        drop(sender);
        assert_eq!(drain.join().len(), 500_000);
    }
}

#[test]
fn a_stalled_peer_ends_at_the_deadline_and_every_buffer_comes_home() {
    for backend in BACKENDS {
        let (near, far) = tcp_pair();
        // More than the buffers of both sockets hold.
        let pool = Pool::builder().frames(128).frame_bytes(256 * 1024).build().unwrap();
        let mut sender = Sender::builder().backend(backend).pool(&pool).build(near).unwrap();
        while let Some(mut lease) = pool.try_lease() {
            lease.set_len(lease.capacity());
            sender.send(lease).unwrap();
        }
        let soon = Instant::now() + Duration::from_millis(100);
        assert!(sender.flush(soon).is_err(), "{backend}");
        let closed = sender.close(Instant::now() + Duration::from_millis(100));
        assert!(closed.aborted, "{backend}");
        assert_eq!(closed.quarantined, 0, "{backend}: {closed:?}");
        assert!(closed.tally.failed_messages > 0);
        drop(closed);
        assert_eq!(pool.stats().leased, 0, "{backend}");
        drop(far);
    }
}

/// A socket that is closed while bytes of the peer lie in it unread takes what it still holds
/// along. Copied sends are back as soon as they are in there.
#[test]
fn closing_beside_unread_bytes_loses_nothing_in_silence() {
    const MESSAGES: usize = 200;
    for backend in BACKENDS {
        for reads in [true, false] {
            let (near, far) = tcp_pair();
            let mut far = File::from(far);
            far.write_all(b"!").unwrap();
            let mut sender = Sender::builder().backend(backend).messages(MESSAGES);
            sender = sender.policy(Policy::AlwaysCopy);
            let mut sender = sender.build(near).unwrap();
            for _ in 0..MESSAGES {
                sender.send(vec![5; 8000]).unwrap();
            }
            let peer = reads.then(|| {
                std::thread::spawn(move || {
                    let mut heard = 0;
                    let mut room = [0; 8000];
                    // It begins late, and ends with a reset once everything is here.
                    std::thread::sleep(Duration::from_millis(50));
                    while let Ok(count @ 1..) = far.read(&mut room) {
                        heard += count;
                    }
                    heard
                })
            });
            let closed = sender.close(Instant::now() + Duration::from_millis(500));
            let lost = closed.unacknowledged_bytes;
            assert_eq!((closed.aborted, lost > 0), (!reads, !reads), "{backend}: {closed:?}");
            if let Some(peer) = peer {
                assert_eq!(peer.join().unwrap(), MESSAGES * 8000, "{backend}");
            }
        }
    }
}

/// On a unix stream it is the peer's program that has to read: that its kernel has the bytes says
/// nothing, as they die with the peer.
#[test]
fn a_unix_stream_is_acknowledged_once_it_is_read() {
    for reads in [true, false] {
        let (near, far) = unix_pair();
        let mut sender = Sender::builder().build(near).unwrap();
        sender.send(vec![5; 8000]).unwrap();
        sender.flush(deadline(5)).unwrap();
        assert_eq!(sender.is_acknowledged(), Ok(false));
        let mut far = File::from(far);
        if reads {
            far.read_exact(&mut [0; 8000]).unwrap();
            assert_eq!(sender.is_acknowledged(), Ok(true));
        } else {
            drop(far);
            assert!(sender.is_acknowledged().is_err(), "nobody has read it");
        }
    }
}

/// Nobody reads: what fits into the socket is handed over, and the rest is not by the deadline.
#[test]
fn what_is_handed_over_has_left_the_queue() {
    for backend in BACKENDS {
        for (near, far) in [tcp_pair(), unix_pair()] {
            let mut sender = Sender::builder().backend(backend).build(near).unwrap();
            sender.queue(pattern(10_000, 1)).unwrap();
            sender.hand_over(deadline(10)).unwrap();
            assert!(sender.is_handed_over(), "{backend}");
            for _ in 0..24 {
                sender.queue(vec![2; 1 << 20]).unwrap();
            }
            let late = sender.hand_over(Instant::now() + Duration::from_millis(50));
            assert!(matches!(late, Err(sealift_io::Error::Deadline { .. })), "{backend} {late:?}");
            let drain = Drain::collect(far);
            sender.hand_over(deadline(20)).unwrap();
            assert!(!sender.close(deadline(20)).aborted);
            assert_eq!(drain.join().len(), 10_000 + (24 << 20), "{backend}");
        }
    }
}

/// All has arrived, and yet the peer sees no clean end.
#[test]
fn a_reset_is_no_end() {
    for backend in BACKENDS {
        let (near, far) = tcp_pair();
        let mut sender = Sender::builder().backend(backend).build(near).unwrap();
        sender.send(pattern(1000, 1)).unwrap();
        let mut far = File::from(far);
        far.read_exact(&mut [0; 1000]).unwrap();
        let _ = sender.flush(deadline(10)).unwrap();
        let closed = sender.reset();
        assert!(closed.aborted && closed.quarantined == 0, "{backend} {closed:?}");
        let seen = far.read(&mut [0; 1]).unwrap_err();
        assert_eq!(seen.kind(), std::io::ErrorKind::ConnectionReset, "{backend}");
    }
}
