//! The side of a connection that is not sealed, under tokio's traits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use sealift::io::unacknowledged_bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

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

    /// Bytes that the program's kernel has not acknowledged, behind which the stream has ended;
    /// `None` if that is not known of one that is gone.
    pub(super) fn unacknowledged_bytes(&self) -> Option<usize> {
        match self {
            // The end counts as one.
            Self::Tcp(stream) => {
                unacknowledged_bytes(stream).ok().map(|bytes| bytes.saturating_sub(1))
            }
            Self::Unix(_) => None,
        }
    }
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
