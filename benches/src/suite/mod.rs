//! Suites: what a whole run of the benchmarks is made of.
//!
//! A suite measures one thing (speed, memory, latency under load, ...) and hands in [`Figure`]s;
//! terminal table, CSV, JSON, page, history and comparison with a baseline are all made of those,
//! so that a figure is measured in one place and shown the same everywhere.
//!
//! A new suite is a line in [`SUITES`]: the whole run, its page and `--only` know no other list.

pub mod child;
pub mod concurrency;
pub mod counts;
mod emptied;
pub mod latency;
pub mod memory;
pub mod stress;

use std::fmt;

use crate::commands::{churn, filter, limit, miss_ratio, raw, speed, tail};
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
pub const SUITES: &[Suite] = &[
    Suite {
        name: "speed",
        about: "nanoseconds of a hit, a miss, a set, an overwrite, beside other caches",
        axis: "",
        run: speed::suite,
    },
    Suite {
        name: "tail",
        about: "how long the slowest sets take, in processor time of their own",
        axis: "",
        run: tail::suite,
    },
    Suite {
        name: "limit",
        about: "what the process grows by when a cache is told a limit, and bytes an entry",
        axis: "",
        run: limit::suite,
    },
    Suite {
        name: "churn",
        about: "live payload and write amplification while sizes change all the time",
        axis: "",
        run: churn::suite,
    },
    Suite { name: "raw", about: "raw memory of a pool beside malloc", axis: "", run: raw::suite },
    Suite {
        name: "filter",
        about: "the cuckoo filter beside the filters of other crates",
        axis: "",
        run: filter::suite,
    },
    Suite {
        name: "concurrency",
        about: "operations a second by threads, on one cache that all share",
        axis: "threads",
        run: concurrency::run,
    },
    Suite {
        name: "latency",
        about: "how long requests of the standard scenarios take, from the moment they were due",
        axis: "percentile",
        run: latency::run,
    },
    Suite {
        name: "counts",
        about: "instructions, allocations and bytes an entry, which every run repeats",
        axis: "",
        run: counts::run,
    },
    Suite {
        name: "memory",
        about: "resident memory by limit, bytes an entry, leaks, allocations, views, drift",
        axis: "limit or length of values, bytes",
        run: memory::run,
    },
    Suite {
        name: "stress",
        about: "memory pressure, endurance, failing memory, a crowd on one key",
        axis: "seconds",
        run: stress::run,
    },
    Suite {
        name: "hits",
        about: "miss ratios on recorded traces, every cache with the same number of objects",
        axis: "capacity, % of the trace's objects",
        run: miss_ratio::suite,
    },
];

/// How much a run may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What a person waits for: all suites together in less than five minutes on two processors,
    /// once built.
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
#[derive(Default)]
pub struct Findings {
    figures: Vec<Figure>,
    notes: Vec<String>,
    told: Option<Listener>,
}

/// Hears of everything that is handed in, at once.
pub type Listener = Box<dyn FnMut(Found<'_>)>;

/// Something that was handed in.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// A figure.
    Figure(&'a Figure),
    /// A sentence for the reader.
    Note(&'a str),
}

impl Findings {
    /// Findings that `listener` hears of one by one.
    #[must_use]
    pub fn told_to(listener: Listener) -> Self {
        Self { told: Some(listener), ..Self::default() }
    }

    /// Takes a figure. One that is no finite number becomes a note: nothing was measured.
    pub fn figure(&mut self, figure: Figure) {
        if !figure.value.is_finite() {
            return self.note(format!("{} came out as {}", figure.name(), figure.value));
        }
        if let Some(listener) = &mut self.told {
            listener(Found::Figure(&figure));
        }
        self.figures.push(figure);
    }

    /// Takes a sentence for the reader: what was not measured and why.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if let Some(listener) = &mut self.told {
            listener(Found::Note(&note));
        }
        self.notes.push(note);
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

impl fmt::Debug for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Findings")
            .field("figures", &self.figures)
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Unit;

    #[test]
    fn suites_have_names_of_their_own() {
        for (at, suite) in SUITES.iter().enumerate() {
            assert!(!suite.name.is_empty() && !suite.about.is_empty());
            assert!(SUITES[..at].iter().all(|other| other.name != suite.name), "{}", suite.name);
        }
    }

    #[test]
    fn what_is_no_number_becomes_a_note() {
        let mut findings = Findings::default();
        findings.figure(Figure::new("s", "c", "hypercache", "time", Unit::Ns, f64::NAN));
        assert!(findings.figures().is_empty());
        assert_eq!(findings.notes(), ["s / c / hypercache / time came out as NaN"]);
    }
}
