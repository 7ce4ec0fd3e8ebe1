//! Sending: one pure machine, three backends, and every buffer back.
//!
//! ```text
//!  Message ─► Sender ─► Machine ─► Port ─┬─ UringPort ─► io_uring ─┐
//!                          ▲             └─ SendmsgPort ────► sendmsg ──┤
//!                          └──── results, releases ◄── kernel ◄───┘
//! ```
//!
//! - `sender.rs` what users hold; `builder.rs` how it is made; `backend.rs` which backend and why;
//! - `machine.rs` the state, `gather.rs` queue to request, `settle.rs` answer to completion;
//! - `straight.rs` past all that, for what is copied at once with nothing in front of it;
//! - `policy.rs` copy or zero-copy; `ledger.rs` what is owed to the caller; `slots.rs` their keys;
//! - `sendmsg.rs`, `notifications.rs`, `sendmsg_port.rs` the error-queue backend; `uring_port.rs`
//!   io_uring;
//! - `segment_size.rs` what a sender changes on the socket and puts back;
//! - `quarantine.rs` buffers whose sender is gone;
//! - `mistakes.rs` and `simulation/` test the machine, the latter against a simulated kernel.

#[cfg(feature = "tokio")]
mod awaited;
mod backend;
mod builder;
mod completion;
mod gather;
mod ledger;
mod machine;
#[cfg(test)]
mod mistakes;
#[cfg(feature = "tokio")]
mod news;
mod notifications;
mod policy;
mod port;
mod quarantine;
mod segment_size;
mod sender;
mod sendmsg;
mod sendmsg_port;
mod settle;
#[cfg(test)]
mod simulation;
mod slots;
mod stats;
mod straight;
mod uring_port;
#[cfg(feature = "tokio")]
mod watch;

#[cfg(feature = "tokio")]
pub use awaited::AsyncSender;
pub use backend::{Backend, Choice};
pub use completion::{
    ByteCounts, Completion, Event, GroupRelease, Outcome, Refused, Returned, Tally, Ticket,
};
pub use policy::Policy;
pub use quarantine::{LINGER as QUARANTINE_LINGER, QuarantineStats, quarantine};
pub use sender::{Closed, Sender, SenderBuilder};
pub use stats::Stats;
#[cfg(feature = "tokio")]
pub use watch::{Readable, Watch};

/// What the fuzz targets drive.
#[cfg(fuzzing)]
pub(crate) mod fuzzing {
    pub(crate) use super::machine::{Kind, Limits, Machine};
    pub(crate) use super::notifications::{Notifications, Range};
    pub(crate) use super::policy::Chooser;
    pub(crate) use super::settle::Release;
    pub(crate) use super::slots::Key;
}
