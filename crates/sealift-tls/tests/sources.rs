//! What is sent from: the caller's memory is free when a write returns, and a file is only read,
//! whatever becomes of it meanwhile. Over every engine and backend.

mod support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use sealift_io::{Backend, Policy, Pool};
use sealift_tls::{TlsStream, TlsStreamBuilder};
use support::engines::{Sealer, Telltale, pairs, seeds, sound};
use support::{Authority, Case, Theirs, case_tls12, case_tls13, deadline, name, pattern, tcp_pair};

/// A stream over this pair of sockets, and what `there` makes of the other end.
fn ours_and_there<T: Send + 'static>(
    (near, far): (TcpStream, TcpStream),
    builder: TlsStreamBuilder,
    case: &Case,
    there: impl FnOnce(Theirs) -> T + Send + 'static,
) -> (TlsStream, JoinHandle<T>) {
    let authority = Authority::new();
    let server = authority.server(case);
    let there = thread::spawn(move || there(Theirs::server(far, server)));
    let client = authority.client(case);
    (builder.connect(near, client, name(), deadline(20)).unwrap(), there)
}

fn read_to_end(mut theirs: Theirs) -> Vec<u8> {
    let mut read = Vec::new();
    theirs.read_to_end(&mut read).unwrap();
    read
}

/// The peer reads nothing before the first write has returned and its memory was overwritten.
fn overwrite_what_was_written(builder: TlsStreamBuilder, case: &Case) {
    let (overwritten, go) = mpsc::channel();
    let (mut ours, there) = ours_and_there(tcp_pair(), builder, case, move |theirs| {
        go.recv().unwrap();
        read_to_end(theirs)
    });
    let mut expected = Vec::new();
    for (round, size) in [40_000, 1, 16_384, 100_000, 70_000].into_iter().enumerate() {
        let mut memory = pattern(size, round as u8);
        expected.extend_from_slice(&memory);
        let mut written = 0;
        while written < size {
            written += ours.write(&memory[written..]).unwrap();
            memory[..written].fill(0xee);
        }
        let _ = overwritten.send(());
    }
    assert!(!ours.close(deadline(20)).unwrap().aborted);
    assert!(there.join().unwrap() == expected, "what was overwritten is on the wire");
}

#[test]
fn the_callers_memory_is_free_when_a_write_returns() {
    for backend in [Backend::Uring, Backend::MsgZerocopy, Backend::Copy] {
        for sealer in sound("the_callers_memory_is_free_when_a_write_returns") {
            for (case, seed) in [case_tls13(), case_tls12()].into_iter().zip(0..) {
                let _telltale = Telltale(format!("{} {backend} {case:?}", sealer.name), seed);
                let builder = TlsStream::builder().backend(backend).policy(Policy::AlwaysZeroCopy);
                overwrite_what_was_written(sealer.give(builder, seed), &case);
            }
        }
    }
}

/// Sockets and a pool that hold far less than what is sent, so that the peer sets the pace.
fn narrow(sealer: &Sealer, seed: u64) -> ((TcpStream, TcpStream), TlsStreamBuilder) {
    let (near, far) = tcp_pair();
    set_socket_send_buffer_size(&near, 65_536).unwrap();
    set_socket_recv_buffer_size(&far, 65_536).unwrap();
    let pool = Pool::builder().frames(6).frame_bytes(50_000).huge_pages(false).build().unwrap();
    ((near, far), sealer.give(TlsStream::builder().pool(&pool), seed))
}

/// The peer reads a little of it, cuts the file to `left_bytes`, and reads on. Says how much of the
/// file arrived.
fn cut_while_sent(sealer: &Sealer, case: &Case, seed: u64, left_bytes: u64) -> u64 {
    let content = pattern(6_000_000, seed as u8);
    let mut file = File::from(memfd_create("sealift-tls-test", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(&content).unwrap();
    let theirs_to_cut = file.try_clone().unwrap();
    let (sockets, builder) = narrow(sealer, seed);
    let (mut ours, there) = ours_and_there(sockets, builder, case, move |mut theirs| {
        let mut read = vec![0; 100_000];
        theirs.read_exact(&mut read).unwrap();
        theirs_to_cut.set_len(left_bytes).unwrap();
        [read, read_to_end(theirs)].concat()
    });
    let sent = ours.send_file(&file, 0..content.len() as u64).unwrap();
    ours.write_all(b"behind").unwrap();
    assert!(!ours.close(deadline(20)).unwrap().aborted);
    let read = there.join().unwrap();
    let (of_the_file, behind) = read.split_at(read.len() - b"behind".len());
    assert_eq!((of_the_file.len() as u64, behind), (sent, &b"behind"[..]));
    assert!(*of_the_file == content[..of_the_file.len()], "what is cut off is no zeros");
    sent
}

#[test]
fn a_file_that_is_cut_while_it_is_sent_is_sent_as_far_as_it_was_read() {
    for sealer in sound("a_file_that_is_cut_while_it_is_sent_is_sent_as_far_as_it_was_read") {
        for case in [case_tls13(), case_tls12()] {
            for seed in seeds(2) {
                let _telltale = Telltale(format!("{} {case:?}", sealer.name), seed);
                // In the middle of a page that the sender has not come to.
                assert_eq!(cut_while_sent(&sealer, &case, seed, 4_000_003), 4_000_003);
                // Behind where the sender is.
                let sent = cut_while_sent(&sealer, &case, seed, 10);
                assert!((100_000..4_000_000).contains(&sent), "{sent}");
            }
        }
    }
}

/// A file on a file system, removed in the end.
struct OnDisk(std::path::PathBuf);

impl OnDisk {
    fn new(content: &[u8]) -> Self {
        let name = format!("sources-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, content).unwrap();
        Self(path)
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The page cache is what every other reader of the file sees.
#[test]
fn a_file_is_the_same_after_it_was_sent() {
    let content = pattern(1_000_000, 8);
    let on_disk = OnDisk::new(&content);
    for (sealer, case) in pairs("a_file_is_the_same_after_it_was_sent") {
        let _telltale = Telltale(format!("{} {case:?}", sealer.name), 2);
        let builder = sealer.give(TlsStream::builder(), 2);
        let (mut ours, there) = ours_and_there(tcp_pair(), builder, &case, read_to_end);
        let read_only = File::open(&on_disk.0).unwrap();
        assert_eq!(ours.send_file(read_only, 0..1_000_000).unwrap(), 1_000_000);
        assert!(!ours.close(deadline(20)).unwrap().aborted);
        assert!(there.join().unwrap() == content);
        assert!(fs::read(&on_disk.0).unwrap() == content, "the file was written to");
    }
}
