//! What the subcommands that are suites share: their options, and a table of what was found.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::cache::Kind;
use crate::report::run::{COLUMNS, cells};
use crate::report::{Csv, Table};
use crate::suite::{Extent, Findings, Plan};

/// How a suite is run alone.
#[derive(Args, Clone, Debug)]
pub struct Asked {
    /// Smaller and fewer: what `--quick` of the whole run takes
    #[arg(long)]
    quick: bool,
    /// Seed of the workloads
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also write every figure to this file
    #[arg(long)]
    csv: Option<PathBuf>,
}

impl Asked {
    /// What the suite is told.
    pub(super) fn plan(&self) -> Plan {
        let extent = if self.quick { Extent::Quick } else { Extent::Full };
        Plan { extent, seed: self.seed }
    }

    /// The file that was asked for, or none.
    pub(super) fn csv(&self) -> Result<Csv> {
        Csv::create(self.csv.as_deref(), &COLUMNS)
    }
}

/// Writes every figure to the file.
pub(super) fn record(csv: &mut Csv, findings: &Findings) -> Result<()> {
    for figure in findings.figures() {
        csv.row(&cells(figure))?;
    }
    Ok(())
}

/// A table of all figures: a row for each case and cache, a column for each metric.
pub(super) fn print(title: &str, findings: &Findings) {
    let figures = findings.figures();
    let metrics = distinct(figures.iter().map(|figure| figure.metric.as_str()));
    let rows = distinct(figures.iter().map(|figure| (&*figure.case, &*figure.cache)));
    let header: Vec<&str> = ["<", "<cache"].into_iter().chain(metrics.iter().copied()).collect();
    let mut table = Table::new(title, &header);
    for (case, cache) in rows {
        let of = |metric: &&str| {
            let found = figures.iter().find(|figure| {
                (&*figure.case, &*figure.cache, &*figure.metric) == (case, cache, metric)
            });
            found.map_or("-".to_owned(), |figure| figure.unit.show(figure.value))
        };
        let mut row = vec![case.to_owned(), cache.to_owned()];
        row.extend(metrics.iter().map(of));
        let is_ours_among_others =
            cache == Kind::Ours.name() && figures.iter().any(|figure| figure.cache != cache);
        if is_ours_among_others {
            table.strong(row);
        } else {
            table.row(row);
        }
    }
    for note in findings.notes() {
        table.note(note);
    }
    table.print();
}

fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for one in all {
        if !seen.contains(&one) {
            seen.push(one);
        }
    }
    seen
}
