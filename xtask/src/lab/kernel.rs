//! Fetches Debian's cloud kernel of a series, unpacked and never installed.
//!
//! The machine's own package lists are asked first. Where they do not offer the series, a private
//! list is made of the machine's own mirrors with the suites that carry it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{on_path, remove_tree};
use crate::step::{Outcome, capture};

/// Signs every suite named below; part of Debian's base system.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where 6.1 and 6.12 have been: the archive's suites, then the security archive's.
const ARCHIVE_SUITES: [&str; 3] = ["bookworm", "bookworm-backports", "trixie"];
const SECURITY_SUITES: [&str; 2] = ["bookworm-security", "trixie-security"];

/// The names a Debian archive goes by in a source list; others on the machine are left alone.
const DEBIAN_NAMES: [&str; 9] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "oldstable",
    "stable",
    "testing",
    "unstable",
];

/// A kernel unpacked below `root`, with its list of module dependencies made.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// As `uname -r` will say.
    pub(crate) release: String,
    root: PathBuf,
}

impl Kernel {
    /// The file to boot.
    pub(crate) fn image(&self) -> PathBuf {
        self.root.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    /// The folder that `modules.dep` is relative to.
    pub(crate) fn modules_dir(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.release)
    }
}

/// The package that holds a kernel, as its metapackage depends on it.
#[derive(Debug, PartialEq, Eq)]
struct Package {
    name: String,
    version: String,
}

impl Package {
    fn folder(&self) -> String {
        format!("{}_{}", self.name, self.version)
    }
}

/// The newest kernel of `series` that can be had; one that was unpacked before is used again.
pub(crate) fn fetch(series: &str, cache: &Path) -> Outcome<Kernel> {
    let kernels = cache.join("kernels");
    fs::create_dir_all(&kernels).map_err(|error| on_path("create", &kernels, &error))?;

    let own = Apt::of_the_machine();
    own.fetch(series, &kernels)
        .or_else(|first| {
            Apt::private(&cache.join("apt"))
                .and_then(|apt| apt.fetch(series, &kernels))
                .map_err(|second| format!("{first}; with a list of its own: {second}"))
        })
        .or_else(|error| match newest_unpacked(series, &kernels)? {
            Some(root) => {
                println!("{error}; using {}, unpacked before", root.display());
                open(&root)
            }
            None => Err(error),
        })
}

/// One view of Debian's packages: the options that every apt call gets.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn of_the_machine() -> Self {
        Self { options: Vec::new() }
    }

    /// Lists of its own below `folder`, from the machine's mirrors. Needs no root.
    fn private(folder: &Path) -> Outcome<Self> {
        let targets = capture(Command::new("apt-get").args([
            "indextargets",
            "--no-release-info",
            "--format",
            "$(REPO_URI) $(RELEASE)",
        ]))?;
        let sources = private_sources(&targets);
        if sources.is_empty() {
            return Err("this machine's package sources name no Debian mirror".to_string());
        }
        let lists = folder.join("lists/partial");
        fs::create_dir_all(&lists).map_err(|error| on_path("create", &lists, &error))?;
        let list = folder.join("sources.list");
        fs::write(&list, sources).map_err(|error| on_path("write", &list, &error))?;
        let apt = Self {
            options: vec![
                format!("Dir::State={}", folder.display()),
                format!("Dir::Cache={}", folder.display()),
                format!("Dir::Etc::sourcelist={}", list.display()),
                "Dir::Etc::sourceparts=-".to_string(),
                "Dir::State::status=/var/lib/dpkg/status".to_string(),
                "Acquire::Languages=none".to_string(),
            ],
        };
        // A mirror may lack one of the suites; what counts is whether the kernel is found.
        if let Err(error) = capture(apt.command("apt-get").args(["--quiet", "update"])) {
            println!("{error}");
        }
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C");
        // The target folder is often closed to the user that apt would download as.
        for option in self.options.iter().map(String::as_str).chain(["APT::Sandbox::User=root"]) {
            command.args(["-o", option]);
        }
        command
    }

    fn fetch(&self, series: &str, kernels: &Path) -> Outcome<Kernel> {
        let package = self.resolve(series)?;
        let root = kernels.join(package.folder());
        if !root.exists() {
            self.unpack(&package, &root)?;
        }
        open(&root)
    }

    /// Follows the metapackages of `series` to the package with the kernel in it.
    fn resolve(&self, series: &str) -> Outcome<Package> {
        let of_series = format!("linux-image-{series}-cloud-amd64");
        let mut show = self.command("apt-cache");
        show.args(["show", of_series.as_str(), "linux-image-cloud-amd64"]);
        let stanzas = match capture(&mut show) {
            Err(error) if error.contains("No packages found") => String::new(),
            shown => shown?,
        };
        dependency(&stanzas, series)
            .ok_or_else(|| format!("the package lists offer no {series} cloud kernel"))
    }

    /// Downloads and unpacks beside `root`, then renames: what is at `root` is whole.
    fn unpack(&self, package: &Package, root: &Path) -> Outcome {
        let partial = root.with_file_name(format!("partial-{}", std::process::id()));
        remove_tree(&partial)?;
        fs::create_dir_all(&partial).map_err(|error| on_path("create", &partial, &error))?;
        println!("downloading {} {}", package.name, package.version);
        let wanted = format!("{}={}", package.name, package.version);
        let mut download = self.command("apt-get");
        capture(download.current_dir(&partial).args(["--quiet", "download", &wanted]))?;
        let archive = entries(&partial)?
            .into_iter()
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .ok_or_else(|| format!("apt-get downloaded no file for {wanted}"))?;
        capture(Command::new("dpkg").arg("-x").arg(&archive).arg(&partial))?;
        fs::remove_file(&archive).map_err(|error| on_path("remove", &archive, &error))?;
        // A package has no modules.dep: its installation makes it, and this is none.
        let release = release_in(&partial)?;
        let mut depmod = Command::new("busybox");
        capture(depmod.arg("depmod").arg("-b").arg(&partial).arg(release))?;
        fs::rename(&partial, root).map_err(|error| on_path("rename", &partial, &error))
    }
}

