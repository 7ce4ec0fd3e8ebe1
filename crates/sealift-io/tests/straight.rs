//! Leases that go past the queue: back at once where the kernel copies them, and otherwise queued,
//! each byte once and in order.

mod support;

use std::fs::File;
use std::io::Read;

use sealift_io::{Backend, Error, Event, Lease, Policy, Pool, Sender};
use support::pattern::stream;
use support::{Drain, deadline, tcp_pair, udp_pair, unix_pair};

const BACKENDS: [Backend; 3] = [Backend::Uring, Backend::MsgZerocopy, Backend::Copy];

fn pool() -> Pool {
    Pool::builder().frames(16).frame_bytes(64 * 1024).build().unwrap()
}

fn filled(pool: &Pool, bytes: &[u8]) -> Lease {
    let mut lease = pool.lease_before(deadline(5)).unwrap();
    assert_eq!(lease.fill(bytes), bytes.len());
    lease
}

#[test]
fn what_the_kernel_copies_is_back_at_once_by_one_call_and_counted() {
    for backend in BACKENDS {
        for (name, (near, far)) in [("tcp", tcp_pair()), ("unix", unix_pair())] {
            let (pool, mut far) = (pool(), File::from(far));
            let mut sender = Sender::builder().backend(backend).pool(&pool).build(near).unwrap();
            for round in 0..20 {
                let sent = stream(round, 0, 100 * (round as usize + 1));
                let lease = sender.send_straight(filled(&pool, sent)).unwrap();
                let lease = lease.unwrap_or_else(|| panic!("{backend} {name}: it was queued"));
                assert_eq!((&lease[..], sender.in_flight()), (sent, 0));
                assert!(sender.poll().is_none(), "{backend} {name}: it came back twice");
                let mut came = vec![0; sent.len()];
                far.read_exact(&mut came).unwrap();
                assert_eq!(came, sent, "{backend} {name}");
            }
            let (bytes, stats) = (21_000, sender.stats());
            assert_eq!((stats.messages, stats.requests, stats.system_calls), (20, 20, 20));
            assert_eq!((stats.bytes.plain, stats.bytes.total()), (bytes, bytes));
            let tally = sender.flush(deadline(5)).unwrap();
            assert_eq!((tally.plain_messages, tally.messages()), (20, 20), "{backend} {name}");
            assert_eq!(tally.bytes.plain, bytes);
            assert!(!sender.close(deadline(5)).aborted);
            assert_eq!(pool.stats().leased, 0);
        }
    }
}

/// The peer reads nothing until all was handed over: some go straight, one goes in part, and the
/// others queue up behind it.
#[test]
fn what_finds_no_room_queues_up_in_order() {
    const LEASES: usize = 60;
    const BYTES: usize = 60_000;
    for backend in BACKENDS {
        for (name, (near, far)) in [("tcp", tcp_pair()), ("unix", unix_pair())] {
            let pool = Pool::builder().frames(LEASES).frame_bytes(BYTES).build().unwrap();
            let sender = Sender::builder().backend(backend).policy(Policy::AlwaysCopy);
            let mut sender = sender.build(near).unwrap();
            rustix::net::sockopt::set_socket_send_buffer_size(&sender, 100_000).unwrap();
            let mut queued = 0;
            for at in 0..LEASES {
                let sent = stream(1, (at * BYTES) as u64, BYTES);
                match sender.send_straight(filled(&pool, sent)).unwrap() {
                    Some(_) => assert_eq!(queued, 0, "{backend} {name}: it overtook"),
                    None => queued += 1,
                }
            }
            assert!(queued > 1 && queued < LEASES, "{backend} {name}: {queued} queued");
            let drain = Drain::collect(far);
            while let Some(event) = sender.wait(deadline(10)).unwrap() {
                let Event::Completed(done) = event else { panic!("{event:?}") };
                assert!(done.result.is_ok());
                queued -= 1;
            }
            assert_eq!(queued, 0, "{backend} {name}");
            let closed = sender.close(deadline(10));
            assert!(!closed.aborted, "{backend} {name}: {closed:?}");
            let (all, counts) = ((LEASES * BYTES) as u64, closed.stats.bytes);
            assert_eq!((closed.stats.messages, counts.plain), (LEASES as u64, all));
            assert_eq!(closed.tally.bytes.plain, all);
            let came = drain.join();
            assert_eq!(came.len() as u64, all, "{backend} {name}");
            for (at, came) in came.chunks(BYTES).enumerate() {
                assert_eq!(came, stream(1, (at * BYTES) as u64, BYTES), "{backend} {name}: {at}");
            }
        }
    }
}

#[test]
fn what_is_to_be_zero_copy_or_is_a_datagram_is_queued() {
    let pool = pool();
    for backend in [Backend::Uring, Backend::MsgZerocopy] {
        let (near, far) = tcp_pair();
        let drain = Drain::collect(far);
        let sender = Sender::builder().backend(backend).policy(Policy::AlwaysZeroCopy);
        let mut sender = sender.build(near).unwrap();
        assert!(sender.send_straight(filled(&pool, b"by reference")).unwrap().is_none());
        let Some(Event::Completed(done)) = sender.wait(deadline(5)).unwrap() else { panic!() };
        assert_eq!(done.bytes.plain, 0, "{backend}");
        assert!(!sender.close(deadline(5)).aborted);
        assert_eq!(drain.join(), b"by reference");
    }
    let (near, _far) = udp_pair(false, true);
    let mut sender = Sender::builder().backend(Backend::Copy).build(near).unwrap();
    assert!(sender.send_straight(filled(&pool, b"a datagram")).unwrap().is_none());
    assert!(matches!(sender.wait(deadline(5)), Ok(Some(Event::Completed(_)))));
}

#[test]
fn a_connection_that_broke_is_found_out_and_stays_broken() {
    let pool = pool();
    for backend in BACKENDS {
        let (near, far) = tcp_pair();
        let mut sender = Sender::builder().backend(backend).build(near).unwrap();
        rustix::net::sockopt::set_socket_linger(&far, Some(std::time::Duration::ZERO)).unwrap();
        drop(far);
        assert!(sender.send_straight(filled(&pool, b"gone")).unwrap().is_none(), "{backend}");
        let error = sender.hand_over(deadline(5)).unwrap_err();
        assert!(matches!(error, Error::Peer { .. }), "{backend}: {error:?}");
        let Some(Event::Completed(done)) = sender.poll() else { panic!("{backend}") };
        assert_eq!(done.result, Err(error.clone()), "{backend}");
        let refused = sender.send_straight(filled(&pool, b"again")).unwrap_err();
        assert_eq!(refused.error, error, "{backend}");
    }
}
