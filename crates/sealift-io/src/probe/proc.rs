//! The files under `/proc` and `/sys` that the probe reads, parsed; what they do not say is `None`.
//!
//! Network files are read through `/proc/thread-self`: `/proc/net` shows the namespace of the
//! process's first thread, which need not be the caller's.

use std::fmt;
use std::fs;
use std::path::Path;

/// The first two numbers of a kernel's release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Release {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl Release {
    /// Reads `6.18.44-fc-v669`, `7.0-rc1` and the like.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim().split(|letter: char| !letter.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Self { major, minor })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The running kernel's release.
pub(super) fn kernel_release() -> Option<Release> {
    rustix::system::uname().release().to_str().ok().and_then(Release::parse)
}

/// A file that holds one number.
pub(super) fn number(path: impl AsRef<Path>) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// `kernel.io_uring_disabled`: 0 for everybody, 1 for one group only, 2 for nobody.
pub(super) fn io_uring_disabled() -> Option<u32> {
    number("/proc/sys/kernel/io_uring_disabled").and_then(|level| level.try_into().ok())
}

/// Whether a seccomp filter watches this thread's system calls.
pub(super) fn seccomp_filters() -> bool {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    field(&status, "Seccomp") == Some(2)
}

/// Whether this process lives in the machine's first user namespace, where capabilities over
/// the whole machine's limits are decided.
pub(super) fn in_initial_user_namespace() -> bool {
    /// `PROC_USER_INIT_INO`, fixed by the kernel.
    const INITIAL: &str = "user:[4026531837]";
    fs::read_link("/proc/thread-self/ns/user").is_ok_and(|link| link.as_os_str() == INITIAL)
}

/// The processor's name.
pub(super) fn cpu_model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim()).filter(|model| !model.is_empty())
}

/// Huge pages of the default size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HugePages {
    pub(super) free: u64,
    pub(super) total: u64,
    pub(super) size_kib: u64,
}

/// Reads `/proc/meminfo`.
pub(super) fn huge_pages(meminfo: &str) -> Option<HugePages> {
    Some(HugePages {
        free: field(meminfo, "HugePages_Free")?,
        total: field(meminfo, "HugePages_Total")?,
        size_kib: field(meminfo, "Hugepagesize")?,
    })
}

/// The word in brackets: `always [madvise] never` is at `madvise`.
pub(super) fn selected(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word)
}

/// The number after `name:` at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}

/// A packet socket that is handed a copy of what every socket sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PacketListener {
    /// The device it is bound to; 0 for all.
    pub(super) device: u32,
    pub(super) user: u32,
    pub(super) inode: u64,
}

/// The packet sockets of the caller's network namespace, if they can be read.
pub(super) fn packet_listeners() -> Option<Vec<PacketListener>> {
    match fs::read_to_string("/proc/thread-self/net/packet") {
        Ok(table) => Some(parse_packet_listeners(&table)),
        // A kernel without packet sockets has no listeners either.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Path::new("/proc/thread-self/net/dev").exists().then(Vec::new)
        }
        Err(_) => None,
    }
}

/// Reads `/proc/net/packet`: running sockets for every protocol. Those of a single protocol are
/// shown what comes in only (`dev_queue_xmit_nit` in the kernel's `net/core/dev.c`).
fn parse_packet_listeners(table: &str) -> Vec<PacketListener> {
    /// `ETH_P_ALL`, as the table prints it.
    const EVERY_PROTOCOL: &str = "0003";
    let rows = table.lines().skip(1);
    rows.filter_map(|row| {
        let columns: Vec<&str> = row.split_whitespace().collect();
        let [_socket, _references, _type, protocol, device, running, _memory, user, inode, ..] =
            columns[..]
        else {
            return None;
        };
        (protocol == EVERY_PROTOCOL && running == "1").then_some(())?;
        Some(PacketListener {
            device: device.parse().ok()?,
            user: user.parse().ok()?,
            inode: inode.parse().ok()?,
        })
    })
    .collect()
}

/// Runs every parser of this file on the same text.
#[cfg(fuzzing)]
pub(super) fn fuzz(text: &str) {
    let _ = (Release::parse(text), cpu_model(text), huge_pages(text), selected(text));
    let _ = (field(text, "VmLck"), parse_packet_listeners(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_whatever_follows_the_numbers() {
        let read = |text| Release::parse(text).map(|release| (release.major, release.minor));
        assert_eq!(read("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(read("7.0-rc1"), Some((7, 0)));
        assert_eq!(read("6.12"), Some((6, 12)));
        for bad in ["", "6", "linux", "6.x", ".1", "99999999999.1"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        assert!(Release { major: 6, minor: 9 } < Release { major: 6, minor: 18 });
    }

    #[test]
    fn meminfo_is_read_or_refused() {
        let meminfo = "MemTotal: 100 kB\nHugePages_Total:       4\nHugePages_Free:        3\n\
                       HugePages_Rsvd:        0\nHugepagesize:       2048 kB\n";
        let pages = huge_pages(meminfo);
        assert_eq!(pages, Some(HugePages { free: 3, total: 4, size_kib: 2048 }));
        assert_eq!(huge_pages("HugePages_Total: 4\n"), None);
        assert_eq!(huge_pages("HugePages_Total: many\nHugePages_Free: 1\n"), None);
        assert_eq!(huge_pages(""), None);
    }

    #[test]
    fn the_selected_word_is_the_one_in_brackets() {
        assert_eq!(selected("always [madvise] never\n"), Some("madvise"));
        assert_eq!(selected("always madvise"), None);
        assert_eq!(selected("]always["), None);
    }

    #[test]
    fn only_listeners_for_every_protocol_see_what_is_sent() {
        let header = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n";
        let table = format!(
            "{header}0000000000000000 3      3    0003   0     1 0      1000   51\n\
             0000000000000000 3      2    0800   2     1 0      0      52\n\
             0000000000000000 3      3    0003   7     0 0      0      53\n\
             0000000000000000 3      3    0003   2     1 0      0      54\n"
        );
        let listeners = parse_packet_listeners(&table);
        let seen: Vec<_> = listeners.iter().map(|listener| listener.inode).collect();
        assert_eq!(seen, [51, 54]);
        assert_eq!((listeners[0].device, listeners[0].user), (0, 1000));
        for bad in ["", header, "x\ny\n", "x\n1 2 3 0003 x 1 0 0 5\n", "x\n1 2 3 0003 0 1 0\n"] {
            assert_eq!(parse_packet_listeners(bad), [], "{bad:?}");
        }
    }

    #[test]
    fn processor_names_are_read_or_refused() {
        assert_eq!(cpu_model("processor: 0\nmodel name\t: A B\n"), Some("A B"));
        assert_eq!(cpu_model("model name\n"), None);
        assert_eq!(cpu_model("processor : 0\n"), None);
    }
}
