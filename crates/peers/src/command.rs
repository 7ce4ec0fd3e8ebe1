//! What the programs of this crate do alike on the command line.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;

/// Shows what runs, in place, where somebody watches. An empty text wipes it away.
pub fn progress() -> impl FnMut(&str) {
    let watched = io::stderr().is_terminal();
    move |what: &str| {
        if watched {
            eprint!("\r\x1b[K{what}");
        }
    }
}

/// Prints a report: one JSON object, or a table.
///
/// # Errors
/// If nobody takes it.
pub fn print(report: &(impl Serialize + fmt::Display), json: bool) -> io::Result<()> {
    let text = if json { serde_json::to_string_pretty(report)? + "\n" } else { report.to_string() };
    io::stdout().write_all(text.as_bytes())
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
