//! One direction of a connection: bytes as they come, then the end.
//!
//! ```text
//!  Reading ──bytes──► Writing ──all written──► Reading ──the end──► Ending ──told──► Ended
//! ```
//! The end is told when everything before it is with the kernel: what fails then is the end alone.
//! What comes faster than it goes waits where it is: nothing is read while bytes are held.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use prometheus_client::metrics::counter::Counter;
use sealift::tls::{AsyncTlsStream, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::buffers::Buffers;
use super::plain::Plain;

/// Steps in one go: then it is the turn of others.
const MOST_STEPS: usize = 32;

/// How far a direction has come.
#[derive(Debug)]
enum Step {
    Reading,
    Writing { left: Bytes },
    Ending,
    Ended,
}

/// Where a direction broke.
#[derive(Debug)]
pub(super) enum Broken {
    /// The side that it reads from.
    Source(io::Error),
    /// The side that it writes to.
    Target(io::Error),
    /// That side would not hear of the end.
    End(io::Error),
}

/// Where bytes go.
pub(super) trait Sink: AsyncWrite + Unpin {
    /// Takes from the front of `left`; ready when it took something.
    fn poll_take(&mut self, context: &mut Context<'_>, left: &mut Bytes) -> Poll<io::Result<()>> {
        let written = ready!(Pin::new(self).poll_write(context, left))?;
        drop(left.split_to(written));
        Poll::Ready(Ok(()))
    }
}

impl Sink for Plain {}

impl Sink for AsyncTlsStream {
    /// They are sealed from where they are, here or by an engine.
    fn poll_take(&mut self, context: &mut Context<'_>, left: &mut Bytes) -> Poll<io::Result<()>> {
        self.poll_send_owned(context, left).map_err(io::Error::from)
    }
}

/// One direction.
#[derive(Debug)]
pub(super) struct Carry {
    step: Step,
    /// Something was written that has perhaps not all left.
    is_unflushed: bool,
    /// Something was written since that was asked.
    has_moved: bool,
    moved: Counter,
}

impl Carry {
    /// Counts in `moved` what it carries.
    pub(super) fn new(moved: Counter) -> Self {
        Self { step: Step::Reading, is_unflushed: false, has_moved: false, moved }
    }

    /// Whether it holds bytes, so that nobody reads.
    pub(super) fn holds_bytes(&self) -> bool {
        matches!(self.step, Step::Writing { .. })
    }

    /// Whether it holds bytes and has written none since it was asked the last time.
    pub(super) fn is_stuck(&mut self) -> bool {
        !std::mem::take(&mut self.has_moved) && self.holds_bytes()
    }

    /// Carries on; ready at the end.
    pub(super) fn poll(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut impl Sink,
        buffers: &Arc<Buffers>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        for _ in 0..MOST_STEPS {
            match &self.step {
                Step::Reading => ready!(self.poll_read(from, to, buffers, context))?,
                Step::Writing { .. } => ready!(self.poll_write(to, context))?,
                Step::Ending => {
                    ready!(self.poll_flush(to, context))?;
                    ready!(Pin::new(&mut *to).poll_shutdown(context)).map_err(Broken::End)?;
                    self.step = Step::Ended;
                }
                Step::Ended => return Poll::Ready(Ok(())),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_read(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut impl Sink,
        buffers: &Arc<Buffers>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        let mut buffer = buffers.take();
        let mut into = ReadBuf::new(buffer.room());
        let read = Pin::new(from).poll_read(context, &mut into).map_err(Broken::Source);
        let count = into.filled().len();
        if read?.is_ready() {
            buffer.set_read(count);
            self.step = match count {
                0 => Step::Ending,
                _ => Step::Writing { left: Bytes::from_owner(buffer) },
            };
            return Poll::Ready(Ok(()));
        }
        drop(buffer);
        // Nobody else sees to what a write left behind.
        ready!(self.poll_flush(to, context))?;
        Poll::Pending
    }

    fn poll_flush(
        &mut self,
        to: &mut impl Sink,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        if self.is_unflushed {
            ready!(Pin::new(to).poll_flush(context)).map_err(Broken::Target)?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &mut self,
        to: &mut impl Sink,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        let Step::Writing { left } = &mut self.step else { return Poll::Ready(Ok(())) };
        let before = left.len();
        let taken = to.poll_take(context, left);
        self.moved.inc_by((before - left.len()) as u64);
        self.has_moved |= left.len() < before;
        self.is_unflushed = true;
        ready!(taken).map_err(Broken::Target)?;
        if left.is_empty() {
            self.step = Step::Reading;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    impl Sink for DuplexStream {}

    async fn run(
        carry: &mut Carry,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut impl Sink,
        buffers: &Arc<Buffers>,
    ) -> Result<(), Broken> {
        poll_fn(|context| carry.poll(from, to, buffers, context)).await
    }

    #[tokio::test]
    async fn bytes_go_over_in_order_and_then_the_end() {
        let (mut source, mut from) = duplex(1000);
        let (mut to, mut target) = duplex(77);
        let sent: Vec<u8> = (0..300_000u32).map(|at| (at % 251) as u8).collect();
        let expected = sent.clone();
        let feeding = tokio::spawn(async move {
            source.write_all(&sent).await.unwrap();
            source.shutdown().await.unwrap();
        });
        let reading = tokio::spawn(async move {
            let mut read = Vec::new();
            target.read_to_end(&mut read).await.unwrap();
            read
        });
        let (mut carry, buffers) = (Carry::new(Counter::default()), Arc::default());
        run(&mut carry, &mut from, &mut to, &buffers).await.unwrap();
        assert!(matches!(carry.step, Step::Ended));
        assert_eq!(carry.moved.get(), 300_000);
        feeding.await.unwrap();
        assert!(reading.await.unwrap() == expected);
    }

    #[tokio::test]
    async fn nothing_is_read_while_bytes_are_held() {
        let (mut source, mut from) = duplex(1 << 20);
        let (mut to, _target) = duplex(10);
        source.write_all(&vec![1; 1 << 20]).await.unwrap();
        let (mut carry, buffers) = (Carry::new(Counter::default()), Arc::default());
        let waiting = run(&mut carry, &mut from, &mut to, &buffers);
        let soon = std::time::Duration::from_millis(50);
        tokio::time::timeout(soon, waiting).await.unwrap_err();
        let Step::Writing { left } = &carry.step else { panic!("{:?}", carry.step) };
        assert_eq!(carry.moved.get(), 10);
        let len = left.len() + 10;
        // One buffer was taken from the source, and no more fits there now.
        source.write_all(&vec![2; len]).await.unwrap();
        let more = source.write_all(&[3]);
        tokio::time::timeout(soon, more).await.unwrap_err();
    }

    #[tokio::test]
    async fn what_idles_holds_no_buffer() {
        let (_source, mut from) = duplex(10);
        let (mut to, _target) = duplex(10);
        let (mut carry, buffers) = (Carry::new(Counter::default()), Arc::default());
        let waiting = run(&mut carry, &mut from, &mut to, &buffers);
        let soon = std::time::Duration::from_millis(20);
        tokio::time::timeout(soon, waiting).await.unwrap_err();
        assert!(matches!(carry.step, Step::Reading));
    }
}
