//! What the figures were measured on, and how they are put together.

use std::fs;

use serde::Serialize;

/// The machine.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// Release of the running kernel.
    pub kernel: String,
    /// Model of the processor.
    pub cpu: String,
    /// Processors that this process may run on.
    pub cpus: usize,
}

impl Host {
    /// This one.
    pub fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model =
            cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: model.map_or(std::env::consts::ARCH, |(_, name)| name).to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// The median; `None` of nothing.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some((lower + upper) / 2.0)
}

/// The order of a round: forth and back, so that a drift of the machine hits all alike.
pub fn in_turns(round: u32, count: usize) -> Vec<usize> {
    let forth = 0..count;
    if round.is_multiple_of(2) { forth.collect() } else { forth.rev().collect() }
}
