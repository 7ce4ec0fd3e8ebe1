//! Whether what was sent has reached the other end's kernel.

use std::os::fd::AsFd;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::sys::socket;

/// Whether the other end of a stream has acknowledged all that was sent on it. Who means to reset a
/// connection asks first: a reset takes back what is still queued.
///
/// # Errors
/// What the connection died of before it had; [`Error::System`] for a socket without such a count.
pub fn is_acknowledged(stream: impl AsFd) -> Result<bool> {
    let stream = stream.as_fd();
    socket::is_acknowledged(stream, || socket::unacknowledged_bytes(stream))
        .map_err(|errno| Error::from_call("SO_ERROR", errno))
}

/// The bytes of a stream that the other end has not acknowledged; the end of a TCP stream counts as
/// one. Of a connection that is gone TCP keeps the number, and a unix stream does not.
///
/// # Errors
/// [`Error::System`] for a socket without such a count.
pub fn unacknowledged_bytes(stream: impl AsFd) -> Result<usize> {
    socket::unacknowledged_bytes(stream.as_fd())
        .map_err(|errno| Error::System { call: "ioctl(SIOCOUTQ)", errno })
}

/// How long the other end of a TCP connection has been silent although bytes were sent to it again
/// and again; zero while it answers, however long it reads nothing. `None` once it has acknowledged
/// everything, and for a stream that is not TCP.
///
/// `TCP_USER_TIMEOUT` does not ask whether there are answers: since Linux 5.11 it ends connections
/// whose other end only reads nothing.
pub fn unanswered_for(stream: impl AsFd) -> Option<Duration> {
    let stream = stream.as_fd();
    let is_outstanding = socket::unacknowledged_bytes(stream).is_ok_and(|bytes| bytes > 0);
    is_outstanding.then(|| socket::unanswered_for(stream).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use super::*;

    /// More than the buffers of both ends take.
    fn fill(stream: &mut (impl Write + AsFd)) {
        rustix::io::ioctl_fionbio(&*stream, true).unwrap();
        while stream.write(&[7; 1 << 16]).is_ok() {}
    }

    fn drained(mut from: impl Read + AsFd, to: &impl AsFd) {
        rustix::io::ioctl_fionbio(&from, true).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut into = vec![0; 1 << 16];
        while !is_acknowledged(to).unwrap() {
            assert!(Instant::now() < deadline);
            let _ = from.read(&mut into);
        }
    }

    #[test]
    fn what_nobody_takes_is_not_acknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        assert!(is_acknowledged(&near).unwrap());
        assert_eq!(unacknowledged_bytes(&near).unwrap(), 0);
        fill(&mut near);
        assert!(!is_acknowledged(&near).unwrap());
        assert!(unacknowledged_bytes(&near).unwrap() > 0);
        drained(far, &near);
        assert_eq!(unacknowledged_bytes(&near).unwrap(), 0);
        let (mut near, far) = UnixStream::pair().unwrap();
        fill(&mut near);
        assert!(!is_acknowledged(&near).unwrap());
        drained(far, &near);
    }

    #[test]
    fn who_reads_nothing_still_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        assert_eq!(unanswered_for(&near), None);
        fill(&mut near);
        // Long enough for several questions whether it has room.
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(unanswered_for(&near), Some(Duration::ZERO));
        drained(far, &near);
        assert_eq!(unanswered_for(&near), None);
        let (mut near, _far) = UnixStream::pair().unwrap();
        fill(&mut near);
        assert_eq!(unanswered_for(&near), None);
    }

    #[test]
    fn a_death_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        fill(&mut near);
        // With unread bytes, closing resets.
        drop(far);
        let deadline = Instant::now() + Duration::from_secs(20);
        while is_acknowledged(&near).is_ok() {
            assert!(Instant::now() < deadline);
        }
        // What was lost stays known.
        assert!(unacknowledged_bytes(&near).unwrap() > 0);
    }
}
