//! Tests under AddressSanitizer and ThreadSanitizer, with the stable toolchain.
//!
//! The sanitizers' runtimes come with every Rust toolchain; only their flag is unstable, hence
//! `RUSTC_BOOTSTRAP`. The standard library, however, comes compiled without them. For addresses
//! that only means fewer checks. For threads it means that the order its locks give is not seen,
//! and correct programs are reported. So ThreadSanitizer is
//!
//! 1. told about that order by wrappers around eight functions of the standard library
//!    (`tsan/edges.c`), and about reports inside of it by `tsan/suppressions.txt`;
//! 2. tried on a program of known answers first (`tsan/probe.rs`). A toolchain with which it
//!    misses a planted race, or reports a correct lock, is not trusted: the step is skipped.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{Outcome, Run, capture, execute};
use crate::suite;

/// Crates with `unsafe` or threads of their own.
const CRATES: &[&str] = &["sealift-io", "sealift-crypto", "sealift-tls"];

pub(crate) fn run(run: &mut Run) -> Outcome {
    match runtime(run, "asan") {
        Ok(()) => test(run, "asan", &["-Zsanitizer=address".to_owned()])?,
        Err(why) => run.lacks("sanitize: addresses", &why)?,
    }
    match trusted_thread_flags(run) {
        Ok(flags) => test(run, "tsan", &flags)?,
        Err(why) => run.tally.skip("sanitize: threads", &why),
    }
    Ok(())
}

/// The triple of this machine; naming it keeps build scripts and macros free of the sanitizer.
pub(crate) fn host(run: &Run) -> Outcome<String> {
    Ok(capture(&mut run.rustc(["--print", "host-tuple"]))?.trim().to_owned())
}

/// Whether the toolchain has the runtime of a sanitizer.
pub(crate) fn runtime(run: &Run, name: &str) -> Outcome {
    let end = format!("_rt.{name}.a");
    let is_there = files(&target_libdir(run)?)?.iter().any(|file| file.ends_with(&end));
    is_there.then_some(()).ok_or(format!("the toolchain has no runtime for {name}"))
}

fn target_libdir(run: &Run) -> Outcome<PathBuf> {
    Ok(PathBuf::from(capture(&mut run.rustc(["--print", "target-libdir"]))?.trim()))
}

fn files(directory: &Path) -> Outcome<Vec<String>> {
    let entries = fs::read_dir(directory).map_err(|why| format!("{}: {why}", directory.display()));
    let names = entries?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.collect())
}

/// Library and integration tests of [`CRATES`] under one sanitizer, in a target directory apart.
fn test(run: &mut Run, name: &str, flags: &[String]) -> Outcome {
    let host = host(run)?;
    let mut command = run.cargo(["test", "--lib", "--tests", "--all-features", "--no-fail-fast"]);
    for name in CRATES {
        command.args(["-p", name]);
    }
    command.args(["--target", &host, "--target-dir", &format!("target/{name}")]);
    command.arg("--").args(&run.options.filter);
    if name == "tsan" {
        // Captured output is a lock that the sanitizer cannot see.
        command.arg("--nocapture");
    }
    // A flag may hold a path with spaces, hence the encoded form.
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).env("RUSTC_BOOTSTRAP", "1");
    let reports = run.root.join(format!("target/{name}/reports"));
    forget(&reports)?;
    let log = format!("log_path='{}'", reports.join("report").display());
    command.env("TSAN_OPTIONS", format!("{log}:{}", thread_options(run)));
    command.env("ASAN_OPTIONS", log);
    // Threads that panic share what the standard library keeps for backtraces, behind a lock that
    // the sanitizer cannot see.
    command.env("RUST_BACKTRACE", "0");
    // ThreadSanitizer keeps a thread of its own: a test that counts threads has to know.
    command.env("SEALIFT_SANITIZER", name);
    let outcome = suite::count(run, name, &mut command);
    // Last, where whoever looks for the reason looks first.
    print_reports(&reports)?;
    outcome.map(drop)
}

/// Empties the folder that reports go to.
fn forget(reports: &Path) -> Outcome {
    let emptied = match fs::remove_dir_all(reports) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(reports),
    };
    emptied.map_err(|why| format!("{}: {why}", reports.display()))
}

fn print_reports(reports: &Path) -> Outcome {
    for name in files(reports)? {
        let path = reports.join(name);
        let report = fs::read(&path).map_err(|why| format!("{}: {why}", path.display()))?;
        println!("{}:\n{}", path.display(), String::from_utf8_lossy(&report));
    }
    Ok(())
}

fn thread_options(run: &Run) -> String {
    let file = run.root.join("xtask/tsan/suppressions.txt");
    format!("suppressions='{}'", file.display())
}

