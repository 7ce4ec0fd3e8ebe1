//! A whole test over engines: each stream that it equips seals and opens on one of them.
//!
//! A test program lists its tests in `over_engines!`, and runs each over every kit. What is made is
//! printed with its seed; `SEALIFT_SEED` repeats it.

use std::cell::Cell;
use std::io::{Read, Write};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use sealift_crypto::{Chaos, Coprocessor, Destination, Engine, Faults, Inline, Source, Workers};
use sealift_tls::sealift_crypto;
use sealift_tls::{Bytes, Frame, TlsStream, TlsStreamBuilder};

use super::engines::{Telltale, seeds};

/// What seals and opens for the streams of a test, all of it sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kit {
    None,
    Inline,
    Workers,
    Coprocessor,
    /// Late, repeated and reordered, and nothing worse: the tests are to succeed.
    Chaos,
}

const KITS: [Kit; 5] = [Kit::None, Kit::Inline, Kit::Workers, Kit::Coprocessor, Kit::Chaos];

thread_local! {
    /// The kit of the test that runs on this thread, and the seed of its next engine.
    static AT_HAND: Cell<(Kit, u64)> = const { Cell::new((Kit::None, 0)) };
}

/// Has every kit at hand on this thread, one after the other, for the streams of `test`.
pub fn each_kit(test: &str) -> impl Iterator<Item = Telltale> + '_ {
    KITS.into_iter().flat_map(|kit| seeds(1).into_iter().map(move |seed| (kit, seed))).map(
        move |(kit, seed)| {
            println!("{test} over {kit:?}, SEALIFT_SEED={seed}");
            AT_HAND.set((kit, seed));
            Telltale(format!("{test} over {kit:?}"), seed)
        },
    )
}

/// Longer than a test takes over one kit while others keep the machine busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test over every kit, on a thread that is not waited for for ever: an engine that keeps
/// what it was given holds the test up, and that has to fail and to say so.
pub fn run_over_engines(test: &str, run: fn()) {
    // Under a sanitizer each takes many times as long.
    let times = if std::env::var_os("SEALIFT_SANITIZER").is_some() { 10 } else { 1 };
    for _telltale in each_kit(test) {
        let (at_hand, (over, ended)) = (AT_HAND.get(), mpsc::channel::<()>());
        let running = thread::spawn(move || {
            let _over = over;
            AT_HAND.set(at_hand);
            run();
        });
        let hangs = ended.recv_timeout(PATIENCE * times) == Err(RecvTimeoutError::Timeout);
        assert!(!hangs, "{test} hangs over {:?}", at_hand.0);
        running.join().unwrap_or_else(|panic| resume_unwind(panic));
    }
}

/// Has the tests of a program run over every kit.
#[allow(unused_macros, reason = "each test program uses its part")]
macro_rules! over_engines {
    ($($test:ident),* $(,)?) => {
        mod over_engines {
            $(
                #[test]
                fn $test() {
                    crate::support::kits::run_over_engines(stringify!($test), super::$test);
                }
            )*
        }
    };
}
#[allow(unused_imports, reason = "each test program uses its part")]
pub(crate) use over_engines;

/// Has the next stream of `builder` seal and open on engines of this thread's kit.
pub fn equip(builder: TlsStreamBuilder) -> TlsStreamBuilder {
    let (kit, seed) = AT_HAND.get();
    AT_HAND.set((kit, seed.wrapping_add(2)));
    if kit == Kit::None {
        return builder;
    }
    let builder = builder.sealing_engine(engine::<Bytes, Frame>(kit, seed));
    builder.opening_engine(engine::<Arc<[u8]>, Vec<u8>>(kit, seed.wrapping_add(1)))
}

/// A builder with this thread's kit.
pub fn equipped() -> TlsStreamBuilder {
    equip(TlsStream::builder())
}

fn engine<S, D>(kit: Kit, seed: u64) -> Box<dyn Engine<S, D>>
where
    S: Source + 'static,
    D: Destination + 'static,
{
    match kit {
        Kit::None | Kit::Inline => Box::new(Inline::new()),
        Kit::Workers => Box::new(Workers::builder().threads(1).batch(1, 1).build().unwrap()),
        Kit::Coprocessor => {
            let device = Coprocessor::builder().depth(3).accepts(2).key_slots(1).reorders();
            Box::new(device.seed(seed).build().unwrap())
        }
        Kit::Chaos => {
            let faults = Faults { error: 0, death: 0, ..Faults::honest(3) };
            Box::new(Chaos::new(Inline::new(), faults, seed).unwrap())
        }
    }
}

/// A stream that gives away what it is to write, so that its engine seals it.
pub struct Giving(pub TlsStream);

impl Read for Giving {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Giving {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.send_owned(bytes.to_vec())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}
