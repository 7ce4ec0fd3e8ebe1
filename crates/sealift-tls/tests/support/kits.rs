//! A whole test over engines: each stream that it equips seals and opens on one of them.
//!
//! A test program lists its tests in `over_engines!`, and runs each over every kit. What is made is
//! printed with its seed; `SEALIFT_SEED` repeats it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use sealift_crypto::{
    Capabilities, Chaos, Coprocessor, Destination, Done, Engine, EngineStats, Faults, Inline, Job,
    Source, Stopped, Workers,
};
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
    /// What its engines were given.
    static GIVEN: RefCell<Given> = RefCell::default();
}

/// The jobs that the engines of a kit took: to seal, and to open.
#[derive(Clone, Debug, Default)]
struct Given {
    sealing: Arc<AtomicUsize>,
    opening: Arc<AtomicUsize>,
}

/// What a test has its engines do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    Seals,
    Opens,
    Both,
}

impl Given {
    /// A test whose engines have nothing to do is none over engines.
    fn assert_is(&self, does: Does, test: &str, kit: Kit) {
        let [sealing, opening] =
            [&self.sealing, &self.opening].map(|jobs| jobs.load(Ordering::SeqCst) > 0);
        let is_idle = (does != Does::Opens && !sealing) || (does != Does::Seals && !opening);
        assert!(kit == Kit::None || !is_idle, "{test} over {kit:?}: {does:?}, but {self:?}");
    }
}

/// An engine whose jobs are counted as it takes them.
struct Counted<S, D>(Box<dyn Engine<S, D>>, Arc<AtomicUsize>);

impl<S, D> Engine<S, D> for Counted<S, D> {
    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    fn submit(&mut self, jobs: &mut VecDeque<Job<S, D>>) -> Stopped {
        let before = jobs.len();
        let stopped = self.0.submit(jobs);
        self.1.fetch_add(before - jobs.len(), Ordering::SeqCst);
        stopped
    }

    fn poll(&mut self, done: &mut VecDeque<Done<S, D>>) -> usize {
        self.0.poll(done)
    }

    fn in_flight(&self) -> usize {
        self.0.in_flight()
    }

    fn wait(&mut self, deadline: Instant) {
        self.0.wait(deadline);
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        self.0.readiness()
    }

    fn quiesce(
        &mut self,
        deadline: Instant,
        done: &mut VecDeque<Done<S, D>>,
    ) -> sealift_crypto::Result<()> {
        self.0.quiesce(deadline, done)
    }

    fn stats(&self) -> EngineStats {
        self.0.stats()
    }
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
pub fn run_over_engines(test: &str, does: Does, run: fn()) {
    // Under a sanitizer each takes many times as long.
    let times = if std::env::var_os("SEALIFT_SANITIZER").is_some() { 10 } else { 1 };
    for _telltale in each_kit(test) {
        let (at_hand, (over, ended)) = (AT_HAND.get(), mpsc::channel::<()>());
        let given = Given::default();
        let counts = given.clone();
        let running = thread::spawn(move || {
            let _over = over;
            AT_HAND.set(at_hand);
            GIVEN.set(counts);
            run();
        });
        let hangs = ended.recv_timeout(PATIENCE * times) == Err(RecvTimeoutError::Timeout);
        assert!(!hangs, "{test} hangs over {:?}", at_hand.0);
        running.join().unwrap_or_else(|panic| resume_unwind(panic));
        given.assert_is(does, test, at_hand.0);
    }
}

/// Has the tests of a program run over every kit: those whose engines seal and open, or those that
/// are said to do the one.
#[allow(unused_macros, reason = "each test program uses its part")]
macro_rules! over_engines {
    ($($test:ident),* $(,)?) => {
        crate::support::kits::over_engines!(Both: $($test),*;);
    };
    ($($does:ident: $($test:ident),* $(,)?;)*) => {
        mod over_engines {
            use crate::support::kits::{Does, run_over_engines};

            $($(
                #[test]
                fn $test() {
                    run_over_engines(stringify!($test), Does::$does, super::$test);
                }
            )*)*
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
    let Given { sealing, opening } = GIVEN.with_borrow(Given::clone);
    let seals = Counted(engine::<Bytes, Frame>(kit, seed), sealing);
    let opens = Counted(engine::<Arc<[u8]>, Vec<u8>>(kit, seed.wrapping_add(1)), opening);
    builder.sealing_engine(Box::new(seals)).opening_engine(Box::new(opens))
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
