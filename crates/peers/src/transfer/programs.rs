//! The contenders: how each is started, and how its time is taken.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Options;

/// How long a listener may take to be there.
const LISTENER_TIMEOUT: Duration = Duration::from_secs(10);

/// One program that moves the bytes.
#[derive(Clone, Debug)]
pub enum Contender {
    /// The command under test.
    Sealift(PathBuf),
    /// `socat -u -b 262144` at both ends.
    Socat,
    /// iperf3 with its defaults.
    Iperf3,
}

/// All of them, the command under test first.
pub(super) fn all(options: &Options) -> Vec<Contender> {
    vec![Contender::Sealift(options.sealift.clone()), Contender::Socat, Contender::Iperf3]
}

impl Contender {
    /// The row's name; scripts compare by it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sealift(_) => "sealift",
            Self::Socat => "socat",
            Self::Iperf3 => "iperf3",
        }
    }

    /// What it does, in one line.
    pub fn about(&self) -> &'static str {
        match self {
            Self::Sealift(_) => "sealift send FILE, sealift receive to /dev/null",
            Self::Socat => "socat -u -b 262144 from FILE, and to /dev/null",
            Self::Iperf3 => "iperf3 -n BYTES: one buffer again and again, no file",
        }
    }

    /// How sealift should compare: at least this many times as fast.
    pub fn wanted_ratio(&self) -> Option<f64> {
        match self {
            Self::Sealift(_) => None,
            Self::Socat => Some(1.2),
            Self::Iperf3 => Some(1.0),
        }
    }

    /// Whether it is there.
    pub(super) fn check(&self) -> Result<(), String> {
        let program = match self {
            Self::Sealift(path) => path.as_path(),
            Self::Socat => Path::new("socat"),
            Self::Iperf3 => Path::new("iperf3"),
        };
        let version = if matches!(self, Self::Socat) { "-V" } else { "--version" };
        let asked = quiet(program).arg(version).output();
        match (self, asked) {
            (_, Ok(answer)) if answer.status.success() => Ok(()),
            (Self::Sealift(path), _) => Err(format!(
                "{} does not run; cargo build --release -p sealift-cli",
                path.display()
            )),
            (Self::Socat, _) => Err("socat is not installed; apt install socat".to_owned()),
            (Self::Iperf3, _) => Err("iperf3 is not installed; apt install iperf3".to_owned()),
        }
    }

    /// One run; the rate in bytes per second.
    pub(super) fn run(&self, source: &Path, bytes: u64) -> Result<f64, String> {
        match self {
            Self::Sealift(program) => run_sealift(program, source, bytes),
            Self::Socat => run_socat(source, bytes),
            Self::Iperf3 => run_iperf3(bytes),
        }
    }
}

fn run_sealift(program: &Path, source: &Path, bytes: u64) -> Result<f64, String> {
    let mut command = quiet(program);
    command.args(["receive", "tcp://127.0.0.1:0", "/dev/null", "-q"]).stderr(Stdio::piped());
    let mut receiver = Process::start(&mut command)?;
    let words = receiver.child.stderr.take().ok_or("no standard error")?;
    let mut line = String::new();
    BufReader::new(words).read_line(&mut line).map_err(|error| error.to_string())?;
    let (_, url) = line.trim().split_once("listening on ").ok_or_else(|| line.clone())?;
    let began = Instant::now();
    Process::start(quiet(program).args(["send", "-q"]).arg(source).arg(url))?.finish()?;
    receiver.finish()?;
    Ok(rate(bytes, began))
}

fn run_socat(source: &Path, bytes: u64) -> Result<f64, String> {
    let port = free_port()?;
    let listen = format!("TCP4-LISTEN:{port},bind=127.0.0.1,reuseaddr");
    let socat = ["-u", "-b", "262144"];
    let mut command = quiet("socat");
    let receiver = Process::start(command.args(socat).args([&listen, "OPEN:/dev/null"]))?;
    wait_for_listener(port)?;
    let from = format!("OPEN:{}", source.display());
    let began = Instant::now();
    let to = format!("TCP4:127.0.0.1:{port}");
    Process::start(quiet("socat").args(socat).args([&from, &to]))?.finish()?;
    receiver.finish()?;
    Ok(rate(bytes, began))
}

fn run_iperf3(bytes: u64) -> Result<f64, String> {
    let port = free_port()?.to_string();
    let mut command = quiet("iperf3");
    let server = Process::start(command.args(["-s", "-1", "-B", "127.0.0.1", "-p", &port]))?;
    wait_for_listener(port.parse().map_err(|_| "no port")?)?;
    let mut client = quiet("iperf3");
    client.args(["-c", "127.0.0.1", "-p", &port, "-n", &bytes.to_string(), "-J"]);
    client.stdout(Stdio::piped());
    let output = client.output().map_err(|error| format!("iperf3: {error}"))?;
    server.finish()?;
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("iperf3 -J: {error}"))?;
    let bits = report["end"]["sum_received"]["bits_per_second"].as_f64();
    bits.map(|bits| bits / 8.0).ok_or_else(|| format!("iperf3: {}", report["error"]))
}

fn rate(bytes: u64, began: Instant) -> f64 {
    bytes as f64 / began.elapsed().as_secs_f64()
}

fn quiet(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A child that does not outlive an error.
struct Process {
    child: Child,
    name: String,
}

impl Process {
    fn start(command: &mut Command) -> Result<Self, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
        Ok(Self { child, name })
    }

    fn finish(mut self) -> Result<(), String> {
        let status = self.child.wait().map_err(|error| format!("{}: {error}", self.name))?;
        if status.success() { Ok(()) } else { Err(format!("{}: {status}", self.name)) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn free_port() -> Result<u16, String> {
    let bound = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|error| format!("no free port: {error}"))
}

/// Waits until somebody listens, without connecting: that would be taken for the transfer.
fn wait_for_listener(port: u16) -> Result<(), String> {
    let wanted = format!(":{port:04X} ");
    let deadline = Instant::now() + LISTENER_TIMEOUT;
    while Instant::now() < deadline {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
        let listens = tables.iter().any(|table| {
            let table = fs::read_to_string(table).unwrap_or_default();
            table.lines().any(|line| line.contains(&wanted) && line.contains(" 0A "))
        });
        if listens {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(format!("nobody listens on port {port}"))
}
