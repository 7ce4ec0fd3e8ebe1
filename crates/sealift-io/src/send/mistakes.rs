//! The ownership mistakes that others made in zero-copy sending, one test for each.
//!
//! Two have their home elsewhere: disabling zero-copy for good after one COPIED in `policy.rs`, and
//! assuming that a notification comes only when the result is positive in `uring_port.rs`.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Errno, Error};
use crate::message::Message;
use crate::pool::Pool;
use crate::skip_log::skip;
use crate::sys::socket;

use super::completion::Outcome;
use super::machine::fixture::{LIMITS, THRESHOLD_BYTES, bytes, completion, machine, next};
use super::machine::{Kind, Machine};
use super::policy::{Chooser, Mode, Policy};
use super::segment_size::SegmentSize;
use super::sendmsg_port::SendmsgPort;
use super::settle::Release;

const BIG: usize = 4 * THRESHOLD_BYTES;

/// Mistake: treating 'bytes accepted' as 'buffer free'.
#[test]
fn bytes_accepted_is_not_buffer_free() {
    for kind in [Kind::Stream, Kind::Datagram] {
        let mut machine = machine(kind);
        machine.push(bytes(BIG)).unwrap();
        let (key, mode, ..) = next(&mut machine);
        assert_eq!(mode, Mode::ZeroCopy);
        machine.sent(key, "test", Ok(BIG), Release::Later);
        assert!(completion(&mut machine).is_none());
        assert_eq!((machine.unsettled(), machine.pinned_bytes()), (1, BIG));
        machine.released(key, false);
        assert_eq!(completion(&mut machine).unwrap().result, Ok(Outcome::ZeroCopy));
    }
}

/// Mistake: freeing on cancel. A cancelled send may have been taken in part, and may have a
/// notification to come whether it was or not.
#[test]
fn a_cancelled_send_is_not_free_before_its_notification() {
    let cancelled = Err(Errno::from_raw(libc::ECANCELED));
    for (result, accepted) in [(cancelled, 0), (Ok(100), 100)] {
        let mut machine = machine(Kind::Stream);
        machine.push(bytes(BIG)).unwrap();
        let (key, ..) = next(&mut machine);
        machine.abandon(Error::Closed);
        assert!(completion(&mut machine).is_none(), "freed by the cancel");
        machine.sent(key, "test", result, Release::Later);
        assert!(completion(&mut machine).is_none(), "freed by the result");
        machine.released(key, false);
        let done = completion(&mut machine).unwrap();
        assert_eq!((done.result, done.bytes.total()), (Err(Error::Closed), accepted));
        assert_eq!(done.message.len(), BIG);
    }
}

/// Mistake: closing before a retransmit. What was accepted may be read again until it is
/// acknowledged, so it stays in place, whole, after the sender was given up; `quarantine.rs` takes
/// the machine over as it is.
#[test]
fn giving_up_leaves_what_may_be_retransmitted_in_place() {
    let mut machine = machine(Kind::Stream);
    let message = bytes(BIG).and(vec![9; BIG]);
    let before: Vec<_> = message.buffers.iter().map(|buffer| buffer.region()).collect();
    machine.push(message).unwrap();
    let (key, _, len, _) = next(&mut machine);
    assert_eq!(len, 2 * BIG);
    machine.sent(key, "test", Ok(len), Release::Later);
    machine.abandon(Error::Closed);
    assert!(completion(&mut machine).is_none());
    assert_eq!(
        machine.request(key).unwrap().parts().map(|part| part.region).collect::<Vec<_>>(),
        before
    );
    machine.released(key, false);
    assert_eq!(completion(&mut machine).unwrap().result, Ok(Outcome::ZeroCopy));
}

