//! What the tunnel is at: starting, when a signal ends it as it ends any program; serving until a
//! signal, then ending, and with a second signal at once.

use std::io;
use std::sync::Arc;

use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::sync::watch;

use crate::cleanup;

/// How long connections are welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Nobody has come.
    Starting,
    Serving,
    /// No new ones.
    Ending,
    /// None at all.
    Now,
}

/// What signals have said.
#[derive(Clone, Debug)]
pub(super) struct Stages {
    told: Arc<watch::Sender<(Stage, i32)>>,
}

impl Stages {
    /// Starts to listen to signals. A third one, or another, ends the process as it does elsewhere.
    ///
    /// # Errors
    /// As [`cleanup::watch_signals`].
    pub(super) fn watch_signals() -> io::Result<Self> {
        let told = Arc::new(watch::Sender::new((Stage::Starting, 0)));
        let tells = told.clone();
        cleanup::watch_signals_but(move |signal| {
            let asks = matches!(signal, SIGINT | SIGTERM);
            asks && tells.send_if_modified(|told| {
                let next = match told.0 {
                    Stage::Serving => Stage::Ending,
                    Stage::Ending => Stage::Now,
                    Stage::Starting | Stage::Now => return false,
                };
                *told = (next, signal);
                true
            })
        })?;
        Ok(Self { told })
    }

    /// From here on connections are welcome.
    pub(super) fn serve(&self) {
        self.told.send_modify(|told| told.0 = Stage::Serving);
    }

    /// Waits until it is this stage, or a later one.
    pub(super) async fn reached(&self, stage: Stage) {
        // It cannot be closed: its sender is here.
        let _ = self.told.subscribe().wait_for(|(now, _)| *now >= stage).await;
    }

    /// Time is up.
    pub(super) fn end_now(&self) {
        self.told.send_modify(|told| told.0 = Stage::Now);
    }

    /// The signal that came last.
    pub(super) fn signal(&self) -> i32 {
        self.told.borrow().1
    }
}
