//! What seals and opens for a stream instead of the caller, until there is a stream.

use crate::ahead::OpeningEngine;
use crate::bulk::{Bulk, SealingEngine};
use crate::error::{Error, Result};
use crate::sealing::Sealing;

/// The engines of one stream.
pub(crate) struct Engines {
    pub(crate) sealing: Option<SealingEngine>,
    pub(crate) opening: Option<OpeningEngine>,
}

impl Engines {
    pub(crate) fn is_any(&self) -> bool {
        self.sealing.is_some() || self.opening.is_some()
    }

    /// Their outcomes would come back to the stream.
    pub(crate) fn have_jobs(&self) -> bool {
        let sealing = self.sealing.as_ref().map_or(0, |engine| engine.in_flight());
        let opening = self.opening.as_ref().map_or(0, |engine| engine.in_flight());
        sealing + opening > 0
    }
}

/// The engine, if it can seal such records.
///
/// # Errors
/// [`Error::Caller`] if it cannot.
pub(crate) fn suited(
    engine: Option<SealingEngine>,
    sealing: &Sealing,
) -> Result<Option<SealingEngine>> {
    match engine {
        Some(engine) if !Bulk::suits(&engine, sealing) => {
            let what = "the engine cannot seal the records that were agreed on: use a router";
            Err(Error::Caller { what })
        }
        engine => Ok(engine),
    }
}
