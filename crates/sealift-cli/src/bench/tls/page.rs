//! The report of `bench tls` as the body of an HTML page.

use std::fmt::Write as _;

use super::rows::Shape;
use super::stream::SUITE_NAME;
use super::table::is_of_latency;
use crate::bench::html::chart::{Chart, Series};
use crate::bench::html::tables::Look;
use crate::bench::html::{escape, lines};
use crate::bench::report::{Report, Row};
use crate::bench::{format, html};
use crate::quantity;

/// The figures that most readers come for, a chart of throughput and one of processor time for each
/// number of connections, the latencies, all rows, and how it was measured.
pub(crate) fn render(page: &mut String, report: &Report) {
    tiles(page, report);
    let mut connections: Vec<usize> = bulk(report).map(|(_, shape)| shape.connections).collect();
    connections.sort_unstable();
    connections.dedup();
    for connections in connections {
        charts(page, report, connections);
    }
    latencies(page, report);
    costs(page, report);
    // A round trip of one byte has no rate worth a bar: it is among the latencies.
    let rows: Vec<&Row> = bulk(report).map(|(row, _)| row).collect();
    let colour = |row: &Row| row.tls.as_ref().map_or("copy", |tls| colour(&tls.shape.kind));
    html::tables::rows(page, &rows, &Look { unit: "write", colour });
    method(page, report);
}

fn bulk(report: &Report) -> impl Iterator<Item = (&Row, &Shape)> {
    let rows = report.rows.iter().filter(|row| !is_of_latency(row));
    rows.filter_map(|row| Some((row, &row.tls.as_ref()?.shape)))
}

/// `tls-inline`, which is what a program gets that asks for nothing, at its largest writes.
fn tiles(page: &mut String, report: &Report) {
    let of = |row: &&Row| row.name.starts_with("tls-inline/1/");
    let largest = report.rows.iter().filter(of).max_by_key(|row| row.payload_bytes);
    let trips = report.rows.iter().find(|row| row.name == "tls-inline/ping-pong");
    let figures = |row: &Row| row.tls.as_ref().map(|tls| tls.figures);
    page.push_str("<section class=\"tiles\">\n");
    if let Some(row) = largest {
        let writes =
            format!("one connection, {} bytes a write", format::grouped(row.payload_bytes as f64));
        let ratio = row.ratio.map(format::times);
        html::tile(page, ratio, &format!("the rate of tls-inline against plain TCP; {writes}"));
        let seconds = figures(row).and_then(|figures| {
            Some(figures.cpu_seconds_per_gb_sender? + figures.cpu_seconds_per_gb_receiver?)
        });
        let text = format!("processor time of tls-inline per GB, both ends; {writes}");
        html::tile(page, seconds.map(|seconds| format!("{seconds:.2} s")), &text);
    }
    let p50 = trips.and_then(figures).and_then(|figures| figures.p50_nanoseconds);
    let p50 = p50.map(|nanoseconds| format!("{:.1} µs", nanoseconds / 1e3));
    html::tile(page, p50, "one byte there and back by tls-inline, the median");
    page.push_str("</section>\n");
}

fn charts(page: &mut String, report: &Report, connections: usize) {
    let heading = match connections {
        1 => "One connection".to_owned(),
        more => format!("{more} connections"),
    };
    let rate = chart(report, connections, "GB/s", |row| Some(row.bytes_per_second? / 1e9));
    let cost = chart(report, connections, "CPU seconds per GB, both ends together", |row| {
        let figures = row.tls.as_ref()?.figures;
        Some(figures.cpu_seconds_per_gb_sender? + figures.cpu_seconds_per_gb_receiver?)
    });
    if rate.is_empty() {
        return;
    }
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        page,
        "<section>\n<h2>{heading}: throughput</h2>\n<figure>\n{rate}<figcaption>Each point is the \
         median of {}.</figcaption>\n</figure>\n</section>\n<section>\n<h2>{heading}: \
         processor time</h2>\n<figure>\n{cost}<figcaption>User and system time of both processes, \
         for 10<sup>9</sup> bytes moved. Lower is better.</figcaption>\n</figure>\n</section>",
        format::samples(report.rounds),
    );
}

fn chart(
    report: &Report,
    connections: usize,
    y_title: &str,
    value: impl Fn(&Row) -> Option<f64>,
) -> String {
    let mut series: Vec<Series> = Vec::new();
    for (row, shape) in bulk(report).filter(|(_, shape)| shape.connections == connections) {
        let Some(value) = value(row) else { continue };
        let point = (row.payload_bytes as f64, value);
        match series.iter_mut().find(|series| series.name == shape.kind) {
            Some(series) => series.points.push(point),
            None => {
                let class = format!("{} dash0 key", colour(&shape.kind));
                series.push(Series { name: shape.kind.clone(), class, points: vec![point] });
            }
        }
    }
    lines::both(&Chart {
        description: format!("{y_title} against the size of the writes, by kind of connection."),
        y_title: y_title.to_owned(),
        x_title: "bytes per write, log scale (K = 1,024)".to_owned(),
        series,
        ..Chart::default()
    })
}

/// The class of the page's style that gives a kind its colour.
fn colour(kind: &str) -> &'static str {
    match kind {
        "plain" => "copy",
        "tls-workers" => "ordinary",
        "tls-ipsec-mb" => "sender",
        _ => "fixed",
    }
}

