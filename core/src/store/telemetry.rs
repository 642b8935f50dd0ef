//! What a store tells about itself.

use super::{Store, StoreInner};
use crate::config::StoreConfig;
use crate::pool::Pool;
use crate::stats::{LatencyOp, LatencySummary, StoreStats};
use std::sync::atomic::Ordering;

impl StoreInner {
    pub(super) fn gather_stats(&self) -> StoreStats {
        let space = self.space();
        let mut out = StoreStats {
            used_bytes: self.used.load(Ordering::Relaxed),
            limit_bytes: match self.limit_bytes.load(Ordering::Relaxed) {
                0 => space.target_bytes(),
                own => own,
            },
            waiting_bytes: space.waiting_bytes(),
            pinned_bytes: space.pinned_bytes(),
            ..StoreStats::default()
        };
        for shard in &self.shards {
            let writer = shard.lock_any(self);
            out.entries += writer.state.tail.len;
            out.payload_bytes += writer.state.payload;
            out.dead_bytes += writer.dead_bytes();
            out.poisoned_shards += u32::from(shard.table.geometry().is_poisoned());
        }
        self.expire_sessions();
        if let Some(sessions) = self.sessions() {
            out.entries = out.entries.saturating_sub(sessions.dead_entries());
            (out.sessions, out.sessions_idle) = sessions.count(self.clock.now_ms());
        }
        self.counters.fill(self.shards.iter().map(|shard| shard.counters()), &mut out);
        out
    }
}

impl super::writer::Writer<'_> {
    /// Bytes in the log that no slot names: what was appended and is not live.
    pub(super) fn dead_bytes(&self) -> u64 {
        let live: u64 = self.state.view.queues.iter().map(|queue| queue.bytes).sum();
        let logged = u64::from(self.state.segments) * self.store.space().seg_bytes();
        let unused: u64 = self
            .state
            .queues
            .iter()
            .zip(&self.state.heads)
            .flat_map(|(queue, head)| [head.segment, queue.compaction])
            .filter(|&segment| segment != crate::pool::SEG_NONE)
            .map(|segment| {
                let fill = self.meta(segment).fill.load(Ordering::Relaxed);
                self.store.space().seg_bytes() - u64::from(fill)
            })
            .sum();
        logged.saturating_sub(unused).saturating_sub(live.saturating_sub(self.state.run_bytes))
    }
}

impl Store {
    /// Fails in a process that is not the one that made the store's pool.
    ///
    /// # Errors
    /// `Forked`.
    #[inline]
    pub fn check(&self) -> crate::error::Result<()> {
        crate::memory::fork::check(self.0.generation)
    }

    /// Gauges and counters, read one by one; all 0 in a process that [`Store::check`] refuses. Locks
    /// each shard for a moment.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        if self.check().is_err() {
            return StoreStats::default();
        }
        self.0.gather_stats()
    }

    /// Latencies of an operation since the store was opened; `None` unless it was opened with
    /// [`StoreConfig::latency`].
    #[must_use]
    pub fn latency(&self, op: LatencyOp) -> Option<LatencySummary> {
        self.0.latency.as_ref().map(|histograms| histograms[op as usize].summary())
    }

    /// The configuration in force, defaults filled in.
    #[must_use]
    pub fn config(&self) -> StoreConfig {
        StoreConfig {
            limit_bytes: self.0.limit_bytes.load(Ordering::Relaxed),
            value_len_max: self.0.value_len_max.load(Ordering::Relaxed),
            ..self.0.config.clone()
        }
    }

    /// The store's name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.config.name.as_deref()
    }

    /// The pool that holds it.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// A number that no other store of the process has.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id
    }
}
