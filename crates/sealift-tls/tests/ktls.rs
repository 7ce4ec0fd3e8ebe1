//! Records that the kernel makes, against rustls and against our own: every suite, endings, damage,
//! key updates, files, limits. Where the kernel has no TLS, what is asked for fails clearly, and
//! what is left open falls to us.

mod support;

use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use sealift_crypto::{Inline, Limits};
use sealift_io::ktls::{KernelTls, is_loaded};
use sealift_tls::{Error, Ktls, Maker, TlsStream, TlsStreamBuilder, Violation, rustls};
use support::ends::{both_ours, our_server_and_theirs, ours_and_theirs};
use support::ktls::{has_kernel_tls, kernel_changes_keys, on};
use support::{
    Authority, Case, Theirs, both_versions, case_tls12, case_tls13, cases, deadline, endings, name,
    pattern, tcp_pair,
};

/// What we are, and how we shake hands then.
type Role = (&'static str, fn(TlsStreamBuilder, &Case) -> (TlsStream, Theirs));

const ROLES: [Role; 2] = [("client", ours_and_theirs), ("server", our_server_and_theirs)];

/// Whose records of this case the kernel opens.
fn opener(case: &Case) -> Maker {
    let follows = case.version == &rustls::version::TLS12 || kernel_changes_keys();
    if follows { Maker::Kernel } else { Maker::Sealift }
}

#[test]
fn every_suite_carries_any_sizes_both_ways_as_client_and_server() {
    if !has_kernel_tls("every_suite_carries_any_sizes_both_ways_as_client_and_server") {
        return;
    }
    let sizes = [1, 2, 100, 16_383, 16_384, 16_385, 70_000, 300_000];
    for case in cases() {
        for (role, shake_hands) in ROLES {
            let (mut ours, mut theirs) = shake_hands(on(), &case);
            let stats = ours.stats();
            assert_eq!(stats.makers.sealing, Maker::Kernel, "{case:?} {stats}");
            assert_eq!(stats.makers.opening, opener(&case), "{case:?} {stats}");
            let echo = thread::spawn(move || {
                for size in sizes {
                    let mut read = vec![0; size];
                    theirs.read_exact(&mut read).unwrap();
                    theirs.write_all(&read).unwrap();
                }
            });
            for (at, size) in sizes.into_iter().enumerate() {
                let sent = pattern(size, at as u8);
                let (first, second) = sent.split_at(size / 3);
                let slices = [IoSlice::new(first), IoSlice::new(&[]), IoSlice::new(second)];
                assert_eq!(ours.write_vectored(&slices).unwrap(), size);
                let mut read = vec![0; size];
                // In small parts, and at once.
                let part = if at % 2 == 0 { 100.min(size) } else { size };
                read.chunks_mut(part).for_each(|part| ours.read_exact(part).unwrap());
                assert!(read == sent, "{case:?} {role} {size}");
            }
            echo.join().unwrap();
            let stats = ours.stats();
            let all: usize = sizes.iter().sum();
            assert_eq!((stats.bytes_sealed, stats.bytes_opened), (all as u64, all as u64));
            let fewest: usize = sizes.iter().map(|size| size.div_ceil(16_384)).sum();
            assert!((fewest as u64..=2 * fewest as u64).contains(&stats.records_sealed), "{stats}");
            assert_eq!(stats.sender.bytes.zero_copied, 0);
        }
    }
}

#[test]
fn both_ends_in_the_kernel_carry_bulk_both_ways_at_once() {
    if !has_kernel_tls("both_ends_in_the_kernel_carry_bulk_both_ways_at_once") {
        return;
    }
    for case in both_versions() {
        for far in [on(), TlsStream::builder().ktls(Ktls::Off)] {
            let (near, far) = both_ours(&case, on(), far);
            let sent = pattern(4 << 20, 8);
            thread::scope(|scope| {
                for stream in [near, far] {
                    let (mut reader, mut writer) = stream.split();
                    let sent = &sent;
                    scope.spawn(move || {
                        writer.write_all(sent).unwrap();
                        assert!(!writer.close(deadline(60)).unwrap().aborted);
                    });
                    scope.spawn(move || {
                        let mut read = Vec::new();
                        reader.read_to_end(&mut read).unwrap();
                        assert!(read == *sent);
                    });
                }
            });
        }
    }
}

#[test]
fn close_notify_ends_each_way_and_the_end_of_tcp_does_not() {
    if !has_kernel_tls("close_notify_ends_each_way_and_the_end_of_tcp_does_not") {
        return;
    }
    for case in both_versions() {
        let (mut ours, mut theirs) = ours_and_theirs(on(), &case);
        endings::each_way_is_ended(&mut ours, &mut theirs);

        let (mut ours, mut theirs) = our_server_and_theirs(on(), &case);
        endings::the_end_of_tcp_is_an_error(&mut ours, &mut theirs);
        drop(ours);
        assert!(theirs.read(&mut [0; 10]).is_err(), "dropped: no close_notify");
    }
}

/// The kernel takes what TCP has no room for; the end of the stream must not overtake it.
#[test]
fn what_was_taken_arrives_whole_however_late_the_peer_reads() {
    if !has_kernel_tls("what_was_taken_arrives_whole_however_late_the_peer_reads") {
        return;
    }
    for case in both_versions() {
        let (mut ours, mut theirs) = ours_and_theirs(on(), &case);
        let sent = pattern(64 << 20, 5);
        let patience = Duration::from_millis(300);
        let taken = endings::write_while_nobody_reads(&mut ours, &sent, patience);
        assert!(ours.unacknowledged_bytes() > Some(0));
        let reading = thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).unwrap();
            read
        });
        let closed = ours.close(deadline(120)).unwrap();
        assert!(!closed.aborted, "{closed:?}");
        assert_eq!(closed.stats.bytes_sealed, taken as u64);
        assert!(reading.join().unwrap() == sent[..taken]);
    }
}

