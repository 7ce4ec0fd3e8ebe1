//! The rules of io_uring: a request has a first completion, and a notification behind it iff the
//! first said so (`IORING_CQE_F_MORE`).
//!
//! ```text
//!  push ──► taken ──► first completion ──┬─ no F_MORE: the end
//!             │ accepts in parts          └─ F_MORE ──► … ──► notification, when it is ripe
//! ```

use std::collections::VecDeque;

use crate::error::Errno;

use super::super::machine::Kind;
use super::super::policy::Mode;
use super::super::settle::Release;
use super::super::slots::Key;
use super::super::uring_port::{Verdict, verdict};
use super::registry::Load;
use super::socket::{HoldId, Socket};
use super::stage::Stage;
use super::weather::{Target, Weather};

const F_MORE: u32 = 1 << 1;
const F_NOTIF: u32 = 1 << 3;
/// `IORING_NOTIF_USAGE_ZC_COPIED`.
const COPIED: i32 = i32::MIN;

/// A request that the kernel works on.
struct Taken {
    key: Key,
    load: Load,
    zero_copy: bool,
    more: bool,
    hold: HoldId,
    accepted: usize,
    /// The kernel has looked at it (and not failed it).
    begun: bool,
}

/// A completion that nobody has taken yet.
struct Posted {
    key: Key,
    result: i32,
    flags: u32,
    hold: HoldId,
    corks: bool,
}

pub(super) struct RingRules {
    /// Requests that may be in flight.
    requests: usize,
    taken: Vec<Taken>,
    posted: VecDeque<Posted>,
    in_flight: usize,
}

impl RingRules {
    pub(super) fn new(requests: usize) -> Self {
        Self { requests, taken: Vec::new(), posted: VecDeque::new(), in_flight: 0 }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.taken.is_empty() && self.posted.is_empty()
    }

    /// As the backend does: pushes what there is, then takes some of the answers.
    pub(super) fn pump(&mut self, stage: &mut Stage, socket: &mut Socket) {
        while self.in_flight < self.requests {
            let Some(key) = stage.next_request() else { break };
            if stage.random.once_in(50) {
                // The submission queue had no room after all.
                let errno = Errno::from_raw(libc::EINTR);
                stage.machine.sent(key, "io_uring", Err(errno), Release::Now);
                continue;
            }
            self.push(stage, socket, key);
        }
        let merged = stage.random.below(self.posted.len() + 1);
        (0..merged).for_each(|_| self.reap(stage, socket));
    }

    fn push(&mut self, stage: &mut Stage, socket: &mut Socket, key: Key) {
        let load = Load::of(&stage.machine, key);
        let request = stage.machine.request(key).expect("the request just made");
        let (zero_copy, more) = (request.mode == Mode::ZeroCopy, request.more);
        let hold = socket.hold(stage, key, &load, zero_copy);
        let taken = Taken { key, load, zero_copy, more, hold, accepted: 0, begun: false };
        self.taken.push(taken);
        self.in_flight += 1;
    }

    /// Takes one answer, as the backend does.
    fn reap(&mut self, stage: &mut Stage, socket: &mut Socket) {
        let Some(posted) = self.posted.pop_front() else { return };
        self.in_flight -= usize::from(posted.flags & F_MORE == 0);
        stage.corked |= posted.corks;
        match verdict(posted.result, posted.flags) {
            Verdict::Sent(outcome, release) => {
                match (outcome, release) {
                    (_, Release::Now) => socket.let_go(stage, posted.hold, false),
                    (Ok(count), Release::Later) => socket.took(posted.hold, count),
                    (Err(_), Release::Later) => {}
                }
                stage.machine.sent(posted.key, "io_uring send", outcome, release);
            }
            Verdict::Released { copied } => {
                socket.let_go(stage, posted.hold, copied);
                stage.machine.released(posted.key, copied);
            }
        }
    }

    /// The kernel works on some request, or notifies of one that is ripe.
    pub(super) fn work(&mut self, stage: &mut Stage, socket: &mut Socket, weather: &mut Weather) {
        if !self.taken.is_empty() && stage.random.once_in(2) {
            let at = stage.random.below(self.taken.len());
            self.work_on(at, stage, socket, weather);
        } else if let Some(hold) = socket.take_ripe(stage) {
            let (key, copied) = (socket.held(hold).key, socket.held(hold).copied);
            let result = if copied { COPIED } else { 0 };
            self.posted.push_back(Posted { key, result, flags: F_NOTIF, hold, corks: false });
        }
    }

    fn work_on(
        &mut self,
        at: usize,
        stage: &mut Stage,
        socket: &mut Socket,
        weather: &mut Weather,
    ) {
        let taken = &mut self.taken[at];
        if socket.dead {
            return self.fail(at, stage, socket, libc::EPIPE);
        }
        if let Some(errno) = weather.strike_dead(stage) {
            socket.reset();
            return self.fail(at, stage, socket, errno);
        }
        if !taken.begun {
            let (kind, spans) = (socket.path.kind, taken.load.pieces.len());
            let target = Target { kind, zero_copy: taken.zero_copy, spans };
            if let Some(errno) = weather.strike(stage, target) {
                return self.fail(at, stage, socket, errno);
            }
            taken.begun = true;
        }
        let left = taken.load.len - taken.accepted;
        let mut count = left.min(socket.room());
        if socket.path.kind == Kind::Datagram {
            count = left;
        } else if stage.random.once_in(4) {
            count = stage.random.below(count + 1);
        }
        if count > 0 || left == 0 {
            socket.accept(stage, &taken.load, (taken.accepted, count), taken.hold);
            taken.accepted += count;
        }
        if taken.accepted == taken.load.len {
            self.complete(at, stage, socket, None);
        } else if stage.random.once_in(30) {
            // Waiting for the rest (MSG_WAITALL) is given up, or cancelled.
            stage.seen.note("requests cancelled in their midst");
            self.fail(at, stage, socket, libc::ECANCELED);
        }
    }

    /// What was accepted before counts more than the error.
    fn fail(&mut self, at: usize, stage: &mut Stage, socket: &mut Socket, errno: i32) {
        let accepted = self.taken[at].accepted > 0;
        self.complete(at, stage, socket, (!accepted).then_some(errno));
    }

    fn complete(&mut self, at: usize, stage: &mut Stage, socket: &mut Socket, error: Option<i32>) {
        let Taken { key, load, zero_copy, more, hold, accepted, .. } = self.taken.swap_remove(at);
        let result = error.map_or(accepted as i32, |errno| -errno);
        let rejected = zero_copy && error.is_some() && stage.random.once_in(3);
        let flags = if zero_copy && !rejected { F_MORE } else { 0 };
        stage.seen.note(match (zero_copy, error, rejected) {
            (false, ..) => "plain completions",
            (true, None, _) => "zero-copy completions with F_MORE",
            (true, Some(_), true) => "zero-copy errors without F_MORE",
            (true, Some(_), false) => "zero-copy errors with F_MORE",
        });
        if error.is_none() && accepted < load.len {
            stage.seen.note("short sends");
        }
        if flags == F_MORE {
            socket.finish(hold);
        }
        let corks = more && accepted == load.len;
        self.posted.push_back(Posted { key, result, flags, hold, corks });
    }
}
