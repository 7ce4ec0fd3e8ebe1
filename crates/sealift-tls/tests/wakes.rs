//! Who gets a stream on for a task that sleeps wakes it, there and then: the runtime, which might
//! have done so later, has no turn in between. Tasks are polled by hand, and only the kernel is
//! waited for: until it has, or has acknowledged, what a test is about.
#![cfg(feature = "tokio")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use sealift_io::{Backend, Policy, Pool, unacknowledged_bytes};
use sealift_tls::sealift_crypto::{Coprocessor, Crash, Inline};
use sealift_tls::{AsyncTlsStream, TlsStream, TlsStreamBuilder};
use support::ends::{narrow_tcp_pair, tasks_and_theirs_over};
use support::{Theirs, case_tls13, deadline};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const BACKENDS: [Backend; 3] = [Backend::Uring, Backend::MsgZerocopy, Backend::Copy];
/// Between two looks at what is waited for.
const PAUSE: Duration = Duration::from_millis(1);

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

/// Ours, on sockets of which each holds little, rustls's server, and our socket once more.
async fn ours_and_theirs(builder: TlsStreamBuilder) -> (AsyncTlsStream, Theirs, TcpStream) {
    let (near, far) = narrow_tcp_pair();
    let socket = near.try_clone().unwrap();
    let (ours, theirs) = tasks_and_theirs_over((near, far), builder, &case_tls13()).await;
    (ours, theirs, socket)
}

fn poll_read(ours: &mut AsyncTlsStream, waker: &Waker) -> Poll<std::io::Result<usize>> {
    let mut into = [0; 10];
    let mut into = ReadBuf::new(&mut into);
    let polled = Pin::new(ours).poll_read(&mut Context::from_waker(waker), &mut into);
    polled.map_ok(|()| into.filled().len())
}

