//! Intel's multi-buffer library, opened at run time: the one place of this crate with `unsafe`.
//!
//! 1. *Version.* Nothing but the version is asked of the library before its version is known to be
//!    the one that `layout` describes. So every structure and every function is as it says there.
//! 2. *Loaded.* The code stays mapped as long as the [`Library`] is there, and the manager was made
//!    by it, is its alone, and is freed before it. Its functions were chosen by the library for
//!    this processor.
//! 3. *Lengths.* Every pointer that is handed over comes from a slice, with a length that is the
//!    slice's own or was checked against it here, and the library reads and writes no further.
//!    Where source and destination differ, they are slices of safe code and so share no byte.
//! 4. *Drained.* The manager's queue is empty between calls, so it holds on to no memory.
//! 5. *Schedules.* A [`Schedule`] was filled by the function for its suite and has the room and the
//!    alignment that the library wants; afterwards it is only read.
#![allow(unsafe_code)]

mod layout;

use std::error::Error as _;
use std::ptr::NonNull;

use zeroize::Zeroize;

use crate::error::{Error, Unavailable};
use crate::job::Direction;
use crate::message::Message;
use crate::suite::{NONCE_BYTES, Suite, TAG_BYTES};
use layout::{Aligned, Job, Manager};

/// The library's file, as the package `libipsec-mb1` installs it.
const FILE: &str = "libIPSec_MB.so.1";
/// The longest message of AES-CCM, in bytes: its lanes count in 16 bits, and the header counts too.
pub(crate) const MOST_CCM_BYTES: usize = 65_000;
/// How many messages may be handed over at a time; the manager's queue has room for 256.
pub(crate) const MOST_MESSAGES: usize = 32;

/// The functions for one size of AES keys.
struct Gcm {
    prepare: layout::GcmPrepare,
    begin: layout::GcmBegin,
    seal: OneWay,
    open: OneWay,
}

struct OneWay {
    whole: layout::GcmWhole,
    update: layout::GcmUpdate,
    finish: layout::GcmFinish,
}

/// What is called of the manager.
struct Functions {
    gcm_128: Gcm,
    gcm_256: Gcm,
    expand_key: layout::ExpandKey,
    next_job: layout::WithJob,
    submit_job: layout::WithJob,
    flush_job: layout::WithJob,
}

/// The library, with a manager of its own.
pub(crate) struct Library {
    manager: NonNull<Manager>,
    functions: Functions,
    free: layout::Free,
    context: Box<Aligned<{ layout::CONTEXT_BYTES }>>,
    /// Last, so that it is closed last.
    _code: libloading::Library,
}

// SAFETY: (2) the manager is reached through the library alone, which is not shared; the library
// binds nothing to a thread.
unsafe impl Send for Library {}

/// A key as the library wants it.
pub(crate) struct Schedule {
    suite: Suite,
    memory: Box<Aligned<{ layout::SCHEDULE_BYTES }>>,
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.memory.0.zeroize();
    }
}

impl Library {
    /// Opens it, if it is installed and known.
    pub(crate) fn open() -> Result<Self, Unavailable> {
        Self::open_file(FILE)
    }

    fn open_file(file: &str) -> Result<Self, Unavailable> {
        if !cfg!(target_arch = "x86_64") {
            return Err(Unavailable::Unusable { what: "it is known on x86-64 only" });
        }
        let not_installed = |error: libloading::Error| {
            // Its own words are `dlopen failed`; those of the loader are behind them.
            let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            Unavailable::NotInstalled { why }
        };
        // SAFETY: (1) the loader looks in the system's own directories; what the library does when
        // it is loaded is to look at the processor.
        let code = unsafe { libloading::Library::new(file) }.map_err(not_installed)?;
        // SAFETY: (1) this function has been the same since the first version of this file name.
        let found = unsafe {
            let version = code.get::<unsafe extern "C" fn() -> u32>(c"imb_get_version");
            version.map_err(not_installed)?()
        };
        known(found)?;
        Self::start(code)
    }

