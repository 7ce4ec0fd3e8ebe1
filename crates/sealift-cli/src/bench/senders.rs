//! The rows that do the bench's work through the public `Sender`: completions handled, buffers
//! used again only after their release.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use sealift::io::baseline::Sample;
use sealift::io::{Backend, Error, Event, Lease, Pool, Returned, Sender};

use super::rows::{Destination, Measured, Row};

/// Buffers in rotation.
const FRAMES: usize = 128;
/// Messages that are queued between two looks at the clock.
const MESSAGES_PER_LOOK: usize = 128;
/// How long the last releases may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The four rows: each backend by itself, and the one that probing chooses.
pub(crate) fn rows() -> Vec<Row> {
    let kinds = [
        ("sender-uring", "Sender over io_uring", Some(Backend::Uring)),
        ("sender-msg-zerocopy", "Sender over MSG_ZEROCOPY", Some(Backend::MsgZerocopy)),
        ("sender-copy", "Sender over plain sends", Some(Backend::Copy)),
        ("sender-auto", "Sender, backend and policy chosen by probing", None),
    ];
    let row = |(name, about, backend): (&'static str, &'static str, Option<Backend>)| {
        Row::swept(
            name,
            about,
            Box::new(move |destination: &Destination, payload_bytes, duration| {
                let sample = run(backend, destination, payload_bytes, duration);
                sample.map(Measured::from).map_err(|error| error.to_string())
            }),
        )
    };
    kinds.into_iter().map(row).collect()
}

fn run(
    backend: Option<Backend>,
    destination: &Destination,
    payload_bytes: usize,
    duration: Duration,
) -> Result<Sample, Box<dyn std::error::Error>> {
    let any = if destination.address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(destination.address)?;
    let pool = Pool::builder().frames(FRAMES).frame_bytes(payload_bytes).build()?;
    let mut builder = Sender::builder().pool(&pool);
    if let Some(backend) = backend {
        builder = builder.backend(backend);
    }
    let mut sender = builder.build(socket)?;
    let mut free: Vec<Lease> = std::iter::from_fn(|| pool.try_lease()).collect();
    free.iter_mut().for_each(|lease| lease.set_len(payload_bytes));

    let begun = Instant::now();
    let mut messages = 0;
    while begun.elapsed() < duration {
        for _ in 0..MESSAGES_PER_LOOK {
            let lease = next(&mut sender, &mut free)?;
            sender.queue(lease).map_err(|refused| refused.error)?;
            messages += 1;
        }
    }
    sender.flush(Instant::now() + PATIENCE)?;
    let elapsed = begun.elapsed();
    let stats = sender.stats();
    Ok(Sample {
        bytes: stats.bytes.total(),
        messages,
        elapsed,
        zerocopied_fraction: (stats.zero_copy_requests > 0).then(|| stats.zero_copied_fraction()),
        syscalls: stats.system_calls,
    })
}

/// A buffer that is free, or the next that comes back.
fn next(sender: &mut Sender, free: &mut Vec<Lease>) -> Result<Lease, Error> {
    loop {
        if let Some(lease) = free.pop() {
            return Ok(lease);
        }
        let mut failed = None;
        let events = sender.drain(|event| {
            if let Returned::Message(done) = event {
                if let Err(error) = &done.result {
                    failed.get_or_insert_with(|| error.clone());
                }
                free.extend(done.take_lease());
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        if events == 0 {
            // With nothing under way no buffer would ever come.
            let event = sender.wait(Instant::now() + PATIENCE)?.ok_or(Error::Closed)?;
            if let Event::Completed(done) = event {
                done.result.clone()?;
                free.extend(done.into_lease());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Over loopback, where everything arrives: the row counts what it really sent.
    #[test]
    fn each_row_sends_what_it_counts() {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = peer.local_addr().unwrap();
        let destination = Destination { address, device: "loopback".to_owned() };
        for mut row in rows() {
            let sample = (row.work)(&destination, 1_000, Duration::from_millis(5)).unwrap();
            let sample = sample.sample;
            assert_eq!(sample.bytes, sample.messages * 1_000, "{}", row.name);
            assert!(sample.messages > 0, "{}", row.name);
        }
    }
}
