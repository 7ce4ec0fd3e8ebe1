//! Streams of tokio-rustls, each with a task of its own, on tokio's usual runtime.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::connections::{Carried, Connections, READ_BYTES, share};
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

    /// Does `work` with each, by its number.
    fn each<T, F>(self, work: impl Fn(usize, Stream) -> F) -> io::Result<Vec<T>>
    where
        T: Send + 'static,
        F: Future<Output = io::Result<T>> + Send + 'static,
    {
        let start = |(number, stream)| self.runtime.spawn(work(number, stream));
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

impl Connections for Tasks {
    fn suites(&self) -> Vec<Option<String>> {
        let suite = |stream: &Stream| {
            let suite = stream.get_ref().1.negotiated_cipher_suite();
            Some(suite.map_or("nothing".to_owned(), |suite| format!("{:?}", suite.suite())))
        };
        self.streams.iter().map(suite).collect()
    }

    fn send(
        self: Box<Self>,
        content: &Arc<Content>,
        bytes: u64,
        write_bytes: usize,
    ) -> io::Result<Carried> {
        let count = self.streams.len();
        let each = self.each(|number, stream| {
            send(stream, content.clone(), share(bytes, count, number), write_bytes)
        });
        each.map(|each| Carried::sum(&each))
    }

    fn take(self: Box<Self>, content: &Arc<Content>) -> io::Result<Carried> {
        let each = self.each(|_, stream| take(stream, content.clone()));
        each.map(|each| Carried::sum(&each))
    }

    fn bounce(self: Box<Self>, trips: u64) -> io::Result<Vec<Duration>> {
        let each = self.each(|_, stream| bounce(stream, trips));
        each.map(|each| each.into_iter().flatten().collect())
    }

    fn echo(self: Box<Self>) -> io::Result<Carried> {
        let each = self.each(|_, stream| echo(stream));
        each.map(|each| Carried::sum(&each))
    }
}

async fn send(
    mut stream: Stream,
    content: Arc<Content>,
    bytes: u64,
    write_bytes: usize,
) -> io::Result<Carried> {
    let mut sent = 0;
    while sent < bytes {
        let length = (bytes - sent).min(write_bytes as u64) as usize;
        stream.write_all(content.piece(sent, length)).await?;
        sent += length as u64;
    }
    stream.shutdown().await?;
    Ok(Carried { bytes: sent, copies_per_byte: None })
}

async fn take(mut stream: Stream, content: Arc<Content>) -> io::Result<Carried> {
    let (mut memory, mut bytes) = (vec![0; READ_BYTES], 0);
    loop {
        let count = stream.read(&mut memory).await?;
        if count == 0 {
            break Ok(Carried { bytes, copies_per_byte: None });
        }
        content.check(bytes, &memory[..count])?;
        bytes += count as u64;
    }
}

async fn bounce(mut stream: Stream, trips: u64) -> io::Result<Vec<Duration>> {
    let mut took = Vec::with_capacity(trips as usize);
    let mut byte = [0];
    for trip in 0..trips {
        let begun = Instant::now();
        stream.write_all(&[trip as u8]).await?;
        stream.flush().await?;
        stream.read_exact(&mut byte).await?;
        took.push(begun.elapsed());
        if byte != [trip as u8] {
            return Err(io::Error::other("another byte came back than was sent"));
        }
    }
    stream.shutdown().await?;
    Ok(took)
}

async fn echo(mut stream: Stream) -> io::Result<Carried> {
    let (mut memory, mut bytes) = ([0; 64], 0);
    loop {
        let count = stream.read(&mut memory).await?;
        if count == 0 {
            break Ok(Carried { bytes, copies_per_byte: None });
        }
        stream.write_all(&memory[..count]).await?;
        stream.flush().await?;
        bytes += count as u64;
    }
}
