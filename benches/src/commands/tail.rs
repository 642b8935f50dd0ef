//! `tail`: how long the slowest sets take, in the thread's own processor time.
//!
//! Two loads: new keys into a full, prefaulted cache, where every set must make its own room; and
//! a cache that grows from empty, where the index grows underneath. The caches take turns, run by
//! run. Every set is timed (see [`crate::measure::OwnTime`]).

use std::path::PathBuf;

use anyhow::Result;
use clap::Args as ClapArgs;

use super::{Caches, built, range, typed};
use crate::cache::{Kind, Spec};
use crate::drive::{Subject, rotated};
use crate::measure::{Histogram, OwnTime, Ticker, available_bytes, median};
use crate::report::{Csv, Figure, Table, Unit, count, duration, mib, parse_bytes, progress, size};
use crate::suite::{Extent, Findings, Plan};
use crate::workload::{KEY_LEN, ValueBytes, key_of};

/// Compare the slowest sets
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    caches: Caches,
    /// Byte budget of the full cache
    #[arg(long, default_value = "1GiB", value_parser = parse_bytes)]
    limit: u64,
    /// Length of its values, in bytes
    #[arg(long, default_value_t = 256)]
    value_len: usize,
    /// Runs a cache
    #[arg(long, default_value_t = 9)]
    runs: u32,
    /// Timed sets a run
    #[arg(long, default_value_t = 1_000_000)]
    sets: u64,
    /// Entries that the growing cache grows to; 0: leave it out
    #[arg(long, default_value_t = 3_000_000)]
    growth: u64,
    /// Runs of the growing cache
    #[arg(long, default_value_t = 7)]
    growth_runs: u32,
    /// Length of its values, in bytes
    #[arg(long, default_value_t = 64)]
    growth_value_len: usize,
    /// Seed of the workload
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also write every run to this file
    #[arg(long)]
    csv: Option<PathBuf>,
}

const SHARES: [f64; 4] = [0.5, 0.99, 0.999, 0.9999];
/// As figures name them.
const NAMES: [&str; SHARES.len()] = ["p50", "p99", "p99.9", "p99.99"];

/// The runs of one cache.
#[derive(Default)]
struct Runs {
    means: Vec<f64>,
    quantiles: [Vec<f64>; SHARES.len()],
    maxima: Vec<f64>,
}

impl Runs {
    fn add(&mut self, histogram: &Histogram) {
        self.means.push(histogram.mean());
        for (quantiles, share) in self.quantiles.iter_mut().zip(SHARES) {
            quantiles.push(histogram.quantile(share));
        }
        self.maxima.push(histogram.max());
    }
}

/// All caches; the quick form has smaller ones.
pub fn suite(plan: &Plan, findings: &mut Findings) -> Result<()> {
    let (seed, caches) = (plan.seed.to_string(), built());
    let mut options = vec!["--seed", &seed, "--caches", &caches];
    if plan.extent == Extent::Quick {
        options.extend(["--limit", "64MiB", "--runs", "6", "--sets", "100000"]);
        options.extend(["--growth", "200000", "--growth-runs", "6"]);
    }
    measure(&typed(&options)?, findings)
}

/// Runs the comparison and prints its tables.
pub fn run(args: &Args) -> Result<()> {
    measure(args, &mut Findings::default())
}

impl Args {
    fn check(&self) -> Result<()> {
        range("--runs", f64::from(self.runs), 1.0, 1e6)?;
        range("--sets", self.sets as f64, 1.0, 1e12)?;
        range("--growth", self.growth as f64, 0.0, 1e10)?;
        range("--growth-runs", f64::from(self.growth_runs), 1.0, 1e6)?;
        for (option, len) in
            [("--value-len", self.value_len), ("--growth-value-len", self.growth_value_len)]
        {
            range(option, len as f64, 0.0, f64::from(1 << 20))?;
        }
        range("--limit", self.limit as f64, LIMIT_MIN as f64, 1e15)
    }

