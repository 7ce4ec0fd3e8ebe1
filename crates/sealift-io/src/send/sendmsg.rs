//! Sending by system call: which messages go into a call, what becomes of each, and the
//! notifications that release them. No socket; [`Kernel`] has it.

use crate::error::Errno;
use crate::sys::control::Notification;

use super::machine::{Kind, Machine};
use super::notifications::{Notifications, Range};
use super::policy::Mode;
use super::settle::Release;
use super::slots::Key;

/// Datagrams handed over in one call at most.
pub(super) const BATCH: usize = 32;
/// Error-queue entries read in one round at most, so that a flood of other errors cannot hold the
/// sender up.
const ENTRIES_PER_ROUND: usize = 1024;

/// The machine, and the kernel as far as this backend needs it. Tests have a simulated one.
pub(super) trait Kernel {
    fn machine(&mut self) -> &mut Machine;

    /// The machine's next request.
    fn next_request(&mut self) -> Option<Key> {
        self.machine().next_request()
    }

    /// Forgets the messages of the last call.
    fn clear(&mut self);

    /// Adds a request's message to the next call.
    fn add(&mut self, key: Key);

    /// Hands the messages over; says how many were taken. An error is the first message's.
    fn send(&mut self, mode: Mode, more: bool) -> Result<usize, Errno>;

    /// The bytes taken of message `at`.
    fn sent_bytes(&self, at: usize) -> usize;

    /// The next entry of the error queue; `None` for one that is no notification.
    fn read_error_queue(&mut self) -> Result<Option<Notification>, Errno>;
}

/// What a backend that sends by system call remembers from call to call.
pub(super) struct Sendmsg {
    batch: Vec<Key>,
    /// With `MSG_ZEROCOPY`: which sends await their notification.
    notifications: Option<Notifications>,
    /// A notification was read since the last time that this was asked.
    heard: bool,
}

impl Sendmsg {
    /// `None` for plain sends.
    pub(super) fn new(notifications: Option<Notifications>) -> Self {
        Self { batch: Vec::with_capacity(BATCH), notifications, heard: false }
    }

    /// Whether notifications are still to come.
    pub(super) fn awaits_notifications(&self) -> bool {
        self.notifications.as_ref().is_some_and(|tracker| tracker.outstanding() > 0)
    }

    /// Whether a notification was read since this was last asked.
    pub(super) fn has_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    /// Whether another zero-copy send can be kept track of.
    pub(super) fn has_room(&self) -> bool {
        self.notifications.as_ref().is_none_or(|tracker| tracker.room() > 0)
    }

    /// Sends what can be sent and takes the notifications that are there.
    pub(super) fn pump(&mut self, kernel: &mut impl Kernel) {
        self.read_notifications(kernel, 0);
        while let Some(mode) = self.collect(kernel) {
            self.send_batch(kernel, mode);
        }
    }

    /// Gathers the next requests of one mode; the mode, if there are any.
    fn collect(&mut self, kernel: &mut impl Kernel) -> Option<Mode> {
        self.batch.clear();
        kernel.clear();
        let first = kernel.next_request()?;
        let mode = kernel.machine().request(first)?.mode;
        let most = match (kernel.machine().kind(), &self.notifications) {
            (Kind::Stream, _) => 1,
            (Kind::Datagram, Some(tracker)) if mode == Mode::ZeroCopy => BATCH.min(tracker.room()),
            (Kind::Datagram, _) => BATCH,
        };
        kernel.add(first);
        self.batch.push(first);
        while self.batch.len() < most && kernel.machine().peek_mode() == Some(mode) {
            let Some(next) = kernel.next_request() else { break };
            kernel.add(next);
            self.batch.push(next);
        }
        Some(mode)
    }

    fn send_batch(&mut self, kernel: &mut impl Kernel, mode: Mode) {
        let first = self.batch.first().and_then(|&key| kernel.machine().request(key));
        let more = first.is_some_and(|request| request.more);
        let zero_copy = mode == Mode::ZeroCopy;
        let outcome = if zero_copy && !self.has_room() {
            // A release that never comes fills the window: as good as no memory for it.
            Err(Errno::from_raw(libc::ENOBUFS))
        } else {
            kernel.machine().counters_mut().system_calls += 1;
            kernel.send(mode, more)
        };
        let (sent, mut error) = match outcome {
            Ok(sent) => (sent.min(self.batch.len()), None),
            Err(errno) => (0, Some(errno)),
        };
        for at in 0..sent {
            self.accepted(kernel, at, zero_copy);
        }
        let short = error.is_some_and(|errno| errno.raw() == libc::ENOBUFS);
        let counted = kernel.machine().kind() == Kind::Datagram && sent < self.batch.len();
        if zero_copy && (short || counted) {
            // Before the next send: the kernel may have counted the one that failed.
            let released = self.read_notifications(kernel, usize::from(counted));
            if short && released {
                // Short of memory, but some came free: it is tried once more (drain, retry, copy).
                error = Some(Errno::from_raw(libc::EINTR));
            }
        }
        for &key in self.batch.iter().skip(sent) {
            // Those behind the one that failed were not tried: they go again with the next call.
            let errno = error.take().unwrap_or(Errno::from_raw(libc::EINTR));
            kernel.machine().sent(key, "sendmsg", Err(errno), Release::Now);
        }
    }

    fn accepted(&mut self, kernel: &mut impl Kernel, at: usize, zero_copy: bool) {
        let Some(&key) = self.batch.get(at) else { return };
        let bytes = kernel.sent_bytes(at);
        // The counter counts calls that queued bytes.
        let release = match &mut self.notifications {
            Some(tracker) if zero_copy && bytes > 0 => {
                tracker.sent(key);
                Release::Later
            }
            _ => Release::Now,
        };
        kernel.machine().sent(key, "sendmsg", Ok(bytes), release);
    }

    /// Takes notifications until none is outstanding or the queue is empty; says if any of them
    /// released a send. `failed` is how many calls failed since it was last empty that the kernel
    /// may have counted.
    fn read_notifications(&mut self, kernel: &mut impl Kernel, failed: usize) -> bool {
        let Some(tracker) = &mut self.notifications else { return false };
        let before = tracker.outstanding();
        // After a failure to the very end, as the next send's number depends on it; what is there
        // is bounded by the socket's receive buffer.
        let most = if failed > 0 { usize::MAX } else { ENTRIES_PER_ROUND };
        for _ in 0..most {
            if tracker.outstanding() == 0 && failed == 0 {
                break;
            }
            kernel.machine().counters_mut().system_calls += 1;
            match kernel.read_error_queue() {
                Ok(Some(Notification { first, last, copied })) => {
                    tracker.skip_failed(last, failed);
                    let machine = kernel.machine();
                    let range = Range { first, last, copied };
                    let strays = tracker.released(range, |key| machine.released(key, copied));
                    if failed == 0 {
                        machine.counters_mut().stray_answers += strays;
                    }
                    self.heard = true;
                }
                Ok(None) => {}
                Err(errno) if errno.raw() == libc::EINTR => {}
                // Empty, or a socket error that the next send reports.
                Err(_) => break,
            }
        }
        tracker.outstanding() < before
    }
}
