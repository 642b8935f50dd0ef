//! Suites: what a whole run of the benchmarks is made of.
//!
//! A suite measures one thing (speed, memory, latency under load, ...) and hands in [`Figure`]s;
//! terminal table, CSV, JSON, page, history and comparison with a baseline are all made of those,
//! so that a figure is measured in one place and shown the same everywhere.

use crate::report::Figure;

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