#[test]
fn close_ends_by_its_deadline_and_says_what_was_lost() {
    if !has_kernel_tls("close_ends_by_its_deadline_and_says_what_was_lost") {
        return;
    }
    let (mut ours, mut theirs) = ours_and_theirs(on(), &case_tls13());
    endings::a_late_close_says_what_was_lost(&mut ours);
    drop(ours);
    assert!(theirs.read_to_end(&mut Vec::new()).is_err(), "a part is not taken for the whole");
}

#[test]
fn damage_is_one_clear_error_of_both_halves_and_the_peer_is_told() {
    if !has_kernel_tls("damage_is_one_clear_error_of_both_halves_and_the_peer_is_told") {
        return;
    }
    for case in both_versions() {
        let (ours, theirs) = ours_and_theirs(on(), &case);
        endings::a_flipped_bit_ends_both_halves(ours, theirs);

        for (wire, expected) in [
            (&[23, 3, 3, 0x50, 0, 0, 0][..], Violation::RecordTooLong),
            (&[23, 2, 0, 0, 40, 0, 0], Violation::WrongVersion),
        ] {
            let (mut ours, mut theirs) = our_server_and_theirs(on(), &case);
            theirs.socket.write_all(&[wire, &[0; 64]].concat()).unwrap();
            let found = ours.halves().0.receive(&mut [0; 100]).unwrap_err();
            assert!(matches!(found, Error::Peer(found) if found == expected), "{found}");
            assert!(theirs.read(&mut [0; 10]).is_err());
        }

        // The peer finds damage, and tells us.
        let (mut ours, mut theirs) = ours_and_theirs(on(), &case);
        let mut forged = &[&[23, 3, 3, 0, 40][..], &[0; 40]].concat()[..];
        theirs.connection.read_tls(&mut forged).unwrap();
        theirs.connection.process_new_packets().unwrap_err();
        theirs.flush().unwrap();
        let told = ours.halves().0.receive(&mut [0; 100]).unwrap_err();
        assert!(matches!(told, Error::Alert(_)), "{told}");
    }
}

#[test]
fn files_arrive_whole_between_writes_and_as_far_as_they_go() {
    if !has_kernel_tls("files_arrive_whole_between_writes_and_as_far_as_they_go") {
        return;
    }
    let content = pattern(500_000, 6);
    for case in both_versions() {
        let (mut ours, mut theirs) = ours_and_theirs(on(), &case);
        let reading = thread::spawn(move || {
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).unwrap();
            read
        });
        let file = File::from(memfd_create("sealift-tls-test", MemfdFlags::CLOEXEC).unwrap());
        (&file).write_all(&content).unwrap();
        ours.write_all(b"before").unwrap();
        assert_eq!(ours.send_file(&file, 7..500_000).unwrap(), 499_993);
        assert_eq!(ours.send_file(&file, 499_999..1 << 40).unwrap(), 1);
        assert_eq!(ours.send_file(&file, 500_000..600_000).unwrap(), 0);
        file.set_len(10).unwrap();
        assert_eq!(ours.send_file(&file, 0..500_000).unwrap(), 10);
        assert!(ours.send_file(tcp_pair().0, 0..10).is_err(), "no places to read from");
        ours.write_all(b"behind").unwrap();
        assert!(!ours.close(deadline(20)).unwrap().aborted);
        let parts = [b"before", &content[7..], &content[499_999..], &content[..10], b"behind"];
        assert!(reading.join().unwrap() == parts.concat());
    }
}

