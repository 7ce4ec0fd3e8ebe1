//! When a buffer is free, and when it only looks so.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use sealift_io::{Backend, Event, Message, Outcome, Policy, Pool, Ring, Sender, quarantine};

use crate::support::pattern::{first_wrong, garbage, stream};
use crate::support::{deadline, tcp_pair_through};
use crate::{BACKENDS, ZERO_COPY, always, quarantine_alone};

const SEED: u64 = 0x315;
const FRAMES: usize = 8;
const FRAME_BYTES: usize = 32 * 1024;

/// A connection whose sender's queue holds all frames of the pool while the peer does not read,
/// and whose peer's window holds a part of them only.
fn stalled() -> (OwnedFd, OwnedFd) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    sockopt::set_socket_recv_buffer_size(&listener, 32 * 1024).unwrap();
    let (near, far) = tcp_pair_through(&listener);
    sockopt::set_socket_send_buffer_size(&near, 200_000).unwrap();
    (near, far)
}

fn pool() -> Pool {
    // Huge pages make the kernel charge more for a registered piece than its size.
    let pool = Pool::builder().frames(FRAMES).frame_bytes(FRAME_BYTES).huge_pages(false);
    pool.build().unwrap()
}

/// Sends every frame of the pool, full of its part of the stream.
fn send_all(sender: &mut Sender, pool: &Pool) {
    let mut offset = 0;
    while let Some(mut lease) = pool.try_lease() {
        offset += lease.fill(stream(SEED, offset, FRAME_BYTES)) as u64;
        sender.send(lease).unwrap();
    }
    // The kernel takes what it can.
    let soon = Instant::now() + Duration::from_millis(30);
    assert!(sender.flush(soon).is_err() || sender.in_flight() == 0);
}

/// Overwrites every frame that is home.
fn overwrite_free(pool: &Pool) {
    let free: Vec<_> = std::iter::from_fn(|| pool.try_lease()).collect();
    for mut lease in free {
        lease.frame_mut().copy_from_slice(garbage(FRAME_BYTES));
    }
}

/// Reads to the end, overwriting what comes home meanwhile; asserts that all of it was right.
fn read_all(far: OwnedFd, pool: &Pool) {
    let mut file = File::from(far);
    let (mut room, mut heard) = (vec![0; 4096], 0);
    loop {
        overwrite_free(pool);
        match file.read(&mut room).unwrap() {
            0 => break,
            count => {
                assert_eq!(first_wrong(SEED, heard, &room[..count]), None, "corrupted");
                heard += count as u64;
            }
        }
    }
    assert_eq!(heard, (FRAMES * FRAME_BYTES) as u64);
}

fn until_home(pool: &Pool) {
    let end = deadline(20);
    while pool.stats().leased > 0 || quarantine().senders > 0 {
        assert!(Instant::now() < end, "{:?} {:?}", pool.stats(), quarantine());
        sleep(Duration::from_millis(1));
    }
}

/// Mistake: treating 'bytes accepted' as 'buffer free'.
#[test]
fn accepted_is_not_free() {
    for backend in BACKENDS {
        let (near, far) = stalled();
        let pool = pool();
        let mut sender = always(backend).pool(&pool).build(near).unwrap();
        send_all(&mut sender, &pool);
        let accepted = sender.unacknowledged_bytes().unwrap();
        assert!(accepted > 64 * 1024, "the queue holds {accepted} bytes only");
        let mut back = 0;
        while let Some(event) = sender.poll() {
            drop(event);
            back += 1;
        }
        match (backend, sender.backend().no_zero_copy.is_some()) {
            (Backend::Copy, _) | (_, true) => assert_eq!(back, FRAMES),
            _ => assert!(back <= FRAMES - accepted / FRAME_BYTES, "{backend}: {back} are back"),
        }
        let reader = std::thread::spawn({
            let pool = pool.clone();
            move || read_all(far, &pool)
        });
        assert!(!sender.close(deadline(20)).aborted);
        reader.join().unwrap();
        until_home(&pool);
    }
}

/// Mistake: freeing on cancel. A thread's end cancels its requests; nothing of them is free, and
/// nothing is failed.
#[test]
fn cancelled_is_not_free() {
    for ring_of_that_thread in [true, false] {
        let (near, far) = stalled();
        let pool = pool();
        let ring = match Ring::builder().pool(&pool).build() {
            Ok(ring) => ring,
            Err(error) => return crate::support::skip("cancelled_is_not_free", &error.to_string()),
        };
        let mut sender = std::thread::spawn({
            let pool = pool.clone();
            move || {
                let builder = always(Backend::Uring);
                let builder =
                    if ring_of_that_thread { builder.pool(&pool) } else { builder.ring(&ring) };
                let mut sender = builder.build(near).unwrap();
                send_all(&mut sender, &pool);
                sender
            }
        })
        .join()
        .unwrap();
        for _ in 0..10 {
            // Whatever comes back now is overwritten; the peer has not read a byte.
            while let Some(Event::Completed(done)) = sender.poll() {
                done.result.as_ref().unwrap();
                drop(done);
            }
            overwrite_free(&pool);
            sleep(Duration::from_millis(1));
        }
        let reader = std::thread::spawn({
            let pool = pool.clone();
            move || read_all(far, &pool)
        });
        let tally = sender.flush(deadline(20)).unwrap();
        assert_eq!(tally.failed_messages, 0);
        assert!(!sender.close(deadline(20)).aborted);
        reader.join().unwrap();
        until_home(&pool);
    }
}

