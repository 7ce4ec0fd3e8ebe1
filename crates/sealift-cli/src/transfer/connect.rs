//! Reaching the other end: every address of a name in turn, within one time.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use std::vec;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with, sockopt};

use super::connection::{Connection, tcp_socket};
use super::patience::poll_for;
use crate::endpoint::Endpoint;
use crate::failure::{Action, Failure, errno_of, words};
use crate::quantity::DURATION_MAX;

/// How long to try where nothing was said.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The least time that each address gets, however many there are.
const ATTEMPT_LEAST: Duration = Duration::from_secs(2);
/// The pause before a unix socket whose queue is full is asked again.
pub(crate) const QUEUE_PAUSE: Duration = Duration::from_millis(20);

/// Connects to `url` within `timeout` (zero: for ever).
pub(crate) fn connect(url: &Endpoint, timeout: Option<Duration>) -> Result<Connection, Failure> {
    let timeout = timeout.unwrap_or(TIMEOUT);
    let timeout = if timeout.is_zero() { DURATION_MAX } else { timeout };
    let deadline = Instant::now() + timeout;
    match url {
        Endpoint::Unix(path) => connect_unix(url, path, deadline, timeout),
        Endpoint::Tcp { host, port } | Endpoint::Tls { host, port } => {
            let addresses = resolve(url, host, *port, timeout)?;
            connect_any(url, Attempts::new(addresses, deadline, timeout))
        }
    }
}

/// A listener whose queue is full makes a blocking connect wait without end.
fn connect_unix(
    url: &Endpoint,
    path: &Path,
    deadline: Instant,
    timeout: Duration,
) -> Result<Connection, Failure> {
    let failed = |errno| Failure::system(Action::Connect, url, errno);
    let attempt = UnixAttempt::new(path).map_err(failed)?;
    while !attempt.is_connected().map_err(failed)? {
        if Instant::now() >= deadline {
            let url = url.to_string();
            return Err(Failure::NotInTime { action: Action::Connect, url, after: timeout });
        }
        thread::sleep(QUEUE_PAUSE);
    }
    attempt.into_connection().map_err(failed)
}

/// A unix socket that is to be connected, and to what.
pub(crate) struct UnixAttempt {
    socket: OwnedFd,
    address: SocketAddrUnix,
}

impl UnixAttempt {
    pub(crate) fn new(path: &Path) -> Result<Self, Errno> {
        let address = SocketAddrUnix::new(path)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        Ok(Self { socket, address })
    }

