//! `churn`: how much of the limit live entries keep when values change their sizes and keys come
//! and go, and what that costs in writing.
//!
//! A log leaves a hole behind every overwrite and delete; what it cannot use again is lost to
//! live entries, and what it moves to use it again is written twice. Both figures are therefore
//! shown side by side, over the steady part of the run, and the live bytes are counted by reading
//! back every key.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args as ClapArgs, ValueEnum};

use super::{Caches, shown_as_typed, typed};
use crate::cache::{Kind, Spec, Written};
use crate::drive::Subject;
use crate::report::{Csv, Figure, Table, Unit, count, mib, parse_bytes, percent, progress};
use crate::suite::{Extent, Findings, Plan};
use crate::workload::{KEY_LEN, Rng, ValueBytes, key_of};

/// Show the live share of the limit, and write amplification, under changing sizes
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    caches: Caches,
    /// The budget
    #[arg(long, default_value = "256MiB", value_parser = parse_bytes)]
    limit: u64,
    /// Shortest and longest value, in bytes
    #[arg(long, value_delimiter = ',', num_args = 2, default_values_t = [100, 2000])]
    sizes: Vec<u64>,
    /// Budgets of writes; the first half warms up
    #[arg(long, default_value_t = 12)]
    budgets: u64,
    /// Keys times the mean entry, in limits
    #[arg(long, default_value_t = 1.5)]
    key_space: f64,
    /// Loads
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Load::Overwrite, Load::Delete])]
    loads: Vec<Load>,
    /// Seed of the workload
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also write every figure to this file
    #[arg(long)]
    csv: Option<PathBuf>,
}

/// What is done to the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Load {
    /// Sets of uniformly random keys.
    Overwrite,
    /// As many deletes as sets, of twice as many keys.
    Delete,
}

shown_as_typed!(Load);

const GOAL: f64 = 0.8;

/// Both loads; the quick form has a smaller cache.
pub fn suite(plan: &Plan, findings: &mut Findings) -> Result<()> {
    let seed = plan.seed.to_string();
    let mut options = vec!["--seed", &seed];
    if plan.extent == Extent::Quick {
        options.extend(["--limit", "32MiB", "--budgets", "8"]);
    }
    measure(&typed(&options)?, findings)
}

/// Runs the loads and prints a table.
pub fn run(args: &Args) -> Result<()> {
    measure(args, &mut Findings::default())
}

fn measure(args: &Args, findings: &mut Findings) -> Result<()> {
    let kinds = args.caches.or(&[Kind::Ours])?;
    let mut csv = Csv::create(
        args.csv.as_deref(),
        &[
            "cache",
            "load",
            "limit",
            "live_payload",
            "live_payload_least",
            "entries",
            "written",
            "moved",
            "write_amplification",
        ],
    )?;
    let (least, most) = (args.sizes[0], args.sizes[1].max(args.sizes[0]));
    let title = format!(
        "Values of {least} to {most} bytes, every write another size, limit {}",
        mib(args.limit)
    );
    let header = [
        "<cache",
        "<load",
        "keys",
        "entries",
        "live payload",
        "least",
        "write amplification",
        "goal",
    ];
    let mut table = Table::new(title, &header);
    let values = ValueBytes::new(most as usize, args.seed);
    let bar = progress(1000 * (kinds.len() * args.loads.len()) as u64, "churn");
    for &kind in &kinds {
        for &load in &args.loads {
            bar.set_message(format!("{kind}: {load}"));
            let mean = KEY_LEN as u64 + u64::midpoint(least, most);
            let cache = kind.build(&Spec::new(args.limit, mean - KEY_LEN as u64))?;
            let churned = churn(&*cache, args, load, (least, most, mean), &values, || bar.inc(1));
            table.row(churned.row(kind, load, args.limit));
            csv.row(&churned.csv(kind, load, args.limit))?;
            churned.hand_in(kind, load, args.limit, findings);
        }
    }
    bar.finish_and_clear();
    table.note("Live payload: keys and values read back at the end, of the limit; least: by the");
    table.note(
        "store's own count over the second half. Writes a write: all bytes written to the log,",
    );
    table.note("those moved by reclaim included, by those that sets wrote, over the second half.");
    table.print();
    Ok(())
}

