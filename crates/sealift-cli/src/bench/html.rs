//! The report as one HTML page that needs nothing else: no script, no font, no fetch.
//!
//! It is made for a phone, a screen and paper, light and dark; `html/page.css` says how.

pub(super) mod chart;
pub(super) mod lines;
pub(super) mod tables;

use std::fmt::Write as _;

use super::crossing::{self, Crossing};
use super::report::Report;
use super::{format, seal, seed, tls};

const SEND_TITLE: &str = "What zero-copy send is worth on this machine";
const STYLE: &str = include_str!("html/page.css");

/// The whole page.
pub(crate) fn render(report: &Report) -> String {
    let mut page = String::new();
    let host = &report.host;
    let (title, sink) = match (report.bench.as_str(), &host.sink) {
        ("seal", _) => ("What sealing costs on this machine", String::new()),
        ("tls", _) => ("What TLS costs on this machine", String::new()),
        (_, Some(kind)) => (SEND_TITLE, format!(" · {kind} sink")),
        (_, None) => (SEND_TITLE, " · no sink".to_owned()),
    };
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        page,
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>sealift bench {bench}: Linux {kernel}</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
<header>
<p class="kicker">sealift bench {bench}</p>
<h1>{title}</h1>
<p class="host">Linux {kernel} · {cpu} · {cpus} CPUs{sink} · {at}</p>
</header>"#,
        bench = escape(&report.bench),
        kernel = escape(&host.kernel),
        cpu = escape(&host.cpu),
        cpus = host.cpus,
        title = title,
        sink = escape(&sink),
        at = escape(&host.measured_at),
    );
    if let Some(warning) = report.disturbance() {
        let _ = writeln!(page, "<p class=\"warning\">{}</p>", escape(&warning));
    }
    match report.bench.as_str() {
        "seal" => seal::page::render(&mut page, report),
        "tls" => tls::page::render(&mut page, report),
        _ => of_sending(&mut page, report),
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn of_sending(page: &mut String, report: &Report) {
    tiles(page, report);
    charts(page, report);
    if report.meets_the_seed() {
        tables::seed(page, report);
    }
    let look = tables::Look { unit: "message", colour: |row| lines::family(&row.name) };
    tables::rows(page, &report.rows.iter().collect::<Vec<_>>(), &look);
    method(page, report);
}

/// The three or four figures that most readers came for.
fn tiles(page: &mut String, report: &Report) {
    page.push_str("<section class=\"tiles\">\n");
    if let Some(payload) = report.headline_payload() {
        let ratio = report.row("uring-zc-fixed-8", payload).and_then(|row| row.ratio);
        let seed = if payload == seed::PAYLOAD_BYTES { "; the seed: 2.44×" } else { "" };
        let text = format!(
            "registered io_uring, 8 a call, against MSG_ZEROCOPY at {} bytes{seed}",
            format::grouped(payload as f64)
        );
        tile(page, ratio.map(format::times), &text);
        let at = report.rows.iter().filter(|row| row.is_swept() && row.payload_bytes == payload);
        let fastest = at
            .filter_map(|row| Some((row.bytes_per_second?, &row.name)))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let text = fastest.map_or(String::new(), |(_, name)| format!("the fastest row, {name}"));
        tile(page, fastest.map(|(rate, _)| format::gigabytes(rate) + " GB/s"), &text);
    }
    let crossing = crossing::of_the_report(report);
    let figure = crossing.map(|(_, crossing)| match crossing {
        Crossing::From(bytes) => format!("≈ {}", format::payload(bytes)),
        Crossing::Always => "always".to_owned(),
        Crossing::Never => "never".to_owned(),
    });
    let text = crossing.map_or(String::new(), |(name, crossing)| match crossing {
        Crossing::From(_) => format!("from here on {name} beats every way of copying"),
        _ => format!("{name} beats every way of copying, at the payloads measured"),
    });
    tile(page, figure, &text);
    let trains = report.rows.iter().find(|row| row.name == "gso-uring-zc-fixed");
    let ratio = trains.and_then(|row| row.ratio);
    tile(page, ratio.map(format::times), "zero-copy trains of UDP segments against copied ones");
    page.push_str("</section>\n");
}

pub(super) fn tile(page: &mut String, figure: Option<String>, text: &str) {
    if let Some(figure) = figure {
        let _ = writeln!(page, "<p><b>{}</b> {}</p>", escape(&figure), escape(text));
    }
}

fn charts(page: &mut String, report: &Report) {
    let throughput = lines::both(&lines::throughput(report));
    if throughput.is_empty() {
        page.push_str("<p class=\"note\">No row has two payloads: there is no line to draw.</p>\n");
        return;
    }
    let _ = writeln!(
        page,
        "<section>\n<h2>Throughput against payload</h2>\n<figure>\n{throughput}<figcaption>{} \
         Each point is the median of {}.</figcaption>\n</figure>\n</section>",
        escape(&crossing::sentence(report)),
        format::samples(report.rounds)
    );
    let against_copy = lines::both(&lines::against_copy(report));
    // Without the row `copy` there is nothing to compare with.
    if against_copy.is_empty() {
        return;
    }
    let _ = writeln!(
        page,
        "<section>\n<h2>The same, against a plain send</h2>\n<figure>\n{against_copy}<figcaption>\
         Above 1 a mode beats <code>copy</code> at that payload. {}</figcaption>\n</figure>\n\
         </section>",
        crossings(report)
    );
}

/// From where each mode beats `copy`, as a sentence of HTML.
fn crossings(report: &Report) -> String {
    let each = crossing::of_each(report);
    let named = |wanted: fn(&Crossing) -> Option<String>| -> Vec<String> {
        let found = each.iter().filter_map(|(name, crossing)| Some((name, wanted(crossing)?)));
        found.map(|(name, from)| format!("<code>{}</code>{from}", escape(name))).collect()
    };
    let from = named(|crossing| match crossing {
        Crossing::From(bytes) => Some(format!(" from ≈ {}", format::payload(*bytes))),
        Crossing::Always => Some(" throughout".to_owned()),
        Crossing::Never => None,
    });
    let never = named(|crossing| matches!(crossing, Crossing::Never).then(String::new));
    let mut text = String::new();
    if !from.is_empty() {
        let _ = write!(text, "It pays with {}. ", from.join(", "));
    }
    if !never.is_empty() {
        let _ = write!(text, "It never pays with {}.", never.join(", "));
    }
    text
}

fn method(page: &mut String, report: &Report) {
    let _ = writeln!(
        page,
        "<footer>\n<h2>How it was measured</h2>\n<p>Each round runs every row once, so that a \
         drift of the machine hits all rows alike; {} rounds of {} s a row after a warm-up. A run \
         that other programs took the processor from is repeated up to three times. GB/s \
         are 10<sup>9</sup> bytes of payload in a second, headers not counted. Datagrams go to a \
         device in a private network namespace that frees them without copying; rows named \
         <code>tcp-…</code> go over loopback, where the kernel always copies: they are there for \
         contrast and say nothing about zero-copy. ‘Zero-copy’ is the part of the messages of \
         which the kernel itself reported that it had not copied them. The figures of one page can \
         be compared with each other, not with those of another machine.</p>\n<p>Sealift \
         {}. <code>sealift bench send --json FILE</code> writes every sample.</p>\n</footer>",
        report.rounds,
        report.sample_seconds,
        escape(&report.version)
    );
}

/// Text with the five letters that HTML gives a meaning replaced.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::report::sample_report;
    use super::*;

    #[test]
    fn what_comes_from_outside_is_escaped() {
        assert_eq!(escape(r#"<a b="c" d='e'>&"#), "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;");
        let page = render(&sample_report());
        assert!(page.contains("Example &lt;&amp;&gt; 9000"));
        assert!(!page.contains("Example <"));
    }

    #[test]
    fn the_page_fetches_nothing_and_runs_nothing() {
        let page = render(&sample_report());
        for forbidden in ["<script", "src=", "url(", "@import", "<link", "<iframe"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn skipped_rows_are_shown_with_their_reason() {
        let mut report = sample_report();
        report.rows[3].skipped = Some("io_uring_setup: <no>".to_owned());
        let page = render(&report);
        assert!(page.contains("skipped: io_uring_setup: &lt;no&gt;"));
    }

    #[test]
    fn the_seeds_six_rows_stand_beside_ours() {
        let page = render(&sample_report());
        for line in &seed::LINES {
            assert!(page.contains(&escape(line.test)), "{}", line.test);
        }
        assert!(page.contains("116,079"));
    }

    #[test]
    fn a_page_of_few_rows_has_no_empty_figure() {
        let mut report = sample_report();
        report.rows.retain(|row| row.name == "uring-zc-fixed-8");
        let mut smaller = report.rows[0].clone();
        smaller.payload_bytes = 600;
        report.rows.push(smaller);
        let page = render(&report);
        assert_eq!(page.matches("<figure>").count(), 1);
        assert!(!page.contains("against a plain send"));
        report.rows.iter_mut().for_each(|row| row.name = "sender-auto".to_owned());
        assert!(!render(&report).contains("The seed’s table"));
    }

    #[test]
    fn an_empty_report_is_still_a_page() {
        let mut report = sample_report();
        report.rows.clear();
        assert!(render(&report).ends_with("</html>\n"));
    }
}
