//! The end of a stream on a runtime, waited for until it has arrived.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::io::AsyncWrite;
use tokio::time::{sleep, timeout_at};

use super::{AsyncTlsStream, Ending};
use crate::error::Result;
use crate::split::Closed;

/// The pause between two looks at what the peer's kernel has, at first and at most.
const ARRIVED_EVERY: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(20));

impl AsyncTlsStream {
    /// Sends close_notify unless a shutdown did, waits until the peer's kernel has everything, and
    /// ends the stream, as [`TlsStream::close`](crate::TlsStream::close). What is dropped behind it
    /// has arrived. Reading goes on. At the deadline the connection is aborted.
    ///
    /// A future that is dropped has ended the stream as far as it came: it may be closed again.
    ///
    /// # Errors
    /// As [`TlsStream::close`](crate::TlsStream::close).
    pub async fn close(&mut self, deadline: Instant) -> Result<Closed> {
        let arrived = timeout_at(deadline.into(), self.arrive()).await;
        // Nothing is left to wait for, or it is aborted.
        let mut closed = self.stream.close(Instant::now())?;
        if let Ok(Err(error)) = arrived {
            // The socket tells but once what the connection died of.
            closed.aborted = true;
            closed.error = closed.error.or(error.downcast().ok());
        }
        if !closed.aborted {
            self.ending = Ending::Ended;
        }
        Ok(closed)
    }

    /// Ends the stream, and waits until the peer's kernel has all of it.
    async fn arrive(&mut self) -> io::Result<()> {
        poll_fn(|context| Pin::new(&mut *self).poll_shutdown(context)).await?;
        self.released().await?;
        let mut pause = ARRIVED_EVERY.0;
        while !self.has_arrived()? {
            sleep(pause).await;
            pause = (pause * 2).min(ARRIVED_EVERY.1);
        }
        Ok(())
    }

    /// Whether closing the socket loses nothing any more.
    fn has_arrived(&self) -> Result<bool> {
        self.stream.link().with_outflow(|outflow| {
            let sender = outflow.sender()?;
            Ok(!sender.loses_when_closed() || sender.is_acknowledged()?)
        })
    }
}
