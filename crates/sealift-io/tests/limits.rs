//! Limits of the machine: locked memory, notification memory, bytes in flight. Reaching one never
//! fails a send; it copies, waits, or goes unregistered, and the figures say which.
//!
//! Truth: every byte arrives (checked against `support/pattern.rs`), and no message fails.

mod support;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sealift_io::{Backend, Event, Policy, Pool, Ring, Sender, SenderBuilder, Stats};
use support::pattern::{first_wrong, stream};
use support::process::{in_own_process, limit_locked_memory};
use support::{deadline, raw, skip, tcp_pair};

const SEED: u64 = 0x11_315;
const KIB: usize = 1024;

/// Reads to the end and checks; the bytes that came.
fn check_all(far: OwnedFd) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let (mut file, mut room, mut heard) = (File::from(far), vec![0; 256 * KIB], 0);
        loop {
            let count = file.read(&mut room).unwrap();
            if count == 0 {
                return heard;
            }
            assert_eq!(first_wrong(SEED, heard, &room[..count]), None);
            heard += count as u64;
        }
    })
}

/// Sends so many messages of so many bytes to a peer that reads; the final figures.
fn send_all(builder: SenderBuilder, messages: usize, len: usize) -> Stats {
    let (near, far) = tcp_pair();
    let peer = check_all(far);
    let mut sender = builder.build(near).unwrap();
    for number in 0..messages {
        sender.send(stream(SEED, (number * len) as u64, len)).unwrap();
        while sender.in_flight() > 16 {
            assert!(sender.wait(deadline(20)).unwrap().is_some());
        }
        while sender.poll().is_some() {}
    }
    finish(sender, peer, messages, len)
}

fn finish(mut sender: Sender, peer: JoinHandle<u64>, messages: usize, len: usize) -> Stats {
    let tally = sender.flush(deadline(20)).unwrap();
    assert_eq!((tally.failed_messages, tally.messages()), (0, messages as u64));
    let closed = sender.close(deadline(20));
    assert!(!closed.aborted && closed.quarantined == 0 && closed.error.is_none(), "{closed:?}");
    assert_eq!(peer.join().unwrap(), (messages * len) as u64);
    assert_eq!(closed.stats.stray_answers, 0);
    closed.stats
}

fn always(backend: Backend) -> SenderBuilder {
    Sender::builder().backend(backend).policy(Policy::AlwaysZeroCopy)
}

fn has_uring() -> bool {
    Ring::builder().requests(1).build().is_ok()
}

/// Registering more than `RLIMIT_MEMLOCK` allows is refused with ENOMEM: the ring works without,
/// and says why.
#[test]
fn a_refused_registration_is_no_error() {
    let name = "a_refused_registration_is_no_error";
    if !has_uring() {
        return skip(name, "no io_uring");
    }
    in_own_process(name, || {
        limit_locked_memory(1 << 20);
        let pool = Pool::builder().frames(64).frame_bytes(256 * KIB).huge_pages(false);
        let pool = pool.build().unwrap();
        let ring = Ring::builder().pool(&pool).requests(64).build().unwrap();
        let why = ring.why_unregistered().expect("16 MiB are more than 1 MiB").to_owned();
        assert!(why.contains("RLIMIT_MEMLOCK"), "{why}");

        let (near, far) = tcp_pair();
        let peer = check_all(far);
        let mut sender = always(Backend::Uring).ring(&ring).build(near).unwrap();
        let (messages, len) = (100, 256 * KIB);
        for number in 0..messages {
            let mut lease = loop {
                match pool.try_lease() {
                    Some(lease) => break lease,
                    None => drop(sender.wait(deadline(20)).unwrap()),
                }
            };
            lease.fill(stream(SEED, (number * len) as u64, len));
            sender.send(lease).unwrap();
            while sender.poll().is_some() {}
        }
        let stats = finish(sender, peer, messages, len);
        assert_eq!(stats.unregistered.as_deref(), Some(&*why), "{stats}");
        assert!(stats.to_string().contains("RLIMIT_MEMLOCK"), "{stats}");

        // A ring of the sender's own says the same.
        let stats = send_all(always(Backend::Uring).pool(&pool), 20, 100 * KIB);
        assert!(stats.unregistered.is_some(), "{stats}");
    });
}

/// As many peers that do not read as a ring has requests, and one that does: it waits for none of
/// them.
#[test]
fn peers_that_do_not_read_hold_up_no_other_on_their_ring() {
    let ring = match Ring::builder().senders(8).requests(2).build() {
        Ok(ring) => ring,
        Err(error) => {
            return skip(
                "peers_that_do_not_read_hold_up_no_other_on_their_ring",
                &error.to_string(),
            );
        }
    };
    let builder = Sender::builder().backend(Backend::Uring).policy(Policy::AlwaysCopy).ring(&ring);
    let stalled: Vec<_> = (0..4)
        .map(|_| {
            let (near, far) = tcp_pair();
            let mut sender = builder.clone().build(near).unwrap();
            // More than both sockets hold.
            let _ = sender.send(vec![1; 64 << 20]).unwrap();
            assert!(sender.hand_over(Instant::now()).is_err(), "it was to be held up");
            (sender, far)
        })
        .collect();
    let stats = send_all(builder, 50, 100 * KIB);
    assert_eq!(stats.bytes.plain, 50 * 100 * KIB as u64, "{stats}");
    for (sender, _far) in stalled {
        assert!(sender.close(Instant::now()).aborted);
    }
}

