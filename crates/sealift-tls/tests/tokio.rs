//! The stream under tokio's traits, on every backend.

mod support;

use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sealift_io::{Backend, Policy};
use sealift_tls::sealift_crypto::{Coprocessor, Crash};
use sealift_tls::{AsyncTlsStream, Bytes, Error, TlsStream, rustls};
use support::ends::{narrow_tcp_pair, tasks_and_theirs_over};
use support::engines::{Telltale, sound};
use support::puppet::Puppet;
use support::{Authority, Theirs, case_tls12, case_tls13, deadline, name, pattern, tcp_pair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);
const BACKENDS: [Backend; 3] = [Backend::Uring, Backend::MsgZerocopy, Backend::Copy];

/// Both ends on the runtime, both directions at once; the ends are far apart in speed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_directions_carry_megabytes_at_once() {
    let authority = Authority::new();
    for case in [case_tls13(), case_tls12()] {
        for backend in BACKENDS {
            for policy in [Policy::AlwaysZeroCopy, Policy::Adaptive(None)] {
                let builder = TlsStream::builder().backend(backend).policy(policy);
                let (near, far) = tcp_pair();
                let (there, server) = (builder.clone(), authority.server(&case));
                let accepted =
                    tokio::spawn(AsyncTlsStream::accept(there, far, server, deadline(20)));
                let client = authority.client(&case);
                let near = AsyncTlsStream::connect(builder, near, client, name(), deadline(20));
                let (near, far) = (near.await.unwrap(), accepted.await.unwrap().unwrap());
                let one = tokio::spawn(exchange(near, 1, 2, 5));
                let other = tokio::spawn(exchange(far, 2, 1, 70_000));
                for end in [one, other] {
                    let ended = timeout(SOON, end).await;
                    ended.unwrap_or_else(|_| panic!("{case:?} {backend} {policy:?}")).unwrap();
                }
            }
        }
    }
}

async fn exchange(stream: AsyncTlsStream, seed: u8, expected: u8, at_once: usize) {
    let size = 1_500_000;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = tokio::spawn(async move {
        writer.write_all(&pattern(size, seed)).await.unwrap();
        writer.shutdown().await.unwrap();
        let more = writer.write(b"more").await.unwrap_err();
        assert_eq!(more.kind(), ErrorKind::BrokenPipe);
    });
    let mut read = Vec::new();
    let mut into = vec![0; at_once.max(20_000)];
    loop {
        match reader.read(&mut into[..at_once.max(1000)]).await.unwrap() {
            0 => break,
            count => read.extend_from_slice(&into[..count]),
        }
    }
    assert!(read == pattern(size, expected));
    writing.await.unwrap();
}

