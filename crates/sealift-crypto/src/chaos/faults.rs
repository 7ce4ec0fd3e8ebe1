//! Which faults there are, how often they come, and which one a job gets.

use crate::random::Random;

/// How often each fault comes: once in so many jobs, never for 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The job's completion never shows. It comes home when `quiesce` gives up on it, or is dropped
    /// with the engine.
    pub lost: usize,
    /// Its completion shows twice.
    pub duplicated: usize,
    /// Its completion shows some polls later.
    pub late: usize,
    /// Its completion overtakes others.
    pub reordered: usize,
    /// Its completion names another job, which may not even be done.
    pub wrong_slot: usize,
    /// It fails.
    pub error: usize,
    /// What was sealed is altered in its tag, and called good.
    pub corrupted: usize,
    /// For some polls the engine takes nothing and gives nothing back.
    pub stall: usize,
    /// The engine dies between two jobs of one submission; what is under way fails. It lives again
    /// some polls later.
    pub death: usize,
}

impl Faults {
    /// Every fault, each once in so many jobs.
    pub fn all(times: usize) -> Self {
        Self { lost: times, wrong_slot: times, corrupted: times, ..Self::honest(times) }
    }

    /// Every fault that a caller can tell and make good without a deadline: nothing is lost, and
    /// nothing that came back as good is wrong. A wrong slot is none of them: a job in whose place
    /// another is named is announced by nobody, and comes home as one that is lost.
    pub fn honest(times: usize) -> Self {
        Self {
            lost: 0,
            duplicated: times,
            late: times,
            reordered: times,
            wrong_slot: 0,
            error: times,
            corrupted: 0,
            stall: times,
            death: times,
        }
    }
}

/// What happens to a job once the inner engine is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Good,
    Lost,
    Duplicated,
    Late {
        polls: usize,
    },
    /// `at` and `other` are any numbers, of which the rest of a division chooses.
    Reordered {
        at: usize,
    },
    WrongSlot {
        other: usize,
    },
    Error,
    Corrupted,
}

/// The most polls that something is late, stalled or dead.
const MOST_POLLS: usize = 16;

impl Fate {
    /// Drawn whole before the job is taken: a seed gives the same fates whatever the timing.
    pub(super) fn draw(faults: &Faults, random: &mut Random) -> Self {
        let polls = polls(random);
        let (at, other) = (random.next() as usize, random.next() as usize);
        let odds = [
            (faults.lost, Self::Lost),
            (faults.duplicated, Self::Duplicated),
            (faults.late, Self::Late { polls }),
            (faults.reordered, Self::Reordered { at }),
            (faults.wrong_slot, Self::WrongSlot { other }),
            (faults.error, Self::Error),
            (faults.corrupted, Self::Corrupted),
        ];
        let drawn = odds.map(|(times, fate)| random.once_in(times).then_some(fate));
        drawn.into_iter().flatten().next().unwrap_or(Self::Good)
    }
}

/// How many polls something lasts.
pub(super) fn polls(random: &mut Random) -> usize {
    1 + random.below(MOST_POLLS)
}
