//! The bar that shows how far a bench is.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::schedule::Progress;
use crate::terminal::Terminal;

/// A bar on a terminal; elsewhere nothing.
pub(super) struct Watch(ProgressBar);

impl Watch {
    pub(super) fn new(terminal: &Terminal) -> Self {
        if !terminal.is_watched() {
            return Self(ProgressBar::hidden());
        }
        let bar = terminal.bars().add(ProgressBar::no_length());
        // A wrong template would show in the first run of it; the default style is no loss.
        let style = ProgressStyle::with_template("{wide_bar} {percent:>3}%  {eta} left  {msg}");
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// What is about to run.
    pub(super) fn show(&self, progress: Progress<'_>) {
        self.0.set_length(progress.total as u64);
        self.0.set_position(progress.done as u64);
        self.0.set_message(format!("{} {} B", progress.name, progress.payload_bytes));
    }

    /// Leaves the terminal as it was.
    pub(super) fn end(self) {
        self.0.finish_and_clear();
    }
}
