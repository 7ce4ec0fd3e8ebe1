//! The rules of `sendmsg`: results at once; with `MSG_ZEROCOPY` a number for each call that queued
//! bytes, and for datagrams that failed late, and notifications on the error queue, as ranges.
//!
//! ```text
//!  sendmmsg ──► numbers 0xffff_fffe, 0xffff_ffff, 0, 1 …
//!                   │ ripe, in any order
//!                   ▼
//!  error queue: [1, 1] [0xffff_fffe, 0]      a range grows only while it is the last one
//! ```

use std::collections::{HashMap, HashSet, VecDeque};

use crate::error::Errno;
use crate::sys::control::Notification;

use super::super::machine::{Kind, Machine};
use super::super::notifications::{Notifications, Range};
use super::super::policy::Mode;
use super::super::sendmsg::{Kernel, Sendmsg};
use super::super::slots::Key;
use super::registry::Load;
use super::socket::{HoldId, Socket};
use super::stage::Stage;
use super::weather::{Target, Weather};

/// What messages behind a failed one of the same call are counted under.
pub(super) const UNTRIED: &str = "messages of a call that were not tried";

pub(super) struct CallRules {
    /// The backend.
    sendmsg: Sendmsg,
    numbers: Numbers,
}

/// The kernel's side of a socket.
struct Numbers {
    /// The kernel's own counter.
    next: u32,
    /// Notifications that the kernel has memory for (`net.core.optmem_max`).
    most_pending: usize,
    by_number: HashMap<u32, HoldId>,
    by_hold: HashMap<HoldId, u32>,
    /// Numbers of calls that failed.
    failed: HashSet<u32>,
    error_queue: VecDeque<Range>,
}

impl CallRules {
    pub(super) fn copying() -> Self {
        Self { sendmsg: Sendmsg::new(None), numbers: Numbers::starting_at(0, 0) }
    }

    pub(super) fn zero_copy(first_number: u32, window: usize, most_pending: usize) -> Self {
        let tracker = Notifications::starting_at(first_number, window);
        let numbers = Numbers::starting_at(first_number, most_pending);
        Self { sendmsg: Sendmsg::new(Some(tracker)), numbers }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.numbers.error_queue.is_empty()
    }

    /// The backend at work.
    pub(super) fn pump(&mut self, stage: &mut Stage, socket: &mut Socket, weather: &mut Weather) {
        let Self { sendmsg, numbers } = self;
        let (batch, taken) = (Vec::new(), Vec::new());
        sendmsg.pump(&mut Calls { stage, socket, weather, numbers, batch, taken });
        if !sendmsg.has_room() {
            stage.seen.note("full windows of notifications");
        }
    }

    /// The kernel notifies of sends that are ripe.
    pub(super) fn work(&mut self, stage: &mut Stage, socket: &mut Socket) {
        for _ in 0..stage.random.within(1, 8) {
            let Some(hold) = socket.take_ripe(stage) else { return };
            self.numbers.notify(stage, socket, hold);
        }
    }
}

/// The kernel during one call of the sender.
struct Calls<'a> {
    stage: &'a mut Stage,
    socket: &'a mut Socket,
    weather: &'a mut Weather,
    numbers: &'a mut Numbers,
    batch: Vec<Key>,
    /// The bytes taken of each message of the last call.
    taken: Vec<usize>,
}

impl Kernel for Calls<'_> {
    fn machine(&mut self) -> &mut Machine {
        &mut self.stage.machine
    }

    fn next_request(&mut self) -> Option<Key> {
        self.stage.next_request()
    }

    fn clear(&mut self) {
        self.batch.clear();
    }

    fn add(&mut self, key: Key) {
        self.batch.push(key);
    }

    fn send(&mut self, mode: Mode, _: bool) -> Result<usize, Errno> {
        self.taken.clear();
        let mut error = None;
        while error.is_none() && self.taken.len() < self.batch.len() {
            match self.call(mode == Mode::ZeroCopy, self.batch[self.taken.len()]) {
                Ok(count) => self.taken.push(count),
                Err(errno) => error = Some(Errno::from_raw(errno)),
            }
        }
        let told = error.filter(|_| self.taken.is_empty());
        let tried = self.taken.len() + usize::from(told.is_some());
        self.stage.seen.add(UNTRIED, (self.batch.len() - tried) as u64);
        // The error of a later message is not seen: the call returns how many it took.
        told.map_or(Ok(self.taken.len()), Err)
    }

    fn sent_bytes(&self, at: usize) -> usize {
        self.taken[at]
    }

    fn read_error_queue(&mut self) -> Result<Option<Notification>, Errno> {
        let range = self.numbers.error_queue.pop_front();
        let Range { first, last, copied } = range.ok_or(Errno::from_raw(libc::EAGAIN))?;
        if last < first {
            self.stage.seen.note("ranges across the wrap");
        }
        let mut number = first;
        loop {
            if !self.numbers.failed.remove(&number) {
                let hold = self.numbers.by_number.remove(&number);
                self.socket.let_go(self.stage, hold.expect("a send not yet notified of"), copied);
            }
            if number == last {
                return Ok(Some(Notification { first, last, copied }));
            }
            number = number.wrapping_add(1);
        }
    }
}