/// Mistake: 'the ring is gone, so its buffers are free'. Ring exit does not release buffers.
#[test]
fn a_closed_ring_frees_nothing() {
    closed_in_mid_flight(Backend::Uring);
}

/// Mistake: closing the socket and waiting for the notification: after close none comes. The
/// quarantine keeps a descriptor, so that it does.
#[test]
fn a_closed_socket_frees_nothing_and_is_still_heard_of() {
    closed_in_mid_flight(Backend::MsgZerocopy);
}

fn closed_in_mid_flight(backend: Backend) {
    let _alone = quarantine_alone();
    let (near, far) = stalled();
    let pool = pool();
    let mut sender = always(backend).pool(&pool).build(near).unwrap();
    let ruled_out = sender.backend().no_zero_copy.is_some();
    send_all(&mut sender, &pool);
    drop(sender);
    sleep(Duration::from_millis(20));
    let held = quarantine();
    if !ruled_out {
        assert_eq!(held.senders, 1, "{backend}");
        assert!(pool.stats().leased >= held.messages && held.messages > 0, "{held:?}");
        assert!(held.bytes >= 64 * 1024, "{held:?}");
    }
    read_all(far, &pool);
    until_home(&pool);
    assert_eq!(quarantine().bytes, 0);
}

/// Mistake: reusing a header's buffer while the body is in flight. They come back together.
#[test]
fn a_header_comes_back_with_its_body() {
    for backend in ZERO_COPY {
        let (near, far) = stalled();
        let pool = pool();
        let mut sender = always(backend).pool(&pool).build(near).unwrap();
        let ruled_out = sender.backend().no_zero_copy.is_some();
        let mut offset = 0;
        let mut next = |len: usize| {
            offset += len as u64;
            stream(SEED, offset - len as u64, len)
        };
        while let Some(mut lease) = pool.try_lease() {
            let header = next(100).to_vec();
            lease.fill(next(FRAME_BYTES - 100));
            sender.send(Message::from(header).and(lease)).unwrap();
        }
        let _ = sender.flush(Instant::now() + Duration::from_millis(30));
        let mut back = 0;
        let mut take = |event: Event| {
            let Event::Completed(done) = event else { panic!("no group was opened") };
            let kinds: Vec<usize> =
                done.message.into_buffers().iter().map(sealift_io::Buffer::len).collect();
            assert_eq!(kinds, [100, FRAME_BYTES - 100]);
            back += 1;
            back
        };
        while let Some(event) = sender.poll() {
            assert!(take(event) < FRAMES || ruled_out, "all is back from a stalled peer");
        }
        let reader = std::thread::spawn({
            let pool = pool.clone();
            move || read_all(far, &pool)
        });
        while let Some(event) = sender.wait(deadline(20)).unwrap() {
            take(event);
        }
        assert_eq!(back, FRAMES, "{backend}");
        assert!(!sender.close(deadline(20)).aborted);
        reader.join().unwrap();
    }
}

/// Mistake: one tiny record in flight holding a whole buffer back. Small pieces are copied, so the
/// frame that they are views of is free at once, stalled peer or not.
#[test]
fn a_tiny_piece_does_not_hold_its_frame() {
    for backend in BACKENDS {
        let (near, _far) = stalled();
        let pool = Pool::builder().frames(1).frame_bytes(1 << 20).build().unwrap();
        let builder = Sender::builder().backend(backend).policy(Policy::Adaptive(None));
        let mut sender = builder.pool(&pool).build(near).unwrap();
        for _ in 0..20 {
            let mut lease = pool.try_lease().expect("the frame is home");
            lease.set_len(lease.capacity());
            let view = lease.freeze();
            sender.send(view.slice(1000..1100)).unwrap();
            drop(view);
            let Some(Event::Completed(done)) = sender.wait(deadline(5)).unwrap() else { panic!() };
            assert_eq!(done.result, Ok(Outcome::Plain), "{backend}");
        }
    }
}

/// Mistake: letting one owner's panic end what looks after everybody's buffers.
#[test]
fn an_owner_that_panics_does_not_end_the_quarantine() {
    struct Bomb(Vec<u8>);
    impl AsRef<[u8]> for Bomb {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in an owner's drop");
        }
    }
    let _alone = quarantine_alone();
    let pool = pool();
    let len_bytes = FRAMES * FRAME_BYTES;
    let drop_in_flight = |message: Message| {
        let (near, far) = stalled();
        let mut sender = always(Backend::MsgZerocopy).build(near).unwrap();
        sender.send(message).unwrap();
        assert_eq!(sender.in_flight(), 1);
        drop(sender);
        File::from(far).read_to_end(&mut Vec::new()).map(drop)
    };
    // What the peers hear matters not here: a part of it, then a reset.
    let _ = drop_in_flight(bytes::Bytes::from_owner(Bomb(vec![7; len_bytes])).into());
    sleep(Duration::from_millis(300));
    let mut lease = pool.try_lease().unwrap();
    lease.set_len(FRAME_BYTES);
    let _ = drop_in_flight(Message::from(lease).and(vec![7; len_bytes]));
    // Without asking the quarantine, which would look after it itself.
    let end = deadline(5);
    while pool.stats().leased > 0 {
        assert!(Instant::now() < end, "{:?}", pool.stats());
        sleep(Duration::from_millis(1));
    }
}
