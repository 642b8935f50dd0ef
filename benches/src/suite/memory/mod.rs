//! `memory`: what a cache takes, beside what it was told to keep to.
//!
//! - *entry*: bytes an entry over the lengths of values, of which all eight remainders by 8 count,
//!   since entries are aligned to 8;
//! - *limits*: growth of the process by limit, and at one limit while sizes drift, beside the peers;
//! - *leaks*: what is left of heap, address space, resident memory and files after everything was
//!   closed, and what a pool still charges after its stores are gone;
//! - *allocations*: calls of the process's allocator an operation;
//! - *views*: whether a view shows the value where it lies, or a copy.
//!
//! Bytes an entry, allocations and leaks are the same in every run of one build: the hash seed is
//! fixed, and one thread does all.

mod allocations;
mod entry;
mod leaks;
mod limits;
mod views;

use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::child::{self, Program};
use super::{Findings, Plan};
use crate::cache::Kind;
use crate::report::{Figure, Unit, progress};

/// The suite's name.
pub const NAME: &str = "memory";

/// What can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Bytes an entry over the lengths of values.
    Entry,
    /// Growth of the process by limit.
    Limits,
    /// What is left when everything was closed.
    Leaks,
    /// Calls of the process's allocator an operation.
    Allocations,
    /// Whether views copy.
    Views,
}

impl Part {
    /// Every part, in the order of the tables.
    pub const ALL: [Self; 5] =
        [Self::Entry, Self::Limits, Self::Leaks, Self::Allocations, Self::Views];

    /// What its table is called.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Entry => "Bytes an entry, index and all included (keys of 16 bytes)",
            Self::Limits => "Growth of the process beside the limit",
            Self::Leaks => "Left when everything was closed",
            Self::Allocations => "Calls of the process's allocator an operation",
            Self::Views => "Bytes that are copied to make a view, or to commit a draft",
        }
    }
}

/// A part that takes a process of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Job {
    /// Counts the allocator's calls, of these caches by their names.
    Allocations {
        /// Seed of the workload.
        seed: u64,
    },
    /// Opens and closes everything, over and over.
    Leaks {
        /// Seed of the workload.
        seed: u64,
        /// How often.
        rounds: u32,
    },
}

impl Job {
    pub(super) fn run(&self, findings: &mut Findings) -> Result<()> {
        match *self {
            Self::Allocations { seed } => allocations::measure(seed, findings),
            Self::Leaks { seed, rounds } => leaks::measure(seed, rounds, findings),
        }
    }

    pub(super) const fn what(&self) -> &'static str {
        match self {
            Self::Allocations { .. } => "calls of the allocator an operation",
            Self::Leaks { .. } => "what is left after everything was closed",
        }
    }
}

/// Runs every part.
pub fn run(plan: &Plan, findings: &mut Findings) -> Result<()> {
    let bar = progress(Part::ALL.len() as u64, "memory");
    for part in Part::ALL {
        run_part(part, plan, findings)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Runs one part.
pub fn run_part(part: Part, plan: &Plan, findings: &mut Findings) -> Result<()> {
    let seed = plan.seed;
    match part {
        Part::Entry => entry::measure(plan, findings),
        Part::Limits => limits::measure(plan, findings),
        Part::Leaks => {
            let job = Job::Leaks { seed, rounds: plan.pick(8, 64) };
            child::run(Program::Counting, &child::Job::Memory(job), findings)
        }
        Part::Allocations => {
            let job = Job::Allocations { seed };
            child::run(Program::Counting, &child::Job::Memory(job), findings)
        }
        Part::Views => views::measure(plan, findings),
    }
}

/// A figure of this suite about HyperCache.
fn ours(case: &str, metric: &str, unit: Unit, value: f64) -> Figure {
    Figure::new(NAME, case, Kind::Ours.name(), metric, unit, value)
}