fn open(root: &Path) -> Outcome<Kernel> {
    Ok(Kernel { release: release_in(root)?, root: root.to_path_buf() })
}

/// The one folder below `lib/modules`.
fn release_in(root: &Path) -> Outcome<String> {
    let modules = root.join("lib/modules");
    let folder = entries(&modules)?.pop();
    folder
        .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .ok_or_else(|| format!("{} is empty; remove {}", modules.display(), root.display()))
}

fn newest_unpacked(series: &str, kernels: &Path) -> Outcome<Option<PathBuf>> {
    let prefix = format!("linux-image-{series}.");
    let mut roots = entries(kernels)?;
    roots.retain(|root| {
        root.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
    });
    roots.sort_by_key(|root| fs::metadata(root).and_then(|data| data.modified()).ok());
    Ok(roots.pop())
}

fn entries(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let listed = fs::read_dir(folder).map_err(|error| on_path("list", folder, &error))?;
    Ok(listed.flatten().map(|entry| entry.path()).collect())
}

/// Finds, in what `apt-cache show` printed, the first dependency that is a kernel of `series`.
/// The stanzas of one package come newest first.
fn dependency(stanzas: &str, series: &str) -> Option<Package> {
    let prefix = format!("linux-image-{series}.");
    stanzas.lines().filter_map(|line| line.strip_prefix("Depends: ")).find_map(|depends| {
        depends.split(", ").find_map(|one| {
            let (name, version) = one.split_once(" (= ")?;
            let is_it = name.starts_with(&prefix) && name.ends_with("-cloud-amd64");
            let version = version.trim_end_matches(')').to_string();
            is_it.then(|| Package { name: name.to_string(), version })
        })
    })
}

/// A source list over the mirrors in `targets` (lines of 'URI suite') with the lab's suites.
fn private_sources(targets: &str) -> String {
    let mut lines = Vec::new();
    for (uri, suite) in targets.lines().filter_map(|line| line.split_once(' ')) {
        let (name, pocket) = suite.split_once('-').unwrap_or((suite, ""));
        let suites: &[&str] = match pocket {
            _ if !DEBIAN_NAMES.contains(&name) => &[],
            "security" => &SECURITY_SUITES,
            "" => &ARCHIVE_SUITES,
            _ => &[],
        };
        for suite in suites {
            let line = format!("deb [signed-by={KEYRING}] {uri} {suite} main\n");
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "\
Package: linux-image-6.12-cloud-amd64
Version: 6.12.117-1~deb12u1
Depends: linux-image-6.12.117+deb12-cloud-amd64 (= 6.12.117-1~deb12u1)

Package: linux-image-cloud-amd64
Version: 6.1.192-2
Depends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)

Package: linux-image-cloud-amd64
Version: 6.1.176-1
Depends: linux-image-6.1.0-50-cloud-amd64 (= 6.1.176-1)
";

    #[test]
    fn the_newest_kernel_of_each_series_is_found() {
        let old = dependency(SHOWN, "6.1").unwrap();
        assert_eq!(old.folder(), "linux-image-6.1.0-56-cloud-amd64_6.1.192-2");
        let new = dependency(SHOWN, "6.12").unwrap();
        assert_eq!(new.name, "linux-image-6.12.117+deb12-cloud-amd64");
        assert_eq!(new.version, "6.12.117-1~deb12u1");
        assert_eq!(dependency(SHOWN, "6.18"), None);
    }

    #[test]
    fn a_private_list_reuses_the_mirrors_of_the_machine() {
        let targets = "\
file:/mirror/debian/ bookworm
file:/mirror/debian/ bookworm
file:/mirror/debian/ bookworm-updates
file:/mirror/security/ bookworm-security
file:/mirror/other/ nodistro
file:/mirror/other/ cloud-sdk-bookworm
";
        let sources = private_sources(targets);
        let lines: Vec<_> = sources.lines().filter_map(|line| line.split_once("] ")).collect();
        assert_eq!(
            lines.iter().map(|(_, rest)| *rest).collect::<Vec<_>>(),
            [
                "file:/mirror/debian/ bookworm main",
                "file:/mirror/debian/ bookworm-backports main",
                "file:/mirror/debian/ trixie main",
                "file:/mirror/security/ bookworm-security main",
                "file:/mirror/security/ trixie-security main",
            ]
        );
        assert_eq!(private_sources("file:/x/ nodistro\n"), "");
    }
}
