//! Handshake messages after the handshake: put together from records, and sorted.
//!
//! 1. No more than one message and one record are kept: what is longer than 64 KiB is refused once
//!    its length is known.
//! 2. A KeyUpdate is the last in its record (RFC 8446 section 5.1: no message spans a change of
//!    keys), so nothing behind it was read under the wrong key.
//! 3. What has no place here is refused: only a client takes tickets, only TLS 1.3 has key updates.

use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, Result, Violation};

/// The longest message, in bytes.
const MOST_MESSAGE_BYTES: usize = 0xffff;
/// The type and the length before a message's content.
const HEADER_BYTES: usize = 4;

const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// A message that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// A ticket to resume with: the content of NewSessionTicket.
    Ticket(&'a [u8]),
    /// What comes next is sealed with the peer's next key.
    KeyUpdate {
        /// The peer wants the other direction's key updated, too.
        is_requested: bool,
    },
    /// A TLS 1.2 peer wants another handshake, which it will not get.
    Renegotiation,
}

/// The content of a KeyUpdate's record.
pub(crate) fn key_update(request: bool) -> [u8; HEADER_BYTES + 1] {
    [KEY_UPDATE, 0, 0, 1, u8::from(request)]
}

/// Puts messages together.
pub(crate) struct PostHandshake {
    side: Side,
    tls13: bool,
    /// A ticket holds a secret, so nothing of it is left in memory that is given back.
    bytes: Zeroizing<Vec<u8>>,
    /// Where the next message begins.
    at: usize,
}

impl PostHandshake {
    pub(crate) fn new(side: Side, tls13: bool) -> Self {
        Self { side, tls13, bytes: Zeroizing::default(), at: 0 }
    }

    /// Whether no message is begun.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Takes the content of a handshake record. Every whole message before it was taken.
    pub(crate) fn push(&mut self, fragment: &[u8]) -> Result<()> {
        if fragment.is_empty() {
            return Err(Error::Peer(Violation::UnexpectedMessage));
        }
        self.wipe_taken();
        self.make_room(fragment.len());
        self.bytes.extend_from_slice(fragment);
        Ok(())
    }

