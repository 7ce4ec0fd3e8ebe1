//! Every fuzz target for some seconds, in the layout of cargo-fuzz, without needing it.
//!
//! `fuzz/fuzz_targets/NAME.rs` is a target, `fuzz/corpus/NAME/` its seeds. What a run discovers
//! stays under `target/`; an input that crashes goes to `fuzz/artifacts/NAME/`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sanitize;
use crate::step::{Outcome, Run, execute, wording};
use crate::tally::Tally;

/// Coverage feedback for libFuzzer, as cargo-fuzz asks the compiler for it.
const COVERAGE: &[&str] = &[
    "--cfg fuzzing",
    "-Zsanitizer=address",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions",
    "-Ccodegen-units=1",
];

/// Where all of it is built and run, under the project's root.
const DIRECTORY: &str = "target/fuzz";

/// The names of all targets, sorted.
pub(crate) fn targets(root: &Path) -> Outcome<Vec<String>> {
    let directory = root.join("fuzz/fuzz_targets");
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let failed = |error| format!("{}: {error}", directory.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

pub(crate) fn run(run: &mut Run) -> Outcome {
    let mut targets = targets(&run.root)?;
    let words = &run.options.filter;
    targets.retain(|name| words.is_empty() || words.iter().any(|word| name.contains(word)));
    if targets.is_empty() && !words.is_empty() {
        return Err(format!("no target's name contains {}", words.join(" or ")));
    }
    if targets.is_empty() {
        return run.lacks("fuzz", "no target in fuzz/fuzz_targets");
    }
    if let Err(why) = sanitize::runtime(run, "asan") {
        return run.lacks("fuzz", &why);
    }
    let binaries = build(run, &targets)?;
    let mut crashed = Vec::new();
    for name in targets {
        if let Err(why) = take(run, &binaries, &name) {
            println!("{why}");
            run.tally.failed += 1;
            crashed.push(name);
        }
    }
    if crashed.is_empty() { Ok(()) } else { Err(format!("crashed: {}", crashed.join(", "))) }
}

/// Builds all targets and returns the directory of their programs.
fn build(run: &Run, targets: &[String]) -> Outcome<PathBuf> {
    let mut command = command(run, "build")?;
    for name in targets {
        command.args(["--bin", name]);
    }
    execute(&mut command)?;
    Ok(run.root.join(DIRECTORY).join(sanitize::host(run)?).join("release"))
}

/// A subcommand of cargo over the fuzz workspace. All of them have the same flags and the same
/// directory, so that what one has compiled serves the others.
pub(crate) fn command(run: &Run, subcommand: &str) -> Outcome<Command> {
    let mut command = run.cargo([subcommand, "--manifest-path", "fuzz/Cargo.toml", "--release"]);
    command.args(["--target", &sanitize::host(run)?, "--target-dir"]).arg(run.root.join(DIRECTORY));
    command.env("RUSTFLAGS", COVERAGE.join(" ")).env("RUSTC_BOOTSTRAP", "1");
    Ok(command)
}

/// Runs one target and counts it: as passed, or as skipped if it says what it had to leave out.
fn take(run: &mut Run, binaries: &Path, name: &str) -> Outcome {
    let log = run.root.join(format!("{DIRECTORY}/{name}.tsv"));
    let failed = |why| format!("{}: {why}", log.display());
    fs::create_dir_all(run.root.join(DIRECTORY))
        .and_then(|()| fs::write(&log, ""))
        .map_err(failed)?;
    let summary = drive(run, binaries, name, &log)?;
    println!("fuzz: {name}: {summary}");
    let mut tally = Tally { passed: 1, ..Tally::default() };
    tally.read_skip_log(&fs::read_to_string(&log).map_err(failed)?);
    run.tally.add(tally);
    Ok(())
}

/// Runs one target and returns libFuzzer's last word, or all it said about a crash. What it leaves
/// out it adds to `skips`.
fn drive(run: &Run, binaries: &Path, name: &str, skips: &Path) -> Outcome<String> {
    let scratch = run.root.join(DIRECTORY).join("corpus").join(name);
    let artifacts = run.root.join("fuzz/artifacts").join(name);
    let seeds = run.root.join("fuzz/corpus").join(name);
    for directory in [&scratch, &artifacts] {
        fs::create_dir_all(directory).map_err(|why| format!("{}: {why}", directory.display()))?;
    }
    let log = run.root.join(format!("{DIRECTORY}/{name}.log"));
    let output = File::create(&log).map_err(|why| format!("{}: {why}", log.display()))?;

    let mut command = Command::new(binaries.join(name));
    command.env("SEALIFT_SKIP_LOG", skips);
    command.current_dir(&run.root).arg(format!("-max_total_time={}", run.options.seconds));
    command.args(["-timeout=10", "-rss_limit_mb=2048"]);
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    // The first directory takes new inputs, so that a run does not change the checked-in seeds.
    command.arg(&scratch).args(seeds.is_dir().then_some(&seeds));
    println!("$ {}", wording(&command));
    let status = command.stderr(output).status().map_err(|why| format!("{name}: {why}"))?;
    let said = fs::read(&log).map_err(|why| format!("{}: {why}", log.display()))?;
    let said = String::from_utf8_lossy(&said);
    if status.success() {
        Ok(said.lines().last().unwrap_or("done").to_owned())
    } else {
        let tail: Vec<&str> = said.lines().rev().take(80).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        Err(format!("{}\nfuzz: {name}: {status}", tail.join("\n")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Options;

    #[test]
    fn no_target_at_all_fails_on_ci() {
        let mut run = Run::new(Options::parse(std::iter::empty()).unwrap());
        run.root = PathBuf::from("/nowhere");
        run.on_ci = true;
        assert!(super::run(&mut run).unwrap_err().contains("no target"));
    }

    /// Its stand-in does as the engines' target does on a machine that lacks one of them.
    #[test]
    fn a_target_that_leaves_something_out_is_a_skip() {
        let mut run = Run::new(Options::parse(std::iter::empty()).unwrap());
        run.root = std::env::temp_dir().join(format!("xtask-skips-{}", std::process::id()));
        let binaries = run.root.clone();
        fs::create_dir_all(&binaries).unwrap();
        let stand_in = |does: &str| {
            let (script, program) = (binaries.join("script"), binaries.join("engines"));
            fs::write(&script, format!("#!/bin/sh\n{does}\n")).unwrap();
            // By another process, for what this one writes it may not run at once.
            execute(Command::new("install").arg(script).arg(program)).unwrap();
        };
        stand_in("echo done >&2");
        let all = take(&mut run, &binaries, "engines").map(|()| run.tally.to_string());
        stand_in(r#"printf 'engines: ipsec-mb\tneeds the package x\n' >> "$SEALIFT_SKIP_LOG""#);
        let part = take(&mut run, &binaries, "engines").map(|()| run.tally.to_string());
        fs::remove_dir_all(&run.root).unwrap();
        assert_eq!(all.unwrap(), "1 passed, 0 failed, 0 skipped");
        assert_eq!(part.unwrap(), "1 passed, 0 failed, 1 skipped");
        assert!(run.tally.forbidden_skip(true).is_some_and(|why| why.contains("engines")));
    }

    #[test]
    fn targets_are_the_files_of_their_directory() {
        let root = std::env::temp_dir().join(format!("xtask-fuzz-{}", std::process::id()));
        assert!(targets(&root).unwrap().is_empty());
        let directory = root.join("fuzz/fuzz_targets");
        fs::create_dir_all(&directory).unwrap();
        for file in ["notifications.rs", "control_messages.rs", "notes.md"] {
            fs::write(directory.join(file), "").unwrap();
        }
        let found = targets(&root);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found.unwrap(), ["control_messages", "notifications"]);
    }
}
