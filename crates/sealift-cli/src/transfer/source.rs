//! What is sent: a file or a device of known size, or a stream to its end.
//!
//! A file is read with `pread`, never mapped and never spliced: a truncation would turn mapped
//! pages into a crash and spliced pages into zeros. Truncating also zeroes the rest of a partly cut
//! page in place. So before and after every read the file is compared with what it was when it was
//! opened (`Extent`):
//!
//! 1. A size below what is to be sent is an error.
//! 2. Fewer allocated blocks, on a file that was changed, are an error: it was cut and grew again,
//!    or a hole was punched into it. Blocks beyond what the bytes need do not count, for a file
//!    system may reserve some and take them back.
//! 3. A read in which the change time moved is repeated a few times, so that what it brought is
//!    what the comparisons saw.
//!
//! What is overwritten, or appended, is a warning at the end. A cut and regrowth that keeps the
//! blocks cannot be told from that: one within a single block, one that is filled again between two
//! looks, or one on a file system that does not count blocks. On one that compresses, overwriting
//! with less may look like a cut.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::FsWord;
use rustix::io::Errno;
use sealift::Lease;

use super::descriptor;
use super::patience::poll_for;
use crate::failure::{Action, Failure};

/// What a pipe is asked to hold, so that it is read in large pieces.
const PIPE_BYTES: usize = 1 << 20;
/// The unit of `st_blocks`, whatever the file system's own is (stat(2)).
const BLOCK_BYTES: u64 = 512;
/// The file systems whose files the kernel makes up as they are read (linux/magic.h): proc, sysfs,
/// cgroup, cgroup2, debugfs, tracefs, securityfs, configfs, bpf, selinuxfs, smackfs, binfmt_misc,
/// resctrl.
const KERNEL_FILES: [FsWord; 13] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0x6265_6570,
    0xcafe_4a11,
    0xf97c_ff8c,
    0x4341_5d53,
    0x4249_4e4d,
    0x0765_5821,
];
/// How often bytes are read that somebody changes meanwhile.
const READS_MAX: usize = 4;

/// An open source.
#[derive(Debug)]
pub(crate) struct Source {
    file: File,
    name: String,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    /// Bytes `next..end` of the file are still to be read. A device has no extent.
    Sized { start: u64, next: u64, end: u64, opened: Option<Extent> },
    /// Read until it ends.
    Stream,
    /// A stream that ended. A terminal or a named pipe would begin anew if it were read again.
    Ended,
}

/// Whether a stream has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// A read brings bytes or the end.
    Ready,
    /// Nothing came in time.
    Silent,
    /// The socket that it was to be sent to failed meanwhile.
    PeerFailed,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing yet, though it looked as if: another reader was faster, or a poll reported an error.
    Nothing,
    /// There is no more.
    End,
}

