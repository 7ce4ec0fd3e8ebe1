//! See `sealift_io::fuzzing::machine`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sealift_io::fuzzing::machine(input));
