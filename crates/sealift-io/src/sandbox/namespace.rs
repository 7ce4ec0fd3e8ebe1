//! A second network namespace that a sandbox owns: the far end of a veth.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::thread;

use rustix::fs::{Mode, OFlags, open};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::device::Control;
use crate::error::{Errno, Error, Result};
use crate::sys::namespace::unshare_network;

/// A network namespace held open; it goes when this, its threads and its sockets are gone.
#[derive(Debug)]
pub struct Namespace {
    handle: OwnedFd,
    pub(super) control: Control,
}

impl Namespace {
    /// Makes a namespace by way of a thread that enters it and ends.
    pub(super) fn new() -> Result<Self> {
        on_another_thread(|| {
            let call = "unshare(CLONE_NEWNET) for the far end";
            unshare_network().map_err(|errno| Error::System { call, errno })?;
            let handle = current_network()?;
            let control = Control::open()?;
            control.loopback_up()?;
            Ok(Self { handle, control })
        })?
    }

    /// Moves the calling thread into the namespace, until it ends or enters another one.
    pub fn enter_thread(&self) -> Result<()> {
        move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|errno| Error::System { call: "setns(CLONE_NEWNET)", errno: errno.into() })
    }

    /// Does the work on a thread in the namespace and waits for it. Sockets that it makes stay
    /// in the namespace wherever they are used afterwards.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        on_another_thread(|| self.enter_thread().map(|()| work()))?
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// The network namespace that the calling thread is in.
pub(super) fn current_network() -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    open("/proc/thread-self/ns/net", flags, Mode::empty()).map_err(|errno| Error::System {
        call: "open /proc/thread-self/ns/net",
        errno: errno.into(),
    })
}

fn on_another_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let started = thread::Builder::new().name("far end".into()).spawn_scoped(scope, work);
        let started = started.map_err(|error| Error::System {
            call: "start a thread for the far end",
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EAGAIN)),
        })?;
        Ok(started.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}
