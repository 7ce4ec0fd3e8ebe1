//! Where a stream's frames come from, and how many it may have.
//!
//! 1. Of the shared pool a stream takes another frame only while more are free than it has under
//!    way. However many peers hold their streams up, each of those then has few, and some are left
//!    (the dynamic threshold of switches with shared memory; Choudhury and Hahne, 1998).
//! 2. A stream with nothing under way is not made to wait for the shared pool: if it is empty, a
//!    frame is mapped for this once. So no stream ever waits for another one's peer.
//! 3. A pool that was given is all there is.

use std::sync::Arc;

use sealift_io::{Lease, Pool};

use crate::error::Result;
use crate::holders::Holders;
use crate::shared;

/// A stream's frames.
#[derive(Clone, Debug)]
pub(crate) enum Frames {
    /// Of the user's pool.
    Given(Pool),
    /// Of the pool that the process's streams share, and who has some.
    Shared(Pool, Arc<Holders>),
}

impl Frames {
    pub(crate) fn new(given: Option<Pool>) -> Result<Self> {
        match given {
            Some(pool) => Ok(Self::Given(pool)),
            None => {
                let (pool, holders) = shared::pool()?;
                Ok(Self::Shared(pool, holders))
            }
        }
    }

    pub(crate) fn pool(&self) -> &Pool {
        match self {
            Self::Given(pool) | Self::Shared(pool, _) => pool,
        }
    }

    /// A frame for a stream that has so many messages under way; `None` if it has to wait.
    pub(crate) fn try_lease(&self, in_flight: usize) -> Result<Option<Lease>> {
        match self {
            Self::Given(pool) => Ok(pool.try_lease()),
            Self::Shared(pool, holders) => {
                if pool.free_frames() <= in_flight {
                    holders.reap();
                }
                let lease = match pool.free_frames() > in_flight {
                    true => pool.try_lease(),
                    false => None,
                };
                match lease {
                    None if in_flight == 0 => Ok(one_more(pool)?.try_lease()),
                    lease => Ok(lease),
                }
            }
        }
    }

    /// Where a stream is listed, if others want its frames back as soon as they are free.
    pub(crate) fn holders(&self) -> Option<&Holders> {
        match self {
            Self::Given(_) => None,
            Self::Shared(_, holders) => Some(holders),
        }
    }
}

/// A pool of one frame, which is gone when that comes home.
fn one_more(like: &Pool) -> Result<Pool> {
    let frame_bytes = like.stats().frame_bytes;
    Ok(Pool::builder().frames(1).frame_bytes(frame_bytes).huge_pages(false).build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: usize = 12;

    fn pool() -> Pool {
        Pool::builder().frames(FRAMES).frame_bytes(4096).huge_pages(false).build().unwrap()
    }

    /// What a stream gets if nothing of it ever comes home.
    fn hoard(frames: &Frames) -> Vec<Lease> {
        let mut leases = Vec::new();
        while let Some(lease) = frames.try_lease(leases.len()).unwrap() {
            leases.push(lease);
        }
        leases
    }

    #[test]
    fn a_stream_that_is_held_up_leaves_half_of_what_is_there() {
        let frames = Frames::Shared(pool(), Arc::default());
        let hoards: Vec<Vec<Lease>> = (0..4).map(|_| hoard(&frames)).collect();
        assert_eq!(hoards.iter().map(Vec::len).collect::<Vec<usize>>(), [6, 3, 2, 1]);
        assert_eq!(frames.pool().free_frames(), 0);
    }

    #[test]
    fn no_stream_waits_for_anothers() {
        let frames = Frames::Shared(pool(), Arc::default());
        let all: Vec<Lease> = std::iter::from_fn(|| frames.pool().try_lease()).collect();
        assert_eq!(all.len(), FRAMES);
        let lease = frames.try_lease(0).unwrap().unwrap();
        assert_eq!(lease.capacity(), 4096);
        assert!(frames.try_lease(1).unwrap().is_none());
        drop(lease);
        assert_eq!(frames.pool().free_frames(), 0, "it was no frame of the pool's");
    }

    #[test]
    fn a_pool_that_was_given_is_all_there_is() {
        let frames = Frames::new(Some(pool())).unwrap();
        assert_eq!(hoard(&frames).len(), FRAMES);
        let all = hoard(&frames);
        assert!(frames.try_lease(0).unwrap().is_none());
        drop(all);
    }
}