/// Has the peer send this, and the runtime take note that something can be read.
async fn arrive(ours: &mut AsyncTlsStream, send: impl FnOnce()) {
    let (reader, waker) = Sleeper::new();
    assert!(poll_read(ours, &waker).is_pending());
    send();
    let late = deadline(20);
    while reader.woken() == 0 {
        assert!(Instant::now() < late, "the runtime sees nothing");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Writes until the kernel has no room, and keeps what the peer does not read: the writer sleeps.
/// From here on the runtime has no turn.
async fn fill(ours: &mut AsyncTlsStream, socket: &TcpStream, sleeper: &Sleeper, waker: &Waker) {
    let (block, late) = (vec![1; 1 << 20], deadline(20));
    loop {
        while let Poll::Ready(written) =
            Pin::new(&mut *ours).poll_write(&mut Context::from_waker(waker), &block)
        {
            written.unwrap();
        }
        tokio::time::sleep(PAUSE).await;
        if sleeper.woken() == 0 && unacknowledged_bytes(socket).unwrap() > 0 {
            return;
        }
        assert!(Instant::now() < late, "there is always room");
    }
}

/// Reads all that the kernel has of ours. The runtime has no turn.
fn take_all(ours: &TcpStream, theirs: &Theirs) {
    let (mut into, late) = (vec![0; 1 << 20], deadline(20));
    loop {
        match recv(&theirs.socket, &mut into[..], RecvFlags::DONTWAIT) {
            Ok((_, count)) => assert!(count > 0),
            Err(Errno::AGAIN) if unacknowledged_bytes(ours).unwrap() == 0 => return,
            Err(Errno::AGAIN) => thread::sleep(PAUSE),
            Err(errno) => panic!("{errno}"),
        }
        assert!(Instant::now() < late, "{:?}", unacknowledged_bytes(ours));
    }
}

/// The reading task, which has news of its own, sends what the writer waits for.
#[tokio::test]
async fn a_reader_that_sends_what_was_left_wakes_the_writer() {
    for backend in BACKENDS {
        let builder = TlsStream::builder().backend(backend).policy(Policy::AlwaysZeroCopy);
        let (mut ours, mut theirs, socket) = ours_and_theirs(alone(builder)).await;
        arrive(&mut ours, || theirs.write_all(b"!").unwrap()).await;
        let (writer, waker) = Sleeper::new();
        fill(&mut ours, &socket, &writer, &waker).await;
        take_all(&socket, &theirs);
        assert_eq!(writer.woken(), 0, "{backend}");
        assert!(matches!(poll_read(&mut ours, &Sleeper::new().1), Poll::Ready(Ok(1))), "{backend}");
        assert_eq!(writer.woken(), 1, "{backend}: {}", ours.stream().stats());
    }
}

/// A writer that returns, and leaves what it gave away to others, tells the reader, which has
/// nothing to do so far.
#[tokio::test]
async fn a_writer_that_leaves_something_behind_wakes_the_reader() {
    for backend in BACKENDS {
        let builder = alone(TlsStream::builder().backend(backend)).sealing_engine(Inline::new());
        let (mut ours, theirs, _socket) = ours_and_theirs(builder).await;
        let (reader, waker) = Sleeper::new();
        assert!(poll_read(&mut ours, &waker).is_pending(), "{backend}");
        let mut rest = vec![1; 500_000].into();
        let given = ours.poll_send_owned(&mut Context::from_waker(Waker::noop()), &mut rest);
        assert!(matches!(given, Poll::Ready(Ok(()))), "{backend}: {given:?}");
        assert!(reader.woken() > 0, "{backend}");
        let there = thread::spawn(move || read_all(theirs, 500_000));
        while !there.is_finished() {
            if reader.woken() > 0 {
                assert!(poll_read(&mut ours, &waker).is_pending(), "{backend}");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        there.join().unwrap();
    }
}

/// Reads that much; the connection stays open.
fn read_all(mut theirs: Theirs, count: usize) -> Theirs {
    theirs.socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    theirs.read_exact(&mut vec![0; count]).unwrap();
    theirs
}

/// A stream on another thread runs out of frames, and takes back what this one needs no more.
#[tokio::test]
async fn a_stream_that_takes_frames_back_wakes_the_writer_that_waits_for_them() {
    let builder = TlsStream::builder().backend(Backend::MsgZerocopy).policy(Policy::AlwaysZeroCopy);
    let (mut ours, theirs, socket) = ours_and_theirs(builder.clone()).await;
    let (writer, waker) = Sleeper::new();
    fill(&mut ours, &socket, &writer, &waker).await;
    take_all(&socket, &theirs);
    assert_eq!(writer.woken(), 0);
    let is_woken = || writer.0.load(Ordering::SeqCst) > 0;
    thread::scope(|scope| {
        scope.spawn(|| take_many_frames(builder, is_woken));
    });
    assert_eq!(writer.woken(), 1, "{}", ours.stream().stats());
}

/// Another stream, which nobody reads: it takes frames until that is enough.
fn take_many_frames(builder: TlsStreamBuilder, is_enough: impl Fn() -> bool) {
    let builder = builder.frames_in_flight(1000);
    let (mut greedy, _theirs) = support::ends::ours_and_theirs(builder, &case_tls13());
    let (block, late) = (vec![1; 1 << 20], deadline(20));
    while !is_enough() {
        assert!(Instant::now() < late, "{}", greedy.stats());
        greedy.set_write_deadline(Some(Instant::now() + PAUSE));
        let _ = greedy.write(&block);
    }
}

/// A stream, and the task that an executor polls there and then, on whatever thread wakes it.
struct Eager {
    ours: Mutex<AsyncTlsStream>,
    polled: AtomicUsize,
}

impl Wake for Eager {
    fn wake(self: Arc<Self>) {
        // It asks for the writing side.
        let _ = self.ours.lock().unwrap().stream().stats();
        self.polled.fetch_add(1, Ordering::SeqCst);
    }
}

/// Nobody is woken by one who still has what the woken may ask for.
#[tokio::test]
async fn a_task_that_is_woken_may_be_polled_at_once() {
    let builder = TlsStream::builder().backend(Backend::MsgZerocopy).policy(Policy::AlwaysZeroCopy);
    let (mut ours, theirs, socket) = ours_and_theirs(builder.clone()).await;
    let (writer, waker) = Sleeper::new();
    fill(&mut ours, &socket, &writer, &waker).await;
    let eager = Arc::new(Eager { ours: Mutex::new(ours), polled: AtomicUsize::new(0) });
    let waker = Waker::from(eager.clone());
    let mut context = Context::from_waker(&waker);
    let written = Pin::new(&mut *eager.ours.lock().unwrap()).poll_write(&mut context, &[1; 100]);
    assert!(written.is_pending(), "{written:?}");
    take_all(&socket, &theirs);
    let (done, greedy) = mpsc::channel();
    let polled = eager.clone();
    thread::spawn(move || {
        take_many_frames(builder, || polled.polled.load(Ordering::SeqCst) > 0);
        done.send(())
    });
    greedy.recv_timeout(Duration::from_secs(10)).expect("it waits for itself");
    assert!(eager.polled.load(Ordering::SeqCst) > 0);
}

/// The reader meets a forged record; nobody else tells the writer.
#[tokio::test]
async fn an_error_of_the_reader_wakes_the_writer() {
    for backend in BACKENDS {
        let builder = alone(TlsStream::builder().backend(backend));
        let (mut ours, mut theirs, socket) = ours_and_theirs(builder).await;
        let forged = [&[23, 3, 3, 0, 40], &[7; 40][..]].concat();
        arrive(&mut ours, || theirs.socket.write_all(&forged).unwrap()).await;
        let (writer, waker) = Sleeper::new();
        fill(&mut ours, &socket, &writer, &waker).await;
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
    let (mut ours, _theirs, _) = ours_and_theirs(builder).await;
    ours.send_owned(vec![1; 10_000]).await.unwrap();
    let (reader, waker) = Sleeper::new();
    assert!(poll_read(&mut ours, &waker).is_pending());
    assert_eq!(reader.woken(), 0);
    let mut writing = Context::from_waker(Waker::noop());
    let given = ours.poll_send_owned(&mut writing, &mut vec![1; 10_000].into());
    // The device has a thread of its own.
    let late = deadline(20);
    let error = loop {
        match Pin::new(&mut ours).poll_flush(&mut writing) {
            Poll::Ready(flushed) => break flushed.unwrap_err(),
            Poll::Pending => thread::sleep(PAUSE),
        }
        assert!(Instant::now() < late, "no error: {given:?}");
    };
    assert!(error.to_string().contains("coprocessor"), "{error}");
    assert_eq!(reader.woken(), 1);
}
