//! The two halves of a stream, each usable on a thread of its own.

use std::io::{self, IoSlice, IoSliceMut};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealift_io::{Receiver, Tally};
#[cfg(feature = "tokio")]
use tokio::io::ReadBuf;

use crate::error::{Error, Refused, Result, Unfinished};
use crate::incoming::Incoming;
use crate::inflow::Step;
use crate::link::{Link, TEND_EVERY, Wants};
use crate::outgoing::Outgoing;
use crate::stats::Stats;

/// Longer than any stream lives.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// How often a reader that waits for its engine looks for the other half's error.
const CHECK_EVERY: Duration = Duration::from_millis(50);
/// The first nap of a reader whom the socket wakes in vain.
const FIRST_NAP: Duration = Duration::from_micros(50);

/// A deadline, or one that never comes. Made when it is set: no call asks for the time in vain.
fn or_never(deadline: Option<Instant>) -> Instant {
    deadline.unwrap_or_else(|| Instant::now() + FAR)
}

/// The reading half.
pub struct TlsReader {
    link: Arc<Link>,
    receiver: Receiver,
    incoming: Incoming,
    deadline: Instant,
    end: End,
    /// Whether the socket had no more at the last look.
    is_dry: bool,
    /// How long the next wait for the kernel goes on once the socket is readable.
    pause: Duration,
}

/// Whether more comes.
enum End {
    Open,
    /// The peer has sent close_notify.
    Notified,
    /// Kept, and returned by every later call.
    Failed(Error),
}

impl TlsReader {
    pub(crate) fn new(link: Arc<Link>, receiver: Receiver, incoming: Incoming) -> Self {
        let deadline = or_never(None);
        let (end, pause) = (End::Open, Duration::ZERO);
        Self { link, receiver, incoming, deadline, end, is_dry: false, pause }
    }

