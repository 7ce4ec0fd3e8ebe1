//! Connections through two tunnels that are cut, reset, stalled or whose tunnels are killed, at
//! random moments: the program that receives gets everything and an end, or an error, and never an
//! end with less.
//!
//! Some mishaps come early, within the handshake or soon after it. The others wait until each
//! program that receives has got most of what was sent until then: a tunnel that carries nothing
//! fails.
//!
//! The seed is printed; with `SEALIFT_SEED` it is given.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use support::*;

/// More than fits all the buffers between the two.
const LEN: usize = 12 << 20;
/// Connections that go through the same two tunnels.
const CONNECTIONS: usize = 4;
/// How often each kind of round is tried; 100 connections in all meet a mishap.
const ROUNDS: usize = 25;

/// What happens to all connections of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mishap {
    /// The end of the stream between the tunnels, as if it were over.
    Cut,
    /// A reset between the tunnels.
    Reset,
    /// Nothing moves between the tunnels for a while, and then it goes on.
    Stall,
    KillSealing,
    KillOpening,
    /// The sending program is gone without an end.
    SenderReset,
    /// The receiving program reads no more.
    ReceiverGone,
}

const MISHAPS: [Mishap; 7] = [
    Mishap::Cut,
    Mishap::Reset,
    Mishap::Stall,
    Mishap::KillSealing,
    Mishap::KillOpening,
    Mishap::SenderReset,
    Mishap::ReceiverGone,
];

impl Mishap {
    /// Whether it happens between the tunnels.
    fn is_between(self) -> bool {
        matches!(self, Self::Cut | Self::Reset | Self::Stall)
    }
}

/// What has moved in a round.
#[derive(Default)]
struct Moved {
    /// What each receiving program has got.
    arrived: [AtomicUsize; CONNECTIONS],
    /// What each of them is to have got before anything happens.
    least: usize,
    /// Connections between the tunnels that carried all that they were to carry until then.
    struck: AtomicUsize,
}

impl Moved {
    /// `bytes` are sent until the mishap, at least a quarter of them on each connection. The last
    /// record may not be whole, and there are handshakes, headers and tags.
    fn before(bytes: usize) -> Arc<Self> {
        let least = (bytes / CONNECTIONS / 100 * 99).saturating_sub(20_000);
        Arc::new(Self { least, ..Self::default() })
    }

    fn is_enough(&self) -> bool {
        self.arrived.iter().all(|bytes| bytes.load(Ordering::SeqCst) >= self.least)
    }

    /// Waits until it is time. The round fails if that took too long.
    fn wait(&self) {
        let late = Instant::now() + Duration::from_secs(30);
        while !self.is_enough() && Instant::now() < late {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Closes a connection as a program does that dies.
fn reset(socket: &TcpStream) {
    sockopt::set_socket_linger(socket, Some(Duration::ZERO)).unwrap();
    // At once, whoever else holds it.
    let _ = rustix::net::connect_unspec(socket);
}

/// The way between the two tunnels, which `mishap` hits after so many bytes.
fn relay(to: u16, most: usize, mishap: Mishap, moved: &Arc<Moved>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let moved = moved.clone();
    thread::spawn(move || {
        for (number, from) in listener.incoming().enumerate() {
            let from = from.unwrap();
            // It may have been killed before.
            let Ok(to) = TcpStream::connect(("127.0.0.1", to)) else { continue };
            // Each at another moment.
            let (bytes, moved) = (most / (number + 1), moved.clone());
            thread::spawn(move || carry(&from, &to, bytes, mishap, &moved));
        }
    });
    port
}

/// Carries everything back, and `bytes` forward before `mishap` happens; the rest if it still can.
fn carry(mut from: &TcpStream, mut to: &TcpStream, bytes: usize, mishap: Mishap, moved: &Moved) {
    let (mut back_from, mut back_to) = (to.try_clone().unwrap(), from.try_clone().unwrap());
    let back = thread::spawn(move || {
        // Ends with either of them, however they end.
        let _ = std::io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(Shutdown::Write);
    });
    let carried = std::io::copy(&mut from.take(bytes as u64), &mut to);
    if mishap.is_between() {
        // Perhaps there was less, and the end.
        let has_all = carried.is_ok_and(|carried| carried >= bytes.min(LEN) as u64);
        moved.struck.fetch_add(usize::from(has_all), Ordering::SeqCst);
        moved.wait();
    }
    match mishap {
        Mishap::Cut => drop(to.shutdown(Shutdown::Write)),
        Mishap::Reset => [from, to].into_iter().for_each(reset),
        Mishap::Stall => thread::sleep(Duration::from_millis(300)),
        _ => {}
    }
    // A killed tunnel shows as an error, which the relay passes on as one.
    let ended =
        matches!(mishap, Mishap::Cut | Mishap::Reset) || std::io::copy(&mut from, &mut to).is_ok();
    match ended {
        true => drop(to.shutdown(Shutdown::Write)),
        false => reset(to),
    }
    back.join().unwrap();
}

/// What connection `number` carries: its number, and bytes of its own.
fn content(number: usize) -> Vec<u8> {
    let mut bytes = pattern(number, LEN);
    bytes[0] = number as u8;
    bytes
}

/// A program that sends `LEN` bytes and ends, if it is not reset before; and what came of it.
fn sender(
    number: usize,
    mut stream: TcpStream,
    reset_after: Option<usize>,
    moved: &Arc<Moved>,
) -> JoinHandle<()> {
    let moved = moved.clone();
    thread::spawn(move || {
        let sent = content(number);
        let most = reset_after.unwrap_or(LEN);
        if stream.write_all(&sent[..most]).is_err() {
            return;
        }
        match reset_after {
            Some(_) => {
                moved.wait();
                reset(&stream);
            }
            None => {
                let _ = stream.shutdown(Shutdown::Write);
                // Until the other end has ended, too.
                let _ = read_all(&stream);
            }
        }
    })
}

/// What the receiving program got, and how it ended.
type Received = (Vec<u8>, Result<(), ErrorKind>);

/// Counts what arrives.
struct Counted<'a, R>(R, &'a AtomicUsize);

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(into)?;
        self.1.fetch_add(count, Ordering::SeqCst);
        Ok(count)
    }
}