    /// Makes a manager and takes its functions.
    fn start(code: libloading::Library) -> Result<Self, Unavailable> {
        // SAFETY: (1) the functions are as the header of this version declares them; (2) their
        // addresses are kept with `code`.
        let entries = unsafe {
            let allocate = code.get::<layout::Allocate>(c"alloc_mb_mgr").map(|found| *found);
            let initialise =
                code.get::<layout::Initialise>(c"init_mb_mgr_auto").map(|found| *found);
            let free = code.get::<layout::Free>(c"free_mb_mgr").map(|found| *found);
            (allocate, initialise, free)
        };
        let (Ok(allocate), Ok(initialise), Ok(free)) = entries else {
            return Err(Unavailable::Unusable { what: "it lacks a function" });
        };
        // SAFETY: (1) it takes flags, of which none is wanted.
        let manager = NonNull::new(unsafe { allocate(0) });
        let manager = manager.ok_or(Unavailable::Unusable { what: "it has no memory" })?;
        // SAFETY: (1, 2) the manager was just allocated; null: which architecture the library
        // chooses is not asked.
        unsafe { initialise(manager.as_ptr(), std::ptr::null_mut()) };
        // SAFETY: (1, 2) it begins with the fields of the layout, and nobody else has it.
        match functions(unsafe { manager.as_ref() }) {
            Ok(functions) => {
                let context = Box::new(Aligned([0; layout::CONTEXT_BYTES]));
                Ok(Self { manager, functions, free, context, _code: code })
            }
            Err(what) => {
                // SAFETY: (2) it is not used again.
                unsafe { free(manager.as_ptr()) };
                Err(Unavailable::Unusable { what })
            }
        }
    }

    /// Prepares a key. The secret has the length of the suite's keys.
    pub(crate) fn schedule(&self, suite: Suite, secret: &[u8]) -> Schedule {
        assert_eq!(secret.len(), suite.key_bytes(), "a key's secret has its suite's length");
        let mut memory = Box::new(Aligned([0; layout::SCHEDULE_BYTES]));
        let (secret, first) = (secret.as_ptr(), memory.0.as_mut_ptr());
        match suite {
            // SAFETY: (3, 5) the secret was measured; the schedule has room for `gcm_key_data`.
            Suite::Aes128Gcm => unsafe {
                (self.functions.gcm_128.prepare)(secret.cast(), first.cast())
            },
            // SAFETY: (3, 5) as above.
            Suite::Aes256Gcm => unsafe {
                (self.functions.gcm_256.prepare)(secret.cast(), first.cast())
            },
            // SAFETY: (3, 5) 16 bytes of secret become twice 11 round keys of 16 bytes, one of
            // the two in each half.
            Suite::Aes128Ccm => unsafe {
                let second = first.add(layout::SCHEDULE_BYTES / 2);
                (self.functions.expand_key)(secret.cast(), first.cast(), second.cast());
            },
            // SAFETY: (3, 5) the key itself: 32 bytes.
            Suite::ChaCha20Poly1305 => unsafe {
                first.copy_from_nonoverlapping(secret, Suite::ChaCha20Poly1305.key_bytes());
            },
        }
        Schedule { suite, memory }
    }

    /// Seals or opens one message with AES-GCM, and writes which tag it has over `tag`, which has
    /// the length of one.
    #[inline]
    pub(crate) fn gcm(
        &mut self,
        schedule: &Schedule,
        direction: Direction,
        message: &mut Message<'_>,
        tag: &mut [u8],
    ) {
        assert_eq!(tag.len(), TAG_BYTES, "all of a tag is wanted");
        let functions = match schedule.suite {
            Suite::Aes128Gcm => &self.functions.gcm_128,
            _ => &self.functions.gcm_256,
        };
        let way = match direction {
            Direction::Seal => &functions.seal,
            Direction::Open => &functions.open,
        };
        let key = schedule.memory.0.as_ptr().cast();
        let context = self.context.0.as_mut_ptr().cast();
        let (nonce, associated) = (message.nonce.0.as_ptr(), message.associated);
        let (aad, aad_len) = (associated.as_ptr(), associated.len() as u64);
        let (tag, tag_len) = (tag.as_mut_ptr(), TAG_BYTES as u64);
        let whole = message.whole().map(<[u8]>::as_ptr);
        let (into, len) = (message.into.as_mut_ptr(), message.into.len() as u64);
        if whole.is_some() || message.from.is_empty() {
            let from = whole.unwrap_or(into.cast_const());
            // SAFETY: (2, 3, 5) a whole source is as long as the destination; without one the
            // source is the destination, which the library allows.
            unsafe {
                (way.whole)(key, context, into, from, len, nonce, aad, aad_len, tag, tag_len);
            }
            return;
        }
        // SAFETY: (2, 3, 5) the nonce has 12 bytes.
        unsafe { (functions.begin)(key, context, nonce, aad, aad_len) };
        let mut rest = &mut *message.into;
        for piece in &message.from {
            let (part, behind) = rest.split_at_mut(piece.len());
            // SAFETY: (2, 3, 5) both are as long as the piece.
            unsafe {
                let len = piece.len() as u64;
                (way.update)(key, context, part.as_mut_ptr(), piece.as_ptr(), len);
            }
            rest = behind;
        }
        let (rest, len) = (rest.as_mut_ptr(), rest.len() as u64);
        // SAFETY: (2, 3, 5) suffix and padding, in place; then the tag, of 16 bytes.
        unsafe {
            (way.update)(key, context, rest, rest, len);
            (way.finish)(key, context, tag, tag_len);
        }
    }