    /// Tries; false if the listener's queue is full, which is asked again after [`QUEUE_PAUSE`].
    pub(crate) fn is_connected(&self) -> Result<bool, Errno> {
        match rustix::net::connect(&self.socket, &self.address) {
            Ok(()) => Ok(true),
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    pub(crate) fn into_connection(self) -> Result<Connection, Errno> {
        rustix::io::ioctl_fionbio(&self.socket, false)?;
        Ok(Connection::unix(self.socket.into()))
    }
}

/// A path that does not fit into a socket's address has no error number in Rust's words.
pub(super) fn unix_failure(action: Action, url: &Endpoint, error: io::Error) -> Failure {
    if error.raw_os_error().is_none() && error.kind() == io::ErrorKind::InvalidInput {
        return Failure::system(action, url, Errno::NAMETOOLONG);
    }
    Failure::system(action, url, error)
}

/// The addresses of a host.
pub(super) fn resolve(
    url: &Endpoint,
    host: &str,
    port: u16,
    timeout: Duration,
) -> Result<Vec<SocketAddr>, Failure> {
    if let Some(address) = literal(host, port) {
        return Ok(vec![address]);
    }
    let (answer, answered) = mpsc::channel();
    // Nobody listens any more if it took too long.
    ask(url, host, port, move |found| drop(answer.send(found)))?;
    match answered.recv_timeout(timeout) {
        Ok(found) => addresses(url, found),
        Err(_) => Err(no_answer(url)),
    }
}

/// The resolver took too long.
pub(crate) fn no_answer(url: &Endpoint) -> Failure {
    unresolved(url, "the resolver did not answer in time".into())
}

/// What is an address already needs nobody's answer.
pub(crate) fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    host.parse().ok().map(|address: IpAddr| (address, port).into())
}

/// What a resolver found.
pub(crate) type Found = io::Result<Vec<SocketAddr>>;

/// Has the resolver asked for a host. It takes its own time, so that is done on a thread.
pub(crate) fn ask(
    url: &Endpoint,
    host: &str,
    port: u16,
    answer: impl FnOnce(Found) + Send + 'static,
) -> Result<(), Failure> {
    let name = host.to_owned();
    let asked = thread::Builder::new().name("resolver".into()).spawn(move || {
        answer((name.as_str(), port).to_socket_addrs().map(Iterator::collect));
    });
    asked.map(drop).map_err(|error| Failure::system(Action::Resolve, url, error))
}

/// The addresses that were found.
pub(crate) fn addresses(url: &Endpoint, found: Found) -> Result<Vec<SocketAddr>, Failure> {
    match found {
        Ok(addresses) if addresses.is_empty() => Err(unresolved(url, "it has no address".into())),
        Ok(addresses) => {
            tracing::debug!(%url, ?addresses, "resolved");
            Ok(distinct(addresses))
        }
        Err(error) => Err(unresolved(url, resolver_words(&error))),
    }
}

fn unresolved(url: &Endpoint, reason: String) -> Failure {
    Failure::Unresolved { url: url.to_string(), reason }
}

/// Each address once: a hosts file may say the same twice, which nobody can listen on.
fn distinct(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut seen = HashSet::new();
    addresses.into_iter().filter(|address| seen.insert(*address)).collect()
}

fn resolver_words(error: &io::Error) -> String {
    let text = words(error);
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}

fn connect_any(url: &Endpoint, mut attempts: Attempts) -> Result<Connection, Failure> {
    while let Some((address, until)) = attempts.next_address() {
        let connected = begin(&address).and_then(|socket| {
            await_connected(&socket, until)?;
            finish(socket)
        });
        if let Some(connection) = attempts.note(address, connected) {
            return connection.map_err(|error| Failure::system(Action::Connect, url, error));
        }
    }
    Err(attempts.failure(url))
}

/// The addresses of a host, to be tried in turn.
pub(crate) struct Attempts {
    left: vec::IntoIter<SocketAddr>,
    refusals: Vec<(SocketAddr, io::Error)>,
    deadline: Instant,
    timeout: Duration,
}

impl Attempts {
    /// All of them together until `deadline`, which is `timeout` after the beginning.
    pub(crate) fn new(addresses: Vec<SocketAddr>, deadline: Instant, timeout: Duration) -> Self {
        Self { left: addresses.into_iter(), refusals: Vec::new(), deadline, timeout }
    }

    /// The next address, and until when it is to be tried: each has an equal share of what is left.
    pub(crate) fn next_address(&mut self) -> Option<(SocketAddr, Instant)> {
        let now = Instant::now();
        let share = self.deadline.saturating_duration_since(now) / self.left.len().max(1) as u32;
        let address = self.left.next()?;
        Some((address, now + share.max(ATTEMPT_LEAST.min(self.timeout))))
    }

    /// Takes note of what came of one; the connection, if there is one.
    pub(crate) fn note(
        &mut self,
        address: SocketAddr,
        connected: io::Result<OwnedFd>,
    ) -> Option<io::Result<Connection>> {
        match connected {
            Ok(socket) => {
                tracing::debug!(%address, "connected");
                Some(Connection::tcp(socket, address))
            }
            Err(error) => {
                tracing::debug!(%address, why = %words(&error), "no connection");
                self.refusals.push((address, error));
                None
            }
        }
    }

