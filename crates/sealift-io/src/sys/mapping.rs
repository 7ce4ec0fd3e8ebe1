//! Memory mappings: anonymous (with huge pages if they can be had) and shared (memfd).

use std::ffi::c_void;
use std::fs;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{self, Advice};
use serde::Serialize;

use crate::error::{Error, Result};

/// The size of a huge page on the architectures that Sealift runs on.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// What a mapping's pages are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Pages {
    /// From the reserved huge pages (`vm.nr_hugepages`).
    HugeTlb,
    /// Huge pages that the kernel gathered (`transparent_hugepage`).
    Transparent,
    /// Ordinary pages.
    Ordinary {
        /// Why they are not huge.
        reason: String,
    },
}

impl Pages {
    /// Whether they are huge, of either kind.
    pub fn is_huge(&self) -> bool {
        !matches!(self, Self::Ordinary { .. })
    }
}

/// A range of mapped memory, unmapped on drop.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    /// What is used of it.
    len: usize,
    /// What `munmap` is told, from `base`.
    mapped_len: NonZeroUsize,
    pages: Pages,
}

// SAFETY: a mapping is a range of memory, bound to no thread; who may access it is for the users of
// `base` to argue.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`: `&Mapping` gives out the address only.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Private zeroed memory of `len` bytes, touched, and not inherited by forked children: a
    /// child's copy-on-write would part this process's pages from those the kernel has pinned.
    pub(crate) fn anonymous(len: usize, huge: bool) -> Result<Self> {
        if huge && let Some(mapping) = Self::huge_tlb(len) {
            return Ok(mapping);
        }
        let page_bytes = rustix::param::page_size();
        let align = if huge && len >= HUGE_PAGE_BYTES { HUGE_PAGE_BYTES } else { page_bytes };
        let mut mapping = Self::aligned(len, align)?;
        if align == HUGE_PAGE_BYTES {
            // A refusal shows below, in what the pages turn out to be.
            let _ = mapping.advise(Advice::LinuxHugepage);
        }
        mapping
            .advise(Advice::LinuxDontFork)
            .map_err(|errno| Error::System { call: "madvise", errno: errno.into() })?;
        mapping.touch();
        mapping.pages = if !huge {
            Pages::Ordinary { reason: "huge pages were not asked for".into() }
        } else if align != HUGE_PAGE_BYTES {
            Pages::Ordinary { reason: "smaller than a huge page (2 MiB)".into() }
        } else {
            mapping.transparent_or_why_not()
        };
        Ok(mapping)
    }

    /// Shared memory of a file.
    pub(crate) fn shared(file: &OwnedFd, len: usize) -> Result<Self> {
        let mapped_len = NonZeroUsize::new(len)
            .ok_or(Error::Caller { what: "shared memory needs at least one byte" })?;
        let base = map(len, libc::MAP_SHARED, file.as_raw_fd())?;
        let pages = Pages::Ordinary { reason: "shared memory".into() };
        Ok(Self { base: non_null(base)?, len, mapped_len, pages })
    }

    fn huge_tlb(len: usize) -> Option<Self> {
        let mapped_len = NonZeroUsize::new(len.checked_next_multiple_of(HUGE_PAGE_BYTES)?)?;
        let base = non_null(map(mapped_len.get(), ANONYMOUS | HUGE_TLB, NO_FILE).ok()?).ok()?;
        let mapping = Self { base, len, mapped_len, pages: Pages::HugeTlb };
        mapping.advise(Advice::LinuxDontFork).ok()?;
        mapping.populate().ok()?;
        Some(mapping)
    }

    /// Has the kernel find pages for all of it now (Linux 5.14). A reservation is no promise: where
    /// a hugetlb cgroup limits what may be used of it, the first touch would be a SIGBUS.
    fn populate(&self) -> rustix::io::Result<()> {
        self.advise(Advice::LinuxPopulateWrite)
    }

    /// For advices that keep the content.
    fn advise(&self, advice: Advice) -> rustix::io::Result<()> {
        // SAFETY: the range is this mapping's own, and its content stays.
        unsafe { mm::madvise(self.address(), self.mapped_len.get(), advice) }
    }

    /// Maps `len` bytes at a multiple of `align`, giving back what is too much at either end.
    fn aligned(len: usize, align: usize) -> Result<Self> {
        let no_memory =
            Error::System { call: "mmap", errno: crate::error::Errno::from_raw(libc::ENOMEM) };
        let wanted = len.checked_next_multiple_of(align).ok_or(no_memory.clone())?;
        let spare = if align > rustix::param::page_size() { align } else { 0 };
        let mapped = wanted.checked_add(spare).ok_or(no_memory.clone())?;
        let start = map(mapped, ANONYMOUS, NO_FILE)?;
        let head = start.align_offset(align);
        let tail = spare - head;
        // SAFETY: both ranges are parts of the mapping just made, and nobody has seen it yet.
        unsafe {
            let base = start.cast::<u8>().add(head);
            if head > 0 {
                let _ = mm::munmap(start, head);
            }
            if tail > 0 {
                let _ = mm::munmap(base.add(wanted).cast(), tail);
            }
            Ok(Self {
                base: non_null(base.cast())?,
                len,
                mapped_len: NonZeroUsize::new(wanted).ok_or(no_memory)?,
                pages: Pages::Ordinary { reason: String::new() },
            })
        }
    }

    /// Writes one byte to every page, so that no later access faults.
    fn touch(&self) {
        for offset in (0..self.mapped_len.get()).step_by(rustix::param::page_size()) {
            // SAFETY: inside the mapping, which nobody else has seen yet.
            unsafe { self.base.as_ptr().add(offset).write_volatile(0) };
        }
    }

    fn transparent_or_why_not(&self) -> Pages {
        let reason = match fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled") {
            Ok(mode) if mode.contains("[never]") => {
                "no reserved huge pages to be had (vm.nr_hugepages), and transparent ones are off"
            }
            Ok(_) => match fs::read_to_string("/proc/self/smaps") {
                Ok(smaps) if huge_kib(&smaps, self.base.as_ptr() as usize) > 0 => {
                    return Pages::Transparent;
                }
                _ => {
                    "no reserved huge pages to be had (vm.nr_hugepages), \
                     and the kernel gathered none"
                }
            },
            Err(_) => "no reserved huge pages to be had, and this kernel has no transparent ones",
        };
        Pages::Ordinary { reason: reason.into() }
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn pages(&self) -> &Pages {
        &self.pages
    }

    fn address(&self) -> *mut c_void {
        self.base.as_ptr().cast()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by this type and is dropped once; whoever handed out the
        // address keeps the mapping alive while the address is used. Through the C library, as in
        // `map`.
        let _ = unsafe { libc::munmap(self.address(), self.mapped_len.get()) };
    }
}

