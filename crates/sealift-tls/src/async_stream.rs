//! `AsyncTlsStream`: the same stream under tokio's traits.
//!
//! ```text
//!  poll_read  ──► TlsReader, its deadline past ──► would wait: the socket wakes the task, or the
//!                                                              engine that opens for it: Alarm
//!  poll_write ──► TlsWriter, its deadline past ──► would wait: Watch wakes the task, or the engine
//!                                                              that seals for it: Alarm
//! ```
//! A reader that waits looks after what is sealed and did not all leave, too: answers to key
//! updates, and what was written and not flushed; a write that leaves something wakes it. So two
//! tasks may wait for the writing side (`tasks.rs`).

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, ServerConfig};
use sealift_io::{Alarm, Tally, Watch};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::task::coop;

use crate::async_handshake::shake_hands;
use crate::builder::TlsStreamBuilder;
use crate::error::{Error, Result};
use crate::link::Wants;
use crate::speaker::Speaker;
use crate::stream::TlsStream;
use crate::tasks::Half;
use turn::with_front;

mod closing;
mod giving;
mod turn;

/// A [`TlsStream`] on a tokio runtime.
///
/// Made by `connect` or `accept`, it sends by ordinary system calls unless its builder was given a
/// ring or a backend: what was just sealed costs little to copy, and a ring that many tasks share
/// would wake them all. Give each large transfer a ring to send zero-copy.
///
/// A task whose peer keeps up yields to others now and then, as those of tokio's own streams do:
/// one write takes 512 KiB at most, and has its part in tokio's budget.
///
/// | what is awaited | is ready once |
/// |---|---|
/// | `flush` | this system's kernel has taken all that was written |
/// | [`released`](AsyncTlsStream::released) | it reads none of the stream's memory any more |
/// | `shutdown` | it has close_notify and the end of the stream, too |
/// | [`close`](AsyncTlsStream::close) | the peer's kernel has everything: now it may be dropped |
#[derive(Debug)]
pub struct AsyncTlsStream {
    stream: TlsStream,
    watch: Watch,
    /// Of an engine that opens by itself.
    alarm: Option<Alarm>,
    /// Of an engine that seals by itself.
    sealing_alarm: Option<Alarm>,
    /// Wakes all that wait for the writing side.
    waker: Waker,
    /// A deadline that has passed: whatever would wait says so.
    past: Instant,
    ending: Ending,
}

/// How far `poll_shutdown` has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Open,
    Notified,
    Ended,
}

impl AsyncTlsStream {
    /// Registers a stream with the runtime of the calling task. Its deadlines have no meaning any
    /// more: put futures under a timeout.
    ///
    /// # Errors
    /// [`Error::Caller`] outside of a runtime; [`Error::Io`] if the socket cannot be registered;
    /// [`Error::Closed`] if the stream was closed.
    ///
    /// # Panics
    /// If the runtime was built without input and output, or without time.
    pub fn new(mut stream: TlsStream) -> Result<Self> {
        let past = Instant::now();
        stream.set_read_deadline(Some(past));
        stream.set_write_deadline(Some(past));
        let watched = Self::watch(&mut stream);
        let (watch, alarm, sealing_alarm) = watched.inspect_err(|_| {
            // The peer, if it is still there, has a stream: it is told, and not waited for.
            let (link, alert) = (stream.link(), AlertDescription::InternalError);
            let _ = link.with_outflow(|outflow| outflow.send_last(link, alert, Instant::now()));
        })?;
        let waker = Waker::from(stream.link().tasks.clone());
        Ok(Self { stream, watch, alarm, sealing_alarm, waker, past, ending: Ending::Open })
    }

