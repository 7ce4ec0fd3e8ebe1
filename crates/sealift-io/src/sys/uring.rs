//! One io_uring instance for sends: requests in, raw answers out.
//!
//! Invariants:
//! 1. The memory of a request is held by its sender until its last completion was seen (machine
//!    invariant 3). Message headers, vectors, addresses and control data are needed by the kernel
//!    only until it took the entry (`IORING_FEAT_SUBMIT_STABLE`, required); they live in `scratch`,
//!    one per entry of the submission queue, and are not touched while entries wait there.
//! 2. Registered arenas stay mapped while they are registered: `arenas` holds them.
//! 3. No more requests are in flight than half the completion queue has room for, so the queue
//!    cannot overflow: a request has at most two completions.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use io_uring::{IoUring, opcode, squeue, types};

use crate::error::{Errno, Error, Result};
use crate::pool::Arena;

use super::address::RawAddress;
use super::control::SegmentControl;
use super::{Part, Region};

/// `IORING_RECVSEND_FIXED_BUF`.
const FIXED_BUF: u16 = 1 << 2;
/// `IORING_SEND_ZC_REPORT_USAGE`.
const REPORT_USAGE: u16 = 1 << 3;
/// Where `struct io_uring_sqe` (`linux/io_uring.h`) has its `buf_index`.
const SQE_BUF_INDEX_AT: usize = 40;
/// The most memory that one registered buffer covers.
const CHUNK_BYTES: usize = 1 << 30;

/// A completion as the kernel wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawAnswer {
    pub(crate) user_data: u64,
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

/// A send to put on the submission queue.
pub(crate) struct SendEntry {
    /// The index in the table of registered files.
    pub(crate) file: u32,
    pub(crate) zero_copy: bool,
    pub(crate) flags: i32,
    /// A stream's packets stay with the socket until they are acknowledged, at what the kernel
    /// charges for them: out of a registered huge page, all that lies before their bytes in it as
    /// well (`io_sg_from_iter`, `io_uring/net.c`). Such memory is looked up for each send instead.
    pub(crate) stream: bool,
    pub(crate) to: Option<SocketAddr>,
    pub(crate) segment_bytes: Option<u16>,
    pub(crate) user_data: u64,
}

struct Scratch {
    header: libc::msghdr,
    vectors: Vec<libc::iovec>,
    address: RawAddress,
    segment: SegmentControl,
}

pub(crate) struct Uring {
    ring: IoUring,
    scratch: Box<[Scratch]>,
    /// Entries on the submission queue that the kernel has not taken.
    waiting: usize,
    /// The next scratch to use; starts over only when no entry waits.
    next_scratch: usize,
    arenas: Arenas,
    /// Whether messages of several regions can be sent out of registered memory.
    fixed_messages: bool,
}

#[derive(Default)]
struct Arenas(Vec<RegisteredArena>);

struct RegisteredArena {
    arena: Arc<Arena>,
    first_buffer: u16,
    huge: bool,
}

// SAFETY: the raw pointers in `scratch` point into `scratch` itself and to buffers that are held
// elsewhere (invariant 1); they are used by whoever has `&mut` only.
unsafe impl Send for Uring {}

