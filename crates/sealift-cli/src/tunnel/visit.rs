//! One connection from its first moment to its last.
//!
//! ```text
//!  outside, until it has shaken hands ──► opened ──► carried ──► Outcome
//!    └─ told to leave: turned away          └─ told once more: cut
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::Tunnel;
use super::figures::Figures;
use super::outcome::{Mishap, Outcome};
use super::pair::Pair;
use super::places::Place;
use super::stages::Stage;
use crate::transfer::connection::Connection;

/// How late an opening that was given up may be.
const LATE: Duration = Duration::from_secs(1);

/// A connection that counts as open, however it ends: also by a panic.
pub(super) struct Visit {
    figures: Arc<Figures>,
    outcome: Outcome,
}

impl Visit {
    pub(super) fn new(figures: Arc<Figures>) -> Self {
        figures.open.inc();
        Self { figures, outcome: Outcome::Failed }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.figures.finished(self.outcome);
    }
}

impl Tunnel {
    /// Sees to one connection from its first moment to its last.
    pub(super) async fn see_to(&self, visitor: Connection, mut visit: Visit, place: Place) {
        let peer = visitor.peer.clone();
        let began = Instant::now();
        let ended = tokio::select! {
            biased;
            ended = self.carry(visitor, &place) => ended,
            () = self.stages.reached(Stage::Now) => Ok(Outcome::Cut),
        };
        visit.outcome = match ended {
            Ok(outcome) => outcome,
            Err(mishap) => {
                self.complaints.about(&peer, &mishap.failure);
                mishap.outcome
            }
        };
        let outcome = visit.outcome;
        let seconds = began.elapsed().as_secs_f64();
        tracing::info!(%peer, outcome = outcome.name(), seconds, "connection ended");
    }

    async fn carry(&self, visitor: Connection, place: &Place) -> Result<Outcome, Mishap> {
        let deadline = self.opening.deadline();
        let admitted = tokio::select! {
            biased;
            admitted = self.opening.admit(visitor, deadline) => Some(admitted),
            () = self.stages.reached(Stage::Ending) => None,
            () = place.wanted() => None,
        };
        // It was not let in: there is nothing to wait for, and nothing to cut.
        let Some(admitted) = admitted.filter(|_| place.let_in()) else {
            return Ok(Outcome::TurnedAway);
        };
        // It keeps its time itself, unless it gets no thread.
        let opened = self.opening.open(admitted?, deadline);
        let opened = timeout_at((deadline + LATE).into(), opened).await;
        let opened = opened.unwrap_or_else(|_| Err(self.opening.too_late()))?;
        let (buffers, figures) = (self.buffers.clone(), self.figures.clone());
        let mut pair = Pair::new(opened, &self.sides, buffers, figures)?;
        pair.carry(&self.sides).await.map(|()| Outcome::Clean)
    }
}
