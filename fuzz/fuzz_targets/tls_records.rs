//! See `sealift_tls::fuzzing::tls_records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sealift_tls::fuzzing::tls_records(input));
