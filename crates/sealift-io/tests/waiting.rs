//! A task that waits behind the notifications of `MSG_ZEROCOPY` sleeps: to the runtime each of them
//! looks like the socket's end. Polls and system calls are counted, while nothing happens and until
//! there is room.
#![cfg(feature = "tokio")]

mod support;

use std::future::{Future, poll_fn};
use std::io::Read;
use std::net::TcpStream;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::ready;
use std::time::{Duration, Instant};

use sealift_io::{AsyncSender, Backend, Error, Policy, Result, Sender, Watch};
use support::{Drain, raw, tcp_pair};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// How long nothing happens. One that looks every millisecond does so two thousand times.
const SILENCE: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(20);
/// A task is polled when it is made, and for what was under way when the silence began; on a slow
/// machine that is some more.
const FEW_POLLS: usize = 50;
/// A look at the sender asks for notifications and for room.
const FEW_CALLS: u64 = 3 * FEW_POLLS as u64;

/// Drives a sender by itself, as a stream does.
struct Driven {
    sender: Sender,
    watch: Watch,
}

impl Driven {
    async fn hand_over(&mut self) -> Result<()> {
        let Self { sender, watch } = self;
        poll_fn(|context| {
            loop {
                match sender.hand_over(Instant::now()) {
                    Err(Error::Deadline { .. }) => ready!(watch.poll_news(sender, context))?,
                    outcome => return outcome.into(),
                }
            }
        })
        .await
    }
}

/// Whose notifications come: the sender's, nobody's, or those of sends before it.
const CASES: [(Backend, usize); 3] =
    [(Backend::MsgZerocopy, 0), (Backend::Copy, 0), (Backend::Copy, 1000)];

/// A sender on a socket that takes little, eight messages that do not fit, and their reader.
/// Nobody reads the notification of the `before` bytes that are sent without it.
fn too_much(backend: Backend, before: usize) -> (Sender, TcpStream) {
    let (near, far) = tcp_pair();
    if before > 0 {
        raw::enable_zerocopy(&near).unwrap();
        assert_eq!(raw::send_zerocopy(&near, &[&[7; 1000][..before]]).unwrap(), before);
    }
    rustix::net::sockopt::set_socket_send_buffer_size(&near, 256 << 10).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&far, 256 << 10).unwrap();
    let builder = Sender::builder().backend(backend).policy(Policy::AlwaysZeroCopy);
    let mut sender = builder.build(near).unwrap();
    for _ in 0..8 {
        sender.send(vec![1; 1 << 20]).unwrap();
    }
    (sender, far.into())
}

/// Counts how often a future is polled.
async fn counted<F: Future>(future: F, polls: &AtomicUsize) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        polls.fetch_add(1, Ordering::Relaxed);
        future.as_mut().poll(context)
    })
    .await
}

/// Lets some notifications come to a task that waits for room, and more room be used up.
async fn notified(mut far: TcpStream, waiting: impl Future) -> TcpStream {
    let reading = spawn_blocking(move || {
        far.read_exact(&mut vec![0; 1 << 20]).unwrap();
        far
    });
    let waited = timeout(Duration::from_millis(500), waiting).await;
    assert!(waited.is_err(), "there is no room for everything");
    reading.await.unwrap()
}

#[tokio::test]
async fn a_sender_of_futures_sleeps_behind_notifications() {
    for (backend, first) in CASES {
        let (sender, far) = too_much(backend, first);
        let mut sender = AsyncSender::new(sender).unwrap();
        let far = notified(far, sender.flush()).await;
        let (before, polls) = (sender.sender().stats(), Arc::new(AtomicUsize::new(0)));
        assert_eq!(before.notifications > 0, backend == Backend::MsgZerocopy, "{before}");
        assert!(timeout(SILENCE, counted(sender.flush(), &polls)).await.is_err());
        let calls = sender.sender().stats().system_calls - before.system_calls;
        let polled = polls.swap(0, Ordering::Relaxed);
        assert!(polled <= FEW_POLLS && calls <= FEW_CALLS, "{backend}: {polled}, {calls}");
        // A task of its own: a time-out would poll it once more.
        let waiting = tokio::spawn(async move {
            let flushed = counted(sender.flush(), &polls).await;
            flushed.map(|tally| tally.messages())
        });
        sleep(Duration::from_millis(50)).await;
        let drain = Drain::collect(far.into());
        let flushed = timeout(SOON, waiting).await.expect("nobody woke it");
        assert_eq!(flushed.unwrap().unwrap(), 8, "{backend}");
        assert_eq!(drain.join().len(), first + (7 << 20));
    }
}

#[tokio::test]
async fn a_task_that_drives_a_sender_sleeps_behind_notifications() {
    for (backend, first) in CASES {
        let (sender, far) = too_much(backend, first);
        let watch = Watch::new(&sender).unwrap();
        let mut driven = Driven { sender, watch };
        let far = notified(far, driven.hand_over()).await;
        let (before, polls) = (driven.sender.stats(), Arc::new(AtomicUsize::new(0)));
        assert_eq!(before.notifications > 0, backend == Backend::MsgZerocopy, "{before}");
        assert!(timeout(SILENCE, counted(driven.hand_over(), &polls)).await.is_err());
        let calls = driven.sender.stats().system_calls - before.system_calls;
        let polled = polls.swap(0, Ordering::Relaxed);
        assert!(polled <= FEW_POLLS && calls <= FEW_CALLS, "{backend}: {polled}, {calls}");
        let waiting = tokio::spawn(async move { driven.hand_over().await });
        sleep(Duration::from_millis(50)).await;
        let drain = Drain::collect(far.into());
        timeout(SOON, waiting).await.expect("nobody woke it").unwrap().unwrap();
        assert_eq!(drain.join().len(), first + (7 << 20));
    }
}
