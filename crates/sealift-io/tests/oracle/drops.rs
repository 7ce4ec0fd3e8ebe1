//! Senders, rings, pools and threads that go while their data is in flight.
//!
//! Nothing here can overwrite a message's buffers when they come back, because nobody is left to
//! take them. So the frames that come home are leased at once and overwritten, as the pool's next
//! user would; and `Owned` buffers overwrite themselves when the last reference goes.

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use sealift_io::{Backend, Error, Policy, Ring, Sender};

use crate::case::{BACKENDS, Case, Name, Rig, STUCK_AFTER_MS, ring_for};
use crate::feed::{Feed, Kind, Payload};
use crate::peer::{End, Heard, Peer, Step};
use crate::support::{deadline, tcp_pair_through, unix_pair};

/// The quarantine is the process's: one test at a time looks at it.
static QUARANTINE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    QUARANTINE.lock().unwrap_or_else(PoisonError::into_inner)
}

const KINDS: [Kind; 3] = [Kind::Lease, Kind::Frozen, Kind::Owned];
const PAYLOAD: usize = 64 * 1024;
/// What the peer's window does not take but the sender's queue does.
const QUEUED_MESSAGES: u64 = 4;
/// More than both sides' socket buffers take; sixteen are under way at most.
const TOO_MANY_MESSAGES: u64 = 200;
const STALLED: [Step; 3] = [Step::Read(10), Step::Stall, Step::ReadToEnd];

/// A connection that holds a few hundred kilobytes in the sender's queue when its peer stalls.
fn tcp() -> (OwnedFd, OwnedFd) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    sockopt::set_socket_recv_buffer_size(&listener, 64 * 1024).unwrap();
    let (near, far) = tcp_pair_through(&listener);
    sockopt::set_socket_send_buffer_size(&near, 200_000).unwrap();
    (near, far)
}

fn cases() -> impl Iterator<Item = Case> {
    BACKENDS
        .into_iter()
        .flat_map(|backend| KINDS.into_iter().map(move |kind| Case::new(backend, kind, PAYLOAD)))
}

/// Overwrites what comes home while the peer still stalls, then lets it read.
fn let_the_peer_read(rig: GoneRig) -> Heard {
    let GoneRig { mut feed, peer, name } = rig;
    for _ in 0..10 {
        feed.overwrite_free_frames();
        std::thread::sleep(Duration::from_millis(1));
    }
    peer.go_on();
    feed.overwrite_until_home(20);
    let heard = peer.join();
    assert_eq!(heard.wrong_at, None, "corrupted: {heard:?} in {:?}", name.0);
    assert!(heard.bytes <= feed.sent_bytes);
    heard
}

/// A run whose sender is gone.
struct GoneRig {
    feed: Feed,
    peer: Peer,
    name: Name,
}

fn drop_sender(rig: Rig) -> GoneRig {
    let Rig { name, sender, feed, peer } = rig;
    drop(sender);
    GoneRig { feed, peer, name }
}

/// All bytes were accepted: they are delivered, though nobody is there to see it.
#[test]
fn a_sender_dropped_with_everything_sent_delivers_it() {
    let _alone = alone();
    for case in cases() {
        // Out of huge pages the kernel charges so much for a registered piece that it is not sent.
        let case = Case { huge_pages: false, ..case };
        let mut rig = case.start(tcp(), 16, &STALLED, |builder| builder);
        rig.send_until_stuck(QUEUED_MESSAGES);
        rig.take_what_comes();
        let sent = rig.feed.sent_bytes;
        let heard = let_the_peer_read(drop_sender(rig));
        assert_eq!((heard.bytes, heard.end), (sent, End::Finished), "{case:?}");
    }
}

/// Some bytes were not accepted: the peer gets a reset, not a part that looks like the whole.
#[test]
fn a_sender_dropped_with_bytes_unsent_resets() {
    let _alone = alone();
    for case in cases() {
        for connect in [tcp, unix_pair] {
            let mut rig = case.start(connect(), 16, &STALLED, |builder| builder);
            rig.send_until_stuck(TOO_MANY_MESSAGES);
            let heard = let_the_peer_read(drop_sender(rig));
            let is_tcp = std::ptr::fn_addr_eq(connect, tcp as fn() -> (OwnedFd, OwnedFd));
            assert!(!is_tcp || heard.end != End::Finished, "{case:?} {heard:?}");
        }
    }
}

