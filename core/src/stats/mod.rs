//! What pools and stores tell about themselves: snapshots, counters, latencies, text.
//!
//! Counters never fall and are never reset; gauges say how it is now. A snapshot reads them one by
//! one, not as one instant. All of this is fixed in size and charged to the pool that it describes.

pub mod counters;
pub mod histogram;
pub mod stripes;
pub mod text;

pub use counters::{Counters, ReadTally, ShardCounters, Tally};
pub use histogram::{LatencyHistogram, LatencyOp, LatencySummary};
pub use text::{PoolSample, StoreSample, pressure_code, write_metrics};

use crate::types::Pressure;

/// A pool at about one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Limit in force, bytes: `used_bytes` is never above it.
    pub limit_bytes: u64,
    /// Limit that was asked for, bytes; below `limit_bytes` only while a shrink lasts.
    pub target_bytes: u64,
    /// Everything that is charged, bytes.
    pub used_bytes: u64,
    /// The most that was ever charged, bytes.
    pub peak_bytes: u64,
    /// Part of `used_bytes`: held by views, drafts and waits.
    pub pinned_bytes: u64,
    /// Part of `used_bytes`: what eviction could not give back, which pressure goes by.
    pub held_bytes: u64,
    /// Part of `used_bytes`: blocks of the raw allocator in the application's hands.
    pub app_bytes: u64,
    /// Part of `used_bytes`: indexes, ghosts, filters, slack.
    pub overhead_bytes: u64,
    /// What the system has committed for this pool, bytes.
    pub resident_bytes: u64,
    /// Part of `resident_bytes`: backed by huge pages.
    pub huge_bytes: u64,
    /// Stores that are open.
    pub stores: u64,
    /// Changes of the pressure level since the pool was made.
    pub level_changes: u64,
    /// Raw allocations that found no room.
    pub alloc_failures: u64,
    /// Raw allocations served by a block that nobody had before.
    pub alloc_created: u64,
    /// Raw allocations served by a block that was given back before. The reuse ratio is
    /// `alloc_reused / (alloc_created + alloc_reused)`.
    pub alloc_reused: u64,
    /// Raw blocks given back.
    pub alloc_returned: u64,
    /// Raw blocks whose memory went back to the pool's segments.
    pub alloc_discarded: u64,
    /// Level now.
    pub pressure: Pressure,
}

/// A store at about one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Live entries.
    pub entries: u64,
    /// Keys and values of live entries, bytes.
    pub payload_bytes: u64,
    /// In the log and not yet reclaimed, bytes.
    pub dead_bytes: u64,
    /// Emptied, held back by a reader or a view, bytes.
    pub waiting_bytes: u64,
    /// Everything that is charged for this store, bytes.
    pub used_bytes: u64,
    /// The store's own limit, bytes; the pool's where it has none.
    pub limit_bytes: u64,
    /// Held by views, drafts and waits, bytes.
    pub pinned_bytes: u64,
    /// Reads that found an entry.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Reads served with an expired value, as asked.
    pub stale_hits: u64,
    /// Writes under a key that had no live entry.
    pub inserts: u64,
    /// Writes over a live entry.
    pub updates: u64,
    /// Entries removed by key.
    pub deletes: u64,
    /// Entries removed by pattern, session, type or clearing.
    pub invalidated: u64,
    /// Entries that had to make room.
    pub evicted: u64,
    /// Bytes of entries that had to make room.
    pub evicted_bytes: u64,
    /// Entries whose time was over.
    pub expired: u64,
    /// Writes that the policy declined.
    pub not_admitted: u64,
    /// Writes refused: too large, no space, no memory.
    pub rejected: u64,
    /// Bytes that writes put in the log.
    pub written_bytes: u64,
    /// Bytes that reclaim moved in the log.
    pub moved_bytes: u64,
    /// Misses that the filter answered.
    pub filter_skips: u64,
    /// Leases given out.
    pub leases: u64,
    /// Times that somebody waited for another's lease.
    pub lease_waits: u64,
    /// Live sessions.
    pub sessions: u64,
    /// Live sessions that are idle.
    pub sessions_idle: u64,
    /// Sessions whose time was over.
    pub sessions_expired: u64,
    /// Sessions that had to make room.
    pub sessions_ended: u64,
    /// Caught faults of the library; alert on any.
    pub faults: u64,
    /// Shards out of service after a caught fault.
    pub poisoned_shards: u32,
}
