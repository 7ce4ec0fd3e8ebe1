//! The report as text for a terminal, at most 100 columns wide.

use std::fmt::Write as _;

use super::report::{Report, Row};
use super::{crossing, format, report, seal, seed, tls};

/// The width that no line passes.
pub(super) const COLUMNS: usize = 100;

/// The whole report: what it was measured on, the seed's table beside ours, and all rows.
pub(crate) fn render(report: &Report) -> String {
    match report.bench.as_str() {
        "seal" => return seal::table::render(report),
        "tls" => return tls::table::render(report),
        _ => {}
    }
    let mut text = String::new();
    let host = &report.host;
    let sink = host.sink.as_deref().unwrap_or("no");
    let line = format!(
        "bench {}: Linux {}, {}, {} CPUs, {sink} sink",
        report.bench, host.kernel, host.cpu, host.cpus
    );
    push(&mut text, &shortened(&line, COLUMNS));
    let line = format!(
        "median of {} of {} s, rows interleaved; GB/s: 10^9 bytes of payload a second",
        format::samples(report.rounds),
        report.sample_seconds
    );
    push(&mut text, &line);
    for line in wrapped(&report.disturbance().unwrap_or_default(), COLUMNS) {
        if !line.is_empty() {
            push(&mut text, &line);
        }
    }
    for line in wrapped(&crossing::sentence(report), COLUMNS) {
        push(&mut text, &line);
    }
    if report.meets_the_seed() {
        seed_table(&mut text, report);
    }
    for payload in report::payloads(&report.rows) {
        payload_table(&mut text, report, payload);
    }
    text
}

fn seed_table(text: &mut String, report: &Report) {
    push(text, "");
    push(
        text,
        &format!(
            "{:<36}{:>8}{:>7}   {:<18}{:>8}{:>7}",
            "The seed’s table (2021), MiB/s", "seed", "×", "ours", "here", "×"
        ),
    );
    for line in &seed::LINES {
        let ours = report.row(line.ours, seed::PAYLOAD_BYTES);
        let rate = ours.and_then(|row| row.bytes_per_second);
        push(
            text,
            &format!(
                "{:<36}{:>8}{:>7.2}   {:<18}{:>8}{:>7}",
                line.test,
                line.rate,
                line.speedup,
                line.ours,
                or_dash(rate.map(|rate| format!("{:.0}", rate / seed::UNIT_BYTES))),
                or_dash(ours.and_then(|row| row.ratio).map(|ratio| format!("{ratio:.2}"))),
            ),
        );
    }
    for line in wrapped(seed::NOTE, COLUMNS - 2) {
        push(text, &format!("  {line}"));
    }
}

fn payload_table(text: &mut String, report: &Report, payload_bytes: usize) {
    push(text, "");
    let heading = format!("{} bytes", format::grouped(payload_bytes as f64));
    push(
        text,
        &format!(
            "{heading:<22}{:>8}{:>15}{:>13}{:>11}{:>9}{:>8}  {}",
            "GB/s", "min–max", "messages/s", "zero-copy", "calls/m", "ratio", "to"
        ),
    );
    for row in report.rows.iter().filter(|row| row.payload_bytes == payload_bytes) {
        match &row.skipped {
            None => push(text, &row_line(row)),
            Some(why) => {
                let room = COLUMNS.saturating_sub(33);
                push(text, &format!("{:<22}  skipped: {}", row.name, shortened(why, room)));
            }
        }
    }
}

fn row_line(row: &Row) -> String {
    let spread = row.spread.map(|spread| {
        format!("{}–{}", format::gigabytes(spread.min), format::gigabytes(spread.max))
    });
    format!(
        "{:<22}{:>8}{:>15}{:>13}{:>11}{:>9}{:>8}  {}",
        row.name,
        or_dash(row.bytes_per_second.map(format::gigabytes)),
        or_dash(spread),
        or_dash(row.messages_per_second.map(format::grouped)),
        or_dash(row.zerocopied_fraction.map(format::percent)),
        or_dash(row.syscalls_per_message.map(format::calls)),
        or_dash(row.ratio.map(format::times)),
        row.ratio_to,
    )
}

pub(super) fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}

pub(super) fn push(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}", line.trim_end());
}

pub(super) fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::report::sample_report;
    use super::*;

    #[test]
    fn no_line_is_too_long_and_columns_are_aligned() {
        let text = render(&sample_report());
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS, "{line}");
        }
        let ends: Vec<usize> = text
            .lines()
            .filter(|line| line.ends_with("msg-zerocopy") && line.contains('×'))
            .map(|line| line.chars().position(|letter| letter == '×').unwrap_or(0))
            .collect();
        assert!(ends.len() > 2 && ends.iter().all(|end| *end == ends[0]), "{ends:?}\n{text}");
    }

    #[test]
    fn skipped_rows_are_shown_with_their_reason() {
        let text = render(&sample_report());
        let line = text.lines().find(|line| line.starts_with("uring-zc-8 ")).unwrap();
        assert!(line.contains("skipped: io_uring_setup: Operation not permitted"), "{line}");
    }

    #[test]
    fn the_seeds_table_stands_beside_ours() {
        let text = render(&sample_report());
        let line = text.lines().find(|line| line.contains("@flush=false, nr_reqs=8")).unwrap();
        assert!(line.contains("116079") && line.contains("2.44"), "{line}");
        assert!(line.contains("uring-zc-fixed-8") && line.contains("3.33"), "{line}");
    }

    #[test]
    fn rows_alone_are_shown_without_a_ratio_and_without_the_seeds_table() {
        let mut report = sample_report();
        report.rows.retain(|row| row.name == "uring-zc-8");
        assert!(render(&report).contains("uring-zc-8") && !render(&report).contains("seed"));
        let mut report = sample_report();
        report.rows.retain(|row| row.name == "copy");
        report.rows[0].ratio = None;
        let text = render(&report);
        let line = text.lines().rfind(|line| line.starts_with("copy ")).unwrap();
        assert!(line.ends_with(" –  msg-zerocopy"), "{line}");
    }

    #[test]
    fn long_text_is_wrapped_or_cut() {
        assert_eq!(wrapped("a bc def", 4), ["a bc", "def"]);
        assert_eq!(shortened("abcdef", 4), "abc…");
        assert_eq!(shortened("abcd", 4), "abcd");
    }
}
