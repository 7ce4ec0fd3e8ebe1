//! One contract for all engines: what is taken comes back once, right, and with its memory.
//!
//! 1. Every job taken comes back exactly once, and its bytes equal the inline engine's.
//! 2. A refused job stays with the caller, untouched and in its place.
//! 3. `quiesce` ends by its deadline, and a dropped engine keeps no memory.
//! 4. Panics of sources and destinations cost their own job only.
//! 5. The figures add up.
//! 6. Streams that share an engine do not wait for each other.
//!
//! Every run prints its seed if it fails; `SEALIFT_SEED` repeats one.

mod chaos;
mod contract;
mod coprocessor;
mod memory;
mod plan;
mod router;
mod run;
mod streams;
mod workers;