    /// The limit, or the largest part of it that leaves room on this machine for all caches of the
    /// full load at once, and a sentence that says so.
    fn fitting(&self, kinds: &[Kind], available: u64) -> (u64, Option<String>) {
        let of_all = |limit: u64| (limit * WORST).saturating_mul(kinds.len() as u64);
        let mut limit = self.limit;
        while limit / 2 >= LIMIT_MIN && of_all(limit) > available / 4 * 3 {
            limit /= 2;
        }
        let note = (limit < self.limit).then(|| {
            format!(
                "The full cache has {} instead of {}: {} caches at once may take {}, and this \
                 machine has {} free.",
                size(limit),
                size(self.limit),
                kinds.len(),
                size(of_all(self.limit)),
                size(available)
            )
        });
        (limit, note)
    }
}

/// The least limit, the smallest of a pool.
const LIMIT_MIN: u64 = 1 << 20;

/// What a cache may come to take of short values, in limits, with what its process keeps.
const WORST: u64 = 2;

fn measure(args: &Args, findings: &mut Findings) -> Result<()> {
    args.check()?;
    let kinds = args.caches.or(&[Kind::Quick, Kind::Ours])?;
    let (limit, reduced) = args.fitting(&kinds, available_bytes());
    let args = &Args { limit, ..args.clone() };
    let ticker = Ticker::calibrate();
    let mut csv = Csv::create(
        args.csv.as_deref(),
        &[
            "load", "cache", "run", "sets", "mean_ns", "p50_ns", "p99_ns", "p999_ns", "p9999_ns",
            "max_ns",
        ],
    )?;
    let note = "Own processor time of each set: time-stamp counter; calls over 4 us are looked into \
                with the kernel's per-thread clock, so preemption does not count.";

    let steady = steady(args, &kinds, ticker, &mut csv)?;
    let title = format!(
        "Sets of {}-byte values into a full cache of {}, median of {} runs of {}",
        args.value_len,
        mib(args.limit),
        args.runs,
        count(args.sets)
    );
    let case = format!("set into full, {} B", args.value_len);
    hand_in(&case, &kinds, &steady, findings);
    let notes: Vec<&str> = [note].into_iter().chain(reduced.as_deref()).collect();
    print(&title, &kinds, steady, &notes);
    if let Some(reduced) = reduced {
        findings.note(format!("tail: {reduced}"));
    }
    if args.growth > 0 {
        let growth = growth(args, &kinds, ticker, &mut csv)?;
        let title = format!(
            "Growth from empty to {} entries of {} bytes, median of {} runs",
            count(args.growth),
            args.growth_value_len,
            args.growth_runs
        );
        let case = format!("set while it grows, {} B", args.growth_value_len);
        hand_in(&case, &kinds, &growth, findings);
        print(&title, &kinds, growth, &[note]);
    }
    Ok(())
}

