//! Jobs over the inline engine: what goes in comes back, sealed right, counted, and once.

use std::collections::VecDeque;

use bytes::Bytes;
use proptest::prelude::*;
use sealift_crypto::{
    Direction, Done, Engine, Error, Inline, Job, Key, Limits, MOST_ASSOCIATED_BYTES, NONCE_BYTES,
    Nonce, Payload, Scattered, Source, Stopped, Suite, TAG_BYTES, Unit, Units,
};

fn key(suite: Suite) -> Key {
    let secret: Vec<u8> = (0..suite.key_bytes() as u8).collect();
    Key::new(suite, &secret, Limits::tls(suite)).unwrap()
}

fn units<const N: usize>(units: [Unit; N]) -> Units {
    units.into_iter().collect()
}

fn perform<S: Source, D: sealift_crypto::Destination>(job: Job<S, D>) -> Done<S, D> {
    let mut engine = Inline::new();
    let mut jobs = VecDeque::from([job]);
    assert_eq!(engine.submit(&mut jobs), Stopped::Empty);
    let mut done = VecDeque::new();
    assert_eq!(engine.poll(&mut done), 1);
    assert_eq!(engine.in_flight(), 0);
    done.pop_front().unwrap()
}

fn outcome<S, D>(done: Done<S, D>) -> D {
    assert_eq!(done.result, Ok(()));
    match done.job.into_parts().0 {
        Payload::Apart { destination, .. } => destination,
        Payload::InPlace(buffer) => buffer,
    }
}

/// Test case 4 of 'The Galois/Counter Mode of Operation' (McGrew and Viega), as of SP 800-38D.
#[test]
fn gcm_is_gcm() {
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    };
    let suite = Suite::Aes128Gcm;
    let secret = hex("feffe9928665731c6d6a8f9467308308");
    let key = Key::new(suite, &secret, Limits::tls(suite)).unwrap();
    let plaintext = hex(concat!(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    ));
    let nonce = Nonce(hex("cafebabefacedbaddecaf888").try_into().unwrap());
    let associated = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let mut sealed = vec![0; plaintext.len() + TAG_BYTES];
    key.seal(nonce, &associated, &plaintext, &[], &mut sealed).unwrap();
    assert_eq!(sealed[sealed.len() - TAG_BYTES..], hex("5bc94fbc3221a5db94fae95ae7121a47"));
}

#[test]
fn a_suffix_and_padding_are_sealed_behind_the_text() {
    for suite in Suite::ALL {
        let key = key(suite);
        for padding in [0u16, 7] {
            let text = b"a record's content";
            let len = text.len() + 1 + usize::from(padding) + TAG_BYTES;
            let unit = Unit::new(Nonce([9; NONCE_BYTES]), 0..text.len(), 3).ending(23, padding);
            let payload = Payload::Apart { source: &text[..], destination: vec![0; len + 3] };
            let sealed = outcome(perform(Job::seal(&key, payload, units([unit]), 0).unwrap()));
            let mut opened = vec![0; len - TAG_BYTES];
            key.open(Nonce([9; NONCE_BYTES]), &[], &sealed[3..], &mut opened).unwrap();
            let expected = [&text[..], &[23], &vec![0; padding.into()]].concat();
            assert_eq!(opened, expected, "{suite}");
        }
    }
}

#[test]
fn associated_data_of_any_length_is_authenticated_byte_for_byte() {
    let (key, nonce, text) = (key(Suite::Aes128Gcm), Nonce([5; NONCE_BYTES]), b"some text");
    let associated: Vec<u8> = (1..=MOST_ASSOCIATED_BYTES as u8).collect();
    for len in 0..=MOST_ASSOCIATED_BYTES {
        let mut expected = vec![0; text.len() + TAG_BYTES];
        key.seal(nonce, &associated[..len], text, &[], &mut expected).unwrap();
        let unit = Unit::new(nonce, 0..text.len(), 0).with(&associated[..len]);
        let destination = vec![0; expected.len()];
        let payload = Payload::Apart { source: &text[..], destination };
        let sealed = outcome(perform(Job::seal(&key, payload, units([unit]), 0).unwrap()));
        assert_eq!(sealed, expected, "{len} bytes");
    }
}

