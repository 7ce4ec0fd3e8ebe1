//! One connection from its first moment to its last.
//!
//! ```text
//!  outside, until it has shaken hands ──► opened ──► carried ──► Outcome
//!    └─ told to leave: turned away          └─ told once more: cut
//! ```

use std::sync::Arc;
use std::time::Instant;

use super::Tunnel;
use super::figures::Figures;
use super::outcome::{Mishap, Outcome};
use super::pair::Pair;
use super::places::Place;
use super::stages::Stage;
use crate::transfer::connection::Connection;

/// A connection that counts as open, however it ends: also by a panic. It keeps its place until its
/// outcome has been counted: when all are free, the tunnel reports.
pub(super) struct Visit {
    figures: Arc<Figures>,
    outcome: Outcome,
    place: Place,
}

impl Visit {
    pub(super) fn new(figures: Arc<Figures>, place: Place) -> Self {
        figures.open.inc();
        Self { figures, outcome: Outcome::Failed, place }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.figures.finished(self.outcome);
    }
}

impl Tunnel {
    /// Sees to one connection from its first moment to its last.
    pub(super) async fn see_to(&self, visitor: Connection, mut visit: Visit) {
        let peer = visitor.peer.clone();
        let began = Instant::now();
        let ended = tokio::select! {
            biased;
            ended = self.carry(visitor, &visit.place) => ended,
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
        let opened = self.opening.open(admitted?, deadline).await?;
        let (buffers, figures) = (self.buffers.clone(), self.figures.clone());
        let mut pair = Pair::new(opened, &self.sides, buffers, figures)?;
        pair.carry(&self.sides).await.map(|()| Outcome::Clean)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::{Context, Wake};
    use std::time::Duration;

    use super::super::places::Places;
    use super::*;

    /// Notes, when it is woken, how many connections were cut by then.
    struct Reporter {
        figures: Arc<Figures>,
        reported: AtomicU64,
    }

    impl Wake for Reporter {
        fn wake(self: Arc<Self>) {
            let cut = self.figures.finished_as(Outcome::Cut).get();
            self.reported.store(cut, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_place_is_free_when_the_outcome_has_been_counted() {
        let (figures, places) = (Arc::new(Figures::new()), Places::new(1, Duration::ZERO));
        let mut visit = Visit::new(figures.clone(), places.take().await.unwrap());
        let reporter = Arc::new(Reporter { figures, reported: AtomicU64::default() });
        let mut all_free = pin!(places.all_free());
        let waker = reporter.clone().into();
        assert!(all_free.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        visit.outcome = Outcome::Cut;
        drop(visit);
        assert_eq!(reporter.reported.load(Ordering::Relaxed), 1);
    }
}
