//! `filter`: the cuckoo filter beside those of other crates, its two possible layouts, a store
//! with one before its index, and a long check of its promise.

mod check;
mod layouts;
#[cfg(feature = "peers")]
mod peers;
mod sets;
mod store;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args as ClapArgs;

use super::typed;
use crate::measure::median;
use crate::report::{Csv, Figure, Table, Unit, count, ns, progress};
use crate::suite::{Extent, Findings, Plan};
use crate::workload::Rng;
use sets::{Key, Loops, Ours};

/// Compare the cuckoo filter with those of other crates
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// Keys in each filter
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000, 10_000_000])]
    keys: Vec<u64>,
    /// Rate of false positives asked for
    #[arg(long, default_value_t = 0.001)]
    fpr: f64,
    /// Rounds of look-ups; a figure is their median
    #[arg(long, default_value_t = 9)]
    rounds: u32,
    /// Look-ups a round
    #[arg(long, default_value_t = 1_000_000)]
    lookups: usize,
    /// Seed of the keys
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Compare layouts of the table instead
    #[arg(long)]
    layouts: bool,
    /// Compare stores with and without a filter before the index instead
    #[arg(long)]
    stores: bool,
    /// Run so many random operations beside an exact count instead
    #[arg(long)]
    check: Option<u64>,
    /// Also write every figure to this file
    #[arg(long)]
    csv: Option<PathBuf>,
}

/// Beside the filters of other crates; the quick form has a million keys in each.
pub fn suite(plan: &Plan, findings: &mut Findings) -> Result<()> {
    let seed = plan.seed.to_string();
    let mut options = vec!["--seed", &seed];
    if plan.extent == Extent::Quick {
        options.extend(["--keys", "1000000", "--rounds", "6", "--lookups", "200000"]);
    }
    measure(&typed(&options)?, findings)
}

/// Runs the comparison and prints a table.
pub fn run(args: &Args) -> Result<()> {
    if let Some(operations) = args.check {
        return check::run(operations, args.seed);
    }
    if args.stores {
        return store::run(args);
    }
    if args.layouts {
        return layouts::run(&args.keys, args.rounds, args.seed);
    }
    measure(args, &mut Findings::default())
}

fn measure(args: &Args, findings: &mut Findings) -> Result<()> {
    let columns = [
        "filter",
        "keys",
        "bits_a_key",
        "fpr",
        "hit_ns",
        "miss_ns",
        "batch_hit_ns",
        "batch_miss_ns",
        "add_ns",
        "remove_ns",
    ];
    let mut csv = Csv::create(args.csv.as_deref(), &columns)?;
    for &keys in &args.keys {
        compare(args, keys, &mut csv, findings)?;
    }
    Ok(())
}

fn all(keys: u64, fpr: f64) -> Result<Vec<Box<dyn Loops>>> {
    let ours: Vec<Box<dyn Loops>> = vec![Box::new(Ours::new(keys, fpr)?)];
    #[cfg(feature = "peers")]
    let ours = peers::all(keys, fpr)?.into_iter().chain(ours).collect();
    Ok(ours)
}

fn key(rng: &mut Rng) -> Key {
    (u128::from(rng.next()) << 64 | u128::from(rng.next())).to_le_bytes()
}

/// What is measured of one filter in each round.
#[derive(Default)]
struct Times {
    hit: Vec<f64>,
    miss: Vec<f64>,
    batch_hit: Vec<f64>,
    batch_miss: Vec<f64>,
    found: u64,
    asked: u64,
}

/// What is measured of one filter, once.
struct Found {
    name: &'static str,
    keys: u64,
    bits: f64,
    errs: f64,
    add: f64,
    removed: f64,
}

