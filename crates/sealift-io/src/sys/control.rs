//! Control messages (`cmsg(3)`): written for sends, parsed without trust for receives.
//!
//! On the wire between kernel and process a control message is a header `{ length: usize,
//! level: i32, type: i32 }`, its data, and padding to eight bytes.

/// Length, level and type.
const HEADER_BYTES: usize = 16;
/// `UDP_SEGMENT` and `UDP_GRO` of `linux/udp.h`.
pub(crate) const UDP_SEGMENT: i32 = 103;
pub(crate) const UDP_GRO: i32 = 104;
/// `SO_EE_ORIGIN_ZEROCOPY` and `SO_EE_CODE_ZEROCOPY_COPIED` of `linux/errqueue.h`.
const ORIGIN_ZEROCOPY: u8 = 5;
const CODE_ZEROCOPY_COPIED: u8 = 1;
/// `sizeof(struct sock_extended_err)`.
const EXTENDED_ERR_BYTES: usize = 16;

/// A zero-copy notification: `ee_info`, `ee_data` and whether the kernel copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notification {
    /// The first send of the inclusive range.
    pub(crate) first: u32,
    /// The last send; less than `first` where the counter wrapped.
    pub(crate) last: u32,
    /// `SO_EE_CODE_ZEROCOPY_COPIED`.
    pub(crate) copied: bool,
}

/// The control messages in a buffer: level, type and data of each. Ends at the first that is cut
/// short or malformed.
pub(crate) fn messages(mut control: &[u8]) -> impl Iterator<Item = (i32, i32, &[u8])> {
    std::iter::from_fn(move || {
        let (header, _) = control.split_at_checked(HEADER_BYTES)?;
        let len = usize::from_ne_bytes(*header.first_chunk()?);
        let level = i32::from_ne_bytes(header[8..12].try_into().ok()?);
        let kind = i32::from_ne_bytes(header[12..16].try_into().ok()?);
        let data = control.get(HEADER_BYTES..len)?;
        let next = len.checked_next_multiple_of(8)?.min(control.len());
        control = &control[next..];
        Some((level, kind, data))
    })
}

/// The zero-copy notification among the control messages, if there is one.
pub(crate) fn notification(control: &[u8]) -> Option<Notification> {
    messages(control).find_map(|(level, kind, data)| {
        let is_error = matches!(
            (level, kind),
            (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR)
        );
        // struct sock_extended_err: errno u32, origin u8, type u8, code u8, pad u8, info, data.
        let error: &[u8; EXTENDED_ERR_BYTES] = data.first_chunk()?;
        let word = |at: usize| error[at..].first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
        (is_error && word(0)? == 0 && error[4] == ORIGIN_ZEROCOPY).then_some(Notification {
            first: word(8)?,
            last: word(12)?,
            copied: error[6] & CODE_ZEROCOPY_COPIED != 0,
        })
    })
}

/// The segment size that UDP GRO reports, if the datagrams were gathered.
pub(crate) fn gro_segment_bytes(control: &[u8]) -> Option<u16> {
    messages(control).find_map(|(level, kind, data)| {
        let bytes = (level == libc::SOL_UDP && kind == UDP_GRO).then_some(data)?;
        // The kernel writes an int; a size beyond a datagram is no size.
        u16::try_from(i32::from_ne_bytes(*bytes.first_chunk()?)).ok().filter(|&size| size > 0)
    })
}

/// Room for one `UDP_SEGMENT` control message, aligned as the kernel wants it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(8))]
pub(super) struct SegmentControl {
    len: usize,
    level: i32,
    kind: i32,
    segment_bytes: u16,
    padding: [u8; 6],
}

impl SegmentControl {
    pub(super) fn new(segment_bytes: u16) -> Self {
        Self {
            len: HEADER_BYTES + size_of::<u16>(),
            level: libc::SOL_UDP,
            kind: UDP_SEGMENT,
            segment_bytes,
            padding: [0; 6],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = (HEADER_BYTES + data.len()).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn extended_error(origin: u8, code: u8, first: u32, last: u32) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 0, origin, 0, code, 0];
        bytes.extend(first.to_ne_bytes());
        bytes.extend(last.to_ne_bytes());
        bytes
    }

    #[test]
    fn notifications_of_both_families_are_read() {
        for (level, kind) in [(0, 11), (41, 25)] {
            let mut control = message(1, 29, &[0; 16]);
            control.extend(message(level, kind, &extended_error(5, 1, 7, 3)));
            let expected = Notification { first: 7, last: 3, copied: true };
            assert_eq!(notification(&control), Some(expected));
        }
    }

    #[test]
    fn other_errors_are_not_notifications() {
        assert_eq!(notification(&message(0, 11, &extended_error(2, 0, 1, 1))), None);
        assert_eq!(notification(&message(0, 11, &extended_error(5, 0, 1, 1)[..15])), None);
        assert_eq!(notification(&message(0, 8, &extended_error(5, 0, 1, 1))), None);
    }

    #[test]
    fn segment_sizes_are_read() {
        assert_eq!(gro_segment_bytes(&message(17, 104, &1400i32.to_ne_bytes())), Some(1400));
        assert_eq!(gro_segment_bytes(&message(17, 104, &70_000i32.to_ne_bytes())), None);
        assert_eq!(gro_segment_bytes(&message(17, 104, &(-1i32).to_ne_bytes())), None);
        assert_eq!(gro_segment_bytes(&message(17, 104, &[1, 2])), None);
    }

    proptest! {
        #[test]
        fn anything_can_be_parsed(control in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (notification(&control), gro_segment_bytes(&control));
            prop_assert!(messages(&control).count() <= control.len() / HEADER_BYTES + 1);
        }
    }
}
