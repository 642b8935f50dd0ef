//! The log of a shard: where entries are appended, and what is dead in it.
//!
//! A queue is a chain of segments, oldest first. Its last one is the head, where entries are
//! appended; all others are closed and only lose live bytes. A closed segment with nothing live is
//! retired at once; one with a quarter dead is put into the bin of its dead eighths, where
//! compaction finds it.

use super::entry::{Entry, Shape};
use super::shard::{BINS, COMPACT_FROM, Stage};
use super::writer::{Extent, Live, Writer};
use crate::error::Result;
use crate::memory::racy;
use crate::pool::space::{SEG_NONE, SegId, Use};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, Release};

/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes behind a new entry that are asked for, at most.
const WRITE_AHEAD_MAX: usize = 512;

/// What writes the value of a new entry. Not only closures, since those cannot be told to be inlined.
pub trait FillValue {
    /// Writes it to this place.
    fn fill(self, at: *mut u8);
}

impl<F: FnOnce(*mut u8)> FillValue for F {
    #[inline(always)]
    fn fill(self, at: *mut u8) {
        self(at);
    }
}

impl Writer<'_> {
    /// Whether the head of a queue has room for so many bytes.
    #[inline(always)]
    pub fn has_room(&self, queue: usize, bytes: u32) -> bool {
        bytes <= self.state.heads[queue].room
    }

    /// Makes room at the head of a queue, opening a segment if need be; false if none is to be
    /// had without reclaiming.
    #[inline(always)]
    pub fn make_head(&mut self, queue: usize, bytes: u32) -> Result<bool> {
        if self.has_room(queue, bytes) { Ok(true) } else { self.open_head(queue) }
    }

    #[cold]
    #[inline(never)]
    fn open_head(&mut self, queue: usize) -> Result<bool> {
        let Some(segment) = self.store.take_segment(Use::Log)? else { return Ok(false) };
        self.close_head(queue);
        let position = self.state.view.queues[queue].head;
        self.open_segment(segment, queue, Stage::Head, position);
        let newest = self.state.queues[queue].newest;
        self.link_after(queue, newest, segment);
        self.state.heads[queue].segment = segment;
        let fill = self.meta(segment).fill.load(Relaxed);
        self.state.heads[queue].room = self.places.seg_bytes() as u32 - fill;
        self.head_opened();
        Ok(true)
    }

    fn open_segment(&mut self, segment: SegId, queue: usize, stage: Stage, position: u64) {
        let meta = self.meta(segment);
        // Location 0 means "empty slot", so the first unit of the first segment stays unused.
        let fill = self.store.first_offset(segment);
        meta.fill.store(fill, Relaxed);
        if stage == Stage::Head {
            self.state.view.queues[queue].head += u64::from(fill);
        }
        meta.live.store(0, Relaxed);
        meta.position.store(position, Relaxed);
        meta.earliest.store(u64::MAX, Relaxed);
        meta.shard.store(self.store.number_of(self.shard), Relaxed);
        // After the shard: another shard's writer may be asking whose segment this is.
        meta.store.store(self.store.id, Release);
        meta.bin_prev.store(SEG_NONE, Relaxed);
        meta.bin_next.store(SEG_NONE, Relaxed);
        self.set_stage(segment, queue, stage);
        self.count_segments(self.state.segments + 1);
    }

    fn count_segments(&mut self, segments: u32) {
        self.state.segments = segments;
        self.shard.segments.store(segments, Relaxed);
        self.update_capacity();
    }

    /// Marks where a segment is in its life.
    pub fn set_stage(&self, segment: SegId, queue: usize, stage: Stage) {
        self.meta(segment).queue.store(stage as u8 | queue as u8, Relaxed);
    }

    /// Where a segment is in its life.
    pub fn stage(&self, segment: SegId) -> Stage {
        match self.meta(segment).queue.load(Relaxed) & 0xF0 {
            0x00 => Stage::Closed,
            0x10 => Stage::Head,
            0x20 => Stage::Compaction,
            _ => Stage::Job,
        }
    }

    /// Closes the head of a queue.
    pub fn close_head(&mut self, queue: usize) {
        let head = self.state.heads[queue].segment;
        if head == SEG_NONE {
            return;
        }
        self.state.heads[queue].segment = SEG_NONE;
        self.state.heads[queue].room = 0;
        self.close(head, queue);
    }

    /// Closes the compaction head of a queue.
    pub fn close_compaction(&mut self, queue: usize) {
        let segment = self.state.queues[queue].compaction;
        if segment != SEG_NONE {
            self.state.queues[queue].compaction = SEG_NONE;
            self.close(segment, queue);
        }
    }

    fn close(&mut self, segment: SegId, queue: usize) {
        self.set_stage(segment, queue, Stage::Closed);
        self.settle(segment, queue);
    }

    /// Opens the compaction head of a queue in the place of `victim`, which stays linked.
    pub fn open_compaction(&mut self, queue: usize, victim: SegId) -> Result<bool> {
        let Some(segment) = self.store.take_segment(Use::Log)? else { return Ok(false) };
        let position = self.meta(victim).position.load(Relaxed);
        self.open_segment(segment, queue, Stage::Compaction, position);
        self.link_after(queue, victim, segment);
        // Only now: closing may retire the former one, which may be the victim.
        self.close_compaction(queue);
        self.state.queues[queue].compaction = segment;
        Ok(true)
    }

    /// Links a segment into a chain behind another one, or as the only one.
    fn link_after(&mut self, queue: usize, before: SegId, segment: SegId) {
        let space = self.store.space();
        let meta = space.meta(segment);
        meta.prev.store(before, Relaxed);
        let chain = &mut self.state.queues[queue];
        if before == SEG_NONE {
            meta.next.store(SEG_NONE, Relaxed);
            chain.oldest = segment;
            chain.newest = segment;
            return;
        }
        let next = space.meta(before).next.swap(segment, Relaxed);
        meta.next.store(next, Relaxed);
        if next == SEG_NONE {
            chain.newest = segment;
        } else {
            space.meta(next).prev.store(segment, Relaxed);
        }
    }

    /// Takes a segment out of its chain and its bin.
    pub fn unlink_segment(&mut self, segment: SegId, queue: usize) {
        let space = self.store.space();
        let meta = space.meta(segment);
        self.leave_bin(segment);
        let (prev, next) = (meta.prev.load(Relaxed), meta.next.load(Relaxed));
        let chain = &mut self.state.queues[queue];
        if prev == SEG_NONE {
            chain.oldest = next;
        } else {
            space.meta(prev).next.store(next, Relaxed);
        }
        if next == SEG_NONE {
            chain.newest = prev;
        } else {
            space.meta(next).prev.store(prev, Relaxed);
        }
        meta.prev.store(SEG_NONE, Relaxed);
        meta.next.store(SEG_NONE, Relaxed);
    }

    fn bin_of(&self, segment: SegId) -> usize {
        let meta = self.meta(segment);
        let dead = meta.fill.load(Relaxed) - meta.live.load(Relaxed);
        ((u64::from(dead) * BINS as u64) >> self.places.seg_shift()) as usize
    }

    fn leave_bin(&mut self, segment: SegId) {
        let meta = self.meta(segment);
        let next = meta.bin_next.swap(SEG_NONE, Relaxed);
        let prev = meta.bin_prev.swap(SEG_NONE, Relaxed);
        if next != SEG_NONE {
            self.meta(next).bin_prev.store(prev, Relaxed);
        }
        if prev != SEG_NONE {
            self.meta(prev).bin_next.store(next, Relaxed);
        } else if let Some(bin) = self.state.bins.iter_mut().find(|bin| **bin == segment) {
            *bin = next;
        } else {
            return;
        }
        self.state.binned -= 1;
    }

    fn join_bin(&mut self, segment: SegId, bin: usize) {
        let first = self.state.bins[bin];
        self.meta(segment).bin_next.store(first, Relaxed);
        if first != SEG_NONE {
            self.meta(first).bin_prev.store(segment, Relaxed);
        }
        self.state.bins[bin] = segment;
        self.state.binned += 1;
    }

    /// Puts a closed segment where its live bytes say: away, into a bin, or nowhere.
    fn settle(&mut self, segment: SegId, queue: usize) {
        if self.meta(segment).live.load(Relaxed) == 0 {
            self.unlink_segment(segment, queue);
            self.retire(segment);
            return;
        }
        let bin = self.bin_of(segment).min(BINS - 1);
        self.leave_bin(segment);
        if bin >= COMPACT_FROM {
            self.join_bin(segment, bin);
        }
    }

    /// Gives an emptied segment back; readers may still be in it.
    pub fn retire(&mut self, segment: SegId) {
        self.count_segments(self.state.segments - 1);
        self.store.retire_log(segment);
        self.retired = true;
    }

    /// Appends an entry of so many (rounded) bytes, whose value `value` writes; the caller
    /// made room. Returns its location; nobody sees it before a slot names it.
    #[inline(always)]
    pub fn append(
        &mut self,
        queue: usize,
        bytes: u32,
        shape: &Shape,
        key: &[u8],
        value: impl FillValue,
    ) -> u32 {
        let head = self.state.heads[queue].segment;
        let location = self.claim(head, bytes, shape.expires);
        self.head_filled(queue, bytes);
        let at = self.places.address(location).cast_mut();
        // SAFETY: `claim` set this place aside, inside the segment, for this entry alone.
        let value_at = unsafe { shape.write(at, key) };
        value.fill(value_at);
        // The next entry, if it is as long, is written without waiting for its lines.
        let (len, behind) = (bytes as usize, at.wrapping_add(bytes as usize + LINE));
        let mut ahead = 0;
        while ahead < len.min(WRITE_AHEAD_MAX) {
            racy::prefetch(behind.wrapping_add(ahead));
            ahead += LINE;
        }
        location
    }

    #[inline(always)]
    fn head_filled(&mut self, queue: usize, bytes: u32) {
        self.state.heads[queue].room -= bytes;
        self.state.view.queues[queue].head += u64::from(bytes);
    }

    /// Sets bytes of an open segment aside.
    #[inline(always)]
    fn claim(&mut self, segment: SegId, bytes: u32, expires: u64) -> u32 {
        let meta = self.meta(segment);
        let at = meta.fill.load(Relaxed);
        meta.fill.store(at + bytes, Relaxed);
        meta.live.store(meta.live.load(Relaxed) + bytes, Relaxed);
        if expires < meta.earliest.load(Relaxed) {
            meta.earliest.store(expires, Relaxed);
        }
        self.places.location(segment, at)
    }

    /// Copies a live entry to the end of an open segment and points its slot there. The counts of
    /// queues are the caller's.
    #[inline]
    fn copy_to(&mut self, segment: SegId, live: &Live, bytes: u32, hits: u8) {
        let location = self.claim(segment, bytes, live.entry.expires());
        let to = self.places.address(location).cast_mut().cast::<u64>();
        let words = bytes as usize / 8;
        // SAFETY: the source is a live entry of this shard, the target was set aside for it, both
        // take so many rounded bytes, and the two do not overlap. Of an entry with an idle time
        // readers change words meanwhile.
        unsafe {
            if live.entry.idle().is_some() {
                let from = live.entry.place().cast::<AtomicU64>();
                for at in 0..words {
                    to.add(at).write((*from.add(at)).load(Relaxed));
                }
            } else {
                std::ptr::copy_nonoverlapping(live.entry.place().cast::<u64>(), to, words);
            }
        }
        self.shard.table.relocate(live.place, location, hits);
        self.shard.counters().add(crate::stats::Tally::MovedBytes, u64::from(bytes));
    }

    /// Appends a live entry again, to a queue whose head has room for it.
    pub fn move_entry(&mut self, live: Live, extent: Extent, queue: usize, hits: u8) {
        let head = self.state.heads[queue].segment;
        self.copy_to(head, &live, extent.log_bytes, hits);
        self.head_filled(queue, extent.log_bytes);
        self.count_in(queue, extent.full);
        self.count_out(extent.queue, extent.full);
        self.bury(live.slot.location, extent.log_bytes);
    }

    /// Copies a live entry of so many bytes to the compaction head of its queue, which has room
    /// for it.
    #[inline]
    pub fn compact_entry(&mut self, live: &Live, queue: usize, bytes: u32) {
        let segment = self.state.queues[queue].compaction;
        self.copy_to(segment, live, bytes, live.slot.hits());
        self.bury(live.slot.location, bytes);
    }

    /// Counts an entry into a queue.
    #[inline(always)]
    pub fn count_in(&mut self, queue: usize, full_bytes: u64) {
        let queue = &mut self.state.view.queues[queue];
        queue.bytes += full_bytes;
        queue.entries += 1;
    }

    /// Counts an entry out of a queue.
    #[inline(always)]
    pub fn count_out(&mut self, queue: usize, full_bytes: u64) {
        let queue = &mut self.state.view.queues[queue];
        queue.bytes -= full_bytes;
        queue.entries -= 1;
    }

    /// Marks an entry that no slot names any more, and its bytes, as dead.
    #[inline(always)]
    pub fn bury(&mut self, location: u32, log_bytes: u32) {
        // SAFETY: a slot named the place under this same lock, so an entry begins there.
        unsafe { Entry::mark_dead(self.places.address(location)) };
        let segment = self.places.segment_of(location);
        let meta = self.meta(segment);
        let live = meta.live.load(Relaxed) - log_bytes;
        meta.live.store(live, Relaxed);
        let marks = meta.queue.load(Relaxed);
        if marks & 0xF0 != Stage::Closed as u8 {
            return;
        }
        let queue = usize::from(marks & 0x0F);
        let before = meta.fill.load(Relaxed) - live - log_bytes;
        let old_bin = ((u64::from(before) * BINS as u64) >> self.places.seg_shift()) as usize;
        if live == 0 || old_bin != self.bin_of(segment) {
            self.settle(segment, queue);
        }
    }

    /// Takes a live entry out: its slot, its bytes, its run.
    #[inline(always)]
    pub fn remove_entry(&mut self, live: &Live, extent: &Extent) {
        let shard = self.shard;
        shard.table.remove(&mut self.state.tail, live.place);
        self.state.payload -= extent.payload;
        self.count_out(extent.queue, extent.full);
        self.let_go(live, extent.full);
        self.bury(live.slot.location, extent.log_bytes);
        self.drop_run(live.entry.run());
    }

    /// Gives the run of an entry back that no slot names any more.
    #[inline(always)]
    pub fn drop_run(&mut self, run: Option<u32>) {
        if let Some(run) = run {
            self.unchain_run(run);
            self.state.run_bytes -= self.store.space().run_charge(run);
            self.update_capacity();
            self.store.retire_run(run);
            self.retired = true;
        }
    }

    /// Counts a run in that an entry names from now on.
    pub fn adopt_run(&mut self, run: u32) {
        let space = self.store.space();
        let first = self.state.runs;
        space.run_meta(run).prev.store(SEG_NONE, Relaxed);
        space.run_meta(run).next.store(first, Relaxed);
        if first != SEG_NONE {
            space.run_meta(first).prev.store(run, Relaxed);
        }
        self.state.runs = run;
        self.state.run_bytes += space.run_charge(run);
        self.update_capacity();
    }

    #[cold]
    fn unchain_run(&mut self, run: u32) {
        let space = self.store.space();
        let meta = space.run_meta(run);
        let (prev, next) = (meta.prev.load(Relaxed), meta.next.load(Relaxed));
        if prev == SEG_NONE {
            self.state.runs = next;
        } else {
            space.run_meta(prev).next.store(next, Relaxed);
        }
        if next != SEG_NONE {
            space.run_meta(next).prev.store(prev, Relaxed);
        }
    }

    /// Calls `visit` with every entry of a segment, in the order in which they were appended, and
    /// whether it is dead.
    pub fn each_entry(&self, segment: SegId, mut visit: impl FnMut(u32, &Entry, bool)) {
        let fill = self.meta(segment).fill.load(Relaxed);
        let mut at = self.store.first_offset(segment);
        while at < fill {
            let location = self.places.location(segment, at);
            // SAFETY: up to its fill a segment of this shard's log is one entry after another, and
            // the lock keeps it from being given back.
            let (entry, is_dead) = unsafe { Entry::at_marked(self.places.address(location)) };
            visit(location, &entry, is_dead);
            at += self.log_bytes(&entry);
        }
    }
}
