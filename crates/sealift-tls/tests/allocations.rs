//! No allocation per record in steady state, written or read.
//!
//! Truth: an allocator that counts. Each thread counts its own, so that the peer's do not show.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::thread::{self, JoinHandle};

use rustix::fs::{MemfdFlags, memfd_create};
use sealift_io::Backend;
use sealift_tls::{Bytes, TlsStream};
use support::engines::sound;
use support::opening::openers;
use support::{Authority, Case, case_tls12, case_tls13, deadline, name, tcp_pair};

thread_local! {
    // Const and without a destructor, so that reading it allocates nothing.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // A thread that is ending has no count any more.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Rounds, one of which must be without any allocation; see the same test of sealift-io.
const ROUNDS: usize = 8;

/// The counter counts; or the test below would show nothing.
#[test]
fn the_allocator_counts() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(vec![1u8; 100]));
    assert_eq!(ALLOCATIONS.get(), before + 1);
}

/// Small and large writes, gathered ones, and reads with room for a record or not.
fn turn(stream: &mut TlsStream, block: &[u8], into: &mut [u8]) {
    for number in 0..100 {
        let size = if number % 2 == 0 { 100 } else { block.len() };
        stream.write_all(&block[..size]).unwrap();
        stream.write_all(&block[..10]).unwrap();
        let slices = &[IoSlice::new(&block[..20]), IoSlice::new(&block[..20])];
        assert_eq!(stream.write_vectored(slices).unwrap(), 40);
        let room = if number % 3 == 0 { 1000 } else { into.len() };
        let mut left = size + 50;
        while left > 0 {
            let most = room.min(left);
            left -= stream.read(&mut into[..most]).unwrap();
        }
    }
}

/// An end that sends back what it is sent.
fn echo(authority: &Authority, case: &Case, far: TcpStream) -> JoinHandle<()> {
    let server = authority.server(case);
    thread::spawn(move || {
        let mut far = TlsStream::accept(far, server, deadline(20)).unwrap();
        let mut into = vec![0; 40_000];
        loop {
            match far.read(&mut into).unwrap() {
                0 => break,
                count => far.write_all(&into[..count]).unwrap(),
            }
        }
    })
}

#[test]
fn a_stream_allocates_nothing_per_record() {
    let authority = Authority::new();
    for case in [case_tls13(), case_tls12()] {
        for backend in [Backend::Uring, Backend::MsgZerocopy, Backend::Copy] {
            let (near, far) = tcp_pair();
            let echo = echo(&authority, &case, far);
            let builder = TlsStream::builder().backend(backend);
            let client = authority.client(&case);
            let mut stream = builder.connect(near, client, name(), deadline(20)).unwrap();
            let (block, mut into) = (vec![5; 100_000], vec![0; 50_000]);
            let mut rounds = Vec::new();
            while rounds.last() != Some(&0) {
                assert!(rounds.len() < ROUNDS, "{backend}: allocations in each round: {rounds:?}");
                let before = ALLOCATIONS.get();
                turn(&mut stream, &block, &mut into);
                rounds.push(ALLOCATIONS.get() - before);
            }
            assert!(!stream.close(deadline(20)).unwrap().aborted);
            echo.join().unwrap();
        }
    }
}

/// The same as a task, on a runtime of this thread.
#[cfg(feature = "tokio")]
#[test]
fn a_task_allocates_nothing_per_record() {
    use sealift_tls::AsyncTlsStream;

    let authority = Authority::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for case in [case_tls13(), case_tls12()] {
        for backend in [Backend::Uring, Backend::MsgZerocopy, Backend::Copy] {
            let (near, far) = tcp_pair();
            let echo = echo(&authority, &case, far);
            let builder = TlsStream::builder().backend(backend);
            let client = authority.client(&case);
            runtime.block_on(async {
                let stream = AsyncTlsStream::connect(builder, near, client, name(), deadline(20));
                let mut stream = stream.await.unwrap();
                let (block, mut into) = (vec![5; 100_000], vec![0; 50_000]);
                let mut rounds = Vec::new();
                while rounds.last() != Some(&0) {
                    assert!(rounds.len() < ROUNDS, "{backend}: allocations: {rounds:?}");
                    let before = ALLOCATIONS.get();
                    task_turn(&mut stream, &block, &mut into).await;
                    rounds.push(ALLOCATIONS.get() - before);
                }
                assert!(!stream.close(deadline(20)).await.unwrap().aborted);
            });
            echo.join().unwrap();
        }
    }
}

