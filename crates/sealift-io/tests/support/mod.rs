//! What the integration tests share: honest skips, sockets, bytes to send, and the kernel asked
//! directly.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

pub mod pattern;
pub mod process;
pub mod raw;
mod skip;
mod sockets;

pub use skip::skip;
#[allow(unused_imports, reason = "each test program uses its part")]
pub use sockets::*;

/// Runs a test on a thread in a network namespace of its own, or says why it cannot.
#[cfg(feature = "sandbox")]
pub fn in_sandbox(name: &str, test: impl FnOnce(&mut sealift_io::sandbox::Sandbox) + Send) {
    use sealift_io::sandbox::Sandbox;

    std::thread::scope(|scope| {
        let thread = scope.spawn(|| match Sandbox::enter_thread() {
            Ok(mut sandbox) => test(&mut sandbox),
            Err(error) => skip(name, &error.to_string()),
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// What an optional part of the kernel gave; without that part `None`, said as a skip.
pub fn if_kernel_has<T>(name: &str, part: sealift_io::Result<T>) -> Option<T> {
    let absent = |error: &sealift_io::Error| {
        let raw = error.errno().map(|errno| errno.raw());
        matches!(raw, Some(libc::EOPNOTSUPP | libc::ENOENT | libc::ENODEV | libc::EAFNOSUPPORT))
    };
    match part {
        Ok(part) => Some(part),
        Err(error) if absent(&error) => {
            skip(name, &error.to_string());
            None
        }
        Err(error) => panic!("{name}: {error}"),
    }
}
