//! What the running kernel's io_uring answers when asked: raw outcomes, judged in `probe::ring`.
//!
//! Each request goes to a UDP socket without a destination, so that nothing is ever sent: a flag
//! that the kernel does not know is rejected with `EINVAL` while the request is prepared, a known
//! one gets as far as the socket, which answers `EDESTADDRREQ`.
//!
//! Invariants:
//! 1. Memory named by a request belongs to `Probing` and lives until its last completion.
//! 2. A `Probing` with a request in flight is leaked when dropped, never freed.

use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::{IoUring, cqueue, opcode, register, squeue, types};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use crate::error::Errno;

/// What a request or a system call gave: its result, or the kernel's error number.
pub(crate) type Outcome = Result<u32, Errno>;

/// `IORING_SEND_ZC_REPORT_USAGE`: the notification says whether the kernel copied.
const SEND_ZC_REPORT_USAGE: u16 = 1 << 3;
/// `IORING_RECVSEND_FIXED_BUF`: the payload lies in a registered buffer.
const RECVSEND_FIXED_BUF: u16 = 1 << 2;
/// `IORING_SEND_VECTORIZED`: the address names an array of `iovec`.
const SEND_VECTORIZED: u16 = 1 << 5;

const PAYLOAD_BYTES: usize = 4096;
const SEND_BYTES: usize = 8;
const WAIT_AT_MOST: Duration = Duration::from_secs(2);

/// How a ring is set up, for [`setup`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Setup {
    Plain,
    CoopTaskrun,
    SingleIssuer,
    DeferTaskrun,
}

/// The ways to send that are asked for, for [`RingProbe::send`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    Send,
    SendReportUsage,
    SendFixed,
    SendVectorized,
    Message,
    MessageFixed,
}

/// Whether a ring can be set up in this way.
pub(crate) fn setup(how: Setup) -> Outcome {
    build(how).map(|_| 0)
}

fn build(how: Setup) -> Result<IoUring, Errno> {
    let mut builder = IoUring::builder();
    match how {
        Setup::Plain => {}
        Setup::CoopTaskrun => _ = builder.setup_coop_taskrun(),
        Setup::SingleIssuer => _ = builder.setup_single_issuer(),
        Setup::DeferTaskrun => _ = builder.setup_single_issuer().setup_defer_taskrun(),
    }
    builder.build(4).map_err(|error| errno_of(&error))
}

/// A small ring of its own, a socket that goes nowhere, and the memory that requests name.
pub(crate) struct RingProbe {
    probing: ManuallyDrop<Box<Probing>>,
    in_flight: bool,
}

struct Probing {
    ring: IoUring,
    operations: register::Probe,
    socket: Option<OwnedFd>,
    payload: Box<[u8; PAYLOAD_BYTES]>,
    vector: libc::iovec,
    message: libc::msghdr,
}

