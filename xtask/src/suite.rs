//! Test suites: a cargo command whose output is streamed, counted and checked for skips.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::step::{Outcome, Run, wording};
use crate::tally::HarnessReader;

/// How long output may still come after its command has ended, from what it left running.
const GRACE: Duration = Duration::from_secs(1);

/// Every test and doctest of the workspace, or those whose name has one of the given parts.
pub(crate) fn test(run: &mut Run) -> Outcome {
    let mut command = run.cargo(["test", "--workspace", "--all-features", "--no-fail-fast"]);
    // Behind the dashes each harness takes any number of names.
    command.arg("--").args(&run.options.filter);
    match count(run, "test", &mut command)? {
        0 => Err(format!("no test has '{}' in its name", run.options.filter.join("' or '"))),
        _ => Ok(()),
    }
}

/// Preemptions that loom tries in one interleaving, unless the environment says otherwise. Few
/// faults need more, and each one more costs many times the time.
const LOOM_PREEMPTIONS: &str = "3";

/// The model-checked tests: those whose name begins with `loom_`.
pub(crate) fn loom(run: &mut Run) -> Outcome {
    let mut command = run.cargo(["test", "--lib", "--release"]);
    command.args(["-p", "sealift-io", "-p", "sealift-crypto", "-p", "sealift-tls"]);
    // The flag reaches tokio too, which then builds its sockets only with `sync`.
    command.args(["--features", "tokio,tokio?/sync"]);
    command.args(["--target-dir", "target/loom", "loom_"]).env("RUSTFLAGS", "--cfg loom");
    if std::env::var_os("LOOM_MAX_PREEMPTIONS").is_none() {
        command.env("LOOM_MAX_PREEMPTIONS", LOOM_PREEMPTIONS);
    }
    if count(run, "loom", &mut command)? == 0 {
        return run.lacks("loom", "no test is called loom_…");
    }
    Ok(())
}

/// Runs a test command, prints its total line, and returns how many tests it had.
pub(crate) fn count(run: &mut Run, step: &str, command: &mut Command) -> Outcome<usize> {
    let words = wording(command);
    let logs = run.root.join("target/skips");
    let (log, tables) = (logs.join(format!("{step}.tsv")), logs.join(format!("{step}.tables")));
    fs::create_dir_all(&logs).map_err(|error| format!("{}: {error}", logs.display()))?;
    for file in [&log, &tables] {
        fs::write(file, "").map_err(|error| format!("{}: {error}", file.display()))?;
    }

    println!("$ {words}");
    command.env("SEALIFT_SKIP_LOG", &log).env("SEALIFT_TABLES", &tables).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{words}: {error}"))?;
    let mut reader = HarnessReader::default();
    if let Some(stdout) = child.stdout.take() {
        stream(stdout, || !matches!(child.try_wait(), Ok(None)), |line| reader.read(line));
    }
    let status = child.wait().map_err(|error| format!("{words}: {error}"))?;

    let mut tally = reader.finish();
    let skips = fs::read(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    tally.read_skip_log(&String::from_utf8_lossy(&skips));
    if !status.success() {
        // A harness that crashed printed no result.
        tally.failed = tally.failed.max(1);
    }
    // What passing tests print is not shown; their tables are.
    let tables = fs::read(&tables).map_err(|error| format!("{}: {error}", tables.display()))?;
    print!("{}", String::from_utf8_lossy(&tables));
    println!("{step}: {tally}");
    let tests = tally.passed + tally.failed + tally.skips.len();
    run.tally.add(tally);
    if status.success() { Ok(tests) } else { Err(format!("{words}: {status}")) }
}

/// Prints lines as they come and hands each on. The end is the end of the output, or of the
/// command: a process that a test left behind may hold the pipe open for ever.
fn stream(
    output: impl Read + Send + 'static,
    mut ended: impl FnMut() -> bool,
    mut take: impl FnMut(&str),
) {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                break;
            }
            line.clear();
        }
    });
    let mut over = false;
    loop {
        match lines.recv_timeout(GRACE) {
            Ok(line) => {
                println!("{line}");
                take(&line);
            }
            Err(RecvTimeoutError::Timeout) if over => break,
            Err(RecvTimeoutError::Timeout) => over = ended(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn shell(script: &str) -> Vec<String> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = Vec::new();
        let stdout = child.stdout.take().unwrap();
        stream(stdout, || child.try_wait().unwrap().is_some(), |line| lines.push(line.to_owned()));
        child.wait().unwrap();
        lines
    }

    #[test]
    fn lines_come_in_order_whatever_their_bytes() {
        assert_eq!(shell(r"printf 'one\n\377two\r\nthree'"), ["one", "\u{fffd}two", "three"]);
    }

    #[test]
    fn a_suite_knows_where_skips_and_tables_go() {
        let mut run = Run::new(crate::step::Options { seconds: 1, filter: Vec::new() });
        let script = r#"printf 'one\tits reason\n' >> "$SEALIFT_SKIP_LOG"
            echo 'a row' >> "$SEALIFT_TABLES"
            echo 'test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured'"#;
        let mut command = Command::new("sh");
        assert_eq!(count(&mut run, "a-suite", command.args(["-c", script])), Ok(3));
        assert_eq!(run.tally.to_string(), "2 passed, 0 failed, 1 skipped");
        let tables = fs::read_to_string(run.root.join("target/skips/a-suite.tables"));
        assert_eq!(tables.unwrap(), "a row\n");
    }

    #[test]
    fn a_process_left_behind_does_not_hold_the_run() {
        let started = Instant::now();
        assert_eq!(shell("sleep 20 & echo done"), ["done"]);
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