impl Uring {
    /// Sets up a ring with `entries` submissions and room for `requests` sends in flight.
    pub(crate) fn new(
        entries: u32,
        requests: u32,
        files: u32,
        fixed_messages: bool,
    ) -> Result<Self> {
        let system = |call| {
            move |error: std::io::Error| Error::System {
                call,
                errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EINVAL)),
            }
        };
        let mut builder = IoUring::builder();
        builder.dontfork().setup_cqsize(requests * 2).setup_submit_all();
        builder.setup_coop_taskrun().setup_taskrun_flag();
        let plain = builder.clone();
        // Without the array of indexes (6.6) the kernel reads one word less per entry.
        let ring = builder
            .setup_no_sqarray()
            .build(entries)
            .or_else(|_| plain.build(entries))
            .map_err(system("io_uring_setup"))?;
        if !ring.params().is_feature_submit_stable() || !ring.params().is_feature_nodrop() {
            return Err(Error::System {
                call: "io_uring_setup",
                errno: Errno::from_raw(libc::EOPNOTSUPP),
            });
        }
        ring.submitter().register_files_sparse(files).map_err(system("io_uring_register"))?;
        let scratch = (0..ring.params().sq_entries()).map(|_| Scratch::new()).collect();
        Ok(Self {
            ring,
            scratch,
            waiting: 0,
            next_scratch: 0,
            arenas: Arenas::default(),
            fixed_messages,
        })
    }

    /// Registers the memory of pools, all at once; may be called once.
    pub(crate) fn register_arenas(&mut self, arenas: Vec<Arc<Arena>>) -> Result<()> {
        let mut buffers = Vec::new();
        let mut registered = Vec::new();
        for arena in arenas {
            let (base, len) = arena.extent();
            let first_buffer = buffers.len() as u16;
            for start in (0..len).step_by(CHUNK_BYTES) {
                let chunk = Region::new(base.wrapping_add(start), CHUNK_BYTES.min(len - start));
                buffers.push(chunk.io_vector());
            }
            let huge = arena.pages().is_huge();
            registered.push(RegisteredArena { arena, first_buffer, huge });
        }
        // SAFETY: the vectors cover mapped arenas, which `arenas` keeps mapped (invariant 2).
        let outcome = unsafe { self.ring.submitter().register_buffers(&buffers) };
        outcome.map_err(|error| Error::System {
            call: "io_uring_register",
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EINVAL)),
        })?;
        self.arenas = Arenas(registered);
        Ok(())
    }

    /// Puts a socket into the table of registered files, or takes it out.
    pub(crate) fn register_file(
        &mut self,
        index: u32,
        socket: Option<BorrowedFd<'_>>,
    ) -> Result<()> {
        let descriptor = socket.map_or(-1, |socket| socket.as_raw_fd());
        let outcome = self.ring.submitter().register_files_update(index, &[descriptor]);
        outcome.map(|_| ()).map_err(|error| Error::System {
            call: "io_uring_register",
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EINVAL)),
        })
    }

    /// Whether another entry fits on the submission queue.
    pub(crate) fn has_room(&self) -> bool {
        self.next_scratch < self.scratch.len()
    }

    /// Whether entries wait that the kernel did not take (`EAGAIN`, `EBUSY`).
    pub(crate) fn has_backlog(&self) -> bool {
        self.waiting > 0
    }

    /// Puts a send on the queue; `false` if it is full.
    pub(crate) fn push_send<'p>(
        &mut self,
        send: &SendEntry,
        parts: impl Iterator<Item = Part<'p>>,
    ) -> bool {
        let Some(scratch) = self.scratch.get_mut(self.next_scratch) else { return false };
        let buffer = scratch.gather(parts, &self.arenas, send.stream);
        let entry = match scratch.lone_vector(send) {
            Some(vector) => scratch.send_entry(send, vector, buffer),
            None => scratch.message_entry(send, buffer.filter(|_| self.fixed_messages)),
        };
        self.push(&entry.user_data(send.user_data))
    }

    fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: what the entry points to outlives the kernel's use of it (invariant 1).
        let pushed = unsafe { self.ring.submission().push(entry) }.is_ok();
        self.waiting += usize::from(pushed);
        self.next_scratch += usize::from(pushed);
        pushed
    }

    /// Hands what is on the queue to the kernel, or lets it post what it holds back. Returns
    /// whether a system call was made.
    pub(crate) fn submit(&mut self) -> Result<bool> {
        let mut submission = self.ring.submission();
        submission.sync();
        if submission.is_empty() && !submission.taskrun() && !submission.cq_overflow() {
            return Ok(false);
        }
        drop(submission);
        let outcome = if self.waiting == 0 {
            // SAFETY: no argument is passed; GETEVENTS with nothing to wait for runs task work.
            unsafe { self.ring.submitter().enter::<()>(0, 0, 1, None) }
        } else {
            self.ring.submitter().submit()
        };
        self.waiting = self.ring.submission().len();
        if self.waiting == 0 {
            self.next_scratch = 0;
        }
        match outcome.map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL)) {
            Ok(_) => Ok(true),
            // The entries stay on the queue and go with the next call.
            Err(libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(true),
            Err(raw) => Err(Error::System { call: "io_uring_enter", errno: Errno::from_raw(raw) }),
        }
    }

    /// Takes all completions that are there.
    pub(crate) fn reap(&mut self, mut take: impl FnMut(RawAnswer)) {
        let mut completion = self.ring.completion();
        for entry in &mut completion {
            take(RawAnswer {
                user_data: entry.user_data(),
                result: entry.result(),
                flags: entry.flags(),
            });
        }
    }
}

