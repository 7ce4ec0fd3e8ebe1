//! Where received bytes go: a new file, or something that is there and written in place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Access, OFlags};
use rustix::io::Errno;

use super::descriptor;
use super::partial::PartialFile;
use super::patience::{NAP, poll_for};
use crate::failure::{Action, Failure};

/// An open destination.
#[derive(Debug)]
pub(crate) struct Target {
    place: Place,
    name: String,
    is_pipe: bool,
    /// A regular file or a block device: something with pages to be filled.
    is_file: bool,
}

#[derive(Debug)]
enum Place {
    /// A regular file, not yet under its name.
    Partial(PartialFile),
    /// A device, a pipe, or what the process was started with.
    InPlace(File),
}

impl Target {
    /// Opens or creates `path`, `-` for standard output.
    pub(crate) fn open(path: &Path, keep_partial: bool) -> Result<Self, Failure> {
        let is_stdout = path.as_os_str() == "-";
        let name = if is_stdout { "standard output".into() } else { path.display().to_string() };
        if let Some(number) = descriptor_of(path) {
            let shared = descriptor::share_writable(number);
            let file = shared.map_err(|error| Failure::system(Action::Open, &name, error))?;
            return Ok(Self::in_place(file, name));
        }
        let directory = || Failure::Directory { action: Action::Create, name: name.clone() };
        let failed = |action, error: io::Error| Failure::system(action, &name, error);
        let create = |path: &Path, mode| {
            let partial = PartialFile::create(path, mode, keep_partial);
            let place = partial.map(Place::Partial);
            place.map_err(|error| failed(Action::Create, error))
        };
        let place = match fs::metadata(path) {
            Ok(there) if there.is_dir() => return Err(directory()),
            Ok(there) if there.is_file() => {
                rustix::fs::access(path, Access::WRITE_OK)
                    .map_err(|errno| failed(Action::Write, errno.into()))?;
                // What a symbolic link points to is replaced, not the link.
                let real = fs::canonicalize(path).map_err(|error| failed(Action::Open, error))?;
                create(&real, Some(there.mode()))?
            }
            Ok(there) => {
                let exclusive = there.file_type().is_block_device();
                let file = open_in_place(path, exclusive);
                return Ok(Self::in_place(
                    file.map_err(|error| failed(Action::Open, error))?,
                    name,
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let is_link = fs::symlink_metadata(path).is_ok();
                if is_link {
                    return Err(failed(Action::Open, error));
                }
                if path.as_os_str().as_bytes().ends_with(b"/") {
                    return Err(directory());
                }
                create(path, None)?
            }
            Err(error) => return Err(failed(Action::Create, error)),
        };
        Ok(Self { place, name, is_pipe: false, is_file: true })
    }

    fn in_place(file: File, name: String) -> Self {
        let kind = file.metadata().map(|there| there.file_type());
        let is_pipe = kind.as_ref().is_ok_and(FileTypeExt::is_fifo);
        let is_file = kind.is_ok_and(|kind| kind.is_file() || kind.is_block_device());
        Self { place: Place::InPlace(file), name, is_pipe, is_file }
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        match &self.place {
            Place::Partial(partial) => partial.file(),
            Place::InPlace(file) => file,
        }
    }

    /// The name for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the kernel can move pages straight into it.
    pub(crate) fn is_pipe(&self) -> bool {
        self.is_pipe
    }

    /// Whether what is written fills pages of its own.
    pub(crate) fn is_file(&self) -> bool {
        self.is_file
    }

    /// Whether splicing into it is refused: a file opened for appending.
    pub(crate) fn appends(&self) -> bool {
        rustix::fs::fcntl_getfl(self.file()).is_ok_and(|flags| flags.contains(OFlags::APPEND))
    }

    /// Writes some of `bytes`. That is nothing where the destination takes none for the moment, for
    /// which it was waited a moment.
    pub(crate) fn write_some(&self, bytes: &[u8]) -> Result<usize, Failure> {
        let failed = |error| Failure::system(Action::Write, &self.name, error);
        match self.file().write(bytes) {
            Ok(0) => Err(failed(Errno::IO.into())),
            Ok(count) => Ok(count),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::INTR) => Ok(0),
                Some(Errno::AGAIN) => {
                    let mut polled = [PollFd::new(self.file(), PollFlags::OUT)];
                    poll_for(&mut polled, NAP).map_err(|errno| failed(errno.into()))?;
                    Ok(0)
                }
                _ => Err(failed(error)),
            },
        }
    }

    /// All is there: gives the file its name. With `sync` the disk confirms it.
    pub(crate) fn commit(self, sync: bool) -> Result<(), Failure> {
        let name = self.name;
        match self.place {
            Place::Partial(partial) => partial
                .commit(sync)
                .map_err(|(action, error)| Failure::system(action, &name, error)),
            Place::InPlace(file) if sync => match rustix::fs::fsync(&file) {
                // A pipe or a terminal has nothing to confirm.
                Ok(()) | Err(Errno::INVAL | Errno::ROFS) => Ok(()),
                Err(errno) => Err(Failure::system(Action::Sync, &name, errno)),
            },
            Place::InPlace(_) => Ok(()),
        }
    }

    /// The transfer failed; says whether what came is kept under the final name.
    pub(crate) fn abandon(self) -> bool {
        match self.place {
            Place::Partial(partial) => partial.abandon(),
            Place::InPlace(_) => false,
        }
    }
}

/// Whether `path` stands for standard output.
pub(crate) fn is_standard_output(path: &Path) -> bool {
    descriptor_of(path) == Some(1)
}

/// The descriptor that `path` stands for, if it is no file of its own.
fn descriptor_of(path: &Path) -> Option<i32> {
    if path.as_os_str() == "-" { Some(1) } else { descriptor::named(path) }
}

/// A block device that is mounted is not overwritten: opened exclusively it is refused (`EBUSY`).
fn open_in_place(path: &Path, exclusive: bool) -> io::Result<File> {
    let exclusive = if exclusive { OFlags::EXCL } else { OFlags::empty() };
    let flags = (OFlags::NOCTTY | exclusive).bits().cast_signed();
    OpenOptions::new().write(true).custom_flags(flags).open(path)
}
