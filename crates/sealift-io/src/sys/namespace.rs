//! Leaving the machine's namespaces for private ones.

use rustix::io::{read, retry_on_intr, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::error::Errno;

/// Moves the calling thread into a new, empty network namespace.
pub(crate) fn unshare_network() -> Result<(), Errno> {
    unshare(UnshareFlags::NEWNET)
}

/// Moves the process, which must have no second thread yet, into a new user namespace and a new
/// network namespace that belongs to it.
pub(crate) fn unshare_user_and_network() -> Result<(), Errno> {
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)
}

fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: `unshare` is unsafe for CLONE_FILES, which none of the two callers above passes:
    // file descriptors stay shared between threads.
    unsafe { unshare_unsafe(flags) }.map_err(Errno::from)
}

/// Does `work` in a forked copy of the process, which ends with it, and hands its answer over.
pub(crate) fn in_a_copy(work: impl FnOnce() -> [u8; 2]) -> Result<[u8; 2], Errno> {
    let (answer, answering) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: the caller's process has one thread, so no lock is held by a thread that the copy
    // lacks: the copy may do all that the original may. `Ending` keeps it within this branch.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let _ending = Ending;
        // With the original gone there is nobody to tell.
        let _ = write(&answering, &work());
    }
    drop(answering);
    let child = Pid::from_raw(child).filter(|_| child > 0).ok_or_else(Errno::last)?;
    let mut bytes = [0; 2];
    let length = retry_on_intr(|| read(&answer, &mut bytes));
    // Where SIGCHLD is ignored the kernel has taken it away already.
    let _ = retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()));
    match length? {
        2 => Ok(bytes),
        _ => Err(Errno::from_raw(libc::ECHILD)),
    }
}

/// Ends a forked copy where it goes out of scope, in a panic too.
struct Ending;

impl Drop for Ending {
    fn drop(&mut self) {
        // SAFETY: ends the process; what else is registered for its end belongs to the original.
        unsafe { libc::_exit(0) }
    }
}
