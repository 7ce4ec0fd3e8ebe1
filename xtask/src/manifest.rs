//! A `Cargo.toml` as the checks see it: a name, and what it depends on.

use std::fs;
use std::path::Path;

use toml::{Table, Value};

use crate::step::Outcome;

/// One manifest of the project.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// Relative to the project's root.
    pub(crate) path: String,
    /// The package's name; the workspace's own manifest has none.
    pub(crate) name: String,
    /// Package names of every dependency of any kind and target, sorted, each once.
    pub(crate) dependencies: Vec<String>,
}

impl Manifest {
    pub(crate) fn parse(path: &str, text: &str) -> Outcome<Self> {
        let table: Table = text.parse().map_err(|error| format!("{path}: {error}"))?;
        let name = table.get("package").and_then(|package| package.get("name"));
        let mut dependencies = Vec::new();
        collect(&table, &mut dependencies);
        let workspace = table.get("workspace").and_then(Value::as_table);
        workspace.into_iter().for_each(|table| collect(table, &mut dependencies));
        for target in table.get("target").and_then(Value::as_table).into_iter().flatten() {
            target.1.as_table().into_iter().for_each(|table| collect(table, &mut dependencies));
        }
        dependencies.sort();
        dependencies.dedup();
        let name = name.and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Self { path: path.to_owned(), name, dependencies })
    }

    /// The manifests of the workspace, of its members and of the fuzz targets.
    pub(crate) fn read_all(root: &Path) -> Outcome<Vec<Self>> {
        let mut paths = vec!["Cargo.toml".to_owned(), "xtask/Cargo.toml".to_owned()];
        if root.join("fuzz/Cargo.toml").exists() {
            paths.push("fuzz/Cargo.toml".to_owned());
        }
        let crates = root.join("crates");
        let failed = |error| format!("{}: {error}", crates.display());
        for entry in fs::read_dir(&crates).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            paths.push(format!("crates/{}/Cargo.toml", name.to_string_lossy()));
        }
        paths.sort();
        let read = |path: &String| {
            let text = fs::read_to_string(root.join(path));
            Self::parse(path, &text.map_err(|error| format!("{path}: {error}"))?)
        };
        paths.iter().map(read).collect()
    }
}

/// Adds what the dependency tables directly under `table` name.
fn collect(table: &Table, dependencies: &mut Vec<String>) {
    for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
        for (key, value) in table.get(kind).and_then(Value::as_table).into_iter().flatten() {
            let renamed = value.get("package").and_then(Value::as_str);
            dependencies.push(renamed.unwrap_or(key).to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_dependency_is_seen() {
        let text = r#"
            [package]
            name = "sealift-io"
            [dependencies]
            bytes = "1"
            old = { package = "renamed", version = "1" }
            [dev-dependencies]
            proptest.workspace = true
            bytes = "1"
            [build-dependencies]
            cc = "1"
            [target.'cfg(loom)'.dependencies]
            loom = "0.7"
            [workspace.dependencies]
            libc = "0.2"
        "#;
        let manifest = Manifest::parse("Cargo.toml", text).unwrap();
        assert_eq!(manifest.name, "sealift-io");
        let expected = ["bytes", "cc", "libc", "loom", "proptest", "renamed"];
        assert_eq!(manifest.dependencies, expected);
    }

    #[test]
    fn a_broken_manifest_is_an_error() {
        let error = Manifest::parse("crates/a/Cargo.toml", "[package").unwrap_err();
        assert!(error.starts_with("crates/a/Cargo.toml: "), "{error}");
    }
}
