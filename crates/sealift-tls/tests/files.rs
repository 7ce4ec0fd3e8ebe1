//! Files, sealed as they are read.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::thread;

use rustix::fs::{MemfdFlags, memfd_create};
use sealift_tls::TlsStream;
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