    /// When a read gives up with [`Error::Deadline`]; never, unless set. It loses nothing.
    pub fn set_read_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = or_never(deadline);
    }

    /// Reads what is there, waiting for the first of it. A record whose plaintext fits into the
    /// rest of `into`, and one byte more in TLS 1.3, is opened straight into it: 16,385 bytes or
    /// more are best. What is in `into` behind the bytes read is of no use afterwards. 0 bytes are
    /// the peer's close_notify.
    ///
    /// # Errors
    /// [`Error::Truncated`] if the connection ended without it; [`Error::Inauthentic`],
    /// [`Error::Peer`], [`Error::Alert`]; [`Error::Deadline`]; [`Error::Io`].
    pub fn receive(&mut self, into: &mut [u8]) -> Result<usize> {
        self.receive_ahead();
        self.fill(into, true)
    }

    /// As [`receive`](TlsReader::receive), but waits for nothing, and uses no more of the memory
    /// than can be filled: what is behind that need not be initialised. `None` if there is nothing;
    /// `may_fetch` says whether the socket is worth a look.
    #[cfg(feature = "tokio")]
    pub(crate) fn receive_now(
        &mut self,
        into: &mut ReadBuf<'_>,
        may_fetch: bool,
    ) -> Result<Option<usize>> {
        let Some(mut at_hand) = self.incoming.at_hand_bytes() else {
            return self.receive(into.initialize_unfilled()).map(Some);
        };
        if may_fetch {
            self.is_dry = false;
        }
        loop {
            if at_hand > 0 || into.remaining() == 0 || !matches!(self.end, End::Open) {
                // An end takes no room, but an error wants to be asked for some.
                let room = at_hand.max(1).min(into.remaining());
                let filled = self.fill(into.initialize_unfilled_to(room), false)?;
                let is_end = room == 0 || !matches!(self.end, End::Open);
                if filled > 0 || is_end {
                    return Ok(Some(filled));
                }
            }
            if !may_fetch {
                return Ok(None);
            }
            match self.fetch() {
                // It is kept, and told by the next round.
                Err(error) if !error.is_passing() => self.ends(End::Failed(error)),
                fetched => _ = fetched?,
            }
            at_hand = self.incoming.at_hand_bytes().unwrap_or(0);
        }
    }

    /// Whether the socket had no more when it was last looked at.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_dry(&self) -> bool {
        self.is_dry
    }

    fn fill(&mut self, into: &mut [u8], may_wait: bool) -> Result<usize> {
        let filled = self.fill_from_records(into, may_wait);
        self.incoming.rest();
        self.link.publish(self.incoming.counts(), self.receiver.system_calls());
        filled
    }

    fn fill_from_records(&mut self, into: &mut [u8], may_wait: bool) -> Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match &self.end {
                End::Open => {}
                End::Failed(error) if filled == 0 => {
                    // The peer may not have been told of it.
                    self.link.tend();
                    return Err(error.clone());
                }
                _ => break,
            }
            match self.advance(&mut into[filled..], may_wait && filled == 0) {
                Ok(None) => break,
                Ok(Some(count)) => filled += count,
                Err(error) if error.is_passing() => return Err(error),
                Err(error) => self.ends(End::Failed(error)),
            }
        }
        Ok(filled)
    }

    /// Goes one step on; `None` if that would mean to wait, and `may_wait` is not set.
    fn advance(&mut self, into: &mut [u8], may_wait: bool) -> Result<Option<usize>> {
        let outcome = self.incoming.step(into).and_then(|step| match step {
            Step::Data(count) => {
                self.pause = Duration::ZERO;
                Ok(Some(count))
            }
            Step::Starved | Step::Working if !may_wait => Ok(None),
            Step::Starved => self.fetch(),
            Step::Working => self.await_engine(),
            Step::Ended => {
                self.ends(End::Notified);
                Ok(Some(0))
            }
            step => self.attend(step),
        });
        let is_fatal = |error: &Error| {
            matches!(
                error,
                Error::Inauthentic
                    | Error::Peer(_)
                    | Error::Alert(_)
                    | Error::Handshake(_)
                    | Error::KernelTls { .. }
                    | Error::Engine { .. }
            )
        };
        if let Some(error) = outcome.as_ref().err().filter(|error| is_fatal(error)) {
            self.link.fail(error);
        }
        outcome
    }

    /// Does what a message of the peer asks for.
    fn attend(&mut self, step: Step) -> Result<Option<usize>> {
        match step {
            Step::KeyUpdate { is_requested } => {
                self.incoming.rotate(&mut self.link.secrets())?;
                if !is_requested && self.link.take_awaited_update() {
                    self.incoming.forgive();
                }
                // Behind our end nothing is sealed, and there is no key to update.
                if is_requested && !self.link.is_ended() {
                    self.link.makers.may_update_key()?;
                    self.link.want(Wants::ANSWER);
                }
            }
            Step::Renegotiation => self.link.want(Wants::REFUSAL),
            Step::Ticket(ticket) => self.link.secrets().take_ticket(&ticket)?,
            Step::Data(_) | Step::Starved | Step::Working | Step::Ended => {}
        }
        self.link.tend();
        Ok(Some(0))
    }

    /// Waits for more bytes, holding no room meanwhile.
    fn fetch(&mut self) -> Result<Option<usize>> {
        let deadline = self.deadline;
        loop {
            let (news, until) = self.link.news(deadline);
            self.is_dry = true;
            let Some(room) = self.incoming.room() else {
                self.incoming.rest();
                match self.link.wait(&self.receiver, news, until) {
                    Err(sealift_io::Error::Deadline { .. }) if until < deadline => continue,
                    Err(error) => return Err(self.link.check().err().unwrap_or(error.into())),
                    Ok(true) => self.link.hear(),
                    Ok(false) => self.nap(until),
                }
                return Ok(Some(0));
            };
            let room_bytes = room.len();
            let waited = match self.receiver.try_receive(&mut [IoSliceMut::new(room)]) {
                // Another half's error shut the socket down, and says why.
                Ok(Some(received)) if received.bytes == 0 => {
                    return Err(self.link.check().err().unwrap_or(Error::Truncated));
                }
                Ok(Some(received)) => {
                    self.is_dry = received.bytes < room_bytes;
                    self.incoming.received(received.bytes);
                    return Ok(Some(0));
                }
                Ok(None) => {
                    self.incoming.rest();
                    self.link.wait(&self.receiver, news, until)
                }
                Err(error) => Err(error),
            };
            match waited {
                Ok(false) => {}
                Ok(true) => self.link.hear(),
                Err(sealift_io::Error::Deadline { .. }) if until < deadline => {}
                Err(error) => return Err(self.link.check().err().unwrap_or(error.into())),
            }
        }
    }

    /// Sleeps if the last wait brought no data either, and longer each time. The kernel, where it
    /// opens, calls a part of a record readable once a half is closed (`tls_sk_poll` in
    /// `net/tls/tls_main.c`), and before Linux 6.5 always.
    fn nap(&mut self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        std::thread::sleep(self.pause.min(left));
        self.pause = (self.pause * 2).clamp(FIRST_NAP, TEND_EVERY);
    }

    /// Receives what is there already, so that the engine has it while the caller is busy.
    fn receive_ahead(&mut self) {
        self.is_dry = false;
        while matches!(self.end, End::Open) && self.incoming.is_hungry() {
            let Some(room) = self.incoming.room() else { return };
            match self.receiver.try_receive(&mut [IoSliceMut::new(room)]) {
                // Another half's error shut the socket down, and says why.
                Ok(Some(received)) if received.bytes == 0 => {
                    self.incoming.ends(self.link.check().err().unwrap_or(Error::Truncated));
                }
                Ok(Some(received)) => self.incoming.received(received.bytes),
                Ok(None) => {
                    self.is_dry = true;
                    return;
                }
                Err(error) => {
                    self.incoming.ends(self.link.check().err().unwrap_or(error.into()));
                }
            }
            // An error of the first record that is not there yet shows when that is read.
            let _ = self.incoming.begin();
        }
    }

    /// Waits for the engine, and looks after the other half meanwhile.
    fn await_engine(&mut self) -> Result<Option<usize>> {
        self.receive_ahead();
        let (now, deadline) = (Instant::now(), self.deadline);
        if now >= deadline {
            return Err(Error::Deadline);
        }
        let pause = if self.link.tend() { TEND_EVERY } else { CHECK_EVERY };
        let until = deadline.min(now + pause);
        self.incoming.wait(until);
        if Instant::now() >= until {
            self.link.check()?;
        }
        Ok(Some(0))
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn incoming(&mut self) -> &mut Incoming {
        &mut self.incoming
    }

    /// Nothing is read from now on; the engine gives up what it can.
    fn ends(&mut self, end: End) {
        self.end = end;
        self.incoming.close();
    }
}

