//! A handshake on a tokio runtime: it waits as a task, and computes on a thread for blocking work.
//!
//! A peer that says nothing holds a socket and what has come, and no thread: however many of them
//! there are, others' handshakes go on.

use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::time::Instant;

use sealift_io::Watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout_at;

use crate::begun::{Begun, Turn};
use crate::error::{Error, Result};
use crate::stream::TlsStream;

/// Shakes hands until `deadline`. In memory of its own: a task is as large for ever as the largest
/// of what it ever waits for.
pub(crate) fn shake_hands(
    begin: impl FnOnce() -> Result<Box<Begun>> + Send + 'static,
    deadline: Instant,
) -> Pin<Box<impl Future<Output = Result<TlsStream>> + Send>> {
    Box::pin(try_shake_hands(begin, deadline))
}

async fn try_shake_hands(
    begin: impl FnOnce() -> Result<Box<Begun>> + Send + 'static,
    deadline: Instant,
) -> Result<TlsStream> {
    let mut turn =
        on_thread(deadline, || begin().map(|begun| begun.turn(Instant::now()))).await??;
    let mut watch = None;
    loop {
        let mut begun = match turn {
            Turn::Over(stream) => return Ok(*stream),
            Turn::Failed(parting, error) => {
                parting.close_on_runtime(deadline).await;
                return Err(error);
            }
            Turn::Waits(begun) => begun,
        };
        let watch = match &mut watch {
            Some(watch) => watch,
            None => watch.insert(Watch::new(begun.sender())?),
        };
        let waiting = poll_fn(|context| begun.poll_wire(watch, context));
        turn = match timeout_at(deadline.into(), waiting).await.unwrap_or(Err(Error::Deadline)) {
            Ok(()) => on_thread(deadline, || begun.turn(Instant::now())).await?,
            Err(error) => Turn::Failed(begun.part(), error),
        };
    }
}

/// Work that a thread is to do: not any more, if it had not begun when whoever asked for it went.
struct Errand<T>(JoinHandle<T>);

impl<T> Drop for Errand<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is under way at the deadline ends by itself.
async fn on_thread<T: Send + 'static>(
    deadline: Instant,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let mut errand = Errand(spawn_blocking(work));
    match timeout_at(deadline.into(), &mut errand.0).await {
        Ok(Ok(done)) => Ok(done),
        // Of a verifier or a resolver, which is the caller's code.
        Ok(Err(error)) if error.is_panic() => resume_unwind(error.into_panic()),
        Ok(Err(_)) => Err(Error::Caller { what: "the runtime ended during the handshake" }),
        Err(_) => Err(Error::Deadline),
    }
}
