//! What figures were in earlier runs.

use crate::gate::{Record, history};

use super::grid::OURS;
use super::run::Run;
use super::{Figure, Repeats, Unit, headline};

/// One figure, run by run.
#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    /// Which.
    pub name: String,
    /// What it counts in.
    pub unit: Unit,
    /// What it was, the oldest first; two at least.
    pub values: Vec<f64>,
}

impl Trend {
    /// How much the last value is beside the first, as a share of it: 0.01 is a per cent more.
    #[must_use]
    pub fn change(&self) -> f64 {
        match (self.values.first(), self.values.last()) {
            (Some(first), Some(last)) if *first != 0.0 => last / first - 1.0,
            _ => 0.0,
        }
    }
}

/// Those of our figures whose course says something: what repeats exactly, and the headlines.
pub fn worth_keeping(run: &Run) -> impl Iterator<Item = &Figure> {
    let headlines: Vec<String> =
        headline::found(&run.figures).iter().map(|found| found.versus.ours.name()).collect();
    run.figures.iter().filter(move |figure| {
        figure.cache == OURS
            && (figure.repeats == Repeats::Exactly || headlines.contains(&figure.name()))
    })
}

/// The course of each of them through `past`, of which this run is the last.
#[must_use]
pub fn trends(run: &Run, past: &[Record]) -> Vec<Trend> {
    let course = |figure: &Figure| Trend {
        name: format!("{}: {}, {}", figure.suite, figure.case, figure.metric),
        unit: figure.unit,
        values: history::trend(past, figure),
    };
    worth_keeping(run).map(course).filter(|trend| trend.values.len() > 1).collect()
}
