//! A connection with its two sides, both directions at once.
//!
//! ```text
//!  program ◄──► plain ──outward──► sealed ──► the other end
//!                     ◄──inward───        ◄──
//! ```
//!
//! 1. Each direction ends by itself: the end of the program's stream becomes close_notify, and
//!    close_notify the end of the program's stream. The other direction goes on.
//! 2. Sockets stay armed (`transfer/connection.rs`) until both directions have ended: whatever else
//!    closes them resets both sides. So an end that a program sees is one.
//! 3. Before a reset, what was carried already has a moment to arrive; before an end is called one,
//!    everything has arrived at both sides.
//! 4. While a direction is stuck, nobody reads its source: that it was reset shows only in its
//!    error. Nobody may ask for that and go on: it is told once.

use std::future::poll_fn;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use sealift::io::{is_acknowledged, unacknowledged_bytes, unanswered_for};
use sealift::tls::{AsyncTlsStream, Stats};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::Sides;
use super::buffers::Buffers;
use super::carry::{Broken, Carry};
use super::figures::Figures;
use super::opening::{Opened, Sealed};
use super::outcome::{Mishap, Outcome};
use super::plain::Plain;
use crate::endpoint::Endpoint;
use crate::transfer::connection;

/// How often the stream's own figures are added to those of the tunnel.
const TELL_EVERY: Duration = Duration::from_millis(250);
/// How often both sides are looked at while something is outstanding.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a side may leave unanswered what is sent to it: as long as one that idles
/// (`transfer/connection.rs`). It may answer that it has no room as long as it likes.
const SILENCE_MOST: Duration = Duration::from_secs(120);
/// How long what was carried already may take to arrive before a reset.
const LAST_MOMENT: Duration = Duration::from_secs(1);
/// How long nothing of what was carried may arrive after both directions have ended: nobody keeps a
/// place by not reading.
const LAST_WAY: Duration = Duration::from_secs(120);
/// The pause between two looks at what has arrived, at first and at most.
const ARRIVED_EVERY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));

/// A connection through the tunnel.
pub(super) struct Pair {
    plain: Plain,
    sealed: AsyncTlsStream,
    /// The sealed side's socket, to end it.
    socket: OwnedFd,
    outward: Carry,
    inward: Carry,
    buffers: Arc<Buffers>,
    figures: Arc<Figures>,
    told: Stats,
    /// When the figures are told next, if something has moved since they were.
    tells: Pin<Box<Sleep>>,
    has_news: bool,
    /// Both directions have ended (invariant 2).
    is_over: bool,
}

impl Pair {
    /// Registers both sides with the runtime of the calling task.
    pub(super) fn new(
        opened: Opened,
        sides: &Sides,
        buffers: Arc<Buffers>,
        figures: Arc<Figures>,
    ) -> Result<Self, Mishap> {
        let Opened { plain, sealed: Sealed { stream: sealed, socket, took } } = opened;
        figures.shaken(sealed.stream().handshake_kind(), took);
        let before = sealed.stream().stats();
        let plain = Plain::new(plain).map_err(|error| Mishap::here(&sides.plain, error))?;
        Ok(Self {
            plain,
            sealed,
            socket,
            outward: Carry::new(figures.sealed.clone()),
            inward: Carry::new(figures.opened.clone()),
            buffers,
            figures,
            told: before,
            tells: Box::pin(sleep(TELL_EVERY)),
            has_news: false,
            is_over: false,
        })
    }

    /// Carries everything, both ways, to both ends.
    pub(super) async fn carry(&mut self, sides: &Sides) -> Result<(), Mishap> {
        let mut carried = poll_fn(|context| self.poll(context, sides)).await;
        if carried.is_ok() {
            carried = self.see_it_arrive(sides).await;
        }
        self.is_over = carried.is_ok();
        if !self.is_over {
            self.wait_a_moment().await;
        }
        carried
    }

