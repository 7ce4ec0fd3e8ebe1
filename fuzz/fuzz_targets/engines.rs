//! See `sealift_crypto::fuzzing::engines`.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| sealift_crypto::fuzzing::engines(script));
