//! What went wrong, in one line: `WHAT on WHAT: WHY; WHAT TO DO`.
//!
//! Sorted by whose fault it is: the peer or the way to it, the caller, the system. The remedies are
//! in one table, [`remedy`], so that the same trouble gets the same advice everywhere.

use std::fmt;
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use sealift::io as sealift_io;

use crate::quantity;
use crate::terminal::shown;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Resolve,
    Connect,
    Listen,
    Accept,
    Send,
    Receive,
    Open,
    Create,
    Read,
    Write,
    Rename,
    Sync,
    Start,
    SetUp,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Listen => "listen",
            Self::Accept => "accept",
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Open => "open",
            Self::Create => "create",
            Self::Read => "read",
            Self::Write => "write",
            Self::Rename => "rename",
            Self::Sync => "sync",
            Self::Start => "start",
            Self::SetUp => "set up",
        })
    }
}

/// Why a command ended with exit code 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No address of a name could be reached.
    #[error("connect on {}: {reason}; {}", shown(url), remedy(Action::Connect, url, *errno))]
    Unreached { url: String, reason: String, errno: Option<Errno> },
    /// The name has no address.
    #[error("resolve on {}: {reason}; check the name, or give an address", shown(url))]
    Unresolved { url: String, reason: String },
    /// Nobody was there in time.
    #[error("{action} on {}: no connection within {}; {}", shown(url), quantity::duration(*.after),
        "look at the other end, or give it longer with --timeout")]
    NotInTime { action: Action, url: String, after: Duration },
    /// The connection was there, but nothing moved on it.
    #[error("{action} on {}: nothing moved for {}; {}", shown(url), quantity::duration(*.after),
        "look at the other end, or raise --idle-timeout")]
    Stalled { action: Action, url: String, after: Duration },
    /// The file became shorter than it was at the start.
    #[error(
        "read on {}: the file shrank from {expected} to {found} bytes while it was sent; \
        send a copy that nobody writes to",
        shown(name)
    )]
    Shrank { name: String, expected: u64, found: u64 },
    /// The file has less than its size says.
    #[error(
        "read on {}: it ended at byte {found} of {expected}; \
        its size is not its content: send it through a pipe, `cat FILE | sealift send - URL`",
        shown(name)
    )]
    EndedEarly { name: String, expected: u64, found: u64 },
    /// A directory where a file is needed.
    #[error(
        "{action} on {}: Is a directory; name a file (for a tree: tar it through a pipe)",
        shown(name)
    )]
    Directory { action: Action, name: String },
    /// A socket's path is taken by something that is not ours to remove.
    #[error("listen on {}: {reason}; choose another path, or remove what is there", shown(url))]
    Taken { url: String, reason: &'static str },
    /// What is wrong, and what to do, are known where it is found.
    #[error("{action} on {}: {}; {remedy}", shown(object), shown(reason))]
    Explained { action: Action, object: String, reason: String, remedy: &'static str },
    /// A system call failed.
    #[error("{action} on {}: {}; {}", shown(object), words(source),
        remedy(*action, object, errno_of(source)))]
    System { action: Action, object: String, source: io::Error },
    /// The library refused.
    #[error("{action} on {}: {source}; {}", shown(object), remedy(*action, object, None))]
    Library { action: Action, object: String, source: sealift_io::Error },
}

impl Failure {
    /// The failure of a system call.
    pub(crate) fn system(
        action: Action,
        object: impl fmt::Display,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::System { action, object: object.to_string(), source: source.into() }
    }

    /// A failure that is understood where it is found.
    pub(crate) fn explained(
        action: Action,
        object: impl fmt::Display,
        reason: String,
        remedy: &'static str,
    ) -> Self {
        Self::Explained { action, object: object.to_string(), reason, remedy }
    }

    /// The failure of a call of the library. Those that carry an error number read like a system
    /// call's: which call it was is for the log.
    pub(crate) fn library(
        action: Action,
        object: impl fmt::Display,
        source: sealift_io::Error,
    ) -> Self {
        let object = object.to_string();
        match source.errno() {
            Some(errno) => {
                tracing::debug!(%source, "the call that failed");
                let source = io::Error::from_raw_os_error(errno.raw());
                Self::System { action, object, source }
            }
            None => Self::Library { action, object, source },
        }
    }

    /// Whether this machine has not enough of something, which may pass: files, threads, memory.
    pub(crate) fn is_shortage(&self) -> bool {
        let errno = match self {
            Self::Unreached { errno, .. } => *errno,
            Self::System { source, .. } => errno_of(source),
            _ => None,
        };
        matches!(
            errno,
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::AGAIN)
        )
    }
}

/// An I/O error in the words of the C library, without Rust's ` (os error N)`.
pub(crate) fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(raw) => sealift_io::Errno::from_raw(raw).to_string(),
        None => error.to_string(),
    }
}

/// The error number, where the error came from the kernel or could have.
pub(crate) fn errno_of(error: &io::Error) -> Option<Errno> {
    let timed_out = error.kind() == io::ErrorKind::TimedOut;
    Errno::from_io_error(error).or_else(|| timed_out.then_some(Errno::TIMEDOUT))
}

