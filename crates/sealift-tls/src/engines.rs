//! What seals and opens for a stream instead of the caller, until there is a stream.

use crate::ahead::OpeningEngine;
use crate::bulk::{Bulk, SealingEngine};
use crate::error::{Error, Result};
use crate::sealing::Sealing;

/// Its outcomes would come back to the stream.
pub(crate) const IS_BUSY: Error =
    Error::Caller { what: "the engine has somebody else's jobs in it" };

/// How an engine is made.
pub(crate) type MakeSealing = Box<dyn FnOnce() -> Result<SealingEngine> + Send>;

/// What seals.
pub(crate) enum Sealer {
    Made(SealingEngine),
    /// Made once both ends have agreed: a peer that never gets so far costs none.
    Awaited(MakeSealing),
}

impl Sealer {
    fn in_flight(&self) -> usize {
        match self {
            Self::Made(engine) => engine.in_flight(),
            Self::Awaited(_) => 0,
        }
    }

    /// The engine for such records.
    ///
    /// # Errors
    /// Those of making it; [`Error::Caller`] if it cannot seal them.
    pub(crate) fn engine_for(self, sealing: &Sealing) -> Result<SealingEngine> {
        let engine = match self {
            Self::Made(engine) => engine,
            Self::Awaited(make) => make()?,
        };
        if engine.in_flight() > 0 {
            return Err(IS_BUSY);
        } else if !Bulk::suits(&engine, sealing) {
            let what = "the engine cannot seal the records that were agreed on: use a router";
            return Err(Error::Caller { what });
        }
        Ok(engine)
    }
}

/// The engines of one stream.
pub(crate) struct Engines {
    pub(crate) sealing: Option<Sealer>,
    pub(crate) opening: Option<OpeningEngine>,
}

impl Engines {
    /// Whether somebody else has work in them.
    pub(crate) fn have_jobs(&self) -> bool {
        let sealing = self.sealing.as_ref().map_or(0, Sealer::in_flight);
        let opening = self.opening.as_ref().map_or(0, |engine| engine.in_flight());
        sealing + opening > 0
    }
}