    fn poll(&mut self, context: &mut Context<'_>, sides: &Sides) -> Poll<Result<(), Mishap>> {
        // What the other end has to say first: it may be why the rest fails.
        let (plain, sealed) = (&mut self.plain, &mut self.sealed);
        let inward = match self.inward.poll(sealed, plain, &self.buffers, context) {
            Poll::Ready(Err(broken)) => {
                return Poll::Ready(Err(Mishap::broken(&sides.sealed, &sides.plain, &broken)));
            }
            polled => polled.is_ready(),
        };
        let outward = match self.outward.poll(plain, sealed, &self.buffers, context) {
            Poll::Ready(Err(broken)) => {
                let mishap = Mishap::broken(&sides.plain, &sides.sealed, &broken);
                // It had ended before us, and does not hear it: what it has missed shows at the
                // end.
                let had_gone = matches!(broken, Broken::End(_)) && mishap.outcome == Outcome::Reset;
                if !(inward && had_gone) {
                    return Poll::Ready(Err(mishap));
                }
                true
            }
            polled => polled.is_ready(),
        };
        if inward && outward {
            return Poll::Ready(Ok(()));
        }
        self.look_now_and_then(context, sides).map_or(Poll::Pending, |died| Poll::Ready(Err(died)))
    }

    /// Tells the figures a while after something has moved, and looks whether a side has died that
    /// nobody reads: what idles is not woken for it.
    fn look_now_and_then(&mut self, context: &mut Context<'_>, sides: &Sides) -> Option<Mishap> {
        if !self.has_news {
            self.tells.as_mut().reset(Instant::now() + TELL_EVERY);
            self.has_news = true;
        }
        while self.tells.as_mut().poll(context).is_ready() {
            self.tell();
            if let Some(died) = self.death(sides) {
                return Some(died);
            }
            self.has_news = self.outward.holds_bytes()
                || self.told.sealing.is_some_and(|engine| engine.depth > 0)
                || self.inward.holds_bytes()
                || unanswered_for(&self.socket).is_some()
                || unanswered_for(&self.plain).is_some();
            if !self.has_news {
                break;
            }
            self.tells.as_mut().reset(Instant::now() + LOOK_EVERY);
        }
        None
    }

    /// What the source of a direction that is stuck has died of (invariant 4), or that a side
    /// answers no more: the kernel would ask for a quarter of an hour.
    fn death(&mut self, sides: &Sides) -> Option<Mishap> {
        let died = |socket, source, target| {
            let errno = connection::death(socket)?;
            Some(Mishap::broken(source, target, &Broken::Source(errno.into())))
        };
        let outward = self.outward.is_stuck().then(|| self.plain.as_fd());
        let inward = self.inward.is_stuck().then(|| self.socket.as_fd());
        let (plain, sealed) = (&sides.plain, &sides.sealed);
        outward
            .and_then(|socket| died(socket, plain, sealed))
            .or_else(|| inward.and_then(|socket| died(socket, sealed, plain)))
            .or_else(|| vanished(&self.plain, sealed, plain))
            .or_else(|| vanished(&self.socket, plain, sealed))
    }

    fn tell(&mut self) {
        let now = self.sealed.stream().stats();
        self.figures.add(&self.told, &now);
        self.told = now;
    }

    /// Both directions have ended: waits until the kernels at both ends have everything. What is
    /// dropped sooner may be reset.
    async fn see_it_arrive(&mut self, sides: &Sides) -> Result<(), Mishap> {
        let Self { plain, sealed, socket, .. } = self;
        let missed = |source, target| {
            move |errno: Errno| Mishap::broken(source, target, &Broken::Target(errno.into()))
        };
        let outward = async {
            let ended = let_go_and_arrived(sealed.released(), arrived(socket)).await;
            // Other ends close without reading close_notify: nothing else is missing.
            let lost = || sealed.stream().unacknowledged_bytes();
            ended.or_else(|errno| heard_enough(errno, lost()))
        };
        let inward = async {
            let ended = arrived(plain).await;
            ended.or_else(|errno| heard_enough(errno, plain.unacknowledged_bytes()))
        };
        tokio::try_join!(
            async { outward.await.map_err(missed(&sides.plain, &sides.sealed)) },
            async { inward.await.map_err(missed(&sides.sealed, &sides.plain)) },
        )
        .map(drop)
    }