impl io::Read for TlsReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(self.receive(into)?)
    }
}

impl std::fmt::Debug for TlsReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TlsReader({:?})", self.link.negotiated.protocol_version)
    }
}

/// The writing half.
pub struct TlsWriter {
    link: Arc<Link>,
    deadline: Instant,
}

impl TlsWriter {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self { link, deadline: or_never(None) }
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// When a write gives up with [`Error::Deadline`]; never, unless set. What it had sealed by
    /// then counts as written, and leaves with the next call of either half, or while a
    /// reader waits.
    pub fn set_write_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = or_never(deadline);
    }

    /// Seals all of `slices`, and returns when the kernel has taken the records: the slices are
    /// free then, and nothing waits for a flush. Each slice of 8 KiB or more is sealed in
    /// records of 16,384 bytes, the last one shorter. Small ones next to each other share records,
    /// for which they are gathered: one more copy. Nothing to write sends nothing, as in rustls,
    /// though a record may be empty (RFC 8446 section 5.1).
    ///
    /// # Errors
    /// What ended the connection; [`Error::Deadline`] if nothing was written before it;
    /// [`Error::KeyExhausted`] in TLS 1.2; [`Error::Closed`]; [`Error::Io`].
    pub fn send(&mut self, slices: &[IoSlice<'_>]) -> Result<usize> {
        let deadline = self.deadline;
        self.link.with_outflow(|outflow| self.write(outflow, slices, deadline))
    }

    /// As [`send`](TlsWriter::send), for one who is woken when the socket has room: where it had
    /// none when it was last asked, nothing is sealed before that.
    #[cfg(feature = "tokio")]
    pub(crate) fn send_unless_stuck(&mut self, slices: &[IoSlice<'_>]) -> Result<usize> {
        let deadline = self.deadline;
        self.link.with_outflow(|outflow| match outflow.is_stuck() && self.link.check().is_ok() {
            true => Err(Error::Deadline),
            false => self.write(outflow, slices, deadline),
        })
    }

    fn write(
        &self,
        outflow: &mut Outgoing,
        slices: &[IoSlice<'_>],
        deadline: Instant,
    ) -> Result<usize> {
        outflow.write(&self.link, slices, deadline).map_err(|error| self.reason(error))
    }

    /// Why a call failed: the reading half may have found the reason meanwhile.
    fn reason(&self, error: Error) -> Error {
        self.link.check().err().unwrap_or(error)
    }

    /// Sends `range` of a file, or as much of it as the file has, and says how much that was: less
    /// than the range only where the file has ended. It is read straight to where it is sealed and
    /// sent from. A file that is cut or written meanwhile does no harm: what was read is sent, and
    /// nothing else. The file's own position stays. With a
    /// [sealing engine](crate::TlsStreamBuilder::sealing_engine), one core reads while others seal;
    /// a [`Router`](sealift_crypto::Router) seals files here.
    ///
    /// # Errors
    /// [`Unfinished`] says how much was sent before: with [`Error::Io`] if the file cannot be read
    /// further; else as [`send`](TlsWriter::send), and with [`Error::Deadline`] wherever it comes.
    pub fn send_file(&mut self, file: impl AsFd, range: Range<u64>) -> Result<u64, Unfinished> {
        let deadline = self.deadline;
        self.link.with_outflow(|outflow| {
            let sent = outflow.write_file(&self.link, file.as_fd(), range, deadline);
            sent.map_err(|Unfinished { sent, error }| Unfinished {
                sent,
                error: self.reason(error),
            })
        })
    }

    /// Gives `bytes` away, to be sealed by the stream's engine. It returns when all of them are
    /// with the engine, which may be long before they are sealed, so that the next call can add to
    /// the work. They leave in order with everything else, and the memory is dropped once it is
    /// sealed. A [`flush`](TlsWriter::flush) waits for that; meanwhile a reader, or any later call,
    /// sees to what is done. Without an engine they are sealed here and now, as by
    /// [`send`](TlsWriter::send).
    ///
    /// # Errors
    /// [`Refused`] gives back what was not taken: with [`Error::Deadline`] where there was no room
    /// in time; with what ended the connection, which may be the engine ([`Error::Engine`]); else
    /// as [`send`](TlsWriter::send). What was taken leaves, unless the connection ended.
    pub fn send_owned(&mut self, bytes: impl Into<Bytes>) -> Result<(), Refused> {
        let (mut rest, deadline) = (bytes.into(), self.deadline);
        let taken =
            self.link.with_outflow(|outflow| outflow.write_owned(&self.link, &mut rest, deadline));
        taken.map_err(|error| Refused { rest, error: self.reason(error) })
    }

    /// Waits until the kernel has let go of the memory of everything written before; says how much
    /// of it was zero-copy since the last flush. What was sent zero-copy on TCP, the peer's kernel
    /// mostly has by then; what was copied was let go of at once. That everything has arrived is
    /// for [`close`](TlsWriter::close) to wait for.
    ///
    /// # Errors
    /// What ended the connection; [`Error::Deadline`]; [`Error::Closed`].
    pub fn flush(&mut self, deadline: Instant) -> Result<Tally> {
        let flushed = self.link.with_outflow(|outflow| outflow.flush(&self.link, deadline));
        flushed.map_err(|error| self.reason(error))
    }

    /// The bytes of sealed records that this system's kernel has and the peer's has not
    /// acknowledged; what has not left yet, as behind a missed deadline, is no part of it until it
    /// is [flushed](Self::flush). Those that nobody has to have are not counted: close_notify, once
    /// it is with this system's kernel, and the end of the stream. The number of a connection that
    /// is gone stays; `None` if it is not known, as of a stream that is closed.
    pub fn unacknowledged_bytes(&self) -> Option<usize> {
        self.link.tend();
        self.link.with_outflow(|outflow| outflow.unacknowledged_bytes())
    }

    /// Sends close_notify behind everything written before, and ends the stream once this system's
    /// kernel has it, as a shutdown for writing does: the peer is not waited for, and the reading
    /// half goes on. Behind [`Error::Deadline`] the next call goes on where this one stopped; after
    /// the end it changes nothing. A [`close`](TlsWriter::close) is still to come.
    ///
    /// # Errors
    /// What ended the connection; [`Error::Deadline`]; [`Error::Closed`] after a close.
    pub fn end(&mut self, deadline: Instant) -> Result<()> {
        self.link.with_outflow(|outflow| outflow.end(&self.link, deadline))?;
        self.link.end_stream()
    }

    /// Sends close_notify, unless it was [sent](TlsWriter::end) before, waits until the peer's
    /// kernel has everything, and ends the stream. The reading half goes on. At the deadline the
    /// connection is aborted.
    ///
    /// # Errors
    /// What ended the connection before; [`Error::Closed`] if this did.
    pub fn close(&mut self, deadline: Instant) -> Result<Closed> {
        let ending = self.link.with_outflow(|outflow| outflow.close(&self.link, deadline));
        let ending = ending.map_err(|error| self.reason(error))?;
        let (closed, bulk) = (ending.sender, ending.bulk);
        Ok(Closed {
            aborted: closed.aborted || bulk.unsent > 0,
            unacknowledged_bytes: closed.unacknowledged_bytes,
            unsent: bulk.unsent,
            quarantined: closed.quarantined + bulk.held,
            error: closed.error.map(|error| self.reason(error.into())),
            stats: self.link.stats(),
        })
    }

    /// Updates the key to seal with, and asks the peer to update its own (RFC 8446 section 4.6.3).
    ///
    /// # Errors
    /// [`Error::Caller`] in TLS 1.2; else as [`send`](TlsWriter::send).
    pub fn request_key_update(&mut self) -> Result<()> {
        let deadline = self.deadline;
        self.link.with_outflow(|outflow| {
            // Before the answer can come. Of a request that is not made none comes.
            self.link.await_update();
            let requested = outflow.request_key_update(&self.link, deadline);
            requested.inspect_err(|_| _ = self.link.take_awaited_update())
        })
    }

    /// The figures of both halves so far.
    pub fn stats(&self) -> Stats {
        self.link.stats()
    }
}

impl io::Write for TlsWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.send(&[IoSlice::new(bytes)])?)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(self.send(slices)?)
    }

    /// Waits until the kernel has taken everything written before, which it mostly has already.
    fn flush(&mut self) -> io::Result<()> {
        let deadline = self.deadline;
        let handed_over = self.link.with_outflow(|outflow| outflow.hand_over(&self.link, deadline));
        Ok(handed_over.map_err(|error| self.reason(error))?)
    }
}

impl std::fmt::Debug for TlsWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TlsWriter({:?})", self.link.negotiated.protocol_version)
    }
}

/// How the writing half ended.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub struct Closed {
    /// Whether the connection was aborted: the deadline passed, or it had failed.
    pub aborted: bool,
    /// If so: the bytes that the peer's kernel had not acknowledged. They may be lost.
    pub unacknowledged_bytes: usize,
    /// If so: messages that never left, because the engine had not sealed them or what is before
    /// them.
    pub unsent: usize,
    /// Messages whose memory the kernel may still read, or the engine still write; they are in
    /// quarantine.
    pub quarantined: usize,
    /// The first fatal error of the connection below, if there was one.
    pub error: Option<Error>,
    /// The final figures.
    pub stats: Stats,
}
