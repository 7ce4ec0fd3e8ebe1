//! `Sender`: a socket's write side, whose every buffer comes back.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};

use crate::error::{Error, Result};
use crate::message::{Group, Message};
use crate::sys::socket;

use super::backend::Choice;
use super::completion::{Event, Refused, Returned, Tally, Ticket};
use super::machine::{Kind, Machine};
use super::policy::Mode;
use super::port::Port;
use super::quarantine;
use super::stats::Stats;

pub use super::builder::SenderBuilder;

/// What is to be copied is handed over at this size, while it is still in the cache and so that its
/// buffers are free again soon; half of a second-level cache. Each call has its price in TCP: the
/// bytes at its end that fill no segment make one of their own.
const COPY_BATCH_BYTES: usize = 512 * 1024;
/// The pause between two looks at what is acknowledged, at first and at most.
pub(super) const ACKNOWLEDGED_EVERY: (Duration, Duration) =
    (Duration::from_micros(100), Duration::from_millis(20));
/// How long `close` waits for the kernel to let go after it aborted the connection.
pub(super) const ABORT_GRACE: Duration = Duration::from_secs(1);

/// Sends messages and hands every buffer back once the kernel has let go of it.
///
/// Made by [`Sender::builder`]. The sender owns the write side of its socket. Nothing here blocks
/// but the calls that take a deadline.
///
/// Dropping a sender is safe at any moment: buffers that the kernel may still read go into
/// [`quarantine`](crate::quarantine) and come home when it is done. A TCP connection that is
/// dropped with unsent bytes is reset, so that the peer cannot take a part for the whole; a unix
/// stream, which has no reset, just ends.
///
/// While a sender lives, `UDP_SEGMENT` of its socket is the sender's; it is put back afterwards.
pub struct Sender {
    pub(super) machine: Machine,
    pub(super) port: Port,
    pub(super) socket: Arc<OwnedFd>,
    /// Closing the socket may take along what the peer has not acknowledged, as on TCP.
    loses_when_closed: bool,
    choice: Choice,
    started: Instant,
    /// Messages that `queue` took since the kernel was last entered.
    queued: usize,
    /// The bytes of those that will be copied.
    queued_copy_bytes: usize,
    batch: usize,
}

impl Sender {
    /// A builder with the defaults that suit most.
    pub fn builder() -> SenderBuilder {
        SenderBuilder::default()
    }

    pub(super) fn new(
        machine: Machine,
        port: Port,
        socket: Arc<OwnedFd>,
        loses_when_closed: bool,
        choice: Choice,
        batch: usize,
    ) -> Self {
        Self {
            machine,
            port,
            socket,
            loses_when_closed,
            choice,
            started: Instant::now(),
            queued: 0,
            queued_copy_bytes: 0,
            batch,
        }
    }

    /// Takes a message and sends what can be sent now.
    ///
    /// # Errors
    /// [`Refused`] gives the message back: [`Error::Full`] until completions are taken, the first
    /// fatal error of the stream for good.
    #[inline]
    pub fn send(&mut self, message: impl Into<Message>) -> std::result::Result<Ticket, Refused> {
        let (ticket, _) = self.machine.push(message)?;
        // A failure of the kernel's interface shows at the next call that can report it.
        let _ = self.submit();
        Ok(ticket)
    }

    /// Takes a message; the kernel is entered when a batch is together, or by any other call.
    ///
    /// # Errors
    /// As [`send`](Sender::send).
    #[inline]
    pub fn queue(&mut self, message: impl Into<Message>) -> std::result::Result<Ticket, Refused> {
        let (ticket, len) = self.machine.push(message)?;
        self.queued += 1;
        if self.machine.chooser().preview(len) == Mode::Plain {
            self.queued_copy_bytes += len;
        }
        if self.queued >= self.batch || self.queued_copy_bytes >= COPY_BATCH_BYTES {
            let _ = self.submit();
        }
        Ok(ticket)
    }

    /// Hands what is queued to the kernel and takes its answers, without waiting.
    ///
    /// # Errors
    /// [`Error::System`] if the kernel's interface failed. A failure of the connection shows in the
    /// completions and in [`flush`](Sender::flush).
    pub fn submit(&mut self) -> Result<()> {
        self.queued = 0;
        self.queued_copy_bytes = 0;
        self.machine.tick(self.now_us());
        self.port.pump(&mut self.machine, self.socket.as_fd())
    }

