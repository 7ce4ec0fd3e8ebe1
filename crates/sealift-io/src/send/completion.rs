//! What comes back: each message once, with its buffers, what became of its bytes, and any error.

use std::ops::AddAssign;

use serde::Serialize;

use crate::buffer::Buffer;
use crate::error::{Error, Result};
use crate::message::{Group, Message};
use crate::pool::Lease;

/// The number of a message on its sender, counted from zero in the order of acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u64);

impl Ticket {
    /// The message's number, from zero.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// How the bytes of a message left, as far as the kernel tells.
///
/// Through `MSG_ZEROCOPY` it may report on several sends at once, and then says of all of them what
/// held for the first: where some were copied and others not, as of datagrams to several
/// destinations, the outcome of a single message is an estimate. io_uring reports each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Offered zero-copy, and the kernel copied none of it.
    ZeroCopy,
    /// Offered zero-copy, but the kernel copied some of it after all (`SO_EE_CODE_ZEROCOPY_COPIED`,
    /// `IORING_NOTIF_USAGE_ZC_COPIED`).
    Copied,
    /// Never offered: the policy chose to copy, or this socket cannot do otherwise.
    Plain,
}

/// Bytes by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ByteCounts {
    /// Read by the device, or by the peer, from the caller's own memory.
    pub zero_copied: u64,
    /// Offered zero-copy and copied by the kernel after all.
    pub copied: u64,
    /// Copied because this side chose to.
    pub plain: u64,
}

impl ByteCounts {
    /// All bytes that the kernel accepted.
    pub fn total(&self) -> u64 {
        self.zero_copied + self.copied + self.plain
    }

    /// What became of the bytes as a whole.
    pub fn outcome(&self) -> Outcome {
        match (self.copied, self.zero_copied) {
            (0, 0) => Outcome::Plain,
            (0, _) => Outcome::ZeroCopy,
            _ => Outcome::Copied,
        }
    }
}

impl AddAssign for ByteCounts {
    fn add_assign(&mut self, other: Self) {
        self.zero_copied += other.zero_copied;
        self.copied += other.copied;
        self.plain += other.plain;
    }
}

/// A message that came back. Its buffers are free: the kernel will not read them again.
#[derive(Debug)]
#[must_use]
pub struct Completion {
    /// Which message this is.
    pub ticket: Ticket,
    /// The message with its buffers and its tag.
    pub message: Message,
    /// The bytes that the kernel accepted, by what became of them.
    pub bytes: ByteCounts,
    /// How the bytes left, or why they did not all leave.
    pub result: Result<Outcome>,
}

impl Default for Completion {
    fn default() -> Self {
        Self {
            ticket: Ticket(0),
            message: Message::default(),
            bytes: ByteCounts::default(),
            result: Ok(Outcome::Plain),
        }
    }
}

impl Completion {
    /// The first buffer, if it is a lease: the usual case of one lease per message.
    #[inline]
    pub fn into_lease(mut self) -> Option<Lease> {
        self.take_lease()
    }

    /// As [`into_lease`](Completion::into_lease), where the completion is lent only.
    #[inline]
    pub fn take_lease(&mut self) -> Option<Lease> {
        let first = self.message.buffers.first_mut().filter(|b| matches!(b, Buffer::Lease(_)))?;
        std::mem::replace(first, Buffer::Static(&[])).into_lease().ok()
    }
}

/// Messages and bytes since some point, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Tally {
    /// Messages whose outcome was [`Outcome::ZeroCopy`].
    pub zero_copy_messages: u64,
    /// Messages whose outcome was [`Outcome::Copied`].
    pub copied_messages: u64,
    /// Messages whose outcome was [`Outcome::Plain`].
    pub plain_messages: u64,
    /// Messages that failed.
    pub failed_messages: u64,
    /// The bytes of them all that the kernel accepted.
    pub bytes: ByteCounts,
}

impl Tally {
    /// All messages.
    pub fn messages(&self) -> u64 {
        self.zero_copy_messages + self.copied_messages + self.plain_messages + self.failed_messages
    }

    pub(crate) fn count(&mut self, bytes: &ByteCounts, failed: bool) {
        // One by one: as a whole they would be read before their parts were all written.
        self.bytes.zero_copied += bytes.zero_copied;
        self.bytes.copied += bytes.copied;
        self.bytes.plain += bytes.plain;
        match bytes.outcome() {
            _ if failed => self.failed_messages += 1,
            Outcome::ZeroCopy => self.zero_copy_messages += 1,
            Outcome::Copied => self.copied_messages += 1,
            Outcome::Plain => self.plain_messages += 1,
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.zero_copy_messages += other.zero_copy_messages;
        self.copied_messages += other.copied_messages;
        self.plain_messages += other.plain_messages;
        self.failed_messages += other.failed_messages;
        self.bytes += other.bytes;
    }
}

/// What a sender reports.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum Event {
    /// A message outside any group came back.
    Completed(Completion),
    /// Every message of a sealed group came back.
    Released(GroupRelease),
}

/// What a sender reports, lent by [`Sender::drain`](crate::Sender::drain).
#[derive(Debug)]
#[non_exhaustive]
pub enum Returned<'a> {
    /// A message outside any group came back. What is not taken out of it is dropped.
    Message(&'a mut Completion),
    /// Every message of a sealed group came back.
    Group(GroupRelease),
}

/// The one event of a release group: all its messages are back.
#[derive(Debug)]
#[must_use]
pub struct GroupRelease {
    /// Which group.
    pub group: Group,
    /// Its messages, in the order in which they came back.
    pub completions: Vec<Completion>,
    /// The same, counted.
    pub tally: Tally,
}

/// A message that was not accepted, with the reason. Nothing of it was sent.
#[derive(Debug, thiserror::Error)]
#[error("the message was refused: {error}")]
pub struct Refused {
    /// The message, given back.
    pub message: Box<Message>,
    /// Why: [`Error::Full`] to try again after a completion, or the stream's first fatal error.
    #[source]
    pub error: Error,
}
