//! Who runs when: each round runs every row once, so that a drift of the machine hits all alike.
//!
//! Before the first round every row runs briefly and unmeasured: caches and page tables get warm,
//! and a row that cannot run is found out. Every other round goes backwards, so that no row always
//! runs behind the same neighbour. A run that other programs took the processor from is run again.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use sealift::io::baseline::Sample;

use super::rows::{Destination, Measured, Path, Payloads, Row};
use super::tls::rows::Figures;
use crate::args::{ReportArgs, SampleArgs};

/// How long the unmeasured run before the first round takes at most.
const WARM_UP: Duration = Duration::from_millis(10);

/// A loop that never sleeps and had a processor for less than this was disturbed.
const UNDISTURBED: f64 = 0.97;

/// How often a disturbed run is run again; the least disturbed one counts.
const SECOND_CHANCES: u32 = 3;

/// Below this, a share of the processor cannot be told.
const TELLING: Duration = Duration::from_millis(5);

/// How often and how long each row runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// Samples per row and payload.
    pub(crate) rounds: u32,
    /// The time of one sample.
    pub(crate) sample: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { rounds: 5, sample: Duration::from_millis(100) }
    }
}

impl Schedule {
    /// As the command line asks.
    pub(crate) fn of(report: &ReportArgs, sample: &SampleArgs) -> Self {
        let sample = sample.seconds.unwrap_or(Self::default().sample);
        Self { rounds: report.rounds, sample }
    }
}

/// A row at one payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// Which row, by its place in the list.
    pub(crate) row: usize,
    pub(crate) payload_bytes: usize,
}

/// One run of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) sample: Sample,
    /// The part of the time in which the sending thread had a processor.
    pub(crate) cpu_share: f64,
    /// What a row of `bench tls` found beside it.
    pub(crate) tls: Option<Figures>,
}

/// What came of a case: a run per round, or why there is none.
pub(crate) type Outcome = Result<Vec<Run>, String>;

/// What is about to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress<'run> {
    /// Runs that are over, the unmeasured ones among them.
    pub(crate) done: usize,
    /// Runs in all.
    pub(crate) total: usize,
    /// The row whose turn it is.
    pub(crate) name: &'run str,
    /// At this payload.
    pub(crate) payload_bytes: usize,
}

/// Each row at each of its payloads: payloads on the outside, so that what is compared is close.
pub(crate) fn cases(rows: &[Row], sweep: &[usize]) -> Vec<Case> {
    let mut sizes: Vec<usize> = sweep.to_vec();
    sizes.extend(rows.iter().filter_map(|row| match row.payloads {
        Payloads::Fixed(bytes) => Some(bytes),
        Payloads::Sweep | Payloads::Largest => None,
    }));
    sizes.sort_unstable();
    sizes.dedup();
    let wants = |row: &Row, bytes: usize| match row.payloads {
        Payloads::Sweep => sweep.contains(&bytes),
        Payloads::Largest => sweep.iter().max() == Some(&bytes),
        Payloads::Fixed(fixed) => fixed == bytes,
    };
    let at = |bytes: usize| {
        let rows = rows.iter().enumerate().filter(move |(_, row)| wants(row, bytes));
        rows.map(move |(row, _)| Case { row, payload_bytes: bytes })
    };
    sizes.into_iter().flat_map(at).collect()
}

/// Runs all rounds of all cases. A case that fails once is not run again.
pub(crate) fn run(
    rows: &mut [Row],
    cases: &[Case],
    sink: &Result<Destination, String>,
    schedule: Schedule,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = cases.iter().map(|_| Ok(Vec::new())).collect();
    let total = cases.len() * (schedule.rounds as usize + 1);
    for round in 0..=schedule.rounds {
        for place in 0..cases.len() {
            let index = if round % 2 == 0 { place } else { cases.len() - 1 - place };
            let (case, Ok(runs)) = (cases[index], &mut outcomes[index]) else { continue };
            let row = &mut rows[case.row];
            let done = round as usize * cases.len() + place;
            let payload_bytes = case.payload_bytes;
            progress(Progress { done, total, name: &row.name, payload_bytes });
            let result = match round {
                0 => run_once(row, sink, payload_bytes, schedule.sample.min(WARM_UP)),
                _ => run_undisturbed(row, sink, payload_bytes, schedule.sample),
            };
            match result {
                Ok(_) if round == 0 => {}
                Ok(run) => runs.push(run),
                Err(why) => outcomes[index] = Err(why),
            }
        }
    }
    outcomes
}

/// Runs a row, and again if other programs got in its way. Rows over loopback sleep by nature.
fn run_undisturbed(
    row: &mut Row,
    sink: &Result<Destination, String>,
    payload_bytes: usize,
    duration: Duration,
) -> Result<Run, String> {
    let mut best = run_once(row, sink, payload_bytes, duration)?;
    for _ in 0..SECOND_CHANCES {
        if best.cpu_share >= UNDISTURBED || row.path == Path::Loopback {
            break;
        }
        let again = run_once(row, sink, payload_bytes, duration)?;
        if again.cpu_share > best.cpu_share {
            best = again;
        }
    }
    Ok(best)
}

