//! Who is measured when, and how the samples are put together.
//!
//! 1. Each round measures every row once, forth and back in turns, so that a drift of the machine
//!    hits all alike. The first round warms the machine up and is not counted.
//! 2. A row that fails once is not measured again, and says why.
//! 3. Samples in the same place are of the same round, and a ratio is taken within one.

/// The samples of a row, or why there are none.
pub type Outcome<S> = Result<Vec<S>, String>;

/// Measures the rows of these names by `measure`. `progress` hears what is about to run.
pub fn measure_in_turns<S>(
    rounds: u32,
    names: &[String],
    progress: &mut dyn FnMut(&str),
    mut measure: impl FnMut(usize) -> Result<S, String>,
) -> Vec<Outcome<S>> {
    let mut outcomes: Vec<Outcome<S>> = names.iter().map(|_| Ok(Vec::new())).collect();
    for round in 0..=rounds {
        for index in turns(round, names.len()) {
            let Ok(samples) = &mut outcomes[index] else { continue };
            progress(&format!("round {round} of {rounds}: {}", names[index]));
            match measure(index) {
                Ok(sample) if round > 0 => samples.push(sample),
                Ok(_) => {}
                Err(why) => outcomes[index] = Err(why),
            }
        }
    }
    outcomes
}

/// The order of a round.
fn turns(round: u32, count: usize) -> Vec<usize> {
    let forth = 0..count;
    if round.is_multiple_of(2) { forth.collect() } else { forth.rev().collect() }
}

/// The median of a figure of the samples; `None` of nothing.
pub fn median<S>(samples: &[S], figure: impl Fn(&S) -> f64) -> Option<f64> {
    middle(samples.iter().map(figure).collect())
}

/// The median of how a figure of `ours` compares with that of `theirs` in the same round.
pub fn ratio<S>(ours: &[S], theirs: &[S], figure: impl Fn(&S) -> f64) -> Option<f64> {
    middle(ours.iter().zip(theirs).map(|(our, its)| figure(our) / figure(its)).collect())
}

fn middle(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let upper = figures.get(figures.len() / 2)?;
    let lower = figures.get(figures.len().saturating_sub(1) / 2)?;
    Some((lower + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_go_forth_and_back_and_the_first_is_not_counted() {
        let names = ["a", "b"].map(str::to_owned);
        let (mut order, mut said) = (Vec::new(), Vec::new());
        let outcomes =
            measure_in_turns(2, &names, &mut |what| said.push(what.to_owned()), |index| {
                order.push(index);
                Ok(order.len())
            });
        assert_eq!(order, [0, 1, 1, 0, 0, 1]);
        assert_eq!(outcomes, [Ok(vec![4, 5]), Ok(vec![3, 6])]);
        assert_eq!(said[3], "round 1 of 2: a");
    }

    #[test]
    fn a_row_that_fails_is_left_alone() {
        let names = ["a", "b"].map(str::to_owned);
        let mut runs = 0;
        let outcomes = measure_in_turns(3, &names, &mut |_| {}, |index| {
            runs += usize::from(index == 0);
            if index == 0 && runs == 2 { Err("it broke".to_owned()) } else { Ok(()) }
        });
        assert_eq!(outcomes, [Err("it broke".to_owned()), Ok(vec![(); 3])]);
        assert_eq!(runs, 2);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let (ours, theirs) = ([3.0, 4.0, 2.0], [2.0, 2.0, 2.0]);
        assert_eq!(ratio(&ours, &theirs, |&figure| figure), Some(1.5));
        assert_eq!(ratio(&ours, &theirs[..2], |&figure| figure), Some(1.75));
        assert_eq!(median(&ours, |&figure| figure), Some(3.0));
        assert_eq!(median(&[0.0; 0], |&figure| figure), None);
    }
}
