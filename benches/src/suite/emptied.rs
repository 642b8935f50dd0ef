//! What a pool must say when all that was in it has gone.

use anyhow::{Context, Result, ensure};
use hypercache_core::Pool;

/// Makes sure that a pool counts no store, view or block any more and that its invariants hold.
/// Returns what it still charges, which are its tables.
pub(super) fn emptied(pool: &Pool) -> Result<u64> {
    pool.trim(0).context("an empty pool")?;
    pool.validate().context("an empty pool")?;
    let stats = pool.stats();
    ensure!(
        (stats.stores, stats.pinned_bytes, stats.app_bytes) == (0, 0, 0),
        "stores, views and blocks are gone, and the pool still counts some: {stats:?}"
    );
    Ok(stats.used_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypercache_core::{PoolConfig, StoreConfig};

    #[test]
    fn a_view_that_is_still_there_is_told_of() {
        let pool = Pool::create(&PoolConfig::new(4 << 20)).unwrap();
        let store = pool.open_store(&StoreConfig::default()).unwrap();
        store.set(b"key", b"value").unwrap();
        let view = store.pin(b"key", false).unwrap();
        drop(store);
        assert!(emptied(&pool).is_err());
        drop(view);
        assert!(emptied(&pool).unwrap() < 100 << 10);
    }
}
