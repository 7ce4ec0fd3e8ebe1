//! Which instructions for cryptography the processor has.

use super::finding::Finding;

/// Every answer about the processor, in the order in which people read them.
pub(super) fn findings() -> Vec<Finding> {
    detected()
        .into_iter()
        .map(|(name, title, present)| match present {
            true => Finding::yes(name, title),
            false => Finding::no(name, title, "the processor, or its emulator, has none"),
        })
        .collect()
}

#[cfg(target_arch = "x86_64")]
fn detected() -> Vec<(&'static str, &'static str, bool)> {
    use std::is_x86_feature_detected as has;
    vec![
        ("cpu.aes", "AES-NI", has!("aes")),
        ("cpu.vaes", "VAES", has!("vaes")),
        ("cpu.pclmulqdq", "PCLMULQDQ", has!("pclmulqdq")),
        ("cpu.vpclmulqdq", "VPCLMULQDQ", has!("vpclmulqdq")),
        ("cpu.avx2", "AVX2", has!("avx2")),
        ("cpu.avx512", "AVX-512 (F, BW, VL)", {
            has!("avx512f") && has!("avx512bw") && has!("avx512vl")
        }),
        ("cpu.sha", "SHA", has!("sha")),
        ("cpu.crc32c", "CRC32C (SSE 4.2)", has!("sse4.2")),
    ]
}

#[cfg(target_arch = "aarch64")]
fn detected() -> Vec<(&'static str, &'static str, bool)> {
    use std::arch::is_aarch64_feature_detected as has;
    vec![
        ("cpu.aes", "AES", has!("aes")),
        ("cpu.pmull", "PMULL", has!("pmull")),
        ("cpu.sha2", "SHA-2", has!("sha2")),
        ("cpu.sha3", "SHA-3", has!("sha3")),
        ("cpu.sve", "SVE", has!("sve")),
        ("cpu.sve2_aes", "SVE2 AES", has!("sve2-aes")),
        ("cpu.crc32c", "CRC32C", has!("crc")),
    ]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detected() -> Vec<(&'static str, &'static str, bool)> {
    Vec::new()
}
