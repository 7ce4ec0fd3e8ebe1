//! The tables of the page: the seed's beside ours, and all rows.

use std::fmt::Write as _;

use super::super::report::{Report, Row, Spread};
use super::super::{format, seed};
use super::escape;

/// The seed's six lines, each beside our row that does the same work.
pub(crate) fn seed(page: &mut String, report: &Report) {
    page.push_str(
        "<section>\n<h2>The seed’s table beside ours</h2>\n<table class=\"seed\">\n<thead>\
         <tr><th scope=\"col\">The seed, 2021</th><th scope=\"col\">MiB/s</th>\
         <th scope=\"col\">speed-up</th><th scope=\"col\" class=\"more name\">Here</th>\
         <th scope=\"col\"><span class=\"narrow\">here, </span>MiB/s</th>\
         <th scope=\"col\">speed-up</th></tr></thead>\n<tbody>\n",
    );
    for line in &seed::LINES {
        let row = report.row(line.ours, seed::PAYLOAD_BYTES);
        let rate = row.and_then(|row| row.bytes_per_second).map(|rate| rate / seed::UNIT_BYTES);
        let ours = escape(line.ours);
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{}<small class=\"narrow\">here: <code>{ours}</code></small></th>\
             <td>{}</td><td>{}</td><td class=\"more name\"><code>{ours}</code></td><td>{}</td>\
             <td><b>{}</b></td></tr>",
            escape(line.test),
            format::grouped(f64::from(line.rate)),
            format::times(line.speedup),
            or_dash(rate.map(format::grouped)),
            or_dash(row.and_then(|row| row.ratio).map(format::times)),
        );
    }
    let _ = writeln!(page, "</tbody>\n</table>\n<p class=\"note\">{}</p>", seed_note(report));
    page.push_str("</section>\n");
}

fn seed_note(report: &Report) -> String {
    let mut text = format!(
        "UDP over IPv4, {} bytes, to a device that drops everything; MiB/s, as the seed’s programs \
         count. Other hardware and another kernel: compare the speed-ups. The merged kernel always \
         posts a notification for each send (<code>@flush=true</code>), so two \
         lines of the seed meet one row of ours. {}",
        format::grouped(seed::PAYLOAD_BYTES as f64),
        escape(seed::NOTE),
    );
    let rate = |name| report.row(name, seed::PAYLOAD_BYTES)?.bytes_per_second;
    if let (Some(fixed), Some(unread)) = (rate("uring-zc-fixed-8"), rate(seed::UNREAD)) {
        let _ = write!(
            text,
            " Against <code>{}</code> the speed-up of <code>uring-zc-fixed-8</code> is {}.",
            escape(seed::UNREAD),
            format::times(fixed / unread)
        );
    }
    let link = escape(seed::LINK);
    let _ = write!(text, " The seed: <a href=\"{link}\">{link}</a>.");
    text
}

/// How a bench speaks of its rows.
pub(crate) struct Look {
    /// What is sent or sealed at a time.
    pub(crate) unit: &'static str,
    /// The class of the page's style that gives a row its colour.
    pub(crate) colour: fn(&Row) -> &'static str,
}

/// The columns that not every bench has something for.
#[derive(Clone, Copy)]
struct Columns {
    calls: bool,
    zero_copy: bool,
}

impl Columns {
    fn of(rows: &[&Row]) -> Self {
        Self {
            // What seals in memory makes none.
            calls: rows.iter().any(|row| row.syscalls_per_message.is_some_and(|calls| calls > 0.0)),
            zero_copy: rows.iter().any(|row| row.zerocopied_fraction.is_some()),
        }
    }

    /// Those of figures.
    fn count(self) -> usize {
        4 + usize::from(self.calls) + usize::from(self.zero_copy)
    }
}

/// All of these rows, a table per payload, the largest first.
pub(crate) fn rows(page: &mut String, rows: &[&Row], look: &Look) {
    page.push_str("<section>\n<h2>All rows</h2>\n");
    page.push_str(
        "<p class=\"note\">The bar is the median, the line on it spans the slowest and the fastest \
         sample, its thick part the middle half.<span class=\"narrow\"> Turn the phone for more \
         columns.</span></p>\n",
    );
    let mut payloads: Vec<usize> = rows.iter().map(|row| row.payload_bytes).collect();
    payloads.sort_unstable_by(|a, b| b.cmp(a));
    payloads.dedup();
    let columns = Columns::of(rows);
    let mut explained: Vec<&str> = Vec::new();
    for payload in payloads {
        let rows = || rows.iter().copied().filter(move |row| row.payload_bytes == payload);
        let fastest = rows().filter_map(|row| row.spread).map(|spread| spread.max);
        let scale = fastest.max_by(f64::total_cmp).unwrap_or(1.0);
        let usual = usual_comparison(rows());
        heading(page, payload, usual, look.unit, columns);
        for row in rows() {
            let is_new = !explained.contains(&row.about.as_str());
            explained.push(&row.about);
            row_name(page, row, scale, is_new, look);
            row_figures(page, row, usual, columns);
        }
        page.push_str("</tbody>\n</table>\n");
    }
    page.push_str("</section>\n");
}