/// The kernel would refuse it, too; but by then it would have been sealed.
#[tokio::test]
async fn nothing_is_sealed_behind_close_notify() {
    let (builder, case) = (TlsStream::builder(), case_tls13());
    let (mut ours, _theirs) = tasks_and_theirs_over(tcp_pair(), builder, &case).await;
    ours.write_all(b"all").await.unwrap();
    timeout(SOON, ours.shutdown()).await.unwrap().unwrap();
    assert_eq!(ours.write(b"more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    let refused = ours.send_owned(vec![1; 10]).await.unwrap_err();
    assert!(matches!(refused.error, Error::Closed), "{refused}");
    assert_eq!(ours.stream().stats().records_sealed, 1);
}

/// The other end updates its keys and wants ours updated, and ends when they are: before we write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_alone_answers_key_updates() {
    let authority = Authority::new();
    for backend in BACKENDS {
        let (near, far) = tcp_pair();
        let server = authority.server(&case_tls13());
        let theirs = thread::spawn(move || {
            let mut theirs = TlsStream::accept(far, server, deadline(20)).unwrap();
            let late = deadline(20);
            for round in 1..=20 {
                theirs.request_key_update().unwrap();
                theirs.write_all(&[round]).unwrap();
                while theirs.stats().key_updates_received < round.into() {
                    assert!(Instant::now() < late, "{backend}: {}", theirs.stats());
                    theirs.set_read_deadline(Some(Instant::now() + Duration::from_millis(5)));
                    let unread = theirs.read(&mut [0; 1]).unwrap_err();
                    assert_eq!(unread.kind(), ErrorKind::TimedOut);
                }
            }
            assert!(!theirs.close(deadline(20)).unwrap().aborted);
            theirs.set_read_deadline(None);
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).unwrap();
            read
        });
        let builder = TlsStream::builder().backend(backend);
        let client = authority.client(&case_tls13());
        let ours = AsyncTlsStream::connect(builder, near, client, name(), deadline(20));
        let mut ours = ours.await.unwrap();
        let mut read = Vec::new();
        timeout(SOON, ours.read_to_end(&mut read)).await.unwrap().unwrap();
        assert_eq!(read, (1..=20).collect::<Vec<u8>>());
        assert!(ours.is_write_vectored());
        let slices = [IoSlice::new(b"answer"), IoSlice::new(b" in two")];
        assert_eq!(ours.write_vectored(&slices).await.unwrap(), 13);
        timeout(SOON, ours.shutdown()).await.unwrap().unwrap();
        assert_eq!(theirs.join().unwrap(), b"answer in two");
    }
}

/// Memory that is lent unwritten, as hyper's is, need not be filled with zeros for a small read.
#[tokio::test]
async fn a_read_initialises_little_more_than_it_fills() {
    let authority = Authority::new();
    let (near, far) = tcp_pair();
    let server = authority.server(&case_tls13());
    let theirs = thread::spawn(move || {
        let mut theirs = Theirs::server(far, server);
        for len in [100, 40_000] {
            theirs.write_all(&pattern(len, 9)).unwrap();
            theirs.read_exact(&mut [0; 1]).unwrap();
        }
        theirs.close();
    });
    let client = authority.client(&case_tls13());
    let ours = AsyncTlsStream::connect(TlsStream::builder(), near, client, name(), deadline(20));
    let mut ours = ours.await.unwrap();
    for len in [100, 40_000] {
        let (mut memory, mut read) = (vec![MaybeUninit::uninit(); 1 << 20], Vec::new());
        while read.len() < len {
            let mut into = ReadBuf::uninit(&mut memory);
            poll_fn(|context| Pin::new(&mut ours).poll_read(context, &mut into)).await.unwrap();
            read.extend_from_slice(into.filled());
            let initialised = into.initialized().len();
            assert!(initialised < into.filled().len() + 20_000, "{initialised} for {len}");
        }
        assert!(read == pattern(len, 9));
        ours.write_all(b"k").await.unwrap();
    }
    for _ in 0..2 {
        let mut memory = [MaybeUninit::uninit(); 9];
        let mut into = ReadBuf::uninit(&mut memory);
        poll_fn(|context| Pin::new(&mut ours).poll_read(context, &mut into)).await.unwrap();
        assert_eq!(into.filled(), b"", "the end, each time");
    }
    theirs.join().unwrap();
}

