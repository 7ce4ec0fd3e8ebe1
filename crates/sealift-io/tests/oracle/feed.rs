//! The sender's side of the oracle: fills buffers, and overwrites each the moment it comes back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use sealift_io::{Buffer, Completion, Event, Lease, Message, Outcome, Pool, Sender, SharedMemory};

use crate::case::Case;
use crate::support::deadline;
use crate::support::pattern::{Rng, garbage, stream};

/// What the bytes of a message are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Lease,
    /// Slices of a frame that two messages share.
    Frozen,
    /// Reference-counted bytes that can be had back for writing.
    Bytes,
    /// Reference-counted bytes whose owner overwrites them when the last reference goes.
    Owned,
    Vec,
    /// A part of shared memory, overwritten through [`SharedMemory::write`].
    Shared,
    /// Cannot be overwritten; shows that nothing else goes wrong with it.
    Static,
    /// One of each in every message.
    Mixed,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Lease,
        Self::Frozen,
        Self::Bytes,
        Self::Owned,
        Self::Vec,
        Self::Shared,
        Self::Static,
        Self::Mixed,
    ];
}

/// How long messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    Of(usize),
    /// From one byte to this many, small ones being likelier.
    UpTo(usize),
}

impl Payload {
    pub fn longest(self) -> usize {
        match self {
            Self::Of(len) | Self::UpTo(len) => len,
        }
    }

    fn choose(self, rng: &mut Rng) -> usize {
        match self {
            Self::Of(len) => len,
            Self::UpTo(longest) => {
                let scale = 1 << rng.below(longest.ilog2() as usize + 1);
                1 + rng.below(scale.min(longest))
            }
        }
    }
}

/// What is out, as it must come back.
struct Out {
    buffer_lens: Vec<usize>,
    slot: Option<usize>,
}

/// Makes messages out of a stream's bytes and takes them back.
pub struct Feed {
    seed: u64,
    kind: Kind,
    payload: Payload,
    rng: Rng,
    pool: Option<Pool>,
    memory: SharedMemory,
    free_slots: Vec<usize>,
    slot_bytes: usize,
    spare_vecs: Vec<Vec<u8>>,
    spare_bytes: Vec<BytesMut>,
    /// The second half of a frozen frame, for the next message.
    half: Option<(sealift_io::Frozen, usize)>,
    /// How many messages may be out at once.
    depth: usize,
    out: HashMap<u64, Out>,
    next_tag: u64,
    /// Bytes that were put into buffers, and those of accepted messages.
    made_bytes: u64,
    pub sent_bytes: u64,
    pub returned: u64,
    pub owners_gone: Arc<AtomicUsize>,
    pub owners_made: usize,
    /// The outcomes of what came back whole: zero-copied, copied, plain, failed.
    pub outcomes: [u64; 4],
}

impl Feed {
    /// A feed whose sender may have `depth` messages out.
    pub fn new(case: &Case, depth: usize) -> Self {
        let Case { seed, kind, payload, huge_pages, .. } = *case;
        let slot_bytes = payload.longest();
        let uses_frames = matches!(kind, Kind::Lease | Kind::Frozen | Kind::Mixed);
        let frames = if uses_frames { depth } else { 1 };
        let slots = if matches!(kind, Kind::Shared | Kind::Mixed) { depth } else { 1 };
        // A frozen frame holds two messages.
        let frame_bytes = if kind == Kind::Frozen { 2 * slot_bytes } else { slot_bytes };
        let pool = Pool::builder().frames(frames).frame_bytes(frame_bytes);
        let pool = pool.huge_pages(huge_pages).build().unwrap();
        Self {
            seed,
            kind,
            payload,
            rng: Rng(seed),
            pool: Some(pool),
            memory: SharedMemory::create(slots * slot_bytes).unwrap(),
            free_slots: (0..slots).collect(),
            slot_bytes,
            spare_vecs: Vec::new(),
            spare_bytes: Vec::new(),
            half: None,
            depth,
            out: HashMap::new(),
            next_tag: 0,
            made_bytes: 0,
            sent_bytes: 0,
            returned: 0,
            owners_gone: Arc::default(),
            owners_made: 0,
            outcomes: [0; 4],
        }
    }

    pub fn pool(&self) -> &Pool {
        self.pool.as_ref().expect("the pool handle is still there")
    }

    /// Drops the handle of the pool; frames that are out stay out.
    pub fn drop_pool(&mut self) {
        self.pool = None;
    }

    pub fn has_pool(&self) -> bool {
        self.pool.is_some()
    }

