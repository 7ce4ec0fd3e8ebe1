//! The sender under a tokio runtime: events awaited, futures dropped, peers that stall.
#![cfg(feature = "tokio")]

mod support;

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use sealift_io::{AsyncSender, Backend, Event, Pool, Ring, Sender};
use support::{Drain, deadline, tcp_pair, unix_pair};
use tokio::time::timeout;

const BACKENDS: [Backend; 3] = [Backend::Uring, Backend::MsgZerocopy, Backend::Copy];

fn nonblocking((near, far): (OwnedFd, OwnedFd)) -> (OwnedFd, OwnedFd) {
    // As tokio's own sockets are.
    let near = TcpStream::from(near);
    near.set_nonblocking(true).unwrap();
    (near.into(), far)
}

#[tokio::test]
async fn events_are_awaited_on_sockets_that_do_not_block() {
    for backend in BACKENDS {
        for (near, far) in [nonblocking(tcp_pair()), nonblocking(unix_pair()), tcp_pair()] {
            let drain = Drain::collect(far);
            let pool = Pool::builder().frames(8).frame_bytes(512 * 1024).build().unwrap();
            let sender = Sender::builder().backend(backend).pool(&pool).build(near).unwrap();
            let mut sender = AsyncSender::new(sender).unwrap();
            let mut sent = 0;
            for round in 0..100 {
                let lease = loop {
                    if let Some(lease) = pool.try_lease() {
                        break lease;
                    }
                    let event = timeout(Duration::from_secs(10), sender.event()).await;
                    assert!(event.expect("no event").unwrap().is_some(), "{backend}");
                };
                let mut lease = lease;
                lease.set_len(lease.capacity());
                lease.fill(&[round]);
                sent += lease.len();
                sender.send(lease).unwrap();
            }
            let tally = timeout(Duration::from_secs(10), sender.flush()).await;
            assert_eq!(
                tally
                    .unwrap_or_else(|_| panic!(
                        "flush hangs: {backend} {:?}",
                        sender.sender().stats()
                    ))
                    .unwrap()
                    .messages(),
                100
            );
            assert!(!sender.close(deadline(10)).await.aborted);
            assert_eq!(drain.join().len(), sent, "{backend}");
        }
    }
}

#[tokio::test]
async fn a_dropped_future_loses_nothing() {
    for backend in BACKENDS {
        let (near, far) = nonblocking(tcp_pair());
        let pool = Pool::builder().frames(64).frame_bytes(512 * 1024).build().unwrap();
        let sender = Sender::builder().backend(backend).pool(&pool).build(near).unwrap();
        let mut sender = AsyncSender::new(sender).unwrap();
        let mut sent = 0;
        while let Some(mut lease) = pool.try_lease() {
            lease.set_len(lease.capacity());
            sent += lease.len();
            sender.send(lease).unwrap();
        }
        // Nobody reads: the flush is dropped half way, several times.
        for _ in 0..3 {
            assert!(timeout(Duration::from_millis(20), sender.flush()).await.is_err(), "{backend}");
        }
        let drain = Drain::collect(far);
        let tally = timeout(Duration::from_secs(10), sender.flush()).await.expect("flush hangs");
        assert_eq!(tally.unwrap().messages(), 64);
        while let Some(Event::Completed(done)) = sender.event().await.unwrap() {
            assert!(done.result.is_ok());
        }
        assert_eq!(pool.stats().leased, 0, "{backend}");
        assert!(!sender.close(deadline(5)).await.aborted);
        assert_eq!(drain.join().len(), sent);
    }
}

#[tokio::test]
async fn close_ends_at_its_deadline() {
    for backend in BACKENDS {
        let (near, far) = nonblocking(tcp_pair());
        let sender = Sender::builder().backend(backend).build(near).unwrap();
        let mut sender = AsyncSender::new(sender).unwrap();
        for _ in 0..32 {
            sender.send(vec![1; 1 << 20]).unwrap();
        }
        let begun = Instant::now();
        let closed = sender.close(begun + Duration::from_millis(100)).await;
        assert!(closed.aborted && begun.elapsed() < Duration::from_secs(2), "{backend}");
        assert_eq!(closed.quarantined, 0, "{backend}");
        drop(far);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_share_a_ring_over_threads() {
    let pool = Pool::builder().frames(64).frame_bytes(64 * 1024).build().unwrap();
    let ring = Ring::builder().pool(&pool).senders(40).build().unwrap();
    let tasks: Vec<_> = (0..40u8)
        .map(|number| {
            let (near, far) = nonblocking(tcp_pair());
            let drain = Drain::collect(far);
            let ring = ring.clone();
            tokio::spawn(async move {
                let sender =
                    Sender::builder().backend(Backend::Uring).ring(&ring).build(near).unwrap();
                let mut sender = AsyncSender::new(sender).unwrap();
                for _ in 0..20 {
                    sender.send(vec![number; 100_000]).unwrap();
                    let event = timeout(Duration::from_secs(20), sender.event()).await;
                    assert!(event.expect("no event").unwrap().is_some());
                }
                assert!(!sender.close(deadline(10)).await.aborted);
                tokio::task::spawn_blocking(move || drain.join()).await.unwrap()
            })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        let bytes = task.await.unwrap();
        assert_eq!(bytes.len(), 2_000_000);
        assert!(bytes.iter().all(|&byte| usize::from(byte) == number));
    }
}
