//! The progress bar: how much, how fast, how long still, and how it truly left.
//!
//! ```text
//! ━━━━━━━━━━━━━━━━━━━━╸────────  71%  3.05 of 4.29 GB  2.9 GB/s  0 s left  zero-copy 98%
//! ```
//!
//! Where that does not fit, the bar goes first, then words, then what the percentage says already;
//! nothing is cut in the middle:
//!
//! ```text
//!  71%  3.05 GB   2.9 GB/s    0 s left  zero-copy 98%
//!  71%   2.9 GB/s    0 s  zero-copy 98%
//! ```
//!
//! It is drawn on a terminal only; elsewhere every call here does nothing that can be seen.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::quantity;
use crate::terminal::{Terminal, shown};

/// The least time between two looks at figures that cost something to get.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// From when on a pause is called a stall.
const STALL: Duration = Duration::from_secs(3);
/// The rate shown is that of about the last seconds.
const RATE_WINDOW: Duration = Duration::from_secs(3);

/// From this width on there is room for a bar beside the words.
const WIDE_COLUMNS: u16 = 76;
/// The least bar that is worth its room.
const BAR_COLUMNS: u16 = 10;
/// The width of a terminal that does not tell.
const USUAL_COLUMNS: u16 = 80;

/// Whom a transfer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// The other end of the connection.
    Peer,
    /// This end's own source.
    Source,
    /// This end's own destination.
    Destination,
}

/// The bar of one transfer.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    size: Option<u64>,
    /// The width of the terminal when it was last asked.
    columns: Option<u16>,
    looked: Instant,
    rate: Rate,
}

impl Progress {
    /// A bar for `size` bytes, or for a stream of unknown length.
    pub(crate) fn new(terminal: &Terminal, size: Option<u64>) -> Self {
        let bar = match size {
            Some(size) => ProgressBar::new(size),
            None => ProgressBar::no_length(),
        };
        let bar = if terminal.is_watched() { terminal.bars().add(bar) } else { hidden(bar) };
        let mut progress =
            Self { bar, size, columns: None, looked: Instant::now(), rate: Rate::new() };
        progress.fit();
        progress
    }

    /// Leaves the bar away where it would push the words over the edge.
    fn fit(&mut self) {
        if self.bar.is_hidden() {
            return;
        }
        let size = rustix::termios::tcgetwinsize(std::io::stderr());
        // Some terminals say that they have no columns at all.
        let told = size.ok().map(|size| size.ws_col).filter(|columns| *columns > 0);
        let columns = told.unwrap_or(USUAL_COLUMNS);
        if self.columns.replace(columns) == Some(columns) {
            return;
        }
        let template = match self.size {
            Some(_) if has_bar(columns) => "{wide_bar} {percent:>3}%  {msg}",
            Some(_) => "{percent:>3}%  {wide_msg}",
            None => "{spinner} {wide_msg}",
        };
        // A wrong template would show in the first test of it; the default style is no loss.
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("━╸─").tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
        }
    }

    /// The room for words, in columns.
    fn room(&self) -> usize {
        let columns = self.columns.unwrap_or(USUAL_COLUMNS);
        usize::from(columns).saturating_sub(match self.size {
            Some(_) if has_bar(columns) => usize::from(BAR_COLUMNS) + " 100%  ".len(),
            Some(_) => "100%  ".len(),
            None => "⠋ ".chars().count(),
        })
    }

    /// Whether it is time to look at the figures again.
    pub(crate) fn is_due(&self) -> bool {
        self.looked.elapsed() >= LOOK_EVERY
    }

    /// Shows `bytes` done and `how` they left, or for how long nothing has moved.
    pub(crate) fn show(&mut self, bytes: u64, how: &str, stalled: Option<(Waiting, Duration)>) {
        self.looked = Instant::now();
        self.rate.add(self.looked, bytes);
        if self.bar.is_hidden() {
            return;
        }
        self.fit();
        self.bar.set_position(bytes);
        self.bar.set_message(self.text(bytes, how, stalled));
        self.bar.tick();
    }

    fn text(&self, bytes: u64, how: &str, stalled: Option<(Waiting, Duration)>) -> String {
        let words = Words {
            done: format!("{:>7}", quantity::bytes(bytes as f64)),
            size: self.size.map(|size| quantity::bytes(size as f64)),
            rate: format!("{:>7}/s", quantity::bytes(self.rate.bytes_per_second())),
            left: self.left(bytes).map(|left| format!("{:>5}", quantity::duration(left))),
            how,
        };
        let forms = match stalled.filter(|(_, since)| *since >= STALL) {
            Some((waiting, since)) => words.stalled(waiting, &quantity::duration(since)),
            None => words.moving(),
        };
        widest(forms, self.room())
    }

    /// How long the rest takes at this rate.
    fn left(&self, bytes: u64) -> Option<Duration> {
        let rate = self.rate.bytes_per_second();
        let size = self.size.filter(|_| rate > 0.0)?;
        let seconds = size.saturating_sub(bytes) as f64 / rate;
        // A year is as good as for ever.
        let left = Duration::from_secs(seconds.min(31_536_000.0).ceil() as u64);
        Some(left.max(Duration::from_secs(1)))
    }

    /// Shows words in the bar's place.
    pub(crate) fn wait_for(&self, what: &str) {
        if !self.bar.is_hidden() {
            self.bar.set_message(shortened(&shown(what), self.room()));
            self.bar.tick();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn hidden(bar: ProgressBar) -> ProgressBar {
    drop(bar);
    ProgressBar::hidden()
}

fn has_bar(columns: u16) -> bool {
    columns >= WIDE_COLUMNS
}

/// What there is to say. Figures have one width each, so that the bar's end stands still.
#[derive(Debug)]
struct Words<'a> {
    done: String,
    size: Option<String>,
    rate: String,
    left: Option<String>,
    how: &'a str,
}

impl Words<'_> {
    /// A transfer's progress, the longest form first.
    fn moving(&self) -> Vec<String> {
        let (done, rate, how) = (self.done.as_str(), self.rate.as_str(), self.how);
        let so_far = self.so_far();
        let brief = how.split(" (").next().unwrap_or_default();
        let left = self.left.as_deref().unwrap_or_default();
        let words_left = if left.is_empty() { String::new() } else { format!("{left} left") };
        let mut forms = vec![
            joined(&[&so_far, rate, &words_left, how]),
            joined(&[&so_far, rate, &words_left, brief]),
            joined(&[done, rate, &words_left, brief]),
        ];
        // The percentage says as much.
        if self.size.is_some() {
            forms.push(joined(&[rate, &words_left, brief]));
            forms.push(joined(&[rate, left, brief]));
        }
        let last = if left.is_empty() { done } else { left };
        forms.extend([joined(&[last, brief]), joined(&[last])]);
        forms
    }

    /// The same of one that does not move.
    fn stalled(&self, waiting: Waiting, since: &str) -> Vec<String> {
        let who = match waiting {
            Waiting::Peer => "the other end",
            Waiting::Source => "the source",
            Waiting::Destination => "the destination",
        };
        let stalled = format!("stalled {since}: {who}");
        vec![
            joined(&[&self.so_far(), &stalled]),
            joined(&[&self.done, &stalled]),
            stalled,
            format!("stalled {since}"),
        ]
    }

    fn so_far(&self) -> String {
        match &self.size {
            Some(size) => format!("{} of {size}", self.done),
            None => self.done.clone(),
        }
    }
}

