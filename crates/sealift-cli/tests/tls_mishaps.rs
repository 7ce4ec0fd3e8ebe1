//! A hundred transfers over `tls://` that are cut, reset, stalled or killed at random moments: each
//! ends, the file is whole or not there, and whoever failed says so in one line.
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
            Mishap::KillSender | Mishap::KillReceiver => harm(),
        }
        if matches!(mishap, Mishap::None | Mishap::KillSender | Mishap::KillReceiver) {
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

fn rounds(test: &str, mishaps: &[Mishap]) {
    let mut random = Random::new(test);
    let mut whole = 0;
    for number in 0..ROUNDS {
        let mishap = mishaps[random.below(mishaps.len())];
        // Often within the handshake, which is some two kilobytes.
        let most = [3000, 100_000, LEN + LEN / 100][random.below(3)];
        let bytes = random.below(most);
        let round = format!("{test} {number}: {mishap:?} after {bytes} bytes");
        let scratch = Scratch::new();
        let (source, destination) = (scratch.file("source", LEN), scratch.join("destination"));
        // Where nothing happens, nothing is to fail on a busy machine either.
        let (idle, timeout) = match mishap {
            Mishap::None => ("60s", "60s"),
            _ => ("300ms", "2s"),
        };
        let patience = ["--idle-timeout", idle, "--timeout", timeout];
        let mut command = sealift();
        command.args(["receive", "tls://127.0.0.1:0"]).args(patience);
        let mut receiving = listen(command.arg(&destination));
        receiving.line();
        let line = receiving.line();
        let pin = line.trim().rsplit(' ').next().unwrap();
        let between = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("tls://127.0.0.1:{}", between.local_addr().unwrap().port());
        let mut command = sealift();
        command.arg("send").arg(&source).args([&url, "--pin", pin]).args(patience);
        command.args(["--engine", ["inline", "workers"][random.below(2)]]);
        let sending = start(&mut command);
        let from = between.accept().unwrap().0;
        let to = TcpStream::connect(("127.0.0.1", receiving.port)).unwrap();
        Between { from, to }.carry(bytes, mishap, || match mishap {
            Mishap::KillSender => sending.signal("KILL"),
            _ => receiving.running.signal(["TERM", "KILL"][number % 2]),
        });
        let (sent, received) = (sending.finish(), receiving.finish());
        assert_told("sender", &sent, &round);
        assert_told("receiver", &received, &round);
        if let Mishap::None = mishap {
            assert!(sent.status.success(), "{round}: {}", stderr(&sent));
            assert!(received.status.success(), "{round}: {}", stderr(&received));
        }
        if received.status.success() {
            assert_same(&source, &destination);
            whole += 1;
        } else {
            assert!(!destination.exists(), "{round}: a part is taken for the whole");
        }
    }
    println!("{test}: {whole} of {ROUNDS} arrived");
}

#[test]
fn cut_reset_or_stalled_on_the_way() {
    let mishaps = [Mishap::Cut, Mishap::Reset, Mishap::Stall, Mishap::None];
    rounds("cut_reset_or_stalled_on_the_way", &mishaps);
}

#[test]
fn killed_at_either_end() {
    rounds("killed_at_either_end", &[Mishap::KillSender, Mishap::KillReceiver]);
}
