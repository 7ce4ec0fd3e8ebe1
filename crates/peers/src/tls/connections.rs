//! The connections of a run, at either end and of either sort, all of one kind.
//!
//! Whoever connects sends one byte on each, and has it back before anything is measured: then the
//! handshake is over at both ends, tickets included, and what is made at first use is there.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use super::Kind;
use super::content::Content;
use super::tasks::Tasks;
use super::threads::Threads;
use crate::trust::{Identity, SUITE};

/// What is read at a time, at most.
pub(super) const READ_BYTES: usize = 256 * 1024;

/// One end of all connections. A run uses them for one thing.
pub(super) trait Connections {
    /// What each has agreed on, by rustls's names; `None` is no TLS.
    fn suites(&self) -> Vec<Option<String>>;

    /// Each does what is its by its number, all at the same time.
    fn work(self: Box<Self>, of: &dyn Fn(usize) -> Work) -> io::Result<Vec<Done>>;
}

/// What a connection does.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Sends so many bytes of the content in such pieces, and ends what it sends.
    Send { content: Arc<Content>, bytes: u64, piece_bytes: usize },
    /// Takes what comes, to the end, and checks it.
    Take(Arc<Content>),
    /// Sends a byte and waits for it, so often.
    Bounce { trips: u64 },
    /// Sends back what comes, to the end.
    Echo,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Done {
    /// What was sent, or what came.
    pub(super) bytes: u64,
    /// How often each byte was touched outside of the kernel, where the library says so.
    pub(super) copies_per_byte: Option<f64>,
    /// How long each byte took that was sent and came back.
    pub(super) trips: Vec<Duration>,
}

impl Done {
    /// Over all.
    pub(super) fn sum(each: Vec<Self>) -> Self {
        let bytes = each.iter().map(|done| done.bytes).sum();
        let touched = each.iter().map(|done| Some(done.copies_per_byte? * done.bytes as f64));
        let touched: Option<f64> = touched.sum();
        let copies_per_byte = touched.map(|touched| touched / (bytes as f64).max(1.0));
        let trips = each.into_iter().flat_map(|done| done.trips).collect();
        Self { bytes, copies_per_byte, trips }
    }
}

/// Where each piece of `bytes` begins, and how long it is.
pub(super) fn pieces(bytes: u64, piece_bytes: usize) -> impl Iterator<Item = (u64, usize)> {
    let length = move |at: u64| (bytes - at).min(piece_bytes as u64) as usize;
    (0..bytes).step_by(piece_bytes).map(move |at| (at, length(at)))
}

/// Whether the byte of a trip has come back.
///
/// # Errors
/// If it is another.
pub(super) fn check_trip(trip: u64, byte: u8) -> io::Result<()> {
    let other = || io::Error::other("another byte came back than was sent");
    if byte == trip as u8 { Ok(()) } else { Err(other()) }
}

/// So many connections to a far end on this machine.
pub(super) fn connect(
    kind: Kind,
    port: u16,
    count: usize,
    identity: &Identity,
) -> io::Result<Box<dyn Connections>> {
    Ok(match kind {
        Kind::TokioRustls => Box::new(Tasks::connect(port, count, identity)?),
        _ => Box::new(Threads::connect(kind, port, count, identity)?),
    })
}

/// So many connections that somebody makes.
pub(super) fn accept(
    kind: Kind,
    listener: TcpListener,
    count: usize,
    identity: &Identity,
) -> io::Result<Box<dyn Connections>> {
    Ok(match kind {
        Kind::TokioRustls => Box::new(Tasks::accept(listener, count, identity)?),
        _ => Box::new(Threads::accept(kind, &listener, count, identity)?),
    })
}

