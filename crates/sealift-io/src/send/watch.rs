//! When to look at a sender again, for tasks that drive one by themselves.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::time::{Instant, Sleep, sleep};

use crate::error::Result;
use crate::sys::readiness::watch;

use super::backend::Backend;
use super::news::{News, system};
use super::sender::Sender;

/// How long a sender that has nothing under way is left alone: what its caller waits for comes from
/// elsewhere, as from others who share a pool.
const NAP: Duration = Duration::from_millis(5);

/// Wakes a task when calls of a [`Sender`] that could not go on may be able to, and when its socket
/// has something to read.
///
/// Where [`AsyncSender`](super::AsyncSender) is a sender with futures, this stands beside one, for
/// those who implement `poll_write` and the like: call with a deadline that has passed, and if that
/// is what it fails with, poll for news and call again.
#[derive(Debug)]
pub struct Watch {
    socket: AsyncFd<Arc<OwnedFd>>,
    /// `None` as long as the socket itself can tell: it has had no error yet.
    news: Option<News>,
    /// Made for the first nap, which most streams never take.
    nap: Option<Pin<Box<Sleep>>>,
    is_napping: bool,
}

impl Watch {
    /// Registers the sender with the runtime of the calling task: its socket itself, which a
    /// runtime watches for one at a time, and a further descriptor unless it copies.
    ///
    /// # Errors
    /// [`Error::System`](crate::Error::System) if a descriptor cannot be made or registered.
    pub fn new(sender: &Sender) -> Result<Self> {
        let is_notified = sender.backend().backend != Backend::Copy;
        let news = is_notified.then(|| News::new(sender)).transpose()?;
        let socket = watch(sender.socket().clone()).map_err(system("epoll_ctl"))?;
        Ok(Self { socket, news, nap: None, is_napping: false })
    }

    /// Ready when the sender may have news since the last time; it may have none after all.
    ///
    /// # Errors
    /// [`Error::System`](crate::Error::System) if the runtime has gone.
    pub fn poll_news(&mut self, sender: &Sender, context: &mut Context<'_>) -> Poll<Result<()>> {
        let news = match &self.news {
            Some(news) => news.poll(context),
            None => self.poll_room(sender, context),
        };
        if news.is_ready() {
            return news;
        }
        if sender.poll_news(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let idle = (sender.in_flight() == 0).then_some(NAP);
        if let Some(pause) = sender.retry_in().or(idle) {
            let nap = self.nap.get_or_insert_with(|| Box::pin(sleep(pause)));
            if !self.is_napping {
                nap.as_mut().reset(Instant::now() + pause);
                self.is_napping = true;
            }
            if nap.as_mut().poll(context).is_ready() {
                self.is_napping = false;
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    }

    /// Ready when the socket has room, or its first error.
    fn poll_room(&mut self, sender: &Sender, context: &mut Context<'_>) -> Poll<Result<()>> {
        let ready = ready!(self.socket.poll_write_ready(context));
        let mut guard = ready.map_err(system("epoll_wait"))?;
        let is_closed = guard.ready().is_write_closed();
        // Cleared before the caller looks, so that no later edge is lost.
        guard.clear_ready();
        if is_closed {
            // Or others have the kernel put something into its error queue.
            self.news = Some(News::new(sender)?);
        }
        Poll::Ready(Ok(()))
    }

    /// Ready as long as the socket may have something to read: until that is
    /// [`exhausted`](Readable::exhausted).
    ///
    /// # Errors
    /// [`Error::System`](crate::Error::System) if the runtime has gone.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<Result<Readable<'_>>> {
        let ready = self.socket.poll_read_ready(context);
        ready.map(|ready| ready.map(Readable).map_err(system("epoll_wait")))
    }
}

/// A socket that may have something to read.
#[derive(Debug)]
pub struct Readable<'a>(AsyncFdReadyGuard<'a, Arc<OwnedFd>>);

impl Readable<'_> {
    /// There was no more, or less than there was room for. What came since this was made counts as
    /// news.
    pub fn exhausted(mut self) {
        self.0.clear_ready();
    }
}
