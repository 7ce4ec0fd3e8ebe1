//! Reads the machine's console, and says what passed, failed and was skipped there.
//!
//! `lab/init` frames what it runs with lines of its own, which start with [`MARK`]:
//!
//! ```text
//! release R                       as `uname -r` says
//! module FILE TEXT                a module that did not load
//! test NAME … end STATUS SECONDS  around a test binary, then 'skip NAME<TAB>REASON' per skip
//! check NAME … end STATUS SECONDS around an extra check
//! kernel TEXT                     a warning that the kernel logged
//! done                            everything was run
//! ```

use std::time::Duration;

use super::build::Binary;
use super::checks::CHECKS;
use super::machine::Ending;
use crate::tally::{HarnessReader, Tally};

const MARK: &str = "@@lab ";

/// What a test prints when a backend could not do what was asked, with its reason.
const FALLBACK: &str = "FALLBACK ";

/// What has been read from one machine.
#[derive(Default)]
pub(crate) struct Report {
    series: String,
    release: Option<String>,
    /// Test binaries and checks that should still come.
    awaited: Vec<String>,
    now: Option<Part>,
    tally: Tally,
    /// Counted at the end: a test may have said twice that it skips something.
    skip_log: String,
    fallbacks: Vec<String>,
    /// What failed, one line each.
    failures: Vec<String>,
    /// What a person should know though it fails nothing.
    notes: Vec<String>,
    panic: Option<String>,
    /// The last line of the console that said something.
    last_line: String,
    done: bool,
}

/// A test binary or check between its marks.
struct Part {
    name: String,
    /// The text that a check waits for.
    expected: Option<&'static str>,
    seen_expected: bool,
    harness: HarnessReader,
    /// Whether there is a harness at all; without one the exit status alone counts.
    seen_harness: bool,
    seen_result: bool,
    failed_tests: Vec<String>,
    last_line: String,
}

impl Report {
    /// A report that waits for `tests` and for every extra check.
    pub(crate) fn new(series: &str, tests: &[Binary], missing_modules: &[&str]) -> Self {
        let tests = tests.iter().map(|test| test.name.as_str());
        let checks = CHECKS.iter().map(|check| check.name);
        let notes = missing_modules.iter().map(|name| format!("module {name} is not in it"));
        Self {
            series: series.to_owned(),
            awaited: tests.chain(checks).map(str::to_owned).collect(),
            notes: notes.collect(),
            ..Self::default()
        }
    }

    /// Takes one line of the console; returns what to tell who waits.
    pub(crate) fn line(&mut self, line: &str) -> Option<String> {
        if let Some(mark) = line.strip_prefix(MARK) {
            let (word, rest) = mark.split_once(' ').unwrap_or((mark, ""));
            return self.mark(word, rest.trim());
        }
        if !line.trim().is_empty() {
            self.last_line = line.trim().to_owned();
        }
        if line.contains("Kernel panic - not syncing") {
            self.panic = Some(line.to_owned());
        }
        if let Some(fallback) = line.strip_prefix(FALLBACK) {
            self.fallbacks.push(fallback.to_owned());
        }
        if let Some(part) = &mut self.now {
            part.line(line);
        }
        None
    }

    fn mark(&mut self, word: &str, rest: &str) -> Option<String> {
        match word {
            "release" => self.release = Some(rest.to_owned()),
            "module" => self.notes.push(format!("module {rest}")),
            "kernel" => self.notes.push(format!("kernel: {rest}")),
            "test" => self.now = Some(Part::new(rest, None)),
            "check" => {
                let check = CHECKS.iter().find(|check| check.name == rest);
                self.now = Some(Part::new(rest, check.map(|check| check.expected)));
            }
            "end" => return self.end(rest),
            // Named with its kernel: on the other one it is another skip.
            "skip" => self.skip_log.push_str(&format!("{} {rest}\n", self.series)),
            "done" => self.done = true,
            _ => self.notes.push(format!("lab/init said '{word} {rest}', which is not known")),
        }
        None
    }

    fn end(&mut self, rest: &str) -> Option<String> {
        let part = self.now.take()?;
        let (status, seconds) = rest.split_once(' ').unwrap_or((rest, "?"));
        self.awaited.retain(|name| *name != part.name);
        let name = part.name.clone();
        let (tally, failure) = part.verdict(status, seconds);
        let words = failure.clone().unwrap_or_else(|| format!("{} passed", tally.passed));
        self.failures.extend(failure.map(|failure| format!("{name}: {failure}")));
        self.tally.add(tally);
        Some(format!("{name}: {words} ({seconds} s)"))
    }

