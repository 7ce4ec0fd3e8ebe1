//! See `sealift_io::fuzzing::notifications`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sealift_io::fuzzing::notifications(input));