#[derive(Default)]
struct Churned {
    keys: u64,
    entries: u64,
    payload: u64,
    least: Option<u64>,
    written: Option<Written>,
}

impl Churned {
    fn amplification(&self) -> Option<f64> {
        let written = self.written?;
        Some((written.by_writes + written.by_moves) as f64 / written.by_writes.max(1) as f64)
    }

    fn row(&self, kind: Kind, load: Load, limit: u64) -> Vec<String> {
        let share = |bytes: u64| bytes as f64 / limit as f64;
        let lowest = self.least.map_or(self.payload, |least| least.min(self.payload));
        let verdict = if share(lowest) >= GOAL { "ok" } else { "--" };
        vec![
            kind.name().to_owned(),
            load.to_string(),
            count(self.keys),
            count(self.entries),
            percent(share(self.payload)),
            self.least.map_or("-".to_owned(), |least| percent(share(least))),
            self.amplification().map_or("-".to_owned(), |factor| format!("{factor:.2}")),
            format!("{} {verdict}", percent(GOAL)),
        ]
    }

    fn hand_in(&self, kind: Kind, load: Load, limit: u64, findings: &mut Findings) {
        let case = load.to_string();
        let of =
            |metric, unit, value| Figure::new("churn", &case, kind.name(), metric, unit, value);
        let share = self.payload as f64 / limit as f64;
        findings.figure(of("live payload", Unit::Share, share));
        if let Some(least) = self.least {
            let least = least as f64 / limit as f64;
            findings.figure(of("live payload at the least", Unit::Share, least));
        }
        if let Some(factor) = self.amplification() {
            findings.figure(of("write amplification", Unit::Ratio, factor));
        }
    }

    fn csv(&self, kind: Kind, load: Load, limit: u64) -> Vec<String> {
        let written = self.written.unwrap_or_default();
        vec![
            kind.name().to_owned(),
            load.to_string(),
            limit.to_string(),
            self.payload.to_string(),
            self.least.unwrap_or(self.payload).to_string(),
            self.entries.to_string(),
            written.by_writes.to_string(),
            written.by_moves.to_string(),
            self.amplification().map_or(String::new(), |factor| format!("{factor:.4}")),
        ]
    }
}

fn churn(
    cache: &dyn Subject,
    args: &Args,
    load: Load,
    (least, most, mean): (u64, u64, u64),
    values: &ValueBytes,
    mut step: impl FnMut(),
) -> Churned {
    let mut rng = Rng::new(args.seed);
    let scale = match load {
        Load::Overwrite => 1.0,
        Load::Delete => 2.0,
    };
    let keys = ((args.limit as f64 * args.key_space * scale) as u64 / mean).max(1);
    let sets = args.limit * args.budgets / mean;
    let mut churned = Churned { keys, ..Churned::default() };
    let mut before = None;
    let stride = (sets / 1000).max(1);
    for nth in 0..sets {
        let id = rng.below(keys);
        let len = rng.between(least, most) as usize;
        cache.set(&key_of(id), values.get(id, len));
        if load == Load::Delete {
            cache.remove(&key_of(rng.below(keys)));
        }
        if nth % stride == 0 {
            step();
            if nth >= sets / 2
                && let Some(written) = cache.written()
            {
                before.get_or_insert(written);
                let least = churned.least.unwrap_or(u64::MAX);
                churned.least = Some(least.min(written.live_payload));
            }
        }
    }
    cache.settle();
    if let (Some(before), Some(after)) = (before, cache.written()) {
        churned.written = Some(Written {
            by_writes: after.by_writes - before.by_writes,
            by_moves: after.by_moves - before.by_moves,
            ..after
        });
    }
    // Sizes are random, so only a read tells them; nothing comes after that an access could bend.
    let mut buf = vec![0; most as usize];
    for id in 0..keys {
        if let Some(len) = cache.get(&key_of(id), &mut buf) {
            churned.entries += 1;
            churned.payload += (KEY_LEN + len) as u64;
        }
    }
    churned
}
