//! Hits that a policy hears of.
//!
//! A policy that asks to ([`Policy::hears_at`]) is told of the hit that takes an entry's access
//! counter to a number, once: the reader puts the entry's location into the shard's ring of
//! promotions, and the next writer asks the policy what becomes of the entry. If the ring is full,
//! the reader takes its hit back, so that a later one takes the counter there again: hits are lost
//! in a crowd, entries are not.
//!
//! Until the ring is emptied further hits on the entry are not counted. A policy that cannot do
//! without them ([`Policy::hears_all`]) has the reader empty it at once, if the lock is free.
//!
//! An entry that moves between being noted and being heard of is heard of no more: its counter then
//! stands where it is until the policy judges the entry or a write replaces it. Writers empty the
//! ring before they move anything, so this takes a reader that comes between.

use super::StoreInner;
use super::index::line::Line;
use super::promotion::Asked;
use super::shard::Shard;
use super::writer::{Live, Writer};
use crate::eviction::{Heard, Policy};
use std::sync::atomic::Ordering;

/// Counts a hit on a slot, and notes it if the policy hears of it.
#[inline]
pub fn tell(store: &StoreInner, shard: &Shard, line: &Line, slot: usize, tag: u16, location: u32) {
    let at = store.hears_at;
    let is_heard = line.hits(slot) + 1 == at;
    line.count_hit(slot, tag);
    if !is_heard {
        return;
    }
    match shard.ring.note(location) {
        Asked::Noted if !store.hears_all => {}
        Asked::Noted | Asked::Due => store.promotions_due.store(true, Ordering::Relaxed),
        Asked::Lost => line.uncount_hit(slot, tag, at),
        Asked::LostAndDue => {
            line.uncount_hit(slot, tag, at);
            store.promotions_due.store(true, Ordering::Relaxed);
        }
    }
}

impl Writer<'_> {
    /// Has the policy hear of an entry that was hit.
    pub fn hear(&mut self, hash: u64, live: &Live) {
        let extent = self.extent(live);
        let meta = self.meta_of(hash, live, &extent);
        if meta.hits == 0 {
            return;
        }
        let (queue, hits) = match self.ask(|policy, cx| policy.heard(cx, &meta)) {
            Heard::Stay { hits } => (None, hits),
            Heard::Append { queue, hits } => (Some(usize::from(queue)), hits),
        };
        if let Some(queue) = queue
            && matches!(self.make_head(queue, extent.log_bytes), Ok(true))
        {
            self.move_entry(*live, extent, queue, hits);
            return;
        }
        self.shard.table.set_hits(live.place, hits);
    }

    /// As [`Writer::hear`], after a hit that was counted under the lock.
    #[cold]
    pub fn hear_of(&mut self, hash: u64, key: &[u8]) {
        if let Some(live) = self.find(hash, key)
            && live.slot.hits() >= self.store.hears_at
        {
            self.hear(hash, &live);
        }
    }
}
