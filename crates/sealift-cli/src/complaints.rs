//! Lines about connections that failed; a scanner that fails a thousand does not fill a log, and
//! nobody waits for whoever reads it.
//!
//! ```text
//!  connections ──► Ration ──► queue ──► a thread of its own ──► standard error
//!                    └── none left, or the queue full ──► counted, and said as a number: with the
//!                        next line, at the end, or when nothing was said for a while
//! ```

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
/// How long what was counted waits for a line to be said with.
const COUNT_AFTER: Duration = Duration::from_secs(10);
/// How long the last ones may take.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Says what failed, so often and no more.
#[derive(Debug)]
pub(crate) struct Complaints {
    ration: Arc<Mutex<Ration>>,
    lines: SyncSender<Line>,
}

#[derive(Debug)]
enum Line {
    Text(String),
    /// Something was counted.
    Owed,
    /// All before it were written.
    Last(SyncSender<()>),
}

impl Complaints {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// Without it nothing could be said.
    pub(crate) fn new(terminal: Terminal) -> io::Result<Self> {
        let (complaints, queue) = Self::queued(QUEUE);
        let ration = complaints.ration.clone();
        let write = move || write(&queue, &ration, COUNT_AFTER, |text| terminal.say(text));
        thread::Builder::new().name("words".into()).spawn(write)?;
        Ok(complaints)
    }

    /// With room for so many lines that nobody has written.
    fn queued(len: usize) -> (Self, Receiver<Line>) {
        let ration = Ration { lines: BURST, since: Instant::now(), unsaid: 0 };
        let (lines, queue) = sync_channel(len);
        (Self { ration: Arc::new(Mutex::new(ration)), lines }, queue)
    }

    /// The connection with `peer` failed.
    pub(crate) fn about(&self, peer: &Peer, failure: &Failure) {
        self.say(format_args!("connection from {peer}: {failure}"));
    }

    /// Something failed, if there is a line left to say so.
    pub(crate) fn say(&self, failure: impl fmt::Display) {
        let mut ration = lock(&self.ration);
        let Some(unsaid) = ration.take(Instant::now()) else {
            if ration.unsaid == 1 {
                // Where there is no room, it comes to know when it has made some.
                let _ = self.lines.try_send(Line::Owed);
            }
            return;
        };
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
        if let Some(count) = count(&self.ration) {
            self.notice(count);
        }
        let (written, is_written) = sync_channel(1);
        if self.lines.try_send(Line::Last(written)).is_ok() {
            let _ = is_written.recv_timeout(LAST_LINES);
        }
    }
}

fn lock(ration: &Mutex<Ration>) -> MutexGuard<'_, Ration> {
    ration.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How much was not said, which is said now.
fn count(ration: &Mutex<Ration>) -> Option<String> {
    let unsaid = std::mem::take(&mut lock(ration).unsaid);
    (unsaid > 0).then(|| format!("{unsaid} more failed"))
}

/// Writes lines as long as somebody could send some, and what was counted when none came for so
/// long.
fn write(queue: &Receiver<Line>, ration: &Mutex<Ration>, patience: Duration, say: impl Fn(&str)) {
    loop {
        let is_owed = lock(ration).unsaid > 0;
        let line = match is_owed {
            true => queue.recv_timeout(patience),
            false => queue.recv().map_err(RecvTimeoutError::from),
        };
        match line {
            Ok(Line::Text(text)) => say(&text),
            Ok(Line::Owed) => {}
            Ok(Line::Last(written)) => drop(written.send(())),
            Err(RecvTimeoutError::Timeout) => count(ration).iter().for_each(|count| say(count)),
            Err(RecvTimeoutError::Disconnected) => return,
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
    use std::sync::mpsc::channel;

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

    fn text(queue: &Receiver<Line>) -> String {
        match queue.try_iter().find(|line| !matches!(line, Line::Owed)) {
            Some(Line::Text(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nobody_waits_for_who_does_not_read_and_what_is_lost_is_counted() {
        let (complaints, read_by_nobody) = Complaints::queued(2);
        (0..5).for_each(|number| complaints.say(number));
        assert_eq!([text(&read_by_nobody), text(&read_by_nobody)], ["0", "1"]);
        complaints.say(5);
        assert_eq!(text(&read_by_nobody), "5 (3 more failed before)");
    }

    #[test]
    fn the_rest_is_told_at_the_end() {
        let (complaints, queue) = Complaints::queued(QUEUE);
        (0..BURST + 7).for_each(|number| complaints.say(number));
        (0..BURST).for_each(|number| assert_eq!(text(&queue), number.to_string()));
        complaints.end();
        assert_eq!(text(&queue), "7 more failed");
    }

    /// However long it is until the next one fails, or the end.
    #[test]
    fn what_was_counted_is_told_though_nothing_more_fails() {
        let (complaints, queue) = Complaints::queued(2 * QUEUE);
        let (ration, (says, said)) = (complaints.ration.clone(), channel());
        let soon = Duration::from_millis(1);
        thread::spawn(move || write(&queue, &ration, soon, |text| says.send(text.into()).unwrap()));
        (0..BURST + 7).for_each(|_| complaints.say("one"));
        let mut told = 0;
        while told < BURST + 7 {
            let line: String = said.recv_timeout(Duration::from_secs(20)).unwrap();
            let counted = line.split_once(" more failed").map(|(counted, _)| counted);
            told += counted.map_or(1, |counted| match counted.split_once(" (") {
                Some((_, counted)) => 1 + counted.parse::<u32>().unwrap(),
                None => counted.parse().unwrap(),
            });
        }
        assert_eq!(told, BURST + 7);
    }
}
