//! How a connection through the tunnel ended, and why.

use std::io;

use rustix::io::Errno;
use sealift::tls;

use super::carry::Broken;
use crate::endpoint::Endpoint;
use crate::failure::{Action, Failure, errno_of};
use crate::transfer::tls_failed;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Both sides ended, and the kernels at both have everything. What their programs do with that
    /// is not seen from here.
    Clean,
    /// TLS ended without close_notify.
    Truncated,
    /// One side was reset.
    Reset,
    /// The other end's TLS went wrong after the handshake: an alert, a damaged record.
    TlsFailed,
    HandshakeFailed,
    TargetUnreachable,
    /// The handshake took too long, or the other host has vanished.
    Timeout,
    /// This tunnel was told to stop before it had let the visitor in, or others wanted its place.
    TurnedAway,
    /// This tunnel was told to stop.
    Cut,
    /// This machine's fault.
    Failed,
}

impl Outcome {
    pub(super) const ALL: [Self; 10] = [
        Self::Clean,
        Self::Truncated,
        Self::Reset,
        Self::TlsFailed,
        Self::HandshakeFailed,
        Self::TargetUnreachable,
        Self::Timeout,
        Self::TurnedAway,
        Self::Cut,
        Self::Failed,
    ];

    /// Its name in figures.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Truncated => "truncated",
            Self::Reset => "reset",
            Self::TlsFailed => "tls_failed",
            Self::HandshakeFailed => "handshake_failed",
            Self::TargetUnreachable => "target_unreachable",
            Self::Timeout => "timeout",
            Self::TurnedAway => "turned_away",
            Self::Cut => "cut",
            Self::Failed => "failed",
        }
    }
}

/// Why a connection did not end as it should.
#[derive(Debug)]
pub(super) struct Mishap {
    pub(super) outcome: Outcome,
    pub(super) failure: Failure,
}

impl Mishap {
    /// This machine would not do something for a connection.
    pub(super) fn here(object: &Endpoint, error: io::Error) -> Self {
        let failure = Failure::system(Action::Start, object, error);
        Self { outcome: Outcome::Failed, failure }
    }

    /// There is no stream, and whoever came has perhaps done all that it could.
    pub(super) fn unshaken(action: Action, url: &Endpoint, error: &tls::Error) -> Self {
        if let tls::Error::Engine { engine, what } = error {
            let remedy = "raise the limits of threads and of open files (ulimit -u, ulimit -n)";
            let (object, why) = (format!("the {engine} engine"), (*what).to_owned());
            let failure = Failure::explained(Action::SetUp, object, why, remedy);
            return Self { outcome: Outcome::Failed, failure };
        }
        let failure = tls_failed(action, &url.to_string(), error);
        let outcome = match failure.is_shortage() {
            true => Outcome::Failed,
            false => Outcome::HandshakeFailed,
        };
        Self { outcome, failure }
    }

    /// There is no way to TARGET.
    pub(super) fn unreached(failure: Failure) -> Self {
        let outcome = match failure.is_shortage() {
            true => Outcome::Failed,
            false => Outcome::TargetUnreachable,
        };
        Self { outcome, failure }
    }

    /// A direction broke that carries from `source` to `target`.
    pub(super) fn broken(source: &Endpoint, target: &Endpoint, broken: &Broken) -> Self {
        let (action, url, error) = match broken {
            Broken::Source(error) => (Action::Receive, source, error),
            Broken::Target(error) | Broken::End(error) => (Action::Send, target, error),
        };
        let of_tls = error.get_ref().and_then(|error| error.downcast_ref::<tls::Error>());
        match of_tls {
            Some(error) => Self::of_tls(action, url, error),
            None => {
                let outcome = by_errno(errno_of(error));
                Self { outcome, failure: Failure::system(action, url, copy(error)) }
            }
        }
    }

    /// TLS went wrong after the handshake.
    fn of_tls(action: Action, url: &Endpoint, error: &tls::Error) -> Self {
        let outcome = match error {
            tls::Error::Truncated => Outcome::Truncated,
            tls::Error::Io(error) => {
                by_errno(error.errno().map(|errno| Errno::from_raw_os_error(errno.raw())))
            }
            tls::Error::Alert(_)
            | tls::Error::Inauthentic
            | tls::Error::Peer(_)
            | tls::Error::Handshake(_) => Outcome::TlsFailed,
            _ => Outcome::Failed,
        };
        Self { outcome, failure: tls_failed(action, &url.to_string(), error) }
    }
}

fn by_errno(errno: Option<Errno>) -> Outcome {
    match errno {
        Some(Errno::CONNRESET | Errno::PIPE | Errno::NOTCONN) => Outcome::Reset,
        Some(Errno::TIMEDOUT | Errno::HOSTUNREACH | Errno::NETUNREACH) => Outcome::Timeout,
        _ => Outcome::Failed,
    }
}

/// An error of a system call once more.
fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::AlertDescription;

    fn of(error: io::Error) -> (Outcome, String) {
        let (from, to) = ("tls://h:1".parse().unwrap(), "tcp://h:2".parse().unwrap());
        let mishap = Mishap::broken(&from, &to, &Broken::Source(error));
        (mishap.outcome, mishap.failure.to_string())
    }

    #[test]
    fn each_break_has_its_outcome_and_one_line() {
        let io = |errno: Errno| io::Error::from(errno);
        let alert = |alert| tls::Error::Alert(alert).into();
        for (error, outcome, reason) in [
            (tls::Error::Truncated.into(), Outcome::Truncated, "without close_notify"),
            (tls::Error::Inauthentic.into(), Outcome::TlsFailed, "changed on its way"),
            (alert(AlertDescription::HandshakeFailure), Outcome::TlsFailed, "refused to go on"),
            (alert(AlertDescription::CertificateRequired), Outcome::TlsFailed, "no certificate"),
            (tls::Error::KeyExhausted.into(), Outcome::Failed, "its limit"),
            (io(Errno::CONNRESET), Outcome::Reset, "Connection reset by peer"),
            (io(Errno::TIMEDOUT), Outcome::Timeout, "timed out"),
            (io(Errno::NOMEM), Outcome::Failed, "memory"),
        ] {
            let (found, line) = of(error);
            assert_eq!(found, outcome, "{line}");
            assert!(line.starts_with("receive on tls://h:1: "), "{line}");
            assert!(line.contains(reason) && line.contains("; "), "{line}");
        }
    }

    /// As `send` and `receive` have a --backend.
    #[test]
    fn no_flag_is_advised_that_tunnel_does_not_have() {
        for errno in [Errno::INVAL, Errno::PERM, Errno::NOSPC] {
            let mishap = Mishap::here(&"tls://h:1".parse().unwrap(), errno.into());
            let line = mishap.failure.to_string();
            assert!(line.starts_with("start on tls://h:1: ") && !line.contains("--"), "{line}");
        }
    }

    #[test]
    fn names_are_of_one_outcome_each() {
        for (at, one) in Outcome::ALL.iter().enumerate() {
            assert!(Outcome::ALL[at + 1..].iter().all(|other| other.name() != one.name()));
        }
    }
}