    /// The machine is off: what did not come is a failure.
    pub(crate) fn ended(&mut self, ending: Ending) {
        self.tally.read_skip_log(&self.skip_log);
        let during = self.now.take().map_or(String::new(), |part| {
            self.awaited.retain(|name| *name != part.name);
            format!(" in {}", part.name)
        });
        let last = &self.last_line;
        let failure = match (&self.panic, ending) {
            (Some(panic), _) => Some(format!("the kernel panicked{during}: {panic}")),
            (None, Ending::Deadline(limit)) => {
                Some(format!("still running after {} s{during}; last: {last}", limit.as_secs()))
            }
            (None, Ending::Off) if !self.done => {
                Some(format!("the machine ended before its tests did{during}; last: {last}"))
            }
            (None, Ending::Off) => None,
        };
        self.tally.failed += usize::from(failure.is_some());
        self.failures.extend(failure);
        if !self.awaited.is_empty() {
            self.tally.failed += self.awaited.len();
            self.failures.push(format!("never ran: {}", self.awaited.join(", ")));
        }
    }

    /// Prints the outcome on one kernel, and returns its counts.
    pub(crate) fn print(self, took: Duration) -> Tally {
        let release = self.release.as_deref().unwrap_or("no release seen");
        println!("{}: {release}: {} in {} s", self.series, self.tally, took.as_secs());
        let skips: Vec<_> = self.tally.skips.iter().map(ToString::to_string).collect();
        let lists = [
            ("failed: ", &self.failures),
            ("", &skips),
            ("fall-back: ", &self.fallbacks),
            ("note: ", &self.notes),
        ];
        for (label, lines) in lists {
            for line in lines {
                println!("    {label}{line}");
            }
        }
        if self.fallbacks.is_empty() {
            println!("    fall-back: none was reported");
        }
        self.tally
    }
}

impl Part {
    fn new(name: &str, expected: Option<&'static str>) -> Self {
        Self {
            name: name.to_owned(),
            expected,
            seen_expected: false,
            harness: HarnessReader::default(),
            seen_harness: false,
            seen_result: false,
            failed_tests: Vec::new(),
            last_line: String::new(),
        }
    }

    fn line(&mut self, line: &str) {
        match self.expected {
            Some(expected) => self.seen_expected |= line.contains(expected),
            None => {
                self.harness.read(line);
                self.seen_harness |= line.starts_with("running ");
                self.seen_result |= line.contains("test result: ");
                self.failed_tests.extend(failed_test(line).map(str::to_owned));
            }
        }
        if !line.trim().is_empty() {
            self.last_line = line.trim().to_owned();
        }
    }

    /// What it counts for, and in words why it failed, if it did.
    fn verdict(self, status: &str, seconds: &str) -> (Tally, Option<String>) {
        let one_passed = Tally { passed: 1, ..Tally::default() };
        let one_failed = Tally { failed: 1, ..Tally::default() };
        // 128 and a signal's number: KILL, from the time limit, or TERM.
        let how = match status {
            "137" | "143" => format!("ended after {seconds} s without result"),
            _ => format!("exit status {status}"),
        };
        match self.expected {
            Some(_) if self.seen_expected && status == "0" => (one_passed, None),
            Some(expected) if status == "0" => {
                (one_failed, Some(format!("'{expected}' is not in its output")))
            }
            None if self.seen_result => {
                let mut tally = self.harness.finish();
                let failure = match (tally.failed, status) {
                    (0, "0") => None,
                    (0, _) => Some(how),
                    _ => Some(format!("failed {}", self.failed_tests.join(", "))),
                };
                tally.failed = tally.failed.max(usize::from(failure.is_some()));
                (tally, failure)
            }
            None if !self.seen_harness && status == "0" => (one_passed, None),
            _ => (one_failed, Some(format!("{how}, after '{}'", self.last_line))),
        }
    }
}

