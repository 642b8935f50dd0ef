//! Latency under load: the standard scenarios.

use anyhow::Result;

use super::{Findings, Plan};
use crate::report::progress;
use crate::scenario::{self, Entrant, run, show};

/// Runs the standard scenarios with all caches there are; see [`show::figures`] for what it hands
/// in.
///
/// # Errors
/// As [`run::run`].
pub fn run(plan: &Plan, findings: &mut Findings) -> Result<()> {
    let bar = progress(0, "latency");
    let options =
        run::Options { seed: plan.seed, rushes: plan.pick(5, 11), ..run::Options::default() };
    for scenario in scenario::standard()? {
        let seconds = plan.pick(scenario.seconds.min(0.6), scenario.seconds);
        let scenario = scenario.lasting(seconds);
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
