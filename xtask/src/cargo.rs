//! The steps that are cargo's own commands: format, lints, documentation, dependency policy.

use std::path::PathBuf;
use std::process::Command;

use crate::manifest::Manifest;
use crate::step::{Outcome, Run, capture, execute};

/// The package of the fuzz targets, which is a workspace of its own.
const FUZZ: &str = "sealift-fuzz";

/// `cargo fmt --check`, over the fuzz workspace too.
pub(crate) fn fmt(run: &mut Run) -> Outcome {
    execute(&mut run.cargo(["fmt", "--all", "--check"]))?;
    if crate::fuzz::targets(&run.root)?.is_empty() {
        return Ok(());
    }
    execute(&mut run.cargo(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]))
}

/// clippy over the workspace with all features; over each crate by itself with none, for side by
/// side they have what any of them asks for; and over what only the fuzz targets compile.
pub(crate) fn clippy(run: &mut Run) -> Outcome {
    let mut command = run.cargo(["clippy", "--workspace", "--all-targets", "--all-features"]);
    lint(run, &mut command, &[])?;
    let manifests = Manifest::read_all(&run.root)?;
    for manifest in manifests.iter().filter(|one| !one.name.is_empty() && one.name != FUZZ) {
        let mut command = run.cargo(["clippy", "--all-targets", "--no-default-features"]);
        lint(run, command.args(["--package", &manifest.name]), &[])?;
    }
    let Some(fuzz) = manifests.iter().find(|manifest| manifest.name == FUZZ) else { return Ok(()) };
    let mut command = run.cargo(["clippy", "--lib"]);
    for ours in fuzz.dependencies.iter().filter(|name| name.starts_with("sealift-")) {
        command.args(["--package", ours]);
    }
    lint(run, &mut command, &["--cfg", "fuzzing"])?;
    lint(run, &mut crate::fuzz::command(run, "clippy")?, &[])
}

/// Runs clippy; `flags` go to the compiler.
fn lint(run: &Run, command: &mut Command, flags: &[&str]) -> Outcome {
    command.args(run.on_ci.then_some("--locked"));
    execute(command.arg("--").args(flags).args(["-D", "warnings"]))
}

/// The documentation, with warnings as errors.
pub(crate) fn docs(run: &mut Run) -> Outcome {
    let mut command = run.cargo(["doc", "--no-deps", "--workspace", "--all-features"]);
    execute(command.env("RUSTDOCFLAGS", "-D warnings"))
}

/// `cargo deny check` as `deny.toml` says, over the fuzz workspace too. Advisories only where
/// their database already is: it is a git repository, which not every machine can reach.
pub(crate) fn deny(run: &mut Run) -> Outcome {
    if capture(&mut run.cargo(["deny", "--version"])).is_err() {
        run.tally.skip("deny", "cargo-deny is not installed; run `cargo xtask setup`");
        return Ok(());
    }
    let has_advisories = advisory_database().is_some_and(|path| path.is_dir());
    let mut workspaces = vec!["Cargo.toml"];
    workspaces.extend((!crate::fuzz::targets(&run.root)?.is_empty()).then_some("fuzz/Cargo.toml"));
    for manifest in workspaces {
        let deny = || run.cargo(["deny", "--all-features", "--config", "deny.toml"]);
        let check = ["--manifest-path", manifest, "check"];
        execute(deny().args(check).args(["bans", "licenses", "sources"]))?;
        if has_advisories {
            execute(deny().args(check).args(["--disable-fetch", "advisories"]))?;
        }
    }
    if !has_advisories {
        println!("advisories: not checked, as this machine has no advisory database");
    }
    Ok(())
}

/// Where cargo-deny keeps the advisory database that a person fetched.
fn advisory_database() -> Option<PathBuf> {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    Some(cargo_home.or(home)?.join("advisory-dbs"))
}
