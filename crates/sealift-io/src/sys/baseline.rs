//! System calls of the bench's bare loops, on memory that lives for ever.
//!
//! The loops have no pool and no leases, so their soundness rests on this instead:
//!
//! 1. **It stays.** Whatever the kernel is told to read is a `&'static [u8]`: it is never unmapped,
//!    however late the kernel reads it.
//! 2. **Nobody writes it.** It is behind a shared reference without interior mutability.
//! 3. **A ring reads nothing else.** A [`Request`] is made from such memory only, and a [`Port`]
//!    pushes nothing but requests.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::OnceLock;
use std::{ptr, slice};

use io_uring::cqueue::{self, CompletionQueue};
use io_uring::squeue::{self, SubmissionQueue};
use io_uring::types::{Fixed, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Submitter, opcode};

use crate::error::{Errno, Error, Result};

/// The size of a huge page, and so the most that one message of the bare loops can carry.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 2 << 20;

/// `MSG_ZEROCOPY` of `linux/socket.h`.
pub(crate) const MSG_ZEROCOPY: u32 = 0x0400_0000;

/// `IORING_SEND_ZC_REPORT_USAGE`: the notification says whether the kernel copied.
const REPORT_USAGE: u16 = 1 << 3;
/// `IORING_NOTIF_USAGE_ZC_COPIED`, bit 31 of a notification's result.
const USAGE_COPIED: u32 = 1 << 31;
/// `SO_EE_ORIGIN_ZEROCOPY` of `linux/errqueue.h`.
const ORIGIN_ZEROCOPY: u8 = 5;
/// `SO_EE_CODE_ZEROCOPY_COPIED` of `linux/errqueue.h`.
const CODE_COPIED: u8 = 1;

/// The first `len_bytes` of one page-aligned mapping that is made once and never unmapped.
pub(crate) fn payload(len_bytes: usize) -> Result<&'static [u8]> {
    static MAPPING: OnceLock<std::result::Result<&'static [u8], Errno>> = OnceLock::new();
    let all = MAPPING.get_or_init(map_payload).map_err(|errno| Error::from_call("mmap", errno))?;
    all.get(..len_bytes)
        .filter(|part| !part.is_empty())
        .ok_or(Error::Caller { what: "a payload must have 1 byte to 2 MiB" })
}

/// Maps one huge page's worth of memory, on a huge page where the system gives one, and fills it.
fn map_payload() -> std::result::Result<&'static [u8], Errno> {
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new private mapping at an address of the kernel's choice touches nothing of ours.
    let start =
        unsafe { libc::mmap(ptr::null_mut(), 2 * PAYLOAD_BYTES_MAX, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    let aligned = start.cast::<u8>().wrapping_add(start.align_offset(PAYLOAD_BYTES_MAX));
    // SAFETY: twice the size was mapped, so an aligned half lies within it. The advice changes no
    // contents; that it may fail is fine. The mapping is fresh and ours alone, so it can be filled
    // through a unique slice, which ends before the shared one begins. It is never unmapped (1),
    // and the address is kept nowhere else, so nobody writes it from here on (2).
    let payload: &'static [u8] = unsafe {
        libc::madvise(aligned.cast(), PAYLOAD_BYTES_MAX, libc::MADV_HUGEPAGE);
        for (index, byte) in
            slice::from_raw_parts_mut(aligned, PAYLOAD_BYTES_MAX).iter_mut().enumerate()
        {
            *byte = b'a' + (index % 26) as u8;
        }
        slice::from_raw_parts(aligned, PAYLOAD_BYTES_MAX)
    };
    Ok(payload)
}

/// Sets an integer option of a socket.
pub(crate) fn set_option(
    socket: BorrowedFd<'_>,
    level: i32,
    option: i32,
    value: i32,
) -> Result<()> {
    // SAFETY: the kernel reads the four bytes of `value` during the call and keeps no pointer.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(&value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if answer == 0 { Ok(()) } else { Err(Error::from_call("setsockopt", Errno::last())) }
}

/// Sends that the error queue says are released: an inclusive range of the socket's counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Released {
    /// How many sends.
    pub(crate) sends: u64,
    /// Whether the kernel copied (of a merged range: its first part).
    pub(crate) copied: bool,
}