    /// Seals or opens messages with AES-CCM or ChaCha20-Poly1305, at most [`MOST_MESSAGES`], and
    /// writes the tag that each has to `tags`. What is not whole is gathered first.
    ///
    /// # Errors
    /// [`Error::Engine`] if the library refused one; what they hold is then of no use.
    pub(crate) fn batch(
        &mut self,
        schedule: &Schedule,
        direction: Direction,
        messages: &mut [Message<'_>],
        tags: &mut [[u8; TAG_BYTES]],
    ) -> Result<(), Error> {
        let fits = messages.len() <= MOST_MESSAGES && messages.len() == tags.len();
        let mut done = 0;
        for (message, tag) in messages.iter_mut().zip(tags).take_while(|_| fits) {
            if message.whole().is_none() {
                message.gather();
            }
            // SAFETY: (1, 2) it takes the manager.
            let job = NonNull::new(unsafe { (self.functions.next_job)(self.manager.as_ptr()) });
            let Some(job) = job else { break };
            // SAFETY: (1, 2) the place in the queue is the caller's until it is submitted; (3, 4)
            // what the job names is borrowed until the queue is empty again, below.
            done += unsafe {
                fill(job, schedule, direction, message, tag);
                completed((self.functions.submit_job)(self.manager.as_ptr())).unwrap_or(0)
            };
        }
        let flush = || {
            // SAFETY: (1, 2, 4) each call ends one job and gives it back; null: the queue is empty.
            unsafe { completed((self.functions.flush_job)(self.manager.as_ptr())) }
        };
        while let Some(more) = flush() {
            done += more;
        }
        if fits && done == messages.len() {
            return Ok(());
        }
        Err(Error::Engine { engine: "ipsec-mb", what: "the library refused a message" })
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        self.context.0.zeroize();
        // SAFETY: (2, 4) it is not used again, and holds on to nothing.
        unsafe { (self.free)(self.manager.as_ptr()) };
    }
}

/// Whether a job that came back, if one did, is complete: one or none.
///
/// # Safety
/// It is null or what the library has just given back.
unsafe fn completed(job: *mut Job) -> Option<usize> {
    // SAFETY: (1) it has this layout, and is readable until the next is asked for.
    let status = unsafe { job.as_ref() }?.status;
    Some(usize::from(status == layout::COMPLETED))
}

/// Refuses all versions but that whose structures are known (1). A byte each is minor and patch.
fn known(version: u32) -> Result<(), Unavailable> {
    if version == layout::VERSION {
        return Ok(());
    }
    let found = format!("{}.{}.{}", version >> 16, version >> 8 & 0xFF, version & 0xFF);
    Err(Unavailable::UnknownVersion { found })
}

/// The functions that the library chose, or what is wrong with it.
fn functions(manager: &Manager) -> Result<Functions, &'static str> {
    if manager.errno != 0 {
        return Err("it does not know this processor");
    }
    if manager.features & layout::SELF_TEST_PASS == 0 {
        return Err("its own test failed");
    }
    let all = || {
        Some(Functions {
            gcm_128: gcm(manager, 0)?,
            gcm_256: gcm(manager, 2)?,
            expand_key: manager.expand_key_128?,
            next_job: manager.next_job?,
            submit_job: manager.submit_job?,
            flush_job: manager.flush_job?,
        })
    };
    all().ok_or("it lacks a function")
}

