//! HTTP/1.1 by hyper over three streams: what an answer costs the server.
//!
//! ```text
//!  this process: client ◄──── loopback ────► another process: hyper, one thread
//!                                            sealift │ tokio-rustls │ plain
//! ```
//!
//! Large answers are one body of 1 GiB, made of shared blocks of 64 KiB; small ones are 1 KiB each
//! on many connections in turns, one request under way on each. Each measurement has a server
//! process of its own, and is of its processor time between two moments in which it idles.

mod client;
mod report;
mod server;

use std::io;
use std::time::{Duration, Instant};

pub use report::Row;
pub use server::{Kind, serve};

use crate::child::Other;
use crate::report::Report;
use crate::rounds::measure_in_turns;
use crate::trust::Identity;

use client::Client;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the large body.
    pub large_bytes: u64,
    /// Bytes of a small one.
    pub small_bytes: u64,
    /// Small answers to ask for.
    pub requests: u64,
    /// On so many connections.
    pub connections: usize,
    /// Measurements of each row.
    pub rounds: u32,
    /// What to measure them over.
    pub kinds: Vec<Kind>,
}

/// What one round found.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Processor time of the server.
    pub server: Duration,
    /// Time on the clock.
    pub elapsed: Duration,
}

/// Large bodies, or small ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// One body after the other, on one connection.
    Large,
    /// Many, on many connections.
    Small,
}

impl Load {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Large, Self::Small];
}

/// Measures all rows in turns. `progress` hears what is about to run.
///
/// # Errors
/// If no certificate can be made. A row that fails says so itself.
pub fn run(options: &Options, progress: &mut dyn FnMut(&str)) -> io::Result<Report<Row>> {
    let identity = Identity::new()?;
    let kinds = options.kinds.iter();
    let rows: Vec<(Load, Kind)> =
        kinds.flat_map(|&kind| Load::ALL.map(|load| (load, kind))).collect();
    let names: Vec<String> =
        rows.iter().map(|(load, kind)| format!("{} {load:?}", kind.name())).collect();
    let outcomes = measure_in_turns(options.rounds, &names, progress, |index| {
        let (load, kind) = rows[index];
        measure(options, load, kind, &identity).map_err(|error| error.to_string())
    });
    Ok(report::of(options, &rows, &outcomes))
}

fn measure(options: &Options, load: Load, kind: Kind, identity: &Identity) -> io::Result<Sample> {
    let mut server = Other::start(&["serve", kind.name()], identity)?;
    let config = identity.client()?;
    let connections = if load == Load::Large { 1 } else { options.connections };
    let connect = |_| Client::connect(kind, server.port, config.clone());
    let mut clients: Vec<Client> = (0..connections).map(connect).collect::<io::Result<_>>()?;
    // The handshakes, and whatever is made at first use.
    turn(&mut clients, options.small_bytes)?;
    let (before, begun) = (server.processor_time()?, Instant::now());
    match load {
        Load::Large => turn(&mut clients, options.large_bytes)?,
        Load::Small => {
            for _ in 0..options.requests.div_ceil(connections as u64) {
                turn(&mut clients, options.small_bytes)?;
            }
        }
    }
    let elapsed = begun.elapsed();
    Ok(Sample { server: server.processor_time()? - before, elapsed })
}

/// One answer on each connection.
fn turn(clients: &mut [Client], size: u64) -> io::Result<()> {
    clients.iter_mut().try_for_each(|client| client.ask(size))?;
    clients.iter_mut().try_for_each(|client| client.take_answer(size))
}