#[test]
fn a_job_that_does_not_fit_gives_everything_back() {
    let key = key(Suite::Aes128Gcm);
    let nonce = Nonce([0; NONCE_BYTES]);
    let refused = |units: Units, direction| {
        let payload = Payload::Apart { source: vec![0u8; 100], destination: vec![0u8; 200] };
        let job = match direction {
            Direction::Seal => Job::seal(&key, payload, units, 0),
            Direction::Open => Job::open(&key, payload, units, 0),
        };
        let refused = job.expect_err("it does not fit");
        let Payload::Apart { source, destination } = refused.payload else { panic!() };
        assert_eq!((source.len(), destination.len()), (100, 200));
        assert!(matches!(refused.error, Error::Caller { .. }));
    };
    let seal = |unit| refused(units([unit]), Direction::Seal);
    seal(Unit::new(nonce, 0..101, 0));
    #[expect(clippy::reversed_empty_ranges, reason = "that is the point")]
    seal(Unit::new(nonce, 50..40, 0));
    seal(Unit::new(nonce, 0..100, 85));
    seal(Unit::new(nonce, 0..usize::MAX, 0));
    seal(Unit::new(nonce, 0..100, usize::MAX));
    seal(Unit::new(nonce, 0..100, 0).ending(0, u16::MAX));
    for most in [MOST_ASSOCIATED_BYTES + 1, 256 + 5] {
        seal(Unit::new(nonce, 0..10, 0).with(&vec![0; most]));
    }
    let unit = |to| Unit::new(nonce, 0..10, to);
    refused(units([unit(0), unit(25)]), Direction::Seal);
    refused(units([unit(100), unit(0)]), Direction::Seal);
    refused(units([Unit::new(nonce, 0..15, 0)]), Direction::Open);
    refused(units([Unit::new(nonce, 0..100, 0).ending(1, 0)]), Direction::Open);
    assert_eq!(key.seals_left(), Limits::tls(Suite::Aes128Gcm).seals, "nothing was counted");
}

/// A source may be longer than a unit can name; what lies beyond is not mistaken for another place.
#[test]
fn what_lies_beyond_4_gib_is_refused() {
    const PIECE_BYTES: usize = 1 << 20;
    static PIECE: [u8; PIECE_BYTES] = [0; PIECE_BYTES];
    let (gib, key) = (1 << 30, key(Suite::Aes128Gcm));
    let seal = |from, to| {
        let source = Scattered(vec![&PIECE[..]; 6 * gib / PIECE_BYTES]);
        let payload = Payload::Apart { source, destination: vec![0; 200] };
        let unit = Unit::new(Nonce([0; NONCE_BYTES]), from, to);
        Job::seal(&key, payload, units([unit]), 0).map_err(|refused| refused.error.to_string())
    };
    let beyond = [(5 * gib..5 * gib + 100, 0), (100..5 * gib, 0), (0..100, 5 * gib)];
    for (from, to) in beyond {
        let error = seal(from.clone(), to).expect_err("it is beyond");
        assert!(error.contains("4 GiB"), "{from:?} to {to}: {error}");
    }
    let last = u32::MAX as usize;
    outcome(perform(seal(last - 100..last, 0).unwrap()));
}

#[test]
fn a_key_is_refused_at_its_limit_and_no_sooner() {
    let suite = Suite::ChaCha20Poly1305;
    let key = Key::new(suite, &[1; 32], Limits { seals: 3, failures: 1 }).unwrap();
    let job = |count: usize| {
        let payload = Payload::Apart { source: Bytes::new(), destination: vec![0; 64] };
        let nonce = |at| Nonce::of(&[0; NONCE_BYTES], at as u64);
        let unit = |at| Unit::new(nonce(at), 0..0, at * TAG_BYTES);
        Job::seal(&key, payload, (0..count).map(unit).collect(), 0)
    };
    assert!(job(2).is_ok());
    let error = job(2).expect_err("one is left").error;
    assert!(matches!(error, Error::KeyExhausted { limit: 3, .. }), "{error}");
    assert!(job(1).is_ok());
    assert_eq!(key.seals_left(), 0);
    assert_eq!(key.seal_in_place(Nonce([0; 12]), &[], &mut [0; 20]), Err(error));

    let forged = key.open(Nonce([0; 12]), &[], &[0; 20], &mut [1; 4]);
    assert_eq!(forged, Err(Error::Inauthentic));
    let refused = key.open(Nonce([0; 12]), &[], &[0; 20], &mut [1; 4]);
    assert!(matches!(refused, Err(Error::KeyExhausted { .. })), "one failure was allowed");
}

/// The longest that CCM seals is 2^24 - 1 bytes, suffix included.
#[test]
fn what_is_too_long_to_seal_leaves_no_plaintext() {
    let key = key(Suite::Aes128Ccm);
    let text = vec![7; Suite::Aes128Ccm.most_bytes()];
    let mut into = vec![9; text.len() + 1 + TAG_BYTES];
    let refused = key.seal(Nonce([0; NONCE_BYTES]), b"", &text, &[23], &mut into);
    assert!(matches!(refused, Err(Error::Caller { .. })), "{refused:?}");
    assert!(!into.contains(&7), "it left plaintext");
}

