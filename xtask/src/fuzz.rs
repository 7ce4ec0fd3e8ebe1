//! Every fuzz target for some seconds, in the layout of cargo-fuzz, without needing it.
//!
//! `fuzz/fuzz_targets/NAME.rs` is a target, `fuzz/corpus/NAME/` its seeds. What a run discovers
//! stays under `target/`; an input that crashes goes to `fuzz/artifacts/NAME/`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sanitize;
use crate::step::{Outcome, Run, execute, wording};

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
        match drive(run, &binaries, &name) {
            Ok(summary) => {
                println!("fuzz: {name}: {summary}");
                run.tally.passed += 1;
            }
            Err(why) => {
                println!("{why}");
                run.tally.failed += 1;
                crashed.push(name);
            }
        }
    }
    if crashed.is_empty() { Ok(()) } else { Err(format!("crashed: {}", crashed.join(", "))) }
}

/// Builds all targets and returns the directory of their programs.
fn build(run: &Run, targets: &[String]) -> Outcome<PathBuf> {
    let host = sanitize::host(run)?;
    let directory = run.root.join("target/fuzz");
    let mut command = run.cargo(["build", "--manifest-path", "fuzz/Cargo.toml", "--release"]);
    command.args(["--target", &host, "--target-dir"]).arg(&directory);
    for name in targets {
        command.args(["--bin", name]);
    }
    command.env("RUSTFLAGS", COVERAGE.join(" ")).env("RUSTC_BOOTSTRAP", "1");
    execute(&mut command)?;
    Ok(directory.join(host).join("release"))
}

/// Runs one target and returns libFuzzer's last word, or all it said about a crash.
fn drive(run: &Run, binaries: &Path, name: &str) -> Outcome<String> {
    let scratch = run.root.join("target/fuzz/corpus").join(name);
    let artifacts = run.root.join("fuzz/artifacts").join(name);
    let seeds = run.root.join("fuzz/corpus").join(name);
    for directory in [&scratch, &artifacts] {
        fs::create_dir_all(directory).map_err(|why| format!("{}: {why}", directory.display()))?;
    }
    let log = run.root.join(format!("target/fuzz/{name}.log"));
    let output = File::create(&log).map_err(|why| format!("{}: {why}", log.display()))?;

    let mut command = Command::new(binaries.join(name));
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
