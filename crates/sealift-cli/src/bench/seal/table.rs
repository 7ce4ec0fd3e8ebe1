//! The report of `bench seal` as text for a terminal, as wide as the narrowest terminals.

use super::bars;
use crate::bench::report::{Report, Row};
use crate::bench::table::{or_dash, push, shortened, wrapped};
use crate::bench::{format, report};

const COLUMNS: usize = 80;

/// The whole report: what it was measured on, what has to be reached, and all rows.
pub(crate) fn render(report: &Report) -> String {
    let mut text = String::new();
    let host = &report.host;
    let line = format!("bench seal: Linux {}, {}, {} CPUs", host.kernel, host.cpu, host.cpus);
    push(&mut text, &shortened(&line, COLUMNS));
    let ring = format::grouped(report.ring_bytes.unwrap_or(0) as f64);
    let method = format!(
        "median of {} of {} s, rows interleaved; out of place, over a ring of {ring} bytes \
         of plaintext; GB/s: 10^9 bytes of plaintext a second; ratio: the median of those within \
         a round, to raw of the same batch, of memcpy-inline, workers and router to inline, of \
         cores-2 to one core, of what opens to what opens",
        format::samples(report.rounds),
        report.sample_seconds
    );
    for line in wrapped(&method, COLUMNS) {
        push(&mut text, &line);
    }
    if let Some(warning) = report.disturbance() {
        wrapped(&warning, COLUMNS).iter().for_each(|line| push(&mut text, line));
    }
    bars_table(&mut text, report);
    for payload in report::payloads(&report.rows) {
        payload_table(&mut text, report, payload);
    }
    text
}

fn bars_table(text: &mut String, report: &Report) {
    push(text, "");
    push(text, &format!("{:<39}{:>8}{:>8}  {}", "To be reached", "at least", "here", "lowest, of"));
    for bar in bars::of(report) {
        let (here, suite) = match &bar.found {
            // The rest of the name is in what the bar is about.
            Some((ratio, row)) => (format::times(*ratio), row.split('/').nth(1).unwrap_or(row)),
            None => ("–".to_owned(), "not measured"),
        };
        let short = if bar.is_reached() == Some(false) { " short" } else { "" };
        let needed = format::times(bar.needed);
        push(text, &format!("{:<39}{needed:>8}{here:>8}  {suite}{short}", bar.what));
    }
}

fn payload_table(text: &mut String, report: &Report, payload_bytes: usize) {
    push(text, "");
    let heading = format!("{} bytes", format::grouped(payload_bytes as f64));
    push(
        text,
        &format!("{heading:<40}{:>7}{:>13}{:>12}{:>8}", "GB/s", "min–max", "ns/message", "ratio"),
    );
    for row in report.rows.iter().filter(|row| row.payload_bytes == payload_bytes) {
        match &row.skipped {
            None => push(text, &row_line(row)),
            Some(why) => {
                let line = format!("{:<40}  skipped: {why}", row.name);
                push(text, &shortened(&line, COLUMNS));
            }
        }
    }
}

fn row_line(row: &Row) -> String {
    let spread = row.spread.map(|spread| {
        format!("{}–{}", format::gigabytes(spread.min), format::gigabytes(spread.max))
    });
    format!(
        "{:<40}{:>7}{:>13}{:>12}{:>8}",
        row.name,
        or_dash(row.bytes_per_second.map(format::gigabytes)),
        or_dash(spread),
        or_dash(row.nanoseconds_per_message().map(format::nanoseconds)),
        or_dash(row.ratio.map(format::times)),
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::report::sealing_report;
    use super::*;

    #[test]
    fn no_line_is_too_long_and_the_bars_are_shown() {
        let text = render(&sealing_report());
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS, "{line}");
        }
        let bar = |what: &str| text.lines().find(|line| line.starts_with(what)).unwrap();
        let line = bar("inline to raw, records");
        assert!(line.contains("0.97×   0.98×  aes-128-gcm"), "{line}");
        assert!(!line.ends_with("short"), "{line}");
        let line = bar("out of place to memcpy, records");
        assert!(line.contains("1.05×   1.00×") && line.ends_with(" short"), "{line}");
        assert!(bar("two cores to one").ends_with("–  not measured"), "{text}");
        let row = text.lines().find(|line| line.starts_with("inline/")).unwrap();
        let columns: Vec<&str> = row.split_whitespace().collect();
        assert_eq!((columns.len(), columns[4]), (5, "0.98×"), "{text}");
        let skipped = text.lines().find(|line| line.starts_with("ipsec-mb/")).unwrap();
        assert!(skipped.contains("skipped: the library cannot be opened"), "{skipped}");
    }
}
