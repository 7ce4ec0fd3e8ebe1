//! The far end of a run, in a process of its own: it takes one order, and ends.

use std::io::{self, sink, stdin, stdout};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::thread;

use rustls::ServerConfig;

use super::order::{Exchange, Found, Greeting, Kind, Order, Ready, cpu_seconds, hear, say};
use super::stream::{Stream, Usage};
use crate::args::TrustArgs;
use crate::failure::{Action, Failure};
use crate::trust;

/// Takes the order from standard input; the answers go to standard output.
///
/// # Errors
/// What kept it from it; the near end sees that its connections break.
pub(super) fn serve() -> Result<(), Failure> {
    let failed = |reason: String| {
        let remedy = "it is started by `sealift bench tls`";
        Failure::explained(Action::SetUp, "the far end", reason, remedy)
    };
    let order: Order = hear(&mut stdin().lock()).map_err(failed)?;
    thread::spawn(end_with_the_near_one);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listener = listener.map_err(|error| failed(error.to_string()))?;
    let (config, pin) = match order.kind {
        Kind::Plain => (None, None),
        _ => {
            let (config, pin) = trust::server(&TrustArgs::default(), "localhost", None)?;
            (Some(Arc::new(config)), pin.map(|pin| pin.to_string()))
        }
    };
    receive(order, &listener, config.as_ref(), pin).map_err(failed)
}

/// The near end holds the pipe as long as it lives, and says no more on it.
fn end_with_the_near_one() {
    // An error is an end as well.
    let _ = io::copy(&mut stdin().lock(), &mut sink());
    std::process::exit(1);
}

fn receive(
    order: Order,
    listener: &TcpListener,
    config: Option<&Arc<ServerConfig>>,
    pin: Option<String>,
) -> Result<(), String> {
    let mut near = stdout().lock();
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    say(&mut near, &Greeting { port, pin })?;
    let mut streams = Vec::new();
    for _ in 0..order.exchange.connections() {
        let (socket, _) = listener.accept().map_err(|error| error.to_string())?;
        streams.push(Stream::accept(order.kind, socket, config)?);
    }
    let cpu_before = cpu_seconds();
    say(&mut near, &Ready {})?;
    let usages = take_all(order.exchange, streams)?;
    let bytes = usages.iter().map(|usage| usage.bytes).sum();
    let copied: f64 = usages.iter().map(|usage| usage.copies_per_byte * usage.bytes as f64).sum();
    let copies_per_byte = copied / (bytes as f64).max(1.0);
    say(&mut near, &Found { bytes, cpu_seconds: cpu_seconds() - cpu_before, copies_per_byte })
}

/// A thread for each connection.
fn take_all(exchange: Exchange, streams: Vec<Stream>) -> Result<Vec<Usage>, String> {
    let take = |stream: Stream| match exchange {
        Exchange::Bulk { .. } => stream.drain(),
        Exchange::PingPong { .. } => stream.echo(),
    };
    thread::scope(|scope| {
        let threads: Vec<_> =
            streams.into_iter().map(|stream| scope.spawn(move || take(stream))).collect();
        let ends = threads.into_iter().map(|thread| thread.join());
        ends.map(|end| end.unwrap_or_else(|_| Err("a thread panicked".to_owned()))).collect()
    })
}
