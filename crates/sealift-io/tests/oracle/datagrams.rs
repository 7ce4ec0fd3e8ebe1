//! UDP: each datagram carries its number, and its bytes are keyed by it. What arrives is right;
//! what is sent comes back once, whether or not anybody hears it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use sealift_io::{Backend, Buffer, Event, Message, Outcome, Policy, Pool, PoolStats, Sender};

use crate::case::{BACKENDS, POLICIES, every_nth_case};
use crate::support::deadline;
use crate::support::pattern::{Rng, base_seed, first_wrong, garbage, stream};

/// What a datagram's number takes at its beginning.
const NUMBER_BYTES: usize = 8;
/// The segments of a train; the train's number is in its first, its bytes run through all.
const SEGMENT_BYTES: usize = 1400;

/// How the datagrams are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    One(usize),
    /// Cut by the kernel into segments (`UDP_SEGMENT`), each with a number of its own.
    Train(usize),
}

#[derive(Clone, Copy, Debug)]
struct Case {
    backend: Backend,
    policy: Policy,
    shape: Shape,
    /// Each message has its address instead of the socket being connected.
    addressed: bool,
}

impl Case {
    fn all(shapes: &[Shape]) -> impl Iterator<Item = Self> {
        let each = BACKENDS.into_iter().flat_map(move |backend| {
            POLICIES.into_iter().flat_map(move |policy| {
                shapes.iter().flat_map(move |&shape| {
                    [false, true].map(move |addressed| Self { backend, policy, shape, addressed })
                })
            })
        });
        each.step_by(every_nth_case() as usize)
    }

    fn len(&self) -> usize {
        match self.shape {
            Shape::One(len) | Shape::Train(len) => len,
        }
    }
}

/// The bytes of datagram `number`: the number, then a stream of its own.
fn datagram(number: u64, into: &mut [u8]) {
    let (head, body) = into.split_at_mut(NUMBER_BYTES);
    head.copy_from_slice(&number.to_le_bytes());
    body.copy_from_slice(stream(base_seed() ^ number, 0, body.len()));
}

/// Asserts that these are a datagram's bytes; its number.
fn check(bytes: &[u8]) -> u64 {
    let (head, body) = bytes.split_at(NUMBER_BYTES);
    let number = u64::from_le_bytes(head.try_into().unwrap());
    assert_eq!(first_wrong(base_seed() ^ number, 0, body), None, "datagram {number} is corrupted");
    number
}

/// Sends datagrams out of a pool and overwrites what comes back.
struct Source {
    sender: Sender,
    pool: Pool,
    case: Case,
    to: SocketAddr,
    next: u64,
    /// Datagrams in each message that is out, and the outcomes of those that came back.
    out: HashMap<u64, usize>,
    outcomes: Vec<Outcome>,
    rng: Rng,
}

impl Source {
    fn new(case: Case, socket: UdpSocket, to: SocketAddr) -> Self {
        let pool = Pool::builder().frames(12).frame_bytes(case.len()).build().unwrap();
        if !case.addressed {
            socket.connect(to).unwrap();
        }
        let builder = Sender::builder().backend(case.backend).policy(case.policy).pool(&pool);
        let sender = builder.build(socket).unwrap();
        let (out, outcomes) = (HashMap::new(), Vec::new());
        Self { sender, pool, case, to, next: 0, out, outcomes, rng: Rng(base_seed()) }
    }

