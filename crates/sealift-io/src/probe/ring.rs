//! What io_uring can do here, asked once per process: the sender chooses its backend by it.
//!
//! Every answer comes from the running kernel. The version number only adds a 'no' where a
//! kernel accepts a request that it is known to get wrong.

use std::sync::OnceLock;

use io_uring::opcode::{SendMsgZc, SendZc};

use super::finding::Finding;
use super::proc::{self, Release};
use crate::error::Errno;
use crate::sys::ring_probe::{self, Outcome, Request, RingProbe, Setup};

/// The answers, cheap to read after the first call of [`ring_features`].
#[derive(Clone, Debug)]
pub(crate) struct RingFeatures {
    /// A ring can be set up at all.
    pub(crate) available: Finding,
    /// `SEND_ZC` (6.0).
    pub(crate) send_zc: Finding,
    /// `SENDMSG_ZC` (6.1).
    pub(crate) sendmsg_zc: Finding,
    /// Notifications say whether the kernel copied (6.2).
    pub(crate) report_usage: Finding,
    /// `SEND_ZC` out of a registered buffer (6.0).
    pub(crate) fixed_send_zc: Finding,
    /// `SENDMSG_ZC` out of a registered buffer (6.15; trusted from 6.18 on).
    pub(crate) fixed_sendmsg_zc: Finding,
    /// `SEND_ZC` of an array of `iovec` (6.17).
    pub(crate) vectorized: Finding,
    /// Task work without interrupts (5.19).
    pub(crate) coop_taskrun: Finding,
    /// A ring with one submitter (6.0).
    pub(crate) single_issuer: Finding,
    /// Task work run only when the owner waits (6.1).
    pub(crate) defer_taskrun: Finding,
    /// A buffer table shared between rings (6.12).
    pub(crate) cloned_buffers: Finding,
}

/// What io_uring can do here, asked at the first call.
pub(crate) fn ring_features() -> &'static RingFeatures {
    static FEATURES: OnceLock<RingFeatures> = OnceLock::new();
    FEATURES.get_or_init(RingFeatures::ask)
}