    pub(super) fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// How long to wait at most before the kernel is asked again, where it had no memory.
    pub(super) fn retry_in(&self) -> Option<Duration> {
        let again = |at_us: u64| Duration::from_micros(at_us.saturating_sub(self.now_us()));
        let pause = self.machine.retry_at_us().map(again);
        pause.into_iter().chain(self.port.nap(&self.machine)).min()
    }

    /// The next completion or group release that is there, without waiting.
    #[inline]
    pub fn poll(&mut self) -> Option<Event> {
        if !self.machine.has_event() && self.machine.unsettled() > 0 {
            let _ = self.submit();
        }
        self.machine.take_event()
    }

    /// Hands everything that came back to `take`, without waiting, and says how much that was. A
    /// completion is lent where it lies, which is the cheapest way to get buffers back; what `take`
    /// leaves in it is dropped.
    #[inline]
    pub fn drain(&mut self, take: impl FnMut(Returned<'_>)) -> usize {
        if !self.machine.has_event() && self.machine.unsettled() > 0 {
            let _ = self.submit();
        }
        self.drain_settled(take)
    }

    /// As [`drain`](Sender::drain), of what is known to have come back: never enters the kernel.
    #[inline]
    pub fn drain_settled(&mut self, mut take: impl FnMut(Returned<'_>)) -> usize {
        let mut events = 0;
        while self.machine.lend_event(&mut take) {
            events += 1;
        }
        events
    }

    /// The next completion or group release; waits for it until `deadline`. `None` if nothing is
    /// under way that could bring one.
    ///
    /// # Errors
    /// [`Error::Deadline`] when it passes; [`Error::System`] if the kernel's interface failed.
    pub fn wait(&mut self, deadline: Instant) -> Result<Option<Event>> {
        self.drive(deadline, |machine| machine.has_event() || machine.unsettled() == 0)?;
        Ok(self.machine.take_event())
    }

    /// Opens a release group: its messages come back in one event. `messages` is how many are
    /// expected; more make it allocate.
    pub fn open_group(&mut self, messages: usize) -> Group {
        self.machine.open_group(messages)
    }

    /// Closes a group to further messages; its event comes once all its buffers are free.
    pub fn seal_group(&mut self, group: Group) {
        self.machine.seal_group(group);
    }

    /// Waits until everything queued before was released; says what became of it since the last
    /// flush. Completions stay to be taken.
    ///
    /// # Errors
    /// The stream's first fatal error, this time and every time; [`Error::Deadline`] when it passes
    /// (the counts then come with the next flush).
    pub fn flush(&mut self, deadline: Instant) -> Result<Tally> {
        let mark = self.machine.mark();
        self.drive(deadline, |machine| machine.passed(mark))?;
        self.tally()
    }

    /// Waits until the kernel has taken everything queued before, as an ordinary blocking send
    /// does; the buffers come back later.
    ///
    /// # Errors
    /// The stream's first fatal error, this time and every time; [`Error::Deadline`] when it
    /// passes.
    pub fn hand_over(&mut self, deadline: Instant) -> Result<()> {
        if !self.is_handed_over() {
            self.drive(deadline, |machine| machine.queued() == 0 && machine.sending() == 0)?;
        }
        self.machine.fault().map_or(Ok(()), |fault| Err(fault.clone()))
    }

    /// Whether the kernel has taken everything queued so far, as far as its answers were read.
    pub fn is_handed_over(&self) -> bool {
        self.machine.queued() == 0 && self.machine.sending() == 0
    }

    /// Whether the socket had no room when it was last asked.
    pub fn awaits_room(&self) -> bool {
        self.machine.awaits_writable()
    }

    /// What was released since the last flush, or the stream's first fatal error.
    pub(super) fn tally(&mut self) -> Result<Tally> {
        match self.machine.fault() {
            Some(fault) => Err(fault.clone()),
            None => Ok(self.machine.take_tally()),
        }
    }

    /// Pumps and sleeps until `done`.
    fn drive(&mut self, deadline: Instant, done: impl Fn(&Machine) -> bool) -> Result<()> {
        loop {
            self.submit()?;
            if done(&self.machine) {
                return Ok(());
            }
            let mut left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Deadline { in_flight: self.machine.unsettled() });
            }
            if let Some(retry) = self.retry_in() {
                left = left.min(retry);
            }
            self.port.wait(&self.machine, self.socket.as_fd(), left)?;
        }
    }

