//! The counters of a sender: what a user cannot see they cannot trust.

use serde::Serialize;

use super::backend::Choice;
use super::completion::ByteCounts;

/// Counted as it happens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) messages: u64,
    pub(crate) bytes: ByteCounts,
    pub(crate) requests: u64,
    pub(crate) zero_copy_requests: u64,
    pub(crate) notifications: u64,
    pub(crate) short_sends: u64,
    pub(crate) would_block: u64,
    pub(crate) pressure: u64,
    pub(crate) unsupported: u64,
    pub(crate) waits_for_release: u64,
    pub(crate) stray_answers: u64,
    pub(crate) system_calls: u64,
    pub(crate) pinned_bytes_high: u64,
}

/// The figures of a [`Sender`](crate::Sender) since it was made.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// How the bytes are sent, and why so.
    pub backend: Choice,
    /// On the `uring` backend: why no memory is registered with the kernel, if so.
    pub unregistered: Option<String>,
    /// Messages accepted.
    pub messages: u64,
    /// Bytes that the kernel accepted and let go of, by what became of them.
    pub bytes: ByteCounts,
    /// Send calls or io_uring send requests.
    pub requests: u64,
    /// Those of them that offered zero-copy.
    pub zero_copy_requests: u64,
    /// Zero-copy requests that were released.
    pub notifications: u64,
    /// Requests of which the kernel took a part only.
    pub short_sends: u64,
    /// Times that the socket had no room (`EAGAIN`).
    pub would_block: u64,
    /// Times that the kernel was short of memory (`ENOBUFS`, `ENOMEM`).
    pub pressure: u64,
    /// Times that the kernel refused zero-copy on this socket (`EOPNOTSUPP`).
    pub unsupported: u64,
    /// Times that a send waited because the cap on pinned bytes was reached.
    pub waits_for_release: u64,
    /// Answers of the kernel that named no open request; always zero, unless the kernel or this
    /// library has a bug.
    pub stray_answers: u64,
    /// System calls made for sending and for reading notifications.
    pub system_calls: u64,
    /// Bytes in open zero-copy requests now.
    pub pinned_bytes: u64,
    /// The most that were ever in open zero-copy requests.
    pub pinned_bytes_high: u64,
    /// The size from which zero-copy is offered now.
    pub threshold_bytes: u64,
    /// Whether the policy copies at present because the path does.
    pub path_copies: bool,
}

impl Stats {
    /// Copies that the kernel made per byte sent: 0 for true zero-copy, 1 for an ordinary send.
    pub fn copies_per_byte(&self) -> f64 {
        ratio(self.bytes.copied + self.bytes.plain, self.bytes.total())
    }

    /// System calls per byte sent.
    pub fn system_calls_per_byte(&self) -> f64 {
        ratio(self.system_calls, self.bytes.total())
    }

    /// The share of the bytes that was truly zero-copy, from 0 to 1.
    pub fn zero_copied_fraction(&self) -> f64 {
        ratio(self.bytes.zero_copied, self.bytes.total())
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl std::fmt::Display for Stats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "backend              {}", self.backend)?;
        if let Some(why) = &self.unregistered {
            writeln!(f, "registered memory    none: {why}")?;
        }
        writeln!(f, "messages             {}", self.messages)?;
        writeln!(f, "bytes zero-copied    {}", self.bytes.zero_copied)?;
        writeln!(f, "bytes copied anyway  {}", self.bytes.copied)?;
        writeln!(f, "bytes sent by copy   {}", self.bytes.plain)?;
        writeln!(f, "copies per byte      {:.3}", self.copies_per_byte())?;
        writeln!(
            f,
            "requests             {} ({} zero-copy, {} released, {} short)",
            self.requests, self.zero_copy_requests, self.notifications, self.short_sends
        )?;
        writeln!(
            f,
            "system calls         {} ({:.2e} per byte)",
            self.system_calls,
            self.system_calls_per_byte()
        )?;
        writeln!(
            f,
            "waits                {} for room, {} for a release, {} short of memory",
            self.would_block, self.waits_for_release, self.pressure
        )?;
        writeln!(
            f,
            "pinned bytes         {} now, {} at most",
            self.pinned_bytes, self.pinned_bytes_high
        )?;
        let threshold: &dyn std::fmt::Display = match self.threshold_bytes {
            u64::MAX => &"never",
            ref bytes => bytes,
        };
        write!(
            f,
            "zero-copy from       {threshold} bytes{}",
            if self.path_copies { ", but this path copies: copying, with samples" } else { "" }
        )
    }
}
