//! What wakes a task when a sender may have news.
//!
//! ```text
//!  ring: completions ───────────────────────────► readable ──► the runtime
//!  socket: room, notifications ──► its interest ──► readable ──► the runtime
//! ```
//!
//! 1. The runtime does not watch the socket itself for this. It takes a notification in the error
//!    queue (`EPOLLERR`) for the socket's end, and never forgets an end: who waits for room would
//!    be told at once, for ever.
//! 2. It watches an epoll instance instead, which is readable while the socket has room or an
//!    error. Nobody takes events from the instance: the kernel passes every wake-up of the socket
//!    on as an edge, if the socket still has something to tell when the runtime looks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::event::epoll;
use tokio::io::unix::AsyncFd;

use crate::error::{Errno, Error, Result};
use crate::sys::readiness::watch;

use super::sender::Sender;

/// Tells once of each time that a sender's ring or socket may have brought it on.
#[derive(Debug)]
pub(super) struct News(AsyncFd<Arc<OwnedFd>>);

impl News {
    /// Registers a descriptor of its own with the runtime of the calling task.
    pub(super) fn new(sender: &Sender) -> Result<Self> {
        let watched = match sender.ring() {
            Some(ring) => ring.try_clone_to_owned().map_err(system("dup"))?,
            None => room_and_errors(sender.as_fd())?,
        };
        Ok(Self(watch(Arc::new(watched)).map_err(system("epoll_ctl"))?))
    }

    /// Ready if there may be some since the last time.
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut guard = ready!(self.0.poll_read_ready(context)).map_err(system("epoll_wait"))?;
        // Cleared before the caller looks, so that no later edge is lost.
        guard.clear_ready();
        Poll::Ready(Ok(()))
    }
}

/// A descriptor that is readable while the socket has room or an error (invariant 2).
fn room_and_errors(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    let failed = |call| move |errno: rustix::io::Errno| Error::System { call, errno: errno.into() };
    let instance = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed("epoll_create1"))?;
    // An error is always reported.
    let added = epoll::add(&instance, socket, epoll::EventData::new_u64(0), epoll::EventFlags::OUT);
    added.map_err(failed("epoll_ctl"))?;
    Ok(instance)
}

/// A failure of the runtime's.
pub(super) fn system(call: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| Error::System { call, errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)) }
}
