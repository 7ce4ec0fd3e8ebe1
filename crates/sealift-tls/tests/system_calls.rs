//! How often the kernel is entered for what is written and read, counted by the streams themselves.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use sealift_io::Backend;
use sealift_tls::TlsStream;
use support::ends::ours_and_theirs_over;
use support::skip::skip;
use support::{Theirs, case_tls13, deadline, tcp_pair};

/// Ours, which sends by system call, and rustls's server.
fn ours_and_theirs_and_socket() -> (TlsStream, Theirs, TcpStream) {
    let (near, far) = tcp_pair();
    let socket = near.try_clone().unwrap();
    // What is to lie in the socket until it is read.
    rustix::net::sockopt::set_socket_recv_buffer_size(&near, 1 << 20).unwrap();
    let builder = TlsStream::builder().backend(Backend::Copy);
    let (mut ours, mut theirs) = ours_and_theirs_over((near, far), builder, &case_tls13());
    // What does not go on fails.
    ours.set_write_deadline(Some(deadline(60)));
    // The tickets are behind this.
    theirs.write_all(b"!").unwrap();
    ours.read_exact(&mut [0; 1]).unwrap();
    (ours, theirs, socket)
}

/// The bytes that a TCP socket has room for, whoever reads them or not, once it has grown. The
/// kernel's limit is for what holds the bytes, too, which may be as much again.
fn most_bytes_to_send() -> usize {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").unwrap();
    text.split_whitespace().last().unwrap().parse::<usize>().unwrap() / 2
}

/// Has the other end write so many records of a size, and waits until all of them are here.
fn arrive(theirs: &mut Theirs, socket: &TcpStream, records: usize, size: usize) {
    let record_bytes = (size + 22) as u64;
    for _ in 0..records {
        theirs.write_all(&vec![7; size]).unwrap();
    }
    let late = deadline(20);
    while rustix::io::ioctl_fionread(socket).unwrap() < record_bytes * records as u64 {
        assert!(Instant::now() < late, "the socket has no room for {records} times {size} bytes");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A look at the socket takes 128 KiB at most, and there is none as long as something is at hand.
#[test]
fn what_is_there_is_received_in_few_calls() {
    let (mut ours, mut theirs, socket) = ours_and_theirs_and_socket();
    for (records, size, calls) in [(200, 100, 1), (6, 16_384, 1), (1, 5, 1), (9, 16_384, 2)] {
        // With room for a record, and for less.
        for room in [20_000, 1000, 10] {
            arrive(&mut theirs, &socket, records, size);
            let before = ours.stats().receives;
            let mut left = records * size;
            while left > 0 {
                let most = room.min(left);
                left -= ours.read(&mut vec![0; most]).unwrap();
            }
            let receives = ours.stats().receives - before;
            assert_eq!(receives, calls, "{records} records of {size} bytes, read by {room}");
        }
    }
}

/// What is written leaves in calls of 512 KiB, and what is less in one.
#[test]
fn what_is_written_leaves_in_few_calls() {
    let (mut ours, mut theirs, _) = ours_and_theirs_and_socket();
    for (size, calls) in
        [(1, 1), (16_384, 1), (65_536, 1), (200_000, 1), (500_000, 1), (1_000_000, 2)]
    {
        if size > most_bytes_to_send() {
            let what = format!("what_is_written_leaves_in_few_calls: {size} bytes");
            skip(&what, "tcp_wmem does not allow a socket to have so many");
            continue;
        }
        let sent = vec![1; size];
        // The first may find less room than it has later.
        let fewest = (0..20).map(|_| {
            let before = ours.stats().sender.system_calls;
            ours.write_all(&sent).unwrap();
            let called = ours.stats().sender.system_calls - before;
            theirs.read_exact(&mut vec![0; size]).unwrap();
            while ours.unacknowledged_bytes() != Some(0) {
                thread::sleep(Duration::from_millis(1));
            }
            called
        });
        assert_eq!(fewest.min(), Some(calls), "{size} bytes");
    }
}

/// A wake-up asks the kernel once: less came than there was room for, so there is no more.
#[cfg(feature = "tokio")]
#[tokio::test]
async fn a_task_that_is_woken_receives_once() {
    use sealift_tls::AsyncTlsStream;
    use tokio::io::AsyncReadExt;

    let (ours, mut theirs, socket) = ours_and_theirs_and_socket();
    let mut ours = AsyncTlsStream::new(ours).unwrap();
    for (records, size) in [(1, 1), (1, 16_384), (5, 16_384), (200, 100)] {
        for round in 0..20 {
            let before = ours.stream().stats().receives;
            let total = records * size;
            let reading = async {
                let mut into = vec![0; total];
                ours.read_exact(&mut into).await.unwrap();
                // Nothing more is there, which is known.
                let silence = Duration::from_millis(1);
                assert!(tokio::time::timeout(silence, ours.read(&mut [0; 1])).await.is_err());
            };
            let arriving = async { arrive(&mut theirs, &socket, records, size) };
            // The reader waits before anything comes.
            tokio::join!(reading, arriving);
            let receives = ours.stream().stats().receives - before;
            // The very first may look before it waits.
            let most = if round == 0 { 2 } else { 1 };
            assert!(receives <= most, "{records} records of {size} bytes: {receives} calls");
        }
    }
}
