//! The way to TARGET, which a task goes: it holds a socket and no thread, so that however many wait
//! for a TARGET that does not answer, others go on; and who gives up leaves nothing behind.
//!
//! Only the resolver holds a thread, for as long as it likes: there are few of those at a time.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout_at};

use crate::endpoint::Endpoint;
use crate::failure::{Action, Failure};
use crate::quantity::DURATION_MAX;
use crate::transfer::connect::{self, Attempts, QUEUE_PAUSE, UnixAttempt};
use crate::transfer::connection::Connection;

/// Resolvers at a time, those included that nobody waits for any more.
const RESOLVERS: usize = 16;

/// How to reach TARGET.
#[derive(Debug)]
pub(super) struct Reach {
    target: Endpoint,
    /// That of an opening, of which this is a part.
    timeout: Duration,
    resolvers: Arc<Semaphore>,
}

impl Reach {
    /// `timeout` is what is said to have passed when a deadline has (zero: none ever does).
    pub(super) fn new(target: Endpoint, timeout: Duration) -> Self {
        let timeout = if timeout.is_zero() { DURATION_MAX } else { timeout };
        Self { target, timeout, resolvers: Arc::new(Semaphore::new(RESOLVERS)) }
    }

    pub(super) fn target(&self) -> &Endpoint {
        &self.target
    }

    /// Connects until `deadline`.
    pub(super) async fn connect(&self, deadline: Instant) -> Result<Connection, Failure> {
        let connected = timeout_at(deadline.into(), self.try_connect(deadline)).await;
        connected.unwrap_or_else(|_| {
            let (action, url) = (Action::Connect, self.target.to_string());
            Err(Failure::NotInTime { action, url, after: self.timeout })
        })
    }

    async fn try_connect(&self, deadline: Instant) -> Result<Connection, Failure> {
        match &self.target {
            Endpoint::Unix(path) => connect_unix(path)
                .await
                .map_err(|errno| Failure::system(Action::Connect, &self.target, errno)),
            Endpoint::Tcp { host, port } | Endpoint::Tls { host, port } => {
                let found = timeout_at(deadline.into(), self.resolve(host, *port)).await;
                let addresses = found.unwrap_or_else(|_| Err(connect::no_answer(&self.target)))?;
                let attempts = Attempts::new(addresses, deadline, self.timeout);
                self.connect_any(attempts).await
            }
        }
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        if let Some(address) = connect::literal(host, port) {
            return Ok(vec![address]);
        }
        // It is never closed.
        let place = self.resolvers.clone().acquire_owned().await;
        let (answer, answered) = oneshot::channel();
        connect::ask(&self.target, host, port, move |found| {
            // Nobody listens any more if it took too long.
            let _ = answer.send(found);
            drop(place);
        })?;
        let found = answered.await.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        connect::addresses(&self.target, found)
    }

    async fn connect_any(&self, mut attempts: Attempts) -> Result<Connection, Failure> {
        while let Some((address, until)) = attempts.next_address() {
            let connected = timeout_at(until.into(), connect_one(&address)).await;
            let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            if let Some(connection) = attempts.note(address, connected) {
                let failed = |error| Failure::system(Action::Connect, &self.target, error);
                return connection.map_err(failed);
            }
        }
        Err(attempts.failure(&self.target))
    }
}

/// Dropped before it is done, it closes the socket.
async fn connect_one(address: &SocketAddr) -> io::Result<OwnedFd> {
    let socket = TcpStream::from_std(connect::begin(address)?.into())?;
    socket.writable().await?;
    connect::finish(socket.into_std()?.into())
}

async fn connect_unix(path: &Path) -> Result<Connection, Errno> {
    let attempt = UnixAttempt::new(path)?;
    while !attempt.is_connected()? {
        sleep(QUEUE_PAUSE).await;
    }
    attempt.into_connection()
}