/// Mistake: one tiny record in flight holding a whole buffer back. Views of one frame go out as
/// their own messages, and tiny ones are copied: the frame waits for no release of theirs.
#[test]
fn a_tiny_record_in_flight_does_not_hold_a_whole_frame_back() {
    let pool = Pool::builder().frames(1).frame_bytes(BIG).huge_pages(false).build().unwrap();
    let mut lease = pool.try_lease().unwrap();
    lease.set_len(BIG);
    let frame = lease.freeze();
    let mut machine = machine(Kind::Stream);
    machine.push(Message::from(frame.slice(..BIG - 20))).unwrap();
    machine.push(Message::from(frame.slice(BIG - 20..))).unwrap();
    drop(frame);
    let (large, mode, len, _) = next(&mut machine);
    assert_eq!((mode, len), (Mode::ZeroCopy, BIG - 20));
    machine.sent(large, "test", Ok(len), Release::Later);
    let (tiny, mode, ..) = next(&mut machine);
    assert_eq!(mode, Mode::Plain);
    machine.sent(tiny, "test", Ok(20), Release::Now);
    assert!(completion(&mut machine).is_some_and(|done| done.message.len() == 20));
    machine.released(large, false);
    drop(completion(&mut machine));
    assert_eq!(pool.stats().leased, 0);
}

/// Mistake: reusing a header buffer while the body is in flight. A message comes back as a whole:
/// its header, though copied long ago, with its body.
#[test]
fn a_header_comes_back_with_its_body_only() {
    let mut machine = machine(Kind::Stream);
    machine.push(Message::from(vec![1; 20]).and(vec![2; BIG])).unwrap();
    let (header, mode, len, more) = next(&mut machine);
    assert_eq!((mode, len, more), (Mode::Plain, 20, true));
    machine.sent(header, "test", Ok(20), Release::Now);
    assert!(completion(&mut machine).is_none());
    let (body, mode, ..) = next(&mut machine);
    assert_eq!(mode, Mode::ZeroCopy);
    machine.sent(body, "test", Ok(BIG), Release::Later);
    assert!(completion(&mut machine).is_none());
    machine.released(body, false);
    assert_eq!(completion(&mut machine).unwrap().message.buffers.len(), 2);
}

/// Mistake: setting the flag and never reading the error queue. The port reads it by itself: every
/// send is released, nothing is left on the queue, and its memory never runs out.
#[test]
fn the_error_queue_is_read_until_it_is_empty() {
    const MESSAGES: usize = 2_000;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    if let Err(errno) = socket::enable_zerocopy(stream.as_fd()) {
        return skip("the_error_queue_is_read_until_it_is_empty", &format!("SO_ZEROCOPY: {errno}"));
    }
    stream.set_nonblocking(true).unwrap();
    let stream = Arc::new(OwnedFd::from(stream));
    let drain = std::thread::spawn(move || peer.read_to_end(&mut Vec::new()).unwrap());
    let chooser = Chooser::new(Policy::AlwaysZeroCopy, THRESHOLD_BYTES);
    let mut machine = Machine::new(Kind::Stream, LIMITS, chooser);
    let mut port =
        SendmsgPort::new(Kind::Stream, Some(LIMITS.requests), SegmentSize::cleared(&stream));
    let deadline = Instant::now() + Duration::from_secs(30);
    let (mut pushed, mut back) = (0, 0);
    while back < MESSAGES {
        assert!(Instant::now() < deadline, "{back} of {MESSAGES} came back");
        while pushed < MESSAGES && machine.push(bytes(BIG)).is_ok() {
            pushed += 1;
        }
        machine.writable();
        port.pump(&mut machine, stream.as_fd());
        while let Some(done) = completion(&mut machine) {
            assert!(matches!(done.result, Ok(Outcome::ZeroCopy | Outcome::Copied)));
            back += 1;
        }
    }
    let counters = machine.counters();
    assert_eq!(counters.notifications, counters.zero_copy_requests - counters.would_block);
    assert_eq!((counters.pressure, counters.stray_answers), (0, 0));
    let empty = socket::read_error_queue(stream.as_fd()).unwrap_err();
    assert_eq!(empty, Errno::from_raw(libc::EAGAIN));
    drop((port, stream));
    assert_eq!(drain.join().unwrap(), MESSAGES * BIG);
}
