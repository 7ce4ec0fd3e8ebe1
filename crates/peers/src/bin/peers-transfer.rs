//! Compares `sealift send` and `receive` with socat and iperf3 over loopback TCP.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use peers::transfer::{Failure, Options, Report, run};

/// Move a file over loopback TCP with sealift, socat and iperf3 in turns
///
/// The file lies in memory and goes to /dev/null. Programs that are not there are named and left
/// out. Compare what the machine does otherwise: it should do nothing.
#[derive(Debug, Parser)]
#[command(name = "peers-transfer", version, max_term_width = 100)]
struct Args {
    /// How much each run moves: a number of bytes, or of KiB, MiB or GiB
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = parse_size)]
    bytes: u64,
    /// How often each program runs; the first round is one more and does not count
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: u32,
    /// The sealift to measure [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    sealift: Option<PathBuf>,
    /// Where to make the file; it has no name and goes away by itself
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    directory: PathBuf,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// End with exit code 1 if a ratio is not what it should be
    #[arg(long)]
    strict: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match compare(&args) {
        Ok(report) if args.strict && !report.is_as_wanted() => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("peers-transfer: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args) -> Result<Report, Box<dyn std::error::Error>> {
    let options = Options {
        bytes: args.bytes,
        rounds: args.rounds,
        sealift: args.sealift.clone().map_or_else(beside_this_program, Ok)?,
        directory: args.directory.clone(),
    };
    let watched = std::io::stderr().is_terminal();
    let mut progress = |what: &str| {
        if watched {
            eprint!("\r\x1b[K{what}");
        }
    };
    let outcome: Result<Report, Failure> = run(&options, &mut progress);
    progress("");
    let report = outcome?;
    let text =
        if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { report.to_string() };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(report)
}

fn beside_this_program() -> Result<PathBuf, std::io::Error> {
    Ok(std::env::current_exe()?.with_file_name("sealift"))
}

fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(format!("'{unit}' is no unit; use KiB, MiB or GiB")),
    };
    let number: u64 = number.parse().map_err(|_| "write it as 4GiB".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "that is more than there is".to_owned())
}
