//! What a pool tells about itself.

use super::Pool;
use super::budget::GRAIN;
use super::space::{Space, Use};
use crate::stats::PoolStats;
use std::sync::atomic::Ordering;

impl Pool {
    /// The pool at about one moment. `used_bytes`, `limit_bytes` and `target_bytes` are of one.
    ///
    /// `resident_bytes` is what is committed, and so charged: the system has backed at most that,
    /// and asking it page by page would take milliseconds a gigabyte. `huge_bytes` is what was
    /// seen to be backed by huge pages; each call looks 64 chunks of 2 MiB up anew, in turn.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        if self.check().is_err() {
            return PoolStats::default();
        }
        let space = self.space();
        space.look_for_huge();
        let (limit_bytes, used_bytes) = space.limit_and_used();
        let counts = self.0.raw.counts();
        let tenants = self.0.tenants.all();
        let tenants_overhead: u64 = tenants.iter().map(|tenant| tenant.overhead_bytes()).sum();
        let tables = self.0.charged.load(Ordering::Relaxed);
        let heap = space.fixed_bytes();
        PoolStats {
            limit_bytes,
            target_bytes: space.target_bytes(),
            used_bytes,
            peak_bytes: space.peak_bytes(),
            pinned_bytes: space.pinned_bytes(),
            held_bytes: space.held_bytes(),
            app_bytes: counts.app_bytes,
            overhead_bytes: (space.slack_bytes() + tenants_overhead + tables).min(used_bytes),
            resident_bytes: used_bytes.max(heap),
            huge_bytes: space.huge_bytes(),
            stores: tenants.len() as u64,
            level_changes: space.gauge().level_changes(),
            alloc_failures: self.0.alloc_failures.load(Ordering::Relaxed),
            alloc_created: counts.created,
            alloc_reused: counts.reused,
            alloc_returned: counts.returned,
            alloc_discarded: counts.discarded,
            pressure: self.pressure(),
        }
    }
}

impl Space {
    /// Charged for the process's heap.
    #[must_use]
    pub fn fixed_bytes(&self) -> u64 {
        self.state.lock().accounts.fixed * GRAIN
    }

    /// Charged, and in nobody's hands or in the hands of the pool: tables, fixed charges, free,
    /// warm and waiting memory.
    #[must_use]
    pub fn slack_bytes(&self) -> u64 {
        let accounts = self.state.lock().accounts;
        let free = u64::from(self.segments_in(Use::Free)) << self.seg_shift();
        (accounts.metadata + accounts.fixed) * GRAIN
            + free
            + self.waiting_bytes()
            + self.warm_bytes()
    }
}
