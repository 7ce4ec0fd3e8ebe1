//! The steps that are cargo's own commands: format, lints, documentation, dependency policy.

use std::path::PathBuf;

use crate::step::{Outcome, Run, capture, execute};

/// `cargo fmt --check`, over the fuzz workspace too.
pub(crate) fn fmt(run: &mut Run) -> Outcome {
    execute(&mut run.cargo(["fmt", "--all", "--check"]))?;
    if crate::fuzz::targets(&run.root)?.is_empty() {
        return Ok(());
    }
    execute(&mut run.cargo(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]))
}

/// clippy with the default features, with all of them, and with none.
pub(crate) fn clippy(run: &mut Run) -> Outcome {
    for features in [None, Some("--all-features"), Some("--no-default-features")] {
        let mut command = run.cargo(["clippy", "--workspace", "--all-targets"]);
        command.args(features);
        if run.on_ci {
            command.arg("--locked");
        }
        execute(command.args(["--", "-D", "warnings"]))?;
    }
    Ok(())
}

/// The documentation, with warnings as errors.
pub(crate) fn docs(run: &mut Run) -> Outcome {
    let mut command = run.cargo(["doc", "--no-deps", "--workspace", "--all-features"]);
    execute(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// `cargo deny check` as `deny.toml` says. Advisories only where their database already is:
/// it is a git repository, which not every machine can reach.
pub(crate) fn deny(run: &mut Run) -> Outcome {
    if capture(&mut run.cargo(["deny", "--version"])).is_err() {
        run.tally.skip("deny", "cargo-deny is not installed; run `cargo xtask setup`");
        return Ok(());
    }
    let policy = ["deny", "--all-features", "check", "bans", "licenses", "sources"];
    execute(&mut run.cargo(policy))?;
    if advisory_database().is_some_and(|path| path.is_dir()) {
        let advisories = ["deny", "--all-features", "check", "--disable-fetch", "advisories"];
        return execute(&mut run.cargo(advisories));
    }
    println!("advisories: not checked, as this machine has no advisory database");
    Ok(())
}

/// Where cargo-deny keeps the advisory database that a person fetched.
fn advisory_database() -> Option<PathBuf> {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    Some(cargo_home.or(home)?.join("advisory-dbs"))
}