    /// Gives up the second half of a frozen frame that no message will take.
    pub fn forget_half(&mut self) {
        self.half = None;
    }

    /// Expects nothing back from the sender any more: it is gone.
    pub fn forget_out(&mut self) {
        self.out.clear();
    }

    /// Messages that are out.
    pub fn outstanding(&self) -> usize {
        self.out.len()
    }

    /// The next message of the stream; `None` until something comes back.
    pub fn next(&mut self) -> Option<Message> {
        if self.out.len() >= self.depth {
            return None;
        }
        let mut slot = None;
        let len = self.payload.choose(&mut self.rng);
        let mut buffers: Vec<Buffer> = Vec::new();
        match self.kind {
            Kind::Lease => buffers.push(self.lease(len)?.into()),
            Kind::Frozen => buffers = self.frozen(len)?,
            Kind::Shared => buffers.push(self.shared(len, &mut slot)?),
            Kind::Mixed => {
                let share = len / 5;
                if share > 0 {
                    buffers.push(self.lease(share)?.into());
                    buffers.push(self.vec(share));
                    buffers.push(self.bytes(share));
                    buffers.push(self.shared(share, &mut slot)?);
                }
                let rest = len - 4 * share;
                buffers.push(self.fixed(rest));
            }
            Kind::Bytes => buffers.push(self.bytes(len)),
            Kind::Owned => buffers.push(self.owned(len)),
            Kind::Vec => buffers.push(self.vec(len)),
            Kind::Static => buffers.push(self.fixed(len)),
        }
        let buffer_lens = buffers.iter().map(Buffer::len).collect();
        self.out.insert(self.next_tag, Out { buffer_lens, slot });
        let message = buffers.into_iter().fold(Message::new(), Message::and);
        self.next_tag += 1;
        Some(message.tagged(self.next_tag - 1))
    }

