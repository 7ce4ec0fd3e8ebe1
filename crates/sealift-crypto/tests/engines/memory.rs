//! Memory that counts itself, and that panics when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use sealift_crypto::{Destination, Source, Spares};

/// How many pieces of memory of a run are alive.
#[derive(Clone, Default)]
pub(crate) struct Census(Arc<AtomicUsize>);

impl Census {
    pub(crate) fn alive(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    fn admit(&self) -> Self {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.clone()
    }

    pub(crate) fn text(&self, bytes: Vec<u8>) -> Text {
        let fuse = Fuse::default();
        Text { bytes: bytes.into(), census: self.admit(), fuse }
    }

    pub(crate) fn page(&self, bytes: Vec<u8>) -> Page {
        Page { bytes, census: self.admit(), fuse: Fuse::default() }
    }
}

/// Once lit, it panics where it stands.
#[derive(Clone, Default)]
pub(crate) struct Fuse(Arc<AtomicBool>);

impl Fuse {
    pub(crate) fn light(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn burn(&self) {
        if self.0.load(Ordering::SeqCst) && !std::thread::panicking() {
            // A panic that prints nothing: it was planned.
            std::panic::resume_unwind(Box::new("a planned panic"));
        }
    }
}

/// A source.
pub(crate) struct Text {
    bytes: Bytes,
    census: Census,
    fuse: Fuse,
}

impl Text {
    /// What makes reading and dropping it panic.
    pub(crate) fn fuse(&self) -> Fuse {
        self.fuse.clone()
    }
}

impl Clone for Text {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), census: self.census.admit(), fuse: self.fuse.clone() }
    }
}

impl Source for Text {
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.fuse.burn();
        std::iter::once(&self.bytes[..])
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        self.census.0.fetch_sub(1, Ordering::SeqCst);
        self.fuse.burn();
    }
}

/// A destination.
pub(crate) struct Page {
    pub(crate) bytes: Vec<u8>,
    census: Census,
    fuse: Fuse,
}

impl Page {
    /// What makes writing and dropping it panic.
    pub(crate) fn fuse(&self) -> Fuse {
        self.fuse.clone()
    }
}

impl Destination for Page {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.fuse.burn();
        &mut self.bytes
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.census.0.fetch_sub(1, Ordering::SeqCst);
        self.fuse.burn();
    }
}

/// Spare pages, as many as are wanted; a census of those that are out of it.
#[derive(Clone, Default)]
pub(crate) struct Fresh(pub(crate) Census, pub(crate) Arc<AtomicUsize>);

impl Spares<Page> for Fresh {
    fn take(&mut self, len_bytes: usize) -> Option<Page> {
        Some(self.0.page(vec![0xee; len_bytes]))
    }

    fn give(&mut self, destination: Page) {
        self.1.fetch_add(1, Ordering::SeqCst);
        drop(destination);
    }
}
