//! Streams a memory region that somebody keeps writing, as live migration of a machine does.
//!
//! ```text
//!  writer ──writes──► region ◄──reads── kernel ◄── sender ── rounds over ── dirty bitmap
//!     └──────────────── marks what it wrote ────────────────────────────────────┘
//! ```
//!
//! Each round sends the pages that were written since they were last sent, straight from the live
//! memory, and ends with a `flush`: only then is it known that what the peer has is at least as new
//! as the round's beginning. When little is left the writer is stopped and the rest is copied; the
//! copy must then equal the original.
//!
//! Run with `cargo run --release --example migrate -- [MIB] [uring|msg-zerocopy|copy]`.

use std::error::Error;
use std::io::{BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sealift::io::{Backend, Error as IoError, Message, Sender, SharedMemory};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const PAGE_BYTES: usize = 4096;
/// Neighbouring dirty pages go out together, up to this many.
const RUN_PAGES: usize = 64;
/// With no more dirty pages than this the writer is stopped.
const FINAL_PAGES: usize = 256;
const MOST_ROUNDS: usize = 30;
/// A run's header: first page and number of pages, both 64 bits. No pages ends the stream.
const HEADER_BYTES: usize = 16;

/// The guest's memory, and which pages were written since they were last collected.
pub(crate) struct Guest {
    memory: SharedMemory,
    dirty: Box<[AtomicU64]>,
    running: AtomicBool,
}

impl Guest {
    pub(crate) fn new(len_bytes: usize) -> Outcome<Self> {
        let pages = len_bytes / PAGE_BYTES;
        Ok(Self {
            memory: SharedMemory::create(len_bytes)?,
            // Everything is dirty at first.
            dirty: (0..pages.div_ceil(64)).map(|_| AtomicU64::new(u64::MAX)).collect(),
            running: AtomicBool::new(true),
        })
    }

    fn pages(&self) -> usize {
        self.memory.len() / PAGE_BYTES
    }

    /// Writes to random pages until told to stop; a page is marked after it was written.
    fn run(&self) -> Outcome<u64> {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut writes = 0;
        while self.running.load(Ordering::Acquire) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let page = random as usize % self.pages();
            let value = [random as u8; 256];
            self.memory.write(page * PAGE_BYTES + (random >> 32) as usize % 3840, &value)?;
            self.dirty[page / 64].fetch_or(1 << (page % 64), Ordering::Release);
            writes += 1;
            if writes % 64 == 0 {
                thread::sleep(Duration::from_micros(200));
            }
        }
        Ok(writes)
    }

    /// Collects and clears the marks: the runs of dirty pages, as first page and count. A page that
    /// is written from now on is marked again.
    fn collect(&self, runs: &mut Vec<(usize, usize)>) -> usize {
        runs.clear();
        let mut collected = 0;
        for (word, marks) in self.dirty.iter().enumerate() {
            let mut marks = marks.swap(0, Ordering::Acquire);
            while marks != 0 {
                let page = word * 64 + marks.trailing_zeros() as usize;
                marks &= marks - 1;
                if page >= self.pages() {
                    continue;
                }
                collected += 1;
                match runs.last_mut() {
                    Some((first, count)) if *first + *count == page && *count < RUN_PAGES => {
                        *count += 1;
                    }
                    _ => runs.push((page, 1)),
                }
            }
        }
        collected
    }
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Sends the runs and waits until the kernel has let go of all of them.
pub(crate) fn send_round(
    sender: &mut Sender,
    guest: &Guest,
    runs: &[(usize, usize)],
) -> Outcome<u64> {
    for &(first, count) in runs {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend((first as u64).to_be_bytes());
        header.extend((count as u64).to_be_bytes());
        let bytes = first * PAGE_BYTES..(first + count) * PAGE_BYTES;
        let mut message = Message::from(header).and(guest.memory.region(bytes));
        // A full sender gives the message back: take completions, then offer it again.
        while let Err(refused) = sender.queue(message) {
            if refused.error != IoError::Full {
                return Err(refused.error.into());
            }
            message = *refused.message;
            sender.wait(deadline())?;
        }
        while sender.poll().is_some() {}
    }
    Ok(sender.flush(deadline())?.bytes.total())
}

/// Pre-copy rounds, then stop and copy. Returns the number of rounds.
fn migrate(sender: &mut Sender, guest: &Guest) -> Outcome<usize> {
    let mut runs = Vec::new();
    for round in 1..=MOST_ROUNDS {
        let pages = guest.collect(&mut runs);
        let last = pages <= FINAL_PAGES;
        let sent = send_round(sender, guest, &runs)?;
        println!("  round {round:2}: {pages:6} pages, {sent:10} bytes");
        if last {
            return Ok(round);
        }
    }
    Ok(MOST_ROUNDS)
}

/// The other side: applies runs until the end and returns the copy.
fn receive(socket: TcpStream, len_bytes: usize) -> Outcome<Vec<u8>> {
    let mut copy = vec![0; len_bytes];
    let mut stream = BufReader::with_capacity(1 << 18, socket);
    loop {
        let mut header = [0; HEADER_BYTES];
        stream.read_exact(&mut header)?;
        let word = |at: usize| header[at..].first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        let (Some(first), Some(count)) = (word(0), word(8)) else { return Err("header".into()) };
        if count == 0 {
            return Ok(copy);
        }
        let start = (first as usize).checked_mul(PAGE_BYTES).ok_or("page out of range")?;
        let len = (count as usize).checked_mul(PAGE_BYTES).ok_or("run too long")?;
        let end = start.checked_add(len).ok_or("run too long")?;
        stream.read_exact(copy.get_mut(start..end).ok_or("run out of range")?)?;
    }
}

pub(crate) fn run(len_bytes: usize, backend: Backend) -> Outcome<()> {
    println!("{backend}:");
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    let receiver: JoinHandle<Outcome<Vec<u8>>> = thread::spawn(move || receive(far, len_bytes));
    let guest = Arc::new(Guest::new(len_bytes)?);
    let started = Arc::new(Barrier::new(2));
    let writer = {
        let (guest, started) = (guest.clone(), started.clone());
        thread::spawn(move || {
            started.wait();
            guest.run()
        })
    };
    let mut sender = Sender::builder().backend(backend).build(near)?;
    started.wait();

    let begun = Instant::now();
    let rounds = migrate(&mut sender, &guest)?;
    guest.running.store(false, Ordering::Release);
    let writes = writer.join().map_err(|_| "the writer panicked")??;
    let stopped = Instant::now();
    let mut rest = Vec::new();
    guest.collect(&mut rest);
    send_round(&mut sender, &guest, &rest)?;
    let downtime = stopped.elapsed();
    sender.send(vec![0; HEADER_BYTES]).map_err(|refused| refused.error)?;
    let closed = sender.close(deadline());
    let copy = receiver.join().map_err(|_| "the receiver panicked")??;

    let mut original = vec![0; len_bytes];
    guest.memory.read(0, &mut original)?;
    if copy != original {
        return Err(format!("{backend}: the copy differs from the original").into());
    }
    println!(
        "  equal after {rounds} rounds and stop-and-copy: {writes} writes meanwhile, \
         {:.0} ms in all, {:.1} ms stopped",
        begun.elapsed().as_secs_f64() * 1e3,
        downtime.as_secs_f64() * 1e3,
    );
    println!("{}\n", closed.stats);
    Ok(())
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let mib: usize = arguments.next().map_or(Ok(64), |mib| mib.parse())?;
    let backends = match arguments.next().as_deref() {
        Some("uring") => vec![Backend::Uring],
        Some("msg-zerocopy") => vec![Backend::MsgZerocopy],
        Some("copy") => vec![Backend::Copy],
        Some(other) => return Err(format!("no backend is called {other}").into()),
        None => vec![Backend::Uring, Backend::MsgZerocopy, Backend::Copy],
    };
    backends.into_iter().try_for_each(|backend| run(mib.max(1) << 20, backend))
}
