//! Findings as an aligned table for people, at most [`COLUMNS`] wide.

use std::fmt;

use super::Probe;
use super::finding::Finding;
use super::path::PathProbe;

const COLUMNS: usize = 100;
const INDENT: usize = 2;
const TITLE: usize = 24;
const VERDICT: usize = 8;
/// Where the text after title and verdict starts.
const TEXT: usize = INDENT + TITLE + VERDICT;

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = if self.cores == 1 { "core" } else { "cores" };
        let cpu = self.cpu.as_ref().map(|cpu| format!("{cpu}, ")).unwrap_or_default();
        write_wrapped(
            f,
            0,
            &format!("Linux {} {}, {cpu}{} {cores}", self.kernel, self.machine, self.cores),
        )?;
        write_groups(f, &self.findings)
    }
}

impl fmt::Display for PathProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "To {}", self.destination)?;
        if let Some(route) = &self.route {
            write!(f, ": {}", route)?;
        }
        writeln!(f)?;
        write_groups(f, &self.findings)?;
        write_finding(f, &self.zero_copy)
    }
}

fn heading(group: &str) -> &str {
    match group {
        "io_uring" => "io_uring",
        "socket" => "Sockets",
        "limits" => "Limits",
        "cpu" => "Processor",
        "path" => "Path",
        other => other,
    }
}

fn write_groups(f: &mut fmt::Formatter<'_>, findings: &[Finding]) -> fmt::Result {
    let mut group = "";
    for finding in findings {
        if finding.group() != group {
            group = finding.group();
            writeln!(f, "\n{}", heading(group))?;
        }
        write_finding(f, finding)?;
    }
    Ok(())
}

fn write_finding(f: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
    let verdict = finding.verdict.as_str();
    let parts = [finding.detail.as_deref(), finding.reason.as_deref()];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
    let row = format!("{:INDENT$}{:TITLE$}{verdict:VERDICT$}", "", finding.title);
    if text.is_empty() {
        writeln!(f, "{}", row.trim_end())?;
    } else {
        write!(f, "{row}")?;
        write_wrapped(f, TEXT, &text)?;
    }
    match &finding.remedy {
        Some(remedy) => {
            write!(f, "{:TEXT$}", "")?;
            write_wrapped(f, TEXT, &format!("fix: {remedy}"))
        }
        None => Ok(()),
    }
}

/// Writes words from column `start` on, and goes on below it where the line is full.
fn write_wrapped(f: &mut fmt::Formatter<'_>, start: usize, text: &str) -> fmt::Result {
    let mut column = start;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > start && column + 1 + length > COLUMNS {
            write!(f, "\n{:start$}", "")?;
            column = start;
        } else if column > start {
            f.write_str(" ")?;
            column += 1;
        }
        f.write_str(word)?;
        column += length;
    }
    writeln!(f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(findings: Vec<Finding>) -> String {
        let (kernel, machine) = ("6.18.0".into(), "x86_64".into());
        Probe { kernel, machine, cpu: None, cores: 1, findings }.to_string()
    }

    #[test]
    fn groups_are_headed_and_columns_aligned() {
        let printed = sample(vec![
            Finding::yes("io_uring.available", "io_uring").detail("58 operations"),
            Finding::no("io_uring.send_zc", "SEND_ZC", "too old").remedy("Linux 6.0 or newer"),
            Finding::yes("cpu.aes", "AES-NI"),
        ]);
        let expected = "\
Linux 6.18.0 x86_64, 1 core

io_uring
  io_uring                yes     58 operations
  SEND_ZC                 no      too old
                                  fix: Linux 6.0 or newer

Processor
  AES-NI                  yes
";
        assert_eq!(printed, expected);
    }

    #[test]
    fn long_texts_go_on_below_themselves() {
        let long = "several words ".repeat(20);
        let printed = sample(vec![Finding::no("cpu.x", "x", long.clone()).remedy(long)]);
        for line in printed.lines() {
            assert!(line.chars().count() <= COLUMNS, "{line:?}");
            assert_eq!(line, line.trim_end());
        }
        assert!(printed.lines().count() > 8);
    }

    #[test]
    fn this_machine_fits_the_page() {
        for line in crate::probe::probe().to_string().lines() {
            assert!(line.chars().count() <= COLUMNS, "{line:?}");
        }
    }
}
