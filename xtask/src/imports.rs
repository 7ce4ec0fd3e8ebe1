//! The import direction of the crates, and where `unsafe` may be.
//!
//! ```text
//! sealift-cli ──► sealift ──► sealift-{tls, quic, storage} ──► sealift-{io, crypto}
//! ```
//! Crates in one column never import each other.

use crate::manifest::Manifest;
use crate::source::{self, Source};
use crate::step::{Outcome, Run};
use crate::tidy::{Finding, report};

/// Crate → the project's own crates that it may import. A new crate needs a line here.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("sealift-io", &[]),
    ("sealift-crypto", &[]),
    ("sealift-tls", &["sealift-io", "sealift-crypto"]),
    ("sealift-quic", &["sealift-io", "sealift-crypto"]),
    ("sealift-storage", &["sealift-io", "sealift-crypto"]),
    (
        "sealift",
        &["sealift-io", "sealift-crypto", "sealift-tls", "sealift-quic", "sealift-storage"],
    ),
    ("sealift-cli", &["sealift"]),
    ("peers", &["sealift"]),
    ("xtask", &[]),
];

/// Where a crate's sources may say `unsafe`. `…/` is a directory, the last one is a file's start.
const UNSAFE_ROOMS: &[&str] = &[
    "crates/sealift-io/src/sys/",
    "crates/sealift-io/src/sys.rs",
    "crates/sealift-io/src/pool/",
    "crates/sealift-io/src/pool.rs",
    "crates/sealift-crypto/src/ffi",
];

/// Crates with an unsafe room deny `unsafe` outside it; all others forbid it.
const CRATES_WITH_ROOMS: &[&str] = &["crates/sealift-io/", "crates/sealift-crypto/"];

pub(crate) fn run(run: &mut Run) -> Outcome {
    let mut findings = directions(&Manifest::read_all(&run.root)?);
    for source in source::read_all(&run.root, &["rs"])? {
        findings.extend(unsafe_outside_rooms(&source));
        findings.extend(unsafe_without_reason(&source));
        findings.extend(missing_lint(&source));
    }
    report(&findings)
}

/// Imports of the project's own crates against the arrows. Tests' imports count too.
fn directions(manifests: &[Manifest]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_ours = |name: &String| MAY_IMPORT.iter().any(|(ours, _)| ours == name);
    for manifest in manifests.iter().filter(|manifest| manifest.path.starts_with("crates/")) {
        let name = &manifest.name;
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(ours, _)| ours == name) else {
            let what = format!("the crate {name} has no line in xtask/src/imports.rs");
            findings.push(Finding::new(&manifest.path, 0, what));
            continue;
        };
        for other in manifest.dependencies.iter().filter(|other| is_ours(other)) {
            if !allowed.contains(&other.as_str()) {
                let what = format!("{name} must not import {other}");
                findings.push(Finding::new(&manifest.path, 0, what));
            }
        }
    }
    findings
}

fn unsafe_outside_rooms(source: &Source) -> Vec<Finding> {
    let in_room = UNSAFE_ROOMS.iter().any(|room| source.path.starts_with(room));
    if in_room || !source.is_in_crate_sources() {
        return Vec::new();
    }
    let what = "`unsafe` belongs in sealift-io/src/{sys,pool} or sealift-crypto/src/ffi";
    let lines = Source::lines_with(&source.code, "unsafe");
    lines.into_iter().map(|line| Finding::new(&source.path, line, what)).collect()
}

/// Every unsafe block and unsafe impl says in a comment why it is sound.
fn unsafe_without_reason(source: &Source) -> Vec<Finding> {
    let text: Vec<&str> = source.text.lines().collect();
    let code: Vec<&str> = source.code.lines().collect();
    let mut findings = Vec::new();
    for number in Source::lines_with(&source.code, "unsafe") {
        let line = code[number - 1];
        let opens = |what: &str| line.contains(what);
        let needs_reason = opens("unsafe {") || opens("unsafe impl") || line.ends_with("unsafe");
        if needs_reason && !has_reason(&text, &code, number - 1) {
            let what = "unsafe without a `// SAFETY:` comment above it";
            findings.push(Finding::new(&source.path, number, what));
        }
    }
    findings
}

/// Looks upward from line `at` for the comment, as far as the statement it stands in begins.
fn has_reason(text: &[&str], code: &[&str], at: usize) -> bool {
    let mut in_comment = false;
    for above in (0..=at).rev() {
        let is_comment = text[above].trim_start().starts_with("//");
        if text[above].contains("SAFETY:") && text[above].contains("//") {
            return true;
        }
        let end = code[above].trim_end();
        let ended = above < at && (end.ends_with([';', '}', '{']) || end.is_empty());
        if !is_comment && (ended || in_comment) {
            return false;
        }
        in_comment |= is_comment;
    }
    false
}