/// A panic drops the sender on its way out: nothing else is different.
#[test]
fn a_panicking_thread_loses_nothing() {
    let _alone = alone();
    for case in cases() {
        let mut rig = case.start(tcp(), 16, &STALLED, |builder| builder);
        rig.send_until_stuck(TOO_MANY_MESSAGES);
        let Rig { name, sender, feed, peer } = rig;
        let thread = std::thread::spawn(move || {
            let _sender = sender;
            // As `panic!`, without the noise of the panic hook.
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(thread.join().is_err());
        let_the_peer_read(GoneRig { feed, peer, name });
    }
}

/// The user's handle of the ring is one of several: the sender has another.
#[test]
fn a_ring_handle_dropped_in_mid_flight_changes_nothing() {
    for kind in KINDS {
        let case = Case::new(Backend::Uring, kind, PAYLOAD);
        let ring = Ring::builder().senders(1).build().unwrap();
        let mut rig = case.start(tcp(), 16, &STALLED, |builder| builder.ring(&ring));
        rig.send_until_stuck(TOO_MANY_MESSAGES);
        drop(ring);
        rig.peer.go_on();
        rig.send(20);
        rig.finish();
    }
}

/// Sender, ring and pool go in every order. Mistake: a ring that is closed releases its buffers.
#[test]
fn senders_rings_and_pools_are_dropped_in_any_order() {
    let _alone = alone();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for case in cases() {
            let (near, far) = tcp();
            let mut feed = Feed::new(&case, 16);
            let ring = ring_for(&feed);
            let builder = Sender::builder().backend(case.backend).policy(case.policy);
            let mut sender = builder.ring(&ring).build(near).unwrap();
            let peer = Peer::start(far, case.seed, &STALLED);
            feed.send(&mut sender, TOO_MANY_MESSAGES, STUCK_AFTER_MS);
            let (mut sender, mut ring) = (Some(sender), Some(ring));
            for what in order {
                match what {
                    0 => drop(sender.take()),
                    1 => drop(ring.take()),
                    _ => feed.drop_pool(),
                }
            }
            let_the_peer_read(GoneRig { feed, peer, name: Name(case) });
        }
    }
}

/// The pool's frames outlive its last handle.
#[test]
fn a_pool_handle_dropped_in_mid_flight_changes_nothing() {
    for case in cases() {
        let mut rig = case.start(tcp(), 16, &STALLED, |builder| builder);
        rig.send_until_stuck(TOO_MANY_MESSAGES);
        rig.feed.forget_half();
        rig.feed.drop_pool();
        rig.peer.go_on();
        rig.finish();
    }
}

/// io_uring cancels what an ended thread submitted: it is sent again, nothing is lost or doubled.
/// A request on TCP comes back with the part that was taken, a small one on a unix socket, which
/// takes it whole or not at all, with ECANCELED.
#[test]
fn a_thread_that_submitted_may_end() {
    for case in cases() {
        for ring_of_that_thread in [false, true] {
            let small = Case { policy: Policy::Adaptive(None), payload: Payload::Of(1000), ..case };
            for (case, pair, messages) in
                [(case, tcp(), TOO_MANY_MESSAGES), (small, unix_pair(), 5000)]
            {
                let mut rig = end_a_thread(case, pair, ring_of_that_thread, messages);
                rig.peer.go_on();
                rig.send(20);
                rig.finish();
            }
        }
    }
}

/// A run that a thread began and left when it was stuck.
fn end_a_thread(
    case: Case,
    (near, far): (OwnedFd, OwnedFd),
    ring_of_that_thread: bool,
    messages: u64,
) -> Rig {
    let feed = Feed::new(&case, 16);
    let builder = Sender::builder().backend(case.backend).policy(case.policy).pool(feed.pool());
    let builder = match ring_of_that_thread {
        true => builder,
        false => builder.ring(&ring_for(&feed)),
    };
    let peer = Peer::start(far, case.seed, &STALLED);
    let name = Name(case);
    let thread = std::thread::spawn(move || {
        let sender = builder.build(near).unwrap();
        let mut rig = Rig { name, sender, feed, peer };
        rig.send_until_stuck(messages);
        assert!(rig.sender.in_flight() > 0, "nothing is under way that could be cancelled");
        rig
    });
    thread.join().unwrap()
}

/// The thread ended while the peer goes on stalling: `close` still ends at its deadline.
#[test]
fn a_close_after_the_submitting_thread_ended_brings_everything_back() {
    for case in cases() {
        let thread = std::thread::spawn(move || {
            let mut rig = case.start(tcp(), 16, &STALLED, |builder| builder);
            rig.send_until_stuck(TOO_MANY_MESSAGES);
            rig
        });
        let Rig { sender, mut feed, peer, name } = thread.join().unwrap();
        let closed = sender.close(Instant::now() + Duration::from_millis(20));
        assert!(closed.aborted && closed.quarantined == 0, "{closed:?}");
        assert!(matches!(closed.error, Some(Error::Deadline { .. })), "{closed:?}");
        for event in closed.events {
            feed.take_event(event);
        }
        feed.expect_all_home();
        peer.go_on();
        assert_eq!(peer.join().wrong_at, None);
        drop(name);
    }
}

/// A flush that passed its deadline can be waited for again.
#[test]
fn a_flush_beyond_its_deadline_loses_nothing() {
    for case in cases() {
        let mut rig = case.start(tcp(), 16, &STALLED, |builder| builder);
        rig.send_until_stuck(TOO_MANY_MESSAGES);
        let soon = Instant::now() + Duration::from_millis(5);
        let late = rig.sender.flush(soon);
        assert!(matches!(late, Err(Error::Deadline { in_flight: 1.. })), "{late:?}");
        rig.peer.go_on();
        let tally = rig.sender.flush(deadline(20)).unwrap();
        assert_eq!((tally.failed_messages, tally.bytes.total()), (0, rig.feed.sent_bytes));
        rig.finish();
    }
}
