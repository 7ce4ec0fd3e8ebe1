//! Waiting that is never silent: how long nothing has moved, whose turn it was, and when it is
//! enough.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec, poll};
use rustix::io::Errno;

use crate::failure::{Action, Failure};
use crate::progress::Waiting;
use crate::quantity::{self, DURATION_MAX};
use crate::terminal::Terminal;

/// The longest sleep in one go: progress is shown and patience asked this often.
pub(crate) const NAP: Duration = Duration::from_millis(100);
/// When nobody sees a bar, a stall of this length is worth a line.
const WORTH_A_LINE: Duration = Duration::from_secs(60);

/// Polls for at most `time`. An interruption counts as nothing seen.
pub(crate) fn poll_for(polled: &mut [PollFd<'_>], time: Duration) -> Result<(), Errno> {
    let time =
        Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() };
    match poll(polled, Some(&time)) {
        Ok(_) => Ok(()),
        Err(Errno::INTR) => {
            polled.iter_mut().for_each(PollFd::clear_revents);
            Ok(())
        }
        Err(errno) => Err(errno),
    }
}

/// How long nothing has moved.
#[derive(Debug)]
pub(crate) struct Patience {
    action: Action,
    url: String,
    idle_timeout: Option<Duration>,
    seen: (u64, u64),
    waiting: Waiting,
    since: Instant,
    said: bool,
    terminal: Terminal,
}

impl Patience {
    pub(crate) fn new(
        action: Action,
        url: String,
        idle_timeout: Option<Duration>,
        terminal: &Terminal,
    ) -> Self {
        Self {
            action,
            url,
            idle_timeout: idle_timeout.filter(|timeout| !timeout.is_zero()),
            seen: (0, 0),
            waiting: Waiting::Peer,
            since: Instant::now(),
            said: false,
            terminal: terminal.clone(),
        }
    }

    /// How long nothing may move: `--idle-timeout`, or longer than anybody waits.
    pub(crate) fn limit(&self) -> Duration {
        self.idle_timeout.unwrap_or(DURATION_MAX)
    }

    /// What it is when nothing has moved for as long as that.
    pub(crate) fn exhausted(&self) -> Failure {
        Failure::Stalled { action: self.action, url: self.url.clone(), after: self.limit() }
    }

    /// Looks at two counts that change when something moves; says since when they have not.
    ///
    /// # Errors
    /// [`Failure::Stalled`] if that was the other end's doing for longer than `--idle-timeout`.
    pub(crate) fn look(
        &mut self,
        counts: (u64, u64),
        waiting: Waiting,
    ) -> Result<(Waiting, Duration), Failure> {
        if counts != self.seen || waiting != self.waiting {
            self.seen = counts;
            self.waiting = waiting;
            self.since = Instant::now();
            self.said = false;
        }
        let stalled = self.since.elapsed();
        if waiting == Waiting::Peer {
            if stalled >= self.limit() {
                return Err(self.exhausted());
            }
            if stalled >= WORTH_A_LINE && !self.said && !self.terminal.is_watched() {
                self.said = true;
                self.terminal.notice(&format!(
                    "{} on {}: nothing has moved for {}; waiting (--idle-timeout would give up)",
                    self.action,
                    self.url,
                    quantity::duration(stalled)
                ));
            }
        }
        Ok((waiting, stalled))
    }
}