/// A ring that was given no pool sends all the same, and says so.
#[test]
fn a_ring_without_memory_is_no_error() {
    let name = "a_ring_without_memory_is_no_error";
    let ring = match Ring::builder().build() {
        Ok(ring) => ring,
        Err(error) => return skip(name, &error.to_string()),
    };
    assert!(ring.why_unregistered().is_some_and(|why| why.contains("no pool")));
    let stats = send_all(always(Backend::Uring).ring(&ring), 50, 100 * KIB);
    assert!(stats.unregistered.is_some_and(|why| why.contains("no pool")));
}

/// Pages in flight count against `RLIMIT_MEMLOCK`: ENOMEM from io_uring, ENOBUFS from `sendmsg`.
/// What does not fit is copied, and zero-copy is tried again later.
#[test]
fn pages_in_flight_beyond_the_limit_are_copied() {
    let name = "pages_in_flight_beyond_the_limit_are_copied";
    in_own_process(name, || {
        limit_locked_memory(128 << 10);
        for backend in [Backend::MsgZerocopy, Backend::Uring] {
            let (near, _far) = tcp_pair();
            // With too little even for the ring, nothing of io_uring is left to force.
            match always(backend).messages(32).build(near) {
                Ok(_) => {}
                Err(error) => {
                    skip(name, &format!("{backend}, under a limit of 128 KiB: {error}"));
                    continue;
                }
            }
            let stats = send_all(always(backend).messages(32), 40, 1 << 20);
            assert!(stats.pressure > 0, "{stats}");
            assert!(stats.bytes.plain > 0, "{stats}");
            assert!(stats.system_calls < 20 * stats.requests, "it spins: {stats}");
        }
        let stats = send_all(Sender::builder().policy(Policy::AlwaysZeroCopy), 40, 1 << 20);
        assert_eq!(stats.bytes.total(), 40 << 20);
    });
}

/// With nothing to be locked at all, the automatic choice still sends, and says what it chose.
#[test]
fn nothing_locked_is_no_error() {
    let name = "nothing_locked_is_no_error";
    in_own_process(name, || {
        limit_locked_memory(0);
        let pool = Pool::builder().frames(4).build().unwrap();
        let stats = send_all(Sender::builder().pool(&pool), 40, 100 * KIB);
        println!("{stats}");
        assert!(!stats.backend.reason.is_empty());
        for backend in [Backend::MsgZerocopy, Backend::Copy] {
            assert_eq!(send_all(always(backend), 40, 100 * KIB).bytes.total(), 4_096_000);
        }
    });
}

/// Zero-copy calls take notification memory (`net.core.optmem_max`) until they are acknowledged:
/// 832 bytes for each half MiB at most. Behind a stalled peer that runs out: ENOBUFS. Answer:
/// drain, retry, then copy; never spin.
#[test]
fn exhausted_notification_memory_is_answered_by_copying() {
    let name = "exhausted_notification_memory_is_answered_by_copying";
    let (near, far) = tcp_pair();
    // Or the queue would be full before the memory is.
    if !raw::enlarge_send_queue(&near, 128 << 20) {
        return skip(name, "a send queue of 128 MiB needs CAP_NET_ADMIN");
    }
    let builder = always(Backend::MsgZerocopy).messages(2000).batch(1);
    let mut sender = builder.pinned_max_bytes(1 << 30).build(near).unwrap();
    let mut offset = 0;
    let mut next = |len| {
        offset += len as u64;
        stream(SEED, offset - len as u64, len)
    };
    while sender.stats().pressure == 0 && sender.stats().requests < 400 {
        // Two of them are too much to share a notification.
        sender.send(next(300 * KIB)).unwrap();
    }
    let messages = 1000;
    for _ in 0..messages {
        sender.send(next(100)).unwrap();
    }
    let stats = sender.stats();
    assert!(stats.pressure > 0, "the kernel has not run out: {stats}");
    assert!(stats.system_calls < 6 * messages, "it spins: {stats}");

    // Waiting is sleeping.
    while sender.poll().is_some() {}
    let before = sender.stats().system_calls;
    let late = sender.flush(Instant::now() + Duration::from_millis(300));
    assert!(late.is_err(), "nobody reads: {late:?}");
    let calls = sender.stats().system_calls - before;
    assert!(calls < 100, "{calls} calls while there was nothing to do: {stats}");

    let peer = check_all(far);
    assert_eq!(sender.flush(deadline(20)).unwrap().failed_messages, 0);
    let stats = sender.close(deadline(20)).stats;
    assert_eq!(peer.join().unwrap(), offset);
    assert!(stats.bytes.plain > 0 && stats.bytes.copied + stats.bytes.zero_copied > 0, "{stats}");
}

