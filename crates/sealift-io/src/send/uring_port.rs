//! The backend that sends through io_uring.
//!
//! A request has one completion or two. What decides is `IORING_CQE_F_MORE`, never the result: a
//! failed send can still have a notification to come, and the buffer is free only with the
//! completion that has no more behind it.

use io_uring::cqueue;

use crate::error::{Errno, Result};
use crate::ring::{Answer, Seat, Session};
use crate::sys::uring::SendEntry;

use super::machine::{Kind, Machine};
use super::policy::Mode;
use super::segment_size::SegmentSize;
use super::settle::Release;
use super::slots::Key;

/// `IORING_NOTIF_USAGE_ZC_COPIED` in the result of a notification.
const COPIED: u32 = 1 << 31;

/// Rounds of submissions and answers in one pump, so that a kernel that keeps refusing at once
/// cannot hold the caller up.
const ROUNDS: usize = 10_000;

pub(crate) struct UringPort {
    seat: Seat,
    /// The segment size of sends without a control message.
    segment: SegmentSize,
}

/// What a completion says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Sent(std::result::Result<usize, Errno>, Release),
    Released { copied: bool },
}

/// Reads a completion's result and flags.
pub(crate) fn verdict(result: i32, flags: u32) -> Verdict {
    if cqueue::notif(flags) {
        return Verdict::Released { copied: result as u32 & COPIED != 0 };
    }
    let release = if cqueue::more(flags) { Release::Later } else { Release::Now };
    let outcome = usize::try_from(result).map_err(|_| Errno::from_raw(result.saturating_neg()));
    Verdict::Sent(outcome, release)
}

impl UringPort {
    pub(crate) fn new(seat: Seat, segment: SegmentSize) -> Self {
        Self { seat, segment }
    }

    pub(crate) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Submits what can be sent and takes the answers that are there.
    pub(crate) fn pump(&mut self, machine: &mut Machine) -> Result<()> {
        for _ in 0..ROUNDS {
            self.follow_segments(machine);
            let mut session = self.seat.session();
            let mut news = false;
            while session.has_room() {
                let Some(key) = machine.next_request() else { break };
                push(&mut session, machine, key, self.segment.now());
                news = true;
            }
            let called = session.submit(|answer| {
                take(machine, answer);
                // An answer may be what the next request waits for.
                news = true;
            });
            machine.counters_mut().system_calls += called?;
            if !news {
                break;
            }
        }
        Ok(())
    }

    /// Follows the segment size of the next train with the socket's own, so that a train can go
    /// without a control message, out of registered memory. Only while no request could be read
    /// with the wrong size.
    fn follow_segments(&mut self, machine: &Machine) {
        let Some(wanted) = machine.peek_segment_bytes() else { return };
        if wanted != self.segment.now() && machine.sending() == 0 {
            self.segment.set(wanted);
        }
    }
}

fn push(session: &mut Session<'_>, machine: &mut Machine, key: Key, socket_segment: u16) {
    let Some(request) = machine.request(key) else { return };
    let segment = request.message.segment_bytes.map_or(0, |bytes| bytes.get());
    let stream = machine.kind() == Kind::Stream;
    let mut flags = libc::MSG_NOSIGNAL;
    flags |= if request.more { libc::MSG_MORE } else { 0 };
    flags |= if stream { libc::MSG_WAITALL } else { 0 };
    let entry = SendEntry {
        file: 0,
        zero_copy: request.mode == Mode::ZeroCopy,
        flags,
        stream,
        to: request.message.to,
        segment_bytes: (segment != socket_segment).then_some(segment),
        user_data: 0,
    };
    if !session.push_send(entry, key.to_bits(), request.parts()) {
        // The queue had no room after all: nothing was handed over.
        machine.sent(key, "io_uring", Err(Errno::from_raw(libc::EINTR)), Release::Now);
    }
}

fn take(machine: &mut Machine, answer: Answer) {
    let key = Key::from_bits(answer.request);
    match verdict(answer.result, answer.flags) {
        Verdict::Sent(outcome, release) => machine.sent(key, "io_uring send", outcome, release),
        Verdict::Released { copied } => machine.released(key, copied),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MORE: u32 = 1 << 1;
    const NOTIFICATION: u32 = 1 << 3;

    /// Mistake: assuming that a notification comes only when the result is positive.
    #[test]
    fn what_is_to_come_is_read_from_the_flags_only() {
        assert_eq!(verdict(10, MORE), Verdict::Sent(Ok(10), Release::Later));
        assert_eq!(verdict(10, 0), Verdict::Sent(Ok(10), Release::Now));
        assert_eq!(verdict(0, MORE), Verdict::Sent(Ok(0), Release::Later));
        let einval = Errno::from_raw(libc::EINVAL);
        assert_eq!(verdict(-libc::EINVAL, MORE), Verdict::Sent(Err(einval), Release::Later));
        assert_eq!(verdict(-libc::EINVAL, 0), Verdict::Sent(Err(einval), Release::Now));
    }

    #[test]
    fn notifications_say_whether_the_kernel_copied() {
        assert_eq!(verdict(0, NOTIFICATION), Verdict::Released { copied: false });
        assert_eq!(verdict(i32::MIN, NOTIFICATION), Verdict::Released { copied: true });
    }
}
