//! The short way of a lease that the kernel copies at once, with nothing in front of it: past the
//! queue, and back as soon as the call is.
//!
//! ```text
//!  lease ──► goes_straight ──yes──► send ──► all was taken ──► the same lease, counted
//!                  │ no                          │ less, or an error
//!                  ▼                             ▼
//!               queue                         queue, its first request answered already
//! ```
//! 1. Straight goes only what would be the next request, whole and alone: so the call's answer is
//!    that request's, whatever it says, and everything counts as if it had been one.
//! 2. What the kernel copied it does not read again: the lease is free, and no completion is owed.

use std::os::fd::AsFd;

use crate::error::{Errno, Error};
use crate::pool::Lease;
use crate::sys::socket;

use super::completion::{ByteCounts, Refused};
use super::machine::{Blocked, Kind, Machine};
use super::sender::Sender;
use super::settle::Release;

type Taken = std::result::Result<usize, Errno>;

impl Sender {
    /// As [`queue`](Sender::queue), for a lease that nothing will follow soon: if the stream has
    /// nothing under way and would copy it, it leaves by one system call now, and comes back at
    /// once. `None` if the kernel did not take all of it, or it had to be queued: it comes back in
    /// a completion then.
    ///
    /// # Errors
    /// As [`send`](Sender::send).
    #[inline]
    pub fn send_straight(&mut self, lease: Lease) -> std::result::Result<Option<Lease>, Refused> {
        if !self.machine.goes_straight(lease.len()) {
            return self.queue(lease).map(|_| None);
        }
        let taken = socket::send_bytes(self.socket.as_fd(), &lease);
        if taken == Ok(lease.len()) {
            self.machine.went_straight(lease.len());
            return Ok(Some(lease));
        }
        self.machine.tick(self.now_us());
        self.machine.take_on(lease, taken)?;
        if self.port.is_ring() {
            // There the rest waits for room by itself. A failure shows at the next call.
            let _ = self.submit();
        }
        Ok(None)
    }
}

impl Machine {
    /// Whether a message of so many bytes would be the next request, whole and alone, and copied
    /// (invariant 1).
    #[inline]
    pub(crate) fn goes_straight(&self, len_bytes: usize) -> bool {
        self.kind == Kind::Stream
            && self.fault.is_none()
            && self.blocked == Blocked::No
            && self.unsettled() == 0
            && !self.is_full()
            && (1..=self.limits.request_bytes).contains(&len_bytes)
            && self.chooser.copies(len_bytes)
    }

    /// Counts a message that went straight, as one that was queued, taken by one call, and settled.
    #[inline]
    pub(crate) fn went_straight(&mut self, len_bytes: usize) {
        self.next_ticket += 1;
        self.shortages = 0;
        self.counters.messages += 1;
        self.counters.system_calls += 1;
        self.counters.requests += 1;
        let bytes = ByteCounts { plain: len_bytes as u64, ..ByteCounts::default() };
        self.counters.bytes.plain += bytes.plain;
        self.ledger.pass(&bytes);
    }

