//! The receiver's side of the oracle: a thread that checks every byte and follows a script.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown, sockopt};

use crate::support::pattern::first_wrong;

/// One thing that a peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Does not read until [`Peer::go_on`].
    Stall,
    /// Reads at most so many bytes.
    Read(u64),
    /// Reads until the stream ends or breaks.
    ReadToEnd,
    /// Says that it will send nothing more.
    ShutWrite,
    /// Says that it will read nothing more.
    ShutRead,
    /// Closes the connection in a way that the sender gets a reset: `SO_LINGER` of no time.
    Reset,
    /// Closes the connection the ordinary way, whatever was not read.
    Close,
}

/// How the stream ended for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The sender ended it.
    Finished,
    /// The sender, or the way, broke it.
    Broken,
    /// The peer itself left.
    Left,
}

/// What a peer heard.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    pub bytes: u64,
    /// The stream offset of the first byte that was not the right one.
    pub wrong_at: Option<u64>,
    pub end: End,
}

pub struct Peer {
    thread: JoinHandle<Heard>,
    gate: mpsc::Sender<()>,
}

/// A peer that waits longer than this for a byte has found a hang.
const PATIENCE: Duration = Duration::from_secs(30);

impl Peer {
    /// Starts a peer that expects the stream of `seed`.
    pub fn start(socket: OwnedFd, seed: u64, script: &[Step]) -> Self {
        let (gate, barrier) = mpsc::channel();
        let script = script.to_vec();
        let timeout = Some(PATIENCE);
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, timeout).unwrap();
        let thread = std::thread::spawn(move || {
            let mut stream = Stream {
                file: File::from(socket),
                seed,
                room: vec![0; 256 * 1024],
                heard: Heard { bytes: 0, wrong_at: None, end: End::Left },
            };
            script.into_iter().for_each(|step| stream.take(step, &barrier));
            stream.heard
        });
        Self { thread, gate }
    }

    /// Ends a stall.
    pub fn go_on(&self) {
        // A peer that is gone already has met its end.
        let _ = self.gate.send(());
    }

    /// What it heard, once its script is over.
    pub fn join(self) -> Heard {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

struct Stream {
    file: File,
    seed: u64,
    room: Vec<u8>,
    heard: Heard,
}

impl Stream {
    fn take(&mut self, step: Step, barrier: &mpsc::Receiver<()>) {
        match step {
            Step::Stall => {
                let _ = barrier.recv_timeout(PATIENCE);
            }
            Step::Read(bytes) => self.read(bytes),
            Step::ReadToEnd => self.read(u64::MAX),
            // A stream that is broken already cannot be shut.
            Step::ShutWrite => drop(shutdown(&self.file, Shutdown::Write)),
            Step::ShutRead => drop(shutdown(&self.file, Shutdown::Read)),
            Step::Reset => {
                sockopt::set_socket_linger(&self.file, Some(Duration::ZERO)).unwrap();
                self.leave();
            }
            Step::Close => self.leave(),
        }
    }

    fn leave(&mut self) {
        // Closed here and now, not when the script is over.
        self.file = File::open("/dev/null").unwrap();
    }

    fn read(&mut self, mut left: u64) {
        while left > 0 {
            let room = self.room.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match self.file.read(&mut self.room[..room]) {
                Ok(0) => return self.heard.end = End::Finished,
                Ok(count) => {
                    let heard = &mut self.heard;
                    let wrong = first_wrong(self.seed, heard.bytes, &self.room[..count]);
                    heard.wrong_at = heard.wrong_at.or(wrong);
                    heard.bytes += count as u64;
                    left -= count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("nothing came for {PATIENCE:?}, after {} bytes", self.heard.bytes)
                }
                Err(_) => return self.heard.end = End::Broken,
            }
        }
    }
}
