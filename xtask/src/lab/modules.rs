//! Which kernel modules the machine loads, and in what order.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::kernel::Kernel;
use super::on_path;
use crate::step::Outcome;

/// Modules that the tests may meet, with their parameters: sinks and links, shaping, kernel TLS
/// and its ciphers, block devices. `dummy` and `ifb` would each make devices that tests make.
const WANTED: [(&str, &str); 25] = [
    ("dummy", "numdummies=0"),
    ("ifb", "numifbs=0"),
    ("veth", ""),
    ("bridge", ""),
    ("8021q", ""),
    ("macvlan", ""),
    ("tun", ""),
    ("tcp_diag", ""),
    ("sch_fq", ""),
    ("sch_ingress", ""),
    ("sch_netem", ""),
    ("act_mirred", ""),
    ("cls_matchall", ""),
    ("cls_u32", ""),
    ("tls", ""),
    ("gcm", ""),
    ("ccm", ""),
    ("chacha20poly1305", ""),
    // What the three of them are made of: a kernel finds that by itself where it has modprobe.
    ("ctr", ""),
    ("ghash_generic", ""),
    ("chacha_generic", ""),
    ("poly1305_generic", ""),
    ("aesni_intel", ""),
    ("loop", ""),
    ("brd", ""),
];

/// The modules of one kernel, ready to be packed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    /// The folder that the paths are relative to.
    pub(crate) folder: PathBuf,
    /// Path and parameters, dependencies first.
    pub(crate) load: Vec<(String, &'static str)>,
    /// Wanted modules that this kernel has neither as a file nor built in.
    pub(crate) missing: Vec<&'static str>,
}

/// Looks the wanted modules up in the lists that come with `kernel`.
pub(crate) fn select(kernel: &Kernel) -> Outcome<Selection> {
    let folder = kernel.modules_dir();
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(|error| on_path("read", &path, &error))
    };
    let dependencies = read("modules.dep")?;
    let built_in = read("modules.builtin")?;
    let (load, missing) = order(&dependencies, &built_in, &WANTED);
    Ok(Selection { folder, load, missing })
}

type Load = Vec<(String, &'static str)>;

fn order(
    modules_dep: &str,
    modules_builtin: &str,
    wanted: &[(&'static str, &'static str)],
) -> (Load, Vec<&'static str>) {
    let needs: BTreeMap<&str, Vec<&str>> = modules_dep
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| (path, needs.split_whitespace().collect()))
        .collect();
    let mut load = Vec::new();
    let mut missing = Vec::new();
    for (name, parameters) in wanted {
        match needs.keys().find(|path| module_name(path) == *name) {
            Some(path) => visit(path, parameters, &needs, &mut load),
            None if modules_builtin.lines().any(|path| module_name(path) == *name) => {}
            None => missing.push(*name),
        }
    }
    (load, missing)
}

/// Appends the dependencies of `path`, then `path` itself, each once.
fn visit(path: &str, parameters: &'static str, needs: &BTreeMap<&str, Vec<&str>>, load: &mut Load) {
    if load.iter().any(|(loaded, _)| loaded == path) {
        return;
    }
    for needed in needs.get(path).into_iter().flatten() {
        visit(needed, "", needs, load);
    }
    load.push((path.to_string(), parameters));
}

/// `kernel/net/tls/tls.ko.xz` is `tls`. The kernel treats '-' in a file name as '_'.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULES_DEP: &str = "\
kernel/net/8021q/8021q.ko.xz: kernel/net/802/garp.ko.xz kernel/net/802/stp.ko.xz
kernel/net/802/garp.ko.xz: kernel/net/802/stp.ko.xz
kernel/net/802/stp.ko.xz:
kernel/net/bridge/bridge.ko.xz: kernel/net/802/stp.ko.xz
kernel/drivers/net/dummy.ko:
";

    #[test]
    fn dependencies_come_first_and_once() {
        let wanted = [("8021q", ""), ("bridge", ""), ("dummy", "numdummies=0")];
        let (load, missing) = order(MODULES_DEP, "", &wanted);
        let paths: Vec<_> = load.iter().map(|(path, _)| module_name(path)).collect();
        assert_eq!(paths, ["stp", "garp", "8021q", "bridge", "dummy"]);
        assert_eq!(load[4].1, "numdummies=0");
        assert!(missing.is_empty());
    }

    #[test]
    fn a_built_in_module_is_not_missing() {
        let built_in = "kernel/drivers/block/loop.ko\n";
        let (load, missing) = order(MODULES_DEP, built_in, &[("loop", ""), ("tls", "")]);
        assert!(load.is_empty());
        assert_eq!(missing, ["tls"]);
    }

    #[test]
    fn names_are_as_the_kernel_says_them() {
        assert_eq!(module_name("kernel/drivers/nvme/nvme-tcp.ko.xz"), "nvme_tcp");
        assert_eq!(module_name("kernel/net/tls/tls.ko"), "tls");
    }
}
