//! The subcommands, one file each.

pub mod churn;
pub mod limit;
pub mod raw;
pub mod replay;
pub mod speed;
pub mod tail;

use anyhow::{Result, bail};
use clap::Args;

use crate::cache::Kind;

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
#[derive(Args, Clone, Debug)]
pub struct Caches {
    /// Caches to compare, separated by commas [default: all that the table knows]
    #[arg(long, value_enum, value_delimiter = ',')]
    caches: Vec<Kind>,
}

impl Caches {
    /// Those asked for, or these.
    fn or(&self, default: &[Kind]) -> Result<Vec<Kind>> {
        let chosen = if self.caches.is_empty() { default } else { &self.caches };
        let mut kinds: Vec<Kind> = Vec::new();
        for &kind in chosen {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        if kinds.is_empty() {
            bail!("no cache to measure");
        }
        Ok(kinds)
    }
}
