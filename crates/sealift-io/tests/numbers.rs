//! Mistake: taking for granted that a send that failed has no number. A datagram that fails once
//! its packet is built keeps the one it got; a tracker that does not know it releases each later
//! buffer when its elder is free.
//!
//! Truth: a datagram to a host that does not answer waits in the neighbour's queue, so its buffer
//! is not free.
#![cfg(feature = "sandbox")]

mod support;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::process::Command;
use std::time::{Duration, Instant};

use sealift_io::sandbox::{FarEnd, Sandbox, Veth};
use sealift_io::{Backend, Error, Event, Message, Policy, Sender, SenderBuilder};
use support::{deadline, if_kernel_has, in_sandbox, raw, skip};

const ZERO_COPY: [Backend; 2] = [Backend::Uring, Backend::MsgZerocopy];

fn always(backend: Backend) -> SenderBuilder {
    Sender::builder().backend(backend).policy(Policy::AlwaysZeroCopy)
}

/// A host that answers, and an address beside it that does not.
fn network(name: &str, sandbox: &mut Sandbox) -> Option<(Veth, SocketAddr, SocketAddr)> {
    let veth = if_kernel_has(name, sandbox.add_veth(1500, FarEnd::Host))?;
    let octets = veth.near.peer_v4.octets();
    let silent = Ipv4Addr::new(octets[0], octets[1], octets[2], 77);
    let (peer, silent) = ((veth.near.peer_v4, 9).into(), (silent, 9).into());
    Some((veth, peer, silent))
}

fn train(bytes: usize, segment_bytes: u16, to: SocketAddr) -> Message {
    Message::from(vec![9; bytes]).segmented(NonZeroU16::new(segment_bytes).unwrap()).to(to)
}

fn outcome(sender: &mut Sender) -> sealift_io::Result<()> {
    match sender.wait(deadline(5))? {
        Some(Event::Completed(done)) => done.result.map(drop),
        other => panic!("{other:?}"),
    }
}

/// Nothing comes back for some time: the buffer is still waited for.
fn expect_held(sender: &mut Sender, what: &str) {
    let early = sender.wait(Instant::now() + Duration::from_millis(200));
    assert!(matches!(early, Err(Error::Deadline { .. })), "{what}: {early:?}");
    assert_eq!(sender.stats().stray_answers, 0, "{what}");
}

#[test]
fn what_follows_a_train_that_failed_is_not_released_early() {
    let name = "what_follows_a_train_that_failed_is_not_released_early";
    in_sandbox(name, |sandbox| {
        let Some((veth, peer, silent)) = network(name, sandbox) else { return };
        let wrong =
            [("of too many segments", 30_000, 100), ("of segments beyond the MTU", 30_000, 1600)];
        for backend in ZERO_COPY {
            for (what, bytes, segment_bytes) in wrong {
                let what = format!("{backend}, behind a train {what}");
                let socket = UdpSocket::bind((veth.near.local_v4, 0)).unwrap();
                let mut sender = always(backend).build(socket).unwrap();
                for _ in 0..3 {
                    sender.send(train(bytes, segment_bytes, peer)).unwrap();
                    assert!(outcome(&mut sender).is_err(), "{what}");
                }
                sender.send(train(28_000, 1400, silent)).unwrap();
                expect_held(&mut sender, &what);
                // And one that is free at once is told from it.
                sender.send(train(2800, 1400, peer)).unwrap();
                outcome(&mut sender).unwrap();
                expect_held(&mut sender, &what);
            }
        }
    });
}

/// Each try that the full queue refuses has its number, too, and its notification is no release
/// that would be worth another try: that went on for ever.
#[test]
fn a_queue_that_drops_is_not_asked_for_ever() {
    let name = "a_queue_that_drops_is_not_asked_for_ever";
    in_sandbox(name, |sandbox| {
        let Some((veth, peer, silent)) = network(name, sandbox) else { return };
        let far = veth.namespace.run(|| UdpSocket::bind(peer).unwrap()).unwrap();
        far.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        for backend in ZERO_COPY {
            let socket = UdpSocket::bind((veth.near.local_v4, 0)).unwrap();
            // Makes the neighbour known, so that packets reach the queue.
            socket.send_to(b"x", peer).unwrap();
            assert_eq!(far.recv(&mut [0; 8]).unwrap(), 1);
            // Only with this the queue's refusals are told.
            raw::report_errors(&socket).unwrap();
            let mut sender = always(backend).build(socket).unwrap();
            sender.send(Message::from(vec![1; 1400]).to(silent)).unwrap();
            if let Err(error) =
                tc(&["replace", "dev", &veth.near.name, "root", "bfifo", "limit", "1"])
            {
                return skip(name, &format!("tc: {error}"));
            }
            let begun = Instant::now();
            sender.send(Message::from(vec![1; 1400]).to(peer)).unwrap();
            let error = outcome(&mut sender).unwrap_err();
            assert_eq!(error.errno().map(|errno| errno.raw()), Some(libc::ENOBUFS), "{backend}");
            assert!(begun.elapsed() < Duration::from_secs(1), "{backend}: {:?}", begun.elapsed());
            assert!(sender.stats().requests < 10, "{}", sender.stats());
            tc(&["delete", "dev", &veth.near.name, "root"]).unwrap();
            expect_held(&mut sender, &backend.to_string());
        }
    });
}

fn tc(arguments: &[&str]) -> io::Result<()> {
    let output = Command::new("tc").arg("qdisc").args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(io::Error::other(said)) }
}
