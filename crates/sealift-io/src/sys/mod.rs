//! The only room, with `pool`, where `unsafe` may live: system calls and their structures.

mod address;
#[cfg(feature = "baseline")]
pub(crate) mod baseline;
pub(crate) mod control;
pub(crate) mod ktls;
pub(crate) mod mapping;
#[cfg(feature = "sandbox")]
pub(crate) mod namespace;
pub(crate) mod netdev;
#[cfg(feature = "tokio")]
pub(crate) mod readiness;
mod region;
pub(crate) mod ring_probe;
pub(crate) mod socket;
pub(crate) mod socket_probe;
pub(crate) mod uring;

pub(crate) use region::{Part, Region};

use std::os::fd::{BorrowedFd, RawFd};

/// Lends a descriptor that `owner` keeps open.
pub(crate) fn borrow<T>(owner: &T, descriptor: RawFd) -> BorrowedFd<'_> {
    let _ = owner;
    // SAFETY: the callers pass a descriptor that `owner` owns, and the result borrows from it.
    unsafe { BorrowedFd::borrow_raw(descriptor) }
}
