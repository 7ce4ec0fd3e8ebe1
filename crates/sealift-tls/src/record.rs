//! The outside of a record: its header, and nothing that needs a key.
//!
//! ```text
//!  type │ version │ length │ body (length bytes)
//!   1   │    2    │   2    │ TLS 1.3: ciphertext, tag.  TLS 1.2: explicit nonce, ciphertext, tag
//! ```
//! Everything here reads bytes that anybody may have sent (RFC 8446 section 5.1, RFC 5246 section
//! 6.2): it is a pure parser, with bounds that do not depend on what it reads.

use crate::error::{Error, Result, Violation};

/// The length of a record's header, in bytes.
pub(crate) const HEADER_BYTES: usize = 5;
/// The most plaintext that a record holds, in bytes (RFC 8446 section 5.1).
pub(crate) const MOST_PLAINTEXT_BYTES: usize = 1 << 14;
/// The most that a TLS 1.3 body is longer than that (RFC 8446 section 5.2).
pub(crate) const MOST_EXPANSION_TLS13_BYTES: usize = 256;
/// The most that a TLS 1.2 body is longer than that (RFC 5246 section 6.2.3).
pub(crate) const MOST_EXPANSION_TLS12_BYTES: usize = 2048;
/// The longest record that there is, header included, in bytes.
pub(crate) const MOST_RECORD_BYTES: usize =
    HEADER_BYTES + MOST_PLAINTEXT_BYTES + MOST_EXPANSION_TLS12_BYTES;

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ContentType {
    ChangeCipherSpec = 20,
    Alert = 21,
    Handshake = 22,
    ApplicationData = 23,
}

impl ContentType {
    pub(crate) fn parse(byte: u8) -> Result<Self> {
        match byte {
            20 => Ok(Self::ChangeCipherSpec),
            21 => Ok(Self::Alert),
            22 => Ok(Self::Handshake),
            23 => Ok(Self::ApplicationData),
            _ => Err(Error::Peer(Violation::UnknownContentType)),
        }
    }
}

/// A record's header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) content: ContentType,
    /// The length of the body behind it.
    pub(crate) body_bytes: usize,
}

impl Header {
    /// Reads a header; `most_expansion_bytes` is the version's.
    pub(crate) fn parse(bytes: [u8; HEADER_BYTES], most_expansion_bytes: usize) -> Result<Self> {
        let [content, major, _minor, high, low] = bytes;
        let content = ContentType::parse(content)?;
        // The minor number is one of the past in TLS 1.3, and not to be looked at.
        if major != 3 {
            return Err(Error::Peer(Violation::WrongVersion));
        }
        let body_bytes = usize::from(u16::from_be_bytes([high, low]));
        if body_bytes > MOST_PLAINTEXT_BYTES + most_expansion_bytes {
            return Err(Error::Peer(Violation::RecordTooLong));
        }
        Ok(Self { content, body_bytes })
    }

    /// The header of a record that is `body_bytes` long behind it, which is within bounds.
    pub(crate) fn encode(content: ContentType, body_bytes: usize) -> [u8; HEADER_BYTES] {
        let [high, low] = (body_bytes as u16).to_be_bytes();
        [content as u8, 3, 3, high, low]
    }

    /// The record's length, header included, in bytes.
    pub(crate) fn record_bytes(&self) -> usize {
        HEADER_BYTES + self.body_bytes
    }
}

/// The header of the record at the front of `bytes`, once all of the record is there. How much is
/// missing otherwise is at most [`MOST_RECORD_BYTES`].
pub(crate) fn whole_record(bytes: &[u8], most_expansion_bytes: usize) -> Result<Option<Header>> {
    let Some((header, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let header = Header::parse(*header, most_expansion_bytes)?;
    Ok((rest.len() >= header.body_bytes).then_some(header))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_is_refused_beyond_its_versions_bound_and_no_sooner() {
        for most in [MOST_EXPANSION_TLS12_BYTES, MOST_EXPANSION_TLS13_BYTES] {
            let longest = Header::encode(ContentType::ApplicationData, (1 << 14) + most);
            assert_eq!(Header::parse(longest, most).unwrap().body_bytes, (1 << 14) + most);
            let longer = Header::encode(ContentType::ApplicationData, (1 << 14) + most + 1);
            let refused = Header::parse(longer, most).unwrap_err();
            assert!(matches!(refused, Error::Peer(Violation::RecordTooLong)), "{refused}");
        }
    }

    #[test]
    fn a_record_is_whole_with_its_last_byte() {
        let mut record = Header::encode(ContentType::Alert, 2).to_vec();
        record.extend([1, 0]);
        for len in 0..record.len() {
            assert_eq!(whole_record(&record[..len], 256).unwrap(), None);
        }
        let header = whole_record(&record, 256).unwrap().unwrap();
        assert_eq!((header.content, header.record_bytes()), (ContentType::Alert, 7));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_bounded_record_or_an_error(bytes: Vec<u8>) {
            if let Ok(Some(header)) = whole_record(&bytes, MOST_EXPANSION_TLS12_BYTES) {
                prop_assert!(header.record_bytes() <= bytes.len());
                prop_assert!(header.record_bytes() <= MOST_RECORD_BYTES);
                let again = Header::encode(header.content, header.body_bytes);
                prop_assert_eq!(Header::parse(again, MOST_EXPANSION_TLS12_BYTES).unwrap(), header);
            }
        }
    }
}
