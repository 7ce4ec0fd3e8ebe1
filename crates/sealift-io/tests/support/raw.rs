//! The kernel asked directly, past the library: what a test holds the library's reports against.
//!
//! The only file of the tests with `unsafe` system calls. What is sent from here zero-copy lives
//! as long as the program, so there is no lifetime to get wrong.

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

const SO_ZEROCOPY: i32 = 60;
const MSG_ZEROCOPY: i32 = 0x400_0000;
const UDP_SEGMENT: i32 = 103;
const SO_EE_ORIGIN_ZEROCOPY: u8 = 5;

/// What became of a raw zero-copy send, by the socket's error queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    ZeroCopy,
    Copied,
    /// `SO_ZEROCOPY`, or the send, was refused with this error.
    Refused(i32),
}

/// One notification: an inclusive range of sends, and whether the kernel copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    pub first: u32,
    pub last: u32,
    pub copied: bool,
}

fn set_int(socket: impl AsFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let pointer = (&raw const value).cast();
    // SAFETY: the pointer is to an int that lives during the call, and its size is passed.
    let returned = unsafe { libc::setsockopt(fd, level, name, pointer, 4) };
    if returned == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

pub fn enable_zerocopy(socket: impl AsFd) -> io::Result<()> {
    set_int(socket, libc::SOL_SOCKET, SO_ZEROCOPY, 1)
}

pub fn has_zerocopy(socket: impl AsFd) -> bool {
    let (mut value, mut len) = (0i32, 4u32);
    let fd = socket.as_fd().as_raw_fd();
    let (level, name) = (libc::SOL_SOCKET, SO_ZEROCOPY);
    // SAFETY: the pointers are to an int and its size, which live during the call.
    let returned =
        unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut len) };
    returned == 0 && value != 0
}

pub fn set_segment_bytes(socket: impl AsFd, bytes: u16) -> io::Result<()> {
    set_int(socket, libc::SOL_UDP, UDP_SEGMENT, i32::from(bytes))
}

/// Has the errors of sent IPv4 datagrams reported (`IP_RECVERR`).
pub fn report_errors(socket: impl AsFd) -> io::Result<()> {
    set_int(socket, libc::SOL_IP, libc::IP_RECVERR, 1)
}

/// Makes room for unacknowledged bytes, beyond `net.core.wmem_max`; says whether that is allowed.
pub fn enlarge_send_queue(socket: impl AsFd, bytes: i32) -> bool {
    set_int(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes).is_ok()
}

/// Puts an upper layer protocol, such as kernel TLS, on a TCP socket.
pub fn attach_upper_layer(socket: impl AsFd, name: &str) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let (pointer, len) = (name.as_ptr().cast(), name.len() as u32);
    // SAFETY: the name lives during the call, and its size is passed.
    let returned = unsafe { libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_ULP, pointer, len) };
    if returned == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `sendmsg` with `MSG_ZEROCOPY` on a connected socket.
pub fn send_zerocopy(socket: impl AsFd, pieces: &[&'static [u8]]) -> io::Result<usize> {
    let vectors: Vec<libc::iovec> = pieces
        .iter()
        .map(|piece| libc::iovec { iov_base: piece.as_ptr() as *mut _, iov_len: piece.len() })
        .collect();
    // SAFETY: an all-zero msghdr is a valid one with nothing in it.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_iov = vectors.as_ptr().cast_mut();
    header.msg_iovlen = vectors.len();
    let flags = MSG_ZEROCOPY | libc::MSG_NOSIGNAL;
    // SAFETY: the vectors live during the call; what they point to is only read, and lives for
    // ever, as the kernel may read it after the call, too.
    let sent = unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const header, flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Reads one entry of the error queue; `None` if it is no zero-copy notification, an error of
/// kind `WouldBlock` if there is none. `socket` must not be a unix socket.
pub fn read_notice(socket: impl AsFd) -> io::Result<Option<Notice>> {
    let mut control = [0u64; 32];
    // SAFETY: an all-zero msghdr is a valid one with nothing in it.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the header points to `control`, which lives during the call.
    let read = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, flags) };
    if read < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel filled the header; the macro checks the length before it gives a pointer.
    let first = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    if first.is_null() {
        return Ok(None);
    }
    // SAFETY: not null, so it points to a whole control message header inside `control`.
    let (level, kind) = unsafe { ((*first).cmsg_level, (*first).cmsg_type) };
    if !matches!((level, kind), (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, 25)) {
        return Ok(None);
    }
    // SAFETY: both kinds of message carry this structure, as ip(7) and ipv6(7) say.
    let error: libc::sock_extended_err =
        unsafe { libc::CMSG_DATA(first).cast::<libc::sock_extended_err>().read_unaligned() };
    let ours = error.ee_origin == SO_EE_ORIGIN_ZEROCOPY && error.ee_errno == 0;
    Ok(ours.then_some(Notice {
        first: error.ee_info,
        last: error.ee_data,
        copied: error.ee_code != 0,
    }))
}

/// Waits for the next notification.
pub fn wait_notice(socket: impl AsFd, deadline: Instant) -> Notice {
    loop {
        match read_notice(socket.as_fd()) {
            Ok(Some(notice)) => return notice,
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                assert!(Instant::now() < deadline, "no notification came");
                let mut polled = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::empty())];
                let brief = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
                poll(&mut polled, Some(&brief)).unwrap();
            }
            Err(error) => panic!("the error queue: {error}"),
        }
    }
}

/// Sends `sends` times `bytes` zero-copy, one after the other's notification, so that none are
/// merged; says what became of them. A send of which any part was copied counts as copied.
pub fn truth(socket: impl AsFd, bytes: &'static [u8], sends: usize) -> Vec<Truth> {
    let refused = |error: io::Error| Truth::Refused(error.raw_os_error().unwrap_or(0));
    if let Err(error) = enable_zerocopy(socket.as_fd()) {
        return vec![refused(error); sends];
    }
    let one = || {
        let (mut left, mut calls) = (bytes, 0);
        while !left.is_empty() {
            match send_zerocopy(socket.as_fd(), &[left]) {
                Ok(sent) => (left, calls) = (&left[sent..], calls + 1),
                Err(error) => return refused(error),
            }
        }
        let end = Instant::now() + Duration::from_secs(10);
        let (mut seen, mut copied) = (0, false);
        while seen < calls {
            let notice = wait_notice(socket.as_fd(), end);
            seen += notice.last.wrapping_sub(notice.first) + 1;
            copied |= notice.copied;
        }
        if copied { Truth::Copied } else { Truth::ZeroCopy }
    };
    (0..sends).map(|_| one()).collect()
}

/// Makes `io_uring_setup` fail with EPERM for this thread and its children, as the seccomp
/// filters of containers do.
pub fn forbid_io_uring() -> io::Result<()> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let number = libc::SYS_io_uring_setup as u32;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let mut program = [
        // The number of the system call is the first word of the data.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter { code: equal, jt: 0, jf: 1, k: number },
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    let mode = libc::SECCOMP_MODE_FILTER as libc::c_ulong;
    // SAFETY: the first call takes plain numbers.
    let promised = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the filter and its program live during the call, and the kernel copies them.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter) };
    if promised == 0 && set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
