//! The sender's events as futures on a tokio runtime.
//!
//! A dropped future loses nothing: buffers and events stay in the sender, not in the future.

use std::future::poll_fn;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout_at};

use crate::error::{Error, Result};
use crate::message::Message;

use super::completion::{Event, Refused, Tally, Ticket};
use super::machine::Machine;
use super::news::News;
use super::sender::{ABORT_GRACE, ACKNOWLEDGED_EVERY, Closed, Sender};

/// Longer than anybody waits.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A [`Sender`] whose completions are awaited.
#[derive(Debug)]
pub struct AsyncSender {
    sender: Sender,
    news: News,
}

impl AsyncSender {
    /// Registers the sender with the runtime of the calling task.
    ///
    /// # Errors
    /// [`Error::System`] if a descriptor cannot be made or registered.
    pub fn new(sender: Sender) -> Result<Self> {
        let news = News::new(&sender)?;
        Ok(Self { sender, news })
    }

    /// Takes a message and sends what can be sent now; see [`Sender::send`].
    ///
    /// # Errors
    /// As [`Sender::send`]; [`Error::Full`] until an [`event`](AsyncSender::event) is taken.
    pub fn send(&mut self, message: impl Into<Message>) -> std::result::Result<Ticket, Refused> {
        self.sender.send(message)
    }

    /// The next completion or group release; `None` if nothing is under way. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::System`] if the kernel's interface failed.
    pub async fn event(&mut self) -> Result<Option<Event>> {
        self.drive(|machine| machine.has_event() || machine.unsettled() == 0).await?;
        Ok(self.sender.machine_mut().take_event())
    }

    /// As [`Sender::flush`], without a deadline of its own: put it under a timeout. Cancel-safe.
    ///
    /// # Errors
    /// The stream's first fatal error, this time and every time.
    pub async fn flush(&mut self) -> Result<Tally> {
        let mark = self.sender.machine_mut().mark();
        self.drive(|machine| machine.passed(mark)).await?;
        self.sender.tally()
    }

    /// As [`Sender::close`].
    pub async fn close(mut self, deadline: Instant) -> Closed {
        let sent = |machine: &Machine| machine.queued() == 0 && machine.sending() == 0;
        let settled = |machine: &Machine| machine.unsettled() == 0;
        let mut drained = self.drive_before(deadline, sent).await;
        if drained.is_ok() {
            self.sender.end_stream();
            drained = self.drive_before(deadline, settled).await;
        }
        let mut pause = ACKNOWLEDGED_EVERY.0;
        while drained.is_ok() && self.sender.loses_when_closed() {
            match self.sender.is_acknowledged() {
                Ok(true) => break,
                Ok(false) if Instant::now() >= deadline => {
                    drained = Err(Error::Deadline { in_flight: 0 });
                }
                Ok(false) => sleep(pause).await,
                Err(error) => drained = Err(error),
            }
            pause = (pause * 2).min(ACKNOWLEDGED_EVERY.1);
        }
        let unacknowledged_bytes = self.sender.unacknowledged_bytes().unwrap_or(0);
        let aborted = drained.is_err();
        if let Err(error) = drained {
            self.sender.abort(error);
            let _ = self.drive_before(Instant::now() + ABORT_GRACE, settled).await;
        }
        self.sender.into_closed(aborted, unacknowledged_bytes)
    }

    /// The sender itself.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Back to a sender without a runtime.
    pub fn into_sender(self) -> Sender {
        self.sender
    }

    async fn drive_before(
        &mut self,
        deadline: Instant,
        done: impl Fn(&Machine) -> bool,
    ) -> Result<()> {
        let in_time = timeout_at(deadline.into(), self.drive(done)).await;
        in_time.unwrap_or_else(|_| Err(Error::Deadline { in_flight: self.sender.in_flight() }))
    }

    /// Pumps whenever the kernel has something to say, until `done`.
    async fn drive(&mut self, done: impl Fn(&Machine) -> bool) -> Result<()> {
        loop {
            self.sender.submit()?;
            if done(self.sender.machine_mut()) {
                return Ok(());
            }
            let retry = self.sender.retry_in().unwrap_or(FAR);
            tokio::select! {
                ready = poll_fn(|context| self.news.poll(context)) => ready?,
                () = poll_fn(|context| self.sender.poll_news(context)) => {}
                () = sleep(retry) => {}
            }
        }
    }
}

impl AsFd for AsyncSender {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.sender.as_fd()
    }
}
