//! Which backend a socket gets, and why.

use std::fmt;

use serde::Serialize;

use crate::probe::RingFeatures;

/// A way to hand bytes to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// io_uring `SEND_ZC` and `SENDMSG_ZC`, registered memory, batches.
    Uring,
    /// `sendmsg` with `MSG_ZEROCOPY` and the socket's error queue.
    MsgZerocopy,
    /// Ordinary `sendmsg`.
    Copy,
}

impl Backend {
    /// The name that the command line and the figures use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::MsgZerocopy => "msg-zerocopy",
            Self::Copy => "copy",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The chosen backend with the reason, and, where it cannot zero-copy here, why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Choice {
    /// What is used.
    pub backend: Backend,
    /// Why this one.
    pub reason: String,
    /// Why nothing can go out zero-copy, if so.
    pub no_zero_copy: Option<String>,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.backend, self.reason)?;
        match &self.no_zero_copy {
            None => Ok(()),
            Some(why) => write!(f, "; no zero-copy: {why}"),
        }
    }
}

/// Chooses a backend for a socket; `forced` overrides the choice but not the reasons. `never` says
/// what it is, if that rules zero-copy out: a unix socket, MPTCP, a socket with an upper layer.
/// `by_calls` prepares it for zero-copy system calls, and is asked only if those are to be made.
pub(crate) fn choose(
    forced: Option<Backend>,
    ring: &RingFeatures,
    never: Option<&str>,
    by_calls: impl FnOnce() -> Result<(), &'static str>,
) -> Choice {
    let asked_for = "asked for".to_owned();
    let choice = |backend, reason, no_zero_copy| Choice { backend, reason, no_zero_copy };
    let by_ring = ring_zero_copy(ring);
    match (forced, never) {
        (Some(Backend::Copy), _) => choice(Backend::Copy, asked_for, None),
        (Some(backend), Some(never)) => choice(backend, asked_for, Some(never.to_owned())),
        (None, Some(never)) => choice(Backend::Copy, never.to_owned(), None),
        (Some(Backend::Uring), None) => choice(Backend::Uring, asked_for, by_ring.err()),
        (Some(Backend::MsgZerocopy), None) => {
            choice(Backend::MsgZerocopy, asked_for, by_calls().err().map(str::to_owned))
        }
        (None, None) => match by_ring {
            Ok(()) => {
                choice(Backend::Uring, "zero-copy through io_uring works here".to_owned(), None)
            }
            Err(no_ring) => without_ring(no_ring, by_calls),
        },
    }
}

/// The second choice, where the ring cannot be used for the reason given.
pub(crate) fn without_ring(
    no_ring: String,
    by_calls: impl FnOnce() -> Result<(), &'static str>,
) -> Choice {
    let (backend, reason) = match by_calls() {
        Ok(()) => (Backend::MsgZerocopy, no_ring),
        Err(no_calls) => (Backend::Copy, format!("{no_ring}; {no_calls}")),
    };
    Choice { backend, reason, no_zero_copy: None }
}

/// Whether the ring can send zero-copy and say truly whether it did.
fn ring_zero_copy(ring: &RingFeatures) -> Result<(), String> {
    let needed = [&ring.available, &ring.send_zc, &ring.sendmsg_zc, &ring.report_usage];
    match needed.into_iter().find(|feature| !feature.is_yes()) {
        None => Ok(()),
        Some(missing) => {
            let why = missing.reason.as_deref().unwrap_or("it could not be asked for");
            Err(format!("io_uring, {}: {why}", missing.title))
        }
    }
}