/// What the kernel sealed is counted, and a key's limit kept.
#[test]
fn a_key_is_replaced_before_its_limit_or_the_write_says_why_not() {
    if !has_kernel_tls("a_key_is_replaced_before_its_limit_or_the_write_says_why_not") {
        return;
    }
    for case in both_versions() {
        let limited = on().limits(Limits { seals: 40, failures: 1 });
        let (mut ours, mut theirs) = ours_and_theirs(limited, &case);
        let sent = pattern(2 << 20, 3);
        let reading = thread::spawn(move || {
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).unwrap();
            read
        });
        let written = ours.write(&sent).unwrap();
        let updates = ours.stats().key_updates_sent;
        if case.version == &rustls::version::TLS13 && kernel_changes_keys() {
            assert_eq!(written, sent.len());
            assert!(updates >= 3, "{updates}");
        } else {
            assert!((30 * 16_384..40 * 16_384).contains(&written), "{written}");
            let refused = ours.write(b"more").unwrap_err().to_string();
            let expected = if case.version == &rustls::version::TLS12 { "TLS 1.2" } else { "6.14" };
            assert!(refused.contains(expected), "{refused}");
            assert_eq!(updates, 0);
        }
        assert!(!ours.close(deadline(60)).unwrap().aborted);
        assert!(reading.join().unwrap() == sent[..written]);
    }
}

/// A peer may update its key at any moment; only what it requests of ours may be out of reach.
#[test]
fn the_peers_key_updates_are_followed_and_its_requests_granted_or_refused_clearly() {
    let test = "the_peers_key_updates_are_followed_and_its_requests_granted_or_refused_clearly";
    if !has_kernel_tls(test) {
        return;
    }
    // Forced updates request nothing.
    let far = TlsStream::builder().ktls(Ktls::Off).limits(Limits { seals: 20, failures: 1 });
    let (mut near, mut far) = both_ours(&case_tls13(), on(), far);
    let sent = pattern(1 << 20, 4);
    thread::scope(|scope| {
        scope.spawn(|| far.write_all(&sent).unwrap());
        let mut read = vec![0; sent.len()];
        near.read_exact(&mut read).unwrap();
        assert!(read == sent);
    });
    assert!(near.stats().key_updates_received >= 3, "{}", near.stats());

    // rustls requests ours with each of its own.
    let (mut ours, mut theirs) = ours_and_theirs(on(), &case_tls13());
    for round in 0..20u8 {
        theirs.refresh();
        theirs.write_all(&[round]).unwrap();
        let mut read = [0];
        match ours.read_exact(&mut read) {
            Ok(()) => assert_eq!(read, [round]),
            Err(error) => {
                assert!(!kernel_changes_keys(), "{error}");
                assert!(error.to_string().contains("Linux 6.14"), "{error}");
                let kept = ours.write(b"more").unwrap_err();
                assert_eq!(kept.to_string(), error.to_string());
                let told = theirs.read(&mut [0; 10]).unwrap_err();
                assert!(told.to_string().contains("InternalError"), "{told}");
                return;
            }
        }
        ours.write_all(&read).unwrap();
        theirs.read_exact(&mut read).unwrap();
        assert_eq!(read, [round]);
    }
    assert!(kernel_changes_keys());
    assert_eq!(ours.stats().key_updates_received, 20);
}

