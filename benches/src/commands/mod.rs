//! The subcommands, one file each.

pub mod against;
pub mod all;
pub mod churn;
pub mod filter;
mod findings;
pub mod gate;
pub mod leases;
pub mod limit;
pub mod memory;
pub mod miss_ratio;
pub mod raw;
pub mod replay;
pub mod scenario;
pub mod sessions;
pub mod speed;
pub mod stress;
pub mod tail;

use anyhow::{Result, bail, ensure};
use clap::{Args, Command};

use crate::cache::Kind;

/// The options of a subcommand as if these had been typed: what a suite runs is what a person can
/// run too.
fn typed<A: Args>(options: &[&str]) -> Result<A> {
    let command = A::augment_args(Command::new("suite").no_binary_name(true));
    Ok(A::from_arg_matches(&command.try_get_matches_from(options)?)?)
}

/// All caches that are built in, as `--caches` takes them.
fn built() -> String {
    let names: Vec<&str> = Kind::BUILT.iter().map(|kind| kind.name()).collect();
    names.join(",")
}

/// Refuses a value of an option that is not within a range.
fn range(option: &str, value: f64, least: f64, most: f64) -> Result<()> {
    ensure!((least..=most).contains(&value), "{option} is {value}; allowed is {least} to {most}");
    Ok(())
}

/// Shows the values of an option as the user types them.
macro_rules! shown_as_typed {
    ($($option:ty),+) => {$(
        impl std::fmt::Display for $option {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let typed = clap::ValueEnum::to_possible_value(self);
                f.write_str(typed.as_ref().map_or("", |typed| typed.get_name()))
            }
        }
    )+};
}
use shown_as_typed;

/// Which caches a comparison takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Caches {
    /// Caches to compare, separated by commas [default: those of the table that are built in]
    #[arg(long, value_enum, value_delimiter = ',')]
    caches: Vec<Kind>,
}

impl Caches {
    /// Those asked for, or of these the ones that are built in.
    fn or(&self, default: &[Kind]) -> Result<Vec<Kind>> {
        let mut kinds: Vec<Kind> = Vec::new();
        for &kind in if self.caches.is_empty() { default } else { &self.caches } {
            let is_wanted = !self.caches.is_empty() || Kind::BUILT.contains(&kind);
            if is_wanted && !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        if kinds.is_empty() {
            bail!("no cache to measure");
        }
        Ok(kinds)
    }
}
