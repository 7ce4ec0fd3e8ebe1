//! What the kernel seals: sent from the caller's memory, and seen to TCP.
//!
//! ```text
//!  the caller's memory ──send──► kernel: sealed ──► waiting for room ──► TCP ──► acknowledged
//! ```
//!
//! 1. A send returns when what it took is sealed: the memory is free, and the bytes are the
//!    kernel's, though TCP may have no room for them yet (`tls_push_record` leaves them in a list).
//!    So before the stream ends, TCP has to have taken every record: the end would overtake them.
//! 2. A record that is no data is sent, or nothing is: an alert that finds no room is owed.

use std::io::IoSlice;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use rustls::AlertDescription;
use sealift_crypto::Limits;
use sealift_io::ktls::{KernelTls, Unavailable, Way};
use sealift_io::{Sender, Tally};

use super::account::Account;
use super::inflow::explained;
use super::{Given, cannot_update_key, cipher, key};
use crate::alert::Alert;
use crate::bulk::Retired;
use crate::epoch::Layout;
use crate::error::{Error, Result, Unfinished};
use crate::link::{Link, Wants};
use crate::outflow::{Counts, Ending, LOOK_UP_EVERY, read_whole};
use crate::pieces::Pieces;
use crate::post_handshake::key_update;
use crate::record::ContentType;
use crate::room::Room;

/// The most slices that are sent by one call.
const MOST_SLICES: usize = 16;
/// The pause between two looks at what TCP took, at first and at most.
const TAKEN_EVERY: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(20));

/// The writing side of a connection whose records the kernel seals.
pub(crate) struct KernelOutflow {
    /// It sends nothing, but closes the connection; `None` once closed.
    sender: Option<Sender>,
    /// The first error of the connection below.
    fault: Option<Error>,
    tls: KernelTls,
    tls13: bool,
    can_update_key: bool,
    account: Account,
    owed: Option<AlertDescription>,
    /// close_notify was sent, or is owed: nothing may follow it.
    is_ended: bool,
    key_updates: u64,
    calls: u64,
    would_block: u64,
    /// Since the last flush.
    tally: Tally,
    last_stats: sealift_io::Stats,
}

impl KernelOutflow {
    pub(crate) fn new(
        sender: Sender,
        given: Given,
        tls13: bool,
        limits: Option<Limits>,
    ) -> Result<Self> {
        let layout = Layout::of(given.suite, tls13);
        let limit = limits.unwrap_or_else(|| Limits::tls(given.suite)).seals;
        let tls = given.tls;
        let account = Account::new(tls.clone(), cipher(given.suite)?, layout, limit, given.first)?;
        Ok(Self {
            last_stats: sender.stats(),
            sender: Some(sender),
            fault: None,
            tls,
            tls13,
            can_update_key: given.can_update_key,
            account,
            owed: None,
            is_ended: false,
            key_updates: 0,
            calls: 0,
            would_block: 0,
            tally: Tally::default(),
        })
    }

