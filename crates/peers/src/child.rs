//! This program again, as another process, and what processor time it has used.
//!
//! ```text
//!  parent ── identity ──────► child's standard input
//!         ◄── its port ────── child's standard output
//!         ── an empty line ─►
//!         ◄── nanoseconds ── of processor time, all threads, ended ones included
//!         ◄── what it found ─ if it has anything to say
//!         ── end of input ─► ends
//! ```
//!
//! What the child says is JSON, one value a line. One that stalls is killed after `PATIENCE`,
//! which ends whatever waits for it: what it says, and its connections.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::trust::Identity;

/// Longer than a measurement takes.
const PATIENCE: Duration = Duration::from_secs(600);

/// The processor time that this process has used.
pub fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// A child process.
#[derive(Debug)]
pub struct Other {
    _kept: Kept,
    /// Its end is that of the watch over the child.
    _watch: mpsc::Sender<()>,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Where it listens.
    pub port: u16,
}

impl Other {
    /// Starts this program with `arguments`.
    ///
    /// # Errors
    /// If it cannot be started, or does not say where it listens.
    pub fn start(arguments: &[&str], identity: &Identity) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments);
        Self::start_as(command, identity)
    }

    fn start_as(mut command: Command, identity: &Identity) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        // From here on it ends whatever fails.
        let kept = Kept(Arc::new(Mutex::new(child)));
        let Some((mut input, output)) = pipes else {
            return Err(io::Error::other("the other process has no standard input or output"));
        };
        let watch = watch(kept.0.clone(), PATIENCE);
        writeln!(input, "{}\n{}", hex(&identity.certificate), hex(&identity.key))?;
        let output = BufReader::new(output);
        let mut other = Self { _kept: kept, _watch: watch, input, output, port: 0 };
        other.port = other.hear()?;
        Ok(other)
    }

    /// The processor time that it has used so far.
    ///
    /// # Errors
    /// If it has gone.
    pub fn processor_time(&mut self) -> io::Result<Duration> {
        writeln!(self.input)?;
        self.hear().map(Duration::from_nanos)
    }

    /// What it says next.
    ///
    /// # Errors
    /// If it has gone; why is on its standard error, which is this process's.
    pub fn hear<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line).map_err(|_| {
            let seconds = PATIENCE.as_secs();
            io::Error::other(format!("the other process failed, or took {seconds} seconds"))
        })
    }
}

/// A child that ends when this does.
#[derive(Debug)]
struct Kept(Arc<Mutex<Child>>);

impl Drop for Kept {
    fn drop(&mut self) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Kills a child that is not done with in time: when what this returns is dropped.
fn watch(child: Arc<Mutex<Child>>, patience: Duration) -> mpsc::Sender<()> {
    let (watch, end) = mpsc::channel();
    std::thread::spawn(move || {
        if end.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            let _ = child.lock().unwrap_or_else(PoisonError::into_inner).kill();
        }
    });
    watch
}

/// What the parent wants shown. A child reads it first.
///
/// # Errors
/// If this process was started by hand.
pub fn meet_parent() -> io::Result<Identity> {
    let next = || -> io::Result<Vec<u8>> {
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        let bytes = unhex(line.trim()).filter(|bytes| !bytes.is_empty());
        bytes.ok_or_else(|| io::Error::other("this is for the program itself"))
    };
    Ok(Identity { certificate: next()?, key: next()? })
}

/// A listener whose port the parent hears. From then on its questions are answered by a thread, and
/// the process ends when it has none any more.
///
/// # Errors
/// If there is no port.
pub fn listen_for_parent() -> io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    say(&listener.local_addr()?.port())?;
    std::thread::spawn(|| {
        for _ in io::stdin().lines().map_while(Result::ok) {
            if say(&(processor_time().as_nanos() as u64)).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    Ok(listener)
}

/// Says this to the parent.
///
/// # Errors
/// If the parent has gone.
pub fn say(what: &impl Serialize) -> io::Result<()> {
    writeln!(io::stdout(), "{}", serde_json::to_string(what)?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_the_parent_says_is_what_the_child_reads() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        assert_eq!(unhex("0x"), None);
    }

    #[test]
    fn a_child_that_does_not_listen_is_not_left_behind() {
        let file = std::env::temp_dir().join(format!("peers-{}-child", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\"; exec 0<&-; exec sleep 600"]).arg(&file);
        // More than the pipe holds.
        let certificate = vec![0; 1 << 20];
        let error = Other::start_as(command, &Identity { certificate, key: Vec::new() });
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let child = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(!Path::new("/proc").join(child.trim()).exists(), "{child}");
    }

    #[test]
    fn a_child_that_stalls_is_killed_and_one_that_is_done_with_is_not() {
        // It says what it hears, and ends when nobody can speak any more.
        let child = || {
            let mut echo = Command::new("cat");
            let echo = echo.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            Arc::new(Mutex::new(echo))
        };
        let late = Instant::now() + Duration::from_secs(20);
        let stalling = child();
        let _watch = watch(stalling.clone(), Duration::from_millis(1));
        while stalling.lock().unwrap().try_wait().unwrap().is_none() {
            assert!(Instant::now() < late, "nobody kills it");
            std::thread::sleep(Duration::from_millis(1));
        }
        let done = child();
        drop(watch(done.clone(), PATIENCE));
        // Who watches has let go of it when the watch is over.
        while Arc::strong_count(&done) > 1 {
            assert!(Instant::now() < late, "it is still watched");
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut done = done.lock().unwrap();
        let (input, output) = (done.stdin.take(), done.stdout.take());
        input.unwrap().write_all(b"here").unwrap();
        assert_eq!(io::read_to_string(output.unwrap()).unwrap(), "here");
        assert!(done.wait().unwrap().success());
    }

    #[test]
    fn processor_time_grows_with_work() {
        let before = processor_time();
        while processor_time() < before + Duration::from_millis(20) {
            std::hint::black_box(before);
        }
    }
}
