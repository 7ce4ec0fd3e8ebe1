//! One run of the oracle: a sender that overwrites, a peer that checks, and the final account.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use sealift_io::{Backend, Policy, Ring, Sender, SenderBuilder, quarantine};

use crate::feed::{Feed, Kind, Payload, fill_with_garbage};
use crate::peer::{End, Heard, Peer, Step};
use crate::support::deadline;
use crate::support::pattern::{Rng, base_seed};

pub const BACKENDS: [Backend; 3] = [Backend::Uring, Backend::MsgZerocopy, Backend::Copy];
pub const POLICIES: [Policy; 2] = [Policy::AlwaysZeroCopy, Policy::Adaptive(None)];

/// How long nothing may come back before a sender counts as stuck behind a stalled peer.
pub const STUCK_AFTER_MS: u64 = 15;

/// What varies. Printed, with its seed, when a run fails.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    #[allow(dead_code, reason = "for the eyes of whoever reads the failure")]
    pub wire: &'static str,
    pub backend: Backend,
    pub policy: Policy,
    pub kind: Kind,
    pub payload: Payload,
    pub huge_pages: bool,
    pub seed: u64,
}

impl Case {
    /// A case on plain TCP with buffers of one length; the rest is said by struct update.
    pub fn new(backend: Backend, kind: Kind, payload_bytes: usize) -> Self {
        let number = BACKENDS.iter().position(|one| *one == backend).unwrap_or(0) as u64;
        Self {
            wire: "tcp4",
            backend,
            policy: Policy::AlwaysZeroCopy,
            kind,
            payload: Payload::Of(payload_bytes),
            huge_pages: true,
            seed: Rng(base_seed() ^ (number << 32 | payload_bytes as u64)).next(),
        }
    }

    /// The same case with everything that chance decides decided anew.
    pub fn reseeded(self, number: u64) -> Self {
        let seed = Rng(self.seed ^ number).next();
        Self { seed, huge_pages: seed.is_multiple_of(2), ..self }
    }

    /// Connects a sender and a feed of `depth` messages with a peer.
    pub fn start(
        &self,
        (near, far): (OwnedFd, OwnedFd),
        depth: usize,
        script: &[Step],
        build: impl FnOnce(SenderBuilder) -> SenderBuilder,
    ) -> Rig {
        let name = Name(*self);
        let feed = Feed::new(self, depth);
        let builder = Sender::builder().backend(self.backend).policy(self.policy);
        let sender = build(builder.pool(feed.pool())).build(near).unwrap();
        let peer = Peer::start(far, self.seed, script);
        Rig { name, sender, feed, peer }
    }
}

/// Says which case it was when a run fails.
pub struct Name(pub Case);

impl Drop for Name {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the oracle failed in {:?}; base seed {:#x}", self.0, base_seed());
        }
    }
}

/// A run under way.
pub struct Rig {
    pub name: Name,
    pub sender: Sender,
    pub feed: Feed,
    pub peer: Peer,
}

impl Rig {
    /// Sends until the peer's stall is felt, or all `messages` are accepted.
    pub fn send_until_stuck(&mut self, messages: u64) {
        self.feed.send(&mut self.sender, messages, STUCK_AFTER_MS);
    }

    /// Sends nothing more, and takes back what comes until nothing has for a while.
    pub fn take_what_comes(&mut self) {
        let patience = Duration::from_millis(STUCK_AFTER_MS);
        while let Ok(Some(event)) = self.sender.wait(Instant::now() + patience) {
            self.feed.take_event(event);
        }
    }

    /// Sends so many messages to a peer that reads.
    pub fn send(&mut self, messages: u64) {
        assert!(self.feed.send(&mut self.sender, messages, 20_000), "stuck: {:?}", self.sender);
    }

    /// Ends a run that nothing disturbed: everything was heard, and every buffer is home.
    pub fn finish(mut self) {
        self.feed.drain(&mut self.sender);
        let closed = self.sender.close(deadline(20));
        assert!(!closed.aborted && closed.quarantined == 0 && closed.error.is_none(), "{closed:?}");
        assert_eq!(closed.stats.stray_answers, 0);
        assert!(closed.events.is_empty());
        self.feed.expect_all_home();
        let heard = self.peer.join();
        assert_eq!(heard.wrong_at, None, "corrupted; {heard:?}");
        assert_eq!((heard.bytes, heard.end), (self.feed.sent_bytes, End::Finished));
    }

    /// Ends a run whose connection broke: what was heard is right, and every buffer is home.
    pub fn finish_broken(mut self) -> Heard {
        self.feed.drain(&mut self.sender);
        let closed = self.sender.close(deadline(20));
        assert_eq!(closed.quarantined, 0, "{closed:?}");
        assert_eq!(closed.stats.stray_answers, 0);
        self.feed.expect_all_home();
        let heard = self.peer.join();
        assert_eq!(heard.wrong_at, None, "corrupted; {heard:?}");
        assert!(heard.bytes <= self.feed.sent_bytes);
        heard
    }
}

impl Feed {
    /// Asserts that nothing is out any more.
    pub fn expect_all_home(&mut self) {
        assert_eq!(self.outstanding(), 0);
        self.forget_half();
        if self.has_pool() {
            assert_eq!(self.pool().stats().leased, 0);
        }
        let gone = self.owners_gone.load(std::sync::atomic::Ordering::SeqCst);
        assert_eq!(gone, self.owners_made);
    }

    /// After the sender was dropped: overwrites whatever comes home, until all is and the
    /// quarantine is empty, at most for `seconds`.
    pub fn overwrite_until_home(&mut self, seconds: u64) {
        self.forget_half();
        self.forget_out();
        let end = deadline(seconds);
        loop {
            self.overwrite_free_frames();
            let leased = if self.has_pool() { self.pool().stats().leased } else { 0 };
            let gone = self.owners_gone.load(std::sync::atomic::Ordering::SeqCst);
            let held = quarantine();
            if leased == 0 && gone == self.owners_made && held.senders == 0 {
                assert_eq!((held.messages, held.bytes), (0, 0));
                return;
            }
            assert!(
                Instant::now() < end,
                "after {seconds} s: {leased} frames out, {gone} of {} owners gone, {held:?}",
                self.owners_made
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Overwrites every frame that is home.
    pub fn overwrite_free_frames(&self) {
        if self.has_pool() {
            let free: Vec<_> = std::iter::from_fn(|| self.pool().try_lease()).collect();
            free.into_iter().for_each(fill_with_garbage);
        }
    }
}

/// A ring for one sender, with the feed's pool registered.
pub fn ring_for(feed: &Feed) -> Ring {
    Ring::builder().pool(feed.pool()).senders(1).build().unwrap()
}

/// How much of the work to do: an emulated machine is some twenty times slower.
pub fn every_nth_case() -> u64 {
    if std::env::var_os("SEALIFT_LAB").is_some() { 16 } else { 1 }
}
