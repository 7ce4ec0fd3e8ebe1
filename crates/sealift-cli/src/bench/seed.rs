//! The table of the proposal that Sealift started from, to stand beside ours.
//!
//! Pavel Begunkov, '[RFC 00/12] io_uring zerocopy send', 30 November 2021, Message-Id
//! `cover.1638282789.git.asml.silence@gmail.com`: UDP over IPv4 to a dummy device.

/// The payload of the seed's table.
pub(crate) const PAYLOAD_BYTES: usize = 65_435;

/// The unit of the seed's table: its programs print bytes divided by 2^20 as 'MB'.
pub(crate) const UNIT_BYTES: f64 = 1_048_576.0;

/// Where the table is.
pub(crate) const LINK: &str =
    "https://lore.kernel.org/all/cover.1638282789.git.asml.silence@gmail.com/";

/// One line of the table.
pub(crate) struct Line {
    /// The test, as the seed words it.
    pub(crate) test: &'static str,
    /// In the seed's unit.
    pub(crate) rate: u32,
    /// Against line 2.
    pub(crate) speedup: f64,
    /// Our row that does the same work.
    pub(crate) ours: &'static str,
}

const fn line(test: &'static str, rate: u32, speedup: f64, ours: &'static str) -> Line {
    Line { test, rate, speedup, ours }
}

/// The six lines. The kernel that was merged posts a notification for each send, as `@flush=true`
/// did; it has nothing that corresponds to `@flush=false`, so two lines of the seed meet one of
/// ours.
pub(crate) const LINES: [Line; 6] = [
    line("msg_zerocopy (non-zc)", 18_281, 0.38, "copy"),
    line("msg_zerocopy -z (baseline)", 47_421, 1.0, "msg-zerocopy"),
    line("io_uring (@flush=false, nr_reqs=1)", 96_534, 2.03, "uring-zc-fixed-1"),
    line("io_uring (@flush=true, nr_reqs=1)", 89_310, 1.88, "uring-zc-fixed-1"),
    line("io_uring (@flush=false, nr_reqs=8)", 116_079, 2.44, "uring-zc-fixed-8"),
    line("io_uring (@flush=true, nr_reqs=8)", 109_722, 2.31, "uring-zc-fixed-8"),
];

/// What the seed's baseline really did: see [`NOTE`].
pub(crate) const UNREAD: &str = "msg-zerocopy-unread";

/// A caution that belongs under the table wherever it is shown.
pub(crate) const NOTE: &str = "The kernel’s selftest of 2021, the seed’s line 2, polls after each \
    send but reads its error queue only when the socket is full, which never happens on a sink. \
    The row msg-zerocopy-unread does just that; msg-zerocopy also reads the queue after each send, \
    as a program must that wants its buffers back.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speedups_are_those_of_the_rates() {
        for line in &LINES {
            let speedup = f64::from(line.rate) / f64::from(LINES[1].rate);
            // The seed rounds down here and there.
            assert!((speedup - line.speedup).abs() < 0.011, "{}", line.test);
        }
    }
}
