//! The caller's memory: buffers of every kind, filled with noise that is known again, and
//! overwritten the moment they come back.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::buffer::Buffer;
use crate::pool::{Frozen, Pool};

use super::random::Random;

const NOISE_BYTES: usize = 1 << 20;
pub(super) const LONGEST_BUFFER: usize = 100_000;
const FRAMES: usize = 8;
const FRAME_BYTES: usize = 8192;
const GARBAGE: u8 = 0xdd;
/// Overwritten vectors that are kept to be filled again.
const SHELF: usize = 16;

/// What a buffer holds: a part of the noise. No two parts of some length are alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content {
    start: usize,
    pub(super) len: usize,
}

impl Content {
    pub(super) fn bytes(self) -> &'static [u8] {
        &noise()[self.start..][..self.len]
    }
}

fn noise() -> &'static [u8] {
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
    NOISE.get_or_init(|| {
        let mut random = Random::new(0x5ea1_1f70);
        (0..NOISE_BYTES / 8).flat_map(|_| random.next().to_ne_bytes()).collect()
    })
}

pub(super) struct Memory {
    pool: Pool,
    /// A frozen frame that is being cut into views, with its content, and how much is cut.
    frozen: Option<(Frozen, Content, usize)>,
    shelf: Vec<Vec<u8>>,
}

impl Memory {
    pub(super) fn new() -> Self {
        let pool = Pool::builder().frames(FRAMES).frame_bytes(FRAME_BYTES).huge_pages(false);
        let pool = pool.build().expect("a small pool");
        Self { pool, frozen: None, shelf: Vec::new() }
    }

    /// A buffer of about `len` bytes of any kind: never more, but a pool's frame may hold less.
    pub(super) fn make(&mut self, random: &mut Random, len: usize) -> (Buffer, Content) {
        let content =
            |random: &mut Random, len| Content { start: random.below(NOISE_BYTES - len), len };
        match random.below(8) {
            0 | 1 => {
                let content = content(random, len.min(FRAME_BYTES));
                if let Some(mut lease) = self.pool.try_lease() {
                    lease.fill(content.bytes());
                    return (lease.into(), content);
                }
            }
            2 | 3 => {
                if let Some((view, content)) = self.view(random, len) {
                    return (view.into(), content);
                }
            }
            4 => {
                let content = content(random, len);
                return (Bytes::copy_from_slice(content.bytes()).into(), content);
            }
            5 => {
                let content = content(random, len);
                return (content.bytes().into(), content);
            }
            _ => {}
        }
        let content = content(random, len);
        let mut vec = self.shelf.pop().unwrap_or_default();
        vec.clear();
        vec.extend_from_slice(content.bytes());
        (vec.into(), content)
    }

    /// The next part of the frozen frame; a new frame is frozen when it is used up.
    fn view(&mut self, random: &mut Random, len: usize) -> Option<(Frozen, Content)> {
        let used_up = self.frozen.as_ref().is_none_or(|(_, content, cut)| *cut == content.len);
        if used_up {
            // The last view keeps the frame out, so the caller's own goes first.
            self.frozen = None;
            let mut lease = self.pool.try_lease()?;
            let content =
                Content { start: random.below(NOISE_BYTES - FRAME_BYTES), len: FRAME_BYTES };
            lease.fill(content.bytes());
            self.frozen = Some((lease.freeze(), content, 0));
        }
        let (frozen, content, cut) = self.frozen.as_mut()?;
        let len = len.min(content.len - *cut);
        let part = Content { start: content.start + *cut, len };
        let view = frozen.slice(*cut..*cut + len);
        *cut += len;
        Some((view, part))
    }

    /// A buffer came back: its bytes are overwritten at once, where it can be.
    pub(super) fn take_back(&mut self, buffer: Buffer) {
        match buffer {
            Buffer::Vec(mut vec) => {
                vec.fill(GARBAGE);
                if self.shelf.len() < SHELF {
                    self.shelf.push(vec);
                }
            }
            Buffer::Lease(mut lease) => lease.frame_mut().fill(GARBAGE),
            Buffer::Bytes(bytes) => {
                if let Ok(mut bytes) = bytes.try_into_mut() {
                    bytes.fill(GARBAGE);
                }
            }
            Buffer::Frozen(_) | Buffer::Static(_) | Buffer::Live(_) => {}
        }
    }

    /// What a kernel would read at an address that the caller has back: garbage on the shelf, or
    /// nothing that can be known.
    pub(super) fn at_home(&self, address: usize, len: usize) -> Option<&[u8]> {
        self.shelf.iter().find_map(|vec| {
            let start = address.checked_sub(vec.as_ptr() as usize)?;
            vec.get(start..start.checked_add(len)?)
        })
    }

    /// The run is over: every frame must be home.
    pub(super) fn check_all_home(&mut self) {
        self.frozen = None;
        assert_eq!(self.pool.stats().leased, 0, "frames did not come home");
    }
}