/// Reads `test pool::tests::x ... FAILED`.
fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &str = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; \
                      0 filtered out; finished in 0.25s";

    /// What is reported when all extra checks passed, and then `lines` came.
    fn finish(tests: &[&str], lines: &[&str], ending: Ending) -> Report {
        let binary = |name: &&str| Binary { name: (*name).to_owned(), path: name.into() };
        let tests: Vec<_> = tests.iter().map(binary).collect();
        let mut report = Report::new("6.1", &tests, &[]);
        for check in CHECKS {
            report.line(&format!("@@lab check {}", check.name));
            report.line(check.expected);
            report.line("@@lab end 0 1");
        }
        assert_eq!(report.tally.passed, CHECKS.len());
        report.tally = Tally::default();
        for line in lines {
            report.line(line);
        }
        report.ended(ending);
        report
    }

    #[test]
    fn a_good_run_is_counted_with_its_skips_and_fallbacks() {
        let lines = [
            "@@lab release 6.1.0-56-cloud-amd64",
            "@@lab test pool",
            "FALLBACK uring no fixed SENDMSG_ZC before 6.15",
            OK,
            "@@lab end 0 2",
            "@@lab skip pool::huge\tno huge pages",
            "@@lab skip pool::huge\tno huge pages",
            "@@lab done",
        ];
        let report = finish(&["pool"], &lines, Ending::Off);
        assert_eq!(report.tally.to_string(), "2 passed, 0 failed, 2 skipped");
        assert_eq!(report.tally.skips[1].to_string(), "SKIPPED 6.1 pool::huge: no huge pages");
        assert_eq!(report.fallbacks, ["uring no fixed SENDMSG_ZC before 6.15"]);
        assert!(report.failures.is_empty(), "{:?}", report.failures);
    }

    #[test]
    fn failed_tests_are_named() {
        let bad = "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured";
        let lines =
            ["@@lab test pool", "test a::b ... FAILED", bad, "@@lab end 101 2", "@@lab done"];
        let report = finish(&["pool"], &lines, Ending::Off);
        assert_eq!(report.tally.to_string(), "2 passed, 1 failed, 0 skipped");
        assert_eq!(report.failures, ["pool: failed a::b"]);
    }

    #[test]
    fn a_binary_without_a_result_failed() {
        let lines = ["@@lab test pool", "test a::slow ... ", "@@lab end 137 90", "@@lab done"];
        let report = finish(&["pool"], &lines, Ending::Off);
        assert_eq!(report.tally.failed, 1);
        let expected = "pool: ended after 90 s without result, after 'test a::slow ...'";
        assert_eq!(report.failures, [expected]);
    }

    #[test]
    fn a_binary_without_a_harness_counts_by_its_status() {
        let run = |lines: &[&str]| {
            let report = finish(&["process"], lines, Ending::Off);
            (report.tally.passed, report.tally.failed)
        };
        let begin = "@@lab test process";
        assert_eq!(run(&[begin, "test a ... ok", "@@lab end 0 1", "@@lab done"]), (1, 0));
        assert_eq!(run(&[begin, "panicked", "@@lab end 101 1", "@@lab done"]), (0, 1));
        assert_eq!(run(&[begin, "running 1 test", "@@lab end 0 1", "@@lab done"]), (0, 1));
    }

    #[test]
    fn a_crash_after_the_result_is_a_failure() {
        let lines = ["@@lab test pool", OK, "@@lab end 139 1", "@@lab done"];
        let report = finish(&["pool"], &lines, Ending::Off);
        assert_eq!(report.tally.failed, 1);
        assert_eq!(report.failures, ["pool: exit status 139"]);
    }

    #[test]
    fn a_panic_a_hang_and_silence_are_failures() {
        let panic = "[    4.2] Kernel panic - not syncing: Attempted to kill init!";
        let lines = ["@@lab test a", "test x ...", panic];
        let report = finish(&["a", "b"], &lines, Ending::Off);
        assert_eq!(report.tally.failed, 2);
        assert!(report.failures[0].contains("panicked in a"), "{:?}", report.failures);
        assert_eq!(report.failures[1], "never ran: b");

        let hang = Ending::Deadline(Duration::from_secs(600));
        let report = finish(&["a"], &["@@lab test a", "test x ..."], hang);
        assert_eq!(report.failures, ["still running after 600 s in a; last: test x ..."]);

        let report = finish(&["a"], &["qemu: no such machine"], Ending::Off);
        assert_eq!(report.tally.failed, 2);
        let expected = "the machine ended before its tests did; last: qemu: no such machine";
        assert_eq!(report.failures[0], expected);
    }

    #[test]
    fn a_check_needs_its_text_and_its_status() {
        let check = format!("@@lab check {}", CHECKS[0].name);
        let silent = [check.as_str(), "@@lab end 0 1", "@@lab done"];
        let report = finish(&[], &silent, Ending::Off);
        assert_eq!(report.tally.failed, 1);
        assert!(report.failures[0].contains("is not in its output"), "{:?}", report.failures);
        let broken = [check.as_str(), CHECKS[0].expected, "@@lab end 1 1", "@@lab done"];
        let report = finish(&[], &broken, Ending::Off);
        assert!(report.failures[0].contains("exit status 1"), "{:?}", report.failures);
    }
}