    /// Sends all of `slices`, unless the deadline comes before; says how much that was.
    pub(crate) fn write(
        &mut self,
        link: &Link,
        slices: &[IoSlice<'_>],
        deadline: Instant,
    ) -> Result<usize> {
        self.check(link)?;
        let mut pieces = Pieces::new(slices);
        let all = pieces.left_bytes();
        while pieces.left_bytes() > 0 {
            match self.write_some(link, &pieces, deadline) {
                Ok(count) => pieces.advance(count),
                // What was sealed is written; the next call tells.
                Err(_) if pieces.left_bytes() < all => break,
                Err(error) => return Err(error),
            }
        }
        Ok(all - pieces.left_bytes())
    }

    /// As [`write`](KernelOutflow::write), of a file, or as much of it as it has. It is read, and
    /// not spliced by sendfile(2): what is cut off a file turns to zeros in the page cache, and
    /// would be sent as such from there.
    pub(crate) fn write_file(
        &mut self,
        link: &Link,
        file: BorrowedFd<'_>,
        range: Range<u64>,
        deadline: Instant,
    ) -> Result<u64, Unfinished> {
        self.check(link)?;
        let mut room = Room::take();
        let mut at = range.start;
        let mut is_cut = false;
        let mut outcome = Ok(());
        while at < range.end && !is_cut && outcome.is_ok() {
            let most = range.end.saturating_sub(at).min(room.len() as u64) as usize;
            let read = read_whole(file, at, &mut room[..most]);
            outcome = read.and_then(|count| {
                // What was not taken is read again, and whoever did not take it says why.
                let sent = self.write(link, &[IoSlice::new(&room[..count])], deadline)?;
                at += sent as u64;
                is_cut = count < most && sent == count;
                Ok(())
            });
        }
        Unfinished::unless(outcome, at - range.start)
    }

    /// As [`write`](KernelOutflow::write), of memory that is given away: takes from `bytes` what
    /// was sealed.
    pub(crate) fn write_owned(
        &mut self,
        link: &Link,
        bytes: &mut Bytes,
        deadline: Instant,
    ) -> Result<()> {
        self.check(link)?;
        while !bytes.is_empty() {
            let written = self.write(link, &[IoSlice::new(bytes)], deadline)?;
            bytes.advance(written);
        }
        Ok(())
    }

    /// Sends what the kernel takes of `pieces` at once, waiting for the first of it.
    fn write_some(
        &mut self,
        link: &Link,
        pieces: &Pieces<'_, '_>,
        deadline: Instant,
    ) -> Result<usize> {
        loop {
            self.check(link)?;
            self.tend(link)?;
            let most = self.account.allowance_bytes()?.min(pieces.left_bytes());
            if most == 0 {
                if self.renew_key(link)? {
                    continue;
                }
            } else if self.owed.is_none()
                && let Some(count) = self.send(pieces, most)?
            {
                return Ok(count);
            }
            if Instant::now() >= deadline {
                return Err(Error::Deadline);
            }
            self.await_room(deadline)?;
        }
    }

    /// One send; `None` if there is no room.
    fn send(&mut self, pieces: &Pieces<'_, '_>, most: usize) -> Result<Option<usize>> {
        let mut slices = [IoSlice::new(&[]); MOST_SLICES];
        let mut filled = 0;
        let whole = pieces.each(most).filter(|piece| !piece.is_empty());
        for (slice, piece) in slices.iter_mut().zip(whole) {
            *slice = IoSlice::new(piece);
            filled += 1;
        }
        self.begin_call()?;
        match self.tls.send(&slices[..filled]) {
            Ok(count) => {
                self.account.data(count);
                self.tally.bytes.plain += count as u64;
                self.tally.plain_messages += 1;
                Ok(Some(count))
            }
            Err(error) => self.no_room(error).map(|()| None),
        }
    }

    /// Sends one record that is no data; false if there is no room.
    fn send_control(&mut self, content: ContentType, bytes: &[u8]) -> Result<bool> {
        self.begin_call()?;
        match self.tls.send_record(content as u8, bytes) {
            Ok(()) => {
                self.account.control(bytes.len());
                Ok(true)
            }
            Err(error) => self.no_room(error).map(|()| false),
        }
    }

    /// Nothing is sent after a fault.
    fn begin_call(&mut self) -> Result<()> {
        self.calls += 1;
        self.fault.as_ref().map_or(Ok(()), |fault| Err(fault.clone()))
    }

    /// Notes that there was no room, or keeps the error.
    fn no_room(&mut self, error: sealift_io::Error) -> Result<()> {
        if error == sealift_io::Error::Full {
            self.would_block += 1;
            return Ok(());
        }
        match explained(error) {
            // The reader's to judge, which still has to tell the peer: the kernel looks at what
            // comes before anybody reads, and refuses to send until somebody has.
            found @ (Error::Inauthentic | Error::Peer(_)) => Err(found),
            fault => Err(self.fault.get_or_insert(fault).clone()),
        }
    }

    fn await_room(&mut self, deadline: Instant) -> Result<()> {
        match self.tls.wait(Way::Out, deadline.min(Instant::now() + LOOK_UP_EVERY)) {
            Ok(()) | Err(sealift_io::Error::Deadline { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Checks that something can be written.
    fn check(&self, link: &Link) -> Result<()> {
        self.check_connection(link)?;
        if self.is_ended || self.sender.is_none() { Err(Error::Closed) } else { Ok(()) }
    }

    /// Checks that nothing has ended the connection.
    fn check_connection(&self, link: &Link) -> Result<()> {
        link.check()?;
        self.fault.clone().map_or(Ok(()), Err)
    }

    /// Replaces a key that has sealed nearly all that it may; false if there is no room to.
    fn renew_key(&mut self, link: &Link) -> Result<bool> {
        match self.tls13 {
            true => self.try_update_key(link, false),
            false => Err(Error::KeyExhausted),
        }
    }

    /// Sends a KeyUpdate under the old key, which asks for the peer's, and gives the kernel the new
    /// one.
    pub(crate) fn request_key_update(&mut self, link: &Link, deadline: Instant) -> Result<()> {
        if !self.tls13 {
            return Err(Error::Caller { what: "only TLS 1.3 has key updates" });
        }
        loop {
            self.check(link)?;
            if self.try_update_key(link, true)? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::Deadline);
            }
            self.await_room(deadline)?;
        }
    }

    fn try_update_key(&mut self, link: &Link, request: bool) -> Result<bool> {
        if !self.can_update_key {
            return Err(cannot_update_key());
        }
        if !self.send_control(ContentType::Handshake, &key_update(request))? {
            return Ok(false);
        }
        self.key_updates += 1;
        match self.give_next_key(link) {
            Ok(()) => Ok(true),
            // The peer opens with the new key only: nothing may follow under the old one.
            Err(error) => Err(self.fault.insert(error).clone()),
        }
    }

    fn give_next_key(&mut self, link: &Link) -> Result<()> {
        let earlier_records = self.account.sealed_by_key()?;
        let secret = link.secrets().next_sealing_secret()?;
        let (_, next) = key(&secret, true)?;
        let refused = |why: Unavailable| Error::KernelTls { why: why.to_string() };
        self.tls.set_key(Way::Out, &next).map_err(refused)?;
        // Not before: a key that is refused leaves the one before it in the kernel, and counted.
        self.account.open_key(secret.0, earlier_records);
        Ok(())
    }

    /// Tells the peer, at once or when there is room.
    pub(crate) fn send_alert(&mut self, description: AlertDescription) -> Result<()> {
        self.owed = Some(description);
        self.pay().map(drop)
    }

    /// Tells the peer why nothing more comes; nothing follows, and this follows no close_notify.
    pub(crate) fn send_last(&mut self, link: &Link, description: AlertDescription) -> Result<()> {
        if self.is_ended {
            return Ok(());
        }
        self.is_ended = true;
        link.want(Wants::PUMP);
        self.send_alert(description)
    }

    /// See [`Outflow::leave`](crate::outflow::Outflow::leave): an alert that is owed.
    pub(crate) fn leave(&mut self, link: &Link) {
        if self.sender.is_some() && self.is_in_debt() {
            link.want(Wants::PUMP);
        }
    }

    /// Whether an alert is owed.
    pub(crate) fn is_in_debt(&self) -> bool {
        self.owed.is_some()
    }

    /// Sends the alert that is owed; false if there is no room.
    fn pay(&mut self) -> Result<bool> {
        let Some(description) = self.owed else { return Ok(true) };
        if !self.send_control(ContentType::Alert, &Alert::encode(description))? {
            return Ok(false);
        }
        self.owed = None;
        Ok(true)
    }

    /// Does what the reading side wants, as far as there is room.
    pub(crate) fn tend(&mut self, link: &Link) -> Result<()> {
        // What is sent no more is wanted no more.
        if self.sender.is_none() || self.fault.is_some() {
            link.take_want(Wants::ANY);
        }
        if !link.wants(Wants::ANY) {
            return Ok(());
        }
        if self.is_ended {
            link.take_want(Wants::ANSWER | Wants::REFUSAL);
        }
        if link.wants(Wants::ANSWER) && self.try_update_key(link, false)? {
            link.take_want(Wants::ANSWER);
        }
        if self.owed.is_none() && link.take_want(Wants::REFUSAL) {
            self.owed = Some(AlertDescription::NoRenegotiation);
        }
        if self.pay()? {
            link.take_want(Wants::PUMP);
        } else {
            link.want(Wants::PUMP);
        }
        Ok(())
    }

    /// What was written is the kernel's, and its memory free; says how much that was since the last
    /// flush.
    pub(crate) fn flush(&mut self, link: &Link, deadline: Instant) -> Result<Tally> {
        self.hand_over(link, deadline)?;
        Ok(std::mem::take(&mut self.tally))
    }

    /// Waits until the kernel has everything written before; at the end of the stream, until TCP
    /// has (invariant 1).
    pub(crate) fn hand_over(&mut self, link: &Link, deadline: Instant) -> Result<()> {
        let mut pause = TAKEN_EVERY.0;
        loop {
            self.check_connection(link)?;
            if self.pay()? && (!self.is_ended || self.account.is_with_tcp()?) {
                link.take_want(Wants::PUMP);
                return Ok(());
            }
            let sender = self.sender.as_ref().ok_or(Error::Closed)?;
            // What the connection died of.
            sender.is_acknowledged()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                link.want(Wants::PUMP);
                return Err(Error::Deadline);
            }
            std::thread::sleep(left.min(pause));
            pause = (pause * 2).min(TAKEN_EVERY.1);
        }
    }

    /// See [`Outflow::unacknowledged_bytes`](crate::outflow::Outflow::unacknowledged_bytes).
    pub(crate) fn unacknowledged_bytes(&self) -> Option<usize> {
        // Nobody asks the kernel any more.
        self.sender.as_ref()?;
        let is_notified = self.is_ended && self.owed.is_none();
        let end_bytes = if is_notified { self.account.record_bytes(Alert::BYTES) } else { 0 };
        let outstanding_bytes = self.account.unacknowledged_bytes().ok()?;
        Some((outstanding_bytes as usize).saturating_sub(end_bytes))
    }

    /// Sends close_notify, behind which nothing is sealed.
    pub(crate) fn notify_end(&mut self, link: &Link) -> Result<()> {
        self.check(link)?;
        self.tend(link)?;
        self.is_ended = true;
        link.ends();
        self.send_alert(AlertDescription::CloseNotify)
    }

    /// Sends close_notify, unless that was done, and waits until TCP has everything.
    pub(crate) fn end(&mut self, link: &Link, deadline: Instant) -> Result<()> {
        if !self.is_ended {
            self.notify_end(link)?;
        }
        self.hand_over(link, deadline)
    }

    /// Sends close_notify, unless that was done, sees everything to TCP, and closes the sender.
    pub(crate) fn close(&mut self, link: &Link, deadline: Instant) -> Result<Ending> {
        let notified = match self.is_ended {
            true => self.check_connection(link),
            false => self.notify_end(link),
        };
        let handed_over = match &notified {
            Ok(()) => self.hand_over(link, deadline),
            Err(_) => self.see_off(deadline),
        };
        let unacknowledged_bytes = self.account.unacknowledged_bytes().unwrap_or(0) as usize;
        let stats = self.sender_stats();
        let Some(sender) = self.sender.take() else {
            return Err(notified.err().unwrap_or(Error::Closed));
        };
        let mut closed = sender.close(deadline);
        self.last_stats = stats;
        closed.stats = self.last_stats.clone();
        if handed_over.is_err() {
            closed.aborted = true;
            closed.unacknowledged_bytes = closed.unacknowledged_bytes.max(unacknowledged_bytes);
        }
        notified.map(|()| Ending { sender: closed, bulk: Retired::default() })
    }

    /// Tells the peer what is owed to it after a failure, and sees that to TCP.
    fn see_off(&mut self, deadline: Instant) -> Result<()> {
        let mut pause = TAKEN_EVERY.0;
        while !(self.pay()? && self.account.is_with_tcp()?) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Deadline);
            }
            std::thread::sleep(left.min(pause));
            pause = (pause * 2).min(TAKEN_EVERY.1);
        }
        Ok(())
    }

    /// What was sealed.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            records: self.account.data_records(),
            bytes: self.account.data_bytes(),
            gathered_bytes: 0,
            key_updates: self.key_updates,
        }
    }

    /// The sender's figures, and with them what went past it.
    pub(crate) fn sender_stats(&self) -> sealift_io::Stats {
        let Some(sender) = &self.sender else { return self.last_stats.clone() };
        let mut stats = sender.stats();
        stats.bytes.plain += self.account.data_bytes();
        stats.requests += self.calls;
        stats.system_calls += self.calls;
        stats.would_block += self.would_block;
        stats
    }

    /// See [`Outflow::into_sender`](crate::outflow::Outflow::into_sender).
    pub(crate) fn into_sender(self) -> Option<Sender> {
        self.sender
    }

    /// The sender, unless it is closed.
    #[cfg(feature = "tokio")]
    pub(crate) fn sender(&mut self) -> Result<&mut Sender> {
        self.sender.as_mut().ok_or(Error::Closed)
    }
}