    /// The next `len` bytes of the stream.
    fn fixed_bytes(&mut self, len: usize) -> &'static [u8] {
        let bytes = stream(self.seed, self.made_bytes, len);
        self.made_bytes += len as u64;
        bytes
    }

    fn fixed(&mut self, len: usize) -> Buffer {
        self.fixed_bytes(len).into()
    }

    fn lease(&mut self, len: usize) -> Option<Lease> {
        let mut lease = self.pool().try_lease()?;
        assert_eq!(lease.fill(self.fixed_bytes(len)), len);
        Some(lease)
    }

    fn frozen(&mut self, len: usize) -> Option<Vec<Buffer>> {
        let (half, len) = match self.half.take() {
            Some(half) => half,
            None => {
                let other = self.payload.choose(&mut self.rng);
                let view = self.lease(len + other)?.freeze();
                self.half = Some((view.slice(len..), other));
                (view.slice(..len), len)
            }
        };
        let cut = len / 3;
        let parts = [half.slice(..cut), half.slice(cut..=cut), half.slice(cut + 1..)];
        Some(parts.into_iter().filter(|part| !part.is_empty()).map(Buffer::from).collect())
    }

    fn shared(&mut self, len: usize, slot: &mut Option<usize>) -> Option<Buffer> {
        let free = self.free_slots.pop()?;
        *slot = Some(free);
        let start = free * self.slot_bytes;
        let bytes = self.fixed_bytes(len);
        self.memory.write(start, bytes).unwrap();
        Some(self.memory.region(start..start + len).into())
    }

    fn vec(&mut self, len: usize) -> Buffer {
        let mut vec = self.spare_vecs.pop().unwrap_or_default();
        vec.clear();
        vec.extend_from_slice(self.fixed_bytes(len));
        vec.into()
    }

    fn bytes(&mut self, len: usize) -> Buffer {
        let mut bytes = self.spare_bytes.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(self.fixed_bytes(len));
        bytes.freeze().into()
    }

    fn owned(&mut self, len: usize) -> Buffer {
        let data = self.fixed_bytes(len).to_vec();
        self.owners_made += 1;
        Bytes::from_owner(Owner { data, gone: self.owners_gone.clone() }).into()
    }

    /// Takes what an event brings.
    pub fn take_event(&mut self, event: Event) {
        match event {
            Event::Completed(done) => self.take_back(done),
            Event::Released(release) => {
                release.completions.into_iter().for_each(|done| self.take_back(done));
            }
            other => panic!("an event of no known kind: {other:?}"),
        }
    }

    /// Takes a message back: checks that it is whole and was out, and overwrites its buffers.
    pub fn take_back(&mut self, done: Completion) {
        let len = done.message.len() as u64;
        match &done.result {
            Ok(outcome) => {
                assert_eq!(done.bytes.total(), len, "an accepted message went out whole");
                assert_eq!(*outcome, done.bytes.outcome());
                self.outcomes[match outcome {
                    Outcome::ZeroCopy => 0,
                    Outcome::Copied => 1,
                    Outcome::Plain => 2,
                }] += 1;
            }
            Err(_) => {
                assert!(done.bytes.total() <= len);
                self.outcomes[3] += 1;
            }
        }
        self.overwrite(done.message);
    }

    fn overwrite(&mut self, message: Message) {
        let tag = message.tag();
        let out = self.out.remove(&tag).expect("a message comes back that is not out");
        let buffers = message.into_buffers();
        let lens: Vec<usize> = buffers.iter().map(Buffer::len).collect();
        assert_eq!(lens, out.buffer_lens, "every buffer of a message comes back with it");
        for buffer in buffers {
            let len = buffer.len();
            match buffer {
                Buffer::Lease(mut lease) => lease.copy_from_slice(garbage(len)),
                Buffer::Frozen(view) => {
                    drop(view);
                    self.overwrite_top_frame();
                }
                Buffer::Bytes(bytes) => {
                    // An owner overwrites its own.
                    if let Ok(mut bytes) = bytes.try_into_mut() {
                        bytes.copy_from_slice(garbage(len));
                        self.spare_bytes.push(bytes);
                    }
                }
                Buffer::Vec(mut vec) => {
                    vec.copy_from_slice(garbage(len));
                    self.spare_vecs.push(vec);
                }
                Buffer::Live(_) => {
                    let start = out.slot.expect("shared memory was sent") * self.slot_bytes;
                    self.memory.write(start, garbage(len)).unwrap();
                }
                Buffer::Static(_) => {}
                other => panic!("a buffer of no known kind: {other:?}"),
            }
        }
        self.free_slots.extend(out.slot);
        self.returned += 1;
    }

    /// The frame that came home last is the next to be lent.
    fn overwrite_top_frame(&self) {
        if let Some(lease) = self.pool.as_ref().and_then(Pool::try_lease) {
            fill_with_garbage(lease);
        }
    }

    /// A message that was refused: never out.
    pub fn take_refused(&mut self, message: Message) {
        self.overwrite(message);
        self.returned -= 1;
    }

    /// Sends `messages` more, taking back what comes; stops early when nothing came back for
    /// `patience`, or the sender refused for good. Says whether all were accepted.
    pub fn send(&mut self, sender: &mut Sender, messages: u64, patience_ms: u64) -> bool {
        let until = self.next_tag + messages;
        while self.next_tag < until {
            let Some(message) = self.next() else {
                let soon =
                    std::time::Instant::now() + std::time::Duration::from_millis(patience_ms);
                match sender.wait(soon) {
                    Ok(Some(event)) => self.take_event(event),
                    Ok(None) => panic!("everything is out and nothing is under way"),
                    Err(_) => return false,
                }
                continue;
            };
            let len = message.len() as u64;
            let accepted = match self.rng.below(2) {
                0 => sender.send(message),
                _ => sender.queue(message),
            };
            if let Err(refused) = accepted {
                assert!(sender.fault().is_some(), "refused without a fault: {refused}");
                self.take_refused(*refused.message);
                return false;
            }
            self.sent_bytes += len;
            while let Some(event) = sender.poll() {
                self.take_event(event);
            }
        }
        true
    }

    /// Takes back everything that is out, whatever became of it.
    pub fn drain(&mut self, sender: &mut Sender) {
        let end = deadline(20);
        while self.outstanding() > 0 {
            match sender.wait(end).expect("buffers come back in time") {
                Some(event) => self.take_event(event),
                None => panic!("{} messages never came back", self.outstanding()),
            }
        }
        assert!(sender.poll().is_none(), "nothing comes back twice");
    }
}

/// Overwrites a whole frame.
pub fn fill_with_garbage(mut lease: Lease) {
    for chunk in lease.frame_mut().chunks_mut(1 << 20) {
        chunk.copy_from_slice(garbage(chunk.len()));
    }
}

/// Memory behind a `Bytes` that overwrites itself when it is let go.
struct Owner {
    data: Vec<u8>,
    gone: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let len = self.data.len();
        self.data.copy_from_slice(garbage(len));
        self.gone.fetch_add(1, Ordering::SeqCst);
    }
}
