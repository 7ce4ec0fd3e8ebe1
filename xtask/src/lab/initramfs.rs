//! Packs the memory file system that the machine boots into.
//!
//! ```text
//! /init /lab/shell        from lab/
//! /lab/tests/NAME         one test binary each, without debugging information
//! /lab/checks/NN-NAME     one shell line each
//! /lab/modules            'path parameters' in load order; the files below /lab/ko
//! /usr/bin/NAME           programs; their libraries at the paths that the loader looks at
//! /bin/busybox            everything else
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::build::{self, Binary};
use super::checks::CHECKS;
use super::modules::Selection;
use super::{found, on_path, remove_tree};
use crate::step::{Outcome, capture};

/// Programs of this machine that tests may call; each goes in if it is here.
const HOST_PROGRAMS: [&str; 4] = ["ip", "tc", "ethtool", "tcpdump"];

/// What the C library reads to resolve the names of users and of this host.
const ETC: [(&str, &str); 4] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost lab\n::1 localhost lab\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
];

/// What goes in, whatever the kernel.
pub(crate) struct Contents<'a> {
    /// The folder `lab` of the workspace.
    pub(crate) lab: &'a Path,
    pub(crate) tests: &'a [Binary],
    pub(crate) programs: &'a [Binary],
}

/// Lays `contents` and `modules` out below `stage`, and packs them into `archive`.
pub(crate) fn build(
    contents: &Contents<'_>,
    modules: &Selection,
    stage: &Path,
    archive: &Path,
) -> Outcome {
    remove_tree(stage)?;
    let root = Stage { root: stage };
    root.copy(&contents.lab.join("init"), "init")?;
    root.copy(&contents.lab.join("shell"), "lab/shell")?;
    let busybox = found("busybox").ok_or("busybox is not installed; run `cargo xtask setup`")?;
    root.copy(&busybox, "bin/busybox")?;
    for (path, text) in ETC {
        root.write(path, text)?;
    }
    root.modules(modules)?;
    root.binaries(contents)?;
    for (index, check) in CHECKS.iter().enumerate() {
        let path = format!("lab/checks/{index:02}-{}", check.name);
        root.write(&path, &format!(". /lab/shell\n{}\n", check.line))?;
    }
    pack(stage, archive)
}

/// A folder that becomes the root of the machine's file system.
struct Stage<'a> {
    root: &'a Path,
}

impl Stage<'_> {
    fn modules(&self, modules: &Selection) -> Outcome {
        let mut list = String::new();
        for (path, parameters) in &modules.load {
            let file = path.rsplit('/').next().unwrap_or(path);
            self.copy(&modules.folder.join(path), &format!("lab/ko/{file}"))?;
            list.push_str(&format!("/lab/ko/{file} {parameters}\n"));
        }
        self.write("lab/modules", &list)
    }

    fn binaries(&self, contents: &Contents<'_>) -> Outcome {
        let mut libraries = BTreeSet::new();
        for test in contents.tests {
            self.strip(&test.path, &format!("lab/tests/{}", test.name))?;
            libraries.extend(build::libraries(&test.path)?);
        }
        for program in contents.programs {
            self.strip(&program.path, &format!("usr/bin/{}", program.name))?;
            libraries.extend(build::libraries(&program.path)?);
        }
        for name in HOST_PROGRAMS {
            if let Some(program) = found(name) {
                self.copy(&program, &format!("usr/bin/{name}"))?;
                libraries.extend(build::libraries(&program)?);
            }
        }
        for library in libraries {
            let inside = library.strip_prefix("/").unwrap_or(&library).to_string_lossy();
            self.copy(&library, &inside)?;
        }
        Ok(())
    }

    /// Copies a file, through symbolic links, and lets everyone read and run it.
    fn copy(&self, from: &Path, inside: &str) -> Outcome {
        let to = self.place(inside)?;
        fs::copy(from, &to).map_err(|error| on_path("copy", from, &error))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))
            .map_err(|error| on_path("make executable", &to, &error))
    }

    /// Copies a program without its debugging information: a tenth of the size, names kept.
    fn strip(&self, from: &Path, inside: &str) -> Outcome {
        let to = self.place(inside)?;
        let mut strip = Command::new("strip");
        capture(strip.arg("--strip-debug").arg("-o").arg(&to).arg(from)).map(drop)
    }

    fn write(&self, inside: &str, text: &str) -> Outcome {
        let to = self.place(inside)?;
        fs::write(&to, text).map_err(|error| on_path("write", &to, &error))
    }

    fn place(&self, inside: &str) -> Outcome<PathBuf> {
        let path = self.root.join(inside);
        let folder = path.parent().unwrap_or(self.root);
        fs::create_dir_all(folder).map_err(|error| on_path("create", folder, &error))?;
        Ok(path)
    }
}

/// Runs `cpio` over everything below `stage`, owned by root whoever builds.
fn pack(stage: &Path, archive: &Path) -> Outcome {
    let mut names = Vec::new();
    list(stage, stage, &mut names)?;
    let file = fs::File::create(archive).map_err(|error| on_path("create", archive, &error))?;
    let mut command = Command::new("cpio");
    command.args(["--quiet", "--null", "--create", "--format=newc", "--owner=+0:+0"]);
    command.current_dir(stage).stdin(Stdio::piped()).stdout(file);
    let mut cpio = command.spawn().map_err(|error| format!("cpio: {error}"))?;
    // Taken and dropped here: cpio ends when its list ends.
    let written = cpio.stdin.take().map_or(Ok(()), |mut input| input.write_all(&names));
    let status = cpio.wait().map_err(|error| format!("cpio: {error}"))?;
    match written {
        Ok(()) if status.success() => Ok(()),
        _ => Err(format!("cpio failed on {} ({status})", stage.display())),
    }
}

/// Appends the names below `folder`, relative to `stage`, each folder before what is in it.
fn list(folder: &Path, stage: &Path, names: &mut Vec<u8>) -> Outcome {
    let entries = fs::read_dir(folder).map_err(|error| on_path("list", folder, &error))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.strip_prefix(stage).unwrap_or(&path);
        names.extend_from_slice(name.as_os_str().as_encoded_bytes());
        names.push(0);
        if path.is_dir() {
            list(&path, stage, names)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_listed_before_their_files() {
        let folder = std::env::temp_dir().join(format!("sealift-lab-{}", std::process::id()));
        let stage = Stage { root: &folder };
        stage.write("b/c/file", "x").unwrap();
        stage.write("a", "y").unwrap();
        let mut names = Vec::new();
        list(&folder, &folder, &mut names).unwrap();
        remove_tree(&folder).unwrap();
        assert_eq!(names, b"a\0b\0b/c\0b/c/file\0");
    }
}