    /// The next whole message.
    pub(crate) fn next(&mut self) -> Result<Option<Message<'_>>> {
        let Some((&[kind, a, b, c], rest)) = self.bytes[self.at..].split_first_chunk() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes([0, a, b, c]) as usize;
        if len > MOST_MESSAGE_BYTES {
            return Err(Error::Peer(Violation::HandshakeTooLong));
        }
        self.check_kind(kind)?;
        if rest.len() < len {
            return Ok(None);
        }
        let start = self.at + HEADER_BYTES;
        self.at = start + len;
        let content = &self.bytes[start..self.at];
        match (kind, content) {
            (NEW_SESSION_TICKET, ticket) => Ok(Some(Message::Ticket(ticket))),
            (KEY_UPDATE, _) if self.at != self.bytes.len() => {
                Err(Error::Peer(Violation::UnexpectedMessage))
            }
            (KEY_UPDATE, &[request @ (0 | 1)]) => {
                Ok(Some(Message::KeyUpdate { is_requested: request == 1 }))
            }
            (KEY_UPDATE, _) => Err(Error::Peer(Violation::MalformedHandshake)),
            _ => Ok(Some(Message::Renegotiation)),
        }
    }

    /// Refuses what has no place here, before its content is waited for.
    fn check_kind(&self, kind: u8) -> Result<()> {
        let expected = match kind {
            NEW_SESSION_TICKET => self.tls13 && self.side == Side::Client,
            KEY_UPDATE => self.tls13,
            HELLO_REQUEST => !self.tls13 && self.side == Side::Client,
            CLIENT_HELLO => !self.tls13 && self.side == Side::Server,
            _ => false,
        };
        if expected { Ok(()) } else { Err(Error::Peer(Violation::UnexpectedMessage)) }
    }

    /// Takes what was taken out of the memory, too.
    fn wipe_taken(&mut self) {
        let left_bytes = self.bytes.len() - self.at;
        self.bytes.copy_within(self.at.., 0);
        self.bytes[left_bytes..].zeroize();
        self.bytes.truncate(left_bytes);
        self.at = 0;
    }

    /// Moves to more memory where it has to; a vector that grows by itself leaves a copy behind.
    fn make_room(&mut self, more_bytes: usize) {
        let len_bytes = self.bytes.len() + more_bytes;
        if len_bytes > self.bytes.capacity() {
            let mut roomier = Zeroizing::new(Vec::with_capacity(len_bytes.next_power_of_two()));
            roomier.extend_from_slice(&self.bytes);
            self.bytes = roomier;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn violation<T: std::fmt::Debug>(result: Result<T>) -> Violation {
        match result.unwrap_err() {
            Error::Peer(violation) => violation,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_message_may_come_in_pieces_and_several_in_one() {
        let two = [4, 0, 0, 2, 7, 8, 4, 0, 0, 1, 9];
        for cut in 1..two.len() {
            let mut messages = PostHandshake::new(Side::Client, true);
            let mut tickets = Vec::new();
            for part in [&two[..cut], &two[cut..]] {
                messages.push(part).unwrap();
                while let Some(message) = messages.next().unwrap() {
                    let Message::Ticket(ticket) = message else { panic!("{message:?}") };
                    tickets.push(ticket.to_vec());
                }
            }
            assert_eq!(tickets, [vec![7, 8], vec![9]], "cut at {cut}");
            assert!(messages.is_between_messages());
        }
    }

    #[test]
    fn a_key_update_is_the_last_in_its_record() {
        for request in [false, true] {
            let mut messages = PostHandshake::new(Side::Server, true);
            messages.push(&key_update(request)).unwrap();
            let expected = Message::KeyUpdate { is_requested: request };
            assert_eq!(messages.next().unwrap(), Some(expected));
            messages.push(&[&key_update(false)[..], &[24]].concat()).unwrap();
            assert_eq!(violation(messages.next()), Violation::UnexpectedMessage);
        }
    }

    #[test]
    fn what_has_no_place_is_refused_before_its_content() {
        for (side, tls13, kind) in [
            (Side::Server, true, NEW_SESSION_TICKET),
            (Side::Client, false, NEW_SESSION_TICKET),
            (Side::Client, false, KEY_UPDATE),
            (Side::Client, true, HELLO_REQUEST),
            (Side::Client, true, 13),
            (Side::Server, true, CLIENT_HELLO),
            (Side::Server, false, HELLO_REQUEST),
            (Side::Client, true, 20),
        ] {
            let mut messages = PostHandshake::new(side, tls13);
            messages.push(&[kind, 0, 1, 0]).unwrap();
            assert_eq!(violation(messages.next()), Violation::UnexpectedMessage, "{kind}");
        }
    }

    #[test]
    fn malformed_and_endless_messages_are_refused() {
        for (bytes, expected) in [
            (&[24, 0, 0, 1, 2][..], Violation::MalformedHandshake),
            (&[24, 0, 0, 0], Violation::MalformedHandshake),
            (&[24, 0, 0, 2, 0, 0], Violation::MalformedHandshake),
            (&[4, 1, 0, 0], Violation::HandshakeTooLong),
        ] {
            let mut messages = PostHandshake::new(Side::Client, true);
            messages.push(bytes).unwrap();
            assert_eq!(violation(messages.next()), expected, "{bytes:?}");
        }
        let mut messages = PostHandshake::new(Side::Client, true);
        assert_eq!(violation(messages.push(&[])), Violation::UnexpectedMessage);
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_keep_memory_bounded(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..64), 0..64),
            tls13: bool,
            client: bool,
        ) {
            let side = if client { Side::Client } else { Side::Server };
            let mut messages = PostHandshake::new(side, tls13);
            for piece in pieces {
                messages.push(&piece).unwrap();
                loop {
                    match messages.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => return Ok(()),
                    }
                }
                prop_assert!(messages.bytes.len() <= HEADER_BYTES + MOST_MESSAGE_BYTES + 64);
            }
        }
    }
}
