//! The report of `bench tls` as text for a terminal, as wide as the narrowest terminals.

use super::stream::SUITE_NAME;
use crate::bench::format;
use crate::bench::report::{Report, Row};
use crate::bench::table::{or_dash, push, shortened, wrapped};
use crate::quantity;

const COLUMNS: usize = 80;

/// The whole report: what it was measured on, throughput by size of the writes, and latency.
pub(crate) fn render(report: &Report) -> String {
    let mut text = String::new();
    let host = &report.host;
    let line = format!("bench tls: Linux {}, {}, {} CPUs", host.kernel, host.cpu, host.cpus);
    push(&mut text, &shortened(&line, COLUMNS));
    let method = format!(
        "median of {}, rows interleaved; two processes over loopback, {SUITE_NAME}; \
         GB/s: 10^9 bytes a second; CPU seconds per GB of the sending and the \
         receiving process; copies of each byte outside of the kernel, sealing or opening is one",
        format::samples(report.rounds)
    );
    wrapped(&method, COLUMNS).iter().for_each(|line| push(&mut text, line));
    let is_latency = |row: &&Row| is_of_latency(row);
    let mut payloads: Vec<usize> = Vec::new();
    for row in report.rows.iter().filter(|row| !is_of_latency(row)) {
        if !payloads.contains(&row.payload_bytes) {
            payloads.push(row.payload_bytes);
        }
    }
    for payload in payloads {
        throughput(&mut text, report, payload);
    }
    let latencies: Vec<&Row> = report.rows.iter().filter(is_latency).collect();
    if !latencies.is_empty() {
        latency(&mut text, &latencies);
    }
    text
}

/// Whether the row is one of round trips.
pub(super) fn is_of_latency(row: &Row) -> bool {
    row.name.ends_with("/ping-pong")
}

fn throughput(text: &mut String, report: &Report, payload_bytes: usize) {
    let rows = || {
        let at = |row: &&Row| row.payload_bytes == payload_bytes && !is_of_latency(row);
        report.rows.iter().filter(at)
    };
    let total = rows().find_map(|row| row.tls.as_ref()).map_or(0, |tls| tls.shape.total_bytes);
    push(text, "");
    let total = quantity::bytes(total as f64);
    push(text, &format!("{} bytes a write, {total} a run", format::grouped(payload_bytes as f64)));
    let (time, copies, calls) = ("CPU s/GB", "copies", "calls");
    push(text, &format!("{:<49}{time:>14}{copies:>11}{calls:>6}", ""));
    let [rate, spread, ratio] = ["GB/s", "min–max", "ratio"];
    let columns = format!("{:<23}{rate:>6}{spread:>13}{ratio:>7}", "");
    let [send, receive, out, back] = ["send", "recv", "out", "in"];
    push(text, &format!("{columns}{send:>7}{receive:>7}{out:>6}{back:>5}{:>6}", "/write"));
    for row in rows() {
        push(text, &skipped(row).unwrap_or_else(|| throughput_line(row)));
    }
}

fn throughput_line(row: &Row) -> String {
    let spread = row.spread.map(|spread| {
        format!("{}–{}", format::gigabytes(spread.min), format::gigabytes(spread.max))
    });
    let figures = row.tls.as_ref().map(|tls| tls.figures);
    let seconds = |seconds: Option<f64>| or_dash(seconds.map(|seconds| format!("{seconds:.3}")));
    let copies = |copies: Option<f64>| or_dash(copies.map(|copies| format!("{copies:.2}")));
    format!(
        "{:<23}{:>6}{:>13}{:>7}{:>7}{:>7}{:>6}{:>5}{:>6}",
        row.name,
        or_dash(row.bytes_per_second.map(format::gigabytes)),
        or_dash(spread),
        or_dash(row.ratio.map(format::times)),
        seconds(figures.and_then(|figures| figures.cpu_seconds_per_gb_sender)),
        seconds(figures.and_then(|figures| figures.cpu_seconds_per_gb_receiver)),
        copies(figures.and_then(|figures| figures.copies_per_byte_sent)),
        copies(figures.and_then(|figures| figures.copies_per_byte_received)),
        or_dash(row.syscalls_per_message.map(format::calls)),
    )
}

fn latency(text: &mut String, rows: &[&Row]) {
    push(text, "");
    let heading = "One byte there and back";
    push(text, &format!("{heading:<24}{:>10}{:>10}{:>14}", "p50 µs", "p99 µs", "round trips/s"));
    for row in rows {
        let microseconds = |nanoseconds: Option<f64>| {
            or_dash(nanoseconds.map(|nanoseconds| format!("{:.1}", nanoseconds / 1e3)))
        };
        let figures = row.tls.as_ref().map(|tls| tls.figures);
        let line = format!(
            "{:<24}{:>10}{:>10}{:>14}",
            row.name,
            microseconds(figures.and_then(|figures| figures.p50_nanoseconds)),
            microseconds(figures.and_then(|figures| figures.p99_nanoseconds)),
            or_dash(row.messages_per_second.map(format::grouped)),
        );
        push(text, &skipped(row).unwrap_or(line));
    }
}

fn skipped(row: &Row) -> Option<String> {
    let why = row.skipped.as_ref()?;
    Some(shortened(&format!("{:<24}  skipped: {why}", row.name), COLUMNS))
}

#[cfg(test)]
mod tests {
    use super::super::super::report::tls_report;
    use super::*;

    #[test]
    fn no_line_is_too_long_and_figures_stand_under_their_headings() {
        let text = render(&tls_report());
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS, "{line}");
        }
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap();
        let found = line("tls-inline/1/16384").split_whitespace().collect::<Vec<&str>>();
        let expected = ["tls-inline/1/16384", "1.00", "1.00–1.00", "0.50×", "0.250", "0.500"];
        assert_eq!(found[..6], expected, "{text}");
        assert_eq!(found[6..8], ["1.00", "1.50"], "{text}");
        assert!(text.contains("16,384 bytes a write, 1.07 GB a run"), "{text}");
        assert!(line("tls-workers/1/16384").contains("skipped: there is no thread"), "{text}");
        let trips = line("plain/ping-pong").split_whitespace().collect::<Vec<&str>>();
        assert_eq!(trips[1..3], ["12.5", "40.0"], "{text}");
    }
}