    /// Queues one that was to go straight, and of which the kernel said something else than that it
    /// took it all.
    pub(crate) fn take_on(
        &mut self,
        lease: Lease,
        taken: Taken,
    ) -> std::result::Result<(), Refused> {
        self.counters.system_calls += 1;
        self.push(lease)?;
        match self.next_request() {
            Some(key) => self.sent(key, "send", taken, Release::Now),
            // Invariant 1 says that there is one. Without it nobody would know what has left.
            None => self.abandon(Error::Closed),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::machine::fixture::{LIMITS, THRESHOLD_BYTES, bytes, completion, machine};
    use super::*;
    use crate::message::Message;
    use crate::pool::Pool;

    fn lease(len: usize) -> Lease {
        let pool = Pool::builder().frames(1).frame_bytes(THRESHOLD_BYTES).huge_pages(false);
        let mut lease = pool.build().unwrap().try_lease().unwrap();
        lease.set_len(len);
        lease
    }

    fn failed(errno: i32) -> Taken {
        Err(Errno::from_raw(errno))
    }

    /// What a machine would say of itself, and what it has to send.
    fn account(machine: &mut Machine) -> String {
        let mark = machine.mark();
        let next = machine.next_request().and_then(|key| {
            let parts: Vec<usize> =
                machine.request(key)?.parts().map(|part| part.region.len()).collect();
            Some(parts)
        });
        let tally = machine.take_last_tally();
        format!(
            "{:?} {:?} {next:?} {:?} {:?} {tally:?}",
            machine.counters(),
            (machine.queued(), machine.sending(), machine.unsettled()),
            (machine.awaits_writable(), machine.retry_at_us(), machine.fault()),
            machine.passed(mark),
        )
    }

    #[test]
    fn whatever_the_kernel_says_it_counts_as_a_request_would() {
        for taken in [
            Ok(1000),
            Ok(999),
            Ok(0),
            failed(libc::EAGAIN),
            failed(libc::EINTR),
            failed(libc::ENOBUFS),
            failed(libc::EPIPE),
            failed(libc::ECONNRESET),
        ] {
            let (mut straight, mut queued) = (machine(Kind::Stream), machine(Kind::Stream));
            assert!(straight.goes_straight(1000));
            match taken {
                Ok(1000) => straight.went_straight(1000),
                _ => straight.take_on(lease(1000), taken).unwrap(),
            }
            queued.push(lease(1000)).unwrap();
            let key = queued.next_request().unwrap();
            queued.counters_mut().system_calls += 1;
            queued.sent(key, "send", taken, Release::Now);
            // Of what is over, one hands the completion out, and the other the lease.
            let done = completion(&mut queued);
            let owed = completion(&mut straight);
            assert_eq!(owed.is_some(), done.is_some() && taken != Ok(1000), "{taken:?}");
            assert_eq!(account(&mut straight), account(&mut queued), "{taken:?}");
        }
    }

    #[test]
    fn nothing_goes_past_what_is_in_front_of_it() {
        let mut machine = machine(Kind::Stream);
        machine.push(bytes(5)).unwrap();
        assert!(!machine.goes_straight(5), "it would overtake what is queued");
        let key = machine.next_request().unwrap();
        assert!(!machine.goes_straight(5), "it would overtake what is being sent");
        machine.sent(key, "test", Ok(2), Release::Now);
        assert!(!machine.goes_straight(5), "it would overtake the rest");
        let key = machine.next_request().unwrap();
        machine.sent(key, "test", failed(libc::EAGAIN), Release::Now);
        assert!(!machine.goes_straight(5), "there is no room");
        machine.writable();
        let key = machine.next_request().unwrap();
        machine.sent(key, "test", Ok(3), Release::Now);
        assert!(machine.goes_straight(5), "what is only to be taken back is in nobody's way");
    }

    #[test]
    fn zero_copy_and_all_else_that_wants_the_machine_goes_through_it() {
        let mut stream = machine(Kind::Stream);
        assert!(stream.goes_straight(THRESHOLD_BYTES - 1));
        assert!(!stream.goes_straight(THRESHOLD_BYTES), "the policy decides on it");
        assert!(!stream.goes_straight(0), "the kernel would not hear of it");
        stream.chooser.rule_out(super::super::policy::RuledOut::Socket);
        assert!(stream.goes_straight(LIMITS.request_bytes));
        assert!(!stream.goes_straight(LIMITS.request_bytes + 1), "it is more than one request");
        for _ in 0..LIMITS.messages {
            stream.push(Message::new()).unwrap();
        }
        assert!(!stream.goes_straight(5), "what is left of it would have no place");
        stream.abandon(Error::Closed);
        while completion(&mut stream).is_some() {}
        assert!(!stream.goes_straight(5), "it has failed");
        assert!(!machine(Kind::Datagram).goes_straight(5));
    }
}
