//! Reading ahead gives what reading record by record gives, on every engine.

mod plan;

#[path = "../../../tests/support/opening.rs"]
#[allow(unreachable_pub, dead_code, reason = "shared with the integration tests")]
mod opening;
#[path = "../../../../sealift-io/tests/support/skip.rs"]
mod skip;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealift_crypto::{Done, Engine, Inline, Stopped, Suite};

use super::*;
use crate::incoming::Incoming;
use crate::inflow::Inflow;
use crate::opening::MOST_JOB_BYTES;
use crate::record::HEADER_BYTES;

use opening::{Chance, Telltale, openers, seeds};
use plan::{Peer, Plan, epoch, ticket};

/// Keys of these tests seal and open.
const LIMITS_OF_BOTH: Limits = Limits { seals: u64::MAX, failures: u64::MAX };

/// A run that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(30);

/// What a reader sees.
#[derive(PartialEq, Eq)]
enum Event {
    Data(Vec<u8>),
    Step(Step),
    Error(String),
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Data(data) => write!(f, "{} bytes", data.len()),
            Self::Step(step) => write!(f, "{step:?}"),
            Self::Error(error) => f.write_str(error),
        }
    }
}

/// Receives a plan in pieces by chance, and reads it.
struct Run<'a> {
    plan: &'a Plan,
    incoming: Incoming,
    chance: Chance,
    rest: &'a [u8],
    generation: u8,
    events: Vec<Event>,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, engine: Option<OpeningEngine>, mut chance: Chance) -> Self {
        let opening = Opening::new(epoch(plan.suite, plan.tls13, 0));
        // The first of it may come with the end of the handshake.
        let first = if chance.once_in(2) { 0 } else { chance.below(plan.wire.len() + 1) };
        let (received, rest) = plan.wire.split_at(first.min(CHUNK_BYTES));
        let incoming = match engine {
            None => Incoming::Direct(Inflow::new(plan.side, opening, received)),
            Some(engine) => {
                Incoming::Ahead(Box::new(Ahead::new(plan.side, opening, received, engine)))
            }
        };
        Self { plan, incoming, chance, rest, generation: 0, events: Vec::new() }
    }

    /// Receives some more, if there is room; false if there is no more.
    fn receive(&mut self) -> bool {
        let longest = [30, 3_000, 200_000][self.chance.below(3)];
        let count = (1 + self.chance.below(longest)).min(self.rest.len());
        let Some(room) = self.incoming.room() else { return true };
        let (some, rest) = self.rest.split_at(count.min(room.len()));
        room[..some.len()].copy_from_slice(some);
        self.incoming.received(some.len());
        self.rest = rest;
        self.incoming.begin().unwrap();
        !some.is_empty()
    }

    /// Reads until there is no more to be read.
    fn finish(mut self) -> (Vec<Event>, Counts) {
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < LIMIT, "it hangs");
            let mut into = vec![0; [1, 100, 16_385, 70_000][self.chance.below(4)]];
            if self.incoming.is_hungry() && self.chance.once_in(2) {
                self.receive();
            }
            match self.incoming.step(&mut into) {
                Ok(Step::Data(count)) => self.read(&into[..count]),
                Ok(Step::Working) => self.incoming.wait(Instant::now() + Duration::from_millis(5)),
                Ok(Step::Starved) if self.receive() => {}
                Ok(step) => {
                    let is_end = matches!(step, Step::Starved | Step::Ended);
                    if matches!(step, Step::KeyUpdate { .. }) {
                        self.generation += 1;
                        let next = epoch(self.plan.suite, self.plan.tls13, self.generation);
                        match &mut self.incoming {
                            Incoming::Direct(inflow) => inflow.rotate(next),
                            Incoming::Ahead(ahead) => ahead.rotate(next),
                            Incoming::Kernel(_) => panic!("there is no kernel here"),
                        }
                    }
                    self.events.push(Event::Step(step));
                    if is_end {
                        break;
                    }
                }
                Err(error) => {
                    self.events.push(Event::Error(format!("{error:?}")));
                    break;
                }
            }
        }
        self.incoming.close();
        (self.events, *self.incoming.counts())
    }

    fn read(&mut self, some: &[u8]) {
        match self.events.last_mut() {
            Some(Event::Data(data)) => data.extend_from_slice(some),
            _ => self.events.push(Event::Data(some.to_vec())),
        }
    }
}

