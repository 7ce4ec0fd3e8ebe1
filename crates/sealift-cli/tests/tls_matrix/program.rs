//! A tool at work: what it is told goes to its input, and all that it prints is kept.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::{Running, start, wait_until};

/// What has come out of one of its ends so far.
type Printed = Arc<Mutex<Vec<u8>>>;

/// A running tool, which ends with the test at the latest.
pub struct Program {
    running: Running,
    input: Option<Sender<Vec<u8>>>,
    output: Printed,
    words: Printed,
    /// Where it writes what it says about the connection, if neither of its outputs is for that.
    log: Option<PathBuf>,
}

impl Program {
    pub fn start(mut command: Command, log: Option<PathBuf>) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = start(&mut command);
        let child = running.child();
        let input = feed(child.stdin.take().unwrap());
        let output = keep(child.stdout.take().unwrap());
        let words = keep(child.stderr.take().unwrap());
        Self { running, input: Some(input), output, words, log }
    }

    /// Writes to its input, as fast as it reads.
    pub fn tell(&mut self, bytes: &[u8]) {
        self.input.as_ref().unwrap().send(bytes.to_vec()).unwrap();
    }

    /// Ends its input.
    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// Waits until it has printed `bytes`, in one piece.
    pub fn wait_to_print(&self, bytes: &[u8]) {
        wait_until("what was sent, in the tool's output", || {
            let output = self.output.lock().unwrap();
            output.windows(bytes.len()).any(|window| window == bytes)
        });
    }

    /// Waits until it has said `text` about the connection.
    pub fn wait_to_say(&self, text: &str) {
        wait_until(&format!("{text:?} from the tool"), || self.all().contains(text));
    }

    /// All that it has printed, wherever.
    pub fn all(&self) -> String {
        let text = |printed: &Printed| String::from_utf8_lossy(&printed.lock().unwrap()).into();
        let log = self.log.as_ref().and_then(|log| std::fs::read(log).ok()).unwrap_or_default();
        let parts: [String; 3] =
            [text(&self.output), text(&self.words), String::from_utf8_lossy(&log).into()];
        parts.join("\n")
    }

    /// Waits for its end, with all that it was told and printed; whether that was a good one.
    pub fn finish(&mut self) -> bool {
        self.end_input();
        let mut status = None;
        wait_until("the end of the tool", || {
            status = self.running.child().try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().success()
    }
}

impl Drop for Program {
    /// A test that fails tells what its tool said.
    fn drop(&mut self) {
        if thread::panicking() {
            let all = self.all();
            let telling = all.lines().filter(|line| !line.starts_with('0'));
            telling.for_each(|line| eprintln!("the tool: {line}"));
        }
    }
}

/// What is sent to a program's input, which ends when no more can be.
fn feed(mut input: ChildStdin) -> Sender<Vec<u8>> {
    let (sender, parts) = channel::<Vec<u8>>();
    // A program that has ended takes no more, which its output will show.
    thread::spawn(move || parts.iter().try_for_each(|part| input.write_all(&part)));
    sender
}

fn keep(mut from: impl Read + Send + 'static) -> Printed {
    let printed = Printed::default();
    let shared = printed.clone();
    thread::spawn(move || {
        let mut part = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut part) {
            shared.lock().unwrap().extend_from_slice(&part[..count]);
        }
    });
    printed
}