    /// What wakes its tasks: the socket, the engine that opens, and the one that seals.
    fn watch(stream: &mut TlsStream) -> Result<(Watch, Option<Alarm>, Option<Alarm>)> {
        if Handle::try_current().is_err() {
            return Err(Error::Caller { what: "there is no runtime: call it in a task's context" });
        }
        let link = stream.link();
        let watch = link.with_outflow(|outflow| Ok::<_, Error>(Watch::new(outflow.sender()?)?))?;
        let sealing_alarm =
            link.with_outflow(|outflow| outflow.readiness().map(Alarm::new).transpose())?;
        let alarm = stream.halves().0.incoming().readiness().map(Alarm::new).transpose()?;
        Ok((watch, alarm, sealing_alarm))
    }

    /// As [`TlsStreamBuilder::connect`]. While it waits for the peer, the handshake holds no
    /// thread; what is computed runs on one for blocking work, so that signatures hold up no other
    /// task.
    ///
    /// # Errors
    /// As [`TlsStreamBuilder::connect`].
    pub async fn connect(
        builder: TlsStreamBuilder,
        socket: impl Into<OwnedFd>,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        deadline: Instant,
    ) -> Result<Self> {
        let socket = socket.into();
        let begin = move || builder.on_runtime().begin(socket, Speaker::client(config, name)?);
        Self::new(shake_hands(begin, deadline).await?)
    }

    /// As [`TlsStreamBuilder::accept`], and as [`connect`](AsyncTlsStream::connect) does it.
    ///
    /// # Errors
    /// As [`TlsStreamBuilder::accept`].
    pub async fn accept(
        builder: TlsStreamBuilder,
        socket: impl Into<OwnedFd>,
        config: Arc<ServerConfig>,
        deadline: Instant,
    ) -> Result<Self> {
        let socket = socket.into();
        let begin = move || builder.on_runtime().begin(socket, Speaker::server(&config)?);
        Self::new(shake_hands(begin, deadline).await?)
    }

    /// The stream itself: what was negotiated, and the figures.
    pub fn stream(&self) -> &TlsStream {
        &self.stream
    }

    /// Updates the key to seal with, and asks the peer to update its own.
    ///
    /// # Errors
    /// As [`TlsStream::request_key_update`].
    pub async fn request_key_update(&mut self) -> Result<()> {
        poll_fn(|context| {
            let turn = ready!(coop::poll_proceed(context));
            loop {
                match self.stream.request_key_update() {
                    Err(Error::Deadline) => ready!(self.poll_news(Half::Writing, context))?,
                    outcome => {
                        turn.made_progress();
                        return Poll::Ready(outcome);
                    }
                }
            }
        })
        .await
    }

    /// As [`TlsWriter::flush`](crate::TlsWriter::flush): waits until the kernel has let go of the
    /// memory of everything written before, also behind the end of the stream. That it has arrived
    /// is known only where all was sent zero-copy; what is copied, as a runtime's streams are
    /// unless told otherwise, is let go of at once. [`close`](AsyncTlsStream::close) waits for the
    /// rest.
    ///
    /// # Errors
    /// As [`TlsWriter::flush`](crate::TlsWriter::flush).
    pub async fn released(&mut self) -> Result<Tally> {
        poll_fn(|context| {
            loop {
                let link = self.stream.link();
                match link.with_outflow(|outflow| outflow.flush(link, self.past)) {
                    Err(Error::Deadline) => ready!(self.poll_news(Half::Writing, context))?,
                    outcome => return Poll::Ready(outcome),
                }
            }
        })
        .await
    }

    /// Ready when a write that could not go on may be able to; else the task is woken then, by the
    /// sender, by the engine that seals, or by whoever gets the write on.
    fn poll_news(&mut self, half: Half, context: &mut Context<'_>) -> Poll<Result<()>> {
        let (link, watch, alarm) = (self.stream.link(), &mut self.watch, &self.sealing_alarm);
        link.with_outflow(|outflow| {
            if !link.tasks.enlist(half, context) {
                return Poll::Ready(Ok(()));
            }
            let context = &mut Context::from_waker(&self.waker);
            if !outflow.is_idle()
                && let Poll::Ready(Err(error)) = listen(alarm.as_ref(), context)
            {
                return Poll::Ready(Err(error));
            }
            match outflow.sender() {
                Ok(sender) => watch.poll_news(sender, context).map_err(Error::from),
                // That is told to those who write, and nothing is wanted of it any more.
                Err(_) if half == Half::Reading => Poll::Ready(Ok(())),
                // Who ended it since says why.
                Err(error) => Poll::Ready(Err(link.check().err().unwrap_or(error))),
            }
        })
    }