fn steady(args: &Args, kinds: &[Kind], ticker: Ticker, csv: &mut Csv) -> Result<Vec<Runs>> {
    let values = ValueBytes::new(args.value_len, args.seed);
    let spec = Spec { prefault: true, ..Spec::new(args.limit, args.value_len as u64) };
    let filled = 2 * spec.entries;
    let steps = kinds.len() as u64 * (u64::from(args.runs) + 1);
    let bar = progress(steps, "steady: fill");
    let mut caches = Vec::new();
    for kind in kinds {
        let cache = kind.build(&spec)?;
        cache.fill(0..filled, args.value_len, &values);
        caches.push(cache);
        bar.inc(1);
    }
    let mut runs: Vec<Runs> = kinds.iter().map(|_| Runs::default()).collect();
    for run in 0..args.runs {
        for at in rotated(kinds.len(), run) {
            bar.set_message(format!("steady: {} run {}", kinds[at], run + 1));
            let first = filled + u64::from(run) * args.sets;
            let histogram =
                timed(&*caches[at], first..first + args.sets, args.value_len, &values, ticker);
            record(csv, "steady", kinds[at], run, &histogram)?;
            runs[at].add(&histogram);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(runs)
}

fn growth(args: &Args, kinds: &[Kind], ticker: Ticker, csv: &mut Csv) -> Result<Vec<Runs>> {
    let values = ValueBytes::new(args.growth_value_len, args.seed);
    let payload = args.growth * (KEY_LEN + args.growth_value_len) as u64;
    // Room for everything with its overhead: nothing is evicted while it grows.
    let budget = (payload * 3 / 2).max(4 << 20);
    let bar = progress(kinds.len() as u64 * u64::from(args.growth_runs), "growth");
    let mut runs: Vec<Runs> = kinds.iter().map(|_| Runs::default()).collect();
    for run in 0..args.growth_runs {
        for at in rotated(kinds.len(), run) {
            let kind = kinds[at];
            bar.set_message(format!("growth: {kind} run {}", run + 1));
            // Nothing is committed before, which only some could: every cache takes its memory from
            // the system within the sets that are timed.
            let spec =
                Spec { entries: args.growth, ..Spec::new(budget, args.growth_value_len as u64) };
            let cache = kind.build(&spec)?;
            let ids = 0..args.growth;
            let histogram = timed(&*cache, ids, args.growth_value_len, &values, ticker);
            record(csv, "growth", kind, run, &histogram)?;
            runs[at].add(&histogram);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(runs)
}

fn timed(
    cache: &dyn Subject,
    ids: std::ops::Range<u64>,
    len: usize,
    values: &ValueBytes,
    ticker: Ticker,
) -> Histogram {
    let mut histogram = Histogram::default();
    let mut own = OwnTime::new(ticker);
    for id in ids {
        let (key, value) = (key_of(id), values.get(id, len));
        histogram.record(own.time(|| cache.set(&key, value)));
    }
    histogram
}

fn record(csv: &mut Csv, load: &str, kind: Kind, run: u32, histogram: &Histogram) -> Result<()> {
    let mut row = vec![
        load.to_owned(),
        kind.name().to_owned(),
        run.to_string(),
        histogram.count().to_string(),
        format!("{:.1}", histogram.mean()),
    ];
    row.extend(SHARES.map(|share| format!("{:.0}", histogram.quantile(share))));
    row.push(format!("{:.0}", histogram.max()));
    csv.row(&row)
}

/// As figures of the suite: each the median of the runs.
fn hand_in(case: &str, kinds: &[Kind], runs: &[Runs], findings: &mut Findings) {
    for (kind, runs) in kinds.iter().zip(runs) {
        let mut take = |metric, samples: &[f64]| {
            let figure = Figure::new("tail", case, kind.name(), metric, Unit::Ns, 0.0);
            findings.figure(figure.of_samples(samples));
        };
        take("mean", &runs.means);
        for (name, quantiles) in NAMES.into_iter().zip(&runs.quantiles) {
            take(name, quantiles);
        }
        take("max", &runs.maxima);
    }
}

fn print(title: &str, kinds: &[Kind], runs: Vec<Runs>, notes: &[&str]) {
    let header = ["<cache", "mean", "p50", "p99", "p99.9", "p99.99", "median max", "worst max"];
    let mut table = Table::new(title, &header);
    for (kind, mut runs) in kinds.iter().zip(runs) {
        let mut row = vec![kind.name().to_owned(), duration(median(&mut runs.means))];
        row.extend(runs.quantiles.iter_mut().map(|quantiles| duration(median(quantiles))));
        row.push(duration(median(&mut runs.maxima)));
        row.push(duration(runs.maxima.iter().copied().fold(0.0, f64::max)));
        if kind.is_ours() {
            table.strong(row);
        } else {
            table.row(row);
        }
    }
    for note in notes {
        table.note(*note);
    }
    table.print();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_is_too_small_gets_smaller_caches_and_is_told() {
        let args: Args = typed(&["--limit", "1GiB"]).unwrap();
        let kinds = [Kind::Ours; 6];
        assert_eq!(args.fitting(&kinds, 64 << 30), (1 << 30, None));
        let (limit, note) = args.fitting(&kinds, 15 << 30);
        assert_eq!(limit, 512 << 20);
        assert!(note.unwrap().contains("512.0 MiB instead of 1.00 GiB"));
        assert_eq!(args.fitting(&kinds, 0).0, LIMIT_MIN);
    }
}
