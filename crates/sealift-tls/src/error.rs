//! What goes wrong, sorted by whose fault it is: the peer's, the caller's, the system's, or time's.

use std::io;

use bytes::Bytes;
use rustls::AlertDescription;

use crate::alert;

/// The result of most calls here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate. What ends a connection is kept: every later call returns it again.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer ended the connection because of an error that it saw.
    #[error("the peer ended the connection with the alert {}", alert::name(*.0))]
    Alert(AlertDescription),
    /// The peer's end of TCP came without its close_notify: the end of what it sent may be missing.
    #[error("the connection ended without close_notify: what came may be cut short")]
    Truncated,
    /// A record is not what the peer sealed: changed, replayed, or out of order.
    #[error("a record failed authentication")]
    Inauthentic,
    /// The peer does not keep to the protocol.
    #[error("the peer broke the protocol: {0}")]
    Peer(Violation),
    /// The handshake failed, at this end or the other: rustls tells which, and why.
    #[error("the TLS handshake failed: {0}")]
    Handshake(rustls::Error),
    /// The key has sealed all that it may, and TLS 1.2 has no way to the next one.
    #[error("the key has reached its limit, and TLS 1.2 cannot change it: connect anew")]
    KeyExhausted,
    /// Kernel TLS was asked for and cannot be used, or cannot go on; the text says why.
    #[error("the kernel cannot make the records: {why}")]
    KernelTls {
        /// Why, in one clause.
        why: String,
    },
    /// The caller asked for something that cannot be; the text says what to do instead.
    #[error("{what}")]
    Caller {
        /// What was wrong with the request, in one clause.
        what: &'static str,
    },
    /// This side has ended the connection, or its writing half.
    #[error("this side has closed the connection")]
    Closed,
    /// The deadline passed first. Nothing is lost, but for a handshake.
    #[error("the deadline passed")]
    Deadline,
    /// An engine did not do a record. Its number is spent, so the connection cannot go on.
    #[error("the {engine} engine failed: {what}")]
    Engine {
        /// Which engine.
        engine: &'static str,
        /// What happened to it.
        what: &'static str,
    },
    /// The connection below failed, or the system did.
    #[error(transparent)]
    Io(sealift_io::Error),
}

/// Memory that was given away and not taken, or not all of it.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Refused {
    /// What was not taken, given back.
    pub rest: Bytes,
    /// Why: [`Error::Deadline`] to give it again later, or what ended the connection.
    #[source]
    pub error: Error,
}

/// A file of which only a part was sent.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unfinished {
    /// How much that was, in bytes: the rest may be sent later, from there.
    pub sent: u64,
    /// Why: [`Error::Deadline`], what reading the file failed of, or what ended the connection.
    #[source]
    pub error: Error,
}

/// In what way a peer did not keep to the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A record's type is none that there is, or padding hides it.
    #[error("a record of an unknown type")]
    UnknownContentType,
    /// A record of another version's numbering.
    #[error("a record of another version")]
    WrongVersion,
    /// A record beyond the bounds of its version.
    #[error("a record that is too long")]
    RecordTooLong,
    /// An alert that is not two bytes of the known kinds.
    #[error("a malformed alert")]
    MalformedAlert,
    /// A message that has no place here now.
    #[error("an unexpected message")]
    UnexpectedMessage,
    /// A handshake message whose content cannot be read.
    #[error("a malformed handshake message")]
    MalformedHandshake,
    /// A handshake message beyond 64 KiB.
    #[error("a handshake message that is too long")]
    HandshakeTooLong,
    /// Too much in a row that carries no data: empty records, key updates, warnings.
    #[error("too many messages without data")]
    Fruitless,
}

