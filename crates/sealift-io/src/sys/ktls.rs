//! Kernel TLS by system calls: the upper layer, its keys, and records with their types.
//!
//! Invariants:
//! 1. What a call reads or writes lives across it, is exclusively borrowed if it is written, and
//!    its size is passed.
//! 2. A length that the kernel returns is within the room that it was given.

use std::io::IoSlice;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::error::Errno;

use super::control;

/// `TLS_SET_RECORD_TYPE` and `TLS_GET_RECORD_TYPE` of `linux/tls.h`.
const SET_RECORD_TYPE: i32 = 1;
const GET_RECORD_TYPE: i32 = 2;
/// Where `tcpi_bytes_acked` is in `struct tcp_info`, in words of 8 bytes.
const BYTES_ACKED_WORD: usize = 15;

type Outcome<T> = Result<T, Errno>;

fn check(returned: isize) -> Outcome<usize> {
    usize::try_from(returned).map_err(|_| Errno::last())
}

/// Puts kernel TLS on a connected TCP socket. It changes nothing until there is a key.
pub(crate) fn attach(socket: BorrowedFd<'_>) -> Outcome<()> {
    set(socket, libc::IPPROTO_TCP, libc::TCP_ULP, b"tls")
}

/// Hands over a key by `TLS_TX` or `TLS_RX`; `info` is laid out as the structure of its cipher.
pub(crate) fn set_key(socket: BorrowedFd<'_>, option: i32, info: &[u8]) -> Outcome<()> {
    set(socket, libc::SOL_TLS, option, info)
}

fn set(socket: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> Outcome<()> {
    let len = value.len() as libc::socklen_t;
    // SAFETY: invariant 1.
    let returned =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.as_ptr().cast(), len) };
    check(returned as isize).map(drop)
}

/// Reads a key back with the number of its next record; `info` is as long as its structure.
pub(crate) fn read_key(socket: BorrowedFd<'_>, option: i32, info: &mut [u8]) -> Outcome<()> {
    let mut len = info.len() as libc::socklen_t;
    let (level, name) = (libc::SOL_TLS, option);
    // SAFETY: invariant 1.
    let returned = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, info.as_mut_ptr().cast(), &mut len)
    };
    check(returned as isize).map(drop)
}

/// The bytes of the connection that the peer's kernel has acknowledged since it began.
pub(crate) fn acknowledged_bytes(socket: BorrowedFd<'_>) -> Outcome<u64> {
    let mut info = [0u64; BYTES_ACKED_WORD + 1];
    let mut len = size_of_val(&info) as libc::socklen_t;
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
    // SAFETY: invariant 1.
    let returned = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, info.as_mut_ptr().cast(), &mut len)
    };
    check(returned as isize)?;
    match len as usize == size_of_val(&info) {
        true => Ok(info[BYTES_ACKED_WORD]),
        false => Err(Errno::from_raw(libc::ENOPROTOOPT)),
    }
}

/// Room for one control message with a record's type, aligned as the kernel wants it.
#[repr(C, align(8))]
struct TypeControl {
    len: usize,
    level: i32,
    kind: i32,
    content: u8,
    padding: [u8; 7],
}

const TYPE_CONTROL_BYTES: usize = 17;

/// Sends without waiting: data, or one record of the type `content`.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    content: Option<u8>,
    slices: &[IoSlice<'_>],
) -> Outcome<usize> {
    let mut room = TypeControl {
        len: TYPE_CONTROL_BYTES,
        level: libc::SOL_TLS,
        kind: SET_RECORD_TYPE,
        content: content.unwrap_or_default(),
        padding: [0; 7],
    };
    // SAFETY: an all-zero msghdr is a valid one with nothing in it.
    let mut header: libc::msghdr = unsafe { zeroed() };
    // IoSlice is guaranteed to have the layout of iovec; a send reads it only.
    header.msg_iov = slices.as_ptr().cast_mut().cast();
    header.msg_iovlen = slices.len();
    if content.is_some() {
        header.msg_control = std::ptr::from_mut(&mut room).cast();
        header.msg_controllen = size_of::<TypeControl>();
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: invariant 1, for `room` and the slices.
    check(unsafe { libc::sendmsg(socket.as_raw_fd(), &header, flags) })
}

/// Receives records of one type without waiting: their content, and the type, which is missing at
/// the end of the stream only.
pub(crate) fn receive(socket: BorrowedFd<'_>, into: &mut [u8]) -> Outcome<(Option<u8>, usize)> {
    #[repr(align(8))]
    struct Control([u8; 64]);
    let mut room = Control([0; 64]);
    let mut vector = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // SAFETY: an all-zero msghdr is a valid one with nothing in it.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_iov = &mut vector;
    header.msg_iovlen = 1;
    header.msg_control = room.0.as_mut_ptr().cast();
    header.msg_controllen = room.0.len();
    // SAFETY: invariant 1, for `room`, `vector` and `into`.
    let read = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, libc::MSG_DONTWAIT) };
    // Invariant 2, checked.
    let bytes = check(read)?.min(into.len());
    let filled = header.msg_controllen.min(room.0.len());
    let content = control::messages(&room.0[..filled]).find_map(|(level, kind, data)| {
        let is_type = level == libc::SOL_TLS && kind == GET_RECORD_TYPE;
        data.first().copied().filter(|_| is_type)
    });
    Ok((content, bytes))
}