fn receiver(visitor: TcpStream, gone_after: Option<usize>, arrived: &AtomicUsize) -> Received {
    let visitor = Counted(patient(visitor), arrived);
    match gone_after {
        None => read_all(visitor),
        // With bytes unread, closing resets.
        Some(most) => (read_all(visitor.take(most as u64)).0, Err(ErrorKind::Other)),
    }
}

/// Tries one kind of mishap on connections through two tunnels; how many of them were whole.
fn round(number: usize, mishap: Mishap, bytes: usize) -> usize {
    let round = format!("{number}: {mishap:?} after {bytes} bytes");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("tcp://{}", listener.local_addr().unwrap());
    let (opening, pin) = opening_tunnel(&target, &["--timeout", "5s"]);
    let before_end = bytes.min(LEN - 1);
    let moved = Moved::before(before_end);
    let between = relay(opening.port, bytes, mishap, &moved);
    let engine = ["auto", "workers"][number % 2];
    let sealing = sealing_tunnel(between, &pin, &["--timeout", "5s", "--engine", engine]);
    let reset_after = matches!(mishap, Mishap::SenderReset).then_some(before_end);
    let gone_after = matches!(mishap, Mishap::ReceiverGone).then_some(before_end);
    let senders = (0..CONNECTIONS).map(|at| sender(at, connect(sealing.port), reset_after, &moved));
    let senders: Vec<_> = senders.collect();
    // Those whose mishap comes before the target hears of them never arrive.
    listener.set_nonblocking(true).unwrap();
    let counts = moved.clone();
    let receivers = thread::spawn(move || {
        let mut receivers = Vec::new();
        let has_ended = |senders: &[JoinHandle<()>]| senders.iter().all(JoinHandle::is_finished);
        loop {
            let is_last_look = has_ended(&senders);
            while let Ok((visitor, _)) = listener.accept() {
                visitor.set_nonblocking(false).unwrap();
                let (counts, at) = (counts.clone(), receivers.len());
                let receiving = move || receiver(visitor, gone_after, &counts.arrived[at]);
                receivers.push(thread::spawn(receiving));
            }
            if is_last_look {
                break receivers;
            }
            thread::sleep(Duration::from_millis(5));
        }
    });
    let victim = match mishap {
        Mishap::KillSealing => Some(&sealing),
        Mishap::KillOpening => Some(&opening),
        _ => None,
    };
    if let Some(victim) = victim {
        thread::sleep(Duration::from_micros(bytes as u64 % 5000));
        moved.wait();
        victim.running.signal("KILL");
    }
    let (mut whole, mut has_come) = (0, [false; CONNECTIONS]);
    for received in receivers.join().unwrap() {
        let (read, end) = received.join().unwrap();
        if let Some(&number) = read.first() {
            let is_new = !std::mem::replace(&mut has_come[usize::from(number)], true);
            let sent = content(number.into());
            assert!(is_new && sent.starts_with(&read), "{round}: what came is not what was sent");
        }
        match end {
            Ok(()) => {
                assert_eq!(read.len(), LEN, "{round}: a part is taken for the whole");
                whole += 1;
            }
            // The patience of the tests.
            Err(ErrorKind::WouldBlock) => panic!("{round}: no end comes"),
            Err(_) => {}
        }
    }
    assert!(moved.is_enough(), "{round}: {:?} of {} arrived", moved.arrived, moved.least);
    let struck = moved.struck.load(Ordering::SeqCst);
    assert!(!mishap.is_between() || struck == CONNECTIONS, "{round}: only {struck} got so far");
    if mishap == Mishap::Stall {
        assert_eq!(whole, CONNECTIONS, "{round}");
    }
    whole
}