/// A feature's name, its title for people, and the kernel that brought it.
#[derive(Clone, Copy)]
struct Feature(&'static str, &'static str, &'static str);

const AVAILABLE: Feature = Feature("io_uring.available", "io_uring", "5.6");
const SEND_ZC: Feature = Feature("io_uring.send_zc", "SEND_ZC", "6.0");
const SENDMSG_ZC: Feature = Feature("io_uring.sendmsg_zc", "SENDMSG_ZC", "6.1");
const REPORT_USAGE: Feature = Feature("io_uring.report_usage", "copies reported", "6.2");
const FIXED_SEND_ZC: Feature = Feature("io_uring.fixed_send_zc", "SEND_ZC, fixed", "6.0");
const FIXED_SENDMSG_ZC: Feature = Feature("io_uring.fixed_sendmsg_zc", "SENDMSG_ZC, fixed", "6.18");
const VECTORIZED: Feature = Feature("io_uring.vectorized", "SEND_ZC, vectorized", "6.17");
const COOP_TASKRUN: Feature = Feature("io_uring.coop_taskrun", "COOP_TASKRUN", "5.19");
const SINGLE_ISSUER: Feature = Feature("io_uring.single_issuer", "SINGLE_ISSUER", "6.0");
const DEFER_TASKRUN: Feature = Feature("io_uring.defer_taskrun", "DEFER_TASKRUN", "6.1");
const CLONED_BUFFERS: Feature = Feature("io_uring.cloned_buffers", "cloned buffer tables", "6.12");

/// The first kernel whose fixed-buffer `SENDMSG_ZC` keeps the buffers as long as it must.
const FIXED_SENDMSG_TRUSTED: Release = Release { major: 6, minor: 18 };

impl RingFeatures {
    fn ask() -> Self {
        match RingProbe::open() {
            Ok(probe) => Self::ask_ring(probe),
            Err(errno) => Self::none(errno),
        }
    }

    fn ask_ring(mut probe: RingProbe) -> Self {
        let operations = format!("{} operations", probe.operation_count());
        let has_send = probe.has_operation(SendZc::CODE);
        let has_message = probe.has_operation(SendMsgZc::CODE);
        let buffer = probe.register_buffer();
        let mut send = |feature: Feature, request: Request| {
            let (operation, needed) = match request {
                Request::Message | Request::MessageFixed => (has_message, SENDMSG_ZC),
                _ => (has_send, SEND_ZC),
            };
            let fixed = matches!(request, Request::SendFixed | Request::MessageFixed);
            match (operation, buffer) {
                (false, _) => feature.no(format!("the kernel has no {}", needed.1)),
                (true, Err(errno)) if fixed => feature.unasked("register a buffer", errno),
                (true, _) => feature.judge(probe.send(request)),
            }
        };
        Self {
            available: AVAILABLE.yes().detail(operations),
            send_zc: send(SEND_ZC, Request::Send),
            sendmsg_zc: send(SENDMSG_ZC, Request::Message),
            report_usage: send(REPORT_USAGE, Request::SendReportUsage),
            fixed_send_zc: send(FIXED_SEND_ZC, Request::SendFixed),
            fixed_sendmsg_zc: distrust_before(
                FIXED_SENDMSG_TRUSTED,
                proc::kernel_release(),
                send(FIXED_SENDMSG_ZC, Request::MessageFixed),
            ),
            vectorized: send(VECTORIZED, Request::SendVectorized),
            coop_taskrun: COOP_TASKRUN.judge(ring_probe::setup(Setup::CoopTaskrun)),
            single_issuer: SINGLE_ISSUER.judge(ring_probe::setup(Setup::SingleIssuer)),
            defer_taskrun: DEFER_TASKRUN.judge(ring_probe::setup(Setup::DeferTaskrun)),
            cloned_buffers: match buffer {
                Ok(_) => CLONED_BUFFERS.judge(probe.clone_buffers()),
                Err(errno) => CLONED_BUFFERS.unasked("register a buffer", errno),
            },
        }
    }

    /// The answers where no ring can be set up.
    fn none(errno: Errno) -> Self {
        let no = |feature: Feature| Finding::no(feature.0, feature.1, "no io_uring");
        Self {
            available: unavailable(errno, proc::io_uring_disabled(), proc::seccomp_filters()),
            send_zc: no(SEND_ZC),
            sendmsg_zc: no(SENDMSG_ZC),
            report_usage: no(REPORT_USAGE),
            fixed_send_zc: no(FIXED_SEND_ZC),
            fixed_sendmsg_zc: no(FIXED_SENDMSG_ZC),
            vectorized: no(VECTORIZED),
            coop_taskrun: no(COOP_TASKRUN),
            single_issuer: no(SINGLE_ISSUER),
            defer_taskrun: no(DEFER_TASKRUN),
            cloned_buffers: no(CLONED_BUFFERS),
        }
    }

    /// Every answer, in the order in which people read them.
    pub(crate) fn findings(&self) -> [&Finding; 11] {
        [
            &self.available,
            &self.send_zc,
            &self.fixed_send_zc,
            &self.vectorized,
            &self.sendmsg_zc,
            &self.fixed_sendmsg_zc,
            &self.report_usage,
            &self.cloned_buffers,
            &self.coop_taskrun,
            &self.single_issuer,
            &self.defer_taskrun,
        ]
    }
}

impl Feature {
    fn yes(self) -> Finding {
        Finding::yes(self.0, self.1)
    }

    fn no(self, reason: impl Into<String>) -> Finding {
        Finding::no(self.0, self.1, reason).remedy(format!("Linux {} or newer", self.2))
    }

    fn unasked(self, step: &str, errno: Errno) -> Finding {
        let unknown = Finding::unknown(self.0, self.1, format!("cannot {step}: {errno}"));
        match errno.raw() {
            libc::ENOMEM | libc::EAGAIN => unknown.remedy("raise RLIMIT_MEMLOCK (ulimit -l)"),
            _ => unknown,
        }
    }

    /// A request that reached the socket is known to the kernel, whatever the socket said.
    fn judge(self, outcome: Outcome) -> Finding {
        match outcome.map_err(Errno::raw) {
            Ok(_) | Err(libc::EDESTADDRREQ | libc::ENOTCONN | libc::EPIPE) => self.yes(),
            Err(libc::EINVAL) => self.no("the kernel rejects it (EINVAL)"),
            Err(libc::EOPNOTSUPP) => self.no("the kernel does not support it (EOPNOTSUPP)"),
            Err(raw) => self.unasked("ask", Errno::from_raw(raw)),
        }
    }
}

fn distrust_before(trusted: Release, running: Option<Release>, finding: Finding) -> Finding {
    if !finding.is_yes() {
        return finding;
    }
    match running {
        Some(running) if running >= trusted => finding,
        Some(running) => Finding::no(
            finding.name,
            finding.title,
            format!("Linux {running} accepts it but may reuse the buffers too early"),
        )
        .remedy(format!("Linux {trusted} or newer")),
        None => Finding::unknown(
            finding.name,
            finding.title,
            format!("accepted, but the kernel does not say that it is {trusted} or newer"),
        ),
    }
}

/// Why `io_uring_setup` failed, and what to do about it.
fn unavailable(errno: Errno, disabled: Option<u32>, seccomp: bool) -> Finding {
    let no = |reason: String| Finding::no(AVAILABLE.0, AVAILABLE.1, reason);
    match (errno.raw(), disabled) {
        (libc::EPERM, Some(level @ 1..)) => no(format!(
            "switched off by sysctl kernel.io_uring_disabled={level}"
        ))
        .remedy(match level {
            1 => "join the group of sysctl kernel.io_uring_group, or set the first to 0",
            _ => "sysctl kernel.io_uring_disabled=0",
        }),
        (libc::EPERM | libc::ENOSYS, _) if seccomp => {
            no(format!("a seccomp filter forbids it ({errno})"))
                .remedy("allow io_uring_setup, _enter and _register in the container's profile")
        }
        (libc::ENOSYS, _) => no("the kernel has none (ENOSYS)".into())
            .remedy("a kernel built with CONFIG_IO_URING, 5.6 or newer"),
        (libc::EPERM | libc::EACCES, _) => no(format!("the security policy forbids it ({errno})"))
            .remedy("allow io_uring in the SELinux or other policy"),
        (libc::ENOMEM, _) => {
            no(format!("io_uring_setup: {errno}")).remedy("raise RLIMIT_MEMLOCK (ulimit -l)")
        }
        _ => no(format!("io_uring_setup: {errno}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Verdict;
    use crate::skip_log::skip;

    fn errno(raw: i32) -> Errno {
        Errno::from_raw(raw)
    }

    #[test]
    fn reaching_the_socket_means_yes_and_einval_means_no() {
        assert_eq!(VECTORIZED.judge(Err(errno(libc::EDESTADDRREQ))).verdict, Verdict::Yes);
        assert_eq!(VECTORIZED.judge(Ok(8)).verdict, Verdict::Yes);
        let no = VECTORIZED.judge(Err(errno(libc::EINVAL)));
        assert_eq!(no.verdict, Verdict::No);
        assert_eq!(no.remedy.as_deref(), Some("Linux 6.17 or newer"));
        assert_eq!(VECTORIZED.judge(Err(errno(libc::ENOMEM))).verdict, Verdict::Unknown);
    }

    #[test]
    fn fixed_messages_are_distrusted_before_6_18() {
        let accepted = || FIXED_SENDMSG_ZC.yes();
        let judge = |running| distrust_before(FIXED_SENDMSG_TRUSTED, running, accepted());
        assert_eq!(judge(Some(Release { major: 6, minor: 17 })).verdict, Verdict::No);
        assert_eq!(judge(Some(Release { major: 6, minor: 18 })).verdict, Verdict::Yes);
        assert_eq!(judge(Some(Release { major: 7, minor: 0 })).verdict, Verdict::Yes);
        assert_eq!(judge(None).verdict, Verdict::Unknown);
    }

    #[test]
    fn a_missing_ring_says_who_forbade_it() {
        let by_sysctl = unavailable(errno(libc::EPERM), Some(2), true);
        assert!(by_sysctl.reason.is_some_and(|reason| reason.contains("io_uring_disabled=2")));
        let by_filter = unavailable(errno(libc::ENOSYS), Some(0), true);
        assert!(by_filter.reason.is_some_and(|reason| reason.contains("seccomp")));
        let old = unavailable(errno(libc::ENOSYS), None, false);
        assert!(old.remedy.is_some_and(|remedy| remedy.contains("CONFIG_IO_URING")));
    }

    #[test]
    fn a_new_enough_kernel_has_everything() {
        let features = ring_features();
        if !features.available.is_yes() {
            let reason = features.available.reason.as_deref().unwrap_or_default();
            return skip("a_new_enough_kernel_has_everything", reason);
        }
        let running = proc::kernel_release().expect("a release of two numbers");
        let expected = [
            (&features.send_zc, SEND_ZC),
            (&features.fixed_send_zc, FIXED_SEND_ZC),
            (&features.vectorized, VECTORIZED),
            (&features.sendmsg_zc, SENDMSG_ZC),
            (&features.fixed_sendmsg_zc, FIXED_SENDMSG_ZC),
            (&features.report_usage, REPORT_USAGE),
            (&features.cloned_buffers, CLONED_BUFFERS),
            (&features.coop_taskrun, COOP_TASKRUN),
            (&features.single_issuer, SINGLE_ISSUER),
            (&features.defer_taskrun, DEFER_TASKRUN),
        ];
        for (finding, feature) in expected {
            let since = Release::parse(feature.2).expect("a release");
            // Distributions carry some of them back: Debian's 6.1 reports copies.
            assert!(finding.is_yes() || running < since, "Linux {running}: {finding:?}");
        }
    }
}
