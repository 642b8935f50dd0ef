//! `stress`: the suite of that name alone, with a table a part.

use anyhow::{Result, ensure};
use clap::Args as ClapArgs;

use super::findings::{Asked, print, record};
use super::shown_as_typed;
use crate::report::progress;
use crate::suite::Findings;
use crate::suite::stress::{self, Part, Wish};

shown_as_typed!(Part);

/// Load HyperCache where it hurts, and verify every value
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// Parts to run
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Part::ALL)]
    parts: Vec<Part>,
    /// Minutes of the endurance [default: 2; a twelfth of one with --quick]
    #[arg(long)]
    minutes: Option<f64>,
    /// Threads of the herd [default: 1000]
    #[arg(long)]
    threads: Option<usize>,
    #[command(flatten)]
    asked: Asked,
}

/// Runs the parts and prints their tables.
pub fn run(args: &Args) -> Result<()> {
    if let Some(minutes) = args.minutes {
        ensure!(
            (0.001..=10_080.0).contains(&minutes),
            "--minutes is {minutes}; allowed is 0.001 to 10080"
        );
    }
    if let Some(threads) = args.threads {
        ensure!((1..=10_000).contains(&threads), "--threads is {threads}; allowed is 1 to 10000");
    }
    let mut csv = args.asked.csv()?;
    let wish = Wish { minutes: args.minutes, threads: args.threads };
    let bar = progress(args.parts.len() as u64, "stress");
    for &part in &args.parts {
        bar.set_message(format!("stress: {part}"));
        let mut findings = Findings::default();
        let done = stress::run_part(part, &args.asked.plan(), wish, &mut findings);
        record(&mut csv, &findings)?;
        bar.inc(1);
        bar.suspend(|| print(part.title(), &findings));
        done?;
    }
    bar.finish_and_clear();
    Ok(())
}
