//! Every pair of ends, versions and suites: what one writes the other reads, byte for byte.
//!
//! Over every engine: what ours write is given away, so that the engine seals it.
//!
//! The other end is rustls's own buffered connection over a `TcpStream`.

mod support;

use std::io::{Read, Write};
use std::thread;

use support::kits::{Giving, equipped, over_engines};
use support::{Authority, Case, Theirs, cases, deadline, pattern, tcp_pair};

over_engines![
    our_client_and_their_server_agree,
    our_server_and_their_client_agree,
    our_client_and_our_server_agree,
];

/// Sizes around a record's bounds, and several at once.
const SIZES: [usize; 8] = [0, 1, 2, 16_383, 16_384, 16_385, 70_000, 3_000_000];

/// Writes every size and reads the same, in turns.
fn exchange(end: &mut (impl Read + Write), is_first: bool, seed: u8, expected: u8) {
    for size in SIZES {
        for writes in [is_first, !is_first] {
            if writes {
                end.write_all(&pattern(size, seed)).unwrap();
                end.flush().unwrap();
            } else {
                let mut received = vec![0; size];
                end.read_exact(&mut received).unwrap();
                assert!(received == pattern(size, expected), "size {size}");
            }
        }
    }
}

fn ours_against_theirs(case: &Case, authority: &Authority, we_are_client: bool) {
    let (near, far) = tcp_pair();
    let (client, server) = (authority.client(case), authority.server(case));
    let theirs = thread::spawn({
        let (client, server) = (client.clone(), server.clone());
        move || {
            let mut theirs = match we_are_client {
                true => Theirs::server(far, server),
                false => Theirs::client(far, client),
            };
            exchange(&mut theirs, false, 2, 1);
            theirs.close();
            assert_eq!(theirs.read(&mut [0; 10]).unwrap(), 0, "close_notify");
        }
    });
    let ours = match we_are_client {
        true => equipped().connect(near, client, support::name(), deadline(20)).unwrap(),
        false => equipped().accept(near, server, deadline(20)).unwrap(),
    };
    assert_eq!(ours.protocol_version(), case.version.version);
    assert_eq!(ours.negotiated_cipher_suite().suite(), case.suite.suite());
    let mut ours = Giving(ours);
    exchange(&mut ours, true, 1, 2);
    assert_eq!(ours.read(&mut [0; 10]).unwrap(), 0, "close_notify");
    let closed = ours.0.close(deadline(10)).unwrap();
    assert!(!closed.aborted, "{closed:?}");
    theirs.join().unwrap();
}

fn our_client_and_their_server_agree() {
    let authority = Authority::new();
    for case in cases() {
        ours_against_theirs(&case, &authority, true);
    }
}

fn our_server_and_their_client_agree() {
    let authority = Authority::new();
    for case in cases() {
        ours_against_theirs(&case, &authority, false);
    }
}

fn our_client_and_our_server_agree() {
    let authority = Authority::new();
    for case in cases() {
        let (near, far) = tcp_pair();
        let server = authority.server(&case);
        let builder = equipped();
        let theirs = thread::spawn(move || {
            let mut stream = Giving(builder.accept(far, server, deadline(20)).unwrap());
            exchange(&mut stream, false, 2, 1);
            assert!(!stream.0.close(deadline(10)).unwrap().aborted);
            assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
        });
        let client = authority.client(&case);
        let ours = equipped().connect(near, client, support::name(), deadline(20)).unwrap();
        let mut ours = Giving(ours);
        exchange(&mut ours, true, 1, 2);
        assert_eq!(ours.read(&mut [0; 10]).unwrap(), 0);
        assert!(!ours.0.close(deadline(10)).unwrap().aborted);
        theirs.join().unwrap();
    }
}
