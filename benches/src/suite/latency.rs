//! Latency under load: the standard scenarios.

use anyhow::Result;

use super::{Findings, Plan};
use crate::report::progress;
use crate::scenario::{self, Entrant, run, show};

/// A quick run measures each scenario so long, in seconds, or until there are so many requests: a
/// thousandth of those is enough for a percentile.
const QUICK_SECONDS: f64 = 0.6;
const QUICK_REQUESTS: f64 = 12_000.0;

/// Runs the standard scenarios with all caches there are; see [`show::figures`] for what it hands
/// in.
///
/// # Errors
/// As [`run::run`].
pub fn run(plan: &Plan, findings: &mut Findings) -> Result<()> {
    let bar = progress(0, "latency");
    let options =
        run::Options { seed: plan.seed, rushes: plan.pick(6, 11), ..run::Options::default() };
    for scenario in scenario::standard()? {
        let measured = scenario.measured();
        let rate = scenario.load.schedule(0.0, measured, 1).total() / measured;
        let quick = (QUICK_REQUESTS / rate).max(QUICK_SECONDS).min(measured);
        let scenario = scenario.lasting(plan.pick(quick, measured));
        let entrants = Entrant::all(&scenario);
        for absent in &entrants.absent {
            findings.note(absent);
        }
        let done = run::run(&scenario, &entrants.present, &options, &bar)?;
        let figures = show::figures(&done);
        let table = show::table(&done, &figures);
        bar.suspend(|| table.print());
        figures.into_iter().for_each(|figure| findings.figure(figure));
        for note in show::notes(&done) {
            findings.note(format!("{}: {note}", scenario.name));
        }
    }
    bar.finish_and_clear();
    Ok(())
}
