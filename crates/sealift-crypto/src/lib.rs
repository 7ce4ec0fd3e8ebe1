//! AEAD engines: owned jobs in, each back exactly once, whoever did the work.
//!
//! ```text
//!  Units ──► Job (key, source, destination) ──submit──► Engine ──poll──► Done ──► Sequencer
//!                                                        inline, workers,            in order
//!                                                        ipsec-mb, coprocessor;
//!                                                        router over any
//! ```
//!
//! A [`Job`] owns the memory it works on, so no engine, thread or device can outlive it. Its key
//! counts what it seals before the job exists. Sealing out of place replaces a copy: the plaintext
//! is read once, the ciphertext is written once, where it is sent from.
//!
//! ```
//! use std::collections::VecDeque;
//! use sealift_crypto::{Engine, Inline, Job, Key, Limits, Nonce, Payload, Suite, Unit, TAG_BYTES};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let suite = Suite::Aes128Gcm;
//! let key = Key::new(suite, &[7; 16], Limits::tls(suite))?;
//! let payload = Payload::Apart { source: &b"hello"[..], destination: vec![0; 5 + TAG_BYTES] };
//! let unit = Unit::new(Nonce([0; 12]), 0..5, 0).with(b"header");
//!
//! let mut engine = Inline::new();
//! let mut jobs = VecDeque::from([Job::seal(&key, payload, vec![unit], 1)?]);
//! engine.submit(&mut jobs);
//! let mut done = VecDeque::new();
//! engine.poll(&mut done);
//! assert!(done[0].result.is_ok());
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]

#[cfg(feature = "baseline")]
pub mod baseline;
mod beacon;
mod bell;
mod chaos;
mod coprocessor;
mod engine;
mod error;
mod ffi;
mod finished;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod inline;
mod ipsec_mb;
mod job;
mod key;
mod message;
mod moment;
mod panics;
mod random;
mod router;
mod sequencer;
#[cfg(any(test, fuzzing))]
#[path = "../../sealift-io/tests/support/skip.rs"]
mod skip;
mod suite;
mod sync;
mod workers;

pub use chaos::{Chaos, ChaosStats, Faults};
pub use coprocessor::{Coprocessor, CoprocessorBuilder, Crash};
pub use engine::{Capabilities, Done, Engine, EngineStats, Stopped};
pub use error::{Error, Result, Unavailable};
pub use inline::Inline;
pub use ipsec_mb::IpsecMb;
pub use job::{
    Destination, Direction, Job, MOST_ASSOCIATED_BYTES, Payload, Refused, Scattered, Source, Unit,
    Units,
};
pub use key::{Key, Nonce};
pub use router::{Fallbacks, Router, RouterBuilder, RouterStats, Shelf, Spares};
pub use sequencer::{Place, Sequencer};
pub use suite::{Limits, NONCE_BYTES, Suite, TAG_BYTES};
pub use workers::{Workers, WorkersBuilder};
