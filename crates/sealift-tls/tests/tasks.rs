//! One stream and two tasks, under back-pressure: each is woken by what the other gets on;
//! over engines as without.

mod support;

use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use sealift_io::ktls::KernelTls;
use sealift_io::{Backend, Policy};
use sealift_tls::{Ktls, TlsStream, TlsStreamBuilder};
use support::ends::{narrow_tcp_pair, tasks_and_theirs_over};
use support::kits::{each_kit, equipped};
use support::skip::skip;
use support::{case_tls13, pattern, tcp_pair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(20);
const BACKENDS: [Backend; 3] = [Backend::Uring, Backend::MsgZerocopy, Backend::Copy];

/// A task that writes `sent` and flushes, once its peer keeps it waiting.
async fn waiting_writer(
    mut writer: impl AsyncWriteExt + Unpin + Send + 'static,
    sent: Vec<u8>,
) -> JoinHandle<std::io::Result<()>> {
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let writing = tokio::spawn(async move {
        while count.load(Ordering::SeqCst) < sent.len() {
            let at = count.load(Ordering::SeqCst);
            count.fetch_add(writer.write(&sent[at..]).await?, Ordering::SeqCst);
        }
        writer.flush().await
    });
    let mut before = 0;
    while before == 0 || before < written.load(Ordering::SeqCst) {
        before = written.load(Ordering::SeqCst);
        sleep(Duration::from_millis(300)).await;
    }
    assert!(!writing.is_finished(), "it has room for everything");
    writing
}

/// So that a hang fails the test, and no thread of the runtime with it.
async fn soon<T>(future: impl Future<Output = T>, what: &str) -> T {
    timeout(SOON, future).await.unwrap_or_else(|_| panic!("{what} hangs"))
}

/// The reader, which waits last, is the one that the runtime knows of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_goes_on_though_a_reader_waits_too() {
    for backend in BACKENDS {
        for policy in [Policy::AlwaysCopy, Policy::AlwaysZeroCopy] {
            a_writer_goes_on(TlsStream::builder().backend(backend).policy(policy)).await;
        }
    }
    for _telltale in each_kit("a_writer_goes_on_though_a_reader_waits_too") {
        a_writer_goes_on(equipped()).await;
    }
    match KernelTls::attach(tcp_pair().0) {
        Ok(()) => a_writer_goes_on(TlsStream::builder().ktls(Ktls::On)).await,
        Err(why) => {
            skip("a_writer_goes_on_though_a_reader_waits_too: kernel TLS", &why.to_string());
        }
    }
}

async fn a_writer_goes_on(builder: TlsStreamBuilder) {
    let (ours, mut theirs) =
        tasks_and_theirs_over(narrow_tcp_pair(), builder.clone(), &case_tls13()).await;
    let (mut reader, writer) = tokio::io::split(ours);
    let sent = pattern(4 << 20, 5);
    let writing = waiting_writer(writer, sent.clone()).await;
    let reading = tokio::spawn(async move { reader.read(&mut [0; 10]).await });
    sleep(Duration::from_millis(100)).await;
    let there = thread::spawn(move || {
        let mut read = vec![0; sent.len()];
        theirs.socket.set_read_timeout(Some(SOON)).unwrap();
        theirs.read_exact(&mut read).unwrap();
        assert!(read == sent);
        theirs.write_all(b"!").unwrap();
        theirs
    });
    soon(writing, &format!("writing, {builder:?},")).await.unwrap().unwrap();
    assert_eq!(soon(reading, "reading").await.unwrap().unwrap(), 1);
    there.join().unwrap();
}

/// The reader meets a forged record while the writer waits for the same peer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_of_the_reader_wakes_a_writer() {
    for backend in BACKENDS {
        a_failure_wakes_a_writer(TlsStream::builder().backend(backend)).await;
    }
    for _telltale in each_kit("a_failure_of_the_reader_wakes_a_writer") {
        a_failure_wakes_a_writer(equipped()).await;
    }
}

async fn a_failure_wakes_a_writer(builder: TlsStreamBuilder) {
    let (ours, theirs) =
        tasks_and_theirs_over(narrow_tcp_pair(), builder.clone(), &case_tls13()).await;
    let (mut reader, writer) = tokio::io::split(ours);
    let writing = waiting_writer(writer, pattern(4 << 20, 5)).await;
    forge(&theirs.socket);
    let read = soon(reader.read(&mut [0; 10]), "reading").await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::InvalidData, "{builder:?}");
    let written = soon(writing, "writing").await.unwrap();
    assert_eq!(written.unwrap_err().kind(), ErrorKind::InvalidData, "{builder:?}");
}

/// Sends a record that nobody sealed.
fn forge(mut socket: &TcpStream) {
    socket.write_all(&[23, 3, 3, 0, 40]).unwrap();
    socket.write_all(&[7; 40]).unwrap();
}
