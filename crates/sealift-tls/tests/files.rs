//! Files, sealed as they are read.

mod support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use sealift_tls::{Error, TlsStream};
use support::engines::{Sealer, Telltale, pairs, sound};
use support::{Authority, Theirs, case_tls13, deadline, name, pattern, tcp_pair};

/// A file in memory that holds `content`.
fn file(content: &[u8]) -> File {
    let mut file = File::from(memfd_create("sealift-tls-test", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(content).unwrap();
    file
}

#[test]
fn a_range_of_a_file_arrives_whole_between_writes() {
    let authority = Authority::new();
    let content = pattern(1_000_000, 6);
    for (sealer, case) in pairs("a_range_of_a_file_arrives_whole_between_writes") {
        let _telltale = Telltale(format!("{sealer:?} {case:?}"), 1);
        for range in [0..0, 0..1, 5..16_389, 3..16_388, 7..1_000_000, 999_999..1_000_000] {
            let (near, far) = tcp_pair();
            let server = authority.server(&case);
            let theirs = thread::spawn(move || {
                let mut read = Vec::new();
                Theirs::server(far, server).read_to_end(&mut read).unwrap();
                read
            });
            let client = authority.client(&case);
            let builder = sealer.give(TlsStream::builder(), 1);
            let mut ours = builder.connect(near, client, name(), deadline(20)).unwrap();
            ours.write_all(b"before").unwrap();
            let len = range.end - range.start;
            assert_eq!(ours.send_file(file(&content), range.clone()).unwrap(), len);
            ours.write_all(b"behind").unwrap();
            let closed = ours.close(deadline(20)).unwrap();
            assert_eq!(closed.stats.bytes_gathered, 0);
            let expected = &content[range.start as usize..range.end as usize];
            assert!(theirs.join().unwrap() == [b"before", expected, b"behind"].concat());
        }
    }
}

#[test]
fn a_file_that_ends_before_its_range_is_sent_as_far_as_it_goes() {
    for sealer in sound("a_file_that_ends_before_its_range_is_sent_as_far_as_it_goes") {
        let _telltale = Telltale(sealer.name.into(), 1);
        send_a_file_that_ends(&sealer);
    }
}

fn send_a_file_that_ends(sealer: &Sealer) {
    let authority = Authority::new();
    let case = case_tls13();
    let (near, far) = tcp_pair();
    let server = authority.server(&case);
    let theirs = thread::spawn(move || {
        let mut read = Vec::new();
        Theirs::server(far, server).read_to_end(&mut read).unwrap();
        read
    });
    let client = authority.client(&case);
    let builder = sealer.give(TlsStream::builder(), 1);
    let mut ours = builder.connect(near, client, name(), deadline(20)).unwrap();
    let short = file(&[1; 100_000]);
    assert_eq!(ours.send_file(&short, 0..1 << 40).unwrap(), 100_000);
    assert_eq!(ours.send_file(&short, 100_000..200_000).unwrap(), 0);
    short.set_len(10).unwrap();
    assert_eq!(ours.send_file(&short, 0..100_000).unwrap(), 10);
    let (socket, _other) = tcp_pair();
    assert!(ours.send_file(socket, 0..10).is_err(), "a socket has no places to read from");
    assert!(!ours.close(deadline(20)).unwrap().aborted);
    assert!(theirs.join().unwrap() == vec![1; 100_010]);
}

/// Nobody reads: what was sent before the deadline is said, and the rest may be sent later.
#[test]
fn a_file_that_meets_the_deadline_is_not_taken_for_a_shorter_one() {
    for sealer in sound("a_file_that_meets_the_deadline_is_not_taken_for_a_shorter_one") {
        let _telltale = Telltale(sealer.name.into(), 1);
        let authority = Authority::new();
        let (near, far) = tcp_pair();
        let server = authority.server(&case_tls13());
        let theirs = thread::spawn(move || Theirs::server(far, server));
        let client = authority.client(&case_tls13());
        let builder = sealer.give(TlsStream::builder(), 1);
        let mut ours = builder.connect(near, client, name(), deadline(20)).unwrap();
        let mut theirs = theirs.join().unwrap();
        let content = pattern(16 << 20, 6);
        let (file, end) = (file(&content), content.len() as u64);
        let mut at = 0;
        for _ in 0..2 {
            ours.set_write_deadline(Some(Instant::now() + Duration::from_millis(100)));
            let unfinished = ours.send_file(&file, at..end).unwrap_err();
            assert!(matches!(unfinished.error, Error::Deadline), "{unfinished}");
            at += unfinished.sent;
        }
        assert!(0 < at && at < end, "{at}");
        let reading = thread::spawn(move || {
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).unwrap();
            read
        });
        ours.set_write_deadline(None);
        assert_eq!(ours.send_file(&file, at..end).unwrap(), end - at);
        assert!(!ours.close(deadline(20)).unwrap().aborted);
        assert!(reading.join().unwrap() == content, "{}", sealer.name);
    }
}

/// A part of a file that can be read, and behind it one that cannot.
fn half_a_file() -> (File, Range<u64>) {
    let memory = File::open("/proc/self/mem").unwrap();
    let place = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    // Nothing is ever mapped at the front of the largest gap but one's own heap.
    let mapped = maps.lines().map(|line| {
        let (from, rest) = line.split_once('-').unwrap();
        let (to, rest) = rest.split_once(' ').unwrap();
        (place(from), place(to), rest.starts_with('r'))
    });
    let mapped: Vec<_> = mapped.collect();
    let gaps = mapped.windows(2).filter(|pair| pair[0].1 - pair[0].0 >= 64 << 10 && pair[0].2);
    let (_, last) = gaps.map(|pair| (pair[1].0 - pair[0].1, pair[0].1)).max().unwrap();
    (memory, last - (64 << 10)..last + (1 << 30))
}

/// The disk fails in the middle: that is an error, and no end of the file.
#[test]
fn a_file_that_cannot_be_read_further_is_an_error() {
    for sealer in sound("a_file_that_cannot_be_read_further_is_an_error") {
        let _telltale = Telltale(sealer.name.into(), 1);
        let authority = Authority::new();
        let (near, far) = tcp_pair();
        let server = authority.server(&case_tls13());
        let theirs = thread::spawn(move || {
            let mut read = Vec::new();
            Theirs::server(far, server).read_to_end(&mut read).unwrap();
            read.len() as u64
        });
        let client = authority.client(&case_tls13());
        let builder = sealer.give(TlsStream::builder(), 1);
        let mut ours = builder.connect(near, client, name(), deadline(20)).unwrap();
        let (file, range) = half_a_file();
        let unfinished = ours.send_file(&file, range).unwrap_err();
        assert!(unfinished.to_string().contains("pread"), "{unfinished}");
        assert!(unfinished.sent >= 16 << 10, "{unfinished:?}");
        assert!(!ours.close(deadline(20)).unwrap().aborted);
        assert_eq!(theirs.join().unwrap(), unfinished.sent, "{}", sealer.name);
    }
}
