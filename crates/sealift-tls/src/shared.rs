//! What the streams of a process share unless they are given their own: frames to seal into, and
//! rings to send through.
//!
//! ```text
//!  stream ──┐                        ┌── ring, for one core's worth of streams
//!  stream ──┼── 120 frames, 7.5 MiB ─┤
//!  stream ──┘                        └── ring
//! ```
//!
//! Made when the first stream asks, and kept as long as the process lives.

use std::sync::{Arc, Mutex, PoisonError};

use sealift_io::{Pool, Ring};

use crate::error::Result;
use crate::holders::Holders;
use crate::record::MOST_PLAINTEXT_BYTES;

/// The most that a record is longer than its plaintext: AES-GCM in TLS 1.2.
pub(crate) const MOST_OVERHEAD_BYTES: usize = 5 + 8 + 16;
/// Records that a frame holds: a write of 64 KiB, as most servers make them.
const FRAME_RECORDS: usize = 4;
/// Frames that a stream may have under way, unless said.
pub(crate) const FRAMES_IN_FLIGHT: usize = 12;
/// Streams at full speed that there are frames for. More of them share, see `frames.rs`. So much
/// can be registered with one ring where `RLIMIT_MEMLOCK` is the usual 8 MiB; each ring counts
/// anew, and those beyond the limit send unregistered.
const STREAMS_AT_ONCE: usize = 10;
/// Senders that find a place on one ring; those behind them send by system calls.
const SEATS: usize = 4096;
/// A ring is locked while it is entered, and sends run inside that: one for each core, up to this.
const MOST_RINGS: usize = 16;

static SHARED: Mutex<Option<Shared>> = Mutex::new(None);

/// The frames that streams share, and the list of those that have some.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) if the system has no memory for them.
pub(crate) fn pool() -> Result<(Pool, Arc<Holders>)> {
    with(|shared| (shared.pool.clone(), shared.holders.clone()))
}

/// A ring, the next one each time; `None` if there can be none, as the sender will find, too.
pub(crate) fn ring() -> Result<Option<Ring>> {
    with(|shared| shared.next_ring(|pool| Ring::builder().senders(SEATS).pool(pool).build().ok()))
}

fn with<R>(work: impl FnOnce(&mut Shared) -> R) -> Result<R> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    Shared::of_process(&mut shared, std::process::id()).map(work)
}

struct Shared {
    process: u32,
    pool: Pool,
    holders: Arc<Holders>,
    /// Made one by one, as streams ask.
    rings: Vec<Ring>,
    most_rings: usize,
    rings_given: usize,
}

impl Shared {
    /// What is there, if it is this process's. A child has no such memory (`MADV_DONTFORK`), and
    /// must not unmap what lies there by now.
    fn of_process(kept: &mut Option<Self>, process: u32) -> Result<&mut Self> {
        if kept.as_ref().is_none_or(|kept| kept.process != process) {
            let frame_bytes = FRAME_RECORDS * (MOST_PLAINTEXT_BYTES + MOST_OVERHEAD_BYTES);
            let pool = Pool::builder().frames(FRAMES_IN_FLIGHT * STREAMS_AT_ONCE);
            let pool = pool.frame_bytes(frame_bytes).huge_pages(false).build()?;
            let holders = Arc::default();
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let (rings, most_rings) = (Vec::new(), cores.min(MOST_RINGS));
            let made = Self { process, pool, holders, rings, most_rings, rings_given: 0 };
            std::mem::forget(kept.replace(made));
        }
        kept.as_mut().ok_or(crate::Error::Closed)
    }

    fn next_ring(&mut self, build: impl FnOnce(&Pool) -> Option<Ring>) -> Option<Ring> {
        if self.rings.len() < self.most_rings {
            match build(&self.pool) {
                Some(ring) => self.rings.push(ring),
                // Those that are there will do; the first is worth another try.
                None => self.most_rings = self.rings.len().max(1),
            }
        }
        self.rings_given += 1;
        let at = self.rings_given.checked_rem(self.rings.len())?;
        self.rings.get(at).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use sealift_io::Lease;

    use super::*;

    /// What a child leaves alone for ever, which is no leak.
    static PARENTS: OnceLock<(Pool, Arc<Holders>)> = OnceLock::new();

    fn lease_all(shared: &mut Shared) -> Vec<Lease> {
        std::iter::from_fn(|| shared.pool.try_lease()).collect()
    }

    #[test]
    fn a_process_shares_one_pool_and_its_child_another() {
        let mut kept = None;
        let all = FRAMES_IN_FLIGHT * STREAMS_AT_ONCE;
        let leased = lease_all(Shared::of_process(&mut kept, 1).unwrap());
        assert_eq!(leased.len(), all);
        let shared = Shared::of_process(&mut kept, 1).unwrap();
        assert_eq!(lease_all(shared).len(), 0);
        let (_, holders) = PARENTS.get_or_init(|| (shared.pool.clone(), shared.holders.clone()));
        assert_eq!(lease_all(Shared::of_process(&mut kept, 2).unwrap()).len(), all);
        assert!(!Arc::ptr_eq(holders, &kept.unwrap().holders), "its streams are not the child's");
    }

    #[test]
    fn there_are_no_more_rings_than_cores() {
        let mut kept = None;
        let shared = Shared::of_process(&mut kept, 1).unwrap();
        let build = |_: &Pool| Ring::builder().build().ok();
        let given = (0..100).filter(|_| shared.next_ring(build).is_some()).count();
        let cores = std::thread::available_parallelism().unwrap().get();
        assert!(shared.rings.len() <= cores.min(MOST_RINGS));
        assert!(given == 100 || shared.rings.is_empty());
    }

    #[test]
    fn the_rings_that_are_there_will_do() {
        let mut kept = None;
        let shared = Shared::of_process(&mut kept, 1).unwrap();
        shared.most_rings = 3;
        for _ in 0..2 {
            let mut is_tried = false;
            assert!(
                shared
                    .next_ring(|_| {
                        is_tried = true;
                        None
                    })
                    .is_none()
            );
            assert!(is_tried, "there is none yet");
        }
        let Ok(ring) = Ring::builder().build() else { return };
        shared.most_rings = 3;
        assert!(shared.next_ring(|_| Some(ring)).is_some());
        assert!(shared.next_ring(|_| None).is_some(), "one was there");
        assert!(shared.next_ring(|_| panic!("it was refused before")).is_some());
    }
}
