//! What goes wrong, sorted by whose fault it is.

use crate::suite::Suite;

/// The result of most calls here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A message is not what its sender sealed, or it was sealed for another place. That is all
    /// there is to know, on purpose.
    #[error("a message failed authentication")]
    Inauthentic,
    /// The key has done all that it may: take the next one.
    #[error("the {suite} key has reached its limit of {limit} {what}")]
    KeyExhausted {
        /// The key's suite.
        suite: Suite,
        /// `messages sealed` or `failures to open`.
        what: &'static str,
        /// How many it may.
        limit: u64,
    },
    /// The caller asked for something that cannot be; the text says what to do instead.
    #[error("{what}")]
    Caller {
        /// What was wrong with the request, in one clause.
        what: &'static str,
    },
    /// The engine did not do the job: it died, was reset, or lost it. Nothing is wrong with the
    /// job, which another engine can do; but if it works in place and was begun, its source is
    /// gone, and every engine refuses it.
    #[error("the {engine} engine failed: {what}")]
    Engine {
        /// Which engine.
        engine: &'static str,
        /// What happened to it.
        what: &'static str,
    },
    /// The deadline passed first. What is under way goes on.
    #[error("the deadline passed with {in_flight} jobs in flight")]
    Deadline {
        /// Jobs that were accepted and have not completed.
        in_flight: usize,
    },
}

/// Why there is no [`IpsecMb`](crate::IpsecMb) engine on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// Its library cannot be opened.
    #[error("the library cannot be opened, install Debian's package libipsec-mb1: {why}")]
    NotInstalled {
        /// What the loader says.
        why: String,
    },
    /// The structures of this version may be others than those that are known.
    #[error("libIPSec_MB has version {found}, and only 1.3.0 is known")]
    UnknownVersion {
        /// The version that is installed.
        found: String,
    },
    /// It does not work on this machine.
    #[error("libIPSec_MB does not work here: {what}")]
    Unusable {
        /// What it lacks or refuses, in one clause.
        what: &'static str,
    },
    /// It seals or opens otherwise than the inline engine.
    #[error("libIPSec_MB does not compute {suite} as it should")]
    Differs {
        /// The first suite of which that is so.
        suite: Suite,
    },
}