fn joined(words: &[&str]) -> String {
    let some: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
    some.join("  ")
}

/// The first that fits, or what fits of the last.
fn widest(forms: Vec<String>, room: usize) -> String {
    let fits = |form: &&String| form.chars().count() <= room;
    match forms.iter().find(fits) {
        Some(form) => form.clone(),
        None => forms.last().map(|last| shortened(last, room)).unwrap_or_default(),
    }
}

fn shortened(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

/// The rate over a sliding window.
#[derive(Debug)]
struct Rate {
    /// Looks at the count, oldest first.
    looks: std::collections::VecDeque<(Instant, u64)>,
}

impl Rate {
    fn new() -> Self {
        Self { looks: [(Instant::now(), 0)].into() }
    }

    fn add(&mut self, now: Instant, bytes: u64) {
        self.looks.push_back((now, bytes));
        while self.looks.len() > 2 && now - self.looks[1].0 > RATE_WINDOW {
            self.looks.pop_front();
        }
    }

    fn bytes_per_second(&self) -> f64 {
        let (Some(first), Some(last)) = (self.looks.front(), self.looks.back()) else { return 0.0 };
        let seconds = (last.0 - first.0).as_secs_f64();
        if seconds > 0.0 { last.1.saturating_sub(first.1) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let mut rate = Rate { looks: [(start, 0)].into() };
        for tenth in 1..=100u64 {
            // Slow at first, then fast.
            let bytes = if tenth <= 50 { tenth } else { 50 + (tenth - 50) * 100 };
            rate.add(start + Duration::from_millis(tenth * 100), bytes);
        }
        let shown = rate.bytes_per_second();
        assert!((950.0..1050.0).contains(&shown), "{shown}");
        assert!(rate.looks.len() < 40);
    }

    fn words(how: &str) -> Words<'_> {
        Words {
            done: "35.1 MB".to_owned(),
            size: Some("120 MB".to_owned()),
            rate: "4.49 MB/s".to_owned(),
            left: Some(" 19 s".to_owned()),
            how,
        }
    }

    #[test]
    fn words_are_left_out_one_by_one_and_never_cut() {
        let all = "35.1 MB of 120 MB  4.49 MB/s   19 s left  zero-copy 98%";
        for (room, text) in [
            (114, all),
            (64, all),
            (54, "35.1 MB  4.49 MB/s   19 s left  zero-copy 98%"),
            (36, "4.49 MB/s   19 s left  zero-copy 98%"),
            (34, "4.49 MB/s   19 s  zero-copy 98%"),
            (24, " 19 s  zero-copy 98%"),
            (9, " 19 s"),
        ] {
            assert_eq!(widest(words("zero-copy 98%").moving(), room), text);
        }
        let copied = |room| widest(words("copied (loopback)").moving(), room);
        assert!(copied(80).ends_with("left  copied (loopback)"));
        assert!(copied(34).ends_with("19 s left  copied"), "{}", copied(34));
    }

    #[test]
    fn a_stream_says_how_much_for_it_has_no_percentage() {
        let stream = |room| {
            let words = Words { size: None, left: None, ..words("spliced") };
            widest(words.moving(), room)
        };
        assert_eq!(stream(38), "35.1 MB  4.49 MB/s  spliced");
        assert_eq!(stream(20), "35.1 MB  spliced");
    }

    #[test]
    fn a_stall_says_who_is_waited_for() {
        let stalled = |room| widest(words("").stalled(Waiting::Peer, "12 s"), room);
        assert_eq!(stalled(60), "35.1 MB of 120 MB  stalled 12 s: the other end");
        assert_eq!(stalled(34), "stalled 12 s: the other end");
        assert_eq!(stalled(20), "stalled 12 s");
    }

    #[test]
    fn what_is_waited_for_is_cut_where_it_shows() {
        assert_eq!(shortened("listening on tcp://h:1", 12), "listening o…");
        assert_eq!(shortened("listening", 9), "listening");
    }
}
