//! Lines about connections that failed; a scanner that fails a thousand does not fill a log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::terminal::Terminal;
use crate::transfer::connection::Peer;

/// Lines that may come at once.
const BURST: u32 = 20;
/// The time that brings one more.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Says what failed, so often and no more.
#[derive(Debug)]
pub(super) struct Complaints {
    terminal: Terminal,
    ration: Mutex<Ration>,
}

impl Complaints {
    pub(super) fn new(terminal: Terminal) -> Self {
        let ration = Ration { lines: BURST, since: Instant::now(), unsaid: 0 };
        Self { terminal, ration: Mutex::new(ration) }
    }

    /// The connection with `peer` failed.
    pub(super) fn about(&self, peer: &Peer, failure: &Failure) {
        let mut ration = self.ration.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(unsaid) = ration.take(Instant::now()) else { return };
        drop(ration);
        if unsaid > 0 {
            self.terminal.say(&format!("{unsaid} more connections failed"));
        }
        self.terminal.say(&format!("connection from {peer}: {failure}"));
    }
}

/// How many lines there are left.
#[derive(Debug)]
struct Ration {
    lines: u32,
    since: Instant,
    unsaid: u64,
}

impl Ration {
    /// Takes a line, if there is one; how many were not said since the last.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let more = (now - self.since).as_nanos() / LINE_EVERY.as_nanos();
        if more > 0 {
            self.lines = BURST.min(self.lines.saturating_add(more.min(u128::from(BURST)) as u32));
            self.since = now;
        }
        if self.lines == 0 {
            self.unsaid += 1;
            return None;
        }
        self.lines -= 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_in_a_few_lines() {
        let start = Instant::now();
        let mut ration = Ration { lines: BURST, since: start, unsaid: 0 };
        let said = (0..1000).filter(|_| ration.take(start) == Some(0)).count();
        assert_eq!(said, BURST as usize);
        assert_eq!(ration.take(start + LINE_EVERY * 2), Some(1000 - u64::from(BURST)));
        assert_eq!(ration.take(start + LINE_EVERY * 2), Some(0));
        assert_eq!(ration.take(start + LINE_EVERY * 2), None);
        let later = start + LINE_EVERY * 1_000_000;
        assert_eq!(ration.take(later), Some(1));
        assert_eq!(ration.lines, BURST - 1);
    }
}
