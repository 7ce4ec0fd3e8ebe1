//! What the kernel, its limits, the processor and a path allow, each 'no' with reason and remedy.
//!
//! [`probe`] asks the machine, [`probe_path`] asks the way to one destination. Nothing is sent and
//! nothing is changed. Both answers print as a table for people and serialise for scripts, whose
//! interface are the findings' names.
//!
//! ```text
//!  probe() ──► ring (io_uring, asked once) ─┐
//!              sockets, limits, cpu ────────┼──► Findings ──► table (Display) or serde
//!  probe_path() ──► route ► device ► offloads, listeners ► verdict
//! ```

mod cpu;
mod device;
mod finding;
mod limits;
mod path;
mod proc;
mod ring;
mod sockets;
mod table;

pub use device::Offloads;
pub use finding::{Finding, Verdict};
pub use path::{PathProbe, Route, probe_path};
pub(crate) use ring::{RingFeatures, ring_features};

use std::fs;

use serde::Serialize;

/// What this machine can do.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Probe {
    /// The running kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// The instruction set, as `uname -m` prints it.
    pub machine: String,
    /// The processor's name, where the kernel says it.
    pub cpu: Option<String>,
    /// Processors that this process may use.
    pub cores: usize,
    /// What was found, grouped by the names' first part.
    pub findings: Vec<Finding>,
}

impl Probe {
    /// The finding of that name.
    pub fn finding(&self, name: &str) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.name == name)
    }
}

/// Asks the running kernel, the limits of this process, and the processor.
pub fn probe() -> Probe {
    let system = rustix::system::uname();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut findings: Vec<Finding> = ring_features().findings().into_iter().cloned().collect();
    findings.extend(sockets::findings());
    findings.extend(limits::findings());
    findings.extend(cpu::findings());
    Probe {
        kernel: system.release().to_string_lossy().into_owned(),
        machine: system.machine().to_string_lossy().into_owned(),
        cpu: proc::cpu_model(&cpuinfo).map(str::to_owned),
        cores: std::thread::available_parallelism().map_or(1, Into::into),
        findings,
    }
}
/// Runs the parsers of the kernel's text files.
#[cfg(fuzzing)]
pub(crate) fn fuzz_files(text: &str) {
    proc::fuzz(text);
}