    /// Lets arrive what was carried already (invariant 3).
    async fn wait_a_moment(&mut self) {
        let last = async {
            // The side that failed has nothing more to take.
            let _ = self.sealed.flush().await;
            let _ = tokio::join!(arrived(&self.socket), arrived(&self.plain));
        };
        let _ = timeout(LAST_MOMENT, last).await;
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // Also of what is cut short.
        self.tell();
        self.figures.forget(&self.told);
        for socket in [self.plain.as_fd(), self.socket.as_fd()] {
            match self.is_over {
                true => connection::disarm(socket),
                false => connection::reset(socket),
            }
        }
    }
}

/// Whether the host at `target` is gone.
fn vanished(socket: &impl AsFd, source: &Endpoint, target: &Endpoint) -> Option<Mishap> {
    let is_gone = unanswered_for(socket)? >= SILENCE_MOST;
    is_gone.then(|| Mishap::broken(source, target, &Broken::Target(Errno::TIMEDOUT.into())))
}

/// Waits until the kernel at the other end has everything, as long as it takes some of it now and
/// then.
///
/// # Errors
/// What the connection died of before; `ETIMEDOUT`.
async fn arrived(socket: &impl AsFd) -> Result<(), Errno> {
    let (mut pause, longest) = ARRIVED_EVERY;
    let (mut least, mut since) = (usize::MAX, Instant::now());
    while !is_acknowledged(socket).map_err(|error| errno(&error))? {
        let outstanding = unacknowledged_bytes(socket).map_err(|error| errno(&error))?;
        if outstanding < least {
            (least, since) = (outstanding, Instant::now());
        } else if since.elapsed() >= LAST_WAY {
            return Err(Errno::TIMEDOUT);
        }
        sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
    Ok(())
}

/// Waits until this kernel has let go of everything, and the one at the other end has it: for both
/// at a time, so that the second is not given its time when the first has had it.
async fn let_go_and_arrived(
    released: impl Future,
    arrived: impl Future<Output = Result<(), Errno>>,
) -> Result<(), Errno> {
    let released = async {
        // What it failed of, the other is told, too.
        let _ = timeout(LAST_WAY, released).await;
        Ok(())
    };
    tokio::try_join!(released, arrived).map(drop)
}

fn errno(error: &sealift::io::Error) -> Errno {
    error.errno().map_or(Errno::CONNRESET, |errno| Errno::from_raw_os_error(errno.raw()))
}

/// Who goes without hearing of the end may do so, if it is known that nothing else was `lost`.
fn heard_enough(errno: Errno, lost: Option<usize>) -> Result<(), Errno> {
    match (errno, lost) {
        (Errno::CONNRESET | Errno::PIPE, Some(0)) => Ok(()),
        _ => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::task::Waker;

    use super::*;

    fn poll(future: impl Future<Output = Result<(), Errno>>) -> Poll<Result<(), Errno>> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Who takes nothing has two minutes, and not those of the kernel behind them.
    #[tokio::test]
    async fn the_last_way_is_waited_for_once() {
        let given_up = Err(Errno::TIMEDOUT);
        let ended = let_go_and_arrived(pending::<()>(), ready(given_up));
        assert_eq!(poll(ended), Poll::Ready(given_up));
        assert!(poll(let_go_and_arrived(pending::<()>(), ready(Ok(())))).is_pending());
        assert!(poll(let_go_and_arrived(ready(()), pending())).is_pending());
        assert_eq!(poll(let_go_and_arrived(ready(()), ready(Ok(())))), Poll::Ready(Ok(())));
    }
}
