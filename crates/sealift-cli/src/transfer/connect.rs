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
const QUEUE_PAUSE: Duration = Duration::from_millis(20);

/// Connects to `url` within `timeout` (zero: for ever).
pub(crate) fn connect(url: &Endpoint, timeout: Option<Duration>) -> Result<Connection, Failure> {
    let timeout = timeout.unwrap_or(TIMEOUT);
    let timeout = if timeout.is_zero() { DURATION_MAX } else { timeout };
    let deadline = Instant::now() + timeout;
    match url {
        Endpoint::Unix(path) => connect_unix(url, path, deadline, timeout),
        Endpoint::Tcp { host, port } | Endpoint::Tls { host, port } => {
            let addresses = resolve(url, host, *port, timeout)?;
            connect_any(url, &addresses, deadline, timeout)
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
    let failed = |errno: Errno| Failure::system(Action::Connect, url, errno);
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let socket = socket.map_err(failed)?;
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => break,
            Err(Errno::AGAIN) if Instant::now() < deadline => thread::sleep(QUEUE_PAUSE),
            Err(Errno::AGAIN) => {
                let url = url.to_string();
                return Err(Failure::NotInTime { action: Action::Connect, url, after: timeout });
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    rustix::io::ioctl_fionbio(&socket, false).map_err(failed)?;
    Ok(Connection::unix(socket.into()))
}

/// A path that does not fit into a socket's address has no error number in Rust's words.
pub(super) fn unix_failure(action: Action, url: &Endpoint, error: io::Error) -> Failure {
    if error.raw_os_error().is_none() && error.kind() == io::ErrorKind::InvalidInput {
        return Failure::system(action, url, Errno::NAMETOOLONG);
    }
    Failure::system(action, url, error)
}

/// The addresses of a host. The resolver takes its own time, so it is asked on a thread.
pub(super) fn resolve(
    url: &Endpoint,
    host: &str,
    port: u16,
    timeout: Duration,
) -> Result<Vec<SocketAddr>, Failure> {
    // What is an address already needs nobody's answer.
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![(address, port).into()]);
    }
    let (answer, answered) = mpsc::channel();
    let name = host.to_owned();
    thread::Builder::new()
        .name("resolver".into())
        .spawn(move || {
            let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            // Nobody listens any more if it took too long.
            let _ = answer.send(found);
        })
        .map_err(|error| Failure::system(Action::Resolve, url, error))?;
    let unresolved = |reason: String| Failure::Unresolved { url: url.to_string(), reason };
    match answered.recv_timeout(timeout) {
        Ok(Ok(addresses)) if addresses.is_empty() => Err(unresolved("it has no address".into())),
        Ok(Ok(addresses)) => {
            tracing::debug!(host, ?addresses, "resolved");
            Ok(distinct(addresses))
        }
        Ok(Err(error)) => Err(unresolved(resolver_words(&error))),
        Err(_) => Err(unresolved("the resolver did not answer in time".into())),
    }
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

fn connect_any(
    url: &Endpoint,
    addresses: &[SocketAddr],
    deadline: Instant,
    timeout: Duration,
) -> Result<Connection, Failure> {
    let mut refusals: Vec<(SocketAddr, io::Error)> = Vec::new();
    for (tried, &address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / (addresses.len() - tried) as u32;
        match connect_one(&address, share.max(ATTEMPT_LEAST.min(timeout))) {
            Ok(socket) => {
                tracing::debug!(%address, "connected");
                let connection = Connection::tcp(socket, address);
                return connection.map_err(|error| Failure::system(Action::Connect, url, error));
            }
            Err(error) => {
                tracing::debug!(%address, why = %words(&error), "no connection");
                refusals.push((address, error));
            }
        }
    }
    Err(unreached(url, &refusals, timeout))
}

/// Connects to one address with a socket that is armed before there is a connection.
fn connect_one(address: &SocketAddr, time: Duration) -> io::Result<OwnedFd> {
    let deadline = Instant::now() + time;
    let socket = tcp_socket(address)?;
    match rustix::net::connect(&socket, address) {
        Ok(()) => {}
        // An interrupted connect goes on by itself (connect(2)).
        Err(Errno::INPROGRESS | Errno::INTR) => await_connected(&socket, deadline)?,
        Err(errno) => return Err(errno.into()),
    }
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
            return Ok(sockopt::socket_error(socket)??);
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
