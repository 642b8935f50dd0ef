//! Counters that cost about what a local variable costs.
//!
//! A locked addition takes 6 ns alone and 34 ns shared, more than a third of a cached read. So:
//!
//! - What *readers* count is striped by the number of the thread's reader slot ([`Stripes`]).
//! - What *writers* count lives in one [`ShardCounters`] a shard and is added, again by load and
//!   store, under the shard's lock.
//! - What is counted outside any shard's lock is rare, and added atomically.
//!
//! Every number is a 64-bit word that never falls; sums are read without stopping anybody.

use std::sync::atomic::{AtomicU64, Ordering};

use super::StoreStats;
use super::stripes::{Stripes, bump};

/// Slots with a line of their own.
const OWNED: usize = 64;
/// Lines for all other threads.
const SHARED: usize = 8;

/// What readers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum ReadTally {
    /// A read found an entry.
    Hits,
    /// A read found none.
    Misses,
    /// A read was served with an expired value.
    StaleHits,
    /// The filter answered a miss.
    FilterSkips,
    /// A lease was given out.
    Leases,
    /// Somebody waited for another's lease.
    LeaseWaits,
}

const READ_TALLIES: usize = 6;
/// Hits when the last window of misses began; told to nobody.
const HITS_BEFORE: usize = READ_TALLIES;
/// Misses of a window, the hits beside which they count as all, and those from which on they do not.
/// Tests change their mind often.
const WINDOW: u64 = if cfg!(any(test, feature = "testing")) { 4 } else { 256 };
const FEW: u64 = if cfg!(any(test, feature = "testing")) { 1 } else { 4 };
const SOME: u64 = 4 * FEW;

/// What a reader's last look-ups were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Nothing new.
    Unclear,
    /// Misses but for one in 64, or less.
    Misses,
    /// Hits among them, one in 16 or more.
    Hits,
}

/// What writers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Tally {
    /// An entry removed by key.
    Deletes,
    /// An entry removed by pattern, session, type or clearing.
    Invalidated,
    /// An entry whose time was over.
    Expired,
    /// A write that the policy declined.
    NotAdmitted,
    /// A write refused: too large, no space, no memory.
    Rejected,
    /// A session whose time was over.
    SessionsExpired,
    /// A session that had to make room.
    SessionsEnded,
    /// A caught fault.
    Faults,
    // What every write counts comes last, in one line with what follows the counters in a shard.
    /// A write under a key without a live entry.
    Inserts,
    /// A write over a live entry.
    Updates,
    /// An entry that had to make room.
    Evicted,
    /// Bytes of entries that had to make room.
    EvictedBytes,
    /// Bytes that writes put in the log.
    WrittenBytes,
    /// Bytes that reclaim moved in the log.
    MovedBytes,
}

const TALLIES: usize = 14;

/// One shard's counts. Every change is made under that shard's lock.
#[derive(Debug)]
pub struct ShardCounters([AtomicU64; TALLIES]);

impl Default for ShardCounters {
    fn default() -> Self {
        Self::new()
    }
}

impl ShardCounters {
    /// All zero.
    #[must_use]
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; TALLIES])
    }

    /// Counts one. The caller holds the shard's lock; where two callers do not, counts get lost,
    /// and nothing worse.
    #[inline]
    pub fn count(&self, tally: Tally) {
        self.add(tally, 1);
    }

    /// Counts `n`, as [`ShardCounters::count`] does.
    #[inline]
    pub fn add(&self, tally: Tally, n: u64) {
        bump(&self.0[tally as usize], n);
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self, tally: Tally) -> u64 {
        self.0[tally as usize].load(Ordering::Relaxed)
    }
}