/// As [`turn`], with what is given away and flushed.
#[cfg(feature = "tokio")]
async fn task_turn(stream: &mut sealift_tls::AsyncTlsStream, block: &[u8], into: &mut [u8]) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    static GIVEN: [u8; 1000] = [5; 1000];
    for number in 0..100 {
        let size = if number % 2 == 0 { 100 } else { block.len() };
        stream.write_all(&block[..size]).await.unwrap();
        stream.send_owned(Bytes::from_static(&GIVEN)).await.unwrap();
        let slices = &[IoSlice::new(&block[..20]), IoSlice::new(&block[..20])];
        assert_eq!(stream.write_vectored(slices).await.unwrap(), 40);
        stream.flush().await.unwrap();
        let room = if number % 3 == 0 { 1000 } else { into.len() };
        let mut left = size + GIVEN.len() + 40;
        while left > 0 {
            let most = room.min(left);
            left -= stream.read(&mut into[..most]).await.unwrap();
        }
    }
}

/// Given away, from memory that is shared without an allocation of its own; and a file.
#[test]
fn a_sealing_engine_costs_no_allocation_per_record() {
    static BLOCK: [u8; 300_000] = [5; 300_000];
    let authority = Authority::new();
    for sealer in sound("a_sealing_engine_costs_no_allocation_per_record") {
        // What a device loses now and then is paid for anew.
        if sealer.name.starts_with("router") {
            continue;
        }
        let case = case_tls13();
        let (near, far) = tcp_pair();
        let server = authority.server(&case);
        let sink = thread::spawn(move || {
            let mut far = TlsStream::accept(far, server, deadline(20)).unwrap();
            let mut into = vec![0; 100_000];
            while far.read(&mut into).unwrap() > 0 {}
        });
        let file = File::from(memfd_create("sealift-tls-test", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(BLOCK.len() as u64).unwrap();
        let client = authority.client(&case);
        let builder = sealer.give(TlsStream::builder(), 1);
        let mut stream = builder.connect(near, client, name(), deadline(20)).unwrap();
        let mut rounds = Vec::new();
        while rounds.last() != Some(&0) {
            let name = sealer.name;
            assert!(rounds.len() < ROUNDS, "{name}: allocations in each round: {rounds:?}");
            let before = ALLOCATIONS.get();
            for _ in 0..30 {
                stream.send_owned(Bytes::from_static(&BLOCK)).unwrap();
                stream.write_all(b"between").unwrap();
                stream.send_file(&file, 0..BLOCK.len() as u64).unwrap();
            }
            rounds.push(ALLOCATIONS.get() - before);
        }
        assert!(!stream.close(deadline(20)).unwrap().aborted);
        sink.join().unwrap();
    }
}

/// Read in parts and at once, with more ahead of the reader than it reads.
#[test]
fn an_opening_engine_costs_no_allocation_per_record() {
    let (authority, case) = (Authority::new(), case_tls13());
    for opener in openers("an_opening_engine_costs_no_allocation_per_record") {
        if !["inline", "workers", "coprocessor", "ipsec-mb"].contains(&opener.name) {
            continue;
        }
        let (near, far) = tcp_pair();
        let server = authority.server(&case);
        let sending = thread::spawn(move || {
            let mut far = TlsStream::accept(far, server, deadline(20)).unwrap();
            // Until nobody reads any more.
            while far.write_all(&[5; 100_000]).is_ok() && far.write_all(&[5; 100]).is_ok() {}
        });
        let builder = TlsStream::builder().opening_engine((opener.make)(1));
        let client = authority.client(&case);
        let mut stream = builder.connect(near, client, name(), deadline(20)).unwrap();
        let (mut into, mut rounds) = (vec![0; 50_000], Vec::new());
        while rounds.last() != Some(&0) {
            let name = opener.name;
            assert!(rounds.len() < ROUNDS, "{name}: allocations in each round: {rounds:?}");
            let before = ALLOCATIONS.get();
            for number in 0..300 {
                let most = if number % 3 == 0 { 1000 } else { into.len() };
                assert!(stream.read(&mut into[..most]).unwrap() > 0);
            }
            rounds.push(ALLOCATIONS.get() - before);
        }
        drop(stream);
        sending.join().unwrap();
    }
}
