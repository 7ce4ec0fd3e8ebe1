//! What must not stay behind when the command is interrupted: partial files, sockets.
//!
//! ```text
//!  partial file, socket ──on_interrupt──► PENDING ◄── signal thread ◄── SIGINT, SIGTERM and others
//!           └──────────── done, drop ───────┘              └── cleans up, dies of the signal
//! ```
//!
//! Whoever takes something off the list and whoever cleans it up hold the same lock, so a file is
//! either renamed by the transfer or removed by the signal, never both. The signal thread does not
//! let go of the lock again: nothing is begun behind its back.

use std::fs;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU,
    SIGXFSZ,
};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// What ends a process that does not ask for it. Left out are those of a fault in the program
/// itself, and SIGPIPE, which Rust's runtime ignores: the write's error tells.
const ENDING: [i32; 10] =
    [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU];

type Work = Box<dyn FnMut() + Send>;

static PENDING: Mutex<Vec<(u64, Work)>> = Mutex::new(Vec::new());

fn pending() -> MutexGuard<'static, Vec<(u64, Work)>> {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts to listen to signals. Those that were ignored from the start (`nohup`, a shell's
/// background job) stay ignored.
///
/// # Errors
/// Without handlers or the thread an interruption would leave things behind.
pub(crate) fn watch_signals() -> io::Result<()> {
    watch_signals_but(|_| false)
}

/// The same, but for those that `takes` says it takes: they end nothing here.
///
/// # Errors
/// As [`watch_signals`].
pub(crate) fn watch_signals_but(takes: impl Fn(i32) -> bool + Send + 'static) -> io::Result<()> {
    let ignored = ignored_signals();
    let handled = ENDING.into_iter().filter(|signal| {
        let bit = 1u64 << (signal - 1);
        ignored & bit == 0
    });
    let mut signals = Signals::new(handled)?;
    // A limit on file sizes is an error of the write (EFBIG), not the end of the process.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let ending = signals.forever().find(|signal| !takes(*signal));
        ending.into_iter().for_each(die_of);
    })?;
    Ok(())
}

/// Cleans up and dies of a signal, so that a shell sees what happened.
pub(crate) fn die_of(signal: i32) {
    let mut pending = pending();
    for (_, work) in pending.iter_mut().rev() {
        work();
    }
    let _ = emulate_default_handler(signal);
}

/// The mask of signals that this process was started to ignore (`SigIgn` of `proc(5)`).
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Something that an interruption cleans up. Dropping it takes it off the list.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pending {
    number: u64,
}

/// Has `work` done if a signal ends the process.
pub(crate) fn on_interrupt(work: impl FnMut() + Send + 'static) -> Pending {
    let mut pending = pending();
    let number = pending.last().map_or(0, |(number, _)| number + 1);
    pending.push((number, Box::new(work)));
    Pending { number }
}

impl Pending {
    /// Does `work` and takes this off the list, with no signal in between.
    pub(crate) fn done<T>(self, work: impl FnOnce() -> T) -> T {
        let mut pending = pending();
        let result = work();
        pending.retain(|(number, _)| *number != self.number);
        drop(pending);
        std::mem::forget(self);
        result
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        pending().retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_no_longer_pending() {
        let first = on_interrupt(|| {});
        let second = on_interrupt(|| {});
        assert_ne!(first.number, second.number);
        let (numbers, kept) =
            (|| pending().iter().map(|(n, _)| *n).collect::<Vec<_>>(), second.number);
        assert_eq!(first.done(|| 7), 7);
        assert_eq!(numbers(), [kept]);
        drop(second);
        assert!(numbers().is_empty());
    }
}
