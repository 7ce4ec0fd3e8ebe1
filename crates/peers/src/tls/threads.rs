//! Blocking streams, each with a thread of its own.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Instant;

use super::Kind;
use super::connections::{Connections, Done, READ_BYTES, Work, check_trip, pieces};
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
}

impl Connections for Threads {
    fn suites(&self) -> Vec<Option<String>> {
        self.streams.iter().map(Stream::suite).collect()
    }

    fn work(self: Box<Self>, of: &dyn Fn(usize) -> Work) -> io::Result<Vec<Done>> {
        std::thread::scope(|scope| {
            let start = |(number, stream)| {
                let its = of(number);
                scope.spawn(move || work(stream, its))
            };
            let threads: Vec<_> = self.streams.into_iter().enumerate().map(start).collect();
            let panicked = |_| Err(io::Error::other("a thread panicked"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
        })
    }
}

fn work(stream: Stream, its: Work) -> io::Result<Done> {
    match its {
        Work::Send { content, bytes, piece_bytes } => send(stream, &content, bytes, piece_bytes),
        Work::Take(content) => take(stream, &content),
        Work::Bounce { trips } => bounce(stream, trips),
        Work::Echo => echo(stream),
    }
}

fn send(mut stream: Stream, content: &Content, bytes: u64, piece_bytes: usize) -> io::Result<Done> {
    for (at, length) in pieces(bytes, piece_bytes) {
        stream.write_all(content.piece(at, length))?;
    }
    Ok(Done { bytes, copies_per_byte: stream.end()?, ..Done::default() })
}

fn take(mut stream: Stream, content: &Content) -> io::Result<Done> {
    let (mut memory, mut bytes) = (vec![0; READ_BYTES], 0);
    loop {
        let count = stream.read(&mut memory)?;
        if count == 0 {
            let copies_per_byte = stream.copies_per_byte_opened();
            break Ok(Done { bytes, copies_per_byte, ..Done::default() });
        }
        content.check(bytes, &memory[..count])?;
        bytes += count as u64;
    }
}

fn bounce(mut stream: Stream, trips: u64) -> io::Result<Done> {
    let mut took = Vec::with_capacity(trips as usize);
    let mut byte = [0];
    for trip in 0..trips {
        let begun = Instant::now();
        stream.write_all(&[trip as u8])?;
        stream.read_exact(&mut byte)?;
        took.push(begun.elapsed());
        check_trip(trip, byte[0])?;
    }
    stream.end()?;
    Ok(Done { trips: took, ..Done::default() })
}

fn echo(mut stream: Stream) -> io::Result<Done> {
    let (mut memory, mut bytes) = ([0; 64], 0);
    loop {
        let count = stream.read(&mut memory)?;
        if count == 0 {
            let copies_per_byte = stream.copies_per_byte_opened();
            break Ok(Done { bytes, copies_per_byte, ..Done::default() });
        }
        stream.write_all(&memory[..count])?;
        bytes += count as u64;
    }
}
