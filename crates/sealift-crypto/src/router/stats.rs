//! The counters of a router.

/// Jobs that were done here although another engine was to do them, by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fallbacks {
    /// It had no room.
    pub full: u64,
    /// It had no slot for the key.
    pub no_key_slot: u64,
    /// It does not do such jobs.
    pub unsuited: u64,
    /// It took nothing at all.
    pub dead: u64,
    /// It gave the job back with an error.
    pub error: u64,
    /// It took longer than the time-out.
    pub timeout: u64,
}

impl Fallbacks {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.full + self.no_key_slot + self.unsuited + self.dead + self.error + self.timeout
    }
}

/// The figures of a [`Router`](crate::Router).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RouterStats {
    /// Jobs that were done here from the start.
    pub inline: u64,
    /// Jobs that the other engine took.
    pub offloaded: u64,
    /// Jobs that were done here after all.
    pub fallbacks: Fallbacks,
    /// Jobs that came back after they had been done here; their destinations became spares.
    pub late: u64,
    /// Times that a job could not be done over because there was no spare that fits.
    pub spareless: u64,
    /// Times that the other engine was quarantined.
    pub quarantines: u64,
    /// Jobs in the other engine's hands now, late ones too.
    pub out: usize,
    /// What a byte costs the caller's thread here, in nanoseconds, if that was measured.
    pub inline_ns_per_byte: Option<f64>,
    /// What a byte costs the caller's thread through the other engine.
    pub offload_ns_per_byte: Option<f64>,
}