const ANONYMOUS: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
const NO_FILE: i32 = -1;
/// Of this very size: the kernel's default may be another.
const HUGE_TLB: i32 =
    libc::MAP_HUGETLB | (HUGE_PAGE_BYTES.trailing_zeros() as i32) << libc::MAP_HUGE_SHIFT;

/// A new readable and writable mapping. Through the C library, where the thread sanitizer sees that
/// it is other memory than what was there before.
fn map(len: usize, flags: i32, file: i32) -> Result<*mut c_void> {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
    let start = unsafe { libc::mmap(ptr::null_mut(), len, prot, flags, file, 0) };
    if start == libc::MAP_FAILED {
        return Err(Error::System { call: "mmap", errno: crate::error::Errno::last() });
    }
    Ok(start)
}

fn non_null(address: *mut c_void) -> Result<NonNull<u8>> {
    NonNull::new(address.cast())
        .ok_or(Error::System { call: "mmap", errno: crate::error::Errno::from_raw(libc::ENOMEM) })
}

/// The KiB of huge pages in the mapping of `/proc/self/smaps` that holds `address`.
fn huge_kib(smaps: &str, address: usize) -> u64 {
    let mut inside = false;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        if let Some((low, high)) = first.split_once('-') {
            let bound = |hex| usize::from_str_radix(hex, 16).unwrap_or(0);
            inside = (bound(low)..bound(high)).contains(&address);
        } else if inside && first == "AnonHugePages:" {
            return words.next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
        }
    }
    0
}

