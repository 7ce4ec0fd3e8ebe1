//! A task whose peer keeps up leaves others their turn: it yields as tokio's own streams do.

mod support;

use std::future::Future;
use std::io::{IoSlice, Read};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use sealift_io::ktls::KernelTls;
use sealift_tls::sealift_crypto::Inline;
use sealift_tls::{AsyncTlsStream, Bytes, Ktls, TlsStream, TlsStreamBuilder};
use support::skip::skip;
use support::{Authority, Theirs, case_tls13, deadline, name, tcp_pair};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// Longer than any turn.
const LATE: Duration = Duration::from_secs(20);

/// Our client; whatever it sends is read at once, and thrown away unopened.
async fn ours(builder: TlsStreamBuilder) -> AsyncTlsStream {
    let authority = Authority::new();
    let (near, far) = tcp_pair();
    let server = authority.server(&case_tls13());
    thread::spawn(move || {
        let mut theirs = Theirs::server(far, server);
        let mut into = vec![0; 1 << 20];
        while theirs.socket.read(&mut into).is_ok_and(|count| count > 0) {}
    });
    let client = authority.client(&case_tls13());
    AsyncTlsStream::connect(builder, near, client, name(), deadline(20)).await.unwrap()
}

/// Runs `endless` under a timeout, on a runtime and a thread of its own, and wants it to end.
fn ends_in_time<F: Future<Output = ()>>(
    what: &'static str,
    builder: TlsStreamBuilder,
    endless: impl FnOnce(AsyncTlsStream) -> F + Send + 'static,
) {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let endless = endless(ours(builder).await);
            assert!(timeout(Duration::from_millis(100), endless).await.is_err(), "{what} ended");
        });
        tell.send(()).unwrap();
    });
    told.recv_timeout(LATE).unwrap_or_else(|_| panic!("{what}: the timeout had no turn"));
}

/// Those that seal here, and the kernel where it can.
fn builders(test: &str) -> Vec<TlsStreamBuilder> {
    let mut builders = vec![TlsStream::builder()];
    match KernelTls::attach(tcp_pair().0) {
        Ok(()) => builders.push(TlsStream::builder().ktls(Ktls::On)),
        Err(why) => skip(&format!("{test}: kernel TLS"), &why.to_string()),
    }
    builders
}

#[test]
fn small_writes_leave_others_their_turn() {
    for builder in builders("small_writes_leave_others_their_turn") {
        ends_in_time("small writes", builder, |mut ours| async move {
            loop {
                ours.write_all(b"x").await.unwrap();
            }
        });
    }
}

/// One call that never has to wait.
#[test]
fn one_large_write_leaves_others_their_turn() {
    for builder in builders("one_large_write_leaves_others_their_turn") {
        ends_in_time("a large write", builder, |mut ours| async move {
            let slices = vec![IoSlice::new(&[7; 1 << 20]); 64];
            let count = ours.write_vectored(&slices).await.unwrap();
            assert!(count <= 1 << 20, "{count} bytes in one turn");
            std::future::pending().await
        });
    }
}

#[test]
fn what_is_given_away_leaves_others_their_turn() {
    let builder = TlsStream::builder().sealing_engine(Inline::new());
    ends_in_time("giving away", builder, |mut ours| async move {
        let sent = Bytes::from(vec![7; 64 << 20]);
        loop {
            ours.send_owned(sent.clone()).await.unwrap();
        }
    });
    ends_in_time("giving little away", TlsStream::builder(), |mut ours| async move {
        loop {
            ours.send_owned(&b"x"[..]).await.unwrap();
        }
    });
}

#[test]
fn key_updates_leave_others_their_turn() {
    ends_in_time("key updates", TlsStream::builder(), |mut ours| async move {
        loop {
            ours.request_key_update().await.unwrap();
        }
    });
}
