//! Everything that the process's pools and stores tell, as one text.
//!
//! This stands above the pool and the store because it asks both; how the text is written is
//! [`crate::stats::text`]'s.

use crate::error::Result;
use crate::pool::pools;
use crate::stats::LatencyOp;
use crate::stats::text::{PoolSample, StoreSample, collect, write_metrics};

/// The statistics of all pools and stores of this process in the Prometheus text format (version
/// 0.0.4). Empty while there are none.
///
/// A snapshot reads its numbers one by one, not as one instant, and locks each shard for a moment.
///
/// # Errors
/// [`crate::ErrorKind::NoMemory`]: there is none for the text, which takes a few KiB a store.
pub fn metrics_text() -> Result<String> {
    let pools = pools();
    let stores = collect(pools.iter().flat_map(|pool| pool.stores()))?;
    let pool_samples = collect(pools.iter().map(|pool| PoolSample {
        name: pool.name(),
        id: pool.id(),
        stats: pool.stats(),
    }))?;
    let store_samples = collect(stores.iter().map(|store| StoreSample {
        pool: store.pool().name(),
        pool_id: store.pool().id(),
        name: store.name(),
        id: u64::from(store.id()),
        stats: store.stats(),
        latency: LatencyOp::ALL.map(|op| store.latency(op)),
    }))?;
    write_metrics(&pool_samples, &store_samples)
}
