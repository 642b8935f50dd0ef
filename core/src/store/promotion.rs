//! What hits ask for: promotions, and the window in which hits do not count.
//!
//! A policy that appends hit entries again (LRU) tells from which age on a hit asks for it. The
//! reader, who holds no lock, puts the entry's location into the shard's ring; the next writer
//! carries out what is in it. A policy with a correlation window has readers skip hits on what was
//! appended to queue 0 of late; the window follows the head in steps.
//!
//! Invariants: a location in the ring is a hint, believed only when a slot of the index names it;
//! a full ring loses promotions, never entries.

use super::HitRule;
use super::writer::Writer;
use crate::eviction::{Policy, QUEUES_MAX};
use crate::pool::space::{SEG_NONE, SegId};
use std::sync::atomic::{AtomicU32, Ordering};

/// Look-ups that ask for something and wait for a writer.
const RING: usize = 128;

/// What became of a hit that asks for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is in the ring.
    Noted,
    /// It is in the ring, which is due to be drained.
    Due,
    /// The ring is full.
    Lost,
    /// The ring is full, and due to be drained.
    LostAndDue,
}

/// Without a window in which hits are not counted, its end is never reached.
pub const NO_WINDOW: u64 = u64::MAX;
/// The window moves when its queue's head has passed so large a part of it.
const WINDOW_STEPS: u64 = 8;

/// Locations of entries that were hit and ask for something.
pub struct Ring {
    cells: Box<[AtomicU32; RING]>,
    len: AtomicU32,
}

impl Ring {
    /// Bytes that a ring takes on the process's heap.
    pub const HEAP_BYTES: usize = RING * size_of::<AtomicU32>();

    /// An empty ring.
    pub fn new() -> Self {
        Self { cells: Box::new([const { AtomicU32::new(0) }; RING]), len: AtomicU32::new(0) }
    }

    /// Remembers that an entry asks for something; forgets it when the ring is full. The ring is due
    /// to be drained once in as many calls as it is long.
    #[inline]
    pub fn note(&self, location: u32) -> Asked {
        // It may wrap: then the ring is filled once more.
        let at = self.len.fetch_add(1, Ordering::Relaxed) as usize;
        let is_due = at % RING == RING - 1;
        if let Some(cell) = self.cells.get(at) {
            cell.store(location, Ordering::Release);
            return if is_due { Asked::Due } else { Asked::Noted };
        }
        if is_due { Asked::LostAndDue } else { Asked::Lost }
    }

    fn take(&self, mut each: impl FnMut(u32)) {
        let len = (self.len.load(Ordering::Relaxed) as usize).min(RING);
        if len == 0 {
            return;
        }
        for cell in &self.cells[..len] {
            let location = cell.swap(0, Ordering::Acquire);
            if location != 0 {
                each(location);
            }
        }
        self.len.store(0, Ordering::Relaxed);
    }
}

impl Writer<'_> {
    /// Carries out what hits asked for since the last writer: entries are appended again.
    #[inline(always)]
    pub fn drain_promotions(&mut self) {
        if self.store.hit_rule == HitRule::Asks {
            self.drain_ring();
        }
    }

    #[inline(never)]
    fn drain_ring(&mut self) {
        let shard = self.shard;
        for queue in 0..usize::from(self.store.queues).min(QUEUES_MAX) {
            self.state.view.queues[queue].tail = self.tail_of(queue);
        }
        shard.ring.take(|location| self.promote(location));
        self.mark_promotions();
    }

    /// The position of the oldest entries of a queue; of its head where there are none.
    fn tail_of(&self, queue: usize) -> u64 {
        let chain = &self.state.queues[queue];
        let oldest = if chain.job.is_open() { chain.job.seg } else { chain.oldest };
        match oldest {
            SEG_NONE => self.state.view.queues[queue].head,
            segment => self.meta(segment).position.load(Ordering::Relaxed),
        }
    }

    /// Tells readers from which age on a hit asks for promotion.
    fn mark_promotions(&mut self) {
        let Some(share) = self.store.promote_after else { return };
        let queues = self.state.view.queues.iter().take(usize::from(self.store.queues));
        for (queue, mark) in queues.zip(&self.shard.promote_before) {
            let behind = queue.length() * u64::from(share) / 256;
            mark.store(queue.head - behind, Ordering::Relaxed);
        }
    }

    /// Has the window of uncounted hits follow the head of queue 0.
    #[inline(always)]
    pub fn follow_head(&mut self) {
        if self.state.view.queues[0].head >= self.state.window_due {
            self.move_window();
        }
    }

    #[cold]
    #[inline(never)]
    fn move_window(&mut self) {
        let Some(share) = self.state.policy.uncounted_share() else { return };
        let head = self.state.view.queues[0].head;
        let window = head.saturating_sub(self.tail_of(0)) / 256 * u64::from(share);
        self.shard.count_before.store(head - window, Ordering::Relaxed);
        self.state.window_due = head + (window / WINDOW_STEPS).max(1);
    }

    /// The queues were emptied and their heads are at the beginning again.
    pub fn reset_window(&mut self) {
        if self.state.window_due != NO_WINDOW {
            self.state.window_due = 0;
        }
    }

    fn promote(&mut self, location: u32) {
        // The location may be of an entry that is dead by now, and its segment may be another
        // one's: only a slot of this shard makes it an entry.
        let segment = self.places.segment_of(location);
        if !self.owns_log(segment) {
            return;
        }
        let meta = self.meta(segment);
        let offset = self.places.offset_of(location);
        if offset >= meta.fill.load(Ordering::Relaxed) || !self.begins_entry(segment, offset) {
            return;
        }
        let hash = self.hash_at(location);
        let Some(live) = self.find_at(hash, location) else { return };
        if self.store.hears_at != 0 {
            return self.hear(hash, &live);
        }
        let queue = self.queue_of(location);
        let before = self.shard.promote_before[queue].load(Ordering::Relaxed);
        if self.position_of(location) < before && self.pay_for_move(&live) {
            let extent = self.extent(&live);
            self.move_entry(live, extent, queue, live.slot.hits());
        }
    }

    /// Whether the bytes at an offset look like an entry that lies inside its segment. A slot is
    /// looked for afterwards; this only keeps a stale location from being read past the end.
    fn begins_entry(&self, segment: SegId, offset: u32) -> bool {
        let fill = self.meta(segment).fill.load(Ordering::Relaxed);
        let location = self.places.location(segment, offset);
        fill - offset >= 8 && {
            let entry = self.entry_at(location);
            let bytes = entry.bytes() as u64;
            bytes <= u64::from(fill - offset)
        }
    }
}