    /// Sends one message; the datagrams in it.
    fn send(&mut self) -> usize {
        let mut lease = loop {
            match self.pool.try_lease() {
                Some(lease) => break lease,
                None => self.take_one(),
            }
        };
        lease.set_len(self.case.len());
        let piece = match self.case.shape {
            Shape::One(len) => len,
            Shape::Train(_) => SEGMENT_BYTES,
        };
        let mut count = 0;
        for piece in lease.chunks_mut(piece) {
            datagram(self.next + count, piece);
            count += 1;
        }
        let frozen = self.rng.below(2) == 0;
        let mut message = if frozen {
            // Two views of one frame, so that the request has two pieces.
            let view = lease.freeze();
            let cut = 1 + self.rng.below(view.len() - 1);
            Message::from(view.slice(..cut)).and(view.slice(cut..))
        } else {
            Message::from(lease)
        };
        if let Shape::Train(_) = self.case.shape {
            message = message.segmented((SEGMENT_BYTES as u16).try_into().unwrap());
        }
        if self.case.addressed {
            message = message.to(self.to);
        }
        self.out.insert(self.next, count as usize);
        self.sender.send(message.tagged(self.next)).unwrap();
        self.next += count;
        while let Some(event) = self.sender.poll() {
            self.take(event);
        }
        count as usize
    }

    fn take_one(&mut self) {
        match self.sender.wait(deadline(20)).unwrap() {
            Some(event) => self.take(event),
            None => panic!("{} messages never came back", self.out.len()),
        }
    }

    fn take(&mut self, event: Event) {
        let Event::Completed(done) = event else { panic!("no group was opened") };
        assert!(self.out.remove(&done.message.tag()).is_some(), "came back twice");
        assert_eq!(done.message.len(), self.case.len());
        assert_eq!(done.bytes.total(), self.case.len() as u64, "{:?}", done.result);
        self.outcomes.push(done.result.unwrap());
        for buffer in done.message.into_buffers() {
            match buffer {
                Buffer::Lease(mut lease) => {
                    let len = lease.len();
                    lease.copy_from_slice(garbage(len));
                }
                view => {
                    drop(view);
                    if let Some(mut lease) = self.pool.try_lease() {
                        let len = lease.capacity();
                        lease.frame_mut().copy_from_slice(garbage(len));
                    }
                }
            }
        }
    }

    /// What comes back where the path copies nothing.
    #[cfg(feature = "sandbox")]
    fn offered(&self) -> Outcome {
        let copies = self.case.backend == Backend::Copy;
        let ruled_out = self.sender.backend().no_zero_copy.is_some();
        if copies || ruled_out { Outcome::Plain } else { Outcome::ZeroCopy }
    }

    /// Takes everything back and closes; the outcomes, in the order of return.
    fn finish(mut self) -> Vec<Outcome> {
        while !self.out.is_empty() {
            self.take_one();
        }
        let closed = self.sender.close(deadline(20));
        assert!(!closed.aborted && closed.quarantined == 0, "{:?}: {closed:?}", self.case);
        assert_eq!(closed.stats.stray_answers, 0, "{:?}", self.case);
        let PoolStats { leased, .. } = self.pool.stats();
        assert_eq!(leased, 0, "{:?}", self.case);
        self.outcomes
    }
}

/// Hears datagrams on a thread of the test itself, so that hardly one is lost.
fn talk(case: Case, near: UdpSocket, far: &UdpSocket, to: SocketAddr, messages: usize) {
    let mut source = Source::new(case, near, to);
    let mut room = vec![0; 65_536];
    let mut heard = HashMap::new();
    let mut sent = 0;
    for round in 0..messages {
        sent += source.send();
        // Let some pile up in the receiver's queue before they are read.
        let pending = if round % 3 == 2 || round + 1 == messages { sent - heard.len() } else { 0 };
        for _ in 0..pending {
            // The way to another namespace may first have to be found (ARP, retried each second).
            let patience_ms = if heard.is_empty() { 5000 } else { 200 };
            far.set_read_timeout(Some(Duration::from_millis(patience_ms))).unwrap();
            let Ok((len, _)) = far.recv_from(&mut room) else { break };
            let previous = heard.insert(check(&room[..len]), ());
            assert!(previous.is_none(), "{case:?}: a datagram arrived twice");
        }
    }
    source.finish();
    // UDP may lose what the receiver's queue has no room for, but not most of it.
    assert!(heard.len() * 2 > sent, "{case:?}: {} of {sent} datagrams arrived", heard.len());
}

const SHAPES: [Shape; 4] =
    [Shape::One(9), Shape::One(1400), Shape::One(60_000), Shape::Train(28 * SEGMENT_BYTES - 300)];

