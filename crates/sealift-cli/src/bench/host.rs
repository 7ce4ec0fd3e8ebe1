//! On what the figures were measured.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::rows::Destination;

/// A machine, and the device that its datagrams ended in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host {
    /// Release of the running kernel.
    pub(crate) kernel: String,
    /// Model of the processor, as it names itself.
    pub(crate) cpu: String,
    /// Processors that this process may run on.
    pub(crate) cpus: usize,
    /// Kind of the device that takes the datagrams; null if there was none.
    pub(crate) sink: Option<String>,
    /// When, in UTC: `2026-11-20T19:30:00Z`.
    pub(crate) measured_at: String,
}

impl Host {
    /// This machine, now.
    pub(crate) fn here(sink: Option<&Destination>) -> Self {
        let uname = rustix::system::uname();
        let machine = uname.machine().to_string_lossy().into_owned();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            kernel: uname.release().to_string_lossy().into_owned(),
            cpu: std::fs::read_to_string("/proc/cpuinfo")
                .ok()
                .and_then(|text| model_name(&text))
                .unwrap_or(machine),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            sink: sink.map(|sink| sink.device.clone()),
            measured_at: timestamp(now.map_or(0, |since| since.as_secs())),
        }
    }
}

fn model_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Seconds since 1970 as a date and a time of day, by the calendar arithmetic of Howard Hinnant's
/// 'chrono-compatible low-level date algorithms' (`civil_from_days`).
fn timestamp(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(timestamp(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(timestamp(1_638_285_523), "2021-11-30T15:18:43Z");
        assert_eq!(timestamp(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn the_processor_is_found_by_its_name() {
        let text = "processor\t: 0\nmodel name\t: Example 9000\nflags\t: fpu\n";
        assert_eq!(model_name(text).as_deref(), Some("Example 9000"));
        assert_eq!(model_name("processor : 0\n"), None);
    }
}
