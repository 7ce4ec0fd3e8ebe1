//! The report's charts: which rows become lines, and how each looks.

use super::super::crossing::{self, Crossing};
use super::super::report::Report;
use super::super::{format, seed};
use super::chart::{Chart, Frame, Mark, Series};

/// Where a chart is shown beside the text of a wide page, or on paper.
const WIDE: Frame =
    Frame { class: "wide", width: 880.0, height: 470.0, labels: 186.0, line_height: 17.0 };

/// Where the page is as narrow as a phone.
const NARROW: Frame =
    Frame { class: "narrow", width: 344.0, height: 400.0, labels: 146.0, line_height: 14.5 };

/// A chart for each width of the page; the page shows the one that fits.
pub(crate) fn both(chart: &Chart) -> String {
    chart.render(WIDE) + &chart.render(NARROW)
}

/// Throughput against payload, one line per mode.
pub(crate) fn throughput(report: &Report) -> Chart {
    Chart {
        description: format!("Throughput against payload. {}", crossing::sentence(report)),
        y_title: "GB/s".to_owned(),
        x_title: "bytes per message, log scale (K = 1,024)".to_owned(),
        series: series(report, |_, rate| Some(rate / 1e9)),
        mark: mark(report),
        ..Chart::default()
    }
}

/// The same rates against the row `copy` at the same payload.
pub(crate) fn against_copy(report: &Report) -> Chart {
    Chart {
        description: "Throughput as a multiple of a plain send, against payload.".to_owned(),
        y_title: "times the throughput of copy".to_owned(),
        series: series(report, |payload, rate| {
            Some(rate / report.row("copy", payload)?.bytes_per_second?)
        }),
        ..throughput(report)
    }
}

fn mark(report: &Report) -> Option<Mark> {
    let Some((_, Crossing::From(x))) = crossing::of_the_report(report) else { return None };
    let text = ["zero-copy ahead".to_owned(), format!("from ≈ {}", format::payload(x))];
    Some(Mark { x, text })
}

fn series(report: &Report, value: impl Fn(usize, f64) -> Option<f64>) -> Vec<Series> {
    let mut names: Vec<&str> = Vec::new();
    for row in report.rows.iter().filter(|row| row.is_swept()) {
        if !names.contains(&row.name.as_str()) {
            names.push(&row.name);
        }
    }
    let line = |name: &&str| {
        let weight = if is_key(name) { " key" } else { "" };
        let at = |payload: usize| {
            let rate = report.row(name, payload)?.bytes_per_second?;
            Some((payload as f64, value(payload, rate)?))
        };
        Series {
            name: (*name).to_owned(),
            class: format!("{} dash{}{weight}", family(name), dashes(name)),
            points: report.sweep().into_iter().filter_map(at).collect(),
        }
    };
    names.iter().map(line).collect()
}

/// The colour of a row's line.
pub(crate) fn family(name: &str) -> &'static str {
    match name {
        name if name.starts_with("sender-") => "sender",
        name if name.contains("msg-zerocopy") => "msg",
        name if name.contains("zc-fixed") => "fixed",
        name if name.contains("zc") => "ordinary",
        _ => "copy",
    }
}

/// Which of the dash patterns a row's line has: what shares a colour differs in it.
fn dashes(name: &str) -> usize {
    match name {
        "sender-uring" => 1,
        "sender-msg-zerocopy" => 2,
        "sender-copy" => 3,
        name if name.ends_with("-8") || name.ends_with("-batched") => 1,
        name if name.ends_with("-1") || name.ends_with("-unread") => 2,
        _ => 0,
    }
}

/// Whether the row is one that the bench is about.
fn is_key(name: &str) -> bool {
    let best = ["uring-zc-fixed-best", "sender-auto"];
    best.contains(&name) || seed::LINES.iter().any(|line| line.ours == name)
}

#[cfg(test)]
mod tests {
    use super::super::super::report::sample_report;
    use super::super::super::rows;
    use super::*;

    #[test]
    fn modes_of_one_colour_differ_in_dashes() {
        let sender = ["sender-uring", "sender-msg-zerocopy", "sender-copy", "sender-auto"];
        let bare = rows::baselines().into_iter().filter(|row| row.segment_bytes.is_none());
        let mut looks: Vec<(&str, usize)> = bare
            .filter(|row| row.path == rows::Path::Sink)
            .map(|row| row.name)
            .chain(sender.map(Into::into))
            .map(|name| (family(&name), dashes(&name)))
            .collect();
        let count = looks.len();
        looks.sort_unstable();
        looks.dedup();
        assert_eq!(looks.len(), count, "{looks:?}");
    }

    #[test]
    fn a_skipped_row_has_no_points() {
        let series = series(&sample_report(), |_, rate| Some(rate));
        assert!(series.iter().any(|line| line.name == "uring-zc-8" && line.points.is_empty()));
    }
}