/// Both readers' events are the same; or those of the engine's end with its failure, before.
fn compare(expected: &[Event], found: &[Event], may_fail: bool) {
    let same = expected.iter().zip(found).take_while(|(expected, found)| expected == found).count();
    if same == expected.len() && same == found.len() {
        return;
    }
    assert!(may_fail, "{:?} instead of {:?}", found.get(same), expected.get(same));
    let Some((Event::Error(error), before)) = found.split_last() else { panic!("no error") };
    assert!(error.starts_with("Engine"), "{error}");
    for (expected, found) in expected.iter().zip(before) {
        match (expected, found) {
            (Event::Data(whole), Event::Data(some)) => assert!(whole.starts_with(some)),
            _ => assert_eq!(expected, found),
        }
    }
    assert!(before.len() <= expected.len());
}

#[test]
fn any_records_are_read_as_without_an_engine() {
    let (mut reopened, seeds) = (0, seeds(60));
    for opener in openers("any_records_are_read_as_without_an_engine") {
        for &seed in &seeds {
            let _telltale = Telltale(opener.name, seed);
            let mut chance = Chance(seed);
            let plan = Plan::draw(&mut chance);
            let (expected, counts) = Run::new(&plan, None, chance.clone()).finish();
            let (found, ahead) = Run::new(&plan, Some((opener.make)(seed)), chance).finish();
            compare(&expected, &found, opener.fails);
            if !opener.fails {
                let figures = |c: &Counts| (c.records, c.bytes, c.key_updates);
                assert_eq!(figures(&counts), figures(&ahead));
                assert_eq!(ahead.staged_bytes, ahead.bytes);
            }
            reopened += ahead.reopened_records;
        }
    }
    let few = 16 * seeds.len() as u64;
    assert!(reopened > few || std::env::var("SEALIFT_SEED").is_ok(), "{reopened}");
}

fn peer() -> Peer {
    Peer::new(Suite::Aes128Gcm, true, Side::Client)
}

fn inline() -> OpeningEngine {
    Box::new(Inline::new())
}

fn ahead(engine: OpeningEngine) -> Ahead {
    let opening = Opening::new(epoch(Suite::Aes128Gcm, true, 0));
    Ahead::new(Side::Client, opening, &[], engine)
}

impl Ahead {
    fn feed(&mut self, bytes: &[u8]) {
        self.room().unwrap()[..bytes.len()].copy_from_slice(bytes);
        self.received(bytes.len());
    }
}

/// All four are in one job: it stops at the first that has another key.
#[test]
fn what_was_opened_ahead_of_a_key_update_is_opened_again() {
    let mut peer = peer();
    peer.data(b"under the old key");
    peer.update_key(true);
    peer.data(b"under the new key");
    peer.data(b"too");
    let mut ahead = ahead(inline());
    ahead.feed(&peer.plan.wire);
    let mut into = [0; 100];
    assert_eq!(ahead.step(&mut into).unwrap(), Step::Data(17));
    assert_eq!(ahead.step(&mut into).unwrap(), Step::KeyUpdate { is_requested: true });
    assert_eq!(ahead.pipeline.engine().stats().failed, 1);
    ahead.rotate(epoch(Suite::Aes128Gcm, true, 1));
    assert_eq!(ahead.step(&mut into).unwrap(), Step::Data(17));
    assert_eq!(&into[..17], b"under the new key");
    assert_eq!(ahead.step(&mut into).unwrap(), Step::Data(3));
    assert_eq!(ahead.step(&mut into).unwrap(), Step::Starved);
    assert_eq!((ahead.counts.reopened_records, ahead.counts.key_updates), (2, 1));
}

