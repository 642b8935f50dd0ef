//! `sessions`: how long it takes to end a session, by its size, and how long the slowest sets take
//! after that.
//!
//! Beside the session that is ended there are a thousand others, so that the log holds what it holds
//! in service. The sets that follow find its entries dead, and make their room of them.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args as ClapArgs;
use hypercache_core::{Match, PolicyKind, Pool, PoolConfig, PutOptions, StoreConfig};

use crate::measure::{Histogram, OwnTime, Ticker, thread_cpu_ns};
use crate::report::{Csv, Table, count, duration, parse_bytes, progress};
use crate::workload::key_of;

/// Show what it takes to end a session, and what sets take after it
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// The pool's limit
    #[arg(long, default_value = "256MiB", value_parser = parse_bytes)]
    limit: u64,
    /// Entries of the sessions that are ended
    #[arg(long, value_delimiter = ',', default_values_t = [1, 1_000, 1_000_000])]
    entries: Vec<u64>,
    /// Length of the values, in bytes
    #[arg(long, default_value_t = 64)]
    value_len: usize,
    /// Sets timed after each
    #[arg(long, default_value_t = 1_000_000)]
    sets: u64,
    /// Also write every figure to this file
    #[arg(long)]
    csv: Option<PathBuf>,
}

/// Sessions beside the one that is ended.
const OTHERS: u64 = 1_000;

/// Runs the sizes and prints a table.
pub fn run(args: &Args) -> Result<()> {
    let mut csv = Csv::create(
        args.csv.as_deref(),
        &["entries", "ended", "end_ns", "set_p999_ns", "set_p9999_ns", "set_max_ns"],
    )?;
    let title = "Ending a session, and sets after it (the thread's own time)";
    let mut table = Table::new(title, &["entries", "end", "set p99.9", "p99.99", "max"]);
    let bar = progress(args.entries.len() as u64, "sizes");
    let ticker = Ticker::calibrate();
    for &entries in &args.entries {
        let (ended, end_ns, sets) = one(args, entries, ticker)?;
        let cells = [sets.quantile(0.999), sets.quantile(0.9999), sets.max()];
        let mut row = vec![count(ended), duration(end_ns)];
        row.extend(cells.map(duration));
        table.row(row);
        let mut record = vec![entries.to_string(), ended.to_string(), format!("{end_ns:.0}")];
        record.extend(cells.map(|ns| format!("{ns:.0}")));
        csv.row(&record)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    table.print();
    Ok(())
}

/// Ends a session of so many entries; how many it had, how long that took, and sets after it.
fn one(args: &Args, entries: u64, ticker: Ticker) -> Result<(u64, f64, Histogram)> {
    let pool = Pool::create(&PoolConfig::new(args.limit)).context("the pool")?;
    let config = StoreConfig {
        policy: PolicyKind::Session,
        policy_options: Some("grace=0,sessions=4096".into()),
        ..StoreConfig::default()
    };
    let store = pool.open_store(&config).context("the store")?;
    let value = vec![7; args.value_len];
    let put = |session: u64, id: u64| -> Result<()> {
        let options = PutOptions { session, ..PutOptions::default() };
        store.put(&key_of(id), &value, &options).context("a set")?;
        Ok(())
    };
    let fits = args.limit / (args.value_len as u64 + 48);
    // Others first, then the one that is ended, and others until the store is three quarters full: up
    // to there no session has to make room.
    let mut id = 0;
    for step in 0..fits - fits / 4 {
        let is_its = step >= fits / 4 && step < fits / 4 + entries;
        put(if is_its { 1 } else { 2 + step % OTHERS }, id)?;
        id += 1;
    }
    let start = thread_cpu_ns();
    let ended = store.invalidate(Match::Session(1)).context("ending the session")?;
    let end_ns = (thread_cpu_ns() - start) as f64;
    let mut clock = OwnTime::new(ticker);
    let mut sets = Histogram::default();
    for step in 0..args.sets {
        let mut result = Ok(());
        sets.record(clock.time(|| result = put(2 + OTHERS + step % OTHERS, id)));
        result?;
        id += 1;
    }
    Ok((ended, end_ns, sets))
}
