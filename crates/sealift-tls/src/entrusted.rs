//! What only one stream can have, in a builder that may be cloned: the first stream takes it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};

pub(crate) struct Entrusted<T>(Arc<Mutex<Option<T>>>);

impl<T> Entrusted<T> {
    pub(crate) fn new(entrusted: T) -> Self {
        Self(Arc::new(Mutex::new(Some(entrusted))))
    }

    pub(crate) fn take(&self) -> Result<T> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken
            .ok_or(Error::Caller { what: "another stream has taken the engine: give each its own" })
    }
}

impl<T> Clone for Entrusted<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for Entrusted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an engine")
    }
}