impl Violation {
    /// The alert that tells the peer.
    fn alert(self) -> AlertDescription {
        match self {
            Self::UnknownContentType | Self::UnexpectedMessage | Self::Fruitless => {
                AlertDescription::UnexpectedMessage
            }
            Self::WrongVersion => AlertDescription::ProtocolVersion,
            Self::RecordTooLong => AlertDescription::RecordOverflow,
            Self::MalformedAlert | Self::MalformedHandshake => AlertDescription::DecodeError,
            Self::HandshakeTooLong => AlertDescription::IllegalParameter,
        }
    }
}

impl Error {
    /// The alert that tells the peer, if there is something to tell.
    pub(crate) fn alert(&self) -> Option<AlertDescription> {
        match self {
            Self::Inauthentic => Some(AlertDescription::BadRecordMac),
            Self::Peer(violation) => Some(violation.alert()),
            Self::Handshake(_) | Self::KernelTls { .. } | Self::Engine { .. } => {
                Some(AlertDescription::InternalError)
            }
            _ => None,
        }
    }

    /// Whether the same call may succeed later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Deadline | Self::Caller { .. })
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Alert(_) | Self::Inauthentic | Self::Peer(_) | Self::Handshake(_) => {
                io::ErrorKind::InvalidData
            }
            Self::Truncated => io::ErrorKind::UnexpectedEof,
            Self::KernelTls { .. } => io::ErrorKind::Unsupported,
            Self::KeyExhausted | Self::Engine { .. } => io::ErrorKind::Other,
            Self::Caller { .. } => io::ErrorKind::InvalidInput,
            Self::Closed => io::ErrorKind::BrokenPipe,
            Self::Deadline => io::ErrorKind::TimedOut,
            Self::Io(error) => io::Error::from(error.clone()).kind(),
        }
    }
}

impl From<sealift_io::Error> for Error {
    fn from(error: sealift_io::Error) -> Self {
        match error {
            sealift_io::Error::Deadline { .. } => Self::Deadline,
            other => Self::Io(other),
        }
    }
}

impl From<sealift_crypto::Error> for Error {
    fn from(error: sealift_crypto::Error) -> Self {
        match error {
            sealift_crypto::Error::KeyExhausted { .. } => Self::KeyExhausted,
            sealift_crypto::Error::Caller { what } => Self::Caller { what },
            sealift_crypto::Error::Engine { engine, what } => Self::Engine { engine, what },
            _ => Self::Inauthentic,
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        refused.error.into()
    }
}

impl Unfinished {
    /// How much was sent, if all went well.
    pub(crate) fn unless(outcome: Result<()>, sent: u64) -> Result<u64, Self> {
        match outcome {
            Ok(()) => Ok(sent),
            Err(error) => Err(Self { sent, error }),
        }
    }
}

impl From<Unfinished> for Error {
    fn from(unfinished: Unfinished) -> Self {
        unfinished.error
    }
}

impl From<Unfinished> for io::Error {
    fn from(unfinished: Unfinished) -> Self {
        unfinished.error.into()
    }
}

/// Before anything was sent.
impl From<Error> for Unfinished {
    fn from(error: Error) -> Self {
        Self { sent: 0, error }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::new(error.kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_errors_keep_the_kind() {
        let kind = |error: Error| io::Error::from(error).kind();
        assert_eq!(kind(Error::Truncated), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(Error::Deadline), io::ErrorKind::TimedOut);
        assert_eq!(kind(Error::Inauthentic), io::ErrorKind::InvalidData);
        let full = Error::from(sealift_io::Error::Full);
        assert_eq!(kind(full), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn an_engines_failure_is_no_forgery() {
        let failed = sealift_crypto::Error::Engine { engine: "workers", what: "it died" };
        assert_eq!(Error::from(failed).to_string(), "the workers engine failed: it died");
    }

    #[test]
    fn an_error_is_one_clear_line() {
        let alert = Error::Alert(AlertDescription::CertificateRequired);
        let line = "the peer ended the connection with the alert certificate_required";
        assert_eq!(alert.to_string(), line);
        let violation = Error::Peer(Violation::RecordTooLong);
        assert_eq!(violation.to_string(), "the peer broke the protocol: a record that is too long");
    }
}