/// The compiler flags for ThreadSanitizer, once they were seen to give right answers.
fn trusted_thread_flags(run: &Run) -> Outcome<Vec<String>> {
    runtime(run, "tsan")?;
    let work = run.root.join("target/tsan-probe");
    fs::create_dir_all(&work).map_err(|why| format!("{}: {why}", work.display()))?;
    let flags = thread_flags(run, &work)?;

    let probe = work.join("probe");
    let mut compile = run.rustc(["xtask/tsan/probe.rs", "--edition=2024", "-g", "-o"]);
    execute(compile.arg(&probe).args(&flags).env("RUSTC_BOOTSTRAP", "1"))
        .map_err(|why| format!("ThreadSanitizer does not link with this toolchain: {why}"))?;
    let ask = |question: &str| {
        let mut command = Command::new(&probe);
        capture(command.arg(question).env("TSAN_OPTIONS", thread_options(run)))
    };
    for question in ["locks", "channels", "once", "threads"] {
        ask(question).map_err(|why| {
            println!("{why}");
            format!("ThreadSanitizer with this toolchain reports correct {question}")
        })?;
    }
    for question in ["race", "relaxed", "unlocked"] {
        let found = ask(question).is_err_and(|said| said.contains("data race"));
        found.then_some(()).ok_or(format!("ThreadSanitizer misses the planted '{question}'"))?;
    }
    println!("ThreadSanitizer gave the right answers to its probe");
    Ok(flags)
}

/// Compiles `edges.c` for the standard library at hand, and names the functions to wrap.
fn thread_flags(run: &Run, work: &Path) -> Outcome<Vec<String>> {
    let identity = std_identity(run)?;
    let object = work.join("edges.o");
    let mut compile = Command::new("cc");
    compile.current_dir(&run.root).args(["-c", "-O1", "-g", "-fexceptions", "-Wall", "-Werror"]);
    compile.arg(format!("-DSTD={identity}")).arg("xtask/tsan/edges.c").arg("-o").arg(&object);
    execute(&mut compile)?;
    let bytes = fs::read(&object).map_err(|why| format!("{}: {why}", object.display()))?;

    let mut flags = vec!["-Zsanitizer=thread".to_owned()];
    flags.push("-Cunsafe-allow-abi-mismatch=sanitizer".to_owned());
    flags.push(format!("-Clink-arg={}", object.display()));
    let wrapped = wrapped_symbols(&bytes);
    flags.extend(wrapped.iter().map(|symbol| format!("-Clink-arg=-Wl,--wrap={symbol}")));
    Ok(flags)
}

/// The part of every mangled name that tells this build of the standard library from others.
fn std_identity(run: &Run) -> Outcome<String> {
    let directory = target_libdir(run)?;
    let is_std = |name: &&String| name.starts_with("libstd-") && name.ends_with(".rlib");
    let names = files(&directory)?;
    let name = names.iter().find(is_std).ok_or("the toolchain has no libstd")?;
    let path = directory.join(name);
    let bytes = fs::read(&path).map_err(|why| format!("{}: {why}", path.display()))?;
    let before = b"_RNvMNtNtNtNt";
    let after = b"3sys4sync5mutex5futexNtB2_5Mutex14lock_contended";
    find(&bytes, after)
        .and_then(|end| {
            let start = bytes[..end].windows(before.len()).rposition(|part| part == before)?;
            String::from_utf8(bytes[start + before.len()..end].to_vec()).ok()
        })
        .ok_or_else(|| "this standard library has locks that xtask does not know".to_owned())
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// The functions for which an object file has a wrapper, from its table of names.
fn wrapped_symbols(object: &[u8]) -> Vec<String> {
    let names = object.split(|byte| *byte == 0);
    let names = names.filter_map(|name| name.strip_prefix(b"__wrap_"));
    let mut symbols: Vec<String> =
        names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    symbols.sort();
    symbols.dedup();
    symbols
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_symbols_are_read_from_the_table_of_names() {
        let object = b"\x7fELF\0__real_b\0__wrap_b\0__tsan_acquire\0__wrap_a\0__wrap_b\0";
        assert_eq!(wrapped_symbols(object), ["a", "b"]);
    }

    #[test]
    fn nothing_of_this_project_is_suppressed() {
        let rules = include_str!("../tsan/suppressions.txt").lines();
        for rule in rules.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let what = rule.strip_prefix("race:").unwrap();
            let is_foreign = ["test::", "std::", "alloc::sync::Arc<std::", "tokio::"];
            assert!(is_foreign.iter().any(|start| what.starts_with(start)), "{rule}");
        }
    }
}