fn loopback(address: IpAddr) {
    for case in Case::all(&SHAPES) {
        let (near, far) =
            (UdpSocket::bind((address, 0)).unwrap(), UdpSocket::bind((address, 0)).unwrap());
        let to = far.local_addr().unwrap();
        talk(case, near, &far, to, 12);
    }
}

#[test]
fn datagrams_over_loopback_arrive_as_they_were_v4() {
    loopback(Ipv4Addr::LOCALHOST.into());
}

#[test]
fn datagrams_over_loopback_arrive_as_they_were_v6() {
    loopback(Ipv6Addr::LOCALHOST.into());
}

/// The sender goes while datagrams are out: what arrives is right all the same.
#[test]
fn datagrams_of_a_dropped_sender_arrive_as_they_were() {
    for case in Case::all(&SHAPES[1..]) {
        let (near, far) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let to = far.local_addr().unwrap();
        let mut source = Source::new(case, near, to);
        for _ in 0..4 {
            source.send();
        }
        let Source { sender, pool, .. } = source;
        drop(sender);
        let end = deadline(20);
        while pool.stats().leased > 0 {
            assert!(Instant::now() < end, "{case:?}: {:?}", pool.stats());
            std::thread::sleep(Duration::from_millis(1));
        }
        far.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut room = vec![0; 65_536];
        let mut heard = 0;
        while let Ok((len, _)) = far.recv_from(&mut room) {
            check(&room[..len]);
            heard += 1;
        }
        assert!(heard > 0, "{case:?}");
    }
}

#[cfg(feature = "sandbox")]
mod sandboxed {
    use sealift_io::sandbox::FarEnd;

    use super::*;
    use crate::support::{if_kernel_has, in_sandbox};

    /// The way to another namespace: in pieces of the device's size, and in trains.
    #[test]
    fn datagrams_through_a_veth_arrive_as_they_were() {
        let name = "datagrams_through_a_veth_arrive_as_they_were";
        in_sandbox(name, |sandbox| {
            let veth = if_kernel_has(name, sandbox.add_veth(1500, FarEnd::Host));
            let Some(veth) = veth else { return };
            let ways: [(IpAddr, IpAddr); 2] = [
                (veth.near.local_v4.into(), veth.near.peer_v4.into()),
                (veth.near.local_v6.into(), veth.near.peer_v6.into()),
            ];
            for (local, peer) in ways {
                for case in Case::all(&[Shape::One(1400), Shape::Train(20 * SEGMENT_BYTES)]) {
                    let far = veth.namespace.run(|| UdpSocket::bind((peer, 0))).unwrap().unwrap();
                    let near = UdpSocket::bind((local, 0)).unwrap();
                    let to = far.local_addr().unwrap();
                    talk(case, near, &far, to, 9);
                }
            }
        });
    }

    /// A path that copies nothing: each buffer is held until the device has freed the packet,
    /// comes back once, and is used again at once, many times over.
    #[test]
    fn buffers_sent_to_a_sink_live_as_long_as_they_must() {
        let name = "buffers_sent_to_a_sink_live_as_long_as_they_must";
        in_sandbox(name, |sandbox| {
            let Some(sink) = if_kernel_has(name, sandbox.add_sink(65_535)) else { return };
            let ways: [(IpAddr, IpAddr); 2] = [
                (sink.local_v4.into(), sink.peer_v4.into()),
                (sink.local_v6.into(), sink.peer_v6.into()),
            ];
            for (local, peer) in ways {
                for case in Case::all(&[Shape::One(60_000), Shape::Train(44 * SEGMENT_BYTES)]) {
                    let near = UdpSocket::bind((local, 0)).unwrap();
                    let mut source = Source::new(case, near, SocketAddr::new(peer, 4433));
                    for _ in 0..60 {
                        source.send();
                    }
                    let expected = source.offered();
                    assert_eq!(source.finish(), [expected; 60], "{case:?}");
                }
            }
        });
    }
}