/// The failures behind a KeyUpdate, which come first, are no forgeries; the one before it is.
#[test]
fn a_forgery_before_a_key_update_is_told_from_failures_behind_it() {
    for forged in [false, true] {
        for seed in seeds(20) {
            let _telltale = Telltale("coprocessor", seed);
            let mut peer = peer();
            for number in 0..30u8 {
                peer.data(&[number; 16_000]);
            }
            let at = peer.plan.wire.len() - 1;
            peer.update_key(false);
            for number in 30..60u8 {
                peer.data(&[number; 16_000]);
            }
            peer.plan.wire[at] ^= u8::from(forged);
            let make = openers("").into_iter().find(|opener| opener.name == "coprocessor");
            let engine = (make.unwrap().make)(seed);
            let (events, counts) = Run::new(&peer.plan, Some(engine), Chance(seed)).finish();
            let last = Event::Error("Inauthentic".into());
            assert_eq!(events.last() == Some(&last), forged, "{events:?}");
            assert_eq!(counts.records, if forged { 29 } else { 60 });
        }
    }
}

/// In the middle of others, which an engine has with it: those before are read, none behind.
#[test]
fn a_flipped_bit_at_every_position_is_what_it_is_without_an_engine() {
    let suites = [(Suite::Aes128Gcm, true), (Suite::ChaCha20Poly1305, false)];
    for opener in openers("a_flipped_bit_at_every_position_is_what_it_is_without_an_engine") {
        let _telltale = Telltale(opener.name, 1);
        for (suite, tls13) in suites {
            let mut peer = Peer::new(suite, tls13, Side::Client);
            peer.data(b"before");
            let start = peer.plan.wire.len();
            peer.data(b"changed");
            let record = start..peer.plan.wire.len();
            peer.data(b"behind");
            // Each bit of it, or one of each byte where an engine takes its time.
            let is_quick = ["inline", "ipsec-mb"].contains(&opener.name);
            let bits = (record.start * 8..record.end * 8).step_by(if is_quick { 1 } else { 7 });
            for bit in bits {
                peer.plan.wire[bit / 8] ^= 1 << (bit % 8);
                let (expected, _) = Run::new(&peer.plan, None, Chance(bit as u64)).finish();
                let engine = Some((opener.make)(bit as u64));
                let (found, _) = Run::new(&peer.plan, engine, Chance(bit as u64)).finish();
                compare(&expected, &found, opener.fails);
                // Its length may say that there is more to come.
                let is_length = (3..HEADER_BYTES).contains(&(bit / 8 - start));
                assert!(expected[0] == Event::Data(b"before".to_vec()), "{suite} bit {bit}");
                let is_told = matches!(expected[1], Event::Error(_));
                assert!(is_told || is_length && expected.len() == 2, "{suite} bit {bit}");
                peer.plan.wire[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}

/// A peer that updates its key with every record makes nobody open more than a few times as much.
#[test]
fn key_updates_without_end_cost_no_more_than_their_records() {
    let mut peer = peer();
    let rounds = 120;
    for _ in 0..rounds {
        (0..2).for_each(|_| peer.data(b"some"));
        peer.update_key(false);
    }
    let mut ahead = ahead(inline());
    ahead.feed(&peer.plan.wire);
    let mut generation = 0;
    loop {
        match ahead.step(&mut [0; 100]).unwrap() {
            Step::KeyUpdate { .. } => {
                generation += 1;
                ahead.rotate(epoch(Suite::Aes128Gcm, true, generation));
            }
            Step::Starved => break,
            step => assert_eq!(step, Step::Data(4)),
        }
    }
    assert_eq!(generation, rounds);
    let (reopened, rounds) = (ahead.counts.reopened_records, u64::from(rounds));
    assert!((rounds - 2..=rounds * (3 + FEWEST_AHEAD as u64)).contains(&reopened), "{reopened}");
}

/// Takes everything and does nothing.
struct Stalled(sealift_crypto::Capabilities, Vec<Held>);

type Held = sealift_crypto::Job<Arc<[u8]>, Vec<u8>>;

impl Stalled {
    fn new() -> Self {
        let inline = Inline::<Arc<[u8]>, Vec<u8>>::new();
        let capabilities = Engine::capabilities(&inline).clone();
        Self(sealift_crypto::Capabilities { synchronous: false, ..capabilities }, Vec::new())
    }
}

impl Engine<Arc<[u8]>, Vec<u8>> for Stalled {
    fn capabilities(&self) -> &sealift_crypto::Capabilities {
        &self.0
    }

    fn submit(&mut self, jobs: &mut VecDeque<Held>) -> Stopped {
        self.1.extend(jobs.drain(..));
        Stopped::Empty
    }

    fn poll(&mut self, _done: &mut VecDeque<Done<Arc<[u8]>, Vec<u8>>>) -> usize {
        0
    }

    fn in_flight(&self) -> usize {
        self.1.len()
    }

    fn wait(&mut self, _deadline: Instant) {}

    fn stats(&self) -> sealift_crypto::EngineStats {
        sealift_crypto::EngineStats::default()
    }
}

#[test]
fn behind_an_engine_that_stalls_nothing_more_is_received_and_memory_stays_bounded() {
    let mut peer = peer();
    (0..60).for_each(|_| peer.data(&[7; 16_000]));
    let mut ahead = ahead(Box::new(Stalled::new()));
    let mut rest = &peer.plan.wire[..];
    while let Some(room) = ahead.room() {
        let (some, left) = rest.split_at(room.len().min(10_000));
        room[..some.len()].copy_from_slice(some);
        ahead.received(some.len());
        // At first, the first record is not all there.
        let step = ahead.step(&mut [0; 10]).unwrap();
        assert!(step == Step::Working || left.len() + 16_000 > peer.plan.wire.len(), "{step:?}");
        rest = left;
    }
    assert!(ahead.backlog.len_bytes() <= MOST_CHUNKS * CHUNK_BYTES);
    assert_eq!(ahead.unjudged, FEWEST_AHEAD);
    // Late jobs keep what they read: what the next key opens goes elsewhere.
    ahead.rotate(epoch(Suite::Aes128Gcm, true, 1));
    assert_eq!(ahead.step(&mut [0; 10]).unwrap(), Step::Working);
    assert!(ahead.pipeline.engine().in_flight() <= MOST_JOBS);
}

#[test]
fn a_dead_engine_and_one_without_the_suite_are_one_clear_error_behind_what_they_did() {
    struct Refusing(Stalled, Stopped);
    impl Engine<Arc<[u8]>, Vec<u8>> for Refusing {
        fn capabilities(&self) -> &sealift_crypto::Capabilities {
            self.0.capabilities()
        }
        fn submit(&mut self, _jobs: &mut VecDeque<Held>) -> Stopped {
            self.1
        }
        fn poll(&mut self, _done: &mut VecDeque<Done<Arc<[u8]>, Vec<u8>>>) -> usize {
            0
        }
        fn in_flight(&self) -> usize {
            0
        }
        fn wait(&mut self, _deadline: Instant) {}
        fn stats(&self) -> sealift_crypto::EngineStats {
            self.0.stats()
        }
    }
    for (stopped, expected) in [
        (Stopped::Dead, "the inline engine failed: it is dead"),
        (Stopped::Unsuited, "the inline engine failed: it does not do such jobs"),
    ] {
        let mut peer = peer();
        peer.data(b"never opened");
        let mut ahead = ahead(Box::new(Refusing(Stalled::new(), stopped)));
        ahead.feed(&peer.plan.wire);
        for _ in 0..2 {
            assert_eq!(ahead.step(&mut [0; 10]).unwrap_err().to_string(), expected);
        }
    }
}

/// A ticket is a secret: it does not stay in memory that is used again.
#[test]
fn what_is_no_data_is_wiped_once_it_was_judged() {
    let mut peer = peer();
    peer.seal(ContentType::Handshake, &ticket(32));
    let mut ahead = ahead(inline());
    ahead.feed(&peer.plan.wire);
    assert_eq!(ahead.step(&mut [0; 10]).unwrap(), Step::Ticket(vec![0x5e; 32].into()));
    assert_eq!(ahead.step(&mut [0; 10]).unwrap(), Step::Starved);
    assert!(!ahead.pipeline.spare().unwrap().plaintext.contains(&0x5e));
}

/// Though an engine need not be `Sync`.
#[test]
fn a_stream_may_be_shared_between_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<crate::TlsStream>();
}
