//! Places for those who come, as many as there may be at a time.
//!
//! ```text
//!  take ──► Place, outside ──let_in──► Place, kept until it is dropped
//!              └─ told to leave, the oldest first, if none is free and another has come
//! ```
//!
//! 1. Who is still outside is told to leave only after it had some time, so that those who have
//!    something to say can say it. So visitors who say nothing keep nobody out, as long as no more
//!    of them come in that time than there are places: in the tunnel, that is in a second.
//! 2. Who was told to leave is not let in any more, and who was let in is not told to leave.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    most: u32,
    /// How long everybody may be outside.
    patience: Duration,
    /// The oldest first.
    outside: Mutex<VecDeque<Arc<Outsider>>>,
}

#[derive(Debug)]
struct Outsider {
    came: Instant,
    leave: Notify,
}

/// One of the places.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    holder: Arc<Outsider>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(most: u32, patience: Duration) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(most as usize));
        Arc::new(Self { free, most, patience, outside: Mutex::default() })
    }

    /// A place for one who has come, when there is one. One asks at a time; `None` never comes.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Place> {
        let mut free = Box::pin(self.free.clone().acquire_owned());
        let permit = tokio::select! {
            biased;
            permit = &mut free => permit,
            () = self.tell_the_oldest() => free.await,
        };
        let holder = Arc::new(Outsider { came: Instant::now(), leave: Notify::new() });
        self.outside().push_back(holder.clone());
        Some(Place { places: self.clone(), holder, _permit: permit.ok()? })
    }

    /// Tells one to leave, as soon as one had its time.
    async fn tell_the_oldest(&self) {
        loop {
            let until = self.outside().front().map(|oldest| oldest.came + self.patience);
            match until {
                Some(until) if until <= Instant::now() => break,
                Some(until) => sleep_until(until).await,
                // Nobody comes to be outside meanwhile.
                None => pending().await,
            }
        }
        if let Some(oldest) = self.outside().pop_front() {
            oldest.leave.notify_one();
        }
    }

    /// How many are outside.
    pub(super) fn outside_count(&self) -> usize {
        self.outside().len()
    }

    /// Waits until everybody has left; nobody comes any more then.
    pub(super) async fn all_free(&self) {
        // They are free again at once.
        let _ = self.free.acquire_many(self.most).await;
    }

    fn outside(&self) -> MutexGuard<'_, VecDeque<Arc<Outsider>>> {
        self.outside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Lets its holder in, unless it was told to leave.
    pub(super) fn let_in(&self) -> bool {
        let mut outside = self.places.outside();
        let at = outside.iter().position(|other| Arc::ptr_eq(other, &self.holder));
        at.and_then(|at| outside.remove(at)).is_some()
    }

    /// Waits until its holder is told to leave.
    pub(super) async fn wanted(&self) {
        self.holder.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.let_in();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future>(future: F) -> Poll<F::Output> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn the_oldest_outside_gives_way() {
        let places = Places::new(3, Duration::ZERO);
        let inside = places.take().await.unwrap();
        assert!(inside.let_in());
        let (older, younger) = (places.take().await.unwrap(), places.take().await.unwrap());
        assert_eq!(places.outside_count(), 2);
        let mut next = Box::pin(places.take());
        assert!(poll(&mut next).is_pending(), "none is free");
        assert!(poll(older.wanted()).is_ready());
        assert!(poll(younger.wanted()).is_pending() && poll(inside.wanted()).is_pending());
        assert!(!older.let_in(), "it was told to leave");
        assert!(poll(&mut next).is_pending(), "one is enough");
        drop(older);
        assert!(poll(next).is_ready());
        assert!(younger.let_in());
    }

    #[tokio::test]
    async fn everybody_has_some_time_and_who_is_inside_stays() {
        let places = Places::new(1, Duration::from_secs(3600));
        let first = places.take().await.unwrap();
        let mut next = Box::pin(places.take());
        assert!(poll(&mut next).is_pending() && poll(first.wanted()).is_pending());
        assert!(first.let_in());
        assert!(poll(&mut next).is_pending() && poll(first.wanted()).is_pending());
        drop(first);
        let next = next.await.unwrap();
        assert!(poll(places.all_free()).is_pending());
        drop(next);
        assert_eq!((places.outside_count(), poll(places.all_free())), (0, Poll::Ready(())));
    }
}
