//! Words to standard error: notices, warnings and the log, kept apart from the progress bar.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use indicatif::{MultiProgress, ProgressDrawTarget};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::uptime;

use crate::args::WordsArgs;

/// Standard error, and what may be written to it. Clones share the place of the bar.
#[derive(Clone, Debug)]
pub(crate) struct Terminal {
    bars: MultiProgress,
    quiet: bool,
    is_terminal: bool,
}

impl Terminal {
    /// Standard error as the flags want it, with the log of `-v` going to it.
    pub(crate) fn new(words: WordsArgs) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let shown = is_terminal && !words.quiet;
        let target =
            if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let terminal =
            Self { bars: MultiProgress::with_draw_target(target), quiet: words.quiet, is_terminal };
        terminal.log(words);
        terminal
    }

    fn log(&self, words: WordsArgs) {
        let level = match (words.quiet, words.verbose) {
            (true, _) => LevelFilter::OFF,
            (false, 0) => LevelFilter::WARN,
            (false, 1) => LevelFilter::DEBUG,
            (false, _) => LevelFilter::TRACE,
        };
        let log = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_timer(uptime())
            .with_target(words.verbose > 1)
            .with_writer(self.clone())
            .finish();
        // Only a second call could fail, and there is none.
        let _ = tracing::subscriber::set_global_default(log);
    }

    /// Whether there is a person to show progress to.
    pub(crate) fn is_watched(&self) -> bool {
        self.is_terminal && !self.quiet
    }

    /// Where bars are drawn.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Says something that a person wants to know; nothing with `-q`.
    pub(crate) fn notice(&self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// Says something that must be known: an error, a port.
    pub(crate) fn say(&self, text: &str) {
        self.bars.suspend(|| {
            // With standard error gone there is nobody to tell.
            let _ = writeln!(io::stderr(), "sealift: {}", shown(text));
        });
    }

    /// Writes lines of text.
    pub(crate) fn print(&self, text: &str) {
        self.bars.suspend(|| {
            let _ = io::stderr().write_all(shown_lines(text).as_bytes());
        });
    }
}

/// Text that may hold a name from outside, as one line that a terminal takes for text and not for
/// an order: control characters become escapes such as `\n` and `\u{1b}`.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_control() {
            true => plain.extend(letter.escape_default()),
            false => plain.push(letter),
        }
    }
    plain.into()
}

fn shown_lines(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| match line.strip_suffix('\n') {
            Some(line) => shown(line) + "\n",
            None => shown(line),
        })
        .collect()
}

impl<'a> MakeWriter<'a> for Terminal {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LogLine(self)
    }
}

/// Writes the log's lines without tearing the bar.
pub(crate) struct LogLine<'a>(&'a Terminal);

impl Write for LogLine<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = shown_lines(&String::from_utf8_lossy(line));
        self.0.bars.suspend(|| io::stderr().write_all(text.as_bytes()))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_as_escapes() {
        assert_eq!(
            shown("a \u{1b}[31mb\nc\u{9b}d\t\u{7f}é"),
            "a \\u{1b}[31mb\\nc\\u{9b}d\\t\\u{7f}é"
        );
        assert!(matches!(shown("plain é"), Cow::Borrowed(_)));
        assert_eq!(shown_lines("a\rb\nc\n"), "a\\rb\nc\n");
        assert_eq!(shown_lines("a"), "a");
    }
}
