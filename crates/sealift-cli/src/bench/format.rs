//! Figures as people read them.

/// Bytes per second as `45.3`, in units of `unit_bytes`: three digits that count.
pub(crate) fn rate(bytes_per_second: f64, unit_bytes: f64) -> String {
    let value = bytes_per_second / unit_bytes;
    let decimals = match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        value if value >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// Bytes per second in GB/s.
pub(crate) fn gigabytes(bytes_per_second: f64) -> String {
    rate(bytes_per_second, 1e9)
}

/// A time: `82.3 ns` without its unit, three digits that count.
pub(crate) fn nanoseconds(nanoseconds: f64) -> String {
    rate(nanoseconds, 1.0)
}

/// A count with its thousands set apart: `65,435`.
pub(crate) fn grouped(count: f64) -> String {
    let digits = format!("{count:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many samples: `1 sample`, `5 samples`.
pub(crate) fn samples(count: u32) -> String {
    if count == 1 { "1 sample".to_owned() } else { format!("{count} samples") }
}

/// A ratio: `2.49×`.
pub(crate) fn times(ratio: f64) -> String {
    format!("{ratio:.2}×")
}

/// A part of one as a percentage that says `100 %` only when it is all, and `0 %` only if none.
pub(crate) fn percent(part: f64) -> String {
    match part {
        part if part > 0.0 && part < 0.01 => "<1 %".to_owned(),
        part if part < 1.0 && part > 0.99 => ">99 %".to_owned(),
        part => format!("{:.0} %", part * 100.0),
    }
}

/// A payload for a person: `600 B`, `4.1 KB`.
pub(crate) fn payload(bytes: f64) -> String {
    if bytes < 1000.0 { format!("{bytes:.0} B") } else { format!("{:.1} KB", bytes / 1000.0) }
}

/// System calls per message: `4`, `0.13`, `0.016`.
pub(crate) fn calls(per_message: f64) -> String {
    let text = if per_message >= 0.095 {
        format!("{per_message:.2}")
    } else {
        format!("{per_message:.3}")
    };
    match text.strip_suffix(".00") {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sample_is_no_samples() {
        assert_eq!([1, 5].map(samples), ["1 sample", "5 samples"]);
    }

    #[test]
    fn figures_keep_three_digits() {
        assert_eq!(gigabytes(45.349e9), "45.3");
        assert_eq!(gigabytes(9.999e9), "10.0");
        assert_eq!(gigabytes(1.2e9), "1.20");
        assert_eq!(gigabytes(0.42e9), "0.420");
        assert_eq!(rate(16_700.0 * 1_048_576.0, 1_048_576.0), "16700");
    }

    #[test]
    fn counts_are_grouped() {
        let texts = [1.0, 999.0, 1_000.0, 65_435.0, 1_234_567.0].map(grouped);
        assert_eq!(texts, ["1", "999", "1,000", "65,435", "1,234,567"]);
    }

    #[test]
    fn percentages_do_not_round_to_the_absolute() {
        let texts = [0.0, 0.001, 0.5, 0.999, 1.0].map(percent);
        assert_eq!(texts, ["0 %", "<1 %", "50 %", ">99 %", "100 %"]);
    }

    #[test]
    fn calls_are_short() {
        assert_eq!([4.0, 1.0625, 0.125, 0.0156].map(calls), ["4", "1.06", "0.12", "0.016"]);
    }
}