impl Calls<'_> {
    /// One message of a call: the bytes taken, or the error.
    fn call(&mut self, zero_copy: bool, key: Key) -> Result<usize, i32> {
        let Self { stage, socket, weather, numbers, .. } = self;
        if socket.dead {
            return Err(libc::EPIPE);
        }
        if let Some(errno) = weather.strike_dead(stage) {
            socket.reset();
            return Err(errno);
        }
        let load = Load::of(&stage.machine, key);
        let target = Target { kind: socket.path.kind, zero_copy, spans: load.pieces.len() };
        if let Some(errno) = weather.strike(stage, target) {
            if target.kind == Kind::Datagram && zero_copy && stage.random.once_in(2) {
                numbers.fail_late(stage);
            }
            return Err(errno);
        }
        if zero_copy && numbers.by_number.len() >= numbers.most_pending {
            stage.seen.note("ENOBUFS for want of notification memory");
            return Err(libc::ENOBUFS);
        }
        let mut count = load.len.min(socket.room());
        if load.len > 0 && socket.room() == 0 {
            stage.seen.note("EAGAIN for want of room");
            return Err(libc::EAGAIN);
        }
        if socket.path.kind == Kind::Datagram {
            count = load.len;
        } else if stage.random.once_in(6) {
            count = stage.random.below(count + 1);
        }
        stage.seen.note(if count < load.len { "short sends" } else { "whole sends" });
        let hold = socket.hold(stage, key, &load, zero_copy);
        if count > 0 || load.len == 0 {
            socket.accept(stage, &load, (0, count), hold);
        }
        if zero_copy && count > 0 {
            numbers.number(stage, hold);
            socket.took(hold, count);
            socket.finish(hold);
        } else {
            socket.let_go(stage, hold, false);
        }
        let more = stage.machine.request(key).expect("a request being sent").more;
        stage.corked |= more && count == load.len;
        Ok(count)
    }
}

impl Numbers {
    fn starting_at(next: u32, most_pending: usize) -> Self {
        Self {
            next,
            most_pending,
            by_number: HashMap::new(),
            by_hold: HashMap::new(),
            failed: HashSet::new(),
            error_queue: VecDeque::new(),
        }
    }

    /// The packet was built, and thrown away: its number is reported at once.
    fn fail_late(&mut self, stage: &mut Stage) {
        stage.seen.note("failed sends that were numbered");
        self.failed.insert(self.next);
        self.report(stage, self.next, false);
        self.count_up(stage);
    }

    fn number(&mut self, stage: &mut Stage, hold: HoldId) {
        self.by_number.insert(self.next, hold);
        self.by_hold.insert(hold, self.next);
        self.count_up(stage);
    }

    fn count_up(&mut self, stage: &mut Stage) {
        if self.next == u32::MAX {
            stage.seen.note("counters that wrapped");
        }
        self.next = self.next.wrapping_add(1);
    }

    fn notify(&mut self, stage: &mut Stage, socket: &Socket, hold: HoldId) {
        let number = self.by_hold.remove(&hold).expect("a numbered send");
        self.report(stage, number, socket.held(hold).copied);
    }

    fn report(&mut self, stage: &mut Stage, number: u32, copied: bool) {
        match self.error_queue.back_mut() {
            // The code of what is merged behind is lost.
            Some(tail) if tail.last.wrapping_add(1) == number => {
                tail.last = number;
                stage.seen.note("merged notifications");
            }
            _ => self.error_queue.push_back(Range { first: number, last: number, copied }),
        }
    }
}