impl Source {
    /// Opens `path`, `-` for standard input, and finds out what it is.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let is_stdin = path.as_os_str() == "-";
        let name = if is_stdin { "standard input".into() } else { path.display().to_string() };
        let open_failed = |error: io::Error| Failure::system(Action::Open, &name, error);
        let opened = match descriptor::named(path) {
            _ if is_stdin => descriptor::share(0),
            // Opened anew from its start, but not if it was closed.
            Some(number @ 0..=2) => descriptor::share(number).and_then(|_| File::open(path)),
            _ => File::open(path),
        };
        let mut file = opened.map_err(open_failed)?;
        let metadata = file.metadata().map_err(open_failed)?;
        if metadata.is_dir() {
            return Err(Failure::Directory { action: Action::Open, name });
        }
        let shape = Shape::of(&mut file, &metadata).map_err(open_failed)?;
        match shape {
            Shape::Sized { .. } => {
                // Advice that a file system does not take is no loss.
                let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential);
            }
            Shape::Stream | Shape::Ended => {
                let _ = rustix::pipe::fcntl_setpipe_size(&file, PIPE_BYTES);
            }
        }
        let source = Self { file, name, shape };
        tracing::debug!(name = source.name, bytes = source.size(), "source");
        Ok(source)
    }

    /// The name for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The bytes that there are to send, where that is known.
    pub(crate) fn size(&self) -> Option<u64> {
        match self.shape {
            Shape::Sized { start, end, .. } => Some(end - start),
            Shape::Stream | Shape::Ended => None,
        }
    }

    /// Waits until there is something to read, at most for `time`; tells if `socket` failed.
    pub(crate) fn ready(
        &self,
        socket: BorrowedFd<'_>,
        time: Duration,
    ) -> Result<Readiness, Failure> {
        if !matches!(self.shape, Shape::Stream) {
            return Ok(Readiness::Ready);
        }
        let mut polled = [
            PollFd::new(&self.file, PollFlags::IN),
            // Errors are always reported.
            PollFd::from_borrowed_fd(socket, PollFlags::empty()),
        ];
        poll_for(&mut polled, time).map_err(|errno| self.failed(errno))?;
        Ok(match (polled[0].revents().is_empty(), polled[1].revents().is_empty()) {
            (false, _) => Readiness::Ready,
            (true, false) => Readiness::PeerFailed,
            (true, true) => Readiness::Silent,
        })
    }

    /// Fills the lease with the next bytes. A stream gives what it has, without waiting for more.
    pub(crate) fn fill(&mut self, lease: &mut Lease) -> Result<Filled, Failure> {
        match self.shape {
            Shape::Sized { next, end, .. } if next == end => Ok(Filled::End),
            Shape::Sized { next, end, .. } => {
                let wanted = (end - next).min(lease.capacity() as u64) as usize;
                self.fill_at(lease, next, end, wanted)
            }
            Shape::Stream => self.fill_stream(lease),
            Shape::Ended => Ok(Filled::End),
        }
    }

    fn fill_at(
        &mut self,
        lease: &mut Lease,
        at: u64,
        end: u64,
        wanted: usize,
    ) -> Result<Filled, Failure> {
        let mut before = self.extent(end)?;
        for _ in 0..READS_MAX {
            self.read_at(&mut lease.frame_mut()[..wanted], at, end)?;
            let after = self.extent(end)?;
            if after.changed == before.changed {
                break;
            }
            before = after;
        }
        lease.set_len(wanted);
        if let Shape::Sized { next, .. } = &mut self.shape {
            *next += wanted as u64;
        }
        Ok(Filled::Bytes(wanted))
    }

    fn read_at(&self, room: &mut [u8], at: u64, end: u64) -> Result<(), Failure> {
        let mut filled = 0;
        while filled < room.len() {
            match self.file.read_at(&mut room[filled..], at + filled as u64) {
                Ok(0) => return Err(self.cut_short(at + filled as u64, end)),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(())
    }

    /// What the file is now.
    ///
    /// # Errors
    /// [`Failure::Shrank`] if it is less than it was.
    fn extent(&self, end: u64) -> Result<Extent, Failure> {
        let metadata = self.file.metadata().map_err(|error| self.failed(error))?;
        let now = Extent::of(&metadata);
        let Shape::Sized { opened: Some(opened), .. } = &self.shape else { return Ok(now) };
        match now.shrunk_from(opened, end) {
            Some(found) => Err(Failure::Shrank { name: self.name.clone(), expected: end, found }),
            None => Ok(now),
        }
    }

    fn cut_short(&self, found: u64, expected: u64) -> Failure {
        let name = self.name.clone();
        match self.file.metadata() {
            Ok(metadata) if metadata.is_file() && metadata.len() < expected => {
                Failure::Shrank { name, expected, found: metadata.len() }
            }
            _ => Failure::EndedEarly { name, expected, found },
        }
    }

    fn fill_stream(&mut self, lease: &mut Lease) -> Result<Filled, Failure> {
        lease.set_len(0);
        let found = loop {
            match self.file.read(lease.spare_mut()) {
                Ok(0) => {
                    self.shape = Shape::Ended;
                    break Filled::End;
                }
                Ok(count) => lease.set_len(lease.len() + count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // A source that does not block was empty after all.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Filled::Nothing,
                Err(error) => return Err(self.failed(error)),
            }
            if lease.len() == lease.capacity() || !self.has_more()? {
                break Filled::Nothing;
            }
        };
        // What came before goes out first.
        Ok(if lease.is_empty() { found } else { Filled::Bytes(lease.len()) })
    }

    fn has_more(&self) -> Result<bool, Failure> {
        let mut polled = [PollFd::new(&self.file, PollFlags::IN)];
        poll_for(&mut polled, Duration::ZERO).map_err(|errno| self.failed(errno))?;
        Ok(polled[0].revents().contains(PollFlags::IN))
    }

    /// Whether the file was written to since it was opened.
    pub(crate) fn was_written(&self) -> bool {
        match (&self.shape, self.file.metadata()) {
            (Shape::Sized { opened: Some(opened), .. }, Ok(now)) => {
                opened.written != Extent::of(&now).written
            }
            _ => false,
        }
    }

    fn failed(&self, error: impl Into<io::Error>) -> Failure {
        let error = error.into();
        if Errno::from_io_error(&error) == Some(Errno::ISDIR) {
            return Failure::Directory { action: Action::Read, name: self.name.clone() };
        }
        Failure::system(Action::Read, &self.name, error)
    }
}

impl Shape {
    fn of(file: &mut File, metadata: &Metadata) -> io::Result<Self> {
        let kind = metadata.file_type();
        // Where standard input was redirected from a file, what was read of it before is not sent.
        let start = file.stream_position().unwrap_or(0);
        let end = if kind.is_block_device() {
            let end = file.seek(SeekFrom::End(0))?;
            file.seek(SeekFrom::Start(start))?;
            end
        } else {
            metadata.len()
        };
        let has_size = kind.is_file() && (end > 0 || is_empty(file)?);
        if has_size || kind.is_block_device() {
            let opened = kind.is_file().then(|| Extent::of(metadata));
            return Ok(Self::Sized { start, next: start, end: end.max(start), opened });
        }
        Ok(Self::Stream)
    }
}

/// Whether a file of size 0 has nothing in it. The kernel's own files, as those of /proc, have no
/// size but content, and reading some of them takes it away. On other file systems, as those of
/// FUSE, a glance tells.
fn is_empty(file: &File) -> io::Result<bool> {
    if KERNEL_FILES.contains(&rustix::fs::fstatfs(file)?.f_type) {
        return Ok(false);
    }
    match file.read_at(&mut [0], 0) {
        Ok(0) => Ok(true),
        // With a size by now it was appended since the file was opened.
        Ok(_) => Ok(file.metadata()?.len() > 0),
        // Reading it in order will tell what is wrong, if that does not work either.
        Err(_) => Ok(false),
    }
}

/// How much of a file there is, and when that changed, to the nanosecond.
#[derive(Clone, Copy, Debug)]
struct Extent {
    len: u64,
    allocated_bytes: u64,
    /// The time of the last write, which anybody can set.
    written: (i64, i64),
    /// The time of the last change of any kind, which nobody can.
    changed: (i64, i64),
}

impl Extent {
    fn of(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            allocated_bytes: metadata.blocks() * BLOCK_BYTES,
            written: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// How much is left, if that is less than bytes `0..end` had when they were `opened`.
    fn shrunk_from(&self, opened: &Self, end: u64) -> Option<u64> {
        if self.len < end {
            return Some(self.len);
        }
        let needed = opened.allocated_bytes.min(end);
        let lost = self.changed != opened.changed && self.allocated_bytes < needed;
        lost.then_some(self.allocated_bytes)
    }
}