fn run_once(
    row: &mut Row,
    sink: &Result<Destination, String>,
    payload_bytes: usize,
    duration: Duration,
) -> Result<Run, String> {
    // Only rows that send to the sink look at their destination.
    let nowhere = Destination { address: ([127, 0, 0, 1], 9).into(), device: String::new() };
    let destination = match (sink, row.path) {
        (Ok(sink), Path::Sink) => sink,
        (Err(why), Path::Sink) => return Err(format!("there is no sink: {why}")),
        (_, Path::Loopback | Path::Memory) => &nowhere,
    };
    let (begun, cpu_before) = (Instant::now(), thread_cpu_seconds());
    let Measured { sample, tls } = (row.work)(destination, payload_bytes, duration)?;
    let (cpu, elapsed) = (thread_cpu_seconds() - cpu_before, begun.elapsed());
    if sample.messages == 0 || sample.elapsed.is_zero() {
        return Err("no message was sent in the time given".to_owned());
    }
    let told = elapsed >= TELLING;
    let cpu_share = if told { (cpu / elapsed.as_secs_f64()).min(1.0) } else { 1.0 };
    Ok(Run { sample, cpu_share, tls })
}

/// The time that this thread has had a processor.
fn thread_cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::super::rows::Work;
    use super::*;

    const SAMPLE: Sample = Sample {
        bytes: 1,
        messages: 1,
        elapsed: Duration::from_secs(1),
        zerocopied_fraction: None,
        syscalls: 1,
    };
    const TWICE: Schedule = Schedule { rounds: 2, sample: Duration::from_millis(20) };

    fn sink() -> Result<Destination, String> {
        Ok(Destination { address: ([10, 0, 0, 2], 9).into(), device: "dummy".to_owned() })
    }

    /// A row that notes its runs in `log`, and fails from its run number `fails` on.
    fn noted(name: &'static str, log: &Rc<RefCell<Vec<String>>>, fails: usize) -> Row {
        let (log, mut runs) = (Rc::clone(log), 0);
        let work = move |_: &Destination, bytes: usize, time: Duration| {
            log.borrow_mut().push(format!("{name}@{bytes} {}ms", time.as_millis()));
            runs += 1;
            if runs > fails { Err("out of order".to_owned()) } else { Ok(SAMPLE.into()) }
        };
        Row::swept(name, "", Box::new(work))
    }

    #[test]
    fn rounds_are_interleaved_and_go_back_and_forth() {
        let log = Rc::default();
        let mut rows = [noted("a", &log, 99), noted("b", &log, 99)];
        let cases = cases(&rows, &[1, 2]);
        let mut seen = Vec::new();
        let outcomes =
            run(&mut rows, &cases, &sink(), TWICE, &mut |progress| seen.push(progress.done));
        let forth = ["a@1", "b@1", "a@2", "b@2"];
        let back = ["b@2", "a@2", "b@1", "a@1"];
        let mut expected: Vec<String> = forth.iter().map(|run| format!("{run} 10ms")).collect();
        expected.extend(back.iter().chain(&forth).map(|run| format!("{run} 20ms")));
        assert_eq!(*log.borrow(), expected);
        assert_eq!(seen, (0..12).collect::<Vec<_>>());
        assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap().len() == 2));
    }

    #[test]
    fn a_row_that_fails_is_left_alone_and_says_why() {
        let log = Rc::default();
        let mut rows = [noted("a", &log, 1), noted("b", &log, 99)];
        let cases = cases(&rows, &[1]);
        let outcomes = run(&mut rows, &cases, &sink(), TWICE, &mut |_| {});
        assert_eq!(outcomes[0], Err("out of order".to_owned()));
        assert_eq!(outcomes[1], Ok(vec![Run { sample: SAMPLE, cpu_share: 1.0, tls: None }; 2]));
        assert_eq!(log.borrow().iter().filter(|run| run.starts_with('a')).count(), 2);
    }

    #[test]
    fn without_a_sink_the_rows_that_need_it_are_skipped() {
        let log = Rc::default();
        let local = Row { path: Path::Loopback, ..noted("local", &log, 99) };
        let mut rows = [noted("a", &log, 99), local];
        let cases = cases(&rows, &[1]);
        let outcomes = run(&mut rows, &cases, &Err("no namespaces".into()), TWICE, &mut |_| {});
        assert_eq!(outcomes[0], Err("there is no sink: no namespaces".to_owned()));
        assert!(outcomes[1].is_ok());
    }

    #[test]
    fn a_disturbed_run_gets_a_second_chance_but_not_over_loopback() {
        let log = Rc::default();
        let asleep = |name| {
            let mut noted = noted(name, &log, 99);
            let work: Work = Box::new(move |to, bytes, time| {
                std::thread::sleep(2 * TELLING);
                (noted.work)(to, bytes, time)
            });
            Row::swept(name, "", work)
        };
        let mut rows = [asleep("a"), Row { path: Path::Loopback, ..asleep("local") }];
        let cases = cases(&rows, &[1]);
        let outcomes = run(&mut rows, &cases, &sink(), TWICE, &mut |_| {});
        let runs = |name| log.borrow().iter().filter(|run| run.starts_with(name)).count();
        assert_eq!(runs("a"), 1 + 2 * (1 + SECOND_CHANCES as usize));
        assert_eq!(runs("local"), 1 + 2);
        assert!(outcomes[0].as_ref().unwrap().iter().all(|run| run.cpu_share < 0.5));
    }

    #[test]
    fn each_row_gets_its_payloads() {
        let log = Rc::default();
        let rows = [
            noted("swept", &log, 0),
            Row { payloads: Payloads::Largest, ..noted("largest", &log, 0) },
            Row { payloads: Payloads::Fixed(15), ..noted("fixed", &log, 0) },
        ];
        let found = cases(&rows, &[10, 20]);
        let expected = [(0, 10), (2, 15), (0, 20), (1, 20)];
        assert_eq!(found, expected.map(|(row, payload_bytes)| Case { row, payload_bytes }));
    }
}