/// Takes one notification from the error queue of `socket`, if there is one.
pub(crate) fn read_released(socket: BorrowedFd<'_>) -> Result<Option<Released>> {
    const CALL: &str = "recvmsg(MSG_ERRQUEUE)";
    // A control message is a header of 16 bytes, a `sock_extended_err` and an address.
    let mut control = [0_u64; 16];
    // SAFETY: all zeroes is a valid `msghdr`: no name, no data, no control buffer.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: `message` points at `control`, which is that long, aligned, and outlives the call.
    let answer = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_ERRQUEUE) };
    if answer < 0 {
        return match Errno::last() {
            errno if errno.raw() == libc::EAGAIN => Ok(None),
            errno => Err(Error::from_call(CALL, errno)),
        };
    }
    // SAFETY: the kernel wrote `msg_controllen` bytes of control messages into `control`, which is
    // aligned for a header. A returned header lies within them, and its payload is read unaligned
    // only after its length was checked to cover the structure.
    let error: libc::sock_extended_err = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        let least = libc::CMSG_LEN(size_of::<libc::sock_extended_err>() as u32) as usize;
        if header.is_null() || ((*header).cmsg_len as usize) < least {
            return Err(Error::from_call(CALL, Errno::from_raw(libc::EPROTO)));
        }
        ptr::read_unaligned(libc::CMSG_DATA(header).cast())
    };
    if error.ee_origin != ORIGIN_ZEROCOPY {
        return Err(Error::from_call(CALL, Errno::from_raw(error.ee_errno as i32)));
    }
    let sends = u64::from(error.ee_data.wrapping_sub(error.ee_info)) + 1;
    Ok(Some(Released { sends, copied: error.ee_code & CODE_COPIED != 0 }))
}

/// One send of memory that lives for ever, ready to be pushed any number of times.
pub(crate) struct Request(squeue::Entry);

impl Request {
    /// A plain send on the ring's socket.
    pub(crate) fn copying(payload: &'static [u8]) -> Self {
        let send = opcode::Send::new(Fixed(0), payload.as_ptr(), payload.len() as u32);
        Self(send.build())
    }

    /// A zero-copy send on the ring's socket, of its registered buffer if `registered`.
    pub(crate) fn zero_copy(payload: &'static [u8], registered: bool) -> Self {
        let send = opcode::SendZc::new(Fixed(0), payload.as_ptr(), payload.len() as u32)
            .buf_index(registered.then_some(0))
            .flags(libc::MSG_WAITALL)
            .zc_flags(REPORT_USAGE);
        Self(send.build())
    }
}

/// What a completion says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The send ended; `holds` says that its memory is still in use and `Released` will follow.
    Sent {
        /// Bytes sent, or the negated error number.
        result: i32,
        /// Whether the kernel still holds the memory.
        holds: bool,
    },
    /// The kernel let go of the memory of one send.
    Released {
        /// Whether it had copied.
        copied: bool,
    },
}

impl Event {
    fn of(entry: &cqueue::Entry) -> Self {
        if cqueue::notif(entry.flags()) {
            Self::Released { copied: entry.result() as u32 & USAGE_COPIED != 0 }
        } else {
            Self::Sent { result: entry.result(), holds: cqueue::more(entry.flags()) }
        }
    }
}

/// How a ring is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    /// Submissions that fit in at once.
    pub(crate) entries: u32,
    /// Completion work is left until this thread asks (`DEFER_TASKRUN`).
    pub(crate) deferred: bool,
}

/// An io_uring with one registered socket and at most one registered buffer.
pub(crate) struct Ring(IoUring);

impl Ring {
    /// A ring that sends on `socket`, from `buffer` if that is to be registered.
    pub(crate) fn new(
        setup: Setup,
        socket: BorrowedFd<'_>,
        buffer: Option<&'static [u8]>,
    ) -> Result<Self> {
        let sized = |call| move |error: std::io::Error| system(call, &error);
        let ring = build(setup).map_err(sized("io_uring_setup"))?;
        let submitter = ring.submitter();
        submitter
            .register_files(&[socket.as_raw_fd()])
            .map_err(sized("io_uring_register(files)"))?;
        if let Some(buffer) = buffer {
            let part =
                libc::iovec { iov_base: buffer.as_ptr().cast_mut().cast(), iov_len: buffer.len() };
            // SAFETY: the buffer stays mapped for ever (1); the ring's requests only read it (3).
            unsafe { submitter.register_buffers(&[part]) }
                .map_err(sized("io_uring_register(buffers)"))?;
        }
        Ok(Self(ring))
    }

