//! Descriptors that this process was started with, and the names that stand for them.
//!
//! `/dev/stdout`, `/dev/fd/N` and `/proc/self/fd/N` look like files, but opening one makes a new
//! position in it, and a file renamed to one replaces what the shell redirected to. So they are
//! shared as they are, with their position and their way of appending.
//!
//! Of the first three, those that were closed are open all the same: before `main`, Rust's runtime
//! opens the null device in their place, for reading and writing. Hardly anybody else does, so what
//! is open like that counts as closed, and data does not vanish in it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{OFlags, makedev};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use super::partial::directory_of;

/// As many symbolic links as the kernel follows.
const LINKS_MAX: usize = 40;

/// The number of the descriptor that `path` stands for, through symbolic links as well.
pub(crate) fn named(path: &Path) -> Option<i32> {
    let own = |directory: &Path| {
        let lists = ["/proc/self/fd", "/proc/thread-self/fd"];
        lists.iter().any(|list| fs::canonicalize(list).is_ok_and(|list| list == directory))
    };
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let name = path.file_name()?;
        let directory = fs::canonicalize(directory_of(&path)).ok()?;
        if own(&directory) {
            return name.to_str()?.parse().ok();
        }
        let target = fs::read_link(directory.join(name)).ok()?;
        path = directory.join(target);
    }
    None
}

/// A second descriptor of the same open file.
///
/// # Errors
/// `EBADF` if the process was not started with such a descriptor.
pub(crate) fn share(number: i32) -> io::Result<File> {
    let file = File::from(share_open(number)?);
    if (0..=2).contains(&number) && is_stand_in(&file)? {
        return Err(Errno::BADF.into());
    }
    Ok(file)
}

fn share_open(number: i32) -> io::Result<OwnedFd> {
    match number {
        0 => io::stdin().as_fd().try_clone_to_owned(),
        1 => io::stdout().as_fd().try_clone_to_owned(),
        2 => io::stderr().as_fd().try_clone_to_owned(),
        // What this process opened itself is nobody's destination.
        _ if closes_on_exec(number) => Err(Errno::BADF.into()),
        _ => share_other(number),
    }
}

fn share_other(number: i32) -> io::Result<OwnedFd> {
    let this = pidfd_open(getpid(), PidfdFlags::empty());
    match this.and_then(|this| pidfd_getfd(this, number, PidfdGetfdFlags::empty())) {
        // Containers may forbid it. What has no position, as a shell's `>(…)`, is opened anew.
        Err(refused @ (Errno::PERM | Errno::NOSYS)) => {
            let anew = File::options().write(true).open(format!("/proc/self/fd/{number}"))?;
            if anew.metadata()?.is_file() { Err(refused.into()) } else { Ok(anew.into()) }
        }
        shared => Ok(shared?),
    }
}

/// Whether it is what stands in for a closed descriptor: the null device, open in both directions.
fn is_stand_in(file: &File) -> io::Result<bool> {
    let there = file.metadata()?;
    let is_null = there.file_type().is_char_device() && there.rdev() == makedev(1, 3);
    Ok(is_null && rustix::fs::fcntl_getfl(file)? & OFlags::RWMODE == OFlags::RDWR)
}

/// The same, of a descriptor that can be written to.
///
/// # Errors
/// `EBADF` as well if it is open for reading only, as a write would say.
pub(crate) fn share_writable(number: i32) -> io::Result<File> {
    let file = share(number)?;
    let mode = rustix::fs::fcntl_getfl(&file)? & OFlags::RWMODE;
    if mode == OFlags::RDONLY { Err(Errno::BADF.into()) } else { Ok(file) }
}

/// Whether a descriptor is no inherited one, as `proc_pid_fdinfo(5)` says.
fn closes_on_exec(number: i32) -> bool {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).unwrap_or(0);
    OFlags::from_bits_retain(flags).contains(OFlags::CLOEXEC)
}