fn heading(page: &mut String, payload: usize, usual: &str, unit: &str, columns: Columns) {
    let more = |is_there: bool, cell: String| if is_there { cell } else { String::new() };
    let calls = format!("<th scope=\"col\" class=\"more\">calls a {unit}</th>");
    let zero_copy = "<th scope=\"col\">zero-copy</th>".to_owned();
    let _ = writeln!(
        page,
        "<table class=\"rows\">\n<caption>{} bytes a {unit}</caption>\n<thead><tr>\
         <th scope=\"col\">Row</th><th scope=\"col\">GB/s</th>\
         <th scope=\"col\" class=\"more\">min–max</th>\
         <th scope=\"col\" class=\"more\">{unit}s/s</th>{}{}\
         <th scope=\"col\">ratio<small>to {}</small></th></tr></thead>\n<tbody>",
        format::grouped(payload as f64),
        more(columns.calls, calls),
        more(columns.zero_copy, zero_copy),
        escape(usual),
    );
}

/// What a row is compared to, up to a slash: the rest of the name is the same as its own.
fn base(row: &Row) -> &str {
    row.ratio_to.split('/').next().unwrap_or_default()
}

/// What most of `rows` are compared to.
fn usual_comparison<'report>(rows: impl Iterator<Item = &'report Row>) -> &'report str {
    let names: Vec<&str> = rows.map(base).collect();
    let count = |name: &&&str| names.iter().filter(|other| *other == *name).count();
    names.iter().max_by_key(count).copied().unwrap_or_default()
}

fn row_name(page: &mut String, row: &Row, scale: f64, with_about: bool, look: &Look) {
    let about =
        if with_about { format!("<small>{}</small>", escape(&row.about)) } else { String::new() };
    let _ = write!(
        page,
        "<tr class=\"{}\"><th scope=\"row\"><code>{}</code>{about}{}</th>",
        (look.colour)(row),
        escape(&row.name),
        row.spread.map_or(String::new(), |spread| bar(row, spread, scale)),
    );
}

fn row_figures(page: &mut String, row: &Row, usual: &str, columns: Columns) {
    if let Some(why) = &row.skipped {
        let (count, why) = (columns.count(), escape(why));
        let cell = format!("<td class=\"skipped\" colspan=\"{count}\">skipped: {why}</td></tr>");
        let _ = writeln!(page, "{cell}");
        return;
    }
    let spread = row.spread.map(|spread| {
        format!("{}–{}", format::gigabytes(spread.min), format::gigabytes(spread.max))
    });
    let _ = write!(
        page,
        "<td><b>{}</b></td><td class=\"more\">{}</td><td class=\"more\">{}</td>",
        or_dash(row.bytes_per_second.map(format::gigabytes)),
        or_dash(spread),
        or_dash(row.messages_per_second.map(format::grouped)),
    );
    if columns.calls {
        let calls = or_dash(row.syscalls_per_message.map(format::calls));
        let _ = write!(page, "<td class=\"more\">{calls}</td>");
    }
    if columns.zero_copy {
        let _ = write!(page, "<td>{}</td>", or_dash(row.zerocopied_fraction.map(format::percent)));
    }
    let comparison = if base(row) == usual {
        String::new()
    } else {
        format!("<small>to {}</small>", escape(base(row)))
    };
    let ratio = or_dash(row.ratio.map(format::times));
    let _ = writeln!(page, "<td>{ratio}{comparison}</td></tr>");
}

/// The median as a bar, the spread as a line on it, in parts of the table's fastest sample.
fn bar(row: &Row, spread: Spread, scale: f64) -> String {
    let part = |value: f64| format!("{:.1}", (value / scale * 1000.0).clamp(0.0, 1000.0));
    let median = part(row.bytes_per_second.unwrap_or(0.0));
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" \
         aria-hidden=\"true\">\
         <rect width=\"{median}\" height=\"10\"/><path d=\"M{} 5H{}\"/>\
         <path class=\"half\" d=\"M{} 5H{}\"/></svg>",
        part(spread.min),
        part(spread.max),
        part(spread.lower_quartile),
        part(spread.upper_quartile),
    )
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::super::report::{sample_report, tls_report};
    use super::*;

    const LOOK: Look = Look { unit: "write", colour: |_| "sender" };

    fn page(report: &Report) -> String {
        let mut page = String::new();
        rows(&mut page, &report.rows.iter().collect::<Vec<_>>(), &LOOK);
        page
    }

    #[test]
    fn a_column_that_no_row_fills_is_not_there() {
        let mut report = sample_report();
        assert!(page(&report).contains("zero-copy</th>"));
        assert!(page(&report).contains("calls a write"));
        for row in &mut report.rows {
            (row.zerocopied_fraction, row.syscalls_per_message) = (None, Some(0.0));
        }
        let page = page(&report);
        assert!(!page.contains("zero-copy</th>") && !page.contains("calls a write"), "{page}");
        assert!(page.contains("<td class=\"skipped\" colspan=\"4\">"), "{page}");
    }

    #[test]
    fn what_all_rows_are_compared_to_is_said_once_and_without_what_they_share() {
        let mut report = tls_report();
        let mut other = report.rows[1].clone();
        other.name = "tls-inline/8/16384".to_owned();
        other.ratio_to = "plain/8/16384".to_owned();
        report.rows.push(other);
        let page = page(&report);
        assert!(page.contains("ratio<small>to plain</small>"), "{page}");
        assert!(!page.contains("to plain/") && !page.contains("<small>to plain</small></td>"));
        let about = format!("<small>{}</small>", escape(&report.rows[1].about));
        assert_eq!(page.matches(&about).count(), 1, "{page}");
        assert!(page.contains("<tr class=\"sender\">"), "{page}");
    }
}
