//! Running programs with an eye on the clock: none outlives its test.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// No transfer of a test takes this long, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The command under test, nothing given to it and its words kept. Signals end it even if the
/// tests themselves run where they are ignored (`nohup`, background jobs).
pub fn sealift() -> Command {
    let mut command = quiet("env");
    command.args(["--default-signal", env!("CARGO_BIN_EXE_sealift")]);
    command
}

/// A program with its input empty and its output kept.
pub fn quiet(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Whether a program is there; otherwise what to say.
pub fn missing(program: &str) -> Option<String> {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|part| part.join(program).is_file()));
    (!found).then(|| format!("{program} is not installed"))
}

/// A running program, killed when the test ends before it.
pub struct Running {
    child: Option<Child>,
    name: String,
}

/// Starts a program.
pub fn start(command: &mut Command) -> Running {
    let name = format!("{command:?}");
    let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
    Running { child: Some(child), name }
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Output {
    start(command).finish()
}

impl Running {
    pub fn child(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }

    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn signal(&self, signal: &str) {
        let killed = Command::new("kill").args(["-s", signal, &self.id().to_string()]).status();
        assert!(killed.unwrap().success());
    }

    /// Waits for the end; the rest of the output comes along.
    pub fn finish(mut self) -> Output {
        let mut child = self.child.take().unwrap();
        let stdout = child.stdout.take().map(|out| drain(Box::new(out)));
        let stderr = child.stderr.take().map(|err| drain(Box::new(err)));
        self.child = Some(child);
        let status = self.wait();
        let collect = |thread: Option<JoinHandle<Vec<u8>>>| {
            thread.map(|thread| thread.join().unwrap()).unwrap_or_default()
        };
        Output { status, stdout: collect(stdout), stderr: collect(stderr) }
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child().try_wait().unwrap() {
                self.child = None;
                return status;
            }
            assert!(Instant::now() < deadline, "{} does not end", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn drain(mut from: Box<dyn Read + Send>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// A `sealift` that listens on a port of its choice, and what it printed after saying so.
pub struct Listening {
    pub running: Running,
    pub port: u16,
    stderr: BufReader<ChildStderr>,
}

/// Starts a command whose URL has port 0 and reads which port it got.
pub fn listen(command: &mut Command) -> Listening {
    let mut running = start(command);
    let mut stderr = BufReader::new(running.child().stderr.take().unwrap());
    let mut line = String::new();
    // A log and warnings may come before it.
    while !line.starts_with("sealift: listening on ") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it does not listen");
    }
    let port = line.trim().rsplit(':').next().unwrap().parse();
    let port = port.unwrap_or_else(|_| panic!("no port in {line:?}"));
    Listening { running, port, stderr }
}

impl Listening {
    /// The next line that it printed.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.stderr.read_line(&mut line).unwrap() > 0, "no line comes");
        line
    }

    /// Waits for the end.
    pub fn finish(self) -> Output {
        let stderr = drain(Box::new(self.stderr));
        let mut output = self.running.finish();
        output.stderr = stderr.join().unwrap();
        output
    }
}

/// A listening `sealift receive` into `destination`.
pub fn receiver(destination: &Path, flags: &[&str]) -> Listening {
    listen(sealift().args(["receive", "tcp://127.0.0.1:0"]).arg(destination).args(flags))
}

/// `VmHWM`: the most memory that a process ever had; 0 when it is gone.
pub fn peak_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Asserts that a command is refused as misused, with `words`, and prints nothing else.
pub fn misused(command: &mut Command, words: &str) {
    let output = run(command);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains(words), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
}

/// Asserts success in silence.
#[track_caller]
pub fn assert_done(output: &Output) {
    assert!(output.status.success(), "{}: {}", output.status, stderr(output));
    assert_eq!(stderr(output), "");
}

/// Asserts exit code 1 and one line: `sealift: ` and then `start`.
#[track_caller]
pub fn assert_failed(output: &Output, start: &str) {
    let line = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert!(line.starts_with(&format!("sealift: {start}")), "{line:?} is not {start:?}");
    assert_eq!(line.lines().count(), 1, "{line}");
    let (_, remedy) = line.rsplit_once("; ").unwrap_or_else(|| panic!("no remedy: {line}"));
    assert!(remedy.trim().len() > 8, "{line}");
}
