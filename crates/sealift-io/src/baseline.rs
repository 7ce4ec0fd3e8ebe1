//! The bare loops that `sealift bench send` compares the library against.
//!
//! Each sends one buffer again and again, as fast as one way of sending allows: no pool, no owner,
//! no completion for a caller. They show what the kernel can do, and so what the library's
//! ownership costs. Their buffer lives for ever and is never written after it was filled, which is
//! why they can be safe functions.
//!
//! A [`Baseline`] returns when the kernel holds none of its sends any more, or with
//! [`Error::Deadline`](crate::Error::Deadline) when it does not let go in time.
#![forbid(unsafe_code)]

mod calls;
mod rings;
mod wires;

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::sys::baseline;
use calls::Reading;
use rings::{Memory, Plan};

/// How long a loop waits for a kernel that does nothing before it gives up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Messages between two looks at the clock; liburing's example looks every 16 batches.
const MESSAGES_PER_LOOK: u32 = 16;

/// One segment of the rows named `gso-…`, in bytes.
pub const SEGMENT_BYTES: u16 = 1400;

/// One message of the rows named `gso-…`, in bytes: 44 segments.
pub const TRAIN_BYTES: usize = 44 * SEGMENT_BYTES as usize;

/// What one run of a loop did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Bytes of payload that the kernel took.
    pub bytes: u64,
    /// Messages they were sent in; a train of segments is one message.
    pub messages: u64,
    /// From before the first send until the kernel had let go of the last.
    pub elapsed: Duration,
    /// The part of the messages that the kernel says it did not copy; `None` where the loop asked
    /// for copies. Merged `MSG_ZEROCOPY` notifications count as their first part.
    pub zerocopied_fraction: Option<f64>,
    /// System calls that the sending thread made.
    pub syscalls: u64,
}

/// Over what a loop sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// UDP datagrams to the destination.
    Udp,
    /// UDP trains of [`SEGMENT_BYTES`] each to the destination.
    UdpTrains,
    /// TCP over loopback to a thread that throws everything away; the destination is not used.
    TcpLoopback,
}

/// A bare loop, by the name of its row in the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Baseline {
    name: &'static str,
    about: &'static str,
    wire: Wire,
    work: Work,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Copy,
    Msg(Reading),
    Uring(Plan),
}

const fn row(name: &'static str, wire: Wire, work: Work, about: &'static str) -> Baseline {
    Baseline { name, about, wire, work }
}

const fn uring(batch: u32, memory: Memory) -> Work {
    Work::Uring(Plan::plain(batch, memory))
}

/// Every bare loop, in the order of the bench's table.
#[rustfmt::skip]
pub const ALL: [Baseline; 16] = [
    row("copy", Wire::Udp, Work::Copy, "one plain send per message"),
    row("msg-zerocopy", Wire::Udp, Work::Msg(Reading::EachSend),
        "MSG_ZEROCOPY, error queue read and socket polled after each send"),
    row("msg-zerocopy-unread", Wire::Udp, Work::Msg(Reading::WhenFull),
        "MSG_ZEROCOPY, polled after each send, error queue read at the end only"),
    row("msg-zerocopy-batched", Wire::Udp, Work::Msg(Reading::Every(32)),
        "MSG_ZEROCOPY, error queue read every 32 sends"),
    row("uring-copy-8", Wire::Udp, uring(8, Memory::Copied),
        "io_uring plain sends, 8 a call"),
    row("uring-zc-1", Wire::Udp, uring(1, Memory::Ordinary),
        "io_uring zero-copy, ordinary memory, 1 a call"),
    row("uring-zc-8", Wire::Udp, uring(8, Memory::Ordinary),
        "io_uring zero-copy, ordinary memory, 8 a call"),
    row("uring-zc-fixed-1", Wire::Udp, uring(1, Memory::Registered),
        "io_uring zero-copy, registered memory, 1 a call"),
    row("uring-zc-fixed-8", Wire::Udp, uring(8, Memory::Registered),
        "io_uring zero-copy, registered memory, 8 a call"),
    row("uring-zc-fixed-best", Wire::Udp, Work::Uring(Plan::BEST),
        "io_uring zero-copy, registered memory, best batch and ring flags"),
    row("gso-copy", Wire::UdpTrains, Work::Copy, "44 segments a message, plain send"),
    row("gso-msg-zerocopy", Wire::UdpTrains, Work::Msg(Reading::EachSend),
        "44 segments a message, MSG_ZEROCOPY as in msg-zerocopy"),
    row("gso-uring-zc-fixed", Wire::UdpTrains, Work::Uring(Plan::BEST),
        "44 segments a message, io_uring as in uring-zc-fixed-best"),
    row("tcp-copy", Wire::TcpLoopback, Work::Copy, "TCP over loopback, plain send"),
    row("tcp-msg-zerocopy", Wire::TcpLoopback, Work::Msg(Reading::EachSend),
        "TCP over loopback, MSG_ZEROCOPY as in msg-zerocopy"),
    row("tcp-uring-zc-fixed-8", Wire::TcpLoopback, uring(8, Memory::Registered),
        "TCP over loopback, io_uring as in uring-zc-fixed-8"),
];