impl RingProbe {
    /// Sets a ring up and asks it which operations it has.
    pub(crate) fn open() -> Result<Self, Errno> {
        let ring = build(Setup::Plain)?;
        let mut operations = register::Probe::new();
        // A kernel before 5.6 cannot be asked; then every operation counts as missing.
        _ = ring.submitter().register_probe(&mut operations);
        let mut payload = Box::new([0u8; PAYLOAD_BYTES]);
        let vector = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: SEND_BYTES };
        // SAFETY: `msghdr` is plain integers and pointers; all zeroes is an empty message.
        let message = unsafe { std::mem::zeroed() };
        let socket = unconnected_udp();
        let mut probing = Box::new(Probing { ring, operations, socket, payload, vector, message });
        let vector: *mut libc::iovec = &raw mut probing.vector;
        probing.message.msg_iov = vector;
        probing.message.msg_iovlen = 1;
        Ok(Self { probing: ManuallyDrop::new(probing), in_flight: false })
    }

    /// Whether the kernel has the operation.
    pub(crate) fn has_operation(&self, code: u8) -> bool {
        self.probing.operations.is_supported(code)
    }

    /// How many operations the kernel has.
    pub(crate) fn operation_count(&self) -> usize {
        (0..=u8::MAX).filter(|code| self.has_operation(*code)).count()
    }

    /// Registers the payload's page as buffer 0.
    pub(crate) fn register_buffer(&mut self) -> Outcome {
        let probing = &mut **self.probing;
        let whole =
            libc::iovec { iov_base: probing.payload.as_mut_ptr().cast(), iov_len: PAYLOAD_BYTES };
        // SAFETY: invariant 1: the page outlives every request that names the buffer, and the
        // kernel keeps its own reference to the pages.
        let outcome = unsafe { probing.ring.submitter().register_buffers(&[whole]) };
        outcome.map(|()| 0).map_err(|error| errno_of(&error))
    }

    /// Clones this ring's buffer table into another, new ring.
    pub(crate) fn clone_buffers(&self) -> Outcome {
        let other = build(Setup::Plain)?;
        let source = self.probing.ring.as_raw_fd();
        let outcome = other.submitter().register_buffers_clone(source);
        outcome.map(|()| 0).map_err(|error| errno_of(&error))
    }

    /// Makes one request and returns what its first completion said.
    pub(crate) fn send(&mut self, request: Request) -> Outcome {
        let Some(socket) = &self.probing.socket else {
            return Err(Errno::from_raw(libc::EAFNOSUPPORT));
        };
        if self.in_flight {
            return Err(Errno::from_raw(libc::EBUSY));
        }
        let entry = self.probing.entry(request, types::Fd(socket.as_raw_fd()));
        // SAFETY: invariant 1: the socket, the vector, the message and the payload that the
        // entry names belong to `probing`, which outlives the request (invariant 2).
        let pushed = unsafe { self.probing.ring.submission().push(&entry) };
        if pushed.is_err() {
            return Err(Errno::from_raw(libc::EBUSY));
        }
        self.in_flight = true;
        self.wait_for_both_completions()
    }

    /// A request has one completion, or two of which the first carries `F_MORE`.
    fn wait_for_both_completions(&mut self) -> Outcome {
        let deadline = Instant::now() + WAIT_AT_MOST;
        let mut outcome = Err(Errno::from_raw(libc::ETIME));
        while Instant::now() < deadline {
            let step = types::Timespec::from(Duration::from_millis(100));
            let args = types::SubmitArgs::new().timespec(&step);
            // A time-out or a signal ends the step, not the wait; the deadline bounds both.
            _ = self.probing.ring.submitter().submit_with_args(1, &args);
            while let Some(completion) = self.probing.ring.completion().next() {
                if !cqueue::notif(completion.flags()) {
                    outcome = u32::try_from(completion.result())
                        .map_err(|_| Errno::from_raw(-completion.result()));
                }
                if !cqueue::more(completion.flags()) {
                    self.in_flight = false;
                    return outcome;
                }
            }
        }
        outcome
    }
}

impl Probing {
    fn entry(&self, request: Request, socket: types::Fd) -> squeue::Entry {
        let payload = self.payload.as_ptr();
        let send = opcode::SendZc::new(socket, payload, SEND_BYTES as u32);
        let message = opcode::SendMsgZc::new(socket, &raw const self.message);
        match request {
            Request::Send => send.build(),
            Request::SendReportUsage => send.zc_flags(SEND_ZC_REPORT_USAGE).build(),
            Request::SendFixed => send.buf_index(Some(0)).build(),
            Request::SendVectorized => {
                let vector = (&raw const self.vector).cast();
                opcode::SendZc::new(socket, vector, 1).zc_flags(SEND_VECTORIZED).build()
            }
            Request::Message => message.build(),
            Request::MessageFixed => message.ioprio(RECVSEND_FIXED_BUF).build(),
        }
    }
}

impl Drop for RingProbe {
    fn drop(&mut self) {
        if !self.in_flight {
            // SAFETY: dropped once, here; invariant 2: no request names the memory any more.
            unsafe { ManuallyDrop::drop(&mut self.probing) };
        }
    }
}

/// A UDP socket without a destination, of whichever address family the kernel has.
fn unconnected_udp() -> Option<OwnedFd> {
    [AddressFamily::INET, AddressFamily::INET6].into_iter().find_map(|family| {
        let flags = SocketFlags::CLOEXEC;
        rustix::net::socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP)).ok()
    })
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip_log::skip;

    #[test]
    fn requests_reach_the_socket_and_bring_both_completions() {
        let name = "requests_reach_the_socket_and_bring_both_completions";
        let mut probe = match RingProbe::open() {
            Ok(probe) => probe,
            Err(errno) => return skip(name, &format!("io_uring_setup: {errno}")),
        };
        if !probe.has_operation(opcode::SendZc::CODE) {
            return skip(name, "the kernel has no SEND_ZC");
        }
        for _ in 0..3 {
            assert_eq!(probe.send(Request::Send), Err(Errno::from_raw(libc::EDESTADDRREQ)));
            assert!(!probe.in_flight);
        }
    }
}
