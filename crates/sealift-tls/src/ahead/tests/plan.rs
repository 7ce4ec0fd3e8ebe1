//! What a peer may send, drawn from a seed: records of every kind, in any order, honest or not.

use sealift_crypto::{Suite, TAG_BYTES};

use crate::epoch::Epoch;
use crate::post_handshake::{Side, key_update};
use crate::record::{ContentType, HEADER_BYTES, Header};
use crate::sealing::Sealing;

use super::opening::Chance;

/// A direction of a connection, and all that came through it.
pub(super) struct Plan {
    pub(super) suite: Suite,
    pub(super) tls13: bool,
    pub(super) side: Side,
    pub(super) wire: Vec<u8>,
    /// Key updates on the wire, the peer's word for them aside.
    pub(super) key_updates: u8,
}

pub(super) fn epoch(suite: Suite, tls13: bool, generation: u8) -> Epoch {
    let key = vec![generation; suite.key_bytes()];
    Epoch::of(suite, &key, [3; 12], tls13, Some(super::LIMITS_OF_BOTH)).unwrap()
}

/// Seals as the peer does.
pub(super) struct Peer {
    pub(super) plan: Plan,
    sealing: Sealing,
}

impl Peer {
    pub(super) fn new(suite: Suite, tls13: bool, side: Side) -> Self {
        let plan = Plan { suite, tls13, side, wire: Vec::new(), key_updates: 0 };
        Self { plan, sealing: Sealing::new(epoch(suite, tls13, 0)) }
    }

    pub(super) fn seal(&mut self, content: ContentType, text: &[u8]) {
        let mut record = vec![0; self.sealing.record_bytes(text.len())];
        self.sealing.seal(content, text, &mut record).unwrap();
        self.plan.wire.extend(record);
    }

    pub(super) fn data(&mut self, text: &[u8]) {
        self.seal(ContentType::ApplicationData, text);
    }

    /// What comes next is sealed with the next key.
    pub(super) fn rotate(&mut self) {
        self.plan.key_updates += 1;
        self.sealing.rotate(epoch(self.plan.suite, self.plan.tls13, self.plan.key_updates));
    }

    pub(super) fn update_key(&mut self, is_requested: bool) {
        self.seal(ContentType::Handshake, &key_update(is_requested));
        self.rotate();
    }

    /// A handshake message, or several, in records of so many bytes.
    fn fragments(&mut self, messages: &[u8], at_once: usize) {
        messages.chunks(at_once).for_each(|part| self.seal(ContentType::Handshake, part));
    }

    /// One thing by chance. Most of it is honest.
    fn act(&mut self, chance: &mut Chance) {
        let text: Vec<u8> = {
            let longest = [3, 100, 2_000, 16_384][chance.below(4)];
            let len = if chance.once_in(6) { longest } else { 1 + chance.below(longest) };
            (0..len).map(|at| (at + self.plan.wire.len()) as u8).collect()
        };
        let at_once = 1 + chance.below(9);
        // What ends a connection, seldom.
        let honest = if chance.once_in(12) { 60 } else { 50 };
        match chance.below(honest) {
            0..26 => self.data(&text),
            26..30 => (0..at_once * 4).for_each(|_| self.data(&text[..text.len().min(40)])),
            30..33 => self.data(&[]),
            33..36 if self.plan.tls13 => {
                self.seal(ContentType::Handshake, &ticket(text.len().min(300)));
            }
            36..38 if self.plan.tls13 => self.fragments(&ticket(text.len().min(30)), at_once),
            38..44 if self.plan.tls13 => self.update_key(chance.once_in(2)),
            44..47 if self.plan.tls13 => {
                self.fragments(&key_update(chance.once_in(2)), at_once);
                self.rotate();
            }
            47..49 if self.plan.tls13 => {
                let both = [&ticket(5)[..], &key_update(false)].concat();
                self.fragments(&both, 1 + chance.below(20));
                self.rotate();
            }
            49 if !self.plan.tls13 => self.seal(ContentType::Alert, &[1, 90]),
            50 => self.seal(ContentType::Alert, [&[1, 0][..], &[2, 80], &[1, 0, 0]][at_once % 3]),
            // A key update that the peer does not keep to, and one that has more behind it.
            51 => self.seal(ContentType::Handshake, &key_update(false)),
            52 => self.seal(ContentType::Handshake, &[&key_update(false)[..], &[4]].concat()),
            53 => self.seal(ContentType::Handshake, &[4, 0, 0, 9, 1]),
            54 => self.seal(ContentType::Handshake, &[0, 0, 0, 0]),
            55 => self.garbage(chance),
            _ => self.data(&text[..1]),
        }
    }

    /// A record that nobody sealed, or half a header.
    fn garbage(&mut self, chance: &mut Chance) {
        let content = [ContentType::ApplicationData, ContentType::ChangeCipherSpec];
        let body = [0, 5, TAG_BYTES, TAG_BYTES + 8, 60, 20_000][chance.below(6)];
        let mut record = Header::encode(content[chance.below(2)], body).to_vec();
        record.resize(HEADER_BYTES + body.min(100), 0xa5);
        record[chance.below(2)] ^= [0, 0, 0, 40][chance.below(4)];
        self.plan.wire.extend(record);
    }
}

/// A ticket whose content is so long.
pub(super) fn ticket(len: usize) -> Vec<u8> {
    let mut message = vec![4, 0, (len >> 8) as u8, len as u8];
    message.resize(4 + len, 0x5e);
    message
}

impl Plan {
    pub(super) fn draw(chance: &mut Chance) -> Self {
        let suites = [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::ChaCha20Poly1305];
        let (suite, tls13) = (suites[chance.below(3)], !chance.once_in(4));
        let side = [Side::Client, Side::Server][usize::from(chance.once_in(4))];
        let mut peer = Peer::new(suite, tls13, side);
        for _ in 0..1 + chance.below(70) {
            peer.act(chance);
        }
        let mut plan = peer.plan;
        let len = plan.wire.len();
        if chance.once_in(4) {
            plan.wire[chance.below(len)] ^= 1 << chance.below(8);
        }
        if chance.once_in(5) {
            plan.wire.truncate(chance.below(len + 1));
        }
        plan
    }
}