/// A full socket is asked again when it says so, and not before. To the runtime the notification of
/// a zero-copy send looks like the socket's end: here some come while nothing waits for them.
#[tokio::test]
async fn a_write_that_waits_does_not_ask_again_and_again() {
    const SOME: Duration = Duration::from_millis(300);
    let authority = Authority::new();
    let case = case_tls13();
    let (near, far) = tcp_pair();
    let server = authority.server(&case);
    let reads = Arc::new(AtomicBool::new(false));
    let is_reading = reads.clone();
    let (end, ended) = mpsc::channel::<()>();
    let theirs = thread::spawn(move || {
        let mut theirs = Theirs::server(far, server);
        while ended.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
            match is_reading.load(Ordering::SeqCst) {
                true => drop(theirs.read(&mut [0; 40_000])),
                false => thread::sleep(Duration::from_millis(1)),
            }
        }
    });
    let builder = TlsStream::builder().backend(Backend::MsgZerocopy).policy(Policy::AlwaysZeroCopy);
    let client = authority.client(&case);
    let ours = AsyncTlsStream::connect(builder, near, client, name(), deadline(20));
    let (mut ours, sent) = (ours.await.unwrap(), vec![1; 16 << 20]);
    assert!(timeout(SOME, ours.write_all(&sent)).await.is_err());
    reads.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        timeout(SOON, ours.write_all(&sent[..100_000])).await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    reads.store(false, Ordering::SeqCst);
    let before = ours.stream().stats().sender.system_calls;
    assert!(timeout(SOME, ours.write_all(&sent)).await.is_err());
    let asked = ours.stream().stats().sender.system_calls - before;
    assert!(asked < 50, "{asked} system calls, and nothing to do");
    drop((end, ours));
    let _ = theirs.join();
}

/// Nobody reads: the future waits, and may be dropped; what was taken arrives once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_waits_for_a_peer_that_does_not_read_and_may_be_dropped() {
    for backend in BACKENDS {
        let builder = TlsStream::builder().backend(backend);
        let (mut ours, mut theirs) =
            tasks_and_theirs_over(tcp_pair(), builder, &case_tls13()).await;
        let sent = pattern(16 << 20, 4);
        let mut taken = 0;
        while let Ok(count) = timeout(Duration::from_millis(200), ours.write(&sent[taken..])).await
        {
            taken += count.unwrap();
        }
        assert!(taken < sent.len());
        let reading = thread::spawn(move || {
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).unwrap();
            read
        });
        let written = timeout(SOON, ours.write_all(&sent[taken..])).await;
        assert!(written.is_ok(), "{backend}: {:?}", ours.stream().stats());
        timeout(SOON, ours.shutdown()).await.unwrap().unwrap();
        assert!(reading.join().unwrap() == sent, "{backend}");
    }
}

/// The future is dropped, and with it what was not taken; the rest leaves while a task reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dropped_gift_left_behind_leaves_while_a_task_reads() {
    let authority = Authority::new();
    for sealer in sound("what_a_dropped_gift_left_behind_leaves_while_a_task_reads") {
        let _telltale = Telltale(sealer.name.into(), 4);
        let (near, far) = tcp_pair();
        set_socket_send_buffer_size(&near, 64 << 10).unwrap();
        set_socket_recv_buffer_size(&far, 64 << 10).unwrap();
        let server = authority.server(&case_tls13());
        let (read, go) = mpsc::channel();
        let theirs = thread::spawn(move || {
            let mut theirs = Theirs::server(far, server);
            theirs.socket.set_read_timeout(Some(SOON)).unwrap();
            let count: usize = go.recv().unwrap();
            let mut into = vec![0; count];
            theirs.read_exact(&mut into).unwrap();
            theirs.write_all(b"!").unwrap();
            into
        });
        let (builder, client) =
            (sealer.give(TlsStream::builder(), 4), authority.client(&case_tls13()));
        let ours = AsyncTlsStream::connect(builder, near, client, name(), deadline(20));
        let mut ours = ours.await.unwrap();
        let sent = pattern(20 << 20, 4);
        let mut rest = Bytes::from(sent.clone());
        let given = poll_fn(|context| ours.poll_send_owned(context, &mut rest));
        let late = Duration::from_millis(100);
        assert!(timeout(late, given).await.is_err(), "{}: it has room for everything", sealer.name);
        let taken = sent.len() - rest.len();
        read.send(taken).unwrap();
        let answer = timeout(SOON, ours.read(&mut [0; 1])).await;
        assert_eq!(answer.unwrap().unwrap(), 1, "{}", sealer.name);
        assert!(theirs.join().unwrap() == sent[..taken], "{}", sealer.name);
    }
}

