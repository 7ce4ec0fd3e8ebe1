//! Code of others that runs in here (sources, destinations, their drops) may panic: it is caught,
//! so that it costs one job its result, and no thread, no other job and no memory.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::engine::Done;
use crate::error::{Error, Result};
use crate::job::{Destination, Job, Source};

/// Does a job on this core.
pub(crate) fn perform<S: Source, D: Destination>(
    mut job: Job<S, D>,
    engine: &'static str,
) -> Done<S, D> {
    let (units_done, result) = complete(&mut job, engine, Job::perform);
    Done { job, units_done, result }
}

/// Does a job where it lies, by `work`, which counts the units that it has done; says how many
/// those were.
#[inline]
pub(crate) fn complete<S: Source, D: Destination>(
    job: &mut Job<S, D>,
    engine: &'static str,
    work: impl FnOnce(&mut Job<S, D>, &mut usize) -> Result<()>,
) -> (usize, Result<()>) {
    let mut units_done = 0;
    if let Err(error) = job.begin() {
        return (0, Err(error));
    }
    // Unwind safe: of what was under way, only the unit's outcome is in disorder, and is wiped.
    let result = match catch_unwind(AssertUnwindSafe(|| work(job, &mut units_done))) {
        Ok(performed) => performed,
        Err(payload) => {
            discard_panic(payload);
            wipe(job, units_done);
            Err(Error::Engine { engine, what: "a source or a destination panicked" })
        }
    };
    (units_done, result)
}

/// Clears the outcomes of a job that failed, from a unit on.
pub(crate) fn wipe<S: Source, D: Destination>(job: &mut Job<S, D>, from: usize) {
    _ = caught(|| job.wipe(from));
}

/// Drops everything, each apart.
pub(crate) fn discard<T>(all: impl IntoIterator<Item = T>) {
    all.into_iter().for_each(|one| _ = caught(|| drop(one)));
}

/// What an action gives, unless it panics.
pub(crate) fn caught<T>(action: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(action)).map_err(discard_panic).ok()
}

/// What a panic carries may panic when it is dropped, too; what that one carries is leaked.
fn discard_panic(payload: Box<dyn Any + Send>) {
    if let Err(next) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(next);
    }
}
