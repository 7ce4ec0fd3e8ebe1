//! From which payload on zero-copy beats copying.

use super::format;
use super::report::Report;

/// Where one way of sending overtakes another as payloads grow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Crossing {
    /// It is ahead at every payload measured.
    Always,
    /// It is behind below this payload and ahead from there on; interpolated.
    From(f64),
    /// It is behind at the largest payload measured.
    Never,
}

/// The rows that stand for zero-copy, the first that was measured: 8 sends a call, as many as the
/// row `uring-copy-8` has, so that it is the copy that makes the difference and not the batch.
const ZERO_COPY: [&str; 2] = ["uring-zc-fixed-8", "msg-zerocopy-batched"];

/// Where zero-copy overtakes the fastest way of copying, and by which row that is told.
pub(crate) fn of_the_report(report: &Report) -> Option<(&'static str, Crossing)> {
    ZERO_COPY.into_iter().find_map(|name| {
        let of = |payload| report.row(name, payload).filter(|row| row.is_zero_copy());
        let rates = |payload| of(payload)?.bytes_per_second;
        Some((name, crossing(&ratios(report, rates, fastest_copy(report)))?))
    })
}

/// Where each row without a copy overtakes the row `copy`, by name.
pub(crate) fn of_each(report: &Report) -> Vec<(&str, Crossing)> {
    let mut found: Vec<(&str, Crossing)> = Vec::new();
    for row in report.rows.iter().filter(|row| row.is_swept() && row.zerocopied_fraction.is_some())
    {
        if found.iter().all(|(name, _)| *name != row.name) {
            let ratios = ratios(report, named(report, &row.name), named(report, "copy"));
            found.extend(crossing(&ratios).map(|crossing| (row.name.as_str(), crossing)));
        }
    }
    found
}

/// What `of_the_report` says, as a sentence.
pub(crate) fn sentence(report: &Report) -> String {
    let Some((name, crossing)) = of_the_report(report) else {
        return "Where zero-copy starts to pay cannot be said: too little was measured.".to_owned();
    };
    match crossing {
        Crossing::Always => format!("{name} is ahead of copying at every payload measured."),
        Crossing::Never => format!("{name} is behind copying at the largest payload measured."),
        Crossing::From(bytes) => {
            format!("{name} is ahead of copying from about {}.", format::payload(bytes))
        }
    }
}

/// The best rate at a payload of the rows that ask for copies.
fn fastest_copy(report: &Report) -> impl Fn(usize) -> Option<f64> {
    move |payload| {
        let at = report.rows.iter().filter(|row| row.is_swept() && row.payload_bytes == payload);
        let copies = at.filter(|row| row.zerocopied_fraction.is_none());
        copies.filter_map(|row| row.bytes_per_second).max_by(f64::total_cmp)
    }
}

fn named<'report>(
    report: &'report Report,
    name: &'report str,
) -> impl Fn(usize) -> Option<f64> + 'report {
    move |payload| report.row(name, payload)?.bytes_per_second
}

/// The rate of one way against another, by payload.
fn ratios(
    report: &Report,
    of: impl Fn(usize) -> Option<f64>,
    to: impl Fn(usize) -> Option<f64>,
) -> Vec<(f64, f64)> {
    let at = |payload| Some((payload as f64, of(payload)? / to(payload)?));
    report.sweep().into_iter().filter_map(at).collect()
}

/// Where the ratios pass one for good; payloads ascend, interpolation is linear in their logarithm.
fn crossing(ratios: &[(f64, f64)]) -> Option<Crossing> {
    let ahead = ratios.iter().rev().take_while(|(_, ratio)| *ratio >= 1.0).count();
    let first = ratios.len().checked_sub(ahead)?;
    Some(match (first.checked_sub(1).map(|last| ratios[last]), ratios.get(first)) {
        (None, None) => return None,
        (None, Some(_)) => Crossing::Always,
        (Some(_), None) => Crossing::Never,
        (Some((below, behind)), Some(&(above, ahead))) => {
            let part = (1.0 - behind) / (ahead - behind);
            Crossing::From((below.ln() + (above.ln() - below.ln()) * part).exp())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::report::sample_report;
    use super::*;

    #[test]
    fn the_crossing_is_the_last_one() {
        assert_eq!(crossing(&[]), None);
        assert_eq!(crossing(&[(1.0, 1.2), (2.0, 1.0)]), Some(Crossing::Always));
        assert_eq!(crossing(&[(1.0, 1.2), (2.0, 0.9)]), Some(Crossing::Never));
        let twice = [(1.0, 1.1), (100.0, 0.5), (10_000.0, 1.5), (20_000.0, 3.0)];
        let Some(Crossing::From(bytes)) = crossing(&twice) else { panic!("no crossing") };
        assert!((bytes - 1_000.0).abs() < 0.01, "{bytes}");
    }

    #[test]
    fn rows_that_were_copied_after_all_do_not_count_as_zero_copy() {
        let mut report = sample_report();
        assert_eq!(of_the_report(&report), Some(("uring-zc-fixed-8", Crossing::Always)));
        for row in &mut report.rows {
            row.zerocopied_fraction = row.zerocopied_fraction.map(|_| 0.0);
        }
        assert_eq!(of_the_report(&report), None);
        assert!(sentence(&report).contains("cannot be said"));
    }

    #[test]
    fn each_row_is_held_against_copy() {
        let report = sample_report();
        let expected = [("msg-zerocopy", Crossing::Always), ("uring-zc-fixed-8", Crossing::Always)];
        assert_eq!(of_each(&report), expected);
    }
}