fn gcm(manager: &Manager, size: usize) -> Option<Gcm> {
    Some(Gcm {
        prepare: manager.gcm_prepare[size]?,
        begin: manager.gcm_begin[size]?,
        seal: OneWay {
            whole: manager.gcm_seal[size]?,
            update: manager.gcm_seal_update[size]?,
            finish: manager.gcm_seal_finish[size]?,
        },
        open: OneWay {
            whole: manager.gcm_open[size]?,
            update: manager.gcm_open_update[size]?,
            finish: manager.gcm_open_finish[size]?,
        },
    })
}

/// Writes a job. Its place in the queue may hold what an earlier one left.
///
/// # Safety
/// `job` is a place of the queue; the memory of all others outlives the job.
unsafe fn fill(
    job: NonNull<Job>,
    schedule: &Schedule,
    direction: Direction,
    message: &mut Message<'_>,
    tag: &mut [u8; TAG_BYTES],
) {
    let (mode, hash) = match schedule.suite {
        Suite::Aes128Ccm => layout::CCM,
        _ => layout::CHACHA20_POLY1305,
    };
    let is_ccm = schedule.suite == Suite::Aes128Ccm;
    let seals = direction == Direction::Seal;
    // CCM authenticates the plaintext, ChaCha20-Poly1305 the ciphertext.
    let order = if is_ccm == seals { layout::HASH_CIPHER } else { layout::CIPHER_HASH };
    let first = schedule.memory.0.as_ptr();
    // SAFETY: (5) the second half is within the schedule.
    let second = unsafe { first.add(if is_ccm { layout::SCHEDULE_BYTES / 2 } else { 0 }) };
    let whole = message.whole().map(<[u8]>::as_ptr);
    let (into, len) = (message.into.as_mut_ptr(), message.into.len() as u64);
    // SAFETY: (1, 4) the place has this layout, and is the caller's.
    let job = unsafe { &mut *job.as_ptr() };
    (job.seal_keys, job.open_keys) = (first.cast(), second.cast());
    job.key_len = schedule.suite.key_bytes() as u64;
    (job.from, job.into) = (whole.unwrap_or(into.cast_const()), into);
    (job.cipher_offset, job.cipher_len) = (0, len);
    (job.hash_offset, job.hash_len) = (0, len);
    (job.nonce, job.nonce_len) = (message.nonce.0.as_ptr(), NONCE_BYTES as u64);
    (job.tag, job.tag_len) = (tag.as_mut_ptr(), TAG_BYTES as u64);
    (job.associated, job.associated_len) =
        (message.associated.as_ptr(), message.associated.len() as u64);
    job.context = std::ptr::null();
    (job.cipher_mode, job.hash, job.order) = (mode, hash, order);
    job.direction = if seals { layout::ENCRYPT } else { layout::DECRYPT };
}

#[cfg(test)]
impl Library {
    /// Makes it seal AES-GCM with keys of so many bytes as if it were to open, which gives other
    /// tags.
    pub(crate) fn spoil(&mut self, key_bytes: usize) {
        let gcm = match key_bytes {
            16 => &mut self.functions.gcm_128,
            _ => &mut self.functions.gcm_256,
        };
        // Both functions take the same arguments.
        std::mem::swap(&mut gcm.seal, &mut gcm.open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_or_another_is_not_installed() {
        // The first is nowhere; the second is everywhere, and has none of the functions.
        for file in ["libsealift-absent.so.0", "libc.so.6"] {
            match Library::open_file(file).map(drop) {
                Err(Unavailable::NotInstalled { why }) => {
                    let says = ["libsealift-absent", "imb_get_version"];
                    assert!(says.iter().any(|word| why.contains(word)), "{why}");
                }
                other => panic!("{file}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_version_that_is_not_known_is_refused_by_its_name() {
        assert_eq!(known(0x1_03_00), Ok(()));
        for (version, name) in [(0x1_05_00, "1.5.0"), (0x2_00_01, "2.0.1"), (0x1_03_01, "1.3.1")] {
            let found = name.to_owned();
            assert_eq!(known(version), Err(Unavailable::UnknownVersion { found }));
        }
    }
}
