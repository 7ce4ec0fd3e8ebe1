//! Compares `sealift send` and `receive` with socat and iperf3 over loopback TCP.
#![forbid(unsafe_code)]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use peers::command;
use peers::transfer::{Options, run};

/// Move a file over loopback TCP with sealift, socat and iperf3 in turns
///
/// The file lies in memory and goes to /dev/null. Programs that are not there are named and left
/// out. Compare what the machine does otherwise: it should do nothing.
#[derive(Debug, Parser)]
#[command(name = "peers-transfer", version, max_term_width = 100)]
struct Args {
    /// How much each run moves: a number of bytes, or of KiB, MiB or GiB
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = command::parse_size)]
    bytes: u64,
    /// The sealift to measure [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    sealift: Option<PathBuf>,
    /// Where to make the file; it has no name and goes away by itself
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    directory: PathBuf,
    #[command(flatten)]
    report: command::ReportArgs,
    /// End with exit code 1 if a ratio is not what it should be, or could not be measured
    #[arg(long)]
    strict: bool,
}

fn main() -> ExitCode {
    command::end("peers-transfer", compare(&Args::parse()))
}

fn compare(args: &Args) -> Result<bool, Box<dyn Error>> {
    let options = Options {
        bytes: args.bytes,
        rounds: args.report.rounds,
        sealift: args.sealift.clone().map_or_else(beside_this_program, Ok)?,
        directory: args.directory.clone(),
    };
    let report =
        args.report.report::<_, Box<dyn Error>>(|progress| Ok(run(&options, progress)?))?;
    Ok(!args.strict || report.is_as_wanted())
}

fn beside_this_program() -> Result<PathBuf, std::io::Error> {
    Ok(std::env::current_exe()?.with_file_name("sealift"))
}
