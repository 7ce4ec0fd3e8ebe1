//! What the other end of a `send` says: heard on a thread of its own and thrown away, but for the
//! reason why it gives up.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sealift::tls::{Error, TlsReader};

/// What is read at a time; a whole record fits.
const READ_BYTES: usize = 32 * 1024;

/// The ear to the other end.
#[derive(Debug)]
pub(super) struct Answers {
    heard: Arc<Heard>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Heard {
    discarded: AtomicU64,
    end: Mutex<End>,
    ended: Condvar,
}

/// Whether the other end still talks.
#[derive(Clone, Debug, Default)]
enum End {
    #[default]
    Open,
    /// It said that this was all.
    Notified,
    /// It just hung up: enough for who waits for nothing more.
    Gone,
    Failed(Error),
}

impl Answers {
    /// Listens until the other end ends.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub(super) fn listen(reader: TlsReader) -> io::Result<Self> {
        let heard = Arc::new(Heard::default());
        let here = heard.clone();
        let listener = thread::Builder::new().name("answers".into());
        let listener = listener.spawn(move || here.hear(reader))?;
        Ok(Self { heard, listener: Some(listener) })
    }

    /// Bytes thrown away so far.
    pub(super) fn discarded(&self) -> u64 {
        // A figure: nothing else depends on it.
        self.heard.discarded.load(Ordering::Relaxed)
    }

    /// Why the other end gave up, if it did.
    pub(super) fn failure(&self) -> Option<Error> {
        match &*self.heard.end() {
            End::Failed(error) => Some(error.clone()),
            End::Open | End::Notified | End::Gone => None,
        }
    }

    /// Whether the other end went away without a word.
    pub(super) fn is_gone(&self) -> bool {
        matches!(*self.heard.end(), End::Gone)
    }

    /// Waits until the other end has nothing more to say, at most for `time`; whether it still has.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let end = self.heard.end();
        let is_open = |end: &mut End| matches!(end, End::Open);
        let waited = self.heard.ended.wait_timeout_while(end, time, is_open);
        waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// What the other end said before it hung up, or how it did, if that comes within `time`.
    pub(super) fn reason(&self, time: Duration) -> Option<Error> {
        self.wait(time);
        self.failure()
    }

    /// Stops listening; the socket has been shut.
    pub(super) fn stop(&mut self) {
        if let Some(listener) = self.listener.take() {
            // It does not panic; if it did, there would be nothing to hear.
            let _ = listener.join();
        }
    }
}

impl Heard {
    fn hear(&self, mut reader: TlsReader) {
        let mut room = vec![0; READ_BYTES];
        let end = loop {
            match reader.receive(&mut room) {
                Ok(0) => break End::Notified,
                Err(Error::Truncated) => break End::Gone,
                Ok(count) => {
                    self.discarded.fetch_add(count as u64, Ordering::Relaxed);
                }
                Err(error) => break End::Failed(error),
            }
        };
        *self.end() = end;
        self.ended.notify_all();
    }

    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