/// A memfd of `len` bytes that nobody can shrink.
pub(crate) fn sealed_memfd(len: usize) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let system = |call| move |errno: rustix::io::Errno| Error::System { call, errno: errno.into() };
    let file = rustix::fs::memfd_create("sealift", flags).map_err(system("memfd_create"))?;
    rustix::fs::ftruncate(&file, len as u64).map_err(system("ftruncate"))?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK).map_err(system("fcntl(F_ADD_SEALS)"))?;
    Ok(file)
}

/// The length of a file that is sealed against shrinking.
pub(crate) fn shrink_sealed_len(file: impl AsFd) -> Result<usize> {
    let sealed =
        rustix::fs::fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
    if !sealed {
        return Err(Error::Caller {
            what: "the shared memory is not sealed against shrinking: set F_SEAL_SHRINK first",
        });
    }
    let stat = rustix::fs::fstat(&file)
        .map_err(|errno| Error::System { call: "fstat", errno: errno.into() })?;
    Ok(stat.st_size as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip_log::skip;
    use std::time::Duration;

    #[test]
    fn smaps_are_read_for_the_right_mapping() {
        let smaps = "1000-2000 rw-p 0 00:00 0\nAnonHugePages:         4 kB\n\
                     2000-9000 rw-p 0 00:00 0\nRss: 1 kB\nAnonHugePages:      2048 kB\n";
        assert_eq!(huge_kib(smaps, 0x1fff), 4);
        assert_eq!(huge_kib(smaps, 0x2000), 2048);
        assert_eq!(huge_kib(smaps, 0x9000), 0);
        assert_eq!(huge_kib("garbage\n-\nAnonHugePages:", 0), 0);
    }

    #[test]
    fn reserved_pages_serve_a_length_that_is_no_multiple_of_theirs() {
        let reserved = fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
        if !reserved.is_ok_and(|count| count.trim().parse::<u64>().unwrap() >= 2) {
            let name = "reserved_pages_serve_a_length_that_is_no_multiple_of_theirs";
            return skip(name, "fewer than 2 huge pages are reserved (vm.nr_hugepages)");
        }
        // Other tests take them, too, for a moment.
        let patience = std::iter::repeat_with(|| std::thread::sleep(Duration::from_millis(20)));
        let mapping = patience.take(250).find_map(|()| Mapping::huge_tlb(3 << 20)).unwrap();
        assert_eq!((mapping.len(), mapping.pages()), (3 << 20, &Pages::HugeTlb));
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let ours = format!("{:x}-", mapping.base().as_ptr() as usize);
        let ours = smaps.split(&ours).nth(1).unwrap();
        let flags = ours.lines().find(|line| line.starts_with("VmFlags:")).unwrap();
        assert!(flags.contains(" ht") && flags.contains(" dc"), "huge, not for children: {flags}");
    }

    /// Memory behind the end of its file is what a limit on huge pages makes of a mapping.
    #[test]
    fn what_would_be_a_sigbus_is_an_error_of_populating() {
        let empty = rustix::fs::memfd_create("empty", MemfdFlags::CLOEXEC).unwrap();
        assert!(Mapping::shared(&empty, 4096).unwrap().populate().is_err());
        let whole = sealed_memfd(4096).unwrap();
        match Mapping::shared(&whole, 4096).unwrap().populate() {
            Err(rustix::io::Errno::INVAL) => {
                skip("what_would_be_a_sigbus_is_an_error_of_populating", "needs Linux 5.14");
            }
            populated => assert_eq!(populated, Ok(())),
        }
    }

    #[test]
    fn huge_mappings_are_aligned() {
        let mapping = Mapping::anonymous(3 << 20, true).unwrap();
        assert_eq!(mapping.base().as_ptr() as usize % HUGE_PAGE_BYTES, 0);
        assert_eq!(mapping.len(), 3 << 20);
    }
}
