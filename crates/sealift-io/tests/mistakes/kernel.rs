//! What the kernel does that one would not expect.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown};
use sealift_io::{Event, Message, Outcome, Pool, Sender};

use crate::support::pattern::{first_wrong, stream};
use crate::support::{Drain, deadline, raw, skip, tcp_pair, tcp_pair_through, udp_pair, unix_pair};
use crate::{BACKENDS, ZERO_COPY, always};

const SEED: u64 = 0x4e41;

fn next_result(sender: &mut Sender) -> sealift_io::Result<Outcome> {
    match sender.wait(deadline(10)).unwrap() {
        Some(Event::Completed(done)) => done.result,
        other => panic!("no completion: {other:?}"),
    }
}

/// A message of so many pieces that do not touch each other, each on pages of its own.
fn pieces(count: usize, len: usize) -> (Vec<&'static [u8]>, Vec<u8>) {
    let parts: Vec<_> = (0..count).map(|at| stream(SEED, at as u64 * 8192, len)).collect();
    let whole = parts.concat();
    (parts, whole)
}

fn message_of(parts: &[&'static [u8]]) -> Message {
    parts.iter().fold(Message::new(), |message, part| message.and(*part))
}

/// Mistake: setting the flag and never reading the error queue. Over a long run it is read, or
/// the notification memory would run out, and nothing is left on it at the end.
#[test]
fn the_error_queue_is_read() {
    let (near, _far) = udp_pair(false, true);
    let beside = near.try_clone().unwrap();
    let mut sender = always(sealift_io::Backend::MsgZerocopy).build(near).unwrap();
    for _ in 0..20_000 {
        sender.send(stream(SEED, 0, 1200)).unwrap();
        while sender.poll().is_some() {}
    }
    let stats = {
        sender.flush(deadline(10)).unwrap();
        sender.stats()
    };
    assert_eq!((stats.pressure, stats.stray_answers), (0, 0), "{stats}");
    assert_eq!((stats.notifications, stats.zero_copy_requests), (20_000, 20_000), "{stats}");
    let left = raw::read_notice(&beside).unwrap_err();
    assert_eq!(left.kind(), std::io::ErrorKind::WouldBlock);
}

/// Mistake: a datagram of more than 17 pieces. Truth: the kernel answers EMSGSIZE to it. It is
/// copied instead, and zero-copy is not given up for the others.
#[test]
fn a_datagram_of_many_pieces_is_copied() {
    for v6 in [false, true] {
        let (near, far) = udp_pair(v6, true);
        let (parts, whole) = pieces(40, 500);
        raw::enable_zerocopy(&near).unwrap();
        let refused = raw::send_zerocopy(&near, &parts).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EMSGSIZE));
        for backend in ZERO_COPY {
            let near = near.try_clone().unwrap();
            let mut sender = always(backend).build(near).unwrap();
            let ruled_out = sender.backend().no_zero_copy.is_some();
            let mut room = vec![0; 65_536];
            for _ in 0..3 {
                sender.send(message_of(&parts)).unwrap();
                assert_eq!(next_result(&mut sender), Ok(Outcome::Plain), "{backend}");
                let len = far.recv(&mut room).unwrap();
                assert!(room[..len] == whole[..], "{backend} v6={v6}");
                sender.send(parts[0]).unwrap();
                let offered = next_result(&mut sender).unwrap();
                assert!(offered == Outcome::Copied || ruled_out, "{backend}: {offered:?}");
                assert_eq!(far.recv(&mut room).unwrap(), parts[0].len());
            }
        }
    }
}

/// Mistake: more pieces than a packet has room for, on a stream: they go in several.
#[test]
fn a_stream_message_of_many_pieces_arrives() {
    for backend in BACKENDS {
        for connect in [tcp_pair, unix_pair] {
            let (near, far) = connect();
            let drain = Drain::collect(far);
            let (parts, whole) = pieces(300, 900);
            let mut sender = always(backend).build(near).unwrap();
            for _ in 0..3 {
                sender.send(message_of(&parts)).unwrap();
            }
            let closed = sender.close(deadline(20));
            assert!(!closed.aborted && closed.error.is_none(), "{backend}: {closed:?}");
            assert_eq!((closed.tally.messages(), closed.tally.failed_messages), (3, 0));
            assert!(drain.join() == whole.repeat(3), "{backend}");
        }
    }
}

