//! How a connection ends that does not become a stream: the alert that says why arrives first.

use std::time::{Duration, Instant};

#[cfg(feature = "tokio")]
use sealift_io::AsyncSender;
use sealift_io::Sender;

/// How long the alert may take to reach the peer's kernel.
const LINGER: Duration = Duration::from_secs(1);

/// What is left of it, with the alert on its way; nothing, if the connection is gone.
pub(crate) struct Parting(Option<Box<Sender>>);

impl From<Sender> for Parting {
    fn from(sender: Sender) -> Self {
        Some(sender).into()
    }
}

impl From<Option<Sender>> for Parting {
    fn from(sender: Option<Sender>) -> Self {
        Self(sender.map(Box::new))
    }
}

impl Parting {
    /// Ends the connection once the alert has arrived, or at `deadline`.
    pub(crate) fn close(self, deadline: Instant) {
        if let Some(sender) = self.0 {
            let _ = sender.close(deadline.min(Instant::now() + LINGER));
        }
    }

    /// The same on a runtime.
    #[cfg(feature = "tokio")]
    pub(crate) async fn close_on_runtime(self, deadline: Instant) {
        if let Some(Ok(sender)) = self.0.map(|sender| AsyncSender::new(*sender)) {
            let _ = sender.close(deadline.min(Instant::now() + LINGER)).await;
        }
    }
}