/// Tasks are woken by what the engine has done, whether they write, flush, read or shut down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_away_leaves_while_the_task_sleeps() {
    let authority = Authority::new();
    for sealer in sound("what_is_given_away_leaves_while_the_task_sleeps") {
        let _telltale = Telltale(sealer.name.into(), 4);
        let (near, far) = tcp_pair();
        let server = authority.server(&case_tls13());
        let theirs = thread::spawn(move || {
            let mut theirs = Theirs::server(far, server);
            let mut read = vec![0; 2_000_000];
            theirs.read_exact(&mut read).unwrap();
            theirs.write_all(b"all there").unwrap();
            theirs.read_to_end(&mut read).unwrap();
            read
        });
        let (builder, client) =
            (sealer.give(TlsStream::builder(), 4), authority.client(&case_tls13()));
        let ours = AsyncTlsStream::connect(builder, near, client, name(), deadline(20));
        let mut ours = ours.await.unwrap();
        let sent = pattern(3_000_000, 4);
        timeout(SOON, ours.send_owned(sent[..2_000_000].to_vec())).await.unwrap().unwrap();
        // Nobody flushes: the reading task sees to it.
        let mut answer = [0; 9];
        timeout(SOON, ours.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"all there");
        timeout(SOON, ours.send_owned(sent[2_000_000..2_500_000].to_vec())).await.unwrap().unwrap();
        timeout(SOON, ours.flush()).await.unwrap().unwrap();
        timeout(SOON, ours.send_owned(sent[2_500_000..2_900_000].to_vec())).await.unwrap().unwrap();
        timeout(SOON, ours.write_all(&sent[2_900_000..])).await.unwrap().unwrap();
        timeout(SOON, ours.shutdown()).await.unwrap().unwrap();
        assert!(theirs.join().unwrap() == sent, "{}", sealer.name);
    }
}

/// Nothing else wakes the task: the peer does not read, and so the sender has no news.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_of_the_engine_wakes_the_task() {
    // It takes the second job, and fails, once the task has seen that the first is done.
    let device = Coprocessor::builder().depth(1).latency(Duration::from_millis(100));
    let device = device.crashes_after(2, Crash::Fails).build().unwrap();
    let builder = TlsStream::builder().backend(Backend::Copy).sealing_engine(device);
    // Or what the kernel holds would grow for a while.
    let sockets = narrow_tcp_pair();
    let (mut ours, _theirs) = tasks_and_theirs_over(sockets, builder, &case_tls13()).await;
    let more = vec![1; 1 << 20];
    while let Ok(count) = timeout(Duration::from_millis(200), ours.write(&more)).await {
        count.unwrap();
    }
    // A task of its own: the time-out would poll it once more.
    let waiting = tokio::spawn(async move {
        // In two jobs.
        let sent = ours.send_owned(vec![1; 100_000]).await;
        sent.map_err(|refused| std::io::Error::from(refused.error))?;
        ours.flush().await
    });
    let said = timeout(SOON, waiting).await.expect("nobody woke it").unwrap().unwrap_err();
    assert!(said.to_string().contains("coprocessor"), "{said}");
}

/// An engine without a descriptor is asked again and again; one that fails ends the wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_of_an_engine_without_a_descriptor_ends_the_wait() {
    let (puppet, strings) = Puppet::new();
    let builder = TlsStream::builder().sealing_engine(puppet);
    let (mut ours, _theirs) = tasks_and_theirs_over(tcp_pair(), builder, &case_tls13()).await;
    ours.send_owned(vec![1; 100_000]).await.unwrap();
    let failing = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        strings.fail(0);
    });
    let said = timeout(SOON, ours.flush()).await.unwrap().unwrap_err();
    assert!(said.to_string().contains("told to fail"), "{said}");
    let refused = ours.send_owned(vec![1; 10]).await.unwrap_err();
    assert_eq!(refused.rest, vec![1; 10]);
    failing.join().unwrap();
}

