//! No key is left in memory that was given back.
//!
//! Truth: an allocator that looks through each block as it is freed. Every block is zeroed before
//! it is handed out, so that all of it may be read. There is one test here, so that nobody else
//! frees a secret meanwhile. What aws-lc holds is not this allocator's; it wipes what it frees.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};

use sealift_crypto::{
    Coprocessor, Engine, Inline, IpsecMb, Job, Key, Limits, Nonce, Payload, Router, Suite,
    TAG_BYTES, Unit, Workers,
};

#[path = "../../sealift-io/tests/support/skip.rs"]
mod skip;

/// No two bytes of a key are alike, and none is by accident what a program has in its memory.
const SECRET: [u8; 32] = *b"\xd1\x5e\xc2\xe7\x9a\x03\xb8\x4f\x6c\xf1\x27\x8d\xe4\x50\xab\x19\
    \x3d\x92\xf6\x0b\xc8\x71\xda\x45\xbe\x14\x83\x69\xfc\x2a\xe0\x57";
const HALF: usize = SECRET.len() / 2;

/// Blocks that were freed with half a secret or more inside.
static FOUND: AtomicUsize = AtomicUsize::new(0);

struct Searching;

unsafe extern "C" {
    fn memmem(
        hay: *const c_void,
        len: usize,
        needle: *const c_void,
        needle_len: usize,
    ) -> *mut c_void;
}

// SAFETY: every block comes from the system's allocator and goes back to it, with its own layout.
unsafe impl GlobalAlloc for Searching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `alloc`'s contract, which is `alloc_zeroed`'s too.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        for needle in [&SECRET[..HALF], &SECRET[HALF..]] {
            // SAFETY: the block has this size, is initialised, and is nobody's but the allocator's.
            let found = unsafe {
                memmem(pointer.cast(), layout.size(), needle.as_ptr().cast(), needle.len())
            };
            FOUND.fetch_add(usize::from(!found.is_null()), Ordering::Relaxed);
        }
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static SEARCHING: Searching = Searching;

fn found() -> usize {
    FOUND.swap(0, Ordering::Relaxed)
}

type AnyEngine = Box<dyn Engine<&'static [u8], Vec<u8>>>;

fn engines() -> Vec<(&'static str, AnyEngine)> {
    let device = || Coprocessor::builder().loses_once_in(2);
    let mut engines: Vec<(&str, AnyEngine)> = vec![
        ("inline", Box::new(Inline::new())),
        ("workers", Box::new(Workers::builder().batch(1, 1).build().unwrap())),
        ("coprocessor", Box::new(device().build().unwrap())),
        ("router", {
            let builder = Router::builder().always_offloads().offload_from(1, 1);
            Box::new(builder.build(device().build().unwrap()).unwrap())
        }),
    ];
    match IpsecMb::open() {
        Ok(engine) => engines.push(("ipsec-mb", Box::new(engine))),
        Err(error) => skip::skip("no_key_is_left_in_memory: ipsec-mb", &error.to_string()),
    }
    engines
}

/// Eight jobs of one key each way, some of which may still be out.
fn use_key(engine: &mut AnyEngine, suite: Suite) {
    let key = Key::new(suite, &SECRET[..suite.key_bytes()], Limits::tls(suite)).unwrap();
    let job = |at: u64| {
        let unit = Unit::new(Nonce::of(&[0; 12], at), 0..50, 0);
        let payload = Payload::Apart { source: &[1; 50][..], destination: vec![0; 50 + TAG_BYTES] };
        Job::seal(&key, payload, [unit].into_iter().collect(), at).unwrap()
    };
    let mut jobs: VecDeque<_> = (0..8).map(job).collect();
    engine.submit(&mut jobs);
    assert!(jobs.is_empty());
    drop(key);
    engine.poll(&mut VecDeque::new());
}

#[test]
fn no_key_is_left_in_memory() {
    found();
    drop(std::hint::black_box(SECRET.to_vec()));
    assert_eq!(found(), 2, "the search finds a secret");
    drop(std::hint::black_box([&[7; 99][..], &SECRET[..HALF], &[7; 99]].concat()));
    assert_eq!(found(), 1, "the search finds half of one");

    for (name, mut engine) in engines() {
        for suite in Suite::ALL {
            use_key(&mut engine, suite);
        }
        drop(engine);
        assert_eq!(found(), 0, "{name}: blocks with a key");
    }
}
