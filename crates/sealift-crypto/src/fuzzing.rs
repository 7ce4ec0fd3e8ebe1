//! The way in for the fuzz target (`cfg(fuzzing)` only): any job, on every engine, comes out as
//! [`Inline`] has it.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::{
    Engine, Error, Inline, IpsecMb, Job, Key, Limits, Nonce, Payload, Scattered, Suite, Unit, Units,
};

type AnyEngine = Box<dyn Engine<Scattered<Vec<u8>>, Vec<u8>>>;

/// More than are worked on side by side, and few enough for many runs a second.
const MOST_UNITS: usize = 40;
const MOST_PIECES: usize = 60;

thread_local! {
    static OTHERS: RefCell<Vec<AnyEngine>> = RefCell::new(
        IpsecMb::open().into_iter().map(|engine| Box::new(engine) as AnyEngine).collect()
    );
}

/// What a job left: its memory, how many units were done, and why no more.
type Outcome = (Vec<u8>, usize, Result<(), Error>);

/// One job of the script's making, sealed and opened, whole, scattered, in place, and forged.
pub fn engines(script: &[u8]) {
    let Some((head, text)) = script.split_first_chunk::<8>() else { return };
    let suite = Suite::ALL[usize::from(head[0]) % Suite::ALL.len()];
    let secret = vec![head[1]; suite.key_bytes()];
    let limits = Limits { seals: u64::MAX, failures: u64::MAX };
    let Ok(key) = Key::new(suite, &secret, limits) else { return };
    let (piece_bytes, unit_bytes) = (usize::from(head[2]) + 1, usize::from(head[3]) * 8 + 1);
    let ending = (head[4] % 2 == 1).then_some((head[4], u16::from(head[5])));
    let associated = &secret[..usize::from(head[6]) % secret.len()];
    let forged = usize::from(head[7]);

    let (mut to_seal, mut to_open) = (Units::new(), Units::new());
    let (mut from, mut to) = (0, 0);
    for (number, part) in (0..).zip(text.chunks(unit_bytes).take(MOST_UNITS)) {
        let unit = |from, len, to| {
            Unit::new(Nonce::of(&[0; 12], number), from..from + len, to).with(associated)
        };
        let unit_to_seal = match ending {
            Some((suffix, padding)) => unit(from, part.len(), to).ending(suffix, padding),
            None => unit(from, part.len(), to),
        };
        let sealed_len = unit_to_seal.len_bytes() + crate::TAG_BYTES;
        to_seal.push(unit_to_seal);
        to_open.push(unit(to, sealed_len, to));
        (from, to) = (from + part.len(), to + sealed_len);
    }
    let pieces = |bytes: &[u8]| {
        let piece_bytes = piece_bytes.max(bytes.len() / MOST_PIECES);
        Scattered(bytes.chunks(piece_bytes).map(<[u8]>::to_vec).collect())
    };
    let apart = |bytes: &[u8]| Payload::Apart { source: pieces(bytes), destination: vec![0; to] };
    let sealed = agreed(|| Job::seal(&key, apart(text), to_seal.clone(), 0).ok());
    let Some((mut wire, _, Ok(()))) = sealed else { return };
    assert_opened(agreed(|| Job::open(&key, apart(&wire), to_open.clone(), 0).ok()));
    let in_place = |wire: &Vec<u8>| Payload::InPlace(wire.clone());
    assert_opened(agreed(|| Job::open(&key, in_place(&wire), to_open.clone(), 0).ok()));
    if let Some(byte) = wire.get_mut(forged) {
        *byte ^= 1;
        let opened = agreed(|| Job::open(&key, apart(&wire), to_open.clone(), 0).ok());
        assert!(matches!(opened, Some((_, _, Err(Error::Inauthentic)))));
    }
}

fn assert_opened(outcome: Option<Outcome>) {
    assert!(matches!(outcome, Some((_, _, Ok(())))), "what was sealed opens");
}

/// The outcome of a job, which all engines share.
fn agreed(job: impl Fn() -> Option<Job<Scattered<Vec<u8>>, Vec<u8>>>) -> Option<Outcome> {
    let expected = perform(&mut Inline::new(), job()?);
    OTHERS.with_borrow_mut(|others| {
        for other in others {
            let outcome = job().and_then(|job| perform(other.as_mut(), job));
            assert_outcomes_agree(expected.as_ref(), outcome.as_ref());
        }
    });
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

fn perform(
    engine: &mut dyn Engine<Scattered<Vec<u8>>, Vec<u8>>,
    job: Job<Scattered<Vec<u8>>, Vec<u8>>,
) -> Option<Outcome> {
    let (mut jobs, mut done) = (VecDeque::from([job]), VecDeque::new());
    engine.submit(&mut jobs);
    engine.poll(&mut done);
    let done = done.pop_front()?;
    let memory = match done.job.into_parts().0 {
        Payload::Apart { destination, .. } => destination,
        Payload::InPlace(buffer) => buffer,
    };
    Some((memory, done.units_done, done.result))
}
