//! Lines about connections that failed; a scanner that fails a thousand does not fill a log, and
//! nobody waits for whoever reads it.
//!
//! ```text
//!  connections ──► Ration ──► queue ──► a thread of its own ──► standard error
//!                    └── none left, or the queue full ──► counted, and said later as a number
//! ```

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::terminal::Terminal;
use crate::transfer::connection::Peer;

/// Lines that may come at once.
const BURST: u32 = 20;
/// The time that brings one more.
const LINE_EVERY: Duration = Duration::from_secs(1);
/// Lines that may wait to be written.
const QUEUE: usize = 64;
/// How long the last ones may take.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Says what failed, so often and no more.
#[derive(Debug)]
pub(crate) struct Complaints {
    ration: Mutex<Ration>,
    lines: SyncSender<Line>,
}

#[derive(Debug)]
enum Line {
    Text(String),
    /// All before it were written.
    Last(SyncSender<()>),
}

impl Complaints {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// Without it nothing could be said.
    pub(crate) fn new(terminal: Terminal) -> io::Result<Self> {
        let ration = Ration { lines: BURST, since: Instant::now(), unsaid: 0 };
        let (lines, queue) = sync_channel(QUEUE);
        thread::Builder::new().name("words".into()).spawn(move || write(&queue, &terminal))?;
        Ok(Self { ration: Mutex::new(ration), lines })
    }

    /// The connection with `peer` failed.
    pub(crate) fn about(&self, peer: &Peer, failure: &Failure) {
        self.say(format_args!("connection from {peer}: {failure}"));
    }

    /// Something failed, if there is a line left to say so.
    pub(crate) fn say(&self, failure: impl fmt::Display) {
        let mut ration = self.ration();
        let Some(unsaid) = ration.take(Instant::now()) else { return };
        let line = match unsaid {
            0 => failure.to_string(),
            unsaid => format!("{failure} ({unsaid} more failed before)"),
        };
        if self.lines.try_send(Line::Text(line)).is_err() {
            ration.unsaid += unsaid + 1;
        }
    }

    /// Says something that is no failure.
    pub(crate) fn notice(&self, text: String) {
        // Who does not read failures does not miss it.
        let _ = self.lines.try_send(Line::Text(text));
    }

    /// Says how much was not said, and waits a moment until all that was said is written.
    pub(crate) fn end(&self) {
        let unsaid = std::mem::take(&mut self.ration().unsaid);
        if unsaid > 0 {
            self.notice(format!("{unsaid} more failed"));
        }
        let (written, is_written) = sync_channel(1);
        if self.lines.try_send(Line::Last(written)).is_ok() {
            let _ = is_written.recv_timeout(LAST_LINES);
        }
    }

    fn ration(&self) -> MutexGuard<'_, Ration> {
        self.ration.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes lines as long as somebody could send some.
fn write(queue: &Receiver<Line>, terminal: &Terminal) {
    for line in queue {
        match line {
            Line::Text(text) => terminal.say(&text),
            Line::Last(written) => drop(written.send(())),
        }
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

    fn queue(len: usize) -> (Complaints, Receiver<Line>) {
        let ration = Ration { lines: BURST, since: Instant::now(), unsaid: 0 };
        let (lines, queue) = sync_channel(len);
        (Complaints { ration: Mutex::new(ration), lines }, queue)
    }

    fn text(queue: &Receiver<Line>) -> String {
        match queue.try_recv() {
            Ok(Line::Text(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nobody_waits_for_who_does_not_read_and_what_is_lost_is_counted() {
        let (complaints, read_by_nobody) = queue(2);
        (0..5).for_each(|number| complaints.say(number));
        assert_eq!([text(&read_by_nobody), text(&read_by_nobody)], ["0", "1"]);
        complaints.say(5);
        assert_eq!(text(&read_by_nobody), "5 (3 more failed before)");
    }

    #[test]
    fn the_rest_is_told_at_the_end() {
        let (complaints, queue) = queue(QUEUE);
        (0..BURST + 7).for_each(|number| complaints.say(number));
        (0..BURST).for_each(|number| assert_eq!(text(&queue), number.to_string()));
        complaints.end();
        assert_eq!(text(&queue), "7 more failed");
    }
}