impl Found {
    /// As figures of the suite; what a filter cannot do is no figure.
    fn hand_in(&self, times: &Times, findings: &mut Findings) {
        let keys = count(self.keys);
        let of = |case: &str, metric, unit, value| {
            Figure::new("filter", &format!("{case}, {keys} keys"), self.name, metric, unit, value)
        };
        findings.figure(of("size", "bits a key", Unit::Ratio, self.bits));
        findings.figure(of("absent keys", "false positives", Unit::Faults, self.errs));
        for (case, samples) in [
            ("look-up of a key that is there", &times.hit[..]),
            ("look-up of an absent key", &times.miss),
            ("look-up in batches, there", &times.batch_hit),
            ("look-up in batches, absent", &times.batch_miss),
            ("add", &[self.add]),
            ("remove", &[self.removed]),
        ] {
            if samples.iter().all(|sample| sample.is_finite()) {
                findings.figure(of(case, "time", Unit::Ns, 0.0).of_samples(samples));
            }
        }
    }
}

fn compare(args: &Args, keys: u64, csv: &mut Csv, findings: &mut Findings) -> Result<()> {
    let mut filters = all(keys, args.fpr)?;
    let mut rng = Rng::new(args.seed);
    let there: Vec<Key> = (0..keys).map(|_| key(&mut rng)).collect();
    let steps = filters.len() as u64 * (u64::from(args.rounds) + 2);
    let bar = progress(steps, "filter");
    let adds: Vec<f64> = filters
        .iter_mut()
        .map(|filter| {
            bar.inc(1);
            filter.add_all(&there)
        })
        .collect();
    let bits: Vec<f64> = filters.iter().map(|filter| filter.bits() as f64 / keys as f64).collect();
    let mut times: Vec<Times> = filters.iter().map(|_| Times::default()).collect();
    for round in 0..args.rounds as usize {
        let hits: Vec<Key> = (0..args.lookups).map(|_| there[rng.below(keys) as usize]).collect();
        let misses: Vec<Key> = (0..args.lookups).map(|_| key(&mut rng)).collect();
        for turn in 0..filters.len() {
            let at = (turn + round) % filters.len();
            let (filter, times) = (&filters[at], &mut times[at]);
            times.hit.push(filter.look(&hits).0);
            let (miss, found) = filter.look(&misses);
            times.miss.push(miss);
            times.found += found;
            times.asked += misses.len() as u64;
            times.batch_hit.push(filter.look_many(&hits));
            times.batch_miss.push(filter.look_many(&misses));
            bar.inc(1);
        }
    }
    let header = [
        "<filter",
        "bits a key",
        "errs %",
        "hit",
        "miss",
        "batch hit",
        "batch miss",
        "add",
        "remove",
    ];
    let mut table = Table::new(format!("Filters of {} keys", count(keys)), &header);
    let some = &there[..there.len() / 10];
    for (((filter, times), add), bits) in filters.iter_mut().zip(&mut times).zip(adds).zip(bits) {
        let removed = filter.remove_all(some);
        bar.inc(1);
        let errs = times.found as f64 / times.asked.max(1) as f64;
        let found = Found { name: filter.name(), keys, bits, errs, add, removed };
        found.hand_in(times, findings);
        let mut figures: Vec<f64> =
            [&mut times.hit, &mut times.miss, &mut times.batch_hit, &mut times.batch_miss]
                .map(|times| median(times))
                .to_vec();
        figures.extend([add, removed]);
        let mut row =
            vec![filter.name().to_owned(), format!("{bits:.1}"), format!("{:.4}", errs * 100.0)];
        row.extend(figures.iter().map(|&figure| ns(figure)));
        let mut line = vec![filter.name().to_owned(), keys.to_string()];
        line.extend([format!("{bits:.3}"), format!("{errs:.7}")]);
        line.extend(figures.iter().map(|figure| format!("{figure:.2}")));
        csv.row(&line)?;
        if filter.name() == "hypercache" {
            table.strong(row)
        } else {
            table.row(row)
        };
    }
    bar.finish_and_clear();
    table.note(format!(
        "Nanoseconds of the thread's processor time a key, median of {} rounds; batches of {}.",
        args.rounds,
        sets::BATCH
    ));
    table.print();
    Ok(())
}