    /// Waits until the kernel has everything that is sealed.
    fn poll_handed_over(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            let link = self.stream.link();
            match link.with_outflow(|outflow| outflow.hand_over(link, self.past)) {
                Err(Error::Deadline) => ready!(self.poll_news(Half::Writing, context))?,
                outcome => return Poll::Ready(outcome),
            }
        }
    }
}

/// Wakes the task when an engine may have got further. Ready only with an error.
fn listen(alarm: Option<&Alarm>, context: &mut Context<'_>) -> Poll<Result<()>> {
    match alarm {
        Some(alarm) => alarm.set(context).map_err(Error::from),
        None => {
            // It works when it is polled.
            context.waker().wake_by_ref();
            Poll::Pending
        }
    }
}

impl AsyncRead for AsyncTlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let readable = this.watch.poll_readable(context).map_err(Error::from)?;
            let reader = this.stream.halves().0;
            // No system call to be told that there is nothing.
            let received = reader.receive_now(into, readable.is_ready());
            let was_readable = readable.is_ready();
            if let Poll::Ready(readable) = readable
                && reader.is_dry()
            {
                readable.exhausted();
            }
            match received {
                Ok(None) | Err(Error::Deadline) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
                Ok(Some(count)) => {
                    into.advance(count);
                    return Poll::Ready(Ok(()));
                }
            }
            let link = this.stream.link();
            if link.wants(Wants::ANY) {
                if this.poll_news(Half::Reading, context)?.is_ready() {
                    this.stream.link().tend();
                    continue;
                }
            } else if !link.tasks.enlist(Half::Reading, context) || link.wants(Wants::ANY) {
                // From now on it is woken by whoever leaves something behind.
                continue;
            }
            let incoming = this.stream.halves().0.incoming();
            if incoming.awaits_engine() {
                // One that holds nothing, and took nothing, wakes nobody: it is asked again.
                let alarm = incoming.is_engine_busy().then_some(this.alarm.as_ref()).flatten();
                return listen(alarm, context).map_err(io::Error::from);
            }
            if !was_readable {
                return Poll::Pending;
            }
        }
    }
}

impl AsyncWrite for AsyncTlsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let turn = ready!(coop::poll_proceed(context));
        let sent = with_front(slices, |slices| {
            let mut sent = self.stream.halves().1.send_unless_stuck(slices);
            while let Err(Error::Deadline) = sent {
                ready!(self.poll_news(Half::Writing, context))?;
                sent = self.stream.halves().1.send(slices);
            }
            Poll::Ready(sent)
        });
        let sent = ready!(sent);
        turn.made_progress();
        Poll::Ready(Ok(sent?))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.ending {
            Ending::Ended => Poll::Ready(Ok(())),
            _ => Poll::Ready(Ok(ready!(self.poll_handed_over(context))?)),
        }
    }

    /// Sends close_notify, and ends the stream once this system's kernel has it. Reading goes on.
    ///
    /// What the peer's kernel has not acknowledged by then is not safe yet: who drops this while
    /// bytes of the peer lie unread in the socket, which may be nothing but a server's tickets, has
    /// TCP reset the connection, and lose it. [`close`](AsyncTlsStream::close) waits for that,
    /// before a shutdown or behind it; or read up to the peer's end.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ending == Ending::Open {
            let link = self.stream.link();
            link.with_outflow(|outflow| outflow.notify_end(link))?;
            self.ending = Ending::Notified;
        }
        if self.ending == Ending::Notified {
            ready!(self.poll_handed_over(context))?;
            self.stream.link().end_stream()?;
            self.ending = Ending::Ended;
        }
        Poll::Ready(Ok(()))
    }
}
