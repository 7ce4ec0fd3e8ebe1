//! Waiting for the other end: on every address of a name, for one connection.
//!
//! A unix socket's file is removed as soon as its connection is there, and whenever this end gives
//! up. A stale file is removed only if nobody listens on it: asking with a datagram socket tells
//! without opening a connection that a listener would take for its transfer.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;

use super::connect::{resolve, unix_failure};
use super::connection::{Connection, tcp_socket};
use super::meeting::Deadline;
use crate::cleanup::{Pending, on_interrupt};
use crate::endpoint::Endpoint;
use crate::failure::{Action, Failure, errno_of, words};
use crate::terminal::Terminal;

/// How long a name's addresses may take to be found.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(30);
/// One transfer takes one connection.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The pause after something for which this machine had not enough of what it takes.
pub(crate) const SHORTAGE_PAUSE: Duration = Duration::from_millis(200);
/// Who connects while another end is met is told so when this end stops listening.
const BACKLOG: i32 = 1024;

/// What listens.
#[derive(Debug)]
pub(crate) enum Listener {
    /// One for each address of the name.
    Tcp(Vec<TcpListener>),
    /// With the file that is to go.
    Unix(UnixListener, SocketFile),
}

/// Listens on `url`; the endpoint that is returned has the port that was got.
pub(crate) fn listen(url: &Endpoint) -> Result<(Listener, Endpoint), Failure> {
    match url {
        Endpoint::Unix(path) => listen_unix(url, path).map(|listener| (listener, url.clone())),
        Endpoint::Tcp { host, port } | Endpoint::Tls { host, port } => {
            let listeners = if host.is_empty() {
                vec![listen_everywhere(url, *port)?]
            } else {
                listen_all(url, resolve(url, host, *port, RESOLVE_TIMEOUT)?)?
            };
            let got = listeners.first().and_then(|first| first.local_addr().ok());
            let got = got.map_or(url.clone(), |address| url.with_port(address.port()));
            tracing::debug!(listeners = ?listeners, "listening");
            Ok((Listener::Tcp(listeners), got))
        }
    }
}

/// On IPv6 and IPv4 at once, where there is IPv6.
fn listen_everywhere(url: &Endpoint, port: u16) -> Result<TcpListener, Failure> {
    let bound = match bind((Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(error) if is_no_address(&error) => bind((Ipv4Addr::UNSPECIFIED, port).into()),
        other => other,
    };
    bound.map_err(|error| Failure::system(Action::Listen, url, error))
}

/// A listener whose connections are armed before anybody accepts them.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = tcp_socket(&address)?;
    // As every server: connections that are over must not keep the port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// On each address. An address that this machine does not have is left out unless it is the only
/// one; an address that is taken is an error, for who connects there would find somebody else.
fn listen_all(url: &Endpoint, addresses: Vec<SocketAddr>) -> Result<Vec<TcpListener>, Failure> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut missing = None;
    for mut address in addresses {
        let first = listeners.first().and_then(|first| first.local_addr().ok());
        if let Some(first) = first {
            address.set_port(first.port());
        }
        match bind(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if is_no_address(&error) => missing = Some(error),
            // The port that one address gave out may be taken on the other.
            Err(error) if url.wants_any_port() && first.is_some() => {
                tracing::debug!(%address, why = %words(&error), "not listening here");
            }
            Err(error) => return Err(Failure::system(Action::Listen, url, error)),
        }
    }
    match (listeners.is_empty(), missing) {
        (true, Some(error)) => Err(Failure::system(Action::Listen, url, error)),
        _ => Ok(listeners),
    }
}

fn is_no_address(error: &io::Error) -> bool {
    matches!(errno_of(error), Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT))
}

fn listen_unix(url: &Endpoint, path: &Path) -> Result<Listener, Failure> {
    clear_the_way(url, path)?;
    let listener =
        UnixListener::bind(path).map_err(|error| unix_failure(Action::Listen, url, error))?;
    Ok(Listener::Unix(listener, SocketFile::new(path)))
}

/// Removes a socket's file that nobody listens on.
fn clear_the_way(url: &Endpoint, path: &Path) -> Result<(), Failure> {
    let Ok(there) = fs::symlink_metadata(path) else { return Ok(()) };
    let taken = |reason| Failure::Taken { url: url.to_string(), reason };
    if !there.file_type().is_socket() {
        return Err(taken("there is a file of that name, and it is no socket"));
    }
    let asked = UnixDatagram::unbound().and_then(|datagram| datagram.connect(path));
    let Err(error) = asked else { return Err(taken("Address already in use")) };
    match errno_of(&error) {
        Some(Errno::CONNREFUSED) => {
            tracing::debug!(path = %path.display(), "removing a stale socket");
            fs::remove_file(path).map_err(|error| Failure::system(Action::Listen, url, error))
        }
        // Of another type, so somebody is there.
        Some(Errno::PROTOTYPE) => Err(taken("Address already in use")),
        _ => Err(Failure::system(Action::Listen, url, error)),
    }
}

