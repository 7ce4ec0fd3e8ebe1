//! How an engine ends that its stream needs no more.
//!
//! ```text
//!  engine ──recall──► all jobs back ──► dropped with its stream
//!              └────► some stay ──let_go──► dropped by a thread of its own
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sealift_crypto::{Destination, Done, Engine, Error, Inline, Source};

/// How long it has to bring its jobs back: as long as a worker may need for the one it is at. A
/// task's thread waits for this, too.
const GRACE: Duration = Duration::from_millis(2);

/// Takes the jobs back that it can bring soon; says how many it may still work on.
pub(crate) fn recall<S, D>(
    engine: &mut Box<dyn Engine<S, D>>,
    done: &mut VecDeque<Done<S, D>>,
) -> usize {
    match engine.quiesce(Instant::now() + GRACE, done) {
        Ok(()) => 0,
        Err(Error::Deadline { in_flight }) => in_flight,
        Err(_) => engine.in_flight(),
    }
}

/// Has it dropped by a thread of its own, for it may wait for its threads or its device there.
pub(crate) fn let_go<S: Source + 'static, D: Destination + 'static>(
    engine: &mut Box<dyn Engine<S, D>>,
) {
    let engine = std::mem::replace(engine, Box::new(Inline::new()));
    let thread = std::thread::Builder::new().name("sealift-retired".into());
    // Where the system has no thread to give, it is dropped here.
    let _ = thread.spawn(move || drop(engine));
}
