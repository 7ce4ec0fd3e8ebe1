//! Wakes a task while a descriptor is readable.
//!
//! A runtime tells of edges only, and a descriptor that others lower may stay readable without
//! another one: as long as it is, the task comes back, after the others.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::unix::AsyncFd;

use crate::error::{Errno, Error, Result};
use crate::sys::readiness::watch;

/// Wakes a task while a descriptor is readable, whoever makes it so: an engine's, that has done
/// something.
#[derive(Debug)]
pub struct Alarm {
    descriptor: AsyncFd<Arc<OwnedFd>>,
}

impl Alarm {
    /// Registers a duplicate of `descriptor` with the runtime of the calling task.
    ///
    /// # Errors
    /// [`Error::System`] if it cannot be duplicated or registered.
    pub fn new(descriptor: BorrowedFd<'_>) -> Result<Self> {
        let descriptor = descriptor.try_clone_to_owned().map_err(system("dup"))?;
        let descriptor = watch(Arc::new(descriptor)).map_err(system("epoll_ctl"))?;
        Ok(Self { descriptor })
    }

    /// Wakes the task once it is readable, which it may be already; never ready but for an error.
    ///
    /// # Errors
    /// [`Error::System`] if the runtime has gone.
    pub fn set(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            let ready = ready!(self.descriptor.poll_read_ready(context));
            let mut guard = ready.map_err(system("epoll_wait"))?;
            let mut polled = [PollFd::from_borrowed_fd(self.descriptor.as_fd(), PollFlags::IN)];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            // An interruption is taken for a yes, and costs another look.
            if poll(&mut polled, Some(&now)) != Ok(0) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            // An edge that came since is not cleared with it.
            guard.clear_ready();
        }
    }
}

fn system(call: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| Error::System { call, errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    use rustix::event::{EventfdFlags, eventfd};
    use tokio::time::timeout;

    /// It rings for a level that was there before, and again for each that comes.
    #[tokio::test]
    async fn an_alarm_rings_as_long_as_the_descriptor_is_readable() {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let counter = eventfd(1, flags).unwrap();
        let alarm = Alarm::new(counter.as_fd()).unwrap();
        for round in 0..3 {
            let mut rings = 0;
            let listening = poll_fn(|context| {
                rings += 1;
                // The first call sets it, and those behind it are rings.
                if rings > 3 { Poll::Ready(Ok(())) } else { alarm.set(context) }
            });
            timeout(Duration::from_secs(10), listening).await.unwrap().unwrap();
            rustix::io::read(&counter, &mut [0; 8]).unwrap();
            let silent = poll_fn(|context| alarm.set(context));
            assert!(timeout(Duration::from_millis(10), silent).await.is_err(), "{round}");
            rustix::io::write(&counter, &1u64.to_ne_bytes()).unwrap();
        }
    }
}