impl Listener {
    /// Waits for a connection until the deadline, if there is one. What keeps this machine from
    /// taking it (too many open files) is said once, and tried again.
    pub(super) fn accept(
        &self,
        url: &Endpoint,
        deadline: Deadline,
        terminal: &Terminal,
    ) -> Result<Connection, Failure> {
        let mut is_short = false;
        loop {
            let late = deadline.filter(|(at, _)| Instant::now() >= *at);
            match self.accept_unless(url, deadline, None) {
                Ok(Some(connection)) => return Ok(connection),
                Ok(None) => {}
                Err(failure) => wait_out(failure, &mut is_short, |line| terminal.say(&line))?,
            }
            if let Some((_, after)) = late {
                let url = url.to_string();
                return Err(Failure::NotInTime { action: Action::Accept, url, after });
            }
        }
    }

    /// The connection that is there; else waits a while for one, at most to the deadline, or until
    /// `bell` can be read.
    pub(super) fn accept_unless(
        &self,
        url: &Endpoint,
        deadline: Deadline,
        bell: Option<BorrowedFd<'_>>,
    ) -> Result<Option<Connection>, Failure> {
        let failed = |error: io::Error| Failure::system(Action::Accept, url, error);
        self.set_nonblocking().map_err(failed)?;
        match self.try_accept() {
            Ok(connection) => {
                tracing::debug!(peer = %connection.peer, "accepted");
                Ok(Some(connection))
            }
            // It was there and went away again, or is not there yet.
            Err(error) if is_passing(&error) => {
                let left = deadline.map(|(at, _)| at.saturating_duration_since(Instant::now()));
                let pause = left.map_or(LOOK_EVERY, |left| left.min(LOOK_EVERY));
                self.wait(pause, bell).map_err(failed)?;
                Ok(None)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn try_accept(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(listeners) => {
                for listener in listeners {
                    match listener.accept() {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                        Ok((stream, address)) => return Connection::tcp(stream.into(), address),
                    }
                }
                Err(io::ErrorKind::WouldBlock.into())
            }
            Self::Unix(listener, _) => {
                listener.accept().map(|(stream, _)| Connection::unix(stream))
            }
        }
    }

    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listeners) => listeners.iter().try_for_each(|one| one.set_nonblocking(true)),
            Self::Unix(listener, _) => listener.set_nonblocking(true),
        }
    }

    /// Whether other machines can connect.
    pub(crate) fn is_reachable(&self) -> bool {
        let is_local = |listener: &TcpListener| {
            let address = listener.local_addr().map(|address| address.ip().to_canonical());
            address.is_ok_and(|address| address.is_loopback())
        };
        match self {
            Self::Tcp(listeners) => !listeners.iter().all(is_local),
            Self::Unix(..) => false,
        }
    }

    fn wait(&self, time: Duration, bell: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut descriptors: Vec<BorrowedFd<'_>> = match self {
            Self::Tcp(listeners) => listeners.iter().map(AsFd::as_fd).collect(),
            Self::Unix(listener, _) => vec![listener.as_fd()],
        };
        descriptors.extend(bell);
        let mut polled: Vec<PollFd<'_>> = descriptors
            .iter()
            .map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN))
            .collect();
        let time =
            Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() };
        match poll(&mut polled, Some(&time)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Says what this machine has not enough of, unless `is_short` says that somebody has, and waits a
/// while.
///
/// # Errors
/// The failure, if it is of another sort.
pub(super) fn wait_out(
    failure: Failure,
    is_short: &mut bool,
    say: impl FnOnce(String),
) -> Result<(), Failure> {
    if !failure.is_shortage() {
        return Err(failure);
    }
    if !std::mem::replace(is_short, true) {
        say(format!("warning: {failure}; until then whoever comes waits"));
    }
    thread::sleep(SHORTAGE_PAUSE);
    Ok(())
}

/// Whether an accept that failed so need not keep anybody from the next one.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    let errno = errno_of(error);
    error.kind() == io::ErrorKind::WouldBlock
        || matches!(errno, Some(Errno::CONNABORTED | Errno::INTR | Errno::PROTO))
}

/// A unix socket's file, removed when it is no longer needed.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
    pending: Option<Pending>,
}

impl SocketFile {
    fn new(path: &Path) -> Self {
        let identity = identity(path);
        let (of_signal, path) = (path.to_owned(), path.to_owned());
        let pending = on_interrupt(move || remove(&of_signal, identity));
        Self { path, identity, pending: Some(pending) }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Some(pending) = self.pending.take() {
            pending.done(|| remove(&self.path, self.identity));
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|there| (there.dev(), there.ino()))
}

/// Removes the file if it is still the one that was made here.
fn remove(path: &Path, made: Option<(u64, u64)>) {
    if made.is_some() && identity(path) == made {
        let _ = fs::remove_file(path);
    }
}
