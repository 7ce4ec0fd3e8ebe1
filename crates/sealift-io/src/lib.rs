//! Memory and sockets: buffers with one owner, zero-copy send, receive, what the machine can do.
//!
//! ```text
//!  Pool ──lease──► Message ──► Sender ──► kernel
//!   ▲                             │          │
//!   └──── buffers ── Completion ◄─┴──────────┘ released
//! ```
//!
//! A buffer has one owner at a time. It is handed over with [`Sender::send`] and comes back in
//! exactly one [`Completion`], once the kernel will not read it again, whatever happened in
//! between. Being zero-copy is an [`Outcome`], not a promise: the same code works where it cannot
//! be had, and says why.
//!
//! ```
//! use std::net::{TcpListener, TcpStream};
//! use std::time::{Duration, Instant};
//! use sealift_io::{Event, Pool, Sender};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let listener = TcpListener::bind("127.0.0.1:0")?;
//! # let peer = TcpStream::connect(listener.local_addr()?)?;
//! # let (socket, _) = listener.accept()?;
//! let pool = Pool::builder().frames(8).frame_bytes(64 * 1024).build()?;
//! let mut sender = Sender::builder().pool(&pool).build(socket)?;
//! let deadline = Instant::now() + Duration::from_secs(5);
//!
//! let mut lease = pool.lease_before(deadline)?;
//! lease.fill(b"hello");
//! sender.send(lease)?;
//! while let Some(event) = sender.wait(deadline)? {
//!     if let Event::Completed(done) = event {
//!         println!("{:?} of {:?}", done.result, done.message); // the lease is ours again
//!     }
//! }
//! assert!(!sender.close(deadline).aborted);
//! # drop(peer);
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]

mod acknowledged;
#[cfg(feature = "tokio")]
mod alarm;
#[cfg(feature = "baseline")]
pub mod baseline;
mod buffer;
mod buffers;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod ktls;
mod message;
mod netlink;
#[allow(unsafe_code)]
mod pool;
pub mod probe;
mod receive;
mod ring;
#[cfg(feature = "sandbox")]
pub mod sandbox;
mod send;
#[cfg(test)]
#[path = "../tests/support/skip.rs"]
mod skip_log;
mod sync;
#[allow(unsafe_code)]
mod sys;

pub use acknowledged::{is_acknowledged, unacknowledged_bytes, unanswered_for};
#[cfg(feature = "tokio")]
pub use alarm::Alarm;
pub use buffer::Buffer;
pub use buffers::Buffers;
pub use error::{Errno, Error, Result};
pub use message::{Group, Message};
pub use pool::{Frozen, Lease, LiveRegion, Pages, Pool, PoolBuilder, PoolStats, SharedMemory};
pub use receive::{Received, Receiver};
pub use ring::{Ring, RingBuilder};
#[cfg(feature = "tokio")]
pub use send::{AsyncSender, Readable, Watch};
pub use send::{
    Backend, ByteCounts, Choice, Closed, Completion, Event, GroupRelease, Outcome, Policy,
    QUARANTINE_LINGER, QuarantineStats, Refused, Returned, Sender, SenderBuilder, Stats, Tally,
    Ticket, quarantine,
};