impl Arenas {
    /// The registered buffer that holds a stretch of memory, if it suits the socket.
    fn buffer_of(&self, part: Part<'_>, stream: bool) -> Option<u16> {
        let arena = part.arena?;
        let is_its = |entry: &&RegisteredArena| std::ptr::eq(Arc::as_ptr(&entry.arena), arena);
        let registered = self.0.iter().find(is_its)?;
        if stream && registered.huge {
            return None;
        }
        let (base, _) = arena.extent();
        let start = (part.region.base() as usize).checked_sub(base as usize)?;
        let (chunk, end) = (start / CHUNK_BYTES, (start + part.region.len()).saturating_sub(1));
        (end / CHUNK_BYTES == chunk).then_some(registered.first_buffer + chunk as u16)
    }
}

impl AsFd for Uring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as the ring, which `self` owns.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }
}

impl Scratch {
    fn new() -> Self {
        Self {
            // SAFETY: an all-zero msghdr is a valid one with nothing in it.
            header: unsafe { std::mem::zeroed() },
            vectors: Vec::with_capacity(64),
            address: RawAddress::empty(),
            segment: SegmentControl::default(),
        }
    }

    /// Takes the regions of a request; the registered buffer that holds them all, if one does.
    fn gather<'p>(
        &mut self,
        parts: impl Iterator<Item = Part<'p>>,
        arenas: &Arenas,
        stream: bool,
    ) -> Option<u16> {
        self.vectors.clear();
        let mut common = None;
        for part in parts {
            let own = arenas.buffer_of(part, stream);
            common = if self.vectors.is_empty() { own } else { common.filter(|_| own == common) };
            self.vectors.push(part.region.io_vector());
        }
        common
    }

    /// The one region of a request that needs no message header.
    fn lone_vector(&self, send: &SendEntry) -> Option<libc::iovec> {
        match (&self.vectors[..], send.segment_bytes) {
            ([vector], None) if u32::try_from(vector.iov_len).is_ok() => Some(*vector),
            _ => None,
        }
    }

    fn send_entry(
        &mut self,
        send: &SendEntry,
        vector: libc::iovec,
        buffer: Option<u16>,
    ) -> squeue::Entry {
        let (base, len) = (vector.iov_base.cast_const().cast(), vector.iov_len as u32);
        let file = types::Fixed(send.file);
        let (to, to_len): (*const libc::sockaddr, u32) = match send.to {
            Some(to) => {
                self.address = RawAddress::new(to);
                (self.address.as_ptr().cast(), self.address.len())
            }
            None => (std::ptr::null(), 0),
        };
        if send.zero_copy {
            opcode::SendZc::new(file, base, len)
                .buf_index(buffer)
                .dest_addr(to)
                .dest_addr_len(to_len)
                .flags(send.flags)
                .zc_flags(REPORT_USAGE)
                .build()
        } else {
            opcode::Send::new(file, base, len)
                .dest_addr(to)
                .dest_addr_len(to_len)
                .flags(send.flags)
                .build()
        }
    }

    fn message_entry(&mut self, send: &SendEntry, buffer: Option<u16>) -> squeue::Entry {
        // SAFETY: an all-zero msghdr is a valid one with nothing in it.
        self.header = unsafe { std::mem::zeroed() };
        if let Some(to) = send.to {
            self.address = RawAddress::new(to);
            self.header.msg_name = self.address.as_mut_ptr().cast();
            self.header.msg_namelen = self.address.len();
        }
        if let Some(bytes) = send.segment_bytes {
            self.segment = SegmentControl::new(bytes);
            self.header.msg_control = std::ptr::from_mut(&mut self.segment).cast();
            self.header.msg_controllen = size_of::<SegmentControl>();
        }
        self.header.msg_iov = self.vectors.as_mut_ptr();
        self.header.msg_iovlen = self.vectors.len();
        let file = types::Fixed(send.file);
        let flags = send.flags as u32;
        if !send.zero_copy {
            return opcode::SendMsg::new(file, &self.header).flags(flags).build();
        }
        let fixed = if buffer.is_some() { FIXED_BUF } else { 0 };
        let entry =
            opcode::SendMsgZc::new(file, &self.header).ioprio(REPORT_USAGE | fixed).flags(flags);
        with_buffer(entry.build(), buffer)
    }
}

/// Names the registered buffer in an entry; the crate has no setter for it on `SENDMSG_ZC`.
fn with_buffer(mut entry: squeue::Entry, buffer: Option<u16>) -> squeue::Entry {
    const { assert!(size_of::<squeue::Entry>() == 64) };
    if let Some(index) = buffer {
        let at = std::ptr::from_mut(&mut entry).cast::<u8>().wrapping_add(SQE_BUF_INDEX_AT);
        // SAFETY: an entry is the 64 bytes of struct io_uring_sqe (asserted), which has a u16
        // there that any value suits.
        unsafe { at.cast::<u16>().write(index) };
    }
    entry
}
