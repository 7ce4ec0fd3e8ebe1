//! Code of others that runs in here (sources, destinations, their drops) may panic: it is caught,
//! so that it costs one job its result, and no thread, no other job and no memory.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::engine::Done;
use crate::error::{Error, Result};
use crate::job::{Destination, Job, Source};

/// Does a job on this core.
pub(crate) fn perform<S: Source, D: Destination>(
    job: Job<S, D>,
    engine: &'static str,
) -> Done<S, D> {
    perform_by(job, engine, |job, units_done| job.perform(units_done))
}

/// Does a job by `work`, which counts the units that are done.
pub(crate) fn perform_by<S: Source, D: Destination>(
    mut job: Job<S, D>,
    engine: &'static str,
    work: impl FnOnce(&mut Job<S, D>, &mut usize) -> Result<()>,
) -> Done<S, D> {
    let mut units_done = 0;
    // Unwind safe: of what was under way, only the unit's outcome is in disorder, and is wiped.
    let performed = catch_unwind(AssertUnwindSafe(|| work(&mut job, &mut units_done)));
    let result = performed.unwrap_or_else(|payload| {
        discard_panic(payload);
        caught(|| job.wipe(units_done));
        Err(Error::Engine { engine, what: "a source or a destination panicked" })
    });
    Done { job, units_done, result }
}

/// Drops everything, each apart.
pub(crate) fn discard<T>(all: impl IntoIterator<Item = T>) {
    all.into_iter().for_each(|one| caught(|| drop(one)));
}

fn caught(action: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(action)) {
        discard_panic(payload);
    }
}

/// What a panic carries may panic when it is dropped, too; what that one carries is leaked.
fn discard_panic(payload: Box<dyn Any + Send>) {
    if let Err(next) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(next);
    }
}
