//! `Frame`: a lease that an engine writes into.

use sealift_crypto::{Destination, Spares};
use sealift_io::{Lease, Pool};

/// The frame of a [`Lease`], for an engine to write into: records are sealed where they leave from.
///
/// A [`Pool`] whose frames are as long as the stream's is all the [`Spares`] that a
/// [`Router`](sealift_crypto::Router) wants. Let it be a pool of its own: a stream's may be empty
/// at the very moment when its engine is late.
///
/// ```
/// use sealift_crypto::{Router, Workers};
/// use sealift_io::Pool;
/// use sealift_tls::TlsStream;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let frames = Pool::builder().frames(16).frame_bytes(4 * 16_413).build()?;
/// let spares = Pool::builder().frames(4).frame_bytes(4 * 16_413).build()?;
/// let engine = Router::builder().spares(spares).build(Workers::builder().build()?)?;
/// let builder = TlsStream::builder().pool(&frames).sealing_engine(engine);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Frame(Lease);

impl Frame {
    /// The lease, to be used for something else.
    pub fn into_lease(self) -> Lease {
        self.0
    }
}

impl From<Lease> for Frame {
    fn from(lease: Lease) -> Self {
        Self(lease)
    }
}

impl Destination for Frame {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.frame_mut()
    }
}

impl Spares<Frame> for Pool {
    fn take(&mut self, len_bytes: usize) -> Option<Frame> {
        let lease = self.try_lease()?;
        (lease.capacity() >= len_bytes).then_some(Frame(lease))
    }

    fn give(&mut self, destination: Frame) {
        drop(destination);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_has_spares_as_long_as_its_frames_and_gets_them_back() {
        let pool = Pool::builder().frames(2).frame_bytes(1024).huge_pages(false);
        let mut pool = pool.build().unwrap();
        assert!(pool.take(1025).is_none());
        let spare = pool.take(1024).unwrap();
        let other = pool.take(1).unwrap();
        assert!(pool.take(1).is_none());
        pool.give(spare);
        drop(other.into_lease());
        assert_eq!(pool.stats().leased, 0);
    }
}