#[test]
fn a_part_is_never_taken_for_the_whole() {
    let mut random = Random::new("a_part_is_never_taken_for_the_whole");
    let mut whole = 0;
    for number in 0..ROUNDS {
        // Each kind by turns late and early, then often within the handshake, which is some two
        // kilobytes.
        let bytes = match number / MISHAPS.len() % 2 {
            0 => 200_000 + random.below(LEN + LEN / 100 - 200_000),
            _ => {
                let most = [3000, 100_000][random.below(2)];
                random.below(most)
            }
        };
        whole += round(number, MISHAPS[number % MISHAPS.len()], bytes);
    }
    println!("{whole} of {} arrived", ROUNDS * CONNECTIONS);
}

/// The tunnel that opens, with a TLS client that ends in its own ways.
#[test]
fn only_close_notify_is_an_end() {
    if let Some(why) = missing("openssl") {
        return skip("only_close_notify_is_an_end", &why);
    }
    for (kills, expected) in [(true, Err(ErrorKind::ConnectionReset)), (false, Ok(()))] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = format!("tcp://{}", listener.local_addr().unwrap());
        let (opening, _) = opening_tunnel(&target, &[]);
        let mut command = quiet("openssl");
        command.args(["s_client", "-quiet", "-no_ign_eof", "-nocommands", "-connect"]);
        command.arg(format!("127.0.0.1:{}", opening.port)).stdin(std::process::Stdio::piped());
        let mut client = start(&mut command);
        let mut stdin = client.child().stdin.take().unwrap();
        stdin.write_all(b"all that there is").unwrap();
        let mut visitor = patient(listener.accept().unwrap().0);
        let mut read = [0; 17];
        visitor.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"all that there is");
        match kills {
            true => client.signal("KILL"),
            false => drop(stdin),
        }
        let (more, end) = read_all(&visitor);
        assert_eq!((more, end), (vec![], expected));
    }
}

/// What was sent before a program died is not held back.
#[test]
fn what_came_before_a_reset_arrives() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let pair = TunnelPair::to(&format!("tcp://{}", listener.local_addr().unwrap()), &[]);
    let mut client = pair.connect();
    client.write_all(&pattern(0, 300_000)).unwrap();
    let mut visitor = patient(listener.accept().unwrap().0);
    let mut read = vec![0; 100];
    visitor.read_exact(&mut read).unwrap();
    // Long enough for the rest to be on its way.
    thread::sleep(Duration::from_millis(300));
    reset(&client);
    let (rest, end) = read_all(&visitor);
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
    read.extend(rest);
    assert!(read == pattern(0, 300_000), "{} bytes", read.len());
}

/// Both tunnels hold bytes, and neither reads what it would learn of the reset from.
#[test]
fn a_reset_is_noticed_though_nothing_moves() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let pair = TunnelPair::to(&format!("tcp://{}", listener.local_addr().unwrap()), &[]);
    let mut client = pair.connect();
    client.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let part = pattern(0, 1 << 20);
    while client.write_all(&part).is_ok() {}
    let (visitor, _) = listener.accept().unwrap();
    assert!(visitor.take_error().unwrap().is_none());
    reset(&client);
    // Without reading: what is on its way fills the tunnels as before.
    wait_until("a reset", || {
        let error = visitor.take_error().unwrap();
        error.is_some_and(|error| error.kind() == ErrorKind::ConnectionReset)
    });
}
