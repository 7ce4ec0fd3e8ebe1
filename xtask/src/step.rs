//! One step of the checks, and the run that takes them one after the other.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::tally::Tally;

/// What a step returns: nothing, or the one line that says why the run ends here.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// A check with a name of its own.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) does: &'static str,
    pub(crate) run: fn(&mut Run) -> Outcome,
}

/// What may follow the name of a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// How long each fuzz target runs.
    pub(crate) seconds: u32,
    /// Words that narrow the step: test names, or fuzz targets.
    pub(crate) filter: Vec<String>,
}

impl Options {
    /// Reads the words after the step's name.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut options = Self { seconds: 10, filter: Vec::new() };
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--seconds" => {
                    let value = words.next().and_then(|value| value.parse().ok());
                    // For libFuzzer 0 is no limit at all.
                    let value = value.filter(|seconds| *seconds > 0);
                    options.seconds = value.ok_or("--seconds needs a whole number above 0")?;
                }
                flag if flag.starts_with('-') => return Err(format!("unknown option '{flag}'")),
                _ => options.filter.push(word),
            }
        }
        Ok(options)
    }
}

/// One invocation: where the project is, what was asked for, and what was counted so far.
pub(crate) struct Run {
    pub(crate) root: PathBuf,
    pub(crate) options: Options,
    pub(crate) tally: Tally,
    /// Whether the environment says that nobody is watching (`CI` is set).
    pub(crate) on_ci: bool,
}

impl Run {
    pub(crate) fn new(options: Options) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let on_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
        let root = here.parent().unwrap_or(here).to_path_buf();
        Self { root, options, tally: Tally::default(), on_ci }
    }

    /// Takes one step: its heading, its work, its time.
    pub(crate) fn take(&mut self, step: &Step) -> Outcome {
        println!("== {}", step.name);
        let started = Instant::now();
        let outcome = (step.run)(self).map_err(|why| format!("{}: {why}", step.name));
        println!("== {}: {:.1} s", step.name, started.elapsed().as_secs_f64());
        outcome
    }

    /// Counts a check that had nothing to run, or nothing to run it with, as a skip. With `CI` set
    /// it is a failure: no machine that checks the project may lack that.
    pub(crate) fn lacks(&mut self, check: &str, why: &str) -> Outcome {
        if self.on_ci {
            return Err(format!("{check}: {why}; on CI that is no skip"));
        }
        self.tally.skip(check, why);
        Ok(())
    }

    /// The last words: skips with their reasons, what failed, and the count alone on its line.
    pub(crate) fn close(mut self, failure: Option<String>) -> ExitCode {
        let failure = failure.or_else(|| self.tally.forbidden_skip(self.on_ci));
        self.tally.skips.iter().for_each(|skip| println!("{skip}"));
        if let Some(why) = &failure {
            println!("FAILED {why}");
            // A run that failed outside a test must not close with '0 failed'.
            self.tally.failed = self.tally.failed.max(1);
        }
        if !self.tally.is_empty() {
            println!("{}", self.tally);
        }
        if failure.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    /// A cargo command in the project's root, with the toolchain that runs this program.
    pub(crate) fn cargo<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut command = Command::new(cargo);
        command.current_dir(&self.root).args(arguments);
        command
    }

    /// The compiler that `cargo` uses.
    pub(crate) fn rustc<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
        let mut command = Command::new(rustc);
        command.current_dir(&self.root).args(arguments);
        command
    }
}

/// Says what is about to run, runs it, and turns a bad exit into one line.
pub(crate) fn execute(command: &mut Command) -> Outcome {
    let words = wording(command);
    println!("$ {words}");
    let status = command.status().map_err(|error| format!("{words}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{words}: {status}")) }
}

/// Runs a command quietly and returns what it wrote to stdout.
pub(crate) fn capture(command: &mut Command) -> Outcome<String> {
    let words = wording(command);
    let output = command.output().map_err(|error| format!("{words}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{words}: {}\n{}", output.status, said.trim_end()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A command as a person would type it.
pub(crate) fn wording(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Outcome<Options> {
        Options::parse(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn options_are_seconds_and_filters() {
        assert_eq!(parse(&[]).unwrap(), Options { seconds: 10, filter: vec![] });
        let both = parse(&["--seconds", "3", "notifications"]).unwrap();
        assert_eq!(both, Options { seconds: 3, filter: vec!["notifications".into()] });
    }

    #[test]
    fn wrong_options_are_refused() {
        assert!(parse(&["--seconds", "soon"]).is_err());
        assert!(parse(&["--seconds"]).is_err());
        assert!(parse(&["--seconds", "0"]).is_err());
        assert!(parse(&["--fast"]).is_err());
    }

    #[test]
    fn what_a_check_lacks_is_a_skip_but_not_on_ci() {
        let mut run = Run::new(parse(&[]).unwrap());
        run.on_ci = false;
        assert_eq!(run.lacks("loom", "no test"), Ok(()));
        assert_eq!(run.tally.skips.len(), 1);
        run.on_ci = true;
        assert!(run.lacks("loom", "no test").unwrap_err().contains("no test"));
        assert_eq!(run.tally.skips.len(), 1);
    }

    #[test]
    fn a_bad_exit_names_the_command() {
        let failure = execute(Command::new("false").arg("x")).unwrap_err();
        assert!(failure.starts_with("false x: exit status: 1"), "{failure}");
        assert!(execute(&mut Command::new("true")).is_ok());
    }
}
