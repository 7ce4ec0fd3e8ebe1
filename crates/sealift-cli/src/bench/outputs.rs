//! Where the report goes: files, opened before anything is measured, and standard output.
//!
//! A file's old content stays until the new is there: a bench may be interrupted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::{Report, html, table};
use crate::args::ReportArgs;
use crate::failure::{Action, Failure};
use crate::terminal::Terminal;

/// What was asked for beside the table, or instead of it.
#[derive(Debug)]
pub(crate) struct Outputs {
    json: Option<Output>,
    html: Option<Output>,
}

#[derive(Debug)]
enum Output {
    /// In the table's place.
    Stdout,
    File {
        file: File,
        name: String,
    },
}

impl Outputs {
    /// Opens the files, so that a wrong name costs nobody a measurement.
    pub(crate) fn open(args: &ReportArgs) -> Result<Self, Failure> {
        let open = |path: &Option<_>| path.as_deref().map(Output::open).transpose();
        Ok(Self { json: open(&args.json)?, html: open(&args.html)? })
    }

    /// Writes the report wherever it can be written. What fails does not keep the rest back.
    pub(crate) fn write(self, report: &Report, terminal: &Terminal) -> Result<(), Failure> {
        let on_stdout = |output: &Option<Output>| matches!(output, Some(Output::Stdout));
        let shows_table = !on_stdout(&self.json) && !on_stdout(&self.html);
        let table = shows_table.then(|| Output::Stdout.write(&table::render(report)));
        let json = self.json.map(|output| {
            let text = report.to_json().map_err(io::Error::from);
            output.write(&text.map_err(|why| Failure::system(Action::Write, "the report", why))?)
        });
        let html = self.html.map(|output| output.write(&html::render(report)));
        let written = [table, json, html].into_iter().flatten();
        let mut failures = written.filter_map(Result::err);
        let last = failures.next_back();
        failures.for_each(|failure| terminal.say(&failure.to_string()));
        last.map_or(Ok(()), Err)
    }
}

impl Output {
    fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let name = path.display().to_string();
        match OpenOptions::new().write(true).create(true).truncate(false).open(path) {
            Ok(file) => Ok(Self::File { file, name }),
            Err(why) => Err(Failure::system(Action::Create, name, why)),
        }
    }

    fn write(self, text: &str) -> Result<(), Failure> {
        match self {
            Self::Stdout => line(&mut io::stdout().lock(), text)
                .map_err(|why| Failure::system(Action::Write, "standard output", why)),
            Self::File { mut file, name } => {
                replace(&mut file, text).map_err(|why| Failure::system(Action::Write, name, why))
            }
        }
    }
}

/// The new content in the old one's place; devices and pipes have no old one.
fn replace(file: &mut File, text: &str) -> io::Result<()> {
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    line(file, text)
}

fn line(to: &mut impl Write, text: &str) -> io::Result<()> {
    to.write_all(text.trim_end().as_bytes())?;
    to.write_all(b"\n")?;
    to.flush()
}
