//! The side of a connection that is not sealed, under tokio's traits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use sealift::io::unacknowledged_bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::transfer::connection::{Connection, Peer};

/// The program's stream, and whether it was told of the end.
#[derive(Debug)]
pub(super) struct Plain {
    stream: Stream,
    /// The kernel has the end, behind everything else.
    is_ended: bool,
}

/// A TCP or unix stream.
#[derive(Debug)]
enum Stream {
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
        let stream = match peer {
            Peer::Tcp(_) => Stream::Tcp(TcpStream::from_std(socket.into())?),
            Peer::Unix => Stream::Unix(UnixStream::from_std(socket.into())?),
        };
        Ok(Self { stream, is_ended: false })
    }

    /// Bytes that the program's kernel has not acknowledged, before the end of the stream; `None`
    /// if that is not known of one that is gone.
    pub(super) fn unacknowledged_bytes(&self) -> Option<usize> {
        let Stream::Tcp(stream) = &self.stream else { return None };
        // TCP gives the end a number, as it does a byte.
        let end_bytes = usize::from(self.is_ended);
        unacknowledged_bytes(stream).ok().map(|bytes| bytes.saturating_sub(end_bytes))
    }
}

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Plain {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(context, into),
            Stream::Unix(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Plain {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    /// Ends this direction; the other goes on. Tokio's own does not say whether there was an end.
    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        Poll::Ready(match shutdown(&*this, Shutdown::Write) {
            Ok(()) => {
                this.is_ended = true;
                Ok(())
            }
            // The program has gone already, which it may, if nothing is missing.
            Err(Errno::NOTCONN) => Ok(()),
            Err(errno) => Err(errno.into()),
        })
    }
}
