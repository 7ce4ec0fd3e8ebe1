//! What tasks give away, in turns.

use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::task::coop;

use super::AsyncTlsStream;
use super::turn::TURN_BYTES;
use crate::error::{Error, Refused, Result};
use crate::tasks::Half;

impl AsyncTlsStream {
    /// Gives `bytes` away, as [`TlsStream::send_owned`](crate::TlsStream::send_owned): it waits for
    /// room, and for nothing else. A future that is dropped drops what was not taken.
    ///
    /// # Errors
    /// As [`TlsStream::send_owned`](crate::TlsStream::send_owned).
    pub async fn send_owned(&mut self, bytes: impl Into<Bytes>) -> Result<(), Refused> {
        let mut rest = bytes.into();
        let given = poll_fn(|context| self.poll_send_owned(context, &mut rest)).await;
        given.map_err(|error| Refused { rest, error })
    }

    /// The same for those who poll: what is not taken yet stays in `rest`, for the next call. It is
    /// taken 512 KiB at a time, so that others have their turn.
    ///
    /// # Errors
    /// As [`TlsStream::send_owned`](crate::TlsStream::send_owned).
    pub fn poll_send_owned(
        &mut self,
        context: &mut Context<'_>,
        rest: &mut Bytes,
    ) -> Poll<Result<()>> {
        let turn = ready!(coop::poll_proceed(context));
        let given = loop {
            match self.give(rest) {
                Err(Error::Deadline) => ready!(self.poll_news(Half::Writing, context))?,
                given => break given,
            }
        };
        turn.made_progress();
        if given.is_ok() && !rest.is_empty() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(given)
    }

    /// Gives the front of `rest` away, as much as one turn takes, and takes from it what was given.
    fn give(&mut self, rest: &mut Bytes) -> Result<()> {
        if rest.len() <= TURN_BYTES {
            return self.stream.send_owned(mem::take(rest)).map_err(|refused| {
                *rest = refused.rest;
                refused.error
            });
        }
        let given = self.stream.send_owned(rest.slice(..TURN_BYTES));
        let left_bytes = given.as_ref().map_or_else(|refused| refused.rest.len(), |()| 0);
        rest.advance(TURN_BYTES - left_bytes);
        given.map_err(Error::from)
    }
}