/// A store's counts outside its shards.
#[derive(Debug)]
#[repr(align(64))]
pub struct Counters {
    reads: Stripes<{ READ_TALLIES + 1 }, OWNED, SHARED>,
    unlocked: ShardCounters,
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl Counters {
    /// What a store is charged for it.
    pub const BYTES: u64 = size_of::<Self>() as u64;

    /// All zero.
    #[must_use]
    pub const fn new() -> Self {
        Self { reads: Stripes::new(), unlocked: ShardCounters::new() }
    }

    /// Counts a hit of the thread whose reader slot is `slot` (any number past the table for a
    /// thread without one).
    #[inline(always)]
    pub fn hit(&self, slot: u32) {
        self.read_add(slot, ReadTally::Hits, 1);
    }

    /// Counts a miss, as [`Counters::hit`] does.
    #[inline(always)]
    pub fn miss(&self, slot: u32) {
        self.read_add(slot, ReadTally::Misses, 1);
    }

    /// Counts `n` of `tally` for the thread whose reader slot is `slot`.
    #[inline(always)]
    pub fn read_add(&self, slot: u32, tally: ReadTally, n: u64) {
        self.reads.add(slot as usize, tally as usize, n);
    }

    /// Whether the reader's window of misses ends with the one just counted.
    #[inline(always)]
    pub fn ends_window(&self, slot: u32) -> bool {
        let line = self.reads.line(slot as usize);
        line[ReadTally::Misses as usize].load(Ordering::Relaxed).is_multiple_of(WINDOW)
    }

    /// What the reader's hits and misses were in the window that has ended.
    pub fn share_of_window(&self, slot: u32) -> Share {
        let line = self.reads.line(slot as usize);
        let hits = line[ReadTally::Hits as usize].load(Ordering::Relaxed);
        let before = line[HITS_BEFORE].load(Ordering::Relaxed);
        line[HITS_BEFORE].store(hits, Ordering::Relaxed);
        match hits.wrapping_sub(before) {
            few if few <= FEW => Share::Misses,
            some if some <= SOME => Share::Unclear,
            _ => Share::Hits,
        }
    }

    /// Whether there are hits among the reader's look-ups in the window that has not ended.
    #[inline]
    pub fn has_hits(&self, slot: u32) -> bool {
        let line = self.reads.line(slot as usize);
        let hits = line[ReadTally::Hits as usize].load(Ordering::Relaxed);
        hits.wrapping_sub(line[HITS_BEFORE].load(Ordering::Relaxed)) > SOME
    }

    /// Counts `n` of what a writer counts where no shard's lock is held.
    pub fn add_unlocked(&self, tally: Tally, n: u64) {
        self.unlocked.0[tally as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// The sum of what readers counted.
    #[must_use]
    pub fn read_sum(&self, tally: ReadTally) -> u64 {
        self.reads.sum(tally as usize)
    }

    /// Hits so far.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.read_sum(ReadTally::Hits)
    }

    /// Fills the counters of `out` in; gauges stay as they are.
    pub fn fill<'a>(
        &'a self,
        shards: impl IntoIterator<Item = &'a ShardCounters>,
        out: &mut StoreStats,
    ) {
        let mut sums = [0_u64; TALLIES];
        for counters in shards.into_iter().chain([&self.unlocked]) {
            for (sum, word) in sums.iter_mut().zip(&counters.0) {
                *sum = sum.wrapping_add(word.load(Ordering::Relaxed));
            }
        }
        let sum = |tally: Tally| sums[tally as usize];
        out.hits = self.read_sum(ReadTally::Hits);
        out.misses = self.read_sum(ReadTally::Misses);
        out.stale_hits = self.read_sum(ReadTally::StaleHits);
        out.filter_skips = self.read_sum(ReadTally::FilterSkips);
        out.leases = self.read_sum(ReadTally::Leases);
        out.lease_waits = self.read_sum(ReadTally::LeaseWaits);
        out.inserts = sum(Tally::Inserts);
        out.updates = sum(Tally::Updates);
        out.deletes = sum(Tally::Deletes);
        out.invalidated = sum(Tally::Invalidated);
        out.evicted = sum(Tally::Evicted);
        out.evicted_bytes = sum(Tally::EvictedBytes);
        out.expired = sum(Tally::Expired);
        out.not_admitted = sum(Tally::NotAdmitted);
        out.rejected = sum(Tally::Rejected);
        out.written_bytes = sum(Tally::WrittenBytes);
        out.moved_bytes = sum(Tally::MovedBytes);
        out.sessions_expired = sum(Tally::SessionsExpired);
        out.sessions_ended = sum(Tally::SessionsEnded);
        out.faults = sum(Tally::Faults);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_stripes_and_shards() {
        let counters = Counters::new();
        std::thread::scope(|scope| {
            for slot in 0..80_u32 {
                let counters = &counters;
                scope.spawn(move || {
                    for _ in 0..100 {
                        counters.hit(slot);
                        counters.miss(u32::MAX);
                        counters.add_unlocked(Tally::Rejected, 2);
                    }
                });
            }
        });
        let shards = [ShardCounters::new(), ShardCounters::new()];
        shards[0].count(Tally::Inserts);
        shards[1].add(Tally::Inserts, 4);
        shards[1].add(Tally::Faults, 1);
        let mut out = StoreStats { entries: 7, ..StoreStats::default() };
        counters.fill(&shards, &mut out);
        let expected = StoreStats {
            entries: 7,
            hits: 8_000,
            misses: 8_000,
            rejected: 16_000,
            inserts: 5,
            faults: 1,
            ..StoreStats::default()
        };
        assert_eq!(out, expected);
        assert_eq!(shards[1].get(Tally::Inserts), 4);
        assert_eq!(Counters::BYTES, 64 * 72 + 128);
    }
}