#[test]
fn our_updates_are_made_or_refused_before_anything_is_sent() {
    if !has_kernel_tls("our_updates_are_made_or_refused_before_anything_is_sent") {
        return;
    }
    let (mut near, mut far) = both_ours(&case_tls13(), on(), on());
    for round in 0..20u8 {
        match near.request_key_update() {
            Ok(()) => assert!(kernel_changes_keys()),
            Err(error) => {
                assert!(!kernel_changes_keys(), "{error}");
                assert!(error.to_string().contains("Linux 6.14"), "{error}");
            }
        }
        // Whether or not, the connection goes on.
        near.write_all(&[round]).unwrap();
        let mut read = [0];
        far.read_exact(&mut read).unwrap();
        far.write_all(&read).unwrap();
        near.read_exact(&mut read).unwrap();
        assert_eq!(read, [round]);
    }
    let expected = if kernel_changes_keys() { 20 } else { 0 };
    let (near, far) = (near.stats(), far.stats());
    assert_eq!((near.key_updates_sent, far.key_updates_received), (expected, expected));
    assert_eq!((far.key_updates_sent, near.key_updates_received), (expected, expected));

    let (mut near, _far) = both_ours(&case_tls12(), on(), on());
    assert!(matches!(near.request_key_update(), Err(Error::Caller { .. })));
}

#[cfg(feature = "tokio")]
#[test]
fn a_task_does_as_well() {
    use sealift_tls::AsyncTlsStream;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    if !has_kernel_tls("a_task_does_as_well") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for case in both_versions() {
        runtime.block_on(async {
            let authority = Authority::new();
            let (near, far) = tcp_pair();
            let server = authority.server(&case);
            let echo = tokio::spawn(async move {
                let mut far =
                    AsyncTlsStream::accept(on(), far, server, deadline(20)).await.unwrap();
                let mut read = Vec::new();
                far.read_to_end(&mut read).await.unwrap();
                far.write_all(&read).await.unwrap();
                far.shutdown().await.unwrap();
            });
            let client = authority.client(&case);
            let near = AsyncTlsStream::connect(on(), near, client, name(), deadline(20));
            let mut near = near.await.unwrap();
            assert_eq!(near.stream().stats().makers.sealing, Maker::Kernel);
            let sent = pattern(3_000_000, 2);
            near.write_all(&sent).await.unwrap();
            near.shutdown().await.unwrap();
            let mut read = Vec::new();
            near.read_to_end(&mut read).await.unwrap();
            assert!(read == sent);
            echo.await.unwrap();
        });
    }
}

/// Loopback has no device that offloads, so the choice is ours; it says why, also to one who has an
/// engine: that is not what keeps the kernel from it.
#[test]
fn auto_leaves_records_to_us_where_no_device_offloads() {
    let alone = both_versions().into_iter().map(|case| (case, TlsStream::builder()));
    let with_engine = TlsStream::builder().sealing_engine(Inline::new());
    for (case, builder) in alone.chain([(case_tls13(), with_engine)]) {
        let (mut ours, mut theirs) = ours_and_theirs(builder, &case);
        ours.write_all(b"ours").unwrap();
        theirs.read_exact(&mut [0; 4]).unwrap();
        let makers = ours.stats().makers;
        assert_eq!((makers.sealing, makers.opening), (Maker::Sealift, Maker::Sealift));
        let reason = makers.reason.unwrap();
        let expected = match is_loaded() {
            true => "lo does not offload TLS",
            false => "no kernel TLS (tls module) is loaded",
        };
        assert_eq!(reason, expected);
    }
    let off = TlsStream::builder().ktls(Ktls::Off);
    let (ours, _theirs) = ours_and_theirs(off, &case_tls13());
    assert!(ours.stats().to_string().contains("kernel TLS is switched off"), "{}", ours.stats());
}

#[test]
fn what_is_asked_for_and_cannot_be_fails_before_a_byte_is_sent() {
    let authority = Authority::new();
    let client = authority.client(&case_tls13());
    let (near, mut far) = UnixStream::pair().unwrap();
    let refused = on().connect(near, client.clone(), name(), deadline(5)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the kernel cannot make the records: only plain TCP has kernel TLS"
    );
    assert_eq!(far.read(&mut [0; 10]).unwrap(), 0, "nothing was sent");

    if KernelTls::attach(tcp_pair().0).is_ok() {
        return;
    }
    let (near, mut far): (TcpStream, TcpStream) = tcp_pair();
    let refused = on().connect(near, client, name(), deadline(5)).unwrap_err();
    assert!(matches!(refused, Error::KernelTls { .. }));
    assert!(refused.to_string().contains("modprobe tls"), "{refused}");
    assert_eq!(far.read(&mut [0; 10]).unwrap(), 0, "nothing was sent");
}
