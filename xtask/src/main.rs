//! Runs the project's checks: `cargo xtask ci` for all of them, or one step by its own name.
//!
//! ```text
//! cargo xtask STEP ──► STEPS (one line each) ──► prints `== step`, what it found, its time
//!             ci   ──► every step, in order; stops at the first that fails
//!                      last line: `N passed, N failed, N skipped`
//! ```
#![forbid(unsafe_code)]

mod cargo;
mod demo;
mod dependencies;
mod fuzz;
mod imports;
mod lab;
mod manifest;
mod sanitize;
mod setup;
mod source;
mod step;
mod suite;
mod tally;
mod tidy;

use std::process::ExitCode;

use step::{Options, Run, Step};

/// Every step, in the order in which `ci` takes them: the cheap ones first.
const STEPS: &[Step] = &[
    Step { name: "setup", does: "install what the tests need (root on Debian)", run: setup::run },
    Step { name: "fmt", does: "formatting", run: cargo::fmt },
    Step { name: "imports", does: "import direction, and where unsafe may be", run: imports::run },
    Step { name: "sizes", does: "sizes, names, leftovers, dependency list", run: tidy::run },
    Step { name: "clippy", does: "lints, as errors", run: cargo::clippy },
    Step { name: "docs", does: "documentation, warnings as errors", run: cargo::docs },
    Step { name: "deny", does: "licences, bans and sources of dependencies", run: cargo::deny },
    Step { name: "test", does: "all tests and doctests", run: suite::test },
    Step { name: "loom", does: "interleavings of what threads share", run: suite::loom },
    Step { name: "sanitize", does: "tests under two sanitizers", run: sanitize::run },
    Step { name: "fuzz", does: "each fuzz target for --seconds N (10)", run: fuzz::run },
];

/// Not a step of `ci`, as emulated machines take their time: its name, and what it does.
const LAB: (&str, &str) = ("lab", "tests on older kernels [--kernel K] [--keep]");

/// Not a check: what a newcomer runs first.
const DEMO: Step = Step { name: "demo", does: "a real transfer, verified", run: demo::run };

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let mut chosen: Vec<&Step> = STEPS.iter().filter(|s| name == "ci" || s.name == name).collect();
    chosen.extend((name == DEMO.name).then_some(&DEMO));
    if name == LAB.0 {
        return lab::main(arguments);
    }
    if chosen.is_empty() {
        return usage(&format!("no step is called '{name}'"));
    }
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(error) => return usage(&error),
    };
    let mut run = Run::new(options);
    let failure = chosen.iter().find_map(|step| run.take(step).err());
    run.close(failure)
}

fn usage(error: &str) -> ExitCode {
    eprintln!("xtask: {error}\n\nusage: cargo xtask STEP [--seconds N] [FILTER…]\n");
    eprintln!("  {:10} every step below, in this order", "ci");
    for step in STEPS {
        eprintln!("  {:10} {}", step.name, step.does);
    }
    eprintln!("\nand on their own:");
    for (name, does) in [(DEMO.name, DEMO.does), LAB] {
        eprintln!("  {name:10} {does}");
    }
    ExitCode::from(2)
}
