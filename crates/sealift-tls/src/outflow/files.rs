//! What a file has, sealed here.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use super::Outflow;
use crate::bulk::Bulk;
use crate::error::{Error, Result, Unfinished};
use crate::link::Link;

impl Outflow {
    /// Seals `range` of `file`, or as much of it as the file has; says how much that was, also if
    /// something went wrong. Only what was read is sealed, so a file that is cut meanwhile is sent
    /// as far as it went.
    pub(crate) fn write_file(
        &mut self,
        link: &Link,
        file: BorrowedFd<'_>,
        range: Range<u64>,
        deadline: Instant,
    ) -> Result<u64, Unfinished> {
        self.begin(link, deadline)?;
        if self.bulk.as_ref().is_some_and(Bulk::seals_in_place) {
            return self.write_file_elsewhere(link, file, range, deadline);
        }
        let mut at = range.start;
        let mut is_cut = false;
        let mut sent = Ok(());
        while at < range.end && !is_cut && sent.is_ok() {
            sent = self.send_lease(link, Self::queue_lease, deadline, |outflow, into| {
                let most = outflow.most_plaintext_bytes as u64;
                let len = range.end.saturating_sub(at).min(most) as usize;
                if len == 0 || is_cut || into.len() < outflow.sealing.record_bytes(len) {
                    return Ok(0);
                }
                let text = outflow.sealing.text_range(len);
                let count = read_whole(file, at, &mut into[text])?;
                is_cut = count < len;
                if count == 0 {
                    return Ok(0);
                }
                at += count as u64;
                outflow.count(count);
                outflow.sealing.seal_placed(count, into)
            });
        }
        let left = self.finish(link, deadline);
        Unfinished::unless(sent.and(left), at - range.start)
    }
}

/// Reads as much of `into` as the file has from `at` on.
pub(crate) fn read_whole(file: BorrowedFd<'_>, at: u64, into: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match rustix::io::pread(file, &mut into[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                let errno = errno.into();
                return Err(Error::Io(sealift_io::Error::System { call: "pread", errno }));
            }
        }
    }
    Ok(filled)
}