    /// What became of all of them.
    pub(crate) fn failure(&self, url: &Endpoint) -> Failure {
        unreached(url, &self.refusals, self.timeout)
    }
}

/// Begins to connect to one address, with a socket that is armed before there is a connection.
pub(crate) fn begin(address: &SocketAddr) -> io::Result<OwnedFd> {
    let socket = tcp_socket(address)?;
    match rustix::net::connect(&socket, address) {
        // An interrupted connect goes on by itself (connect(2)).
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(socket),
        Err(errno) => Err(errno.into()),
    }
}

/// What came of it, once there is room to write.
pub(crate) fn finish(socket: OwnedFd) -> io::Result<OwnedFd> {
    sockopt::socket_error(&socket)??;
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(socket)
}

fn await_connected(socket: &OwnedFd, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut polled = [PollFd::new(socket, PollFlags::OUT)];
        poll_for(&mut polled, left)?;
        if !polled[0].revents().is_empty() {
            return Ok(());
        }
    }
}

/// One line about all addresses.
fn unreached(url: &Endpoint, refusals: &[(SocketAddr, io::Error)], timeout: Duration) -> Failure {
    let first = refusals.first().and_then(|(_, error)| errno_of(error));
    let timed_out = |error: &io::Error| error.raw_os_error().is_none();
    if refusals.iter().all(|(_, error)| timed_out(error)) {
        return Failure::NotInTime {
            action: Action::Connect,
            url: url.to_string(),
            after: timeout,
        };
    }
    let alike = refusals.iter().all(|(_, error)| errno_of(error) == first);
    let mut reason = String::new();
    for (at, (address, error)) in refusals.iter().enumerate() {
        let (ip, why) = (address.ip(), words(error));
        // Writing to a string cannot fail.
        let _ = match (alike, at) {
            (true, 0) if refusals.len() == 1 => write!(reason, "{why}"),
            (true, 0) => write!(reason, "{why} (at {ip}"),
            (true, _) => write!(reason, ", {ip}"),
            (false, 0) => write!(reason, "{why} (at {ip})"),
            (false, _) => write!(reason, ", {why} (at {ip})"),
        };
    }
    if alike && refusals.len() > 1 {
        reason.push(')');
    }
    Failure::Unreached { url: url.to_string(), reason, errno: first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_said_twice_is_one() {
        let [one, other] = ["127.0.0.1:1", "[::1]:1"].map(|text| text.parse().unwrap());
        assert_eq!(distinct(vec![one, other, one]), [one, other]);
    }

    fn refusal(ip: &str, errno: Errno) -> (SocketAddr, io::Error) {
        (SocketAddr::new(ip.parse().unwrap(), 9), errno.into())
    }

    #[test]
    fn one_line_tells_of_every_address() {
        let url: Endpoint = "tcp://h:9".parse().unwrap();
        let line = |refusals: &[_]| unreached(&url, refusals, TIMEOUT).to_string();
        let refused = |ip| refusal(ip, Errno::CONNREFUSED);
        let start = "connect on tcp://h:9: Connection refused";
        assert!(line(&[refused("::1")]).starts_with(&format!("{start}; start the")));
        let both = line(&[refused("::1"), refused("127.0.0.1")]);
        assert!(both.starts_with(&format!("{start} (at ::1, 127.0.0.1); start the")), "{both}");
        let mixed = line(&[refused("::1"), refusal("127.0.0.1", Errno::NETUNREACH)]);
        let second = "(at ::1), Network is unreachable (at 127.0.0.1); start the";
        assert!(mixed.starts_with(&format!("{start} {second}")), "{mixed}");
    }

    #[test]
    fn a_time_out_says_how_long() {
        let url: Endpoint = "tcp://h:9".parse().unwrap();
        let silent = (SocketAddr::from(([192, 0, 2, 1], 9)), io::ErrorKind::TimedOut.into());
        let line = unreached(&url, &[silent], Duration::from_secs(3)).to_string();
        assert!(line.starts_with("connect on tcp://h:9: no connection within 3 s; look"), "{line}");
    }
}
