//! The corruption oracle: the sender overwrites each buffer with garbage the moment it comes
//! back; the receiver checks every byte against a stream keyed by its offset.
//!
//! ```text
//!  Feed ─message─► Sender ─► kernel ─► Peer: every byte right, in place, once?
//!   ▲                │
//!   └─ garbage over ─┘ what came back
//! ```
//!
//! A buffer that comes back while the kernel still reads it shows as garbage (or as a later
//! message's bytes) at the receiver; one that does not come back, or twice, shows in the account.
//! Truth: the stream's own definition, `support/pattern.rs`. Every run is made from a seed
//! (`SEALIFT_SEED`), which is printed with the case when it fails.
//!
//! `fast.rs` peers that read, `endings.rs` connections that break, `drops.rs` senders, rings,
//! pools and threads that go, `datagrams.rs` UDP.
#![allow(unreachable_pub, reason = "a test program of several files")]

mod case;
mod datagrams;
mod drops;
mod endings;
mod fast;
mod feed;
mod peer;
#[path = "../support/mod.rs"]
mod support;