    /// Drains, ends the stream, and waits until the kernel has let go of every buffer and, on TCP,
    /// the peer's kernel has acknowledged everything: a socket that is closed earlier takes what it
    /// still holds along, if bytes of the peer lie in it unread. At the deadline the connection is
    /// aborted, so that the kernel lets go; what even that does not free is quarantined.
    pub fn close(mut self, deadline: Instant) -> Closed {
        let mut drained =
            self.drive(deadline, |machine| machine.queued() == 0 && machine.sending() == 0);
        if drained.is_ok() {
            self.end_stream();
            drained = self.drive(deadline, |machine| machine.unsettled() == 0);
        }
        let mut pause = ACKNOWLEDGED_EVERY.0;
        while drained.is_ok() && self.loses_when_closed {
            match self.is_acknowledged() {
                Ok(true) => break,
                Ok(false) => drained = self.sleep_before(deadline, &mut pause),
                Err(error) => drained = Err(error),
            }
        }
        match drained {
            Ok(()) => self.into_closed(false, 0),
            Err(error) => self.break_off(error),
        }
    }

    /// Aborts the connection, whatever was sent: for one that must not look as if it had ended
    /// well. Otherwise as [`close`](Sender::close) at its deadline.
    pub fn reset(self) -> Closed {
        let in_flight = self.in_flight();
        self.break_off(Error::Deadline { in_flight })
    }

    fn break_off(mut self, error: Error) -> Closed {
        let unacknowledged_bytes = self.unacknowledged_bytes().unwrap_or(0);
        self.abort(error);
        let _ = self.drive(Instant::now() + ABORT_GRACE, |machine| machine.unsettled() == 0);
        self.into_closed(true, unacknowledged_bytes)
    }

    /// Whether closing the socket may lose what the peer has not acknowledged, as on TCP.
    pub fn loses_when_closed(&self) -> bool {
        self.loses_when_closed
    }

