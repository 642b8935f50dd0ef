//! Bytes an entry over the lengths of values.
//!
//! A pool is filled three times over with new keys; what an entry takes is the limit by the entries
//! that are then there. The log's share of it is known apart: what a write puts there, less key and
//! value, is header and padding.

use anyhow::{Context, Result};
use hypercache_core::{Pool, PoolConfig, StoreConfig};

use super::{NAME, ours};
use crate::report::Unit;
use crate::suite::{Findings, Plan};
use crate::workload::{KEY_LEN, ValueBytes, key_of};

/// Eight neighbours, one of each remainder by 8, and others across the range.
const LENS: [usize; 16] =
    [1, 16, 57, 58, 59, 60, 61, 62, 63, 64, 128, 256, 512, 1_024, 4_096, 16_384];

pub(super) fn measure(plan: &Plan, findings: &mut Findings) -> Result<()> {
    let limit = plan.pick(16 << 20, 64 << 20);
    for len in LENS {
        let taken = fill(limit, len, plan.seed)?;
        let case = format!("entry, values of {len} B");
        let figure = |metric, value| ours(&case, metric, Unit::Bytes, value).exact();
        findings.figure(figure("bytes an entry", taken.all));
        // Long values lie beside the log.
        if taken.header > 0.0 {
            findings.figure(figure("header and padding", taken.header));
        }
    }
    findings.note(format!(
        "{NAME}: bytes an entry is the limit, {} MiB, by the entries of a store that was filled three \
         times over.",
        limit >> 20
    ));
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Taken {
    all: f64,
    header: f64,
}

fn fill(limit: u64, len: usize, seed: u64) -> Result<Taken> {
    let pool = PoolConfig { limit_max_bytes: limit, ..PoolConfig::new(limit) };
    let pool = Pool::create(&pool).context("the pool")?;
    // As many shards on every machine.
    let config = StoreConfig { hash_seed: 1, shards: 4, ..StoreConfig::default() };
    let store = pool.open_store(&config).context("the store")?;
    let values = ValueBytes::new(len, seed);
    let payload = (KEY_LEN + len) as u64;
    for id in 0..3 * limit / payload {
        store.set(&key_of(id), values.get(id, len)).context("a set")?;
    }
    pool.validate().context("after the sets")?;
    let stats = store.stats();
    let written = stats.written_bytes as f64 / (stats.inserts + stats.updates) as f64;
    Ok(Taken { all: limit as f64 / stats.entries as f64, header: written - payload as f64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_alike_in_every_run_and_end_on_eight() {
        for len in 57..=64 {
            let taken = fill(4 << 20, len, 1).unwrap();
            assert_eq!(taken, fill(4 << 20, len, 1).unwrap());
            let inside = KEY_LEN as f64 + len as f64 + taken.header;
            assert_eq!(inside % 8.0, 0.0, "{len}: {taken:?}");
            assert!(taken.all > inside && taken.all < 1.35 * inside, "{len}: {taken:?}");
        }
    }
}