/// The cap on bytes in flight holds, is waited for, and is counted.
#[test]
fn the_cap_on_pinned_bytes_holds() {
    for backend in [Backend::Uring, Backend::MsgZerocopy] {
        let (near, far) = tcp_pair();
        let (messages, len, cap) = (60, 100 * KIB, 256 * KIB);
        let mut sender = always(backend).pinned_max_bytes(cap).build(near).unwrap();
        let ruled_out = sender.backend().no_zero_copy.is_some();
        for number in 0..messages {
            sender.send(stream(SEED, (number * len) as u64, len)).unwrap();
        }
        let before = sender.stats().system_calls;
        let late = sender.flush(Instant::now() + Duration::from_millis(200));
        if !ruled_out {
            assert!(late.is_err(), "{backend}: nobody reads, but {late:?}");
        }
        let calls = sender.stats().system_calls - before;
        assert!(calls < 100, "{backend}: {calls} calls while there was nothing to do");
        let stats = finish(sender, check_all(far), messages, len);
        assert!(stats.pinned_bytes_high <= cap as u64, "{stats}");
        assert!(ruled_out || stats.waits_for_release > 0, "{stats}");
        assert_eq!(stats.pinned_bytes, 0, "{stats}");
    }
}

/// One datagram may be larger than the cap, alone.
#[test]
fn a_datagram_beyond_the_cap_goes_alone() {
    for backend in [Backend::Uring, Backend::MsgZerocopy] {
        let (near, _far) = support::udp_pair(false, true);
        let mut sender = always(backend).pinned_max_bytes(1000).build(near).unwrap();
        for _ in 0..20 {
            sender.send(stream(SEED, 0, 50_000)).unwrap();
        }
        let tally = sender.flush(deadline(10)).unwrap();
        assert_eq!((tally.failed_messages, tally.messages()), (0, 20));
        assert!(sender.stats().pinned_bytes_high <= 50_000, "{}", sender.stats());
    }
}

/// The caller's own limit: the queue is full, the message comes back whole, and room is made by
/// taking completions.
#[test]
fn a_full_queue_gives_the_message_back() {
    for backend in [Backend::Uring, Backend::MsgZerocopy, Backend::Copy] {
        let (near, far) = tcp_pair();
        let (messages, len) = (30, 1000);
        let mut sender = always(backend).messages(4).build(near).unwrap();
        let mut refusals = 0;
        let peer = check_all(far);
        for number in 0..messages {
            let mut message = stream(SEED, (number * len) as u64, len).into();
            while let Err(refused) = sender.send(std::mem::take(&mut message)) {
                assert_eq!(refused.error, sealift_io::Error::Full);
                assert_eq!(refused.message.len(), len);
                message = *refused.message;
                refusals += 1;
                let event = sender.wait(deadline(10)).unwrap();
                assert!(matches!(event, Some(Event::Completed(_))));
            }
        }
        assert!(refusals > 0, "{backend}");
        finish(sender, peer, messages, len);
    }
}

/// The bytes that a connection takes on from this pool while its peer reads nothing.
fn taken_on(pool: &Pool) -> usize {
    let (near, far) = tcp_pair();
    let builder = Sender::builder().backend(Backend::Uring).policy(Policy::AlwaysZeroCopy);
    let mut sender = builder.pool(pool).build(near).unwrap();
    while let Some(mut lease) = pool.try_lease() {
        lease.set_len(lease.capacity());
        sender.send(lease).unwrap();
    }
    let soon = Instant::now() + Duration::from_millis(200);
    assert!(sender.flush(soon).is_err(), "all of it was taken on: the pool is too small");
    let taken = sender.unacknowledged_bytes().unwrap();
    drop(far);
    drop(sender.close(Instant::now()));
    taken
}

/// A packet out of registered huge pages is charged for all that lies before its bytes in the huge
/// page (`io_sg_from_iter`), and the socket's buffer is full of such charges long before it is
/// full of bytes.
#[test]
fn huge_pages_do_not_narrow_a_stream() {
    let pool = |huge| Pool::builder().frames(64).frame_bytes(512 * KIB).huge_pages(huge).build();
    let huge = pool(true).unwrap();
    if !huge.stats().pages.is_huge() {
        return skip("huge_pages_do_not_narrow_a_stream", "the kernel has no huge pages to give");
    }
    let (huge, ordinary) = (taken_on(&huge), taken_on(&pool(false).unwrap()));
    assert!(2 * huge > ordinary, "{huge} bytes out of huge pages, {ordinary} out of others");
}
