//! Throughput by threads: requests of standard scenarios in closed loops.

use std::time::Duration;

use anyhow::Result;

use super::{Findings, Plan};
use crate::report::progress;
use crate::scenario::{self, Entrant, run, show};

/// The suite that the figures belong to.
const SUITE: &str = "concurrency";

/// Which scenarios: entries that all fit, entries that do not, and one that servers can take part
/// in.
const SCENARIOS: [&str; 3] = ["morning-rush", "web-cache", "session-store"];

/// Runs them; see [`show::by_threads`] for what is handed in.
///
/// # Errors
/// As [`run::by_threads`].
pub fn run(plan: &Plan, findings: &mut Findings) -> Result<()> {
    let threads: &[usize] = plan.pick(&[1, 2, 4], &[1, 2, 4, 8, 16]);
    let options = run::Options {
        seed: plan.seed,
        rushes: plan.pick(6, 11),
        rush: Duration::from_millis(plan.pick(20, 100)),
    };
    let bar = progress(0, SUITE);
    for name in SCENARIOS {
        let scenario = scenario::named(name)?;
        let entrants = Entrant::all(&scenario);
        for absent in entrants.absent {
            findings.note(absent);
        }
        let runs = run::by_threads(&scenario, threads, &entrants.present, &options, &bar)?;
        let figures = show::by_threads(SUITE, &runs);
        bar.suspend(|| show::table_by_threads(&runs, &figures).print());
        figures.into_iter().for_each(|figure| findings.figure(figure));
    }
    bar.finish_and_clear();
    Ok(())
}
