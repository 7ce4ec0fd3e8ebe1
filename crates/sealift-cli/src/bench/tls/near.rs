//! The near end of a run: it starts the far one, sends, and measures.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustls::ClientConfig;
use sealift::io::baseline::Sample;
use sealift::tls::Bytes;
use serde::de::DeserializeOwned;

use super::order::{Exchange, Found, Greeting, Order, Ready, cpu_seconds, hear, say};
use super::rows::Figures;
use super::stream::{self, PATIENCE, Stream, Usage};
use crate::args::TrustArgs;
use crate::bench::rows::Measured;
use crate::trust;

/// What is sent from, over and over: it fits the caches, as a program's fresh data does.
const REGION_BYTES: usize = 1 << 20;
/// How long the far end may take to say what it complains of.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A round trip that takes longer counts as this.
const LONGEST_NANOSECONDS: u64 = 10_000_000_000;

/// Does what is ordered, with a far end of its own.
pub(super) fn run(order: Order) -> Result<Measured, String> {
    // A machine that has no such engine need not start anything.
    stream::has_engines(order.kind)?;
    let mut far = Far::start(order)?;
    let outcome = exchange(order, &mut far);
    // What the far end says of itself says more than a broken connection.
    outcome.map_err(|error| far.complaint().unwrap_or(error))
}

fn exchange(order: Order, far: &mut Far) -> Result<Measured, String> {
    let Greeting { port, pin } = far.hear()?;
    let config = pin.map(|pin| trusting(&pin)).transpose()?;
    let mut streams = Vec::new();
    for _ in 0..order.exchange.connections() {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        let socket = socket.map_err(|error| error.to_string())?;
        streams.push(Stream::connect(order.kind, socket, config.as_ref())?);
    }
    let region = region(order.exchange);
    let Ready {} = far.hear()?;
    let (begun, cpu_before) = (Instant::now(), cpu_seconds());
    let (usage, latency) = match order.exchange {
        Exchange::Bulk { bytes, write_bytes, .. } => {
            (send_all(streams, &region, bytes, write_bytes)?, None)
        }
        Exchange::PingPong { trips } => {
            let (usage, latency) = ping_pong(streams, trips)?;
            (usage, Some(latency))
        }
    };
    let found: Found = far.hear()?;
    let (elapsed, cpu) = (begun.elapsed(), cpu_seconds() - cpu_before);
    if found.bytes != order.exchange.bytes() {
        return Err(format!("{} of {} bytes came", found.bytes, order.exchange.bytes()));
    }
    let per_gigabyte = |seconds: f64| {
        let is_bulk = matches!(order.exchange, Exchange::Bulk { .. });
        is_bulk.then(|| seconds / (found.bytes as f64 / 1e9))
    };
    let nanoseconds =
        |quantile: f64| latency.as_ref().map(|latency| latency.value_at_quantile(quantile) as f64);
    Ok(Measured {
        sample: Sample {
            bytes: usage.bytes,
            messages: usage.writes,
            elapsed,
            zerocopied_fraction: None,
            syscalls: usage.system_calls,
        },
        tls: Some(Figures {
            cpu_seconds_per_gb_sender: per_gigabyte(cpu),
            cpu_seconds_per_gb_receiver: per_gigabyte(found.cpu_seconds),
            copies_per_byte_sent: Some(usage.copies_per_byte),
            copies_per_byte_received: Some(found.copies_per_byte),
            p50_nanoseconds: nanoseconds(0.5),
            p99_nanoseconds: nanoseconds(0.99),
        }),
    })
}

/// What the connections send from, all of them.
fn region(exchange: Exchange) -> Bytes {
    let largest = match exchange {
        Exchange::Bulk { write_bytes, .. } => write_bytes,
        Exchange::PingPong { .. } => 1,
    };
    let pattern = (0..REGION_BYTES.max(largest)).map(|at| (at % 251) as u8);
    Bytes::from(pattern.collect::<Vec<u8>>())
}

/// A thread for each connection, each with its part of the bytes.
fn send_all(
    streams: Vec<Stream>,
    region: &Bytes,
    bytes: u64,
    write_bytes: usize,
) -> Result<Usage, String> {
    let count = streams.len() as u64;
    thread::scope(|scope| {
        let send = |(at, stream): (u64, Stream)| {
            let part = bytes / count + u64::from(at < bytes % count);
            scope.spawn(move || send_part(stream, region, part, write_bytes))
        };
        let threads: Vec<_> = (0..).zip(streams).map(send).collect();
        let mut sum = Usage::default();
        let mut touched = 0.0;
        for thread in threads {
            let panicked = |_| Err("a thread panicked".to_owned());
            let usage = thread.join().unwrap_or_else(panicked)?;
            sum.bytes += usage.bytes;
            sum.writes += usage.writes;
            sum.system_calls += usage.system_calls;
            touched += usage.copies_per_byte * usage.bytes as f64;
        }
        sum.copies_per_byte = touched / (sum.bytes as f64).max(1.0);
        Ok(sum)
    })
}