    /// The ring's queues, with its descriptor registered for this thread while they are borrowed.
    pub(crate) fn port(&mut self) -> Result<Port<'_>> {
        let (mut submitter, submissions, completions) = self.0.split();
        submitter
            .register_ring_fd()
            .map_err(|error| system("io_uring_register(ring fd)", &error))?;
        Ok(Port { submitter, submissions, completions })
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // A ring ends later than its drop; its hold on the socket and on the locked-memory budget
        // should not. What is still in flight keeps its own hold. Failing here changes nothing.
        let _ = self.0.submitter().unregister_files();
        let _ = self.0.submitter().unregister_buffers();
    }
}

/// A ring without the indirection array (`NO_SQARRAY`) where the kernel can do without, as liburing
/// makes it.
fn build(setup: Setup) -> std::io::Result<IoUring> {
    let build = |no_array: bool| {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(setup.entries * 4).setup_single_issuer().setup_coop_taskrun();
        if setup.deferred {
            builder.setup_defer_taskrun();
        }
        if no_array {
            builder.setup_no_sqarray();
        }
        builder.build(setup.entries)
    };
    match build(true) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => build(false),
        built => built,
    }
}

fn system(call: &'static str, error: &std::io::Error) -> Error {
    Error::from_call(call, Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}

/// The two queues of a ring and the way into the kernel.
pub(crate) struct Port<'ring> {
    submitter: Submitter<'ring>,
    submissions: SubmissionQueue<'ring>,
    completions: CompletionQueue<'ring>,
}

impl Port<'_> {
    /// Queues `request` `count` times.
    pub(crate) fn push(&mut self, request: &Request, count: u32) -> Result<()> {
        for _ in 0..count {
            // SAFETY: a request reads memory that lives for ever and that nobody writes (1 to 3).
            unsafe { self.submissions.push(&request.0) }.map_err(|_| Error::Full)?;
        }
        self.submissions.sync();
        Ok(())
    }

    /// Hands the queue over. With `events`, also runs what the kernel deferred for this thread, and
    /// waits until `least` completions are there.
    pub(crate) fn submit(&mut self, events: bool, least: u32) -> Result<()> {
        let flags = if events { EnterFlags::GETEVENTS } else { EnterFlags::empty() };
        let count = self.submissions.len() as u32;
        // SAFETY: no argument structure is passed; the flags and counts cannot break memory.
        let entered =
            unsafe { self.submitter.enter::<libc::sigset_t>(count, least, flags.bits(), None) };
        self.submissions.sync();
        match entered {
            Ok(_) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => Ok(()),
            Err(error) => Err(system("io_uring_enter", &error)),
        }
    }

    /// Waits for one completion, at most `milliseconds`.
    pub(crate) fn wait(&mut self, milliseconds: u32) -> Result<()> {
        let limit = Timespec::new()
            .sec(u64::from(milliseconds / 1000))
            .nsec(milliseconds % 1000 * 1_000_000);
        match self.submitter.submit_with_args(1, &SubmitArgs::new().timespec(&limit)) {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR)) => {
                Err(system("io_uring_enter", &error))
            }
            _ => Ok(()),
        }
    }

    /// Takes every completion that is there; says how many there were.
    pub(crate) fn reap(&mut self, mut each: impl FnMut(Event)) -> usize {
        self.completions.sync();
        let mut count = 0;
        for entry in &mut self.completions {
            each(Event::of(&entry));
            count += 1;
        }
        self.completions.sync();
        count
    }
}

impl Drop for Port<'_> {
    fn drop(&mut self) {
        // A thread has 16 places for ring descriptors; a port gives its place back.
        let _ = self.submitter.unregister_ring_fd();
    }
}
