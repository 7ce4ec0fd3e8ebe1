//! See `sealift_io::fuzzing::control_messages`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sealift_io::fuzzing::control_messages(input));
