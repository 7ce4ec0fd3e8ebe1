//! The limits that zero-copy runs into: locked memory, option memory, send queues, huge pages.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;

use super::finding::Finding;
use super::proc;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Pages of data in flight count against it; less than this stalls a fast sender.
const LOCKED_ENOUGH: u64 = 64 * MIB;
/// Each zero-copy call that the peer has not acknowledged takes about 832 bytes of it.
const OPTION_MEMORY_ENOUGH: u64 = 128 * KIB;
/// One train of datagrams is up to 64 KiB, and counts about twice.
const SEND_QUEUE_ENOUGH: u64 = MIB;

/// Every answer about limits, in the order in which people read them.
pub(super) fn findings() -> Vec<Finding> {
    vec![
        locked_memory(getrlimit(Resource::Memlock).current, may_lock_any()),
        option_memory(proc::number("/proc/sys/net/core/optmem_max")),
        send_queue(proc::number("/proc/sys/net/core/wmem_max")),
        huge_pages(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
        transparent_huge_pages(
            &fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default(),
        ),
    ]
}

/// `CAP_IPC_LOCK` lifts the limit, but only where the machine's own root would have it.
fn may_lock_any() -> bool {
    proc::in_initial_user_namespace()
        && rustix::thread::capabilities(None)
            .is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK))
}

fn locked_memory(limit_bytes: Option<u64>, may_lock_any: bool) -> Finding {
    let (name, title) = ("limits.locked_memory_bytes", "locked memory");
    match limit_bytes {
        None => Finding::yes(name, title).detail("unlimited"),
        Some(bytes) if may_lock_any => Finding::yes(name, title)
            .detail(format!("unlimited (CAP_IPC_LOCK; RLIMIT_MEMLOCK {})", size(bytes))),
        Some(bytes) if bytes >= LOCKED_ENOUGH => {
            Finding::yes(name, title).detail(size(bytes)).value(bytes)
        }
        Some(bytes) => Finding::no(
            name,
            title,
            format!("registered buffers and data in flight are held to {}", size(bytes)),
        )
        .value(bytes)
        .remedy("ulimit -l unlimited, LimitMEMLOCK=infinity in the unit, or CAP_IPC_LOCK"),
    }
}

fn option_memory(bytes: Option<u64>) -> Finding {
    let (name, title) = ("limits.optmem_max_bytes", "option memory");
    sysctl(name, title, "net.core.optmem_max", bytes, OPTION_MEMORY_ENOUGH, |held| {
        format!("it holds about {} unacknowledged MSG_ZEROCOPY calls a socket", held / 832)
    })
}

fn send_queue(bytes: Option<u64>) -> Finding {
    let (name, title) = ("limits.wmem_max_bytes", "send queue (SO_SNDBUF)");
    sysctl(name, title, "net.core.wmem_max", bytes, SEND_QUEUE_ENOUGH, |held| {
        format!("a UDP socket queues at most {} in flight", size(held))
    })
}

fn sysctl(
    name: &'static str,
    title: &'static str,
    key: &str,
    bytes: Option<u64>,
    enough: u64,
    reason: impl Fn(u64) -> String,
) -> Finding {
    match bytes {
        None => Finding::unknown(name, title, "not shown in this network namespace")
            .remedy(format!("sysctl {key}, on the host")),
        Some(bytes) if bytes >= enough => {
            Finding::yes(name, title).detail(size(bytes)).value(bytes)
        }
        Some(bytes) => Finding::no(name, title, reason(bytes))
            .value(bytes)
            .remedy(format!("sysctl {key}={}", enough * 4)),
    }
}

fn huge_pages(meminfo: &str) -> Finding {
    let (name, title) = ("limits.huge_pages_free", "huge pages");
    match proc::huge_pages(meminfo) {
        None => Finding::unknown(name, title, "/proc/meminfo does not say"),
        Some(pages) if pages.free > 0 => Finding::yes(name, title)
            .detail(format!(
                "{} of {} free, {}",
                pages.free,
                pages.total,
                size(pages.size_kib * KIB)
            ))
            .value(pages.free),
        Some(pages) => Finding::no(name, title, format!("none free of {}", pages.total))
            .value(0)
            .remedy("sysctl vm.nr_hugepages=64; without, pools use ordinary pages"),
    }
}

fn transparent_huge_pages(enabled: &str) -> Finding {
    let (name, title) = ("limits.transparent_huge_pages", "transparent huge pages");
    let remedy = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled";
    match proc::selected(enabled) {
        Some(mode @ ("always" | "madvise")) => Finding::yes(name, title).detail(mode),
        Some(mode) => Finding::no(name, title, format!("set to '{mode}'")).remedy(remedy),
        None => Finding::no(name, title, "the kernel has none"),
    }
}

/// Bytes in the largest unit that divides them well enough to read.
fn size(bytes: u64) -> String {
    match bytes {
        ..KIB => format!("{bytes} B"),
        KIB..MIB => format!("{} KiB", bytes / KIB),
        _ => format!("{} MiB", bytes / MIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Verdict;

    #[test]
    fn locked_memory_is_judged_by_limit_and_capability() {
        let verdict = |limit, any| locked_memory(limit, any).verdict;
        assert_eq!(verdict(None, false), Verdict::Yes);
        assert_eq!(verdict(Some(8 * MIB), true), Verdict::Yes);
        assert_eq!(verdict(Some(8 * MIB), false), Verdict::No);
        assert_eq!(verdict(Some(64 * MIB), false), Verdict::Yes);
    }

    #[test]
    fn a_hidden_sysctl_is_unknown_and_a_small_one_has_a_remedy() {
        assert_eq!(option_memory(None).verdict, Verdict::Unknown);
        let small = option_memory(Some(20_480));
        assert_eq!(small.remedy.as_deref(), Some("sysctl net.core.optmem_max=524288"));
        assert!(option_memory(Some(131_072)).is_yes());
    }

    #[test]
    fn huge_pages_of_either_kind_are_reported() {
        assert_eq!(huge_pages("nothing").verdict, Verdict::Unknown);
        assert!(transparent_huge_pages("always [madvise] never").is_yes());
        assert_eq!(transparent_huge_pages("always madvise [never]").verdict, Verdict::No);
        assert_eq!(transparent_huge_pages("").verdict, Verdict::No);
    }
}
