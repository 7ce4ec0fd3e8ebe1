//! The tables of the page: the seed's beside ours, and all rows.

use std::fmt::Write as _;

use super::super::report::{Report, Row, Spread};
use super::super::{format, seed};
use super::{escape, lines};

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

/// All rows, a table per payload, the largest first.
pub(crate) fn rows(page: &mut String, report: &Report) {
    page.push_str("<section>\n<h2>All rows</h2>\n");
    page.push_str(
        "<p class=\"note\">The bar is the median, the line on it spans the slowest and the fastest \
         sample, its thick part the middle half.<span class=\"narrow\"> Turn the phone for more \
         columns.</span></p>\n",
    );
    let mut payloads: Vec<usize> = report.rows.iter().map(|row| row.payload_bytes).collect();
    payloads.sort_unstable_by(|a, b| b.cmp(a));
    payloads.dedup();
    let mut explained: Vec<&str> = Vec::new();
    for payload in payloads {
        let rows = || report.rows.iter().filter(move |row| row.payload_bytes == payload);
        let fastest = rows().filter_map(|row| row.spread).map(|spread| spread.max);
        let scale = fastest.max_by(f64::total_cmp).unwrap_or(1.0);
        let usual = usual_comparison(rows());
        let _ = writeln!(
            page,
            "<table class=\"rows\">\n<caption>{} bytes per message</caption>\n<thead><tr>\
             <th scope=\"col\">Row</th><th scope=\"col\">GB/s</th>\
             <th scope=\"col\" class=\"more\">min–max</th>\
             <th scope=\"col\" class=\"more\">messages/s</th>\
             <th scope=\"col\" class=\"more\">calls a message</th>\
             <th scope=\"col\">zero-copy</th>\
             <th scope=\"col\">ratio<small>to {}</small></th></tr></thead>\n<tbody>",
            format::grouped(payload as f64),
            escape(usual),
        );
        for row in rows() {
            let is_new = !explained.contains(&row.name.as_str());
            explained.push(&row.name);
            row_line(page, row, scale, is_new, usual);
        }
        page.push_str("</tbody>\n</table>\n");
    }
    page.push_str("</section>\n");
}

/// The row that most of `rows` are compared to.
fn usual_comparison<'report>(rows: impl Iterator<Item = &'report Row>) -> &'report str {
    let names: Vec<&str> = rows.map(|row| row.ratio_to.as_str()).collect();
    let count = |name: &&&str| names.iter().filter(|other| *other == *name).count();
    names.iter().max_by_key(count).copied().unwrap_or_default()
}

fn row_line(page: &mut String, row: &Row, scale: f64, with_about: bool, usual: &str) {
    let about =
        if with_about { format!("<small>{}</small>", escape(&row.about)) } else { String::new() };
    let _ = write!(
        page,
        "<tr class=\"{}\"><th scope=\"row\"><code>{}</code>{about}{}</th>",
        lines::family(&row.name),
        escape(&row.name),
        row.spread.map_or(String::new(), |spread| bar(row, spread, scale)),
    );
    if let Some(why) = &row.skipped {
        let _ = writeln!(
            page,
            "<td class=\"skipped\" colspan=\"6\">skipped: {}</td></tr>",
            escape(why)
        );
        return;
    }
    let comparison = if row.ratio_to == usual {
        String::new()
    } else {
        format!("<small>to {}</small>", escape(&row.ratio_to))
    };
    let spread = row.spread.map(|spread| {
        format!("{}–{}", format::gigabytes(spread.min), format::gigabytes(spread.max))
    });
    let _ = writeln!(
        page,
        "<td><b>{}</b></td><td class=\"more\">{}</td><td class=\"more\">{}</td>\
         <td class=\"more\">{}</td><td>{}</td><td>{}{comparison}</td></tr>",
        or_dash(row.bytes_per_second.map(format::gigabytes)),
        or_dash(spread),
        or_dash(row.messages_per_second.map(format::grouped)),
        or_dash(row.syscalls_per_message.map(format::calls)),
        or_dash(row.zerocopied_fraction.map(format::percent)),
        or_dash(row.ratio.map(format::times)),
    );
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
