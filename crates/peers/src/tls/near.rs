//! The near end of a run: it starts the far one, sends, and measures.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connections::{Done, Work, check_suites, connect, share};
use super::content::Content;
use super::far::{Found, Way};
use super::{Kind, Load};
use crate::child::{Other, processor_time};
use crate::trust::Identity;

/// What one run found.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Processor time of the sending process.
    pub(super) sender: Duration,
    /// Processor time of the receiving one.
    pub(super) receiver: Duration,
    /// Until the far end had everything.
    pub(super) elapsed: Duration,
    /// How often each byte was touched outside of the kernel, where the library says so.
    pub(super) copies_per_byte_sent: Option<f64>,
    pub(super) copies_per_byte_received: Option<f64>,
    /// Of round trips, ascending.
    pub(super) trips: Vec<Duration>,
}

impl Sample {
    /// Processor time of both ends.
    pub(super) fn both_ends(&self) -> Duration {
        self.sender + self.receiver
    }

    /// How long a round trip took, or less, in so many of a hundred; `None` without round trips.
    pub(super) fn percentile(&self, percent: usize) -> Option<Duration> {
        self.trips.get(self.trips.len() * percent / 100).copied()
    }
}

pub(super) fn measure(load: Load, kind: Kind, identity: &Identity) -> io::Result<Sample> {
    let way = if matches!(load, Load::Bulk { .. }) { Way::Take } else { Way::Echo };
    let count = load.connections();
    let arguments = ["far", kind.name(), &count.to_string(), way.name()];
    let mut far = Other::start(&arguments, identity)?;
    let content = Arc::new(Content::new(load.write_bytes()));
    let connections = connect(kind, far.port, count, identity)?;
    check_suites(kind, &connections.suites())?;
    let (there, here, begun) = (far.processor_time()?, processor_time(), Instant::now());
    let done = connections.work(&|number| match load {
        Load::Bulk { bytes, write_bytes, .. } => Work::Send {
            content: content.clone(),
            bytes: share(bytes, count, number),
            piece_bytes: write_bytes,
        },
        Load::PingPong { trips } => Work::Bounce { trips },
    });
    let Done { copies_per_byte, mut trips, .. } = Done::sum(done?);
    let found: Found = far.hear()?;
    let (elapsed, sender) = (begun.elapsed(), processor_time() - here);
    let receiver = far.processor_time()? - there;
    check_suites(kind, &found.suites)?;
    if found.suites.len() != count || found.bytes != load.bytes() {
        let (came, connections) = (found.bytes, found.suites.len());
        let what = format!("{came} of {} bytes came on {connections} connections", load.bytes());
        return Err(io::Error::other(what));
    }
    trips.sort_unstable();
    let copies_per_byte_sent = copies_per_byte;
    let copies_per_byte_received = found.copies_per_byte;
    Ok(Sample { sender, receiver, elapsed, copies_per_byte_sent, copies_per_byte_received, trips })
}
