//! A file that is whole or not there: written under a temporary name beside its own, renamed at the
//! end.
//!
//! Invariants:
//! 1. The final name changes only in [`PartialFile::commit`], or, if the user wants to keep what
//!    came, when the transfer fails after at least one byte.
//! 2. However the transfer ends (return, panic, signal), the temporary name is gone; SIGKILL alone
//!    leaves `.NAME.partial-` with six more digits behind.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::cleanup::{Pending, on_interrupt};
use crate::failure::Action;

/// The longest name of a file (`NAME_MAX`).
const NAME_BYTES_MAX: usize = 255;
/// How many random names are tried.
const ATTEMPTS: usize = 32;
/// The mode of a file that replaces none; the umask takes its part.
const NEW_FILE: Mode = Mode::from_raw_mode(0o666);

/// The two names of a file, in a directory that is held open.
#[derive(Clone, Debug)]
struct Names {
    directory: Arc<OwnedFd>,
    temporary: OsString,
    last: OsString,
    keep: bool,
}

/// A file on its way.
#[derive(Debug)]
pub(crate) struct PartialFile {
    file: File,
    names: Names,
    path: PathBuf,
    pending: Option<Pending>,
}

impl PartialFile {
    /// Creates the temporary file beside `path`. `mode` is that of the file that it will replace.
    pub(crate) fn create(path: &Path, mode: Option<u32>, keep: bool) -> io::Result<Self> {
        let last = path.file_name().ok_or(io::ErrorKind::NotFound)?.to_owned();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(directory_of(path), flags, Mode::empty())?;
        let mut names =
            Names { directory: Arc::new(directory), temporary: OsString::new(), last, keep };
        let mode = mode.map(|mode| Mode::from_raw_mode(mode & 0o777));
        let file = names.create(mode)?;
        if let Some(mode) = mode {
            // What the umask took away. Where that cannot be, the file is more private than before.
            let _ = rustix::fs::fchmod(&file, mode);
        }
        let of_signal = names.clone();
        let pending = on_interrupt(move || {
            of_signal.abandon();
        });
        Ok(Self { file, names, path: path.to_owned(), pending: Some(pending) })
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Puts the file under its final name. With `sync` it and its name are on the disk first.
    ///
    /// # Errors
    /// With what was being done. The file is then given up like any other that failed.
    pub(crate) fn commit(mut self, sync: bool) -> Result<(), (Action, io::Error)> {
        if sync {
            self.file.sync_all().map_err(|error| (Action::Sync, error))?;
        }
        if let Some(pending) = self.pending.take() {
            let renamed = pending.done(|| {
                let renamed = self.names.rename();
                if renamed.is_err() {
                    self.names.remove();
                }
                renamed
            });
            renamed.map_err(|error| (Action::Rename, error))?;
        }
        if sync {
            let directory = File::open(directory_of(&self.path));
            let synced = directory.and_then(|directory| directory.sync_all());
            synced.map_err(|error| (Action::Sync, error))?;
        }
        Ok(())
    }

    /// Gives up: removes the file, or keeps it under its final name if that was wanted and anything
    /// came. Says whether it was kept.
    pub(crate) fn abandon(mut self) -> bool {
        self.give_up()
    }

    fn give_up(&mut self) -> bool {
        let names = self.names.clone();
        match self.pending.take() {
            Some(pending) => pending.done(|| names.abandon()),
            None => false,
        }
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Names {
    /// Creates the file with the mode that it will have, so that nobody can read in between what
    /// will be private.
    fn create(&mut self, mode: Option<Mode>) -> io::Result<File> {
        let mode = mode.unwrap_or(NEW_FILE);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        for _ in 0..ATTEMPTS {
            self.temporary = temporary_name(&self.last, RandomState::new().hash_one(0));
            match rustix::fs::openat(&self.directory, &self.temporary, flags, mode) {
                Ok(made) => return Ok(made.into()),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Errno::EXIST.into())
    }

    fn rename(&self) -> io::Result<()> {
        let directory = &*self.directory;
        Ok(rustix::fs::renameat(directory, &self.temporary, directory, &self.last)?)
    }

    fn abandon(&self) -> bool {
        let directory = &*self.directory;
        let there = rustix::fs::statat(directory, &self.temporary, AtFlags::SYMLINK_NOFOLLOW);
        if self.keep && there.is_ok_and(|there| there.st_size > 0) && self.rename().is_ok() {
            return true;
        }
        self.remove();
        false
    }

    fn remove(&self) {
        // It may be gone already: then nothing is left, which is what is wanted.
        let _ = rustix::fs::unlinkat(&*self.directory, &self.temporary, AtFlags::empty());
    }
}

/// Where a path's last part lies.
pub(super) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// `.NAME.partial-` and six hexadecimal digits, with NAME cut to fit.
fn temporary_name(last: &OsStr, random: u64) -> OsString {
    let tail = format!(".partial-{:06x}", random & 0xff_ffff);
    let room = NAME_BYTES_MAX - 1 - tail.len();
    let bytes = last.as_bytes();
    let mut cut = bytes.len().min(room);
    // Some file systems want whole characters.
    while cut > 0 && cut < bytes.len() && bytes[cut] & 0xc0 == 0x80 {
        cut -= 1;
    }
    let mut name = Vec::with_capacity(NAME_BYTES_MAX);
    name.push(b'.');
    name.extend_from_slice(&bytes[..cut]);
    name.extend_from_slice(tail.as_bytes());
    OsString::from_vec(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_temporary_file_of_a_private_one_is_private_from_the_start() {
        let directory = Arc::new(OwnedFd::from(File::open(std::env::temp_dir()).unwrap()));
        let last = OsString::from(format!("private-{}", std::process::id()));
        let mut names = Names { directory, temporary: OsString::new(), last, keep: false };
        for mode in [0o600, 0o400] {
            let file = names.create(Some(Mode::from_raw_mode(mode))).unwrap();
            names.remove();
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, mode);
        }
    }

    #[test]
    fn temporary_names_are_hidden_and_fit() {
        assert_eq!(temporary_name("disk.img".as_ref(), 0xabc), ".disk.img.partial-000abc");
        let long = "ä".repeat(127) + "b";
        let name = temporary_name(long.as_ref(), 1);
        assert!(name.len() <= NAME_BYTES_MAX && name.to_str().is_some(), "{name:?}");
    }
}
