//! Connections as they come to LISTEN.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use tokio::net::{TcpListener, UnixListener};

use crate::complaints::Complaints;
use crate::endpoint::Endpoint;
use crate::failure::{Action, Failure};
use crate::transfer::connection::Connection;
use crate::transfer::listen::{Listener, SHORTAGE_PAUSE, SocketFile, is_passing};

/// What listens, under the runtime.
#[derive(Debug)]
pub(super) struct Arrivals {
    doors: Doors,
    url: Endpoint,
    is_short: bool,
}

#[derive(Debug)]
enum Doors {
    /// The one whose turn it is comes first.
    Tcp(VecDeque<TcpListener>),
    Unix(UnixListener, #[expect(dead_code, reason = "removes the file when dropped")] SocketFile),
}

impl Arrivals {
    /// Registers a listener with the runtime of the calling task.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn new(listener: Listener, url: Endpoint) -> Result<Self, Failure> {
        let doors = Doors::new(listener);
        let doors = doors.map_err(|error| Failure::system(Action::Listen, &url, error))?;
        Ok(Self { doors, url, is_short: false })
    }

    /// The next connection. What keeps this machine from taking it (too many open files) is said
    /// once, and tried again.
    pub(super) async fn next(&mut self, complaints: &Complaints) -> Connection {
        loop {
            match poll_fn(|context| self.poll_accept(context)).await {
                Ok(connection) => {
                    self.is_short = false;
                    return connection;
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.is_short, true) {
                        let failure = Failure::system(Action::Accept, &self.url, error);
                        complaints.say(format_args!("{failure}; until then further ones wait"));
                    }
                    tokio::time::sleep(SHORTAGE_PAUSE).await;
                }
            }
        }
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Connection>> {
        loop {
            match self.doors.poll_accept(context) {
                // It was there and went away again.
                Poll::Ready(Err(error)) if is_passing(&error) => {}
                polled => return polled,
            }
        }
    }
}

impl Doors {
    fn new(listener: Listener) -> io::Result<Self> {
        listener.set_nonblocking()?;
        Ok(match listener {
            Listener::Tcp(listeners) => {
                let listeners = listeners.into_iter().map(TcpListener::from_std);
                Self::Tcp(listeners.collect::<io::Result<_>>()?)
            }
            Listener::Unix(listener, file) => Self::Unix(UnixListener::from_std(listener)?, file),
        })
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Connection>> {
        match self {
            Self::Tcp(listeners) => {
                let polled = listeners.iter().map(|listener| listener.poll_accept(context));
                let ready = polled.enumerate().find(|(_, polled)| polled.is_ready());
                let Some((at, accepted)) = ready else { return Poll::Pending };
                // However many come to it, the others have their turn first.
                listeners.rotate_left(at + 1);
                accepted.map(|accepted| {
                    let (stream, address) = accepted?;
                    Connection::tcp(stream.into_std()?.into(), address)
                })
            }
            Self::Unix(listener, _) => listener.poll_accept(context).map(|accepted| {
                let (stream, _) = accepted?;
                Ok(Connection::unix(stream.into_std()?))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net;

    use super::*;

    #[tokio::test]
    async fn each_listener_has_its_turn() {
        let listeners = [(); 2].map(|()| net::TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        // More come to the first than to the second, and before.
        let order = [ports[0], ports[0], ports[0], ports[1]];
        let _visitors = order.map(|port| net::TcpStream::connect(port).unwrap());
        let mut doors = Doors::new(Listener::Tcp(listeners.into())).unwrap();
        for port in [ports[0], ports[1], ports[0], ports[0]] {
            let accepted = poll_fn(|context| doors.poll_accept(context)).await.unwrap();
            let came_to = rustix::net::getsockname(&accepted.socket).unwrap();
            assert_eq!(net::SocketAddr::try_from(came_to).unwrap(), port);
        }
    }
}