/// All that a handshake needs a thread for is over while it waits.
#[test]
fn peers_that_stay_silent_hold_no_thread() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).max_blocking_threads(1).enable_all();
    runtime.build().unwrap().block_on(async {
        let authority = Authority::new();
        let case = case_tls13();
        let (server, client) = (authority.server(&case), authority.client(&case));
        let mut silent = Vec::new();
        for says_hello in [false, true, true] {
            let (near, mut far) = tcp_pair();
            let (builder, server) = (TlsStream::builder(), server.clone());
            tokio::spawn(AsyncTlsStream::accept(builder, near, server, deadline(60)));
            if says_hello {
                let mut theirs = rustls::ClientConnection::new(client.clone(), name()).unwrap();
                theirs.write_tls(&mut far).unwrap();
            }
            silent.push(far);
        }
        // And one that hears nothing itself.
        let (near, mut far) = tcp_pair();
        let (builder, config) = (TlsStream::builder(), client.clone());
        tokio::spawn(AsyncTlsStream::connect(builder, near, config, name(), deadline(60)));
        far.read_exact(&mut [0; 100]).unwrap();
        silent[1].read_exact(&mut [0; 100]).unwrap();
        silent[2].read_exact(&mut [0; 100]).unwrap();
        let (near, far) = tcp_pair();
        let theirs = thread::spawn(move || Theirs::client(far, client));
        let accepting = AsyncTlsStream::accept(TlsStream::builder(), near, server, deadline(60));
        timeout(SOON, accepting).await.expect("the others are in the way").unwrap();
        drop(theirs.join().unwrap());
    });
}

/// There is one thread, and it is at something else until nobody wants the handshake any more.
#[test]
fn a_handshake_that_was_given_up_does_not_begin() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).max_blocking_threads(1).enable_all();
    runtime.build().unwrap().block_on(async {
        let (authority, case) = (Authority::new(), case_tls13());
        let (free, is_free) = mpsc::channel::<()>();
        let busy = spawn_blocking(move || is_free.recv());
        let (near, mut far) = tcp_pair();
        let (builder, client) = (TlsStream::builder(), authority.client(&case));
        let ours = AsyncTlsStream::connect(builder, near, client, name(), deadline(60));
        let mut ours = Box::pin(ours);
        let begun = poll_fn(|context| Poll::Ready(ours.as_mut().poll(context).is_ready())).await;
        assert!(!begun, "without a thread");
        drop(ours);
        drop(free);
        busy.await.unwrap().unwrap_err();
        // Its turn is behind that of the handshake.
        spawn_blocking(|| ()).await.unwrap();
        let mut said = Vec::new();
        far.read_to_end(&mut said).unwrap();
        assert!(said.is_empty(), "a hello of {} bytes", said.len());
    });
}

/// As it comes, and as it goes: every byte of the handshake by itself.
#[tokio::test]
async fn a_handshake_goes_on_from_any_byte() {
    let authority = Authority::new();
    for case in [case_tls13(), case_tls12()] {
        let (near, between) = tcp_pair();
        let (there, far) = tcp_pair();
        for (mut from, mut to) in [
            (between.try_clone().unwrap(), there.try_clone().unwrap()),
            (there.try_clone().unwrap(), between.try_clone().unwrap()),
        ] {
            to.set_nodelay(true).unwrap();
            thread::spawn(move || {
                let mut byte = [0];
                while from.read(&mut byte).is_ok_and(|count| count > 0)
                    && to.write_all(&byte).is_ok()
                {}
            });
        }
        let server = authority.server(&case);
        let builder = TlsStream::builder();
        let accepted = tokio::spawn(AsyncTlsStream::accept(builder, far, server, deadline(20)));
        let (builder, client) = (TlsStream::builder(), authority.client(&case));
        let ours = AsyncTlsStream::connect(builder, near, client, name(), deadline(20)).await;
        let (mut ours, mut theirs) = (ours.unwrap(), accepted.await.unwrap().unwrap());
        ours.write_all(b"whole").await.unwrap();
        let mut read = [0; 5];
        timeout(SOON, theirs.read_exact(&mut read)).await.unwrap().unwrap();
        assert_eq!(&read, b"whole");
    }
}

