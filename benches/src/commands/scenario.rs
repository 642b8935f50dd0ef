//! `scenario`: latency under a load that does not wait, as files describe it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args as ClapArgs;

use crate::report::{Csv, Table, progress};
use crate::scenario::{self, Entrant, run as runner, show};

/// Run scenarios: latency under load, without coordinated omission
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// Standard scenarios by name, or files; all standard ones without any
    scenarios: Vec<String>,
    /// Name the standard scenarios and end
    #[arg(long)]
    list: bool,
    /// Caches, separated by commas [default: all that are built in, and servers that are installed
    /// where a scenario allows a round trip]
    #[arg(long, value_delimiter = ',')]
    caches: Vec<Entrant>,
    /// Stretch or shorten every scenario to so many seconds, with all times in it
    #[arg(long)]
    seconds: Option<f64>,
    /// Multiply the keys and the limit of every scenario: below 1, there is less to fill
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Turns of closed loops a cache
    #[arg(long, default_value_t = 7)]
    rushes: u32,
    /// Milliseconds of such a turn
    #[arg(long, default_value_t = 40)]
    millis: u64,
    /// Seed of the workload
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also write every figure to this file
    #[arg(long)]
    csv: Option<PathBuf>,
}

/// Runs the scenarios and prints a table each.
pub fn run(args: &Args) -> Result<()> {
    if args.list {
        let mut table = Table::new("Standard scenarios", &["<name", "<about"]);
        for scenario in scenario::standard()? {
            table.row(vec![scenario.name, scenario.about]);
        }
        table.print();
        return Ok(());
    }
    ensure!(args.rushes > 0, "--rushes is 0; at least 1 turn is needed");
    let mut scenarios = match args.scenarios.as_slice() {
        [] => scenario::standard()?,
        names => names.iter().map(|name| scenario::named(name)).collect::<Result<_>>()?,
    };
    if let Some(seconds) = args.seconds {
        ensure!(
            (0.01..=86_400.0).contains(&seconds),
            "--seconds is {seconds}; allowed is 0.01 to 86400"
        );
        scenarios = scenarios.into_iter().map(|scenario| scenario.lasting(seconds)).collect();
    }
    ensure!(
        (1e-6..=1e3).contains(&args.scale),
        "--scale is {}; allowed is 0.000001 to 1000",
        args.scale
    );
    scenarios = scenarios.into_iter().map(|scenario| scenario.scaled(args.scale)).collect();
    let options = runner::Options {
        seed: args.seed,
        rushes: args.rushes,
        rush: Duration::from_millis(args.millis),
    };
    let header = ["scenario", "cache", "metric", "at", "value", "low", "high", "samples"];
    let mut csv = Csv::create(args.csv.as_deref(), &header)?;
    let bar = progress(0, "scenarios");
    for scenario in scenarios {
        let (entrants, absent) = if args.caches.is_empty() {
            let entrants = Entrant::all(&scenario);
            (entrants.present, entrants.absent)
        } else {
            (args.caches.clone(), Vec::new())
        };
        let done = runner::run(&scenario, &entrants, &options, &bar)?;
        let figures = show::figures(&done);
        for figure in &figures {
            let number = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
            csv.row(&[
                figure.case.clone(),
                figure.cache.clone(),
                figure.metric.clone(),
                number(figure.at),
                figure.value.to_string(),
                number(figure.interval.map(|(low, _)| low)),
                number(figure.interval.map(|(_, high)| high)),
                figure.samples.to_string(),
            ])?;
        }
        let mut table = show::table(&done, &figures);
        absent.into_iter().for_each(|absent| {
            table.note(absent);
        });
        bar.suspend(|| table.print());
    }
    bar.finish_and_clear();
    Ok(())
}
