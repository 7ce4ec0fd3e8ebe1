//! Boots QEMU, hands its console on line by line, and always ends it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::on_path;
use crate::step::Outcome;

/// The machine ends when it halts or panics, so `-no-reboot` and `panic=-1` go together.
/// Kernel messages stay off the console, where they would cut lines of the report in two.
const KERNEL_WORDS: &str = "console=ttyS0 quiet loglevel=3 oops=panic panic=-1 hugepages=32";

/// Two processors without KVM, no network card, and as a console the standard output.
const MACHINE: [&str; 16] = [
    "-machine",
    "q35",
    "-accel",
    "tcg,thread=multi",
    "-cpu",
    "max",
    "-smp",
    "2",
    "-m",
    "2048",
    "-nodefaults",
    "-no-reboot",
    "-display",
    "none",
    "-serial",
    "stdio",
];

/// How the machine came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It switched itself off, or QEMU gave up: what it reported before says which.
    Off,
    /// It still ran at the deadline, and was ended.
    Deadline(Duration),
}

/// Runs the machine to its end; every line of the console goes to `log`, with the seconds since
/// power-on, and to `each_line`.
pub(crate) fn boot(
    kernel: &Path,
    initramfs: &Path,
    log: &Path,
    limit: Duration,
    mut each_line: impl FnMut(&str),
) -> Outcome<Ending> {
    let started = Instant::now();
    let mut log_file = File::create(log).map_err(|error| on_path("create", log, &error))?;

    let mut command = qemu(kernel, initramfs);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| format!("setpriv, for QEMU: {error}"))?;
    let mut qemu = Ended(child);
    let (sender, chunks) = mpsc::channel();
    if let Some(console) = qemu.0.stdout.take() {
        forward(console, sender.clone());
    }
    if let Some(complaints) = qemu.0.stderr.take() {
        forward(complaints, sender);
    }

    let mut logged = Ok(());
    let mut take_line = |line: &str| {
        each_line(line);
        if logged.is_ok() {
            logged = writeln!(log_file, "{:7.1} {line}", started.elapsed().as_secs_f64());
        }
    };
    let mut lines = Lines::default();
    let ending = loop {
        match chunks.recv_timeout(limit.saturating_sub(started.elapsed())) {
            Ok(chunk) => lines.add(&chunk, &mut take_line),
            Err(RecvTimeoutError::Disconnected) => break Ending::Off,
            Err(RecvTimeoutError::Timeout) => break Ending::Deadline(limit),
        }
    };
    lines.end(&mut take_line);
    logged.map_err(|error| on_path("write", log, &error))?;
    Ok(ending)
}

/// Sends what `stream` says until it ends, which it does with QEMU, or nobody listens.
fn forward(mut stream: impl Read + Send + 'static, sender: Sender<Vec<u8>>) {
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut chunk) {
            if sender.send(chunk[..length].to_vec()).is_err() {
                break;
            }
        }
    });
}

/// Cuts a stream of bytes into lines.
#[derive(Default)]
struct Lines {
    unfinished: Vec<u8>,
}

impl Lines {
    fn add(&mut self, chunk: &[u8], each_line: &mut impl FnMut(&str)) {
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.unfinished.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.end(each_line);
            }
        }
    }

    /// Hands over what has no line end yet: a hanging test has printed its name.
    fn end(&mut self, each_line: &mut impl FnMut(&str)) {
        if !self.unfinished.is_empty() {
            each_line(String::from_utf8_lossy(&self.unfinished).trim_end());
            self.unfinished.clear();
        }
    }
}

/// The command that boots the same machine by hand.
pub(crate) fn command_line(kernel: &Path, initramfs: &Path) -> String {
    let command = qemu(kernel, initramfs);
    let words = command.get_args().skip_while(|word| !word.as_encoded_bytes().starts_with(b"qemu"));
    let quoted = words.map(|word| {
        let word = word.to_string_lossy();
        if word.contains(' ') { format!("'{word}'") } else { word.into_owned() }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

fn qemu(kernel: &Path, initramfs: &Path) -> Command {
    // Whatever ends this process, also SIGKILL, ends QEMU with it.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"]).args(MACHINE);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    command.args(["-append", KERNEL_WORDS]);
    command
}

/// Ends the child, whichever way its owner returns.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // A child that has ended by itself refuses the signal; waiting is what matters.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_by_hand_starts_with_qemu_and_quotes() {
        let line = command_line(Path::new("/k"), Path::new("/i"));
        assert!(line.starts_with("qemu-system-x86_64 -machine q35"), "{line}");
        assert!(line.ends_with(&format!("-append '{KERNEL_WORDS}'")), "{line}");
    }

    #[test]
    fn lines_are_cut_wherever_the_chunks_end() {
        let mut seen = Vec::new();
        let mut each_line = |line: &str| seen.push(line.to_string());
        let mut lines = Lines::default();
        lines.add(b"one\r\ntw", &mut each_line);
        lines.add(b"o\n\nthree", &mut each_line);
        lines.end(&mut each_line);
        lines.end(&mut each_line);
        assert_eq!(seen, ["one", "two", "", "three"]);
    }

    #[test]
    fn dropping_the_owner_ends_the_child() {
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = format!("/proc/{}", child.id());
        assert!(Path::new(&process).exists());
        drop(Ended(child));
        assert!(!Path::new(&process).exists());
    }
}