/// Mistake: reading a unix socket's 'error queue': there the flag means nothing, and the read
/// takes what the peer sent. Truth: the bytes that the peer sent are still there.
#[test]
fn a_unix_socket_is_never_read() {
    for backend in BACKENDS {
        let (near, far) = unix_pair();
        let mut answers = std::fs::File::from(near.try_clone().unwrap());
        let mut peer = std::fs::File::from(far);
        let mut sender = always(backend).build(near).unwrap();
        for round in 0..20u8 {
            peer.write_all(&[round; 100]).unwrap();
            sender.send(stream(SEED, 0, 10_000)).unwrap();
            assert_eq!(next_result(&mut sender), Ok(Outcome::Plain), "{backend}");
            let mut heard = vec![0; 10_000];
            peer.read_exact(&mut heard).unwrap();
            assert_eq!(first_wrong(SEED, 0, &heard), None);
        }
        for round in 0..20u8 {
            let mut answer = [0; 100];
            answers.read_exact(&mut answer).unwrap();
            assert_eq!(answer, [round; 100], "{backend} took the peer's bytes");
        }
    }
}

/// Mistake: thinking that a fresh socket has no `SO_ZEROCOPY`: accept inherits it. It does no
/// harm, also not to a user's own ordinary sends on the same socket.
#[test]
fn an_inherited_flag_does_no_harm() {
    for backend in BACKENDS {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        raw::enable_zerocopy(&listener).unwrap();
        let (connected, accepted) = tcp_pair_through(&listener);
        assert!(raw::has_zerocopy(&accepted), "accept inherits the flag");
        assert!(!raw::has_zerocopy(&connected));
        let drain = Drain::collect(connected);
        let mut beside = std::fs::File::from(accepted.try_clone().unwrap());
        let mut sender = always(backend).build(accepted).unwrap();
        let mut expected = Vec::new();
        for _ in 0..10 {
            sender.send(stream(SEED, 0, 50_000)).unwrap();
            next_result(&mut sender).unwrap();
            beside.write_all(b"by the way").unwrap();
            expected.extend_from_slice(stream(SEED, 0, 50_000));
            expected.extend_from_slice(b"by the way");
        }
        let closed = sender.close(deadline(10));
        assert!(!closed.aborted && closed.stats.stray_answers == 0, "{closed:?}");
        drop(beside);
        assert!(drain.join() == expected, "{backend}");
    }
}

/// Mistake: assuming that a failed request has one completion. Truth: EPIPE came with F_MORE and
/// a later notification. Each message comes back once, with the error.
#[test]
fn a_broken_pipe_gives_each_buffer_back_once() {
    for backend in BACKENDS {
        for connect in [tcp_pair, unix_pair] {
            let (near, _far) = connect();
            let pool = Pool::builder().frames(8).build().unwrap();
            let mut sender = always(backend).pool(&pool).build(near).unwrap();
            shutdown(sender.as_fd(), Shutdown::Write).unwrap();
            let mut accepted = 0;
            while let Some(mut lease) = pool.try_lease() {
                lease.set_len(60_000);
                // The first failure is known by the second send, or by a later one.
                match sender.queue(lease) {
                    Ok(_) => accepted += 1,
                    Err(refused) => {
                        assert_eq!(refused.error.errno().map(|e| e.raw()), Some(libc::EPIPE));
                        assert_eq!(refused.message.len(), 60_000);
                        break;
                    }
                }
            }
            for _ in 0..accepted {
                let error = next_result(&mut sender).unwrap_err();
                assert_eq!(error.errno().map(|errno| errno.raw()), Some(libc::EPIPE), "{backend}");
            }
            assert!(sender.poll().is_none() && sender.in_flight() == 0);
            let stats = sender.stats();
            assert_eq!((stats.stray_answers, stats.pinned_bytes), (0, 0), "{stats}");
            assert_eq!(pool.stats().leased, 0, "{backend}");
        }
    }
}