/// What to do about it.
fn remedy(action: Action, object: &str, errno: Option<Errno>) -> &'static str {
    let is_path = object.starts_with("unix:");
    let Some(errno) = errno else { return general(action) };
    match errno {
        Errno::CONNREFUSED => "start the listening end first, or check the address and the port",
        Errno::PIPE if action == Action::Write => "keep the reading program alive to the end",
        Errno::CONNRESET | Errno::PIPE | Errno::NOTCONN | Errno::CONNABORTED => {
            "look at the other end: it gave up before the end"
        }
        Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::HOSTDOWN | Errno::NETDOWN => {
            "check the address, the route and the network"
        }
        Errno::TIMEDOUT => "check that the host is up and that no firewall drops the packets",
        Errno::ADDRINUSE => "end the program that listens there, or choose another address",
        Errno::ADDRNOTAVAIL => "listen on an address of this machine",
        Errno::ACCESS | Errno::PERM if action == Action::Listen && is_path => {
            "choose a path in a directory that you may write to"
        }
        Errno::ACCESS | Errno::PERM => forbidden(action),
        Errno::INVAL if matches!(action, Action::Connect | Action::Listen) && !is_path => {
            "check the address: a link-local one needs its zone (%eth0)"
        }
        // A thread that could not be started.
        Errno::AGAIN if matches!(action, Action::Start | Action::SetUp | Action::Resolve) => {
            "raise the limit of processes and threads (ulimit -u), or end some"
        }
        Errno::BADF if action == Action::Open => {
            "redirect it: it is closed, not open for this, or /dev/null both ways"
        }
        Errno::NOENT => missing(action),
        Errno::ISDIR => "name a file",
        Errno::NOTDIR => "check the path: a part of it is no directory",
        Errno::NAMETOOLONG => "use a shorter path",
        Errno::LOOP => "check the symbolic links in the path",
        Errno::NOSPC | Errno::DQUOT => "free some space, or choose another place",
        Errno::FBIG => "raise the limit (ulimit -f), or choose another file system",
        Errno::ROFS => "choose a place that is not read-only",
        Errno::TXTBSY => "end the program that runs this file",
        Errno::IO => "check the device: the kernel's log (dmesg) says more",
        Errno::NXIO => "check that the device, or the reader of the pipe, is there",
        Errno::MFILE | Errno::NFILE => "raise the limit of open files (ulimit -n)",
        Errno::NOMEM | Errno::NOBUFS => "free some memory, or raise the limits of it (ulimit -l)",
        _ => general(action),
    }
}

fn general(action: Action) -> &'static str {
    match action {
        Action::Connect | Action::Send | Action::Receive => "look at the other end",
        Action::SetUp => "see what `sealift probe` says, or try --backend copy",
        _ => "check that it is what you mean, and try again",
    }
}

fn forbidden(action: Action) -> &'static str {
    match action {
        Action::Listen => "choose a port above 1023, or run with CAP_NET_BIND_SERVICE",
        Action::Connect => "get permission to write to the socket, or check the firewall",
        Action::Open | Action::Read => "get permission for it, or choose another file",
        Action::SetUp => "see what `sealift probe` says, or try --backend copy",
        _ => "choose a place that you may write to, or - for standard output",
    }
}

fn missing(action: Action) -> &'static str {
    match action {
        Action::Connect => "start the listening end first, or check the path",
        Action::Create | Action::Listen => "make the directory first",
        _ => "check the name",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_of_four_parts() {
        let gone = Failure::system(Action::Open, "/no/such", Errno::NOENT);
        assert_eq!(gone.to_string(), "open on /no/such: No such file or directory; check the name");
        let shrank = Failure::Shrank { name: "a".into(), expected: 9, found: 4 };
        assert!(shrank.to_string().starts_with("read on a: the file shrank from 9 to 4 bytes"));
        assert!(!shrank.to_string().contains('\n'));
    }

    #[test]
    fn a_name_with_control_characters_stays_on_its_line() {
        let name = || "a\n\u{1b}[31m".to_owned();
        for failure in [
            Failure::Unreached { url: name(), reason: "no".into(), errno: None },
            Failure::Unresolved { url: name(), reason: "no".into() },
            Failure::NotInTime { action: Action::Accept, url: name(), after: Duration::ZERO },
            Failure::Stalled { action: Action::Send, url: name(), after: Duration::ZERO },
            Failure::Shrank { name: name(), expected: 9, found: 4 },
            Failure::EndedEarly { name: name(), expected: 9, found: 4 },
            Failure::Directory { action: Action::Open, name: name() },
            Failure::Taken { url: name(), reason: "no" },
            Failure::explained(Action::Read, name(), name(), "no"),
            Failure::system(Action::Open, name(), Errno::NOENT),
            Failure::library(Action::Send, name(), sealift_io::Error::Closed),
        ] {
            let line = failure.to_string();
            assert!(line.contains(" on a\\n\\u{1b}[31m: "), "{line:?}");
            assert!(!line.contains(char::is_control), "{line:?}");
        }
    }

    #[test]
    fn the_remedy_fits_what_it_is_for() {
        let advice = |action, object: &str, errno: Errno| {
            let line = Failure::system(action, object, errno).to_string();
            line.rsplit_once("; ").unwrap().1.to_owned()
        };
        for (object, part) in [("tcp://:80", "port above"), ("unix:/root/x", "choose a path")] {
            assert!(advice(Action::Listen, object, Errno::ACCESS).contains(part), "{object}");
        }
        assert!(advice(Action::SetUp, "signals", Errno::AGAIN).contains("ulimit -u"));
        assert!(advice(Action::Resolve, "tcp://h:1", Errno::AGAIN).contains("ulimit -u"));
        assert!(advice(Action::Connect, "tcp://h:1", Errno::INVAL).contains("%eth0"));
    }

    #[test]
    fn the_library_and_the_kernel_speak_alike() {
        let source = sealift_io::Error::Peer {
            call: "sendmsg",
            errno: sealift_io::Errno::from_raw(Errno::CONNRESET.raw_os_error()),
        };
        let failure = Failure::library(Action::Send, "tcp://h:1", source).to_string();
        assert!(
            failure.starts_with("send on tcp://h:1: Connection reset by peer; look"),
            "{failure}"
        );
    }
}
