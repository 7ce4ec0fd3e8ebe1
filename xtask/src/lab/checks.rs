//! Extra checks: commands that the machine runs after the tests. One row each.

/// A shell line, and what its output must contain.
#[derive(Debug)]
pub(crate) struct Check {
    /// Letters, digits and '-': it becomes a file name in the machine.
    pub(crate) name: &'static str,
    /// Run by busybox's shell with the functions of `lab/shell`; it must also exit with 0.
    pub(crate) line: &'static str,
    pub(crate) expected: &'static str,
}

const fn check(name: &'static str, line: &'static str, expected: &'static str) -> Check {
    Check { name, line, expected }
}

/// All extra checks, in the order in which they run.
pub(crate) const CHECKS: [Check; 10] = [
    check("probe-json", "sealift probe --json", "\"kernel\""),
    check("probe-to-loopback", "sealift probe --to 127.0.0.1", "loopback"),
    check("send-auto", "transfer auto tcp://127.0.0.1:7001", "same bytes"),
    check("send-uring", "transfer uring tcp://127.0.0.1:7002", "same bytes"),
    check("send-msg-zerocopy", "transfer msg-zerocopy tcp://[::1]:7003", "same bytes"),
    check("send-copy", "transfer copy tcp://127.0.0.1:7004", "same bytes"),
    check("send-unix", "transfer auto unix:/tmp/lab.socket", "same bytes"),
    check("ktls-both", "sealed on tls://127.0.0.1:7005 on 'sealed by the kernel'", "same bytes"),
    check("ktls-sender", "sealed off tls://127.0.0.1:7006 on 'sealed by the kernel'", "same bytes"),
    check(
        "ktls-auto",
        "sealed on tls://127.0.0.1:7007 auto 'lo does not offload TLS'",
        "same bytes",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_file_names() {
        for (index, check) in CHECKS.iter().enumerate() {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            assert!(check.name.bytes().all(plain), "{}", check.name);
            assert!(CHECKS[..index].iter().all(|other| other.name != check.name));
            assert!(!check.expected.is_empty());
        }
    }
}