#[test]
fn opening_stops_at_what_is_not_authentic_and_leaves_no_plaintext_of_it() {
    for suite in Suite::ALL {
        let key = key(suite);
        let nonce = |number| Nonce::of(&[5; NONCE_BYTES], number);
        let mut wire = vec![0u8; 3 * (10 + TAG_BYTES)];
        for (number, place) in (0u64..).zip(wire.chunks_mut(10 + TAG_BYTES)) {
            key.seal(nonce(number), b"", &[b'x'; 10], b"", place).unwrap();
        }
        wire[30] ^= 1;
        let unit = |at: usize| {
            let start = at * (10 + TAG_BYTES);
            Unit::new(nonce(at as u64), start..start + 10 + TAG_BYTES, at * 10)
        };
        let payload = Payload::Apart { source: wire, destination: vec![b'?'; 30] };
        let job = Job::open(&key, payload, (0..3).map(unit).collect(), 0).unwrap();
        let done = perform(job);
        assert_eq!((done.units_done, &done.result), (1, &Err(Error::Inauthentic)), "{suite}");
        let Payload::Apart { destination, .. } = done.job.into_parts().0 else { panic!() };
        assert_eq!(destination[..20], [[b'x'; 10], [0; 10]].concat(), "{suite}");
    }
}

#[test]
fn secrets_are_not_printed() {
    let key =
        Key::new(Suite::Aes128Gcm, b"YELLOW SUBMARINE", Limits::tls(Suite::Aes128Gcm)).unwrap();
    let job =
        Job::seal(&key, Payload::<Bytes, _>::InPlace(b"attack at dawn".to_vec()), Units::new(), 1);
    let printed = format!("{key:?} {:?}", job.unwrap());
    assert!(!printed.contains("YELLOW") && !printed.contains("attack"), "{printed}");
    assert!(!printed.contains("89, 69") && !printed.contains("594"), "{printed}");
}

proptest! {
    #[test]
    fn scattered_in_place_and_apart_agree(
        suite in prop::sample::select(&Suite::ALL[..]),
        text in prop::collection::vec(any::<u8>(), 0..3000),
        cuts in prop::collection::vec(0usize..3000, 0..5),
        to in 0usize..40,
        associated in prop::collection::vec(any::<u8>(), 0..32),
        padding in prop::sample::select(&[0u16, 1, 300][..]),
    ) {
        let key = key(suite);
        let sealed_len = text.len() + 1 + usize::from(padding) + TAG_BYTES;
        let unit = |start: usize, to| {
            let unit = Unit::new(Nonce([3; NONCE_BYTES]), start..start + text.len(), to);
            unit.with(&associated).ending(22, padding)
        };
        let sealed = |payload, unit| perform(Job::seal(&key, payload, units([unit]), 0).unwrap());
        let destination = || vec![0; to + sealed_len];
        let source = Scattered(vec![text.clone()]);
        let whole = Payload::Apart { source, destination: destination() };
        let whole = outcome(sealed(whole, unit(0, to)));

        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| text[cut[0]..cut[1]].to_vec()).collect();
        let cut = Payload::Apart { source: Scattered(pieces), destination: destination() };
        prop_assert_eq!(&outcome(sealed(cut, unit(0, to)))[to..], &whole[to..]);

        let mut buffer = destination();
        buffer[to..to + text.len()].copy_from_slice(&text);
        let in_place = outcome(sealed(Payload::InPlace(buffer), unit(to, to)));
        prop_assert_eq!(&in_place[to..], &whole[to..]);

        let opened = |payload, start: usize, to| {
            let unit = Unit::new(Nonce([3; NONCE_BYTES]), start..start + sealed_len, to);
            let units = units([unit.with(&associated)]);
            outcome(perform(Job::open(&key, payload, units, 0).unwrap()))
        };
        let pieces = whole[to..].chunks(sealed_len / 3 + 1).map(<[u8]>::to_vec).collect();
        let apart = Payload::Apart { source: Scattered(pieces), destination: destination() };
        prop_assert_eq!(&opened(apart, 0, to)[to..to + text.len()], &text[..]);
        let opened = opened(Payload::InPlace(in_place), to, to);
        prop_assert_eq!(&opened[to..to + text.len()], &text[..]);
        prop_assert_eq!(opened[to + text.len()], 22);
    }
}
