//! See `sealift_io::fuzzing::system_files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| sealift_io::fuzzing::system_files(text));
