//! What tests of kernel TLS ask of the kernel, and of us.

use sealift_io::ktls::KernelTls;
use sealift_tls::{Ktls, TlsStream, TlsStreamBuilder};

use super::skip::skip;
use super::tcp_pair;

/// Whether the kernel has TLS; the test is skipped if not.
pub fn has_kernel_tls(test: &str) -> bool {
    let attached = KernelTls::attach(tcp_pair().0);
    if let Err(why) = &attached {
        skip(test, &why.to_string());
    }
    attached.is_ok()
}

/// From Linux 6.14 on, a TLS 1.3 key can be changed.
pub fn kernel_changes_keys() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split('.').map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(14))
}

pub fn on() -> TlsStreamBuilder {
    TlsStream::builder().ktls(Ktls::On)
}
