//! A machine's way to the kernel: one of the backends, or none.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{Error, Result};

use super::machine::Machine;
use super::sendmsg_port::SendmsgPort;
use super::uring_port::UringPort;

pub(crate) enum Port {
    Sendmsg(Box<SendmsgPort>),
    Uring(Box<UringPort>),
    /// Given away: the sender was closed or its buffers are in quarantine.
    None,
}

/// How long to sleep where nothing says when to look again.
pub(crate) const NAP: Duration = Duration::from_millis(1);

impl Port {
    /// Sends what can be sent and takes every answer that is there, without waiting.
    pub(crate) fn pump(&mut self, machine: &mut Machine, socket: BorrowedFd<'_>) -> Result<()> {
        // Asking again costs one call; a poll to find out whether to ask would cost one too.
        machine.writable();
        match self {
            Self::Sendmsg(port) => {
                port.pump(machine, socket);
                Ok(())
            }
            Self::Uring(port) => port.pump(machine),
            Self::None => Err(Error::Closed),
        }
    }

    /// Sleeps until there is something to pump, at most for `timeout`.
    pub(crate) fn wait(
        &mut self,
        machine: &Machine,
        socket: BorrowedFd<'_>,
        timeout: Duration,
    ) -> Result<()> {
        let writable = if machine.awaits_writable() { PollFlags::OUT } else { PollFlags::empty() };
        match self {
            Self::None => Err(Error::Closed),
            Self::Sendmsg(port) => {
                if writable.is_empty() && !port.awaits_notifications() {
                    std::thread::sleep(timeout);
                    return Ok(());
                }
                // The error queue shows as POLLERR, which is always reported.
                let mut polled = [PollFd::from_borrowed_fd(socket, writable)];
                sleep(&mut polled, timeout)?;
                let [polled] = polled;
                if polled.revents().intersects(PollFlags::ERR | PollFlags::HUP) {
                    port.woken_by_error();
                }
                Ok(())
            }
            Self::Uring(port) => {
                let (ring_fd, kick) = port.seat().wait_descriptors()?;
                if port.seat().has_news() {
                    return Ok(());
                }
                let mut polled = [
                    PollFd::from_borrowed_fd(ring_fd, PollFlags::IN),
                    PollFd::from_borrowed_fd(kick.as_fd(), PollFlags::IN),
                ];
                sleep(&mut polled, timeout)?;
                if !polled[1].revents().is_empty() {
                    // Nothing to read is fine: another wake-up took it.
                    let _ = rustix::io::read(&kick, &mut [0u8; 8]);
                }
                Ok(())
            }
        }
    }

    /// How long to sleep at most where nothing will say that the kernel can go on.
    pub(crate) fn nap(&self, machine: &Machine) -> Option<Duration> {
        match self {
            Self::Uring(port) => {
                (port.seat().has_backlog() || machine.awaits_writable()).then_some(NAP)
            }
            Self::Sendmsg(_) | Self::None => None,
        }
    }

    /// Whether what is handed over waits for room in the kernel.
    pub(crate) fn is_ring(&self) -> bool {
        matches!(self, Self::Uring(_))
    }

    /// Why no memory is registered with the ring, if there is a ring and none is.
    pub(crate) fn why_unregistered(&self) -> Option<&str> {
        match self {
            Self::Uring(port) => port.seat().ring().why_unregistered(),
            Self::Sendmsg(_) | Self::None => None,
        }
    }

    /// The ring, if there is one: it becomes readable when there may be something to pump. Without
    /// one the socket tells.
    #[cfg(feature = "tokio")]
    pub(crate) fn ring(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Uring(port) => Some(port.seat().ring().as_fd()),
            Self::Sendmsg(_) | Self::None => None,
        }
    }

    /// Whether another thread has brought news; if not, the task is woken when one does.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll_news(&self, context: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        match self {
            Self::Uring(port) if port.seat().poll_news(context) => std::task::Poll::Ready(()),
            _ => std::task::Poll::Pending,
        }
    }
}

fn sleep(polled: &mut [PollFd<'_>], timeout: Duration) -> Result<()> {
    let timeout = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    match poll(polled, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(Error::System { call: "poll", errno: errno.into() }),
    }
}
