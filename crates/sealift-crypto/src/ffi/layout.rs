//! Structures of Intel's multi-buffer library 1.3.0, as its `intel-ipsec-mb.h` has them.
//!
//! Only what is used has a name. The offsets are those that a C compiler gives; a wrong one does
//! not compile.

use std::ffi::{c_int, c_void};
use std::mem::offset_of;

/// `IMB_VERSION_NUM` of the version whose structures these are.
pub(super) const VERSION: u32 = 0x1_03_00;
/// `IMB_FEATURE_SELF_TEST_PASS`: the library tested itself and was right.
pub(super) const SELF_TEST_PASS: u64 = 1 << 21;
/// `IMB_STATUS_COMPLETED`.
pub(super) const COMPLETED: c_int = 3;
/// `IMB_CIPHER_CCM` and `IMB_AUTH_AES_CCM`.
pub(super) const CCM: (c_int, c_int) = (9, 11);
/// `IMB_CIPHER_CHACHA20_POLY1305` and `IMB_AUTH_CHACHA20_POLY1305`.
pub(super) const CHACHA20_POLY1305: (c_int, c_int) = (19, 29);
/// `IMB_DIR_ENCRYPT` and `IMB_DIR_DECRYPT`.
pub(super) const ENCRYPT: c_int = 1;
pub(super) const DECRYPT: c_int = 2;
/// `IMB_ORDER_CIPHER_HASH` and `IMB_ORDER_HASH_CIPHER`.
pub(super) const CIPHER_HASH: c_int = 1;
pub(super) const HASH_CIPHER: c_int = 2;

/// `struct gcm_key_data` (1,008 bytes), or what the other suites prepare.
pub(super) const SCHEDULE_BYTES: usize = 1024;
/// `struct gcm_context_data` (88 bytes).
pub(super) const CONTEXT_BYTES: usize = 128;

/// Memory aligned as the library's structures want it.
#[repr(C, align(64))]
pub(super) struct Aligned<const N: usize>(pub(super) [u8; N]);

/// `alloc_mb_mgr`.
pub(super) type Allocate = unsafe extern "C" fn(u64) -> *mut Manager;
/// `init_mb_mgr_auto`: the manager, and where to write the architecture that was chosen, or null.
pub(super) type Initialise = unsafe extern "C" fn(*mut Manager, *mut c_int);
/// `free_mb_mgr`.
pub(super) type Free = unsafe extern "C" fn(*mut Manager);
/// `aes_gcm_pre_t`.
pub(super) type GcmPrepare = unsafe extern "C" fn(*const c_void, *mut c_void);
/// `aes_gcm_enc_dec_t`: key, context, out, in, length, nonce, associated data, its length, tag, its
/// length.
pub(super) type GcmWhole = unsafe extern "C" fn(
    *const c_void,
    *mut c_void,
    *mut u8,
    *const u8,
    u64,
    *const u8,
    *const u8,
    u64,
    *mut u8,
    u64,
);
/// `aes_gcm_init_t`: key, context, nonce, associated data, its length.
pub(super) type GcmBegin =
    unsafe extern "C" fn(*const c_void, *mut c_void, *const u8, *const u8, u64);
/// `aes_gcm_enc_dec_update_t`: key, context, out, in, length.
pub(super) type GcmUpdate =
    unsafe extern "C" fn(*const c_void, *mut c_void, *mut u8, *const u8, u64);
/// `aes_gcm_enc_dec_finalize_t`: key, context, tag, its length.
pub(super) type GcmFinish = unsafe extern "C" fn(*const c_void, *mut c_void, *mut u8, u64);
/// `keyexp_t`: key, schedule to encrypt, schedule to decrypt.
pub(super) type ExpandKey = unsafe extern "C" fn(*const c_void, *mut c_void, *mut c_void);
/// `get_next_job_t`, `submit_job_t`, `flush_job_t`.
pub(super) type WithJob = unsafe extern "C" fn(*mut Manager) -> *mut Job;

/// `IMB_MGR`, as far as it is read. Key sizes are 128, 192 and 256 bits.
#[repr(C)]
pub(super) struct Manager {
    flags: u64,
    pub(super) features: u64,
    reserved: [u64; 5],
    used_arch: u32,
    pub(super) errno: c_int,
    pub(super) next_job: Option<WithJob>,
    pub(super) submit_job: Option<WithJob>,
    submit_job_nocheck: usize,
    get_completed_job: usize,
    pub(super) flush_job: Option<WithJob>,
    queue_size: usize,
    pub(super) expand_key_128: Option<ExpandKey>,
    others: [usize; 17],
    pub(super) gcm_seal: [Option<GcmWhole>; 3],
    pub(super) gcm_open: [Option<GcmWhole>; 3],
    pub(super) gcm_begin: [Option<GcmBegin>; 3],
    pub(super) gcm_seal_update: [Option<GcmUpdate>; 3],
    pub(super) gcm_open_update: [Option<GcmUpdate>; 3],
    pub(super) gcm_seal_finish: [Option<GcmFinish>; 3],
    pub(super) gcm_open_finish: [Option<GcmFinish>; 3],
    gcm_precompute: [usize; 3],
    pub(super) gcm_prepare: [Option<GcmPrepare>; 3],
}

/// `IMB_JOB`.
#[repr(C)]
pub(super) struct Job {
    pub(super) seal_keys: *const c_void,
    pub(super) open_keys: *const c_void,
    pub(super) key_len: u64,
    pub(super) from: *const u8,
    pub(super) into: *mut u8,
    pub(super) cipher_offset: u64,
    pub(super) cipher_len: u64,
    pub(super) hash_offset: u64,
    pub(super) hash_len: u64,
    pub(super) nonce: *const u8,
    pub(super) nonce_len: u64,
    pub(super) tag: *mut u8,
    pub(super) tag_len: u64,
    /// The union `u`: CCM and ChaCha20-Poly1305 begin alike.
    pub(super) associated: *const u8,
    pub(super) associated_len: u64,
    pub(super) context: *const c_void,
    pub(super) status: c_int,
    pub(super) cipher_mode: c_int,
    pub(super) direction: c_int,
    pub(super) hash: c_int,
    pub(super) order: c_int,
    user_data: [*mut c_void; 2],
    functions: [usize; 2],
    sgl_state: c_int,
    cipher_fields: *mut c_void,
}

const _: () = {
    assert!(offset_of!(Manager, features) == 8);
    assert!(offset_of!(Manager, errno) == 60);
    assert!(offset_of!(Manager, next_job) == 64);
    assert!(offset_of!(Manager, submit_job) == 72);
    assert!(offset_of!(Manager, flush_job) == 96);
    assert!(offset_of!(Manager, expand_key_128) == 112);
    assert!(offset_of!(Manager, gcm_seal) == 256);
    assert!(offset_of!(Manager, gcm_begin) == 304);
    assert!(offset_of!(Manager, gcm_seal_update) == 328);
    assert!(offset_of!(Manager, gcm_seal_finish) == 376);
    assert!(offset_of!(Manager, gcm_prepare) == 448);
    assert!(offset_of!(Job, from) == 24);
    assert!(offset_of!(Job, cipher_len) == 48);
    assert!(offset_of!(Job, nonce) == 72);
    assert!(offset_of!(Job, tag) == 88);
    assert!(offset_of!(Job, associated) == 104);
    assert!(offset_of!(Job, status) == 128);
    assert!(offset_of!(Job, order) == 144);
    assert!(offset_of!(Job, user_data) == 152);
    assert!(offset_of!(Job, sgl_state) == 184);
    assert!(size_of::<Job>() == 200);
};
