//! A hundred transfers over `tls://` that are cut, reset, stalled or killed at random moments: each
//! ends, the file is whole or not there, whoever failed says so in one line, and where the file is
//! not whole the sender never says that it was sent. Either end may be the one that listens.
//!
//! The seed is printed; with `SEALIFT_SEED` it is given.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Output;
use std::thread;
use std::time::Duration;

use rustix::net::sockopt;
use support::*;

/// More than fits all the buffers between the two.
const LEN: usize = 12 << 20;
const ROUNDS: usize = 50;
/// What the way between may hold of what it has not carried: its kernel acknowledges it, which is
/// all that a sender hears of it.
const HELD: usize = 128 << 10;
/// Every mishap comes before the last of the file: the way between never has all of it.
const LAST: usize = 1 << 20;

/// What happens on the way, after so many bytes.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    /// The end of the stream, as if it were over.
    Cut,
    /// A reset towards both.
    Reset,
    /// Nothing moves any more.
    Stall,
    KillSender,
    KillReceiver,
    None,
}

/// Which end waits for the other.
#[derive(Clone, Copy, Debug)]
enum Listener {
    Sender,
    Receiver,
}

/// Both ends of a transfer.
struct Ends {
    listener: Listener,
    listening: Listening,
    connecting: Running,
}

impl Ends {
    /// Starts both, with the way between them.
    fn start(listener: Listener, send: &[&str], receive: &[&str]) -> (Self, Between) {
        let (mut first, mut second) = (sealift(), sealift());
        let between = TcpListener::bind("127.0.0.1:0").unwrap();
        let way = format!("tls://127.0.0.1:{}", between.local_addr().unwrap().port());
        let any = "tls://127.0.0.1:0";
        // The file is the first of either's arguments, behind the command.
        match listener {
            Listener::Receiver => {
                first.args(["receive", any]).args(receive);
                second.arg("send").arg(send[0]).arg(&way).args(&send[1..]);
            }
            Listener::Sender => {
                first.arg("send").args([send[0], any, "--listen"]).args(&send[1..]);
                second.args(["receive", &way, "--connect"]).args(receive);
            }
        }
        let mut listening = listen(&mut first);
        listening.line();
        let line = listening.line();
        let pin = line.split_once(" --pin ").unwrap().1.trim();
        let pin = pin.split(' ').next().unwrap();
        let connecting = start(second.args(["--pin", pin]));
        let visitor = between.accept().unwrap().0;
        let host = TcpStream::connect(("127.0.0.1", listening.port)).unwrap();
        let (from, to) = match listener {
            Listener::Receiver => (visitor, host),
            Listener::Sender => (host, visitor),
        };
        sockopt::set_socket_recv_buffer_size(&from, HELD).unwrap();
        (Self { listener, listening, connecting }, Between { from, to })
    }

    fn sender(&self) -> &Running {
        match self.listener {
            Listener::Sender => &self.listening.running,
            Listener::Receiver => &self.connecting,
        }
    }

    fn receiver(&self) -> &Running {
        match self.listener {
            Listener::Sender => &self.connecting,
            Listener::Receiver => &self.listening.running,
        }
    }

    /// What became of the sender, and of the receiver.
    fn finish(self) -> (Output, Output) {
        let (connecting, listening) = (self.connecting.finish(), self.listening.finish());
        match self.listener {
            Listener::Sender => (listening, connecting),
            Listener::Receiver => (connecting, listening),
        }
    }
}

/// A connection between the two ends, on which the mishap comes about.
struct Between {
    from: TcpStream,
    to: TcpStream,
}

impl Between {
    /// Carries `bytes` forward, and everything back meanwhile; then lets `mishap` happen.
    fn carry(self, bytes: usize, mishap: Mishap, harm: impl FnOnce()) {
        let Self { mut from, mut to } = self;
        let (mut back_from, mut back_to) = (to.try_clone().unwrap(), from.try_clone().unwrap());
        let back = thread::spawn(move || {
            // Ends with either of them, however they end.
            let _ = std::io::copy(&mut back_from, &mut back_to);
            let _ = back_to.shutdown(Shutdown::Write);
        });
        let (mut left, mut room) = (bytes, vec![0; 64 * 1024]);
        while left > 0 {
            let most = room.len().min(left);
            let Ok(count @ 1..) = from.read(&mut room[..most]) else { break };
            if to.write_all(&room[..count]).is_err() {
                break;
            }
            left -= count;
        }
        match mishap {
            Mishap::None => {}
            Mishap::Cut => drop(to.shutdown(Shutdown::Write)),
            Mishap::Stall => thread::sleep(Duration::from_millis(600)),
            Mishap::Reset => {
                for socket in [&from, &to] {
                    sockopt::set_socket_linger(socket, Some(Duration::ZERO)).unwrap();
                    // At once, whoever else holds it.
                    let _ = rustix::net::connect_unspec(socket);
                }
            }
            Mishap::KillSender => harm(),
            Mishap::KillReceiver => {
                harm();
                // Nothing is carried to it while it dies.
                back.join().unwrap();
                return drop(std::io::copy(&mut from, &mut to));
            }
        }
        if matches!(mishap, Mishap::None | Mishap::KillSender) {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        } else {
            drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
        }
        back.join().unwrap();
    }
}

