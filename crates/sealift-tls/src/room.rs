//! Room to receive into, lent to a stream as long as something lies in it.
//!
//! ```text
//!  Inflow ──take──► Room ──drop──► spare │ spare │ spare ──take──► another stream's
//! ```
//!
//! 1. A stream that waits has no room, unless a part of a record is in it: so an idle connection
//!    costs none.
//! 2. Who needs room gets it: waiting for another stream's could be waiting for oneself. Only so
//!    much is kept spare, and the rest is freed.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::record::MOST_RECORD_BYTES;

/// What is received at a time at most: seven full records, a piece of a second-level cache.
pub(crate) const ROOM_BYTES: usize = 128 * 1024;
// What may come with the end of the handshake fits.
const _: () = assert!(ROOM_BYTES >= 2 * MOST_RECORD_BYTES);
/// What is kept for the next that ask, so that streams in use allocate nothing: 2 MiB.
const MOST_SPARE: usize = 16;

static SPARE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

fn spare() -> MutexGuard<'static, Vec<Box<[u8]>>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Memory with whatever an earlier stream left in it; none at first.
#[derive(Default)]
pub(crate) struct Room(Box<[u8]>);

impl Room {
    pub(crate) fn take() -> Self {
        let spare = spare().pop();
        Self(spare.unwrap_or_else(|| vec![0; ROOM_BYTES].into_boxed_slice()))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let room = std::mem::take(&mut self.0);
        if room.is_empty() {
            return;
        }
        let mut spare = spare();
        if spare.len() < MOST_SPARE {
            spare.push(room);
        }
    }
}

impl Deref for Room {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
