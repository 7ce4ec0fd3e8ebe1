//! Padding hides lengths, costs no content, and is sealed by whoever seals.
//!
//! Truth: the lengths on the wire, read between the two ends, and what rustls and OpenSSL read.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use rustix::fs::{MemfdFlags, memfd_create};
use sealift_io::Pool;
use sealift_tls::{Error, Ktls, TlsStream, TlsStreamBuilder};
use support::engines::{Sealer, Telltale, pairs, sound};
use support::skip::skip;
use support::{Authority, Case, Theirs, case_tls12, case_tls13, deadline, name, pattern, tcp_pair};

const HEADER_BYTES: usize = 5;
/// The type, and the tag.
const BEHIND_BYTES: usize = 1 + 16;

/// Carries everything on, and says how long the bodies of the sealed records were.
fn between(mut one: TcpStream, mut other: TcpStream) -> JoinHandle<Vec<usize>> {
    let (mut back_from, mut back_to) = (other.try_clone().unwrap(), one.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(Shutdown::Write);
    });
    thread::spawn(move || {
        let mut lengths = Vec::new();
        let mut header = [0; HEADER_BYTES];
        while one.read_exact(&mut header).is_ok() {
            let mut body = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
            one.read_exact(&mut body).unwrap();
            other.write_all(&header).unwrap();
            other.write_all(&body).unwrap();
            if header[0] == 23 {
                lengths.push(body.len());
            }
        }
        other.shutdown(Shutdown::Write).unwrap();
        lengths
    })
}

fn file(content: &[u8]) -> File {
    let mut file = File::from(memfd_create("sealift-tls-test", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(content).unwrap();
    file
}

/// Everything that a stream sends, padded to `pad_to`. The bodies' lengths behind Finished.
fn send_everything(sealer: &Sealer, case: &Case, pad_to: usize, frame_bytes: usize) -> Vec<usize> {
    let (authority, pool) = (Authority::new(), Pool::builder().frames(6).huge_pages(false));
    let pool = pool.frame_bytes(frame_bytes).build().unwrap();
    let ((near, here), (there, far)) = (tcp_pair(), tcp_pair());
    let (wire, server) = (between(here, there), authority.server(case));
    let reading = thread::spawn(move || {
        let mut read = Vec::new();
        Theirs::server(far, server).read_to_end(&mut read).unwrap();
        read
    });
    let builder = TlsStream::builder().pool(&pool).pad_to_multiple_of(pad_to);
    let builder = sealer.give(builder, 1);
    let mut ours = builder.connect(near, authority.client(case), name(), deadline(20)).unwrap();
    let mut sent = Vec::new();
    for size in [1, 2, 255, 256, 257, 16_383, 16_384, 16_385, 50_000] {
        let text = pattern(size, 3);
        ours.write_all(&text).unwrap();
        ours.send_owned(text.clone()).unwrap();
        assert_eq!(ours.send_file(file(&text), 0..1 << 20).unwrap(), size as u64);
        (0..3).for_each(|_| sent.extend_from_slice(&text));
        ours.request_key_update().unwrap();
    }
    let closed = ours.close(deadline(20)).unwrap();
    assert!(!closed.aborted && closed.stats.bytes_sealed == sent.len() as u64, "{closed:?}");
    assert!(reading.join().unwrap() == sent, "padding is none of the content");
    drop(ours);
    wire.join().unwrap().split_off(1)
}

#[test]
fn every_record_is_padded_whoever_seals_it() {
    for (sealer, case) in pairs("every_record_is_padded_whoever_seals_it") {
        if case.version != case_tls13().version {
            continue;
        }
        let _telltale = Telltale(format!("{} {case:?}", sealer.name), 1);
        // 1,000 does not divide a full record, and a frame may end in the middle of one.
        for (pad_to, frame_bytes) in [(256, 50_000), (1_000, 40_000), (1_000, 5_500)] {
            for length in send_everything(&sealer, &case, pad_to, frame_bytes) {
                let content = length - BEHIND_BYTES;
                assert!(content == 16_384 || content.is_multiple_of(pad_to), "{content} {pad_to}");
            }
        }
        let lengths = send_everything(&sealer, &case, 16_384, 50_000);
        assert!(lengths.iter().all(|length| *length == 16_384 + BEHIND_BYTES), "{lengths:?}");
    }
}

#[test]
fn nothing_is_padded_unless_asked_for() {
    for sealer in sound("nothing_is_padded_unless_asked_for") {
        let lengths = send_everything(&sealer, &case_tls13(), 1, 50_000);
        assert_eq!(lengths.iter().filter(|length| **length == 1 + BEHIND_BYTES).count(), 6);
        assert_eq!(lengths.last(), Some(&(2 + BEHIND_BYTES)), "close_notify");
    }
}

fn refused(builder: TlsStreamBuilder, case: &Case) -> String {
    let (authority, (near, far)) = (Authority::new(), tcp_pair());
    let server = authority.server(case);
    let there = thread::spawn(move || TlsStream::accept(far, server, deadline(10)));
    let outcome = builder.connect(near, authority.client(case), name(), deadline(10));
    drop(there);
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::Caller { .. }), "{error}");
    error.to_string()
}

#[test]
fn what_cannot_be_padded_is_refused() {
    let padded = |bytes| TlsStream::builder().pad_to_multiple_of(bytes);
    assert!(refused(padded(256), &case_tls12()).contains("only TLS 1.3"));
    assert!(refused(padded(256).ktls(Ktls::On), &case_tls13()).contains("the kernel"));
    for bytes in [0, 16_385] {
        assert!(refused(padded(bytes), &case_tls13()).contains("16,384"));
    }
    let pool = Pool::builder().frames(4).frame_bytes(4_096).huge_pages(false).build().unwrap();
    assert!(refused(padded(5_000).pool(&pool), &case_tls13()).contains("no room"));
}

/// `openssl s_client` reads what is padded as what it is.
#[test]
fn openssl_reads_what_is_padded() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut openssl = Command::new("openssl");
    openssl
        .args(["s_client", "-quiet", "-connect"])
        .arg(listener.local_addr().unwrap().to_string());
    let openssl = openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut openssl) = openssl.spawn() else {
        return skip("openssl_reads_what_is_padded", "needs the package openssl");
    };
    let mut stdout = openssl.stdout.take().unwrap();
    let reading = thread::spawn(move || {
        let mut read = Vec::new();
        stdout.read_to_end(&mut read).unwrap();
        read
    });
    let case = case_tls13();
    let (far, _) = listener.accept().unwrap();
    let builder = TlsStream::builder().pad_to_multiple_of(4_096);
    let mut ours = builder.accept(far, Authority::new().server(&case), deadline(20)).unwrap();
    let text = pattern(100_001, 4);
    for part in text.chunks(3_001) {
        ours.write_all(part).unwrap();
    }
    ours.request_key_update().unwrap();
    ours.send_file(file(&text), 0..100_001).unwrap();
    assert!(!ours.close(deadline(20)).unwrap().aborted);
    let read = reading.join().unwrap();
    openssl.wait().unwrap();
    assert!(read == [&text[..], &text[..]].concat(), "{} bytes", read.len());
}
