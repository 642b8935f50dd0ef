//! A store with a filter before its index beside one without: look-ups by the share of hits.
//!
//! The two take turns, each long enough to bring its own memory near before it is timed.

use std::mem::MaybeUninit;

use anyhow::Result;
use hypercache_core::{Copied, Pool, PoolConfig, Store, StoreConfig};

use crate::measure::{median, thread_cpu_ns};
use crate::report::{Table, count, ns, percent, progress};
use crate::workload::Rng;

use super::Args;

/// Bytes of a pool for each key: entries of 16-byte keys and 32-byte values, index and filter, with
/// room to spare, so that nothing is evicted.
const BYTES_A_KEY: u64 = 140;
const POOL_BYTES_MIN: u64 = 32 << 20;
/// Look-ups before a turn is timed, as a part of those that are.
const WARM_UP: usize = 4;
/// Shares of hits, in per cent.
const HITS: [u64; 4] = [0, 10, 90, 100];

fn key(number: u64) -> [u8; 16] {
    let spread = u128::from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    (spread << 64 | u128::from(number)).to_le_bytes()
}

fn filled(keys: u64, filter_fpr: f64) -> Result<Store> {
    let pool = Pool::create(&PoolConfig::new((keys * BYTES_A_KEY).max(POOL_BYTES_MIN)))?;
    let config = StoreConfig { filter_fpr, ..StoreConfig::default() };
    let store = pool.open_store(&config)?;
    for number in 0..keys {
        store.set(&key(number), &[1; 32])?;
    }
    Ok(store)
}

/// Looks keys up, so many in a hundred of them there; returns the hits.
fn look_up(store: &Store, lookups: usize, keys: u64, hits: u64, rng: &mut Rng) -> Result<u64> {
    let mut buf = [MaybeUninit::uninit(); 64];
    let mut found = 0;
    for _ in 0..lookups {
        let number = match rng.below(100) < hits {
            true => rng.below(keys),
            false => rng.next() | 1 << 63,
        };
        found += u64::from(matches!(store.copy(&key(number), &mut buf)?, Copied::Hit { .. }));
    }
    Ok(found)
}

/// Prints a table for each number of keys.
pub fn run(args: &Args) -> Result<()> {
    for &keys in &args.keys {
        let stores = [filled(keys, 0.0)?, filled(keys, args.fpr)?];
        let bytes = stores.each_ref().map(|store| store.stats().used_bytes as f64 / keys as f64);
        let mut table = Table::new(
            format!("A filter before the index, {} keys", count(keys)),
            &["hits", "without", "with", "ratio", "answered by the filter"],
        );
        let bar = progress(HITS.len() as u64 * u64::from(args.rounds), "filter");
        let mut rng = Rng::new(args.seed);
        for hits in HITS {
            let (mut times, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
            let before = stores[1].stats();
            for _ in 0..args.rounds {
                let mut turn = [0.0; 2];
                for (store, took) in stores.iter().zip(&mut turn) {
                    look_up(store, args.lookups / WARM_UP, keys, hits, &mut rng)?;
                    let begin = thread_cpu_ns();
                    look_up(store, args.lookups, keys, hits, &mut rng)?;
                    *took = (thread_cpu_ns() - begin) as f64 / args.lookups as f64;
                }
                ratios.push(turn[1] / turn[0]);
                times[0].push(turn[0]);
                times[1].push(turn[1]);
                bar.inc(1);
            }
            let now = stores[1].stats();
            let misses = (now.misses - before.misses).max(1) as f64;
            let [without, with] = &mut times;
            table.row(vec![
                format!("{hits} %"),
                ns(median(without)),
                ns(median(with)),
                format!("{:.2}", median(&mut ratios)),
                percent((now.filter_skips - before.filter_skips) as f64 / misses),
            ]);
        }
        bar.finish_and_clear();
        table.note(format!(
            "{:.1} bytes an entry without, {:.1} with; processor time of the thread, medians of {} rounds",
            bytes[0], bytes[1], args.rounds
        ));
        table.print();
    }
    Ok(())
}