/// A crate's root forbids `unsafe`, or denies it where the crate has a room for it.
fn missing_lint(source: &Source) -> Option<Finding> {
    let mut parts = source.path.split('/').rev();
    let file = parts.next()?;
    let is_root = match parts.next()? {
        "src" => matches!(file, "lib.rs" | "main.rs"),
        "bin" => parts.next() == Some("src"),
        _ => false,
    };
    let level = match CRATES_WITH_ROOMS.iter().any(|name| source.path.starts_with(name)) {
        true => "#![deny(unsafe_code)]",
        false => "#![forbid(unsafe_code)]",
    };
    let what = format!("a crate's root needs `{level}`");
    let missing = is_root && source.is_in_crate_sources() && !source.code.contains(level);
    missing.then(|| Finding::new(&source.path, 0, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, dependencies: &[&str]) -> Manifest {
        let dependencies = dependencies.iter().map(|name| (*name).to_owned()).collect();
        Manifest { path: format!("crates/{name}/Cargo.toml"), name: name.to_owned(), dependencies }
    }

    #[test]
    fn imports_run_one_way() {
        let good = [
            manifest("sealift-io", &["libc"]),
            manifest("sealift-tls", &["sealift-io", "sealift-crypto", "rustls"]),
            manifest("sealift", &["sealift-tls"]),
            manifest("sealift-cli", &["sealift", "clap"]),
        ];
        assert!(directions(&good).is_empty());
        for (name, other) in [
            ("sealift-io", "sealift-crypto"),
            ("sealift-crypto", "sealift-io"),
            ("sealift-tls", "sealift-quic"),
            ("sealift-storage", "sealift-tls"),
            ("sealift-quic", "sealift"),
            ("sealift-cli", "sealift-io"),
            ("sealift-io", "xtask"),
        ] {
            assert_eq!(directions(&[manifest(name, &[other])]).len(), 1, "{name} → {other}");
        }
    }

    #[test]
    fn a_crate_without_a_rule_is_found() {
        assert_eq!(directions(&[manifest("sealift-dtls", &[])]).len(), 1);
    }

    #[test]
    fn unsafe_stays_in_its_rooms() {
        let code = "// SAFETY: P1.\nunsafe { f() }\n";
        let found = |path: &str| unsafe_outside_rooms(&Source::new(path, code)).len();
        assert_eq!(found("crates/sealift-io/src/send/mod.rs"), 1);
        assert_eq!(found("crates/sealift-io/src/system.rs"), 1);
        assert_eq!(found("crates/sealift-cli/src/main.rs"), 1);
        assert_eq!(found("crates/sealift-io/src/sys/ring.rs"), 0);
        assert_eq!(found("crates/sealift-io/src/pool/mod.rs"), 0);
        assert_eq!(found("crates/sealift-crypto/src/ffi_ipsec.rs"), 0);
        assert_eq!(found("crates/sealift-io/tests/live_region.rs"), 0);
    }

    #[test]
    fn unsafe_needs_a_reason_of_its_own() {
        let found = |code: &str| {
            unsafe_without_reason(&Source::new("crates/sealift-io/src/sys/a.rs", code)).len()
        };
        assert_eq!(found("// SAFETY: P1.\nlet x = unsafe { f() };"), 0);
        assert_eq!(found("// SAFETY: P1,\n// and P2.\nlet x =\n    unsafe { f() };"), 0);
        assert_eq!(found("// SAFETY: P1.\n#[inline]\nunsafe impl Send for A {}"), 0);
        assert_eq!(found("let x = g(|| {\n    // SAFETY: P1.\n    unsafe { f() }\n});"), 0);
        assert_eq!(found("unsafe fn f() {}\nunsafe extern \"C\" {}"), 0);
        assert_eq!(found("let x = unsafe { f() };"), 1);
        assert_eq!(found("// Fast.\nlet x = unsafe { f() };"), 1);
        assert_eq!(found("// SAFETY: P1.\nunsafe { f() };\nunsafe { g() };"), 1);
        assert_eq!(found("// SAFETY: P1.\nlet a = 1;\nunsafe impl Send for A {}"), 1);
    }

    #[test]
    fn crate_roots_forbid_unsafe() {
        let found = |path: &str, code: &str| missing_lint(&Source::new(path, code)).is_some();
        assert!(found("crates/sealift/src/lib.rs", "#![deny(unsafe_code)]"));
        assert!(found("crates/sealift-cli/src/bin/x.rs", "// #![forbid(unsafe_code)]"));
        assert!(!found("crates/sealift/src/lib.rs", "#![forbid(unsafe_code)]"));
        assert!(found("crates/sealift-io/src/lib.rs", ""));
        assert!(!found("crates/sealift-io/src/lib.rs", "#![deny(unsafe_code)]"));
        assert!(!found("crates/sealift-io/src/pool/mod.rs", ""));
    }
}
