//! `memory`: the suite of that name alone, with a table a part.

use anyhow::Result;
use clap::Args as ClapArgs;

use super::findings::{Asked, print, record};
use super::shown_as_typed;
use crate::report::progress;
use crate::suite::Findings;
use crate::suite::memory::{self, Part};

shown_as_typed!(Part);

/// Compare what caches take with what they were told to keep to; count what they allocate and leave
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// Parts to run
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Part::ALL)]
    parts: Vec<Part>,
    #[command(flatten)]
    asked: Asked,
}

/// Runs the parts and prints their tables.
pub fn run(args: &Args) -> Result<()> {
    let mut csv = args.asked.csv()?;
    let bar = progress(args.parts.len() as u64, "memory");
    for &part in &args.parts {
        bar.set_message(format!("memory: {part}"));
        let mut findings = Findings::default();
        memory::run_part(part, &args.asked.plan(), &mut findings)?;
        record(&mut csv, &findings)?;
        bar.inc(1);
        bar.suspend(|| print(part.title(), &findings));
    }
    bar.finish_and_clear();
    Ok(())
}
