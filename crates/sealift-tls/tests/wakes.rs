//! Who gets a stream on for a task that sleeps wakes it, there and then: the runtime, which might
//! have done so later, has no turn in between. Tasks are polled by hand.
#![cfg(feature = "tokio")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use sealift_io::{Backend, Policy, Pool};
use sealift_tls::sealift_crypto::{Coprocessor, Crash};
use sealift_tls::{AsyncTlsStream, TlsStream, TlsStreamBuilder};
use support::{Authority, Theirs, case_tls13, deadline, name, tcp_pair};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const BACKENDS: [Backend; 3] = [Backend::Uring, Backend::MsgZerocopy, Backend::Copy];
/// Longer than the sockets and the runtime need to come to rest.
const A_WHILE: Duration = Duration::from_millis(100);

/// A task that is only woken.
#[derive(Default)]
struct Sleeper(AtomicUsize);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Sleeper {
    fn new() -> (Arc<Self>, Waker) {
        let sleeper = Arc::new(Self::default());
        (sleeper.clone(), Waker::from(sleeper))
    }

    /// How often it was woken since this was last asked.
    fn woken(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// A pool that no other test takes frames back from.
fn alone(builder: TlsStreamBuilder) -> TlsStreamBuilder {
    builder.pool(&Pool::builder().frames(16).frame_bytes(4 * 16_413).build().unwrap())
}

/// Ours, on sockets of which each holds little, and rustls's server.
async fn ours_and_theirs(builder: TlsStreamBuilder) -> (AsyncTlsStream, Theirs) {
    let authority = Authority::new();
    let (near, far) = tcp_pair();
    rustix::net::sockopt::set_socket_send_buffer_size(&near, 64 << 10).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&far, 64 << 10).unwrap();
    let server = authority.server(&case_tls13());
    let theirs = thread::spawn(move || Theirs::server(far, server));
    let client = authority.client(&case_tls13());
    let ours = AsyncTlsStream::connect(builder, near, client, name(), deadline(20)).await.unwrap();
    (ours, theirs.join().unwrap())
}

fn poll_read(ours: &mut AsyncTlsStream, waker: &Waker) -> Poll<std::io::Result<usize>> {
    let mut into = [0; 10];
    let mut into = ReadBuf::new(&mut into);
    let polled = Pin::new(ours).poll_read(&mut Context::from_waker(waker), &mut into);
    polled.map_ok(|()| into.filled().len())
}

/// Writes until there is no room, and nothing more happens by itself: the writer sleeps.
async fn fill(ours: &mut AsyncTlsStream, sleeper: &Sleeper, waker: &Waker) {
    let block = vec![1; 1 << 20];
    loop {
        while let Poll::Ready(written) =
            Pin::new(&mut *ours).poll_write(&mut Context::from_waker(waker), &block)
        {
            written.unwrap();
        }
        sleeper.woken();
        tokio::time::sleep(A_WHILE).await;
        if sleeper.woken() == 0 {
            return;
        }
    }
}

/// Takes what is in the sockets. The runtime has no turn.
fn take_all(socket: &std::net::TcpStream) {
    let mut socket = socket.try_clone().unwrap();
    socket.set_read_timeout(Some(A_WHILE)).unwrap();
    let mut into = vec![0; 1 << 20];
    let ended = loop {
        match socket.read(&mut into) {
            Ok(count) => assert!(count > 0),
            Err(error) => break error,
        }
    };
    assert_eq!(ended.kind(), ErrorKind::WouldBlock);
}

/// The reading task, which has news of its own, sends what the writer waits for.
#[tokio::test]
async fn a_reader_that_sends_what_was_left_wakes_the_writer() {
    for backend in BACKENDS {
        let builder = TlsStream::builder().backend(backend).policy(Policy::AlwaysZeroCopy);
        let (mut ours, mut theirs) = ours_and_theirs(alone(builder)).await;
        let (writer, waker) = Sleeper::new();
        theirs.write_all(b"!").unwrap();
        fill(&mut ours, &writer, &waker).await;
        take_all(&theirs.socket);
        assert_eq!(writer.woken(), 0, "{backend}");
        assert!(matches!(poll_read(&mut ours, &Sleeper::new().1), Poll::Ready(Ok(1))), "{backend}");
        assert_eq!(writer.woken(), 1, "{backend}: {}", ours.stream().stats());
    }
}

/// A stream on another thread runs out of frames, and takes back what this one needs no more.
#[tokio::test]
async fn a_stream_that_takes_frames_back_wakes_the_writer_that_waits_for_them() {
    let builder = TlsStream::builder().backend(Backend::MsgZerocopy).policy(Policy::AlwaysZeroCopy);
    let (mut ours, theirs) = ours_and_theirs(builder.clone()).await;
    let (writer, waker) = Sleeper::new();
    fill(&mut ours, &writer, &waker).await;
    take_all(&theirs.socket);
    assert_eq!(writer.woken(), 0);
    let greedy = thread::spawn(move || {
        let authority = Authority::new();
        let (near, far) = tcp_pair();
        let server = authority.server(&case_tls13());
        let theirs = thread::spawn(move || Theirs::server(far, server));
        let client = authority.client(&case_tls13());
        let builder = builder.frames_in_flight(1000);
        let mut greedy = builder.connect(near, client, name(), deadline(20)).unwrap();
        let _theirs = theirs.join().unwrap();
        greedy.set_write_deadline(Some(std::time::Instant::now() + Duration::from_secs(1)));
        // Nobody reads it: it takes frames until few are left.
        assert!(greedy.write_all(&vec![1; 64 << 20]).is_err());
    });
    greedy.join().unwrap();
    assert_eq!(writer.woken(), 1, "{}", ours.stream().stats());
}

/// The reader meets a forged record; nobody else tells the writer.
#[tokio::test]
async fn an_error_of_the_reader_wakes_the_writer() {
    for backend in BACKENDS {
        let builder = alone(TlsStream::builder().backend(backend));
        let (mut ours, mut theirs) = ours_and_theirs(builder).await;
        let (writer, waker) = Sleeper::new();
        theirs.socket.write_all(&[&[23, 3, 3, 0, 40], &[7; 40][..]].concat()).unwrap();
        fill(&mut ours, &writer, &waker).await;
        let Poll::Ready(Err(error)) = poll_read(&mut ours, &Sleeper::new().1) else {
            panic!("{backend}: no error")
        };
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{backend}");
        assert_eq!(writer.woken(), 1, "{backend}");
    }
}

/// The engine that seals fails, and the writer is told; nobody else tells the reader.
#[tokio::test]
async fn an_error_of_the_writer_wakes_the_reader() {
    // It takes the second job, and fails.
    let device = Coprocessor::builder().depth(2).latency(Duration::from_secs(10));
    let device = device.crashes_after(2, Crash::Fails).build().unwrap();
    let builder = TlsStream::builder().backend(Backend::Copy).sealing_engine(device);
    let (mut ours, _theirs) = ours_and_theirs(builder).await;
    ours.send_owned(vec![1; 10_000]).await.unwrap();
    let (reader, waker) = Sleeper::new();
    assert!(poll_read(&mut ours, &waker).is_pending());
    assert_eq!(reader.woken(), 0);
    let mut writing = Context::from_waker(Waker::noop());
    let given = ours.poll_send_owned(&mut writing, &mut vec![1; 10_000].into());
    // The device has a thread of its own.
    thread::sleep(A_WHILE);
    let flushed = Pin::new(&mut ours).poll_flush(&mut writing);
    let Poll::Ready(Err(error)) = flushed else { panic!("no error: {given:?} {flushed:?}") };
    assert!(error.to_string().contains("coprocessor"), "{error}");
    assert_eq!(reader.woken(), 1);
}
