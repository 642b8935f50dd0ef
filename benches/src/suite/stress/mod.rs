//! `stress`: HyperCache where it hurts, with every value verified.
//!
//! - *pressure*: threads load a pool whose limit goes up and down, in which stores come and go, and
//!   whose raw memory is taken until its pressure is critical;
//! - *endurance*: minutes of one load whose sizes drift, and whether throughput and memory stay;
//! - *faults*: a share of all charges, commits and reservations of memory fails;
//! - *herd*: a thousand threads on one key, reading it while it is written, and claiming it while it
//!   is missing.
//!
//! Each is a process of its own. A value that is wrong or stale, an invariant that does not hold, a
//! failure other than want of memory, a pool that counts something after its stores have gone, and a
//! process that dies are all errors of the suite; the figures are what it was like until then.

mod endurance;
#[cfg(feature = "faults")]
mod faults;
mod herd;
mod pressure;
mod value;
mod world;

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::child::{self, Program};
use super::{Findings, Plan};
use crate::cache::Kind;
use crate::report::{Figure, Unit, progress};

/// The suite's name.
pub const NAME: &str = "stress";

/// The shares of failures that are injected, in per cent.
#[cfg_attr(not(feature = "faults"), expect(dead_code, reason = "used where failures are"))]
const FAULTS: [u32; 4] = [1, 5, 10, 20];

/// What can be run alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// A limit that moves, stores that come and go, raw memory.
    Pressure,
    /// A load for minutes.
    Endurance,
    /// Memory that fails.
    Faults,
    /// A crowd on one key.
    Herd,
}

impl Part {
    /// Every part, in the order of the tables.
    pub const ALL: [Self; 4] = [Self::Pressure, Self::Endurance, Self::Faults, Self::Herd];

    /// What its table is called.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Pressure => "Under pressure: the limit moves, stores come and go",
            Self::Endurance => "Endurance: one load while sizes drift",
            Self::Faults => "A share of all charges and commits of memory fails",
            Self::Herd => "A herd on one key",
        }
    }
}

/// How much of it, where the plan's is not wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// Minutes of the endurance.
    pub minutes: Option<f64>,
    /// Threads of the herd.
    pub threads: Option<usize>,
}

/// A part, in a process of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Job {
    /// Threads load a pool whose limit moves.
    Pressure {
        /// Seed of the load.
        seed: u64,
        /// How long.
        millis: u64,
    },
    /// One load while sizes drift.
    Endurance {
        /// Seed of the load.
        seed: u64,
        /// How long.
        millis: u64,
    },
    /// A share of all charges and commits fails.
    Faults {
        /// Seed of the load and of the failures.
        seed: u64,
        /// How many operations for each share.
        operations: u64,
    },
    /// Threads on one key.
    Herd {
        /// How many.
        threads: usize,
        /// For how long they read.
        millis: u64,
        /// How often they claim.
        crowds: u32,
    },
}

impl Job {
    pub(super) fn run(&self, findings: &mut Findings) -> Result<()> {
        match *self {
            Self::Pressure { seed, millis } => {
                pressure::run(seed, Duration::from_millis(millis), findings)
            }
            Self::Endurance { seed, millis } => {
                endurance::run(seed, Duration::from_millis(millis), findings)
            }
            #[cfg(feature = "faults")]
            Self::Faults { seed, operations } => FAULTS
                .into_iter()
                .try_for_each(|share| faults::run(seed, operations, share, findings)),
            #[cfg(not(feature = "faults"))]
            Self::Faults { .. } => {
                anyhow::bail!("this program was built without the feature `faults`")
            }
            Self::Herd { threads, millis, crowds } => {
                herd::run(threads, Duration::from_millis(millis), crowds, findings)
            }
        }
    }

    pub(super) const fn what(&self) -> &'static str {
        match self {
            Self::Pressure { .. } => "pressure",
            Self::Endurance { .. } => "endurance",
            Self::Faults { .. } => "injected failures",
            Self::Herd { .. } => "a herd on one key",
        }
    }
}

/// Runs every part.
pub fn run(plan: &Plan, findings: &mut Findings) -> Result<()> {
    let bar = progress(Part::ALL.len() as u64, "stress");
    for part in Part::ALL {
        run_part(part, plan, Wish::default(), findings)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Runs one part.
pub fn run_part(part: Part, plan: &Plan, wish: Wish, findings: &mut Findings) -> Result<()> {
    let seed = plan.seed;
    let mut start = |program, job| child::run(program, &child::Job::Stress(job), findings);
    match part {
        Part::Pressure => {
            start(Program::Own, Job::Pressure { seed, millis: plan.pick(3_000, 60_000) })
        }
        Part::Endurance => {
            let planned = plan.pick(5_000, 120_000);
            let millis = wish.minutes.map_or(planned, |minutes| (minutes * 60_000.0) as u64);
            start(Program::Own, Job::Endurance { seed, millis })
        }
        Part::Faults => {
            let operations = plan.pick(200_000, 2_000_000);
            start(Program::Faults, Job::Faults { seed, operations })
        }
        Part::Herd => {
            let threads = wish.threads.unwrap_or(1_000);
            let (millis, crowds) = (plan.pick(1_000, 10_000), plan.pick(3, 21));
            start(Program::Own, Job::Herd { threads, millis, crowds })
        }
    }
}

/// A figure of this suite.
fn figure(case: &str, metric: &str, unit: Unit, value: f64) -> Figure {
    Figure::new(NAME, case, Kind::Ours.name(), metric, unit, value)
}
