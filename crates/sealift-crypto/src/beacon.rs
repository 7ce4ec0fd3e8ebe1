//! One descriptor for an engine that stands on another: readable when that one's is, or when the
//! engine itself has something, now or at a later moment.
//!
//! ```text
//!  epoll ─┬─ the inner engine's descriptor
//!         └─ a timer of our own
//! ```

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::error::{Error, Result};

pub(crate) struct Beacon {
    epoll: OwnedFd,
    timer: OwnedFd,
    watched: Cell<bool>,
    set: Cell<Option<Duration>>,
}

impl Beacon {
    pub(crate) fn new(engine: &'static str) -> Result<Self> {
        let refused = |_| Error::Engine { engine, what: "it could not get a descriptor" };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(refused)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(refused)?;
        let (data, readable) = (epoll::EventData::new_u64(0), epoll::EventFlags::IN);
        epoll::add(&epoll, &timer, data, readable).map_err(refused)?;
        Ok(Self { epoll, timer, watched: Cell::new(false), set: Cell::new(None) })
    }

    /// The descriptor, which from now on follows the inner engine's too.
    pub(crate) fn watch(&self, inner: Option<BorrowedFd<'_>>) -> Option<BorrowedFd<'_>> {
        if !self.watched.get() {
            if let Some(inner) = inner {
                let (data, readable) = (epoll::EventData::new_u64(1), epoll::EventFlags::IN);
                epoll::add(&self.epoll, inner, data, readable).ok()?;
            }
            self.watched.set(true);
        }
        Some(self.epoll.as_fd())
    }

    /// Whether somebody has the descriptor.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.get()
    }

    /// Makes it readable in `span`, or not at all, on our own account. Costs nothing while nobody
    /// watches.
    pub(crate) fn shine(&self, span: Option<Duration>) {
        if !self.watched.get() || (span == self.set.get() && span.is_none_or(|s| s.is_zero())) {
            return;
        }
        self.set.set(span);
        // Zero would disarm it.
        let value = span.map(|span| span.max(Duration::from_nanos(1)));
        let value = value.map(|span| Timespec::try_from(span).unwrap_or(DISTANT)).unwrap_or(OFF);
        let setting = Itimerspec { it_interval: OFF, it_value: value };
        // Cannot fail for a timer and a time that are valid.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &setting);
    }
}

const OFF: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
const DISTANT: Timespec = Timespec { tv_sec: i32::MAX as i64, tv_nsec: 0 };
