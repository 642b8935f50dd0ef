//! Walks: visiting a shard bucket by bucket while it goes on living.
//!
//! A walk orders keys by the *reversed* bits of their hash. In that order every bucket of a
//! linear-hashing table is one interval, whatever the table's size: a bucket of b address bits
//! covers all hashes that share their low b bits, which reversed are the high b bits. A position
//! in that order therefore survives growing and shrinking, and a walk sees what was there
//! throughout exactly once (the idea of Redis' SCAN, with a position instead of a cursor, so that
//! nothing is seen twice).
//!
//! A walk holds the shard's lock for one bucket at a time.

use super::StoreInner;
use super::shard::Shard;
use super::writer::{Live, Writer};
use crate::error::Result;
use crate::stats::Tally;
use crate::types::{Match, glob_matches};

/// Buckets a walk passes before it lets waiting writers in.
const BUCKETS_A_TURN: u32 = 32;

/// Live entries of one bucket that a walk removes in a turn.
const REMOVALS: usize = 32;

/// The interval of reversed hashes that the bucket of `position` covers: its last member.
fn interval_end(position: u64, bits: u32) -> u64 {
    position | (u64::MAX >> bits)
}

impl Match<'_> {
    /// Whether an entry matches.
    pub(super) fn accepts(&self, entry: &super::entry::Entry) -> bool {
        match self {
            Match::All => true,
            Match::Prefix(prefix) => entry.key().starts_with(prefix),
            Match::Glob(pattern) => glob_matches(pattern, entry.key()),
            Match::Session(session) => entry.session() == *session && *session != 0,
            Match::Type(value_type) => entry.value_type() == *value_type,
        }
    }
}

impl Writer<'_> {
    /// Calls `visit` with every entry of the bucket at a position whose reversed hash is not below
    /// it; returns where the next bucket begins, `None` after the last.
    pub fn visit_bucket(&self, position: u64, mut visit: impl FnMut(u64, Live)) -> Option<u64> {
        let geometry = self.shard.table.geometry();
        let bucket = geometry.bucket(position.reverse_bits());
        let end = interval_end(position, geometry.bits(bucket));
        self.shard.table.each_slot(bucket, |_, slot| {
            crate::memory::racy::prefetch(self.places.address(slot.location));
        });
        self.shard.table.each_slot(bucket, |place, slot| {
            let live = Live { place, slot, entry: self.entry_at(slot.location) };
            let hash = self.store.hash.of(live.entry.key());
            if hash.reverse_bits() >= position {
                visit(hash, live);
            }
        });
        end.checked_add(1)
    }
}

impl StoreInner {
    /// Removes what matches, shard by shard, bucket by bucket; returns how many.
    pub fn invalidate(&self, wanted: &Match<'_>) -> Result<u64> {
        self.check_open()?;
        // Before anything is removed: what is put under a lease from here on began to be loaded
        // after this call.
        for shard in &self.shards {
            let mut writer = shard.lock_any(self);
            if shard.table.geometry().in_service() {
                self.end_leases(&mut writer, wanted);
            }
        }
        if let Some(entries) = self.end_session(wanted) {
            return Ok(entries);
        }
        let mut removed = 0;
        for shard in &self.shards {
            removed += self.invalidate_shard(shard, wanted)?;
        }
        Ok(removed)
    }

    fn invalidate_shard(&self, shard: &Shard, wanted: &Match<'_>) -> Result<u64> {
        let mut removed = 0;
        let mut position = Some(0);
        while let Some(mut at) = position {
            let mut writer = shard.lock(self)?;
            for _ in 0..BUCKETS_A_TURN {
                let (gone, next) = writer.invalidate_bucket(at, wanted);
                removed += gone;
                position = next;
                let Some(next) = next else { break };
                at = next;
            }
            for _ in 0..BUCKETS_A_TURN {
                writer.adapt_index();
            }
            drop(writer);
            self.space().harvest(false);
        }
        Ok(removed)
    }
}

impl Writer<'_> {
    fn invalidate_bucket(&mut self, position: u64, wanted: &Match<'_>) -> (u64, Option<u64>) {
        let mut removed = 0;
        loop {
            // Removing compacts the chain, so the slots are found anew by their locations.
            let mut doomed = [(0_u64, 0_u32); REMOVALS];
            let mut count = 0;
            let next = self.visit_bucket(position, |hash, live| {
                if count < REMOVALS && wanted.accepts(&live.entry) {
                    doomed[count] = (hash, live.slot.location);
                    count += 1;
                }
            });
            for &(hash, location) in &doomed[..count] {
                if let Some(live) = self.find_at(hash, location) {
                    self.forget(hash, live);
                    if !self.store.was_counted(&live.entry) {
                        self.shard.counters().count(Tally::Invalidated);
                        removed += 1;
                    }
                }
            }
            if count < REMOVALS {
                return (removed, next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::interval_end;

    #[test]
    fn intervals_tile_the_order() {
        for bits in 1..12 {
            let mut position = 0_u64;
            let mut buckets = 0;
            loop {
                let end = interval_end(position, bits);
                assert_eq!(position.reverse_bits() & ((1 << bits) - 1), {
                    end.reverse_bits() & ((1 << bits) - 1)
                });
                buckets += 1;
                match end.checked_add(1) {
                    Some(next) => position = next,
                    None => break,
                }
            }
            assert_eq!(buckets, 1 << bits);
        }
    }
}
