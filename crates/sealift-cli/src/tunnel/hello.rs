//! How much of a ClientHello has come: a visitor who has not said it yet is worth no thread.
//!
//! ```text
//!  record: kind 1 │ version 2 │ length 2 │ ── part ──┐
//!  record: kind 1 │ version 2 │ length 2 │ ── part ──┴─► message: kind 1 │ length 3 │ ClientHello
//! ```
//! Only how long things are is looked at. What is no such record, or no such message, is for rustls
//! to refuse, which takes it no time.

/// The most that is looked at: some four times what the longest hellos take. Whoever says more than
/// that has spoken.
pub(super) const MOST_BYTES: usize = 8 * 1024;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Kinds of records; all that rustls waits for the rest of.
const KINDS: std::ops::RangeInclusive<u8> = 20..=24;

/// Whether a handshake can go on with what has come, or is sure to fail.
pub(super) fn is_enough(came: &[u8]) -> bool {
    let (mut rest, mut message) = (came, Vec::new());
    loop {
        let Some((&[kind, _, _, high, low], behind)) = rest.split_first_chunk() else {
            let is_none = rest.first().is_some_and(|kind| !KINDS.contains(kind));
            return is_none || came.len() >= MOST_BYTES;
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        if !KINDS.contains(&kind) || len == 0 {
            return true;
        }
        let Some((part, next)) = behind.split_at_checked(len) else {
            return came.len() >= MOST_BYTES;
        };
        message.extend_from_slice(part);
        if kind != HANDSHAKE || is_whole(&message) {
            return true;
        }
        rest = next;
    }
}

/// Whether a message is all there, or no ClientHello.
fn is_whole(message: &[u8]) -> bool {
    match message {
        [CLIENT_HELLO, a, b, c, hello @ ..] => {
            hello.len() >= u32::from_be_bytes([0, *a, *b, *c]) as usize
        }
        [kind, ..] => *kind != CLIENT_HELLO,
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello of `len` bytes, in records of at most `most`.
    fn hello(len: u16, most: usize) -> Vec<u8> {
        let [high, low] = len.to_be_bytes();
        let message = [vec![CLIENT_HELLO, 0, high, low], vec![7; len.into()]].concat();
        let record = |part: &[u8]| {
            let [high, low] = (part.len() as u16).to_be_bytes();
            [&[HANDSHAKE, 3, 1, high, low], part].concat()
        };
        message.chunks(most).flat_map(record).collect()
    }

    #[test]
    fn a_hello_is_awaited_to_its_last_byte() {
        for hello in [hello(500, 16_384), hello(500, 100), hello(500, 3), hello(0, 1)] {
            let firsts = 0..hello.len();
            assert!(firsts.clone().all(|count| !is_enough(&hello[..count])), "{hello:?}");
            assert!(is_enough(&hello));
        }
    }

    #[test]
    fn what_is_no_hello_is_not_waited_for() {
        for came in [
            &b"GET / HTTP/1.1"[..],
            b"\x80",
            // Records without a byte, of which there could be many.
            &[HANDSHAKE, 3, 1, 0, 0],
            // Another message, and an alert.
            &[HANDSHAKE, 3, 1, 0, 1, 2],
            &[21, 3, 3, 0, 2, 1, 0],
            &hello(u16::MAX, 16_384)[..MOST_BYTES],
        ] {
            assert!(is_enough(came), "{came:?}");
        }
        assert!(!is_enough(b""));
        assert!(!is_enough(&[21, 3, 3, 0, 2, 1]));
    }
}
