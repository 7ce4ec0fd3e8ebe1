//! What sealing has to reach, read off a report.

use crate::bench::report::Report;

/// A ratio that has to be reached, and the lowest that was found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bar {
    /// What is compared with what.
    pub(crate) what: &'static str,
    /// At least this.
    pub(crate) needed: f64,
    /// The lowest ratio of the rows that it is about, and which row has it.
    pub(crate) found: Option<(f64, String)>,
}

impl Bar {
    /// Whether it was reached; `None` if nothing that it is about was measured.
    pub(crate) fn is_reached(&self) -> Option<bool> {
        // As precisely as it is shown.
        self.found.as_ref().map(|(ratio, _)| (ratio * 100.0).round() >= self.needed * 100.0)
    }
}

/// All but CCM, which is so slow that there is nothing to gain: sealing out of place saves the copy
/// at most, so the ratio is below 1 + copy / seal, and that is 1.03.
const FAST: [&str; 3] = ["aes-128-gcm", "aes-256-gcm", "chacha20-poly1305"];
const ALL: [&str; 4] = ["aes-128-gcm", "aes-256-gcm", "chacha20-poly1305", "aes-128-ccm"];

/// Every bar, with what the report has to say on it.
pub(crate) fn of(report: &Report) -> Vec<Bar> {
    let bar = |what, needed, of: (&str, &str), to: (&str, &str), suites: &[&str], bytes| Bar {
        what,
        needed,
        found: lowest(report, of, to, suites, bytes),
    };
    let (many, one) = ("", "/batch-1");
    // Like with like: bare calls with bare calls, jobs with jobs.
    let apart = |what, (of, to), bytes| bar(what, 1.05, (of, many), (to, many), &FAST, bytes);
    let gcm_and_chacha = ["aes-256-gcm", "chacha20-poly1305"];
    let packets = ["aes-128-gcm", "chacha20-poly1305"];
    vec![
        bar("inline to raw, records", 0.97, ("inline", many), ("raw", many), &ALL, 16_384),
        bar("inline to raw, packets", 0.9, ("inline", many), ("raw", many), &ALL, 1_350),
        apart("out of place to memcpy, records", ("raw", "memcpy"), 16_384),
        apart("out of place to memcpy, jobs of records", ("inline", "memcpy-inline"), 16_384),
        apart("out of place to memcpy, packets", ("raw", "memcpy"), 1_350),
        apart("out of place to memcpy, jobs of packets", ("inline", "memcpy-inline"), 1_350),
        bar(
            "two cores to one, records",
            1.7,
            ("workers", many),
            ("inline", many),
            &gcm_and_chacha,
            16_384,
        ),
        bar(
            "ipsec-mb to inline, packets",
            1.5,
            ("ipsec-mb", many),
            ("inline", many),
            &packets,
            1_350,
        ),
        bar(
            "ipsec-mb to inline, packets one by one",
            1.5,
            ("ipsec-mb", one),
            ("inline", one),
            &packets,
            1_350,
        ),
    ]
}

/// The lowest ratio of one engine's rows to another's over some suites.
fn lowest(
    report: &Report,
    (of, of_behind): (&str, &str),
    (to, to_behind): (&str, &str),
    suites: &[&str],
    bytes: usize,
) -> Option<(f64, String)> {
    let ratios = suites.iter().filter_map(|suite| {
        let name = format!("{of}/{suite}/{bytes}{of_behind}");
        let other = format!("{to}/{suite}/{bytes}{to_behind}");
        Some((report.row(&name, bytes)?.against(report.row(&other, bytes)?)?, name))
    });
    ratios.min_by(|a, b| a.0.total_cmp(&b.0))
}
