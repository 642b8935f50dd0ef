//! The log of a shard: where entries are appended, and what is dead in it.
//!
//! A queue is a chain of segments, oldest first. Its last one is the head, where entries are
//! appended; all others are closed and only lose live bytes. A closed segment with nothing live is
//! retired at once; one with a quarter dead is put into the bin of its dead eighths, where
//! compaction finds it.

use super::entry::{Entry, Shape};
use super::shard::{BINS, COMPACT_FROM, Extent, Live, Stage, Writer};
use crate::error::Result;
use crate::pool::space::{SEG_NONE, SegId, Use};
use std::sync::atomic::Ordering::{Relaxed, Release};

impl Writer<'_> {
    /// Whether the head of a queue has room for so many bytes.
    #[inline]
    pub fn has_room(&self, queue: usize, bytes: u32) -> bool {
        let head = self.state.queues[queue].head;
        head != SEG_NONE
            && u64::from(self.store.space().meta(head).fill.load(Relaxed)) + u64::from(bytes)
                <= self.store.space().seg_bytes()
    }

    /// Makes room at the head of a queue, opening a segment if need be; false if none is to be
    /// had without reclaiming.
    pub fn make_head(&mut self, queue: usize, bytes: u32) -> Result<bool> {
        if self.has_room(queue, bytes) {
            return Ok(true);
        }
        let Some(segment) = self.store.take_segment(Use::Log)? else { return Ok(false) };
        self.close_head(queue);
        let position = self.state.queues[queue].position;
        self.open_segment(segment, queue, Stage::Head, position);
        let newest = self.state.queues[queue].newest;
        self.link_after(queue, newest, segment);
        self.state.queues[queue].head = segment;
        self.head_opened();
        Ok(true)
    }

    fn open_segment(&mut self, segment: SegId, queue: usize, stage: Stage, position: u64) {
        let meta = self.store.space().meta(segment);
        // Location 0 means "empty slot", so the first unit of the first segment stays unused.
        let fill = if segment == 0 { self.store.unit() } else { 0 };
        meta.fill.store(fill, Relaxed);
        meta.live.store(0, Relaxed);
        meta.position.store(position, Relaxed);
        meta.earliest.store(u64::MAX, Relaxed);
        meta.shard.store(self.store.number_of(self.shard), Relaxed);
        // After the shard: another shard's writer may be asking whose segment this is.
        meta.store.store(self.store.id, Release);
        meta.bin_prev.store(SEG_NONE, Relaxed);
        meta.bin_next.store(SEG_NONE, Relaxed);
        self.set_stage(segment, queue, stage);
        self.state.segments += 1;
        self.shard.segments.store(self.state.segments, Relaxed);
    }

    /// Marks where a segment is in its life.
    pub fn set_stage(&self, segment: SegId, queue: usize, stage: Stage) {
        self.store.space().meta(segment).queue.store(stage as u8 | queue as u8, Relaxed);
    }

    /// Where a segment is in its life.
    pub fn stage(&self, segment: SegId) -> Stage {
        match self.store.space().meta(segment).queue.load(Relaxed) & 0xF0 {
            0x00 => Stage::Closed,
            0x10 => Stage::Head,
            0x20 => Stage::Compaction,
            _ => Stage::Job,
        }
    }

    /// Closes the head of a queue.
    pub fn close_head(&mut self, queue: usize) {
        let head = self.state.queues[queue].head;
        if head == SEG_NONE {
            return;
        }
        let fill = self.store.space().meta(head).fill.load(Relaxed);
        self.state.queues[queue].position += u64::from(fill);
        self.state.queues[queue].head = SEG_NONE;
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
        let position = self.store.space().meta(victim).position.load(Relaxed);
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
        let meta = self.store.space().meta(segment);
        let dead = meta.fill.load(Relaxed) - meta.live.load(Relaxed);
        ((u64::from(dead) * BINS as u64) >> self.store.space().seg_shift()) as usize
    }

    fn leave_bin(&mut self, segment: SegId) {
        let space = self.store.space();
        let meta = space.meta(segment);
        let next = meta.bin_next.swap(SEG_NONE, Relaxed);
        let prev = meta.bin_prev.swap(SEG_NONE, Relaxed);
        if next != SEG_NONE {
            space.meta(next).bin_prev.store(prev, Relaxed);
        }
        if prev != SEG_NONE {
            space.meta(prev).bin_next.store(next, Relaxed);
        } else if let Some(bin) = self.state.bins.iter_mut().find(|bin| **bin == segment) {
            *bin = next;
        }
    }

    fn join_bin(&mut self, segment: SegId, bin: usize) {
        let space = self.store.space();
        let first = self.state.bins[bin];
        space.meta(segment).bin_next.store(first, Relaxed);
        if first != SEG_NONE {
            space.meta(first).bin_prev.store(segment, Relaxed);
        }
        self.state.bins[bin] = segment;
    }

    /// Puts a closed segment where its live bytes say: away, into a bin, or nowhere.
    fn settle(&mut self, segment: SegId, queue: usize) {
        if self.store.space().meta(segment).live.load(Relaxed) == 0 {
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
        self.state.segments -= 1;
        self.shard.segments.store(self.state.segments, Relaxed);
        self.store.retire_log(segment);
        self.retired = true;
    }

    /// Appends an entry whose value `fill_value` writes; the caller made room. Returns its
    /// location; nobody sees it before a slot names it.
    pub fn append(
        &mut self,
        queue: usize,
        shape: &Shape,
        key: &[u8],
        fill_value: impl FnOnce(*mut u8),
    ) -> u32 {
        let head = self.state.queues[queue].head;
        let location = self.claim(head, self.store.rounded(shape.bytes()) as u32, shape.expires);
        // SAFETY: `claim` set this place aside, inside the segment, for this entry alone.
        let value = unsafe { shape.write(self.store.address(location).cast_mut(), key) };
        fill_value(value);
        location
    }

    /// Sets bytes of an open segment aside.
    fn claim(&mut self, segment: SegId, bytes: u32, expires: u64) -> u32 {
        let meta = self.store.space().meta(segment);
        let at = meta.fill.load(Relaxed);
        meta.fill.store(at + bytes, Relaxed);
        meta.live.store(meta.live.load(Relaxed) + bytes, Relaxed);
        if expires < meta.earliest.load(Relaxed) {
            meta.earliest.store(expires, Relaxed);
        }
        self.store.location(segment, at)
    }

    /// Copies a live entry to the end of an open segment and points its slot there. The counts of
    /// queues are the caller's.
    fn copy_to(&mut self, segment: SegId, live: &Live, hits: u8) -> u32 {
        let bytes = self.log_bytes(&live.entry);
        let location = self.claim(segment, bytes, live.entry.expires());
        // SAFETY: the source is a live entry of this shard, the target was set aside for it, and
        // the two do not overlap.
        unsafe {
            std::ptr::copy_nonoverlapping(
                live.entry.place(),
                self.store.address(location).cast_mut(),
                live.entry.bytes(),
            );
        }
        self.shard.table.relocate(live.place, location, hits);
        self.shard.counters.add(crate::stats::Tally::MovedBytes, u64::from(bytes));
        location
    }

    /// Appends a live entry again, to a queue whose head has room for it.
    pub fn move_entry(&mut self, live: Live, queue: usize, hits: u8) {
        let from = self.queue_of(live.slot.location);
        let full = self.full_bytes(&live.entry);
        let head = self.state.queues[queue].head;
        self.copy_to(head, &live, hits);
        self.count_in(queue, full);
        self.count_out(from, full);
        self.bury(live.slot.location, self.log_bytes(&live.entry));
    }

    /// Copies a live entry to the compaction head of its queue, which has room for it.
    pub fn compact_entry(&mut self, live: Live) {
        let queue = self.queue_of(live.slot.location);
        let segment = self.state.queues[queue].compaction;
        let hits = self.shard.table.hits(live.place);
        self.copy_to(segment, &live, hits);
        self.bury(live.slot.location, self.log_bytes(&live.entry));
    }

    /// Counts an entry into a queue.
    pub fn count_in(&mut self, queue: usize, full_bytes: u64) {
        self.state.queues[queue].bytes += full_bytes;
        self.state.queues[queue].entries += 1;
    }

    /// Counts an entry out of a queue.
    pub fn count_out(&mut self, queue: usize, full_bytes: u64) {
        self.state.queues[queue].bytes -= full_bytes;
        self.state.queues[queue].entries -= 1;
    }

    /// Marks the bytes of an entry that no slot names any more as dead.
    pub fn bury(&mut self, location: u32, log_bytes: u32) {
        let segment = self.store.segment_of(location);
        let meta = self.store.space().meta(segment);
        let live = meta.live.load(Relaxed) - log_bytes;
        meta.live.store(live, Relaxed);
        if self.stage(segment) != Stage::Closed {
            return;
        }
        let queue = usize::from(meta.queue.load(Relaxed) & 0x0F);
        let before = meta.fill.load(Relaxed) - live - log_bytes;
        let old_bin =
            ((u64::from(before) * BINS as u64) >> self.store.space().seg_shift()) as usize;
        if live == 0 || old_bin != self.bin_of(segment) {
            self.settle(segment, queue);
        }
    }

    /// Takes a live entry out: its slot, its bytes, its run.
    pub fn remove_entry(&mut self, live: &Live, extent: &Extent) {
        let run = live.entry.run();
        let shard = self.shard;
        shard.table.remove(&mut self.state.tail, live.place);
        self.state.payload -= extent.payload;
        self.count_out(extent.queue, extent.full);
        self.bury(live.slot.location, extent.log_bytes);
        self.drop_run(run);
    }

    /// Gives the run of an entry back that no slot names any more.
    pub fn drop_run(&mut self, run: Option<u32>) {
        if let Some(run) = run {
            self.unchain_run(run);
            self.state.run_bytes -= self.store.space().run_charge(run);
            self.store.retire_run(run);
            self.retired = true;
        }
    }

    /// Counts a run in that an entry names from now on.
    pub fn adopt_run(&mut self, run: Option<u32>) {
        let Some(run) = run else { return };
        let space = self.store.space();
        let first = self.state.runs;
        space.run_meta(run).prev.store(SEG_NONE, Relaxed);
        space.run_meta(run).next.store(first, Relaxed);
        if first != SEG_NONE {
            space.run_meta(first).prev.store(run, Relaxed);
        }
        self.state.runs = run;
        self.state.run_bytes += space.run_charge(run);
    }

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

    /// Calls `visit` with every location of a segment, in the order in which they were appended.
    pub fn each_entry(&self, segment: SegId, mut visit: impl FnMut(u32, &Entry)) {
        let fill = self.store.space().meta(segment).fill.load(Relaxed);
        let mut at = if segment == 0 { self.store.unit() } else { 0 };
        while at < fill {
            let location = self.store.location(segment, at);
            let entry = self.entry_at(location);
            visit(location, &entry);
            at += self.log_bytes(&entry);
        }
    }
}
