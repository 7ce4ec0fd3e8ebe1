//! The mistakes that others made with zero-copy sends, each shown not to be made here.
//!
//! The list is the end of kernel-facts.md ('Ownership mistakes') and its measured facts. Mistakes
//! of bookkeeping have their tests beside the code (`src/send`); here are those that show only on
//! a real kernel. `support/raw.rs` asks the kernel for the truth where a fact can be asked for.

mod kernel;
mod lossy;
mod ownership;
#[path = "../support/mod.rs"]
mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};

use sealift_io::{Backend, Policy, SenderBuilder};

pub(crate) const BACKENDS: [Backend; 3] = [Backend::Uring, Backend::MsgZerocopy, Backend::Copy];
pub(crate) const ZERO_COPY: [Backend; 2] = [Backend::Uring, Backend::MsgZerocopy];

/// The quarantine is the process's: one test at a time looks at it.
pub(crate) fn quarantine_alone() -> MutexGuard<'static, ()> {
    static QUARANTINE: Mutex<()> = Mutex::new(());
    QUARANTINE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn always(backend: Backend) -> SenderBuilder {
    sealift_io::Sender::builder().backend(backend).policy(Policy::AlwaysZeroCopy)
}
