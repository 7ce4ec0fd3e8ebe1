//! Which requests fail, and how: single errors, storms of one error, and kernels that cannot.

use super::super::machine::Kind;
use super::stage::Stage;

/// The lasting conditions of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Climate {
    /// One in so many requests fails; 0 for none.
    pub(super) errors_once_in: usize,
    /// A storm begins once in so many requests.
    pub(super) storms_once_in: usize,
    /// The connection fails for good once in so many requests.
    pub(super) fatal_once_in: usize,
    /// What zero-copy is answered with, always.
    pub(super) no_zero_copy: Option<i32>,
    /// The kernel has no memory for a stream, for ever.
    pub(super) endless_shortage: bool,
}

pub(super) struct Weather {
    climate: Climate,
    storm: Option<(i32, usize)>,
}

/// The request that the weather hits.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) kind: Kind,
    pub(super) zero_copy: bool,
    pub(super) spans: usize,
}

/// UDP takes no more discontiguous buffers in a zero-copy datagram (`MAX_SKB_FRAGS`).
const MOST_FRAGMENTS: usize = 17;
const LONGEST_STORM: usize = 40;

const TRANSIENT: &[i32] = &[libc::EAGAIN, libc::EINTR, libc::ECANCELED];
const SHORTAGES: &[i32] = &[libc::ENOBUFS, libc::ENOMEM];
const DATAGRAM: &[i32] = &[
    libc::ENOBUFS,
    libc::ENOMEM,
    libc::EMSGSIZE,
    libc::EPERM,
    libc::EINVAL,
    libc::ECONNREFUSED,
    libc::EHOSTUNREACH,
    libc::ENETUNREACH,
];
pub(super) const FATAL: &[i32] =
    &[libc::EPIPE, libc::ECONNRESET, libc::ETIMEDOUT, libc::EHOSTUNREACH, libc::EIO, libc::EBADF];

impl Weather {
    pub(super) fn new(climate: Climate) -> Self {
        Self { climate, storm: None }
    }

    /// No more errors, but for those that the kernel cannot help.
    pub(super) fn calm_down(&mut self) {
        self.storm = None;
        let Climate { no_zero_copy, endless_shortage, .. } = self.climate;
        self.climate = Climate { no_zero_copy, endless_shortage, ..Climate::default() };
    }

    /// The error that the request fails with, if it does.
    pub(super) fn strike(&mut self, stage: &mut Stage, target: Target) -> Option<i32> {
        if target.zero_copy {
            if let Some(errno) = self.climate.no_zero_copy {
                stage.seen.note("zero-copy refused by an old kernel or an upper layer");
                return Some(errno);
            }
            if target.kind == Kind::Datagram && target.spans > MOST_FRAGMENTS {
                stage.seen.note("EMSGSIZE for too many buffers");
                return Some(libc::EMSGSIZE);
            }
        } else if self.climate.endless_shortage && target.kind == Kind::Stream {
            return Some(libc::ENOMEM);
        }
        if let Some((errno, left)) = &mut self.storm {
            let errno = *errno;
            *left -= 1;
            if *left == 0 {
                self.storm = None;
            }
            if suits(errno, target) {
                stage.seen.note("errors in storms");
                return Some(errno);
            }
        }
        if stage.random.once_in(self.climate.storms_once_in) {
            let errno = any(stage, target);
            self.storm = Some((errno, stage.random.within(1, LONGEST_STORM)));
            stage.seen.note("storms");
        }
        stage.random.once_in(self.climate.errors_once_in).then(|| {
            stage.seen.note("single errors");
            any(stage, target)
        })
    }

    /// The error that ends the connection here, if it ends here.
    pub(super) fn strike_dead(&mut self, stage: &mut Stage) -> Option<i32> {
        let dead = stage.random.once_in(self.climate.fatal_once_in);
        dead.then(|| {
            stage.seen.note("fatal errors");
            stage.random.pick(FATAL)
        })
    }
}

/// Errors that a request may meet without its stream being lost.
fn any(stage: &mut Stage, target: Target) -> i32 {
    let errno = match (target.kind, stage.random.once_in(2)) {
        (_, true) => stage.random.pick(TRANSIENT),
        (Kind::Datagram, _) if !target.zero_copy => stage.random.pick(DATAGRAM),
        _ if target.zero_copy && target.spans > 1 && stage.random.once_in(4) => libc::EFAULT,
        _ => stage.random.pick(SHORTAGES),
    };
    if suits(errno, target) { errno } else { libc::EINTR }
}

fn suits(errno: i32, target: Target) -> bool {
    match errno {
        libc::EFAULT => target.zero_copy && target.spans > 1,
        errno if TRANSIENT.contains(&errno) || SHORTAGES.contains(&errno) => true,
        _ => target.kind == Kind::Datagram && !target.zero_copy,
    }
}
