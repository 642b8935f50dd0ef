//! Suites: what a whole run of the benchmarks is made of.
//!
//! A suite measures one thing (speed, memory, latency under load, ...) and hands in [`Figure`]s;
//! terminal table, CSV, JSON, page, history and comparison with a baseline are all made of those,
//! so that a figure is measured in one place and shown the same everywhere.
//!
//! A new suite is a line in [`SUITES`]: the whole run, its page and `--only` know no other list.

use crate::commands::speed;
use crate::report::Figure;

/// One suite.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// Its name, which is also the `suite` of its figures.
    pub name: &'static str,
    /// What it shows, as half a sentence: "nanoseconds of a hit, a miss, a set".
    pub about: &'static str,
    /// What stands on the horizontal axis of its curves, with the unit ("threads", "limit, bytes"):
    /// what [`Figure::at`] means in it. Empty where no figure has one.
    pub axis: &'static str,
    /// Measures. A figure is handed in as soon as it is known, so that a broken run leaves it.
    pub run: fn(&Plan, &mut Findings) -> anyhow::Result<()>,
}

/// Every suite, in the order of the whole run. A line each; keep what is quick to the front.
pub const SUITES: &[Suite] = &[Suite {
    name: "speed",
    about: "nanoseconds of a hit, a miss, a set, an overwrite, beside other caches",
    axis: "",
    run: speed::suite,
}];

/// How much a run may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What a person waits for: all suites together in less than five minutes on two cores.
    Quick,
    /// Everything.
    Full,
}

/// What every suite is told.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How much the run may take.
    pub extent: Extent,
    /// The seed of every workload.
    pub seed: u64,
}

impl Plan {
    /// `quick` or `full`, by the plan's extent.
    #[must_use]
    pub const fn pick<T: Copy>(&self, quick: T, full: T) -> T {
        match self.extent {
            Extent::Quick => quick,
            Extent::Full => full,
        }
    }
}

/// What a suite hands its results to.
#[derive(Debug, Default)]
pub struct Findings {
    figures: Vec<Figure>,
    notes: Vec<String>,
}

impl Findings {
    /// Takes a figure.
    pub fn figure(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Takes a sentence for the reader: what was not measured and why.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// All figures, in the order they were measured.
    #[must_use]
    pub fn figures(&self) -> &[Figure] {
        &self.figures
    }

    /// All notes.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}