fn latencies(page: &mut String, report: &Report) {
    let rows: Vec<&Row> = report.rows.iter().filter(|row| is_of_latency(row)).collect();
    if rows.is_empty() {
        return;
    }
    page.push_str(
        "<section>\n<h2>One byte there and back</h2>\n<table>\n<thead><tr>\
         <th scope=\"col\">Kind</th><th scope=\"col\">p50, µs</th><th scope=\"col\">p99, µs</th>\
         <th scope=\"col\">round trips a second</th></tr></thead>\n<tbody>\n",
    );
    for row in rows {
        let figures = row.tls.as_ref().map(|tls| tls.figures);
        let microseconds = |nanoseconds: f64| format!("{:.1}", nanoseconds / 1e3);
        let cells = [
            figures.and_then(|figures| figures.p50_nanoseconds).map(microseconds),
            figures.and_then(|figures| figures.p99_nanoseconds).map(microseconds),
            row.messages_per_second.map(format::grouped),
        ];
        line(page, row, &cells);
    }
    page.push_str("</tbody>\n</table>\n</section>\n");
}

fn costs(page: &mut String, report: &Report) {
    page.push_str(
        "<section>\n<h2>What each end spends</h2>\n<table>\n<thead><tr><th scope=\"col\">Row</th>\
         <th scope=\"col\">CPU s/GB<small>sending</small></th>\
         <th scope=\"col\">CPU s/GB<small>receiving</small></th>\
         <th scope=\"col\">copies<small>out</small></th>\
         <th scope=\"col\">copies<small>in</small></th></tr></thead>\n<tbody>\n",
    );
    for (row, _) in bulk(report) {
        let figures = row.tls.as_ref().map(|tls| tls.figures);
        let seconds = |seconds: f64| format!("{seconds:.3}");
        let copies = |copies: f64| format!("{copies:.2}");
        let cells = [
            figures.and_then(|figures| figures.cpu_seconds_per_gb_sender).map(seconds),
            figures.and_then(|figures| figures.cpu_seconds_per_gb_receiver).map(seconds),
            figures.and_then(|figures| figures.copies_per_byte_sent).map(copies),
            figures.and_then(|figures| figures.copies_per_byte_received).map(copies),
        ];
        line(page, row, &cells);
    }
    page.push_str("</tbody>\n</table>\n</section>\n");
}

fn line(page: &mut String, row: &Row, cells: &[Option<String>]) {
    let _ = write!(page, "<tr><th scope=\"row\"><code>{}</code></th>", escape(&row.name));
    match &row.skipped {
        Some(why) => {
            let (why, columns) = (escape(why), cells.len());
            let _ = write!(page, "<td class=\"skipped\" colspan=\"{columns}\">skipped: {why}</td>");
        }
        None => {
            for cell in cells {
                let _ = write!(page, "<td>{}</td>", cell.as_deref().unwrap_or("–"));
            }
        }
    }
    page.push_str("</tr>\n");
}

fn method(page: &mut String, report: &Report) {
    let mut sizes: Vec<(usize, u64)> =
        bulk(report).map(|(row, shape)| (row.payload_bytes, shape.total_bytes)).collect();
    sizes.dedup();
    sizes.sort_unstable();
    sizes.dedup();
    let size = |&(write, total): &(usize, u64)| {
        let (write, total) = (format::grouped(write as f64), quantity::bytes(total as f64));
        format!("{total} in writes of {write} bytes")
    };
    let sizes: Vec<String> = sizes.iter().map(size).collect();
    let _ = writeln!(
        page,
        "<footer>\n<h2>How it was measured</h2>\n<p>Two processes over loopback, the sender and \
         the receiver; {SUITE_NAME}. Each of {} rounds runs every row once after a \
         shorter run to warm up, so that a drift of the machine hits all rows alike. A run moves \
         {}. Its time ends when the receiver has everything. GB/s are 10<sup>9</sup> bytes in a \
         second. Processor time is that of the whole process after the handshakes. Copies are \
         those outside of the kernel; sealing or opening a byte is one. <code>tls-inline</code> \
         seals where it writes and opens where it reads; the others have an engine at \
         either end.</p>\n<p>Sealift {}. <code>sealift bench tls --json FILE</code> writes every \
         sample.</p>\n\
         </footer>",
        report.rounds,
        sizes.join(", "),
        escape(&report.version)
    );
}

#[cfg(test)]
mod tests {
    use super::super::super::report::tls_report;
    use super::*;

    #[test]
    fn the_page_is_whole_and_draws_each_number_of_connections() {
        let mut report = tls_report();
        for (at, bytes) in [(0, 1_024), (1, 1_024)] {
            let row = Row { payload_bytes: bytes, ..report.rows[at].clone() };
            report.rows.push(row);
        }
        let page = html::render(&report);
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
        assert!(page.contains("What TLS costs on this machine"));
        assert!(page.contains("One connection: throughput") && page.contains("processor time"));
        assert!(page.contains("<b>0.50×</b> the rate of tls-inline"), "{page}");
        assert!(page.contains("<td>12.5</td><td>40.0</td>"), "{page}");
        assert!(page.contains("skipped: there is no thread"));
        assert!(!page.contains("zero-copy send is worth"));
        assert!(page.contains("16,384 bytes a write") && !page.contains("1 bytes a write"));
        assert!(page.contains("<tr class=\"fixed\"><th scope=\"row\"><code>tls-inline/"), "{page}");
    }
}
