//! Installs what the tests need on Debian. Does nothing where all is there, or without root.

use std::process::Command;

use crate::step::{Outcome, Run, capture, execute};

/// Debian package → what for. Everything that a test may miss is in this table.
const PACKAGES: &[(&str, &str)] = &[
    ("g++", "libFuzzer's runtime is C++"),
    ("llvm", "llvm-symbolizer: names in the sanitizers' reports"),
    ("socat", "a peer for stream, datagram and TLS tests"),
    ("openssl", "a peer for TLS tests, and pins taken by hand"),
    ("gnutls-bin", "a peer for TLS tests"),
    ("libnss3-tools", "a peer for TLS tests: tstclnt, selfserv"),
    ("ncat", "a peer for stream tests"),
    ("netcat-openbsd", "a peer for stream and unix-socket tests"),
    ("iperf3", "a sink that other tools are measured with"),
    ("nginx-light", "a web server behind a tunnel"),
    ("curl", "a client of HTTPS servers, and of a tunnel"),
    ("libssl-dev", "OpenSSL's headers: `peers-tls` compares with the openssl crate"),
    ("pkg-config", "finds OpenSSL for the openssl crate"),
    ("libipsec-mb1", "Intel's multi-buffer library, for the engine of its name"),
    ("iproute2", "network namespaces, veth pairs, ss"),
    ("tcpdump", "what was really on the wire"),
    ("ethtool", "offloads of the test devices"),
    ("tmux", "a terminal for the command's progress and colour"),
    ("groff-base", "the manual pages, laid out"),
    ("zsh", "a shell that reads the completions"),
    ("fish", "a shell that reads the completions"),
    ("qemu-system-x86", "the lab: another kernel, by emulation; live migrations through a tunnel"),
    ("busybox-static", "the lab: its user space"),
    ("cpio", "the lab: packs the initramfs"),
    ("xz-utils", "the lab: unpacks kernel modules"),
];

/// A version that builds with the toolchain of the project, for the same answers everywhere.
const CARGO_DENY: &str = "0.20.2";

pub(crate) fn run(run: &mut Run) -> Outcome {
    let is_root = capture(Command::new("id").arg("-u"))?.trim() == "0";
    packages(is_root)?;
    cargo_deny(run, is_root)
}

fn packages(is_root: bool) -> Outcome {
    let names: Vec<&str> = PACKAGES.iter().map(|(name, _)| *name).collect();
    let Ok(missing) = missing(&names) else {
        println!("packages: nothing done, as this is not Debian (no dpkg)");
        return Ok(());
    };
    if missing.is_empty() {
        println!("packages: all {} are there", names.len());
        return Ok(());
    }
    for (name, purpose) in PACKAGES.iter().filter(|(name, _)| missing.contains(name)) {
        println!("packages: missing {name} ({purpose})");
    }
    if !is_root {
        println!("packages: nothing done, as only root can install");
        return Ok(());
    }
    // Another package manager may be at work: wait for it.
    let patience = ["-q", "-o", "DPkg::Lock::Timeout=300"];
    execute(Command::new("apt-get").args(patience).arg("update"))?;
    let mut install = Command::new("apt-get");
    install.args(patience).args(["install", "--yes", "--no-install-recommends"]).args(missing);
    execute(install.env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Those of `names` that dpkg does not list as installed.
fn missing<'a>(names: &[&'a str]) -> Outcome<Vec<&'a str>> {
    let format = "${Package} ${db:Status-Status}\n";
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", format]).args(names);
    // It exits with 1 when it does not know a package, and lists the others all the same.
    let output = query.output().map_err(|error| format!("dpkg-query: {error}"))?;
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(not_installed(names, &listed))
}

fn not_installed<'a>(names: &[&'a str], listed: &str) -> Vec<&'a str> {
    let is_there = |name: &str| listed.lines().any(|line| line == format!("{name} installed"));
    names.iter().copied().filter(|name| !is_there(name)).collect()
}

/// A debug build checks as well as a release build, and is compiled much sooner.
fn cargo_deny(run: &Run, is_root: bool) -> Outcome {
    let installed = capture(&mut run.cargo(["deny", "--version"])).unwrap_or_default();
    let installed = installed.trim();
    if installed == format!("cargo-deny {CARGO_DENY}") {
        println!("cargo-deny: {CARGO_DENY} is there");
    } else if !is_root {
        println!("cargo-deny: {CARGO_DENY} is missing; nothing done, as setup is for root");
    } else if !installed.is_empty() && !run.on_ci {
        println!("cargo-deny: left as it is ({installed}); CI uses {CARGO_DENY}");
    } else {
        let version = format!("cargo-deny@{CARGO_DENY}");
        execute(&mut run.cargo(["install", "--locked", "--debug", "--quiet", &version]))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_package_is_missing() {
        let listed = "socat installed\nncat config-files\n";
        assert_eq!(not_installed(&["socat", "ncat", "cpio"], listed), ["ncat", "cpio"]);
    }

    #[test]
    fn each_package_is_listed_once_with_its_purpose() {
        for (at, (name, purpose)) in PACKAGES.iter().enumerate() {
            assert!(!purpose.is_empty(), "{name}");
            assert!(PACKAGES[at + 1..].iter().all(|(other, _)| other != name), "{name}");
        }
    }
}
