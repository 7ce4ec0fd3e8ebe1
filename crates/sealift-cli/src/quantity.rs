//! Amounts as people write and read them: durations, bytes, and counts in words.

use std::time::Duration;

/// Ten years: as good as for ever, and a clock can still add it to now.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(HOURS_MAX * 3600);
const HOURS_MAX: u64 = 87_600;
/// The most that a run of a benchmark moves.
const BYTES_MAX: u64 = 1 << 40;
/// The longest sample of a benchmark.
const SAMPLE_SECONDS_MAX: u64 = 3600;

/// Reads `30`, `30s`, `500ms`, `2m` or `1h`; a bare number is seconds. [`DURATION_MAX`] at most.
///
/// # Errors
/// What is wrong with it, in one clause.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds_each = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("'{unit}' is no unit of time; use ms, s, m or h")),
    };
    let number: f64 = number.parse().map_err(|_| "write it as 30, 30s, 500ms, 2m or 1h")?;
    match Duration::try_from_secs_f64(number * seconds_each) {
        Ok(duration) if duration <= DURATION_MAX => Ok(duration),
        _ => Err(format!("it is too long; at most {HOURS_MAX}h")),
    }
}

/// Reads the length of a benchmark's sample, an hour at most.
///
/// # Errors
/// As [`parse_duration`].
pub(crate) fn parse_sample(text: &str) -> Result<Duration, String> {
    let sample = parse_duration(text)?;
    match sample {
        Duration::ZERO => Err("nothing is measured in no time; 0.1 is usual".to_owned()),
        sample if sample <= Duration::from_secs(SAMPLE_SECONDS_MAX) => Ok(sample),
        _ => Err(format!("it is too long; at most {SAMPLE_SECONDS_MAX}s")),
    }
}

/// Reads `65536`, `64K`, `512M` or `4G`; K is 1,024. At least one byte.
///
/// # Errors
/// What is wrong with it, in one clause.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(format!("'{unit}' is no unit of bytes; use K, M or G")),
    };
    let number: u64 = number.parse().map_err(|_| "write it as 65536, 64K, 512M or 4G")?;
    let bytes = number.checked_mul(1 << shift).filter(|bytes| *bytes <= BYTES_MAX);
    match bytes {
        Some(0) => Err("it is nothing; at least 1".to_owned()),
        Some(bytes) => Ok(bytes),
        None => Err("it is too much; at most 1024G".to_owned()),
    }
}

/// A duration in the unit that suits it.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        1..10 if duration.subsec_millis() > 0 => format!("{seconds:.1} s"),
        whole @ 0..120 => format!("{whole} s"),
        whole @ 120..7200 => format!("{} min", whole / 60),
        whole => format!("{} h", whole / 3600),
    }
}

/// Bytes in decimal units, with three digits: `1.23 GB`.
pub(crate) fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000.0 {
        return format!("{bytes:.0} B");
    }
    let mut scaled = bytes / 1000.0;
    let mut unit = 0;
    // What would round to 1000 belongs to the next unit.
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    let digits = if scaled < 9.995 { 2 } else { usize::from(scaled < 99.95) };
    format!("{scaled:.digits$} {}", UNITS[unit])
}

/// A number of connections.
pub(crate) fn connections(count: u64) -> String {
    if count == 1 { "1 connection".to_owned() } else { format!("{count} connections") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read() {
        for (text, bytes) in [("1", 1), ("64K", 65_536), ("512M", 1 << 29), ("1024G", 1 << 40)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "K", "4g", "4 G", "-1", "1.5G", "1025G", "18446744073709551616"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read() {
        for (text, millis) in
            [("30", 30_000), ("30s", 30_000), ("500ms", 500), ("1.5m", 90_000), ("1h", 3_600_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "1d", "-1", "1e99h", "..", "1 s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(parse_duration("87600h"), Ok(DURATION_MAX));
        let huge = "9".repeat(400);
        for text in ["87601h", "18446744073709551615", "18446744073709551616", &huge] {
            assert_eq!(
                parse_duration(text),
                Err("it is too long; at most 87600h".into()),
                "{text}"
            );
        }
        assert_eq!(parse_sample("1h"), Ok(Duration::from_secs(3600)));
        assert!(parse_sample("0").is_err());
        assert_eq!(parse_sample("2h"), Err("it is too long; at most 3600s".into()));
    }

    #[test]
    fn durations_are_written() {
        let written = |millis| duration(Duration::from_millis(millis));
        assert_eq!(written(7), "7 ms");
        assert_eq!(written(2_500), "2.5 s");
        assert_eq!(written(30_000), "30 s");
        assert_eq!(written(300_000), "5 min");
        assert_eq!(written(7_200_000), "2 h");
    }

    #[test]
    fn bytes_are_written() {
        let written = [0.0, 999.0, 1_000.0, 65_536.0, 999_499.0, 999_500.0, 4_294_967_296.0];
        let expected = ["0 B", "999 B", "1.00 kB", "65.5 kB", "999 kB", "1.00 MB", "4.29 GB"];
        assert_eq!(written.map(bytes), expected);
    }
}