/// Whether an end's connections have agreed on what is to be compared.
///
/// # Errors
/// If not: then figures would compare different work.
pub(super) fn check_suites(kind: Kind, suites: &[Option<String>]) -> io::Result<()> {
    let wanted = (kind != Kind::Plain).then_some(SUITE);
    match suites.iter().map(Option::as_deref).find(|&found| found != wanted) {
        None => Ok(()),
        Some(found) => {
            let [found, wanted] = [found, wanted].map(|suite| suite.unwrap_or("no TLS"));
            Err(io::Error::other(format!("{found} was agreed on, where {wanted} was to be")))
        }
    }
}

/// The part of the connection of this number, of `count`.
pub(super) fn share(bytes: u64, count: usize, number: usize) -> u64 {
    let (count, number) = (count as u64, number as u64);
    bytes / count + u64::from(number < bytes % count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 4] = [Kind::Sealift, Kind::TokioRustls, Kind::Openssl, Kind::Plain];

    /// Both ends in this process: what the near one gives, and the far one finds.
    fn meet(
        kind: Kind,
        count: usize,
        near: &dyn Fn(usize) -> Work,
    ) -> (io::Result<Done>, io::Result<Done>) {
        let identity = Identity::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::scope(|scope| {
            let far = scope.spawn(|| {
                let connections = accept(kind, listener, count, &identity)?;
                check_suites(kind, &connections.suites())?;
                let content = Arc::new(Content::to_check());
                connections.work(&|_| Work::Take(content.clone())).map(Done::sum)
            });
            let connections = connect(kind, port, count, &identity).unwrap();
            assert_eq!(connections.suites().len(), count);
            check_suites(kind, &connections.suites()).unwrap();
            (connections.work(near).map(Done::sum), far.join().unwrap())
        })
    }

    #[test]
    fn each_kind_carries_everything_on_each_connection() {
        for kind in KINDS {
            let content = Arc::new(Content::new(5_000));
            let (sent, came) = meet(kind, 3, &|number| Work::Send {
                content: content.clone(),
                bytes: share(1_000_001, 3, number),
                piece_bytes: 5_000,
            });
            assert_eq!(sent.unwrap().bytes, 1_000_001, "{kind:?}");
            let came = came.unwrap();
            assert_eq!(came.bytes, 1_000_001, "{kind:?}");
            let tells = matches!(kind, Kind::Sealift | Kind::Plain);
            assert_eq!(came.copies_per_byte.is_some(), tells, "{kind:?}");
        }
    }

    #[test]
    fn the_far_end_refuses_what_was_not_to_be_sent() {
        for kind in KINDS {
            let wrong = Arc::new(Content::wrong_at(40_000, 50_000));
            let (_, came) = meet(kind, 1, &|_| Work::Send {
                content: wrong.clone(),
                bytes: 50_000,
                piece_bytes: 50_000,
            });
            let error = came.unwrap_err().to_string();
            assert!(error.starts_with("other bytes came"), "{kind:?}: {error}");
        }
    }

    #[test]
    fn another_suite_or_none_is_refused() {
        let agreed = |name: &str| vec![Some(SUITE.to_owned()), Some(name.to_owned())];
        assert!(check_suites(Kind::Openssl, &agreed(SUITE)).is_ok());
        let other = check_suites(Kind::Openssl, &agreed("TLS13_AES_128_GCM_SHA256"));
        let said = other.unwrap_err().to_string();
        assert!(said.starts_with("TLS13_AES_128_GCM_SHA256 was agreed on"), "{said}");
        assert!(check_suites(Kind::Sealift, &[None]).is_err());
        assert!(check_suites(Kind::Plain, &[None]).is_ok());
        assert!(check_suites(Kind::Plain, &agreed(SUITE)).is_err());
    }

    #[test]
    fn shares_and_pieces_are_all_there_is() {
        let shares: Vec<u64> = (0..3).map(|number| share(11, 3, number)).collect();
        assert_eq!(shares, [4, 4, 3]);
        assert_eq!(pieces(11, 4).collect::<Vec<_>>(), [(0, 4), (4, 4), (8, 3)]);
        assert_eq!(pieces(8, 4).count(), 2);
    }
}
