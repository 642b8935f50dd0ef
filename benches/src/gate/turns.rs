//! Times of this build beside those of the baseline's build, in turns.
//!
//! The two programs run one after another, pair by pair, and who is first changes with every pair:
//! what a busy machine does to one it soon does to the other. A pair gives one quotient of medians;
//! the median quotient and the interval that holds it with 95 % confidence are what is reported.
//! Memory is laid out anew in every process, so that the interval has the luck of that in it too.

use anyhow::Result;

use super::Program;
use super::counted::{CACHE, SUITE};
use crate::measure::median;
use crate::report::{Figure, Unit, progress};

/// Rounds of a turn, the median of which is its time.
const ROUNDS: u32 = 5;

/// The time an operation of `now` by that of `before`, for every case that both have.
pub fn measure(now: &Program, before: &Program, pairs: u32) -> Result<Vec<Figure>> {
    let known = before.cases()?;
    let cases: Vec<String> = now.cases()?.into_iter().filter(|case| known.contains(case)).collect();
    let bar = progress(cases.len() as u64 * u64::from(pairs), "times, in turns");
    let mut figures = Vec::new();
    for case in &cases {
        bar.set_message(format!("times: {case}"));
        let turn =
            |program: &Program| Ok::<_, anyhow::Error>(median(&mut program.times(case, ROUNDS)?));
        let mut quotients = Vec::new();
        for pair in 0..pairs {
            let quotient = if pair % 2 == 0 {
                let now = turn(now)?;
                now / turn(before)?
            } else {
                let before = turn(before)?;
                turn(now)? / before
            };
            quotients.push(quotient);
            bar.inc(1);
        }
        let figure = Figure::new(SUITE, case, CACHE, "time by the baseline's", Unit::Ratio, 0.0);
        figures.push(figure.of_samples(&quotients));
    }
    bar.finish_and_clear();
    Ok(figures)
}
