//! Blocking streams, each with a thread of its own.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Kind;
use super::connections::{Carried, Connections, READ_BYTES, share};
use super::content::Content;
use super::stream::Stream;
use crate::trust::Identity;

/// One end of all connections.
pub(super) struct Threads {
    streams: Vec<Stream>,
}

impl Threads {
    pub(super) fn connect(
        kind: Kind,
        port: u16,
        count: usize,
        identity: &Identity,
    ) -> io::Result<Self> {
        let connect = |_| {
            let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            let mut stream = Stream::connect(kind, socket, identity)?;
            stream.write_all(&[1])?;
            stream.read_exact(&mut [0])?;
            Ok(stream)
        };
        Ok(Self { streams: (0..count).map(connect).collect::<io::Result<_>>()? })
    }

    pub(super) fn accept(
        kind: Kind,
        listener: &TcpListener,
        count: usize,
        identity: &Identity,
    ) -> io::Result<Self> {
        let accept = |_| {
            let mut stream = Stream::accept(kind, listener.accept()?.0, identity)?;
            stream.read_exact(&mut [0])?;
            stream.write_all(&[1])?;
            Ok(stream)
        };
        Ok(Self { streams: (0..count).map(accept).collect::<io::Result<_>>()? })
    }

    /// Does `work` with each, by its number.
    fn each<T: Send>(
        self,
        work: impl Fn(usize, Stream) -> io::Result<T> + Sync,
    ) -> io::Result<Vec<T>> {
        std::thread::scope(|scope| {
            let work = &work;
            let start = |(number, stream)| scope.spawn(move || work(number, stream));
            let threads: Vec<_> = self.streams.into_iter().enumerate().map(start).collect();
            let panicked = |_| Err(io::Error::other("a thread panicked"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
        })
    }
}

impl Connections for Threads {
    fn suites(&self) -> Vec<Option<String>> {
        self.streams.iter().map(Stream::suite).collect()
    }

    fn send(
        self: Box<Self>,
        content: &Arc<Content>,
        bytes: u64,
        write_bytes: usize,
    ) -> io::Result<Carried> {
        let count = self.streams.len();
        let each = self.each(|number, mut stream| {
            let part = share(bytes, count, number);
            let mut sent = 0;
            while sent < part {
                let length = (part - sent).min(write_bytes as u64) as usize;
                stream.write_all(content.piece(sent, length))?;
                sent += length as u64;
            }
            Ok(Carried { bytes: sent, copies_per_byte: stream.end()? })
        });
        each.map(|each| Carried::sum(&each))
    }

    fn take(self: Box<Self>, content: &Arc<Content>) -> io::Result<Carried> {
        let each = self.each(|_, mut stream| {
            let (mut memory, mut bytes) = (vec![0; READ_BYTES], 0);
            loop {
                let count = stream.read(&mut memory)?;
                if count == 0 {
                    break Ok(Carried { bytes, copies_per_byte: stream.copies_per_byte_opened() });
                }
                content.check(bytes, &memory[..count])?;
                bytes += count as u64;
            }
        });
        each.map(|each| Carried::sum(&each))
    }

    fn bounce(self: Box<Self>, trips: u64) -> io::Result<Vec<Duration>> {
        let each = self.each(|_, mut stream| {
            let mut took = Vec::with_capacity(trips as usize);
            let mut byte = [0];
            for trip in 0..trips {
                let begun = Instant::now();
                stream.write_all(&[trip as u8])?;
                stream.read_exact(&mut byte)?;
                took.push(begun.elapsed());
                if byte != [trip as u8] {
                    return Err(io::Error::other("another byte came back than was sent"));
                }
            }
            stream.end()?;
            Ok(took)
        });
        each.map(|each| each.into_iter().flatten().collect())
    }

    fn echo(self: Box<Self>) -> io::Result<Carried> {
        let each = self.each(|_, mut stream| {
            let (mut memory, mut bytes) = ([0; 64], 0);
            loop {
                let count = stream.read(&mut memory)?;
                if count == 0 {
                    break Ok(Carried { bytes, copies_per_byte: stream.copies_per_byte_opened() });
                }
                stream.write_all(&memory[..count])?;
                bytes += count as u64;
            }
        });
        each.map(|each| Carried::sum(&each))
    }
}