    fn sleep_before(&self, deadline: Instant, pause: &mut Duration) -> Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Deadline { in_flight: 0 });
        }
        std::thread::sleep(left.min(*pause));
        *pause = (*pause * 2).min(ACKNOWLEDGED_EVERY.1);
        Ok(())
    }

    /// Whether the peer's kernel has acknowledged everything that was sent, the end of the stream
    /// included; on a unix stream, whether the peer has read it. Always so for datagrams, which
    /// nobody acknowledges.
    ///
    /// # Errors
    /// The stream's first fatal error, or what the connection died of before.
    pub fn is_acknowledged(&self) -> Result<bool> {
        if let Some(fault) = self.machine.fault() {
            return Err(fault.clone());
        }
        if self.machine.kind() == Kind::Datagram {
            return Ok(true);
        }
        socket::is_acknowledged(self.as_fd(), || socket::unacknowledged_bytes(self.as_fd()))
            .map_err(|errno| Error::from_call("SO_ERROR", errno))
    }

    /// Tells the peer that the stream is over, or, after an error, that it is broken.
    pub(super) fn end_stream(&self) {
        match (self.machine.kind(), self.machine.fault()) {
            (Kind::Datagram, _) => {}
            // A peer that is gone already shows in the releases.
            (Kind::Stream, None) => drop(shutdown(&*self.socket, Shutdown::Write)),
            (Kind::Stream, Some(_)) => quarantine::abort(&self.socket, Kind::Stream),
        }
    }

    /// Gives up what was not sent and makes the kernel let go of what was.
    pub(super) fn abort(&mut self, error: Error) {
        self.machine.abandon(error);
        quarantine::abort(&self.socket, self.machine.kind());
    }

    /// The final account. What the kernel still holds goes into quarantine when `self` is dropped.
    pub(super) fn into_closed(mut self, aborted: bool, unacknowledged_bytes: usize) -> Closed {
        self.machine.seal_all_groups();
        Closed {
            tally: self.machine.take_last_tally(),
            events: std::iter::from_fn(|| self.machine.take_event()).collect(),
            aborted,
            unacknowledged_bytes: if aborted { unacknowledged_bytes } else { 0 },
            quarantined: self.machine.unsettled(),
            error: self.machine.fault().cloned(),
            stats: self.stats(),
        }
    }

    /// The backend in use and why.
    pub fn backend(&self) -> &Choice {
        &self.choice
    }

    /// Messages that have not come back yet.
    pub fn in_flight(&self) -> usize {
        self.machine.unsettled()
    }

    /// The stream's first fatal error, if there was one.
    pub fn fault(&self) -> Option<&Error> {
        self.machine.fault()
    }

    /// Bytes of a stream that the peer has not acknowledged, the ones in the kernel's own buffers
    /// included (`SIOCOUTQ`).
    ///
    /// # Errors
    /// [`Error::System`] on a socket that has no such count.
    pub fn unacknowledged_bytes(&self) -> Result<usize> {
        socket::unacknowledged_bytes(self.socket.as_fd())
            .map_err(|errno| Error::System { call: "ioctl(SIOCOUTQ)", errno })
    }

    /// The figures so far.
    pub fn stats(&self) -> Stats {
        let counters = self.machine.counters();
        let chooser = self.machine.chooser();
        let mut backend = self.choice.clone();
        if backend.no_zero_copy.is_none() {
            backend.no_zero_copy = chooser.why_ruled_out();
        }
        Stats {
            backend,
            unregistered: self.port.why_unregistered().map(str::to_owned),
            messages: counters.messages,
            bytes: counters.bytes,
            requests: counters.requests,
            zero_copy_requests: counters.zero_copy_requests,
            notifications: counters.notifications,
            short_sends: counters.short_sends,
            would_block: counters.would_block,
            pressure: counters.pressure,
            unsupported: counters.unsupported,
            waits_for_release: counters.waits_for_release,
            stray_answers: counters.stray_answers,
            system_calls: counters.system_calls,
            pinned_bytes: self.machine.pinned_bytes() as u64,
            pinned_bytes_high: counters.pinned_bytes_high,
            threshold_bytes: chooser.threshold_bytes() as u64,
            path_copies: chooser.is_copying(),
        }
    }

    /// The socket, for what shares it with this sender. It is open as long as anybody has it.
    pub fn socket(&self) -> &Arc<OwnedFd> {
        &self.socket
    }

    /// The ring that the runtime watches for this sender; `None` if the socket is what to watch.
    #[cfg(feature = "tokio")]
    pub(super) fn ring(&self) -> Option<BorrowedFd<'_>> {
        self.port.ring()
    }

    /// Ready when another thread has brought news for this sender.
    #[cfg(feature = "tokio")]
    pub(super) fn poll_news(&self, context: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        self.port.poll_news(context)
    }

    #[cfg(feature = "tokio")]
    pub(super) fn machine_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }
}

impl AsFd for Sender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sender({}, {} in flight)", self.choice.backend, self.machine.unsettled())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if self.machine.open_requests() > 0 {
            let machine = std::mem::replace(&mut self.machine, Machine::hollow());
            let port = std::mem::replace(&mut self.port, Port::None);
            quarantine::admit(machine, port, self.socket.clone());
        } else if quarantine::is_incomplete(&self.machine) {
            quarantine::abort(&self.socket, self.machine.kind());
        }
    }
}

/// How a sender ended.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub struct Closed {
    /// What became of the messages since the last flush.
    pub tally: Tally,
    /// Completions that had not been taken, those of lost messages included.
    pub events: Vec<Event>,
    /// Whether the connection was aborted: the deadline passed, or it had failed.
    pub aborted: bool,
    /// If so: the bytes of a stream that the peer's kernel had not acknowledged then. They may be
    /// lost.
    pub unacknowledged_bytes: usize,
    /// Messages whose buffers the kernel may still read; they are in quarantine.
    pub quarantined: usize,
    /// The first fatal error, if there was one.
    pub error: Option<Error>,
    /// The final figures.
    pub stats: Stats,
}
