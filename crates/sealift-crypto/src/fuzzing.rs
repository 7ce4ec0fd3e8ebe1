//! The way in for the fuzz target (`cfg(fuzzing)` only): any job, on every engine, comes out as
//! [`Inline`] has it.
//!
//! What has faults is made anew for each script, with a seed out of it, so that a script repeats
//! its run.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::{
    Chaos, Coprocessor, Engine, Error, Faults, Inline, IpsecMb, Job, Key, Limits, Nonce, Payload,
    Router, Scattered, Suite, TAG_BYTES, Unit, Units, Workers, skip::skip,
};

type AnyEngine = Box<dyn Engine<Scattered<Vec<u8>>, Vec<u8>>>;
type AnyJob = Job<Scattered<Vec<u8>>, Vec<u8>>;

/// More than are worked on side by side, and few enough for many runs a second.
const MOST_UNITS: usize = 40;
const MOST_PIECES: usize = 60;
/// What one script seals: more than the longest message that any lane of IPsec-MB takes.
const MOST_BYTES: usize = 70_000;
/// The front of a script: what is chosen besides the bytes.
const CHOICES: usize = 10;

thread_local! {
    static LASTING: RefCell<Vec<AnyEngine>> = RefCell::new(lasting());
}

/// Engines without faults.
fn lasting() -> Vec<AnyEngine> {
    let device = Coprocessor::builder().latency(Duration::ZERO);
    let workers = Workers::builder().threads(1).batch(1, 1);
    let mut engines = vec![made(workers.build()), made(device.build())];
    match IpsecMb::open() {
        Ok(engine) => engines.push(Box::new(engine)),
        Err(error) => skip("engines: ipsec-mb", &error.to_string()),
    }
    engines
}

/// Engines with faults that leave no job undone.
fn faulty(seed: u64) -> [AnyEngine; 2] {
    let disorderly = Faults { error: 0, death: 0, ..Faults::honest(3) };
    let unreliable = made(Chaos::new(Inline::new(), Faults::honest(3), seed));
    let router = Router::builder().always_offloads().offload_from(1, 1);
    let router = router.quarantine(3, Duration::ZERO, Duration::ZERO);
    [made(Chaos::new(Inline::new(), disorderly, seed)), made(router.build(unreliable))]
}

fn made<E>(engine: Result<E, impl Display>) -> AnyEngine
where
    E: Engine<Scattered<Vec<u8>>, Vec<u8>> + 'static,
{
    match engine {
        Ok(engine) => Box::new(engine),
        Err(error) => panic!("an engine could not be made: {error}"),
    }
}

/// What a job left: its memory, how many units were done, and why no more.
type Outcome = (Vec<u8>, usize, Result<(), Error>);

/// One job of the script's making, sealed and opened, whole, scattered, in place, and forged.
pub fn engines(script: &[u8]) {
    let Some((choices, bytes)) = script.split_first_chunk::<CHOICES>() else { return };
    // A mistake here is one of the target's own.
    let Ok(plan) = Plan::new(choices, bytes) else { return };
    let seed = choices.iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    LASTING.with_borrow_mut(|lasting| {
        let mut faulty = faulty(seed);
        let mut engines: Vec<_> = lasting.iter_mut().chain(&mut faulty).collect();
        plan.run(&mut engines, choices[8]);
    });
}

/// What a script makes of its bytes.
struct Plan {
    key: Key,
    text: Vec<u8>,
    piece_bytes: usize,
    to_seal: Units,
    to_open: Units,
    wire_bytes: usize,
}

