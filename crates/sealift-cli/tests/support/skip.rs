//! Honest skips.
#![allow(unreachable_pub, clippy::expect_used, reason = "shared by the tests")]

use std::io::Write;

/// Says that a test did not run and why, and adds it to the run's list of skips
/// (`SEALIFT_SKIP_LOG`, one `name<TAB>reason` a line). If a part of it did not run, `name` is
/// `test: part`.
pub fn skip(name: &str, reason: &str) {
    println!("SKIPPED {name}: {reason}");
    let Some(path) = std::env::var_os("SEALIFT_SKIP_LOG") else { return };
    let line = format!("{name}\t{}\n", reason.replace(['\t', '\n'], " "));
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
    // One write, so that the lines of tests that run at once do not mix.
    opened.and_then(|mut log| log.write_all(line.as_bytes())).expect("write SEALIFT_SKIP_LOG");
}
