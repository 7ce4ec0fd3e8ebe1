//! What the tests said: counts from each harness, and skips with their reasons.
//!
//! A test that cannot run on this machine returns early, which its harness counts as passed. It
//! therefore appends a line `name<TAB>reason` to the file named by `SEALIFT_SKIP_LOG`; that line
//! moves it from 'passed' to 'skipped'. So does `name: part<TAB>reason`, as what ran only in part
//! is no pass; however many lines name a test, it is one.

use std::collections::BTreeSet;
use std::fmt;

/// A test that did not run, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skip {
    pub(crate) name: String,
    pub(crate) reason: String,
}

impl Skip {
    /// Whether installing something would have let the test run.
    fn is_curable(&self) -> bool {
        let reason = self.reason.to_lowercase();
        reason.contains("package") || reason.contains("not installed")
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SKIPPED {}: {}", self.name, self.reason)
    }
}

/// Counts of one test run, or the sum of several.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skips: Vec<Skip>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skips } = self;
        write!(f, "{passed} passed, {failed} failed, {} skipped", skips.len())
    }
}

impl Tally {
    /// Counts something that did not run.
    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        self.skips.push(Skip { name: name.to_owned(), reason: reason.to_owned() });
    }

    /// Moves the tests that a skip log names from 'passed' to 'skipped', each once and with all
    /// its reasons.
    pub(crate) fn read_skip_log(&mut self, log: &str) {
        let mut seen = BTreeSet::new();
        let first = self.skips.len();
        for line in log.lines().filter(|line| !line.trim().is_empty() && seen.insert(*line)) {
            let (name, reason) = line.split_once('\t').unwrap_or((line, "no reason given"));
            let reason = reason.trim();
            let (test, reason) = match name.split_once(": ") {
                Some((test, part)) => (test, format!("{part}: {reason}")),
                None => (name, reason.to_owned()),
            };
            match self.skips[first..].iter_mut().find(|skip| skip.name == test) {
                Some(skip) => skip.reason.extend(["; ", &reason]),
                None => {
                    self.passed = self.passed.saturating_sub(1);
                    self.skip(test, &reason);
                }
            }
        }
    }

    /// Adds the counts of another run.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skips.extend(other.skips);
    }

    /// Whether no test was counted at all.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// On the machines that check the project nothing may be skipped that can be installed.
    pub(crate) fn forbidden_skip(&self, on_ci: bool) -> Option<String> {
        let skip = self.skips.iter().find(|skip| on_ci && skip.is_curable())?;
        Some(format!("on CI nothing may be skipped that can be installed: {}", skip.name))
    }
}

/// Reads the output of one or more test harnesses, line by line.
#[derive(Default)]
pub(crate) struct HarnessReader {
    tally: Tally,
    /// Ignored tests that the harness under way has named so far.
    named: usize,
}

impl HarnessReader {
    /// Takes one line, if it says anything that counts.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some([passed, failed, ignored]) = result_counts(line) {
            self.tally.passed += passed;
            self.tally.failed += failed;
            // A name is lost when the test's own output got into its line.
            (self.named..ignored).for_each(|_| self.tally.skip("a test", "marked as ignored"));
            self.named = 0;
        } else if let Some((name, rest)) =
            line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ignored"))
        {
            self.tally.skip(name, rest.strip_prefix(", ").unwrap_or("marked as ignored"));
            self.named += 1;
        }
    }

    /// The counts of all harnesses read.
    pub(crate) fn finish(self) -> Tally {
        self.tally
    }
}

/// `[passed, failed, ignored]` of a line such as
/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s`.
fn result_counts(line: &str) -> Option<[usize; 3]> {
    let (_, result) = line.split_once("test result: ")?;
    let (_verdict, counts) = result.split_once(". ")?;
    let count = |unit: &str| {
        let part = counts.split("; ").find_map(|part| part.strip_suffix(unit))?;
        part.trim().parse().ok()
    };
    Some([count("passed")?, count("failed")?, count("ignored")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str) -> Tally {
        let mut reader = HarnessReader::default();
        output.lines().for_each(|line| reader.read(line));
        reader.finish()
    }

    #[test]
    fn harnesses_are_summed() {
        let tally = read(
            "running 3 tests\ntest a ... ok\ntest b ... FAILED\ntest c ... ok\n\n\
             test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 4 filtered out; \
             finished in 0.00s\n\n     Running tests/it.rs\n\
             test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; \
             finished in 1.25s\n",
        );
        assert_eq!((tally.passed, tally.failed, tally.skips.len()), (42, 1, 0));
        assert_eq!(tally.to_string(), "42 passed, 1 failed, 0 skipped");
    }

    #[test]
    fn ignored_tests_are_skips_with_their_reason() {
        let tally = read(
            "test slow ... ignored, takes an hour\ntest src/lib.rs - f (line 3) ... ignored\n\
             test result: ok. 1 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out\n",
        );
        let reasons: Vec<_> = tally.skips.iter().map(|skip| skip.reason.as_str()).collect();
        assert_eq!(reasons, ["takes an hour", "marked as ignored", "marked as ignored"]);
        assert_eq!(tally.skips[1].name, "src/lib.rs - f (line 3)");
    }

    #[test]
    fn output_before_the_result_does_not_hide_it() {
        let tally = read("no newline here test result: ok. 2 passed; 0 failed; 0 ignored; x\n");
        assert_eq!(tally.passed, 2);
        assert!(read("test result: soon\ntest result: ok. many passed; 0 failed\n").is_empty());
    }

    #[test]
    fn a_logged_skip_is_not_a_pass() {
        let mut tally = read("test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured\n");
        tally.read_skip_log("uring::fixed\tkernel lacks it\nuring::fixed\tagain\n\nbare\n");
        assert_eq!(tally.to_string(), "3 passed, 0 failed, 2 skipped");
        assert_eq!(tally.skips[0].to_string(), "SKIPPED uring::fixed: kernel lacks it; again");
        assert_eq!(tally.skips[1].reason, "no reason given");
    }

    #[test]
    fn a_test_that_skips_several_parts_is_one_skip_with_every_reason() {
        let mut tally = read("test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured\n");
        tally.read_skip_log("sinks: veth\tno veth\nsinks: tun\tneeds the package x\nsinks\tall\n");
        assert_eq!(tally.to_string(), "4 passed, 0 failed, 1 skipped");
        let reasons = "veth: no veth; tun: needs the package x; all";
        assert_eq!(tally.skips[0].to_string(), format!("SKIPPED sinks: {reasons}"));
        assert!(tally.forbidden_skip(true).is_some());
    }

    #[test]
    fn on_ci_what_can_be_installed_must_be() {
        let mut tally = Tally::default();
        tally.skip("tls", "the kernel has no tls module");
        assert_eq!(tally.forbidden_skip(true), None);
        tally.skip("peer", "needs the package socat");
        assert_eq!(tally.forbidden_skip(false), None);
        assert!(tally.forbidden_skip(true).is_some_and(|why| why.contains("peer")));
    }
}