fn send_part(
    mut stream: Stream,
    region: &Bytes,
    bytes: u64,
    write_bytes: usize,
) -> Result<Usage, String> {
    let (mut left, mut writes, mut at) = (bytes, 0, 0);
    while left > 0 {
        let count = left.min(write_bytes as u64) as usize;
        if at == 0 || at + count > region.len() {
            // Not for each write, which would cost a small one some of its time.
            stream.be_patient();
            at = 0;
        }
        stream.send(region.slice(at..at + count)).map_err(|error| error.to_string())?;
        left -= count as u64;
        at += count;
        writes += 1;
    }
    stream.finish(bytes, writes)
}

/// One byte there and back, and how long each took.
fn ping_pong(streams: Vec<Stream>, trips: u64) -> Result<(Usage, Histogram<u64>), String> {
    let histogram = Histogram::new_with_bounds(1, LONGEST_NANOSECONDS, 3);
    let mut latency = histogram.map_err(|error| error.to_string())?;
    let mut streams = streams.into_iter();
    let mut stream = streams.next().ok_or("there is no connection")?;
    let (ping, mut pong) = (Bytes::from_static(b"x"), [0]);
    for _ in 0..trips {
        stream.be_patient();
        let begun = Instant::now();
        stream.send(ping.clone()).map_err(|error| error.to_string())?;
        if stream.receive(&mut pong).map_err(|error| error.to_string())? == 0 {
            return Err("the far end has gone".to_owned());
        }
        latency.saturating_record(begun.elapsed().as_nanos() as u64);
    }
    Ok((stream.finish(trips, trips)?, latency))
}

fn trusting(pin: &str) -> Result<Arc<ClientConfig>, String> {
    let pin = Some(pin.parse().map_err(|error| format!("{pin}: {error}"))?);
    let args = TrustArgs { pin, ..TrustArgs::default() };
    trust::client(&args, None).map(Arc::new).map_err(|failure| failure.to_string())
}

/// The process at the far end, which ends with this.
struct Far {
    child: Child,
    /// Held until the end: the far end ends when this does.
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Far {
    fn start(order: Order) -> Result<Self, String> {
        let failed = |error| format!("the far end cannot be started: {error}");
        // The very program that runs, even if its file has been replaced.
        let mut command = Command::new("/proc/self/exe");
        command.args(["bench", "tls", "--far"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().map_err(failed)?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the far end has no pipes".to_owned());
        };
        let mut far = Self { child, orders, answers: BufReader::new(answers) };
        say(&mut far.orders, &order).map_err(|error| far.complaint().unwrap_or(error))?;
        Ok(far)
    }

    /// What it says next, which takes it no longer than [`PATIENCE`].
    fn hear<T: DeserializeOwned>(&mut self) -> Result<T, String> {
        hear_within(&mut self.answers, PATIENCE)
    }

    /// What it complains of, if it has ended in vain.
    fn complaint(&mut self) -> Option<String> {
        // Its connections may have broken before it could say why.
        let until = Instant::now() + LAST_WORDS;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let mut said = String::new();
        self.child.stderr.take()?.read_to_string(&mut said).ok()?;
        let said = said.trim().trim_start_matches("sealift: ");
        (!said.is_empty()).then(|| said.to_owned())
    }
}

/// Hears one thing, a line, all of which is said in time.
fn hear_within<T: DeserializeOwned>(
    from: &mut BufReader<impl Read + AsFd>,
    patience: Duration,
) -> Result<T, String> {
    let until = Instant::now() + patience;
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        if from.buffer().is_empty() {
            wait_for_words(from.get_ref().as_fd(), until)?;
        }
        let heard = from.fill_buf().map_err(|error| unheard(&error))?;
        let end = heard.iter().position(|&byte| byte == b'\n').map_or(heard.len(), |at| at + 1);
        if end == 0 {
            break;
        }
        line.extend_from_slice(&heard[..end]);
        from.consume(end);
    }
    hear(&mut line.as_slice())
}

/// Waits until there is something to be heard, or the end.
fn wait_for_words(from: BorrowedFd<'_>, until: Instant) -> Result<(), String> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|error| error.to_string())?;
        match poll(&mut [PollFd::from_borrowed_fd(from, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err("the far end says nothing".to_owned()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(unheard(&errno)),
        }
    }
}

fn unheard(why: &impl Display) -> String {
    format!("the far end cannot be heard: {why}")
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_far_end_that_says_nothing_is_not_waited_for_for_ever() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut near = BufReader::new(near);
        let silent = hear_within::<Ready>(&mut near, Duration::from_millis(1)).unwrap_err();
        assert_eq!(silent, "the far end says nothing");
        far.write_all(b"{}\n{}\n").unwrap();
        for _ in 0..2 {
            hear_within::<Ready>(&mut near, PATIENCE).unwrap();
        }
    }

    /// As one does that is stopped in the middle of a word.
    #[test]
    fn half_of_a_word_is_not_waited_for_for_ever() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut near = BufReader::new(near);
        far.write_all(b"{").unwrap();
        let half = hear_within::<Ready>(&mut near, Duration::from_millis(1)).unwrap_err();
        assert_eq!(half, "the far end says nothing");
        far.write_all(b"{\"port\":").unwrap();
        let gone = std::thread::spawn(move || far.write_all(b"7,\"pin\":null}"));
        let greeting: Greeting = hear_within(&mut near, PATIENCE).unwrap();
        assert_eq!(greeting.port, 7);
        gone.join().unwrap().unwrap();
        let end = hear_within::<Ready>(&mut near, PATIENCE).unwrap_err();
        assert_eq!(end, "the other end has gone without a word");
    }
}
