//! `docs/dependencies.md` against the manifests: every dependency has one line, and no line is left
//! over.

use std::collections::{BTreeMap, BTreeSet};

use crate::manifest::Manifest;
use crate::tidy::Finding;

const TABLE: &str = "docs/dependencies.md";

/// Dependencies without a line or with two, lines without a dependency, wrong "used by" columns.
pub(crate) fn findings(manifests: &[Manifest], document: &str) -> Vec<Finding> {
    let used = users(manifests);
    let listed = rows(document);
    let mut findings = Vec::new();
    for (name, users) in &used {
        let users = users.iter().copied().collect::<Vec<_>>().join(", ");
        match listed.iter().find(|row| row.name == *name) {
            None => {
                let what = format!("no line for {name}, used by {users}");
                findings.push(Finding::new(TABLE, 0, what));
            }
            Some(row) if row.used_by != users => {
                let what = format!("{name} is used by '{users}', not by '{}'", row.used_by);
                findings.push(Finding::new(TABLE, row.line, what));
            }
            Some(_) => {}
        }
    }
    for (index, row) in listed.iter().enumerate() {
        if !used.contains_key(row.name) {
            let what = format!("{} is not a dependency of any crate", row.name);
            findings.push(Finding::new(TABLE, row.line, what));
        } else if listed[..index].iter().any(|before| before.name == row.name) {
            findings.push(Finding::new(TABLE, row.line, format!("a second line for {}", row.name)));
        }
    }
    findings
}

/// Dependency → packages that name it. The project's own crates are not dependencies.
fn users(manifests: &[Manifest]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut users: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for manifest in manifests {
        for name in &manifest.dependencies {
            if manifests.iter().any(|ours| ours.name == *name) {
                continue;
            }
            let entry = users.entry(name).or_default();
            // The workspace's table only shares versions.
            if !manifest.name.is_empty() {
                entry.insert(&manifest.name);
            }
        }
    }
    users
}

/// A line `| name | used by | what for | why this one |`.
struct Row<'a> {
    line: usize,
    name: &'a str,
    used_by: &'a str,
}

fn rows(document: &str) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for (line, text) in (1..).zip(document.lines()) {
        let mut cells = text.split('|').map(str::trim).skip(1);
        let (Some(name), Some(used_by)) = (cells.next(), cells.next()) else { continue };
        let is_heading = name == "crate" || name.starts_with('-');
        if !is_heading {
            rows.push(Row { line, name, used_by });
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &str = "# Dependencies\n\n| crate | used by | what for |\n|---|---|---|\n";

    fn found(rows: &str) -> Vec<String> {
        let root = "[workspace.dependencies]\nlibc = \"0.2\"\na = { path = \"a\" }\n";
        let a = "[package]\nname = \"a\"\n[dependencies]\nlibc.workspace = true\n";
        let b = "[package]\nname = \"b\"\n[dependencies]\na = \"1\"\nlibc.workspace = true\n";
        let manifests = [root, a, b].map(|text| Manifest::parse("Cargo.toml", text).unwrap());
        let findings = findings(&manifests, &format!("{HEADING}{rows}"));
        findings.into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn table_and_manifests_agree() {
        assert_eq!(found("| libc | a, b | constants |\n"), [""; 0]);
    }

    #[test]
    fn a_dependency_needs_a_line() {
        assert_eq!(found(""), ["docs/dependencies.md: no line for libc, used by a, b"]);
    }

    #[test]
    fn a_line_needs_a_dependency() {
        let found = found("| libc | a, b | constants |\n| rand | a | dice |\n");
        assert_eq!(found, ["docs/dependencies.md:6: rand is not a dependency of any crate"]);
    }

    #[test]
    fn a_dependency_has_one_line() {
        let found = found("| libc | a, b | constants |\n| libc | a | structures |\n");
        assert_eq!(found, ["docs/dependencies.md:6: a second line for libc"]);
    }

    #[test]
    fn the_users_are_kept_up_to_date() {
        let found = found("| libc | a | constants |\n");
        assert_eq!(found, ["docs/dependencies.md:5: libc is used by 'a, b', not by 'a'"]);
    }
}