impl Baseline {
    /// The row's name: stable, scripts compare by it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What the loop does, in one line.
    pub fn about(&self) -> &'static str {
        self.about
    }

    /// Over what it sends.
    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// Sends messages of `payload_bytes` to `destination` (an IPv4 address; TCP rows ignore it) for
    /// `duration`, and returns when the kernel has let go of the last of them.
    ///
    /// # Errors
    /// What the kernel refused; [`Error::Deadline`](crate::Error::Deadline) if it stopped taking
    /// or releasing messages for five seconds.
    pub fn run(
        &self,
        destination: SocketAddr,
        payload_bytes: usize,
        duration: Duration,
    ) -> Result<Sample> {
        let payload = baseline::payload(payload_bytes)?;
        match self.wire {
            Wire::Udp => self.work.run(wires::udp(destination, None)?.as_fd(), payload, duration),
            Wire::UdpTrains => {
                let socket = wires::udp(destination, Some(SEGMENT_BYTES))?;
                self.work.run(socket.as_fd(), payload, duration)
            }
            Wire::TcpLoopback => {
                let stream = wires::DrainedStream::open()?;
                let sample = self.work.run(stream.near().as_fd(), payload, duration);
                stream.close();
                sample
            }
        }
    }
}

impl Work {
    fn run(
        &self,
        socket: BorrowedFd<'_>,
        payload: &'static [u8],
        duration: Duration,
    ) -> Result<Sample> {
        match self {
            Self::Copy => calls::copy(socket, payload, duration),
            Self::Msg(reading) => calls::zero_copy(*reading, socket, payload, duration),
            Self::Uring(plan) => rings::run(plan, socket, payload, duration),
        }
    }
}

/// Says when to stop, without a look at the time for every message.
struct Clock {
    begun: Instant,
    duration: Duration,
    since_look: u32,
}

impl Clock {
    fn start(duration: Duration) -> Self {
        Self { begun: Instant::now(), duration, since_look: 0 }
    }

    /// Whether there is time for `messages` more.
    #[inline]
    fn running(&mut self, messages: u32) -> bool {
        self.since_look += messages;
        if self.since_look < MESSAGES_PER_LOOK {
            return true;
        }
        self.since_look = 0;
        self.begun.elapsed() < self.duration
    }

    fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    /// Runs `row` to a loopback socket that nobody reads; `None` if this machine cannot.
    fn run(row: &Baseline, payload_bytes: usize) -> Option<Sample> {
        let sink = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let address = sink.local_addr().unwrap();
        match row.run(address, payload_bytes, Duration::from_millis(20)) {
            Ok(sample) => Some(sample),
            Err(Error::System { call, errno }) => {
                eprintln!("{}: {call}: {errno}", row.name());
                None
            }
            Err(error) => panic!("{}: {error}", row.name()),
        }
    }

    #[test]
    fn every_row_runs_and_accounts_for_its_bytes() {
        for row in &ALL {
            let bytes = if row.wire() == Wire::UdpTrains { TRAIN_BYTES } else { 9_000 };
            let Some(sample) = run(row, bytes) else { continue };
            assert!(sample.messages > 0 && sample.syscalls > 0, "{}", row.name());
            if row.wire() == Wire::TcpLoopback {
                assert!(sample.bytes <= sample.messages * bytes as u64, "{}", row.name());
            } else {
                assert_eq!(sample.bytes, sample.messages * bytes as u64, "{}", row.name());
            }
        }
    }

    #[test]
    fn loopback_is_reported_as_copied() {
        for row in ALL.iter().filter(|row| row.wire() != Wire::UdpTrains) {
            let Some(sample) = run(row, 9_000) else { continue };
            let expected = if row.name().contains("copy") && !row.name().contains("zerocopy") {
                None
            } else {
                Some(0.0)
            };
            assert_eq!(sample.zerocopied_fraction, expected, "{}", row.name());
        }
    }

    #[test]
    fn names_are_unique() {
        for (index, row) in ALL.iter().enumerate() {
            assert!(ALL[..index].iter().all(|other| other.name() != row.name()));
        }
    }

    #[test]
    fn a_payload_that_does_not_fit_is_the_callers_fault() {
        let to = SocketAddr::from(([127, 0, 0, 1], 9));
        for bytes in [0, (2 << 20) + 1] {
            let refused = ALL[0].run(to, bytes, Duration::from_millis(1));
            assert!(matches!(refused, Err(Error::Caller { .. })));
        }
        assert!(matches!(ALL[0].run(to, 65_508, Duration::ZERO), Err(Error::System { .. })));
    }
}