#[tokio::test]
async fn a_handshake_ends_at_its_deadline_and_says_why_it_failed() {
    let authority = Authority::new();
    let (near, _far) = tcp_pair();
    let client = authority.client(&case_tls13());
    let soon = Instant::now() + Duration::from_millis(100);
    let stalled = AsyncTlsStream::connect(TlsStream::builder(), near, client, name(), soon);
    let stalled = timeout(SOON, stalled).await.unwrap();
    assert!(matches!(stalled, Err(Error::Deadline)), "{stalled:?}");

    // What is no TLS is answered with an alert, which arrives.
    let (near, mut far) = tcp_pair();
    far.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let server = authority.server(&case_tls13());
    let accepting = AsyncTlsStream::accept(TlsStream::builder(), near, server, deadline(20));
    let reading = thread::spawn(move || {
        let mut read = Vec::new();
        far.read_to_end(&mut read).map(|_| read)
    });
    let refused = timeout(SOON, accepting).await.unwrap();
    assert!(matches!(refused, Err(Error::Handshake(_))), "{refused:?}");
    let read = reading.join().unwrap().unwrap();
    assert_eq!((read[0], read.len()), (21, 7), "an alert: {read:?}");
}

/// A resolver is the caller's code: what it panics with is not taken for an end of the runtime.
#[tokio::test]
async fn a_panic_within_the_handshake_is_the_callers() {
    #[derive(Debug)]
    struct Panics;
    impl ResolvesServerCert for Panics {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            panic!("no certificate today")
        }
    }
    let authority = Authority::new();
    let (near, far) = tcp_pair();
    let client = authority.client(&case_tls13());
    let theirs = thread::spawn(move || TlsStream::connect(far, client, name(), deadline(20)));
    let mut server = ServerConfig::clone(&authority.server(&case_tls13()));
    server.cert_resolver = Arc::new(Panics);
    let builder = TlsStream::builder();
    let accepting = AsyncTlsStream::accept(builder, near, Arc::new(server), deadline(20));
    let ended = tokio::spawn(accepting).await.unwrap_err().into_panic();
    assert_eq!(ended.downcast_ref::<&str>(), Some(&"no certificate today"));
    assert!(theirs.join().unwrap().is_err());
}

/// Behind the end, too: what was sent zero-copy is counted when the kernel has let go of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn released_waits_until_the_kernel_has_let_go() {
    let authority = Authority::new();
    let case = case_tls13();
    for backend in BACKENDS {
        let (near, far) = tcp_pair();
        let server = authority.server(&case);
        let theirs = thread::spawn(move || {
            let mut theirs = Theirs::server(far, server);
            // The kernel holds what is sent until then.
            thread::sleep(Duration::from_millis(100));
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).unwrap();
            read
        });
        let builder = TlsStream::builder().backend(backend).policy(Policy::AlwaysZeroCopy);
        let client = authority.client(&case);
        let ours = AsyncTlsStream::connect(builder, near, client, name(), deadline(20));
        let mut ours = ours.await.unwrap();
        let sent = pattern(1_000_000, 3);
        timeout(SOON, ours.write_all(&sent)).await.unwrap().unwrap();
        timeout(SOON, ours.shutdown()).await.unwrap().unwrap();
        timeout(SOON, ours.released()).await.unwrap().unwrap();
        let sender = ours.stream().stats().sender;
        assert_eq!(sender.pinned_bytes, 0, "{backend}");
        assert!(sender.bytes.total() > 1_000_000, "{backend}: {sender}");
        assert!(theirs.join().unwrap() == sent, "{backend}");
    }
}