/// One line, and nothing else, tells what failed. A listening end whose visitor's handshake failed
/// has warned of that before, and waited for another.
fn assert_told(who: &str, output: &Output, round: &str) {
    let mut lines = stderr(output);
    if let Some((warning, rest)) = lines.split_once(", and this end listens on\n") {
        assert!(warning.starts_with("sealift: warning: accept on "), "{round}: {who}: {lines}");
        lines = rest.to_owned();
    }
    match output.status.code() {
        Some(0) => assert_eq!(lines, "", "{round}: {who}"),
        // Killed by a signal: it cannot say anything.
        None => assert_eq!(lines, "", "{round}: {who}"),
        Some(code) => {
            assert_eq!(code, 1, "{round}: {who}: {lines}");
            let is_told = lines.starts_with("sealift: ") && lines.contains("; ");
            assert!(is_told && lines.lines().count() == 1, "{round}: {who}: {lines}");
        }
    }
}

/// Transfers once, while `mishap` comes about after so many bytes; whether the file arrived.
fn transfer(round: &str, random: &mut Random, bytes: usize, mishap: Mishap) -> bool {
    let scratch = Scratch::new();
    let (source, destination) = (scratch.file("source", LEN), scratch.join("destination"));
    // Where nothing happens, nothing is to fail on a busy machine either.
    let (idle, timeout) = match mishap {
        Mishap::None => ("60s", "60s"),
        _ => ("300ms", "2s"),
    };
    let patience = ["--idle-timeout", idle, "--timeout", timeout];
    let engine = ["inline", "workers"][random.below(2)];
    let listener = [Listener::Receiver, Listener::Sender][random.below(2)];
    let signal = ["TERM", "KILL"][random.below(2)];
    let round = format!("{round}: {mishap:?} after {bytes} bytes, {engine}, {listener:?} listens");
    let mut send = vec![source.to_str().unwrap(), "--engine", engine];
    send.extend(patience);
    let mut receive = vec![destination.to_str().unwrap()];
    receive.extend(patience);
    let (ends, between) = Ends::start(listener, &send, &receive);
    between.carry(bytes, mishap, || match mishap {
        Mishap::KillSender => ends.sender().signal("KILL"),
        _ => ends.receiver().signal(signal),
    });
    let (sent, received) = ends.finish();
    assert_told("sender", &sent, &round);
    assert_told("receiver", &received, &round);
    if let Mishap::None = mishap {
        assert!(sent.status.success(), "{round}: {}", stderr(&sent));
        assert!(received.status.success(), "{round}: {}", stderr(&received));
    }
    let is_whole = received.status.success();
    if is_whole {
        // What is left of a killed sender, in its kernel, may be all that was missing.
        let may_be = matches!(mishap, Mishap::None | Mishap::KillSender);
        assert!(may_be, "{round}: a part is taken for the whole");
        assert_same(&source, &destination);
    } else {
        assert!(!destination.exists(), "{round}: a part is taken for the whole");
        assert!(!sent.status.success(), "{round}: the sender says that all was sent");
    }
    is_whole
}

fn rounds(test: &str, mishaps: &[Mishap]) {
    let mut random = Random::new(test);
    let mut whole = 0;
    for number in 0..ROUNDS {
        let mishap = mishaps[random.below(mishaps.len())];
        // Often within the handshake, which is some two kilobytes.
        let most = [3000, 100_000, LEN - LAST][random.below(3)];
        let bytes = random.below(most);
        let round = format!("{test} {number}");
        whole += usize::from(transfer(&round, &mut random, bytes, mishap));
    }
    println!("{test}: {whole} of {ROUNDS} arrived");
}

#[test]
fn cut_reset_or_stalled_on_the_way() {
    let mishaps = [Mishap::Cut, Mishap::Reset, Mishap::Stall];
    rounds("cut_reset_or_stalled_on_the_way", &mishaps);
}

#[test]
fn killed_at_either_end() {
    rounds("killed_at_either_end", &[Mishap::KillSender, Mishap::KillReceiver]);
}

/// The way between does no harm by itself.
#[test]
fn without_a_mishap_all_arrive() {
    let test = "without_a_mishap_all_arrive";
    let mut random = Random::new(test);
    for number in 0..10 {
        let bytes = random.below(LEN);
        transfer(&format!("{test} {number}"), &mut random, bytes, Mishap::None);
    }
}
