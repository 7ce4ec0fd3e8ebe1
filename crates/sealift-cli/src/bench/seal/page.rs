//! The report of `bench seal` as the body of an HTML page.

use std::fmt::Write as _;

use super::bars;
use super::rows::Sealing;
use crate::bench::html::chart::{Axis, Chart, Series};
use crate::bench::html::tables::Look;
use crate::bench::html::{escape, lines};
use crate::bench::report::{self, Report, Row};
use crate::bench::{format, html};

/// What has to be reached, a chart for each suite, all rows, and how it was measured.
pub(crate) fn render(page: &mut String, report: &Report) {
    bars_table(page, report);
    // In the order of the rows, as the terminal has it.
    let mut suites: Vec<&str> = Vec::new();
    for (_, sealing) in sealings(report) {
        if !suites.contains(&sealing.suite.as_str()) {
            suites.push(&sealing.suite);
            chart(page, report, &sealing.suite, false);
            chart(page, report, &sealing.suite, true);
        }
    }
    let colour = |row: &Row| row.sealing.as_ref().map_or("copy", colour);
    let rows: Vec<&Row> = report.rows.iter().collect();
    html::tables::rows(page, &rows, &Look { unit: "message", colour });
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        page,
        "<footer>\n<h2>How it was measured</h2>\n<p>Each round runs every row once, so that a \
         drift of the machine hits all rows alike; {} rounds of {} s a row after a warm-up. \
         Messages are sealed out of place, in turn over a ring of {} bytes of plaintext; \
         <code>memcpy</code> copies and seals in place, with the bare call as <code>raw</code>; \
         <code>memcpy-inline</code> does so in jobs as <code>inline</code>. What sealing out of \
         place saves is the copy, so the slower a suite, the less it gains. GB/s are \
         10<sup>9</sup> bytes of plaintext in a second. A row is named by engine, suite and bytes \
         per message. 32 messages are \
         handed over at a time, one with <code>batch-1</code>; with <code>cores-2</code> an engine \
         on each of two cores seals under one key; <code>workers</code> and \
         <code>router</code> have two cores anyway.</p>\n\
         <p>Sealift {}. <code>sealift bench seal --json FILE</code> writes every sample.</p>\n\
         </footer>",
        report.rounds,
        report.sample_seconds,
        format::grouped(report.ring_bytes.unwrap_or(0) as f64),
        escape(&report.version)
    );
}

fn sealings(report: &Report) -> impl Iterator<Item = (&Row, &Sealing)> {
    report.rows.iter().filter_map(|row| Some((row, row.sealing.as_ref()?)))
}

fn bars_table(page: &mut String, report: &Report) {
    page.push_str(
        "<section>\n<h2>What has to be reached</h2>\n<table>\n<thead><tr>\
         <th scope=\"col\">Ratio</th><th scope=\"col\">at least</th><th scope=\"col\">here</th>\
         </tr></thead>\n<tbody>\n",
    );
    for bar in bars::of(report) {
        let (here, row) = match &bar.found {
            Some((ratio, row)) => (format::times(*ratio), row.as_str()),
            None => ("–".to_owned(), "not measured"),
        };
        let short = if bar.is_reached() == Some(false) { " (not reached)" } else { "" };
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{}<small>{}{short}</small></th><td>{}</td><td><b>{here}</b></td>\
             </tr>",
            escape(bar.what),
            escape(row),
            format::times(bar.needed),
        );
    }
    page.push_str("</tbody>\n</table>\n</section>\n");
}

/// One suite's throughput against payload, a line for each engine and batch that seals, or opens.
fn chart(page: &mut String, report: &Report, suite: &str, opens: bool) {
    let mut series: Vec<Series> = Vec::new();
    let its = |sealing: &Sealing| sealing.suite == suite && sealing.opens() == opens;
    for (row, sealing) in sealings(report).filter(|(_, sealing)| its(sealing)) {
        let Some(rate) = row.bytes_per_second else { continue };
        let name = label(sealing);
        let point = (row.payload_bytes as f64, rate / 1e9);
        match series.iter_mut().find(|series| series.name == name) {
            Some(series) => series.points.push(point),
            None => series.push(Series { name, class: look(sealing), points: vec![point] }),
        }
    }
    let heading = if opens { format!("{suite}, opening") } else { suite.to_owned() };
    let drawn = lines::both(&Chart {
        description: format!("{heading}: throughput against payload."),
        y_title: "GB/s, log scale".to_owned(),
        y: Axis::Logarithmic,
        x_title: "bytes per message, log scale (K = 1,024)".to_owned(),
        series,
        mark: None,
    });
    if drawn.is_empty() {
        return;
    }
    let _ = writeln!(
        page,
        "<section>\n<h2>{}</h2>\n<figure>\n{drawn}<figcaption>Each point is the median of {}; \
         {} sizes of messages were measured.</figcaption>\n</figure>\n</section>",
        escape(&heading),
        format::samples(report.rounds),
        report::payloads(&report.rows).len(),
    );
}

fn label(sealing: &Sealing) -> String {
    match (sealing.batch, sealing.cores) {
        (1, _) => format!("{}, one by one", sealing.engine),
        (_, 2) if !has_a_crew(sealing) => format!("{}, 2 cores", sealing.engine),
        _ => sealing.engine.clone(),
    }
}

/// Whether the engine has a second core by itself.
fn has_a_crew(sealing: &Sealing) -> bool {
    ["workers", "router"].contains(&sealing.sealer())
}

/// The class of the page's style that gives an engine its colour.
fn colour(sealing: &Sealing) -> &'static str {
    match sealing.sealer() {
        "memcpy" | "memcpy-inline" => "copy",
        "raw" => "msg",
        "ipsec-mb" => "sender",
        "workers" | "router" => "ordinary",
        _ => "fixed",
    }
}

/// The classes of the page's style: a colour for each engine, dashes for each batch.
fn look(sealing: &Sealing) -> String {
    let dashes = match (sealing.batch, sealing.cores) {
        (1, _) => 1,
        (_, 2) if sealing.sealer() != "workers" => 2,
        _ if sealing.engine == "memcpy-inline" => 2,
        _ => 0,
    };
    format!("{} dash{dashes} key", colour(sealing))
}

#[cfg(test)]
mod tests {
    use super::super::super::report::sealing_report;
    use super::*;

    #[test]
    fn the_page_is_whole_and_draws_each_suite() {
        let mut report = sealing_report();
        let name = "raw/aes-128-gcm/1350".to_owned();
        let packet = Row { name, payload_bytes: 1_350, ..report.rows[0].clone() };
        report.rows.push(packet);
        let page = html::render(&report);
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
        assert!(page.contains("<h2>aes-128-gcm</h2>") && page.contains("What has to be reached"));
        assert!(page.contains("1.05×") && page.contains("(not reached)"));
        assert!(!page.contains("zero-copy send is worth"));
    }
}
