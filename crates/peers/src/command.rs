//! What the programs of this crate do alike on the command line.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

/// What they all can be told.
#[derive(Args, Clone, Copy, Debug)]
pub struct ReportArgs {
    /// How often each is measured; the first round is one more and does not count
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

impl ReportArgs {
    /// Runs a comparison, which says what it is about to do, and prints its report.
    ///
    /// # Errors
    /// Those of the comparison; if nobody takes the report.
    pub fn report<R: Serialize + fmt::Display, E: From<io::Error>>(
        self,
        run: impl FnOnce(&mut dyn FnMut(&str)) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut progress = progress();
        let report = run(&mut progress);
        // An empty text wipes it away.
        progress("");
        let report = report?;
        let text = match self.json {
            true => serde_json::to_string_pretty(&report).map_err(io::Error::from)? + "\n",
            false => report.to_string(),
        };
        io::stdout().write_all(text.as_bytes())?;
        Ok(report)
    }
}

/// Shows what runs, in place, where somebody watches.
fn progress() -> impl FnMut(&str) {
    let watched = io::stderr().is_terminal();
    move |what: &str| {
        if watched {
            eprint!("\r\x1b[K{what}");
        }
    }
}

/// How `program` ends that was `done`, well or not, or failed.
pub fn end(program: &str, done: Result<bool, impl fmt::Display>) -> ExitCode {
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A number of bytes, or of KiB, MiB or GiB.
///
/// # Errors
/// What is wrong with it.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(format!("'{unit}' is no unit; use KiB, MiB or GiB")),
    };
    let number: u64 = number.parse().map_err(|_| "write it as 4GiB".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "that is more than there is".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("4GiB"), Ok(4 << 30));
        assert_eq!(parse_size("17"), Ok(17));
        assert!(parse_size("4GB").is_err_and(|why| why.contains("'GB' is no unit")));
        assert!(parse_size("GiB").is_err());
        assert!(parse_size("99999999999GiB").is_err());
    }
}
