//! `cargo xtask lab`: the crate's tests on older kernels, in a virtual machine.
//!
//! ```text
//!  Debian package ──► kernel, modules ─┐
//!  cargo test --no-run ──► binaries ───┼─► initramfs ─► QEMU ─► serial console ─► report
//!  lab/init, lab/shell, checks ────────┘                              └─► target/lab/<series>.log
//! ```
//!
//! Nothing is installed and no network card is given to the machine. The processor is emulated, so
//! the lab says whether the code is right on that kernel, never how fast it is.

mod build;
mod checks;
mod initramfs;
mod kernel;
mod machine;
mod modules;
mod report;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::step::{self, Outcome, Run};
use initramfs::Contents;
use report::Report;

/// The kernel series that the lab boots, oldest first.
const SERIES: [&str; 2] = ["6.1", "6.12"];

/// Programs of Debian packages that the lab cannot do without.
const NEEDED: [&str; 8] =
    ["qemu-system-x86_64", "busybox", "cpio", "strip", "setpriv", "ldd", "apt-get", "dpkg"];

/// How long one kernel may take, from power-on to power-off.
const DEADLINE: Duration = Duration::from_secs(900);

const USAGE: &str = "usage: cargo xtask lab [--kernel 6.1|6.12] [--keep] [FILTER…]";

/// What may follow `cargo xtask lab`. The default is every test on every kernel.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    /// One series only.
    kernel: Option<&'static str>,
    /// Leave the initramfs behind, and say how to boot it by hand.
    keep: bool,
    /// Run only the test binaries whose name contains one of these words.
    filter: Vec<String>,
}

pub(crate) fn main(words: impl Iterator<Item = String>) -> ExitCode {
    let options = match parse(words) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("xtask: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut run = Run::new(step::Options { seconds: 0, filter: Vec::new() });
    let failure = boot_all(&mut run, &options).err().map(|why| format!("lab: {why}"));
    run.close(failure)
}

fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Options> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--keep" => options.keep = true,
            "--kernel" => {
                let wanted = words.next().unwrap_or_default();
                options.kernel = SERIES.into_iter().find(|series| *series == wanted);
                options.kernel.ok_or_else(|| format!("--kernel takes {}", SERIES.join(" or ")))?;
            }
            flag if flag.starts_with('-') => return Err(format!("unknown option '{flag}'")),
            _ => options.filter.push(word),
        }
    }
    Ok(options)
}

fn boot_all(run: &mut Run, options: &Options) -> Outcome {
    if let Some(missing) = NEEDED.iter().find(|name| found(name).is_none()) {
        run.tally.skip("lab", &format!("{missing} is not installed; run `cargo xtask setup`"));
        return Ok(());
    }
    let cache = target_dir(&run.root).join("lab");
    fs::create_dir_all(&cache).map_err(|error| on_path("create", &cache, &error))?;
    let tests = build::tests(run, &options.filter)?;
    let programs = build::programs(run)?;

    let mut failed = Vec::new();
    for series in SERIES.into_iter().filter(|name| options.kernel.is_none_or(|one| one == *name)) {
        let started = Instant::now();
        let contents = Contents { lab: &run.root.join("lab"), tests: &tests, programs: &programs };
        let tally = boot_one(series, &contents, &cache, options.keep)?.print(started.elapsed());
        if tally.failed > 0 {
            failed.push(format!(
                "{} on {series} ({})",
                tally.failed,
                log(&cache, series).display()
            ));
        }
        run.tally.add(tally);
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

/// Boots one kernel with everything in it, and reads what it reports.
fn boot_one(series: &str, contents: &Contents<'_>, cache: &Path, keep: bool) -> Outcome<Report> {
    let kernel = kernel::fetch(series, cache)?;
    let modules = modules::select(&kernel)?;
    let stage = cache.join(format!("{series}.stage"));
    let archive = cache.join(format!("{series}.initramfs"));
    initramfs::build(contents, &modules, &stage, &archive)?;

    let log = log(cache, series);
    println!("{series}: booting {} (console: {})", kernel.release, log.display());
    let mut report = Report::new(series, contents.tests, &modules.missing);
    let ending = machine::boot(&kernel.image(), &archive, &log, DEADLINE, |line| {
        if let Some(progress) = report.line(line) {
            println!("{series}: {progress}");
        }
    })?;
    report.ended(ending);

    remove_tree(&stage)?;
    if keep {
        println!("{series}: by hand: {}", machine::command_line(&kernel.image(), &archive));
    } else {
        fs::remove_file(&archive).map_err(|error| on_path("remove", &archive, &error))?;
    }
    Ok(report)
}

fn log(cache: &Path, series: &str) -> PathBuf {
    cache.join(format!("{series}.log"))
}

fn target_dir(root: &Path) -> PathBuf {
    // Joining an absolute path replaces the root, as cargo itself does.
    root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// The program `name` on this machine, also where only root's PATH looks.
fn found(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// Words the failure of a file operation.
fn on_path(what: &str, path: &Path, error: &io::Error) -> String {
    format!("cannot {what} {}: {error}", path.display())
}

/// Removes a directory with all that is in it, if it is there.
fn remove_tree(path: &Path) -> Outcome {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(on_path("remove", path, &error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Outcome<Options> {
        parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_a_kernel_keep_and_a_filter() {
        assert_eq!(read("").unwrap(), Options::default());
        let expected = Options { kernel: Some("6.1"), keep: true, filter: vec!["pool".into()] };
        assert_eq!(read("--keep pool --kernel 6.1").unwrap(), expected);
    }

    #[test]
    fn wrong_options_are_refused() {
        assert_eq!(read("--kernel 5.10").unwrap_err(), "--kernel takes 6.1 or 6.12");
        assert!(read("--kernel").is_err());
        assert!(read("--fast").unwrap_err().contains("'--fast'"));
    }

    #[test]
    fn programs_are_found_by_name() {
        assert!(found("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(found("no-such-program"), None);
    }

    #[test]
    fn what_is_not_there_is_removed_already() {
        assert!(remove_tree(Path::new("/nowhere/to/be/found")).is_ok());
    }
}
