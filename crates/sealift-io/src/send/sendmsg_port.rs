//! The backends that send by system call: `msg_zerocopy`, with the socket's error queue, and
//! `copy`.

use std::os::fd::BorrowedFd;

use crate::error::Errno;
use crate::sys::control::Notification;
use crate::sys::socket::{self, MSG_ZEROCOPY, Outgoing};

use super::machine::{Kind, Machine};
use super::notifications::Notifications;
use super::policy::Mode;
use super::port::NAP;
use super::segment_size::SegmentSize;
use super::sendmsg::{BATCH, Kernel, Sendmsg};
use super::slots::Key;

pub(crate) struct SendmsgPort {
    sendmsg: Sendmsg,
    outgoing: Outgoing,
    /// Wake-ups by an error since the last notification.
    empty_wakeups: u32,
    #[expect(dead_code, reason = "held as long as messages are sent")]
    segment: SegmentSize,
}

/// So many wake-ups may bring nothing before the sender sleeps a little after each.
const EMPTY_WAKEUPS: u32 = 4;

impl SendmsgPort {
    /// `zero_copy_window` is how many notifications may be outstanding; `None` for plain sends.
    pub(crate) fn new(kind: Kind, zero_copy_window: Option<usize>, segment: SegmentSize) -> Self {
        // A stream's messages go one to a call.
        let batch = if kind == Kind::Stream { 1 } else { BATCH };
        Self {
            sendmsg: Sendmsg::new(zero_copy_window.map(Notifications::new)),
            outgoing: Outgoing::new(batch),
            empty_wakeups: 0,
            segment,
        }
    }

    /// The socket reported an error. A dead connection, or one with an error that only the next
    /// send takes off it, does so for ever: then look again only every so often.
    pub(crate) fn woken_by_error(&mut self) {
        self.empty_wakeups += 1;
        if self.empty_wakeups > EMPTY_WAKEUPS {
            std::thread::sleep(NAP);
        }
    }

    /// Whether notifications are still to come.
    pub(crate) fn awaits_notifications(&self) -> bool {
        self.sendmsg.awaits_notifications()
    }

    /// Sends what can be sent and takes the notifications that are there.
    pub(crate) fn pump(&mut self, machine: &mut Machine, socket: BorrowedFd<'_>) {
        self.sendmsg.pump(&mut Calls { machine, outgoing: &mut self.outgoing, socket });
        if self.sendmsg.has_heard() {
            self.empty_wakeups = 0;
        }
    }
}

/// The real kernel.
struct Calls<'a> {
    machine: &'a mut Machine,
    outgoing: &'a mut Outgoing,
    socket: BorrowedFd<'a>,
}

impl Kernel for Calls<'_> {
    fn machine(&mut self) -> &mut Machine {
        self.machine
    }

    fn clear(&mut self) {
        self.outgoing.clear();
    }

    fn add(&mut self, key: Key) {
        let Some(request) = self.machine.request(key) else { return };
        let segment = request.message.segment_bytes.map(|bytes| bytes.get());
        let regions = request.parts().map(|part| part.region);
        self.outgoing.push(regions, request.message.to, segment);
    }

    fn send(&mut self, mode: Mode, more: bool) -> Result<usize, Errno> {
        let mut flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        flags |= if more { libc::MSG_MORE } else { 0 };
        flags |= if mode == Mode::ZeroCopy { MSG_ZEROCOPY } else { 0 };
        self.outgoing.send(self.socket, flags)
    }

    fn sent_bytes(&self, at: usize) -> usize {
        self.outgoing.sent_bytes(at)
    }

    fn read_error_queue(&mut self) -> Result<Option<Notification>, Errno> {
        socket::read_error_queue(self.socket)
    }
}
