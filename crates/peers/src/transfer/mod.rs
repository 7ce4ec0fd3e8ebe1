//! Moving a file over loopback TCP: sealift, socat and iperf3 in turns.
//!
//! ```text
//!  sealift   file in memory ──► sealift send ──► loopback ──► sealift receive ──► /dev/null
//!  socat     file in memory ──► socat -u ─────► loopback ──► socat -u ─────────► /dev/null
//!  iperf3    one buffer ──────► iperf3 -c ────► loopback ──► iperf3 -s ────────► nowhere
//! ```
//!
//! sealift and socat are timed from the sender's start to the end of both processes, what they need
//! to start included; iperf3 times itself, and reads no file.

mod programs;
mod report;

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::report::Report;
use crate::rounds::measure_in_turns;

pub use programs::Contender;
pub use report::Row;

/// What to compare, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much each run moves.
    pub bytes: u64,
    /// Runs of each program.
    pub rounds: u32,
    /// The command under test.
    pub sealift: PathBuf,
    /// Where the file is made; on a file system in memory.
    pub directory: PathBuf,
}

/// Why there is nothing to report.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    fn new(what: impl fmt::Display, error: impl fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// Runs all rounds. `progress` hears what is about to run.
///
/// # Errors
/// Without a file to send. A program that is missing or fails is reported in its row.
pub fn run(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Report<Row>, Failure> {
    let source = Source::new(options)?;
    let contenders = programs::all(options);
    let names: Vec<String> =
        contenders.iter().map(|contender| contender.name().to_owned()).collect();
    let outcomes = measure_in_turns(options.rounds, &names, progress, |index| {
        contenders[index].check()?;
        contenders[index].run(&source.path(), options.bytes)
    });
    Ok(report::of(options, &contenders, outcomes))
}

/// A file without a name, gone when this process is.
struct Source {
    file: File,
}

impl Source {
    fn new(options: &Options) -> Result<Self, Failure> {
        let name = format!("peers-transfer-{}", std::process::id());
        let path = options.directory.join(name);
        let failed = |error: io::Error| Failure::new(path.display(), error);
        let created = File::options().read(true).write(true).create_new(true).open(&path);
        let file = created.map_err(failed)?;
        std::fs::remove_file(&path).map_err(failed)?;
        let source = Self { file };
        let filled = source.fill(options.bytes);
        filled.map_err(|error| Failure::new(options.directory.display(), error)).map(|()| source)
    }

    fn fill(&self, bytes: u64) -> io::Result<()> {
        let block: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8 + 1).collect();
        let mut left = bytes;
        while left > 0 {
            let part = left.min(block.len() as u64) as usize;
            (&self.file).write_all(&block[..part])?;
            left -= part as u64;
        }
        Ok(())
    }

    /// The path by which other processes open it.
    fn path(&self) -> PathBuf {
        use std::os::fd::AsRawFd;
        let (process, descriptor) = (std::process::id(), self.file.as_raw_fd());
        Path::new("/proc").join(process.to_string()).join("fd").join(descriptor.to_string())
    }
}