impl Plan {
    fn new(choices: &[u8; CHOICES], bytes: &[u8]) -> Result<Self, Error> {
        let &[suite, secret, piece, short, long, suffix, padding, associated, _, again] = choices;
        let suite = Suite::ALL[usize::from(suite) % Suite::ALL.len()];
        let secret = vec![secret; suite.key_bytes()];
        let key = Key::new(suite, &secret, Limits { seals: u64::MAX, failures: u64::MAX })?;
        let mut text = bytes.repeat(1 + usize::from(again));
        text.truncate(MOST_BYTES);
        let associated = &secret[..usize::from(associated) % secret.len()];
        let (mut to_seal, mut to_open) = (Units::new(), Units::new());
        let (mut from, mut to) = (0, 0);
        let unit_bytes = usize::from(u16::from_le_bytes([short, long])) + 1;
        for (number, part) in (0..).zip(text.chunks(unit_bytes).take(MOST_UNITS)) {
            let unit = |from, len, to| {
                Unit::new(Nonce::of(&[0; 12], number), from..from + len, to).with(associated)
            };
            let mut unit_to_seal = unit(from, part.len(), to);
            if suffix % 2 == 1 {
                unit_to_seal = unit_to_seal.ending(suffix, padding.into());
            }
            let sealed_len = unit_to_seal.len_bytes() + TAG_BYTES;
            to_seal.push(unit_to_seal);
            to_open.push(unit(to, sealed_len, to));
            (from, to) = (from + part.len(), to + sealed_len);
        }
        let piece_bytes = usize::from(piece) + 1;
        Ok(Self { key, text, piece_bytes, to_seal, to_open, wire_bytes: to })
    }

    /// The `forged` 256th of what was sealed is altered in the end.
    fn run(&self, engines: &mut [&mut AnyEngine], forged: u8) {
        let seal = |from| Job::seal(&self.key, self.apart(from), self.to_seal.clone(), 0).ok();
        let open = |payload| Job::open(&self.key, payload, self.to_open.clone(), 0).ok();
        let sealed = agreed(engines, || seal(&self.text));
        let Some((mut wire, _, Ok(()))) = sealed else { return };
        assert_opened(agreed(engines, || open(self.apart(&wire))));
        assert_opened(agreed(engines, || open(Payload::InPlace(wire.clone()))));
        let at = usize::from(forged) * wire.len() / 256;
        if let Some(byte) = wire.get_mut(at) {
            *byte ^= 1;
            let opened = agreed(engines, || open(self.apart(&wire)));
            assert!(matches!(opened, Some((_, _, Err(Error::Inauthentic)))));
        }
    }

    fn apart(&self, bytes: &[u8]) -> Payload<Scattered<Vec<u8>>, Vec<u8>> {
        let piece_bytes = self.piece_bytes.max(bytes.len() / MOST_PIECES);
        let source = Scattered(bytes.chunks(piece_bytes).map(<[u8]>::to_vec).collect());
        Payload::Apart { source, destination: vec![0; self.wire_bytes] }
    }
}

fn assert_opened(outcome: Option<Outcome>) {
    assert!(matches!(outcome, Some((_, _, Ok(())))), "what was sealed opens");
}

/// The outcome of a job, which all engines share.
fn agreed(engines: &mut [&mut AnyEngine], job: impl Fn() -> Option<AnyJob>) -> Option<Outcome> {
    let expected = perform(&mut Inline::new(), job()?);
    for engine in engines {
        let outcome = job().and_then(|job| perform(engine.as_mut(), job));
        assert_outcomes_agree(expected.as_ref(), outcome.as_ref());
    }
    expected
}

/// Behind a message that failed there is nothing of use, and each engine leaves its own nothing.
fn assert_outcomes_agree(expected: Option<&Outcome>, outcome: Option<&Outcome>) {
    let (Some(expected), Some(outcome)) = (expected, outcome) else {
        panic!("a job did not come back");
    };
    assert_eq!((expected.1, &expected.2), (outcome.1, &outcome.2));
    if expected.2.is_ok() {
        assert_eq!(expected.0, outcome.0);
    }
}

fn perform(engine: &mut dyn Engine<Scattered<Vec<u8>>, Vec<u8>>, job: AnyJob) -> Option<Outcome> {
    let (mut jobs, mut done) = (VecDeque::from([job]), VecDeque::new());
    // One that hangs is the fuzzer's to tell.
    while !jobs.is_empty() || engine.in_flight() > 0 {
        engine.submit(&mut jobs);
        if engine.poll(&mut done) == 0 {
            engine.wait(Instant::now() + Duration::from_secs(1));
        }
    }
    let done = done.pop_front()?;
    let memory = match done.job.into_parts().0 {
        Payload::Apart { destination, .. } => destination,
        Payload::InPlace(buffer) => buffer,
    };
    Some((memory, done.units_done, done.result))
}
