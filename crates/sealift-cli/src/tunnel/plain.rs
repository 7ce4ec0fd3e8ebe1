//! The side of a connection that is not sealed, under tokio's traits.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};

use super::hello;
use crate::transfer::connection::{Connection, Peer};

/// A TCP or unix stream.
#[derive(Debug)]
pub(super) enum Plain {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Plain {
    /// Registers a connection with the runtime of the calling task.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`.
    pub(super) fn new(connection: Connection) -> io::Result<Self> {
        let Connection { socket, peer } = connection;
        rustix::io::ioctl_fionbio(&socket, true)?;
        match peer {
            Peer::Tcp(_) => TcpStream::from_std(socket.into()).map(Self::Tcp),
            Peer::Unix => UnixStream::from_std(socket.into()).map(Self::Unix),
        }
    }

    /// Waits until `is_enough` of what there is to read, or no more will come. Nothing is taken.
    pub(super) async fn peek_until(&self, is_enough: fn(&[u8]) -> bool) -> io::Result<()> {
        loop {
            if self.ready().await?.is_read_closed() {
                return Ok(());
            }
            let looked = match self {
                Self::Tcp(stream) => {
                    stream.try_io(Interest::READABLE, || look(stream.as_fd(), is_enough))
                }
                Self::Unix(stream) => {
                    stream.try_io(Interest::READABLE, || look(stream.as_fd(), is_enough))
                }
            };
            match looked {
                // The task is woken again when more has come.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                looked => return looked,
            }
        }
    }

    async fn ready(&self) -> io::Result<Ready> {
        match self {
            Self::Tcp(stream) => stream.ready(Interest::READABLE).await,
            Self::Unix(stream) => stream.ready(Interest::READABLE).await,
        }
    }

    /// The socket, of which the runtime knows nothing any more.
    pub(super) fn into_socket(self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(OwnedFd::from),
            Self::Unix(stream) => stream.into_std().map(OwnedFd::from),
        }
    }
}

/// Looks at what there is to read; `WouldBlock` if that is not enough.
fn look(socket: BorrowedFd<'_>, is_enough: fn(&[u8]) -> bool) -> io::Result<()> {
    let mut room = [0; hello::MOST_BYTES];
    let (count, _) = recv(socket, &mut room[..], RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    if count == 0 || is_enough(&room[..count]) { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
}

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Plain {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, into),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Plain {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    /// Ends this direction; the other goes on.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
