//! Streams of tokio-rustls, each with a task of its own, on tokio's usual runtime.
//!
//! A task that writes on and on finds its socket not ready once in 128 operations: tokio's budget.
//! From then on tokio-rustls keeps what it seals, up to 64 KiB, before it says so: of writes of 100
//! bytes, 118 leave by a call each, and the next 540 by 10 calls. Nobody flushes between them here;
//! one who does has each write leave at once, as with all others.

use std::io;
use std::net::Ipv4Addr;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::connections::{Connections, Done, READ_BYTES, Work, check_trip, pieces};
use super::content::Content;
use crate::trust::{self, Identity};

type Stream = TlsStream<TcpStream>;

/// One end of all connections.
pub(super) struct Tasks {
    runtime: Runtime,
    streams: Vec<Stream>,
}

impl Tasks {
    pub(super) fn connect(port: u16, count: usize, identity: &Identity) -> io::Result<Self> {
        let (runtime, connector) = (Runtime::new()?, TlsConnector::from(identity.client()?));
        let streams = runtime.block_on(async {
            let mut streams = Vec::new();
            for _ in 0..count {
                let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
                socket.set_nodelay(true)?;
                let mut stream = connector.connect(trust::name()?, socket).await?;
                stream.write_all(&[1]).await?;
                stream.flush().await?;
                stream.read_exact(&mut [0]).await?;
                streams.push(Stream::from(stream));
            }
            Ok::<_, io::Error>(streams)
        })?;
        Ok(Self { runtime, streams })
    }

    pub(super) fn accept(
        listener: std::net::TcpListener,
        count: usize,
        identity: &Identity,
    ) -> io::Result<Self> {
        let (runtime, acceptor) = (Runtime::new()?, TlsAcceptor::from(identity.server()?));
        listener.set_nonblocking(true)?;
        let streams = runtime.block_on(async {
            let listener = TcpListener::from_std(listener)?;
            let mut streams = Vec::new();
            for _ in 0..count {
                let (socket, _) = listener.accept().await?;
                socket.set_nodelay(true)?;
                let mut stream = acceptor.accept(socket).await?;
                stream.read_exact(&mut [0]).await?;
                stream.write_all(&[1]).await?;
                stream.flush().await?;
                streams.push(Stream::from(stream));
            }
            Ok::<_, io::Error>(streams)
        })?;
        Ok(Self { runtime, streams })
    }
}

impl Connections for Tasks {
    fn suites(&self) -> Vec<Option<String>> {
        let suite = |stream: &Stream| {
            let suite = stream.get_ref().1.negotiated_cipher_suite();
            Some(suite.map_or("nothing".to_owned(), |suite| format!("{:?}", suite.suite())))
        };
        self.streams.iter().map(suite).collect()
    }

    fn work(self: Box<Self>, of: &dyn Fn(usize) -> Work) -> io::Result<Vec<Done>> {
        let start = |(number, stream)| self.runtime.spawn(work(stream, of(number)));
        let tasks: Vec<_> = self.streams.into_iter().enumerate().map(start).collect();
        self.runtime.block_on(async {
            let mut all = Vec::new();
            for task in tasks {
                all.push(task.await??);
            }
            Ok(all)
        })
    }
}

async fn work(stream: Stream, its: Work) -> io::Result<Done> {
    match its {
        Work::Send { content, bytes, piece_bytes } => {
            send(stream, &content, bytes, piece_bytes).await
        }
        Work::Take(content) => take(stream, &content).await,
        Work::Bounce { trips } => bounce(stream, trips).await,
        Work::Echo => echo(stream).await,
    }
}

async fn send(
    mut stream: Stream,
    content: &Content,
    bytes: u64,
    piece_bytes: usize,
) -> io::Result<Done> {
    for (at, length) in pieces(bytes, piece_bytes) {
        stream.write_all(content.piece(at, length)).await?;
    }
    stream.shutdown().await?;
    Ok(Done { bytes, ..Done::default() })
}

async fn take(mut stream: Stream, content: &Content) -> io::Result<Done> {
    let (mut memory, mut bytes) = (vec![0; READ_BYTES], 0);
    loop {
        let count = stream.read(&mut memory).await?;
        if count == 0 {
            break Ok(Done { bytes, ..Done::default() });
        }
        content.check(bytes, &memory[..count])?;
        bytes += count as u64;
    }
}

async fn bounce(mut stream: Stream, trips: u64) -> io::Result<Done> {
    let mut took = Vec::with_capacity(trips as usize);
    let mut byte = [0];
    for trip in 0..trips {
        let begun = Instant::now();
        stream.write_all(&[trip as u8]).await?;
        stream.flush().await?;
        stream.read_exact(&mut byte).await?;
        took.push(begun.elapsed());
        check_trip(trip, byte[0])?;
    }
    stream.shutdown().await?;
    Ok(Done { trips: took, ..Done::default() })
}

async fn echo(mut stream: Stream) -> io::Result<Done> {
    let (mut memory, mut bytes) = ([0; 64], 0);
    loop {
        let count = stream.read(&mut memory).await?;
        if count == 0 {
            break Ok(Done { bytes, ..Done::default() });
        }
        stream.write_all(&memory[..count]).await?;
        stream.flush().await?;
        bytes += count as u64;
    }
}