/// Mistake: assuming that every call counts, or that a zero-length one has no notification. Empty
/// datagrams and ones that are too long, between ordinary ones: each comes back once.
#[test]
fn empty_and_failed_datagrams_do_not_upset_the_count() {
    for backend in BACKENDS {
        let (near, far) = udp_pair(false, true);
        let mut sender = always(backend).build(near).unwrap();
        let mut room = vec![0; 65_536];
        for round in 0..50 {
            sender.send(Message::new()).unwrap();
            next_result(&mut sender).unwrap();
            assert_eq!(far.recv(&mut room).unwrap(), 0, "{backend}");

            sender.send(Message::from(&b""[..]).and(Vec::new())).unwrap();
            next_result(&mut sender).unwrap();
            assert_eq!(far.recv(&mut room).unwrap(), 0, "{backend}");

            // More than a datagram can carry.
            sender.send(stream(SEED, 0, 70_000)).unwrap();
            let error = next_result(&mut sender).unwrap_err();
            assert_eq!(error.errno().map(|errno| errno.raw()), Some(libc::EMSGSIZE), "{backend}");

            sender.send(stream(SEED, round, 2000)).unwrap();
            next_result(&mut sender).unwrap();
            let len = far.recv(&mut room).unwrap();
            assert_eq!((len, first_wrong(SEED, round, &room[..len])), (2000, None));
        }
        let stats = sender.stats();
        assert_eq!((stats.stray_answers, stats.pinned_bytes, sender.in_flight()), (0, 0, 0));
        assert_eq!(sender.flush(deadline(5)).unwrap().failed_messages, 50);
    }
}

/// Mistake: taking an ICMP error for the end of a datagram socket, or for a notification. Nobody
/// listens: some sends fail with ECONNREFUSED, each comes back once, and the socket goes on.
#[test]
fn a_refused_datagram_is_not_the_end() {
    for backend in BACKENDS {
        let (near, far) = udp_pair(false, true);
        let port = far.local_addr().unwrap().port();
        drop(far);
        let mut sender = always(backend).build(near).unwrap();
        let mut refused = 0;
        for _ in 0..100 {
            sender.send(stream(SEED, 0, 1000)).unwrap();
            if let Err(error) = next_result(&mut sender) {
                assert_eq!(error.errno().map(|errno| errno.raw()), Some(libc::ECONNREFUSED));
                refused += 1;
            }
        }
        assert!((1..=100).contains(&refused), "{backend}: {refused}");
        assert!(sender.fault().is_none() && sender.stats().stray_answers == 0, "{backend}");
        let Ok(far) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) else {
            return skip("a_refused_datagram_is_not_the_end", "the port was taken meanwhile");
        };
        far.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        for _ in 0..2 {
            // The first may still be told of the last refusal.
            sender.send(stream(SEED, 0, 1000)).unwrap();
            let _ = next_result(&mut sender);
        }
        let mut room = [0; 2000];
        assert_eq!(far.recv(&mut room).unwrap(), 1000, "{backend}");
    }
}

/// Mistake: disabling zero-copy for good after a COPIED report. A packet listener makes the path
/// copy for a while; once it is gone, the samples find that out.
#[cfg(feature = "sandbox")]
#[test]
fn a_path_that_copied_for_a_while_is_trusted_again() {
    use crate::support::{if_kernel_has, in_sandbox};

    let name = "a_path_that_copied_for_a_while_is_trusted_again";
    in_sandbox(name, |sandbox| {
        let Some(sink) = if_kernel_has(name, sandbox.add_sink(65_535)) else { return };
        for backend in ZERO_COPY {
            let near = UdpSocket::bind((sink.local_v4, 0)).unwrap();
            near.connect((sink.peer_v4, 4433)).unwrap();
            let mut sender = Sender::builder().backend(backend).build(near).unwrap();
            if sender.backend().no_zero_copy.is_some() {
                continue;
            }
            let mut send = |count: usize| -> Vec<Outcome> {
                let one = |_| {
                    sender.send(stream(SEED, 0, 60_000)).unwrap();
                    next_result(&mut sender).unwrap()
                };
                (0..count).map(one).collect()
            };
            assert_eq!(send(4), [Outcome::ZeroCopy; 4], "{backend}");
            let listener = sandbox.packet_listener().unwrap();
            let heard = send(100);
            assert!(heard.contains(&Outcome::Copied) && heard.ends_with(&[Outcome::Plain]));
            drop(listener);
            let after = send(300);
            assert!(after.ends_with(&[Outcome::ZeroCopy; 20]), "{backend}: {after:?}");
        }
    });
}
