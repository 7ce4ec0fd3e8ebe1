//! What can be sent: buffers of different kinds, each owned, each with one address until it comes
//! back.

use std::fmt;

use bytes::Bytes;

use crate::pool::{Arena, Frozen, Lease, LiveRegion};
use crate::sys::Region;

/// Memory handed over for sending. It comes back in the [`Completion`](crate::Completion).
///
/// Every kind keeps its bytes at one address while it is moved about, and nobody can write them
/// meanwhile (but for [`LiveRegion`], whose writers accept that).
#[non_exhaustive]
pub enum Buffer {
    /// A frame of a pool, exclusively owned.
    Lease(Lease),
    /// A shared view of a frame.
    Frozen(Frozen),
    /// Reference-counted bytes.
    Bytes(Bytes),
    /// An ordinary vector.
    Vec(Vec<u8>),
    /// Memory that lives as long as the program.
    Static(&'static [u8]),
    /// Memory that may change while in flight.
    Live(LiveRegion),
}

impl Buffer {
    /// The length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Lease(lease) => lease.len(),
            Self::Frozen(view) => view.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Vec(vec) => vec.len(),
            Self::Static(bytes) => bytes.len(),
            Self::Live(region) => region.len(),
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes; `None` for live memory, which never becomes a reference.
    pub fn as_slice(&self) -> Option<&[u8]> {
        match self {
            Self::Lease(lease) => Some(lease),
            Self::Frozen(view) => Some(view),
            Self::Bytes(bytes) => Some(bytes),
            Self::Vec(vec) => Some(vec),
            Self::Static(bytes) => Some(bytes),
            Self::Live(_) => None,
        }
    }

    /// The lease, if it is one; else the buffer back.
    pub fn into_lease(self) -> Result<Lease, Self> {
        match self {
            Self::Lease(lease) => Ok(lease),
            other => Err(other),
        }
    }

    /// Address and length for the kernel. Valid while the buffer is neither dropped nor written.
    pub(crate) fn region(&self) -> Region {
        match (self, self.as_slice()) {
            (Self::Live(region), _) => Region::new(region.base(), region.len()),
            (_, Some(bytes)) => Region::of(bytes),
            (_, None) => Region::of(&[]),
        }
    }

    /// The arena that the bytes are in, if they are in one.
    pub(crate) fn arena(&self) -> Option<&Arena> {
        match self {
            Self::Lease(lease) => Some(lease.arena()),
            Self::Frozen(view) => Some(view.arena()),
            _ => None,
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The content is not printed: it may be secret.
        match self {
            Self::Lease(lease) => lease.fmt(f),
            Self::Frozen(view) => view.fmt(f),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Vec(vec) => write!(f, "Vec({} bytes)", vec.len()),
            Self::Static(bytes) => write!(f, "Static({} bytes)", bytes.len()),
            Self::Live(region) => region.fmt(f),
        }
    }
}

macro_rules! from {
    ($($kind:ident: $type:ty),*) => {$(
        impl From<$type> for Buffer {
            fn from(buffer: $type) -> Self {
                Self::$kind(buffer)
            }
        }
    )*};
}

from!(Lease: Lease, Frozen: Frozen, Bytes: Bytes, Vec: Vec<u8>, Live: LiveRegion);

impl From<&'static [u8]> for Buffer {
    fn from(bytes: &'static [u8]) -> Self {
        Self::Static(bytes)
    }
}

impl<const N: usize> From<&'static [u8; N]> for Buffer {
    fn from(bytes: &'static [u8; N]) -> Self {
        Self::Static(bytes)
    }
}
