//! Segments: how they get memory, are handed out and come back.
//!
//! A free segment is handed out first, the latest freed first, because it is still in the caches.
//! Only when there is none is memory committed: first the rest of chunks that are split already,
//! then a whole chunk, then, when the budget no longer holds a whole one, a single segment of a
//! chunk that is thereby split.
//!
//! A whole chunk may be backed by a huge page and is charged whole; of a split one each segment is
//! charged for itself. A split chunk that has all its segments again is marked for huge pages
//! again. How chunks come to be split, and how memory goes, is in [`super::release`].

use super::budget::GRAIN;
use super::links::List;
use super::space::{Space, State};
use super::tables::{Chunk, HUGE_ADVISED, LISTED, SEG_NONE, SegId, Use};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::lock::FutexGuard;
use crate::memory::sys::Advice;
use std::sync::atomic::Ordering::Relaxed;

/// How often a segment is asked for again when others take the room that was made for it.
const ATTEMPTS: u32 = 4;
/// Free segments of whole chunks, in [`State::free`].
pub(super) const WHOLE: usize = 0;
/// Free segments of split chunks.
pub(super) const SPLIT: usize = 1;

impl Space {
    /// Hands a segment out: a free one, else one with fresh memory. `Ok(None)`: the limit in force
    /// does not allow another. Its bytes are whatever they are; the holder's fields of its table
    /// entry are 0 (links: [`SEG_NONE`], `earliest`: the greatest value).
    ///
    /// # Errors
    /// [`ErrorKind::NoMemory`]: the system refused memory that the limit allows.
    pub fn take_segment(&self, usage: Use) -> Result<Option<SegId>> {
        debug_assert!(matches!(usage, Use::Log | Use::Index | Use::Raw));
        for _ in 0..ATTEMPTS {
            let mut state = self.state.lock();
            if let Some(id) = self.pop_free(&mut state) {
                self.begin_segment(state, id, usage);
                return Ok(Some(id));
            }
            if let Some((id, whole)) = self.commit_segment(&mut state)? {
                self.begin_segment(state, id, usage);
                if whole {
                    self.see_huge(self.chunk_of(id));
                }
                self.update_gauge();
                return Ok(Some(id));
            }
            drop(state);
            // The charge of runs that nobody has.
            let level = self.budget.level();
            let missing = (self.seg_bytes() / GRAIN).saturating_sub(level.limit - level.used);
            let warm = self.warm_bytes() / GRAIN;
            if warm < missing.max(1) || self.release_free(missing.max(1) * GRAIN) == 0 {
                break;
            }
        }
        Ok(None)
    }

    /// Hands a segment out that is in no list.
    fn begin_segment(&self, mut state: FutexGuard<'_, State>, id: SegId, usage: Use) {
        state.seq += 1;
        let meta = self.meta(id);
        meta.seq.store(state.seq, Relaxed);
        meta.queue.store(0, Relaxed);
        meta.shard.store(0, Relaxed);
        meta.store.store(0, Relaxed);
        meta.fill.store(0, Relaxed);
        meta.live.store(0, Relaxed);
        for link in [&meta.prev, &meta.next, &meta.bin_prev, &meta.bin_next] {
            link.store(SEG_NONE, Relaxed);
        }
        meta.position.store(0, Relaxed);
        meta.earliest.store(u64::MAX, Relaxed);
        self.set_use(id, usage);
        drop(state);
        self.guard_segment(id, true);
    }

    /// Takes a segment back of which the caller knows that no reader can be in it. It stays
    /// charged, and free, unless a shrink wants its memory.
    pub fn give_segment(&self, id: SegId) {
        self.wipe_segment(id);
        let mut state = self.state.lock();
        self.push_free(&mut state, id);
        drop(state);
        self.follow_shrink();
    }

    /// Has every segment that the limit allows committed and backed, and free.
    pub(super) fn prefault(&self) -> Result<()> {
        let mut state = self.state.lock();
        let mut filled = 0;
        while let Some((id, whole)) = self.commit_segment(&mut state)? {
            self.push_free(&mut state, id);
            let chunk = self.chunk_of(id);
            let chunk_at = self.chunk_offset(chunk);
            if whole {
                self.memory.touch(chunk_at);
                if self.memory.is_huge(chunk_at) {
                    self.mark_huge(&mut state, chunk);
                }
                self.memory.populate(chunk_at, self.layout.chunk_bytes())?;
                filled += self.layout.chunk_bytes();
            } else {
                self.memory.populate(self.seg_offset(id), self.seg_bytes())?;
                filled += self.seg_bytes();
            }
        }
        drop(state);
        self.update_gauge();
        if filled == 0 {
            return Err(Error::fixed(ErrorKind::NoMemory, "the limit holds no segment"));
        }
        Ok(())
    }

    /// What a segment goes through before it is free.
    pub(super) fn wipe_segment(&self, id: SegId) {
        if self.zero_on_free {
            // SAFETY: the segment is committed, its holder has given it up, and no reader can be
            // in it any more: that is what the caller promises or the harvest has established.
            unsafe { self.seg_addr(id).write_bytes(0, self.seg_bytes() as usize) };
        }
        self.guard_segment(id, false);
    }

    #[cfg(any(test, feature = "testing"))]
    fn guard_segment(&self, id: SegId, open: bool) {
        self.memory.guard_range(self.seg_offset(id), self.seg_bytes(), open);
    }

    #[cfg(not(any(test, feature = "testing")))]
    #[inline(always)]
    #[allow(clippy::unused_self)]
    fn guard_segment(&self, _id: SegId, _open: bool) {}

    pub(super) fn push_free(&self, state: &mut FutexGuard<'_, State>, id: SegId) {
        let number = self.chunk_of(id);
        let chunk = self.chunk(number);
        let whole = chunk.kind() == Chunk::Whole;
        state.free[if whole { WHOLE } else { SPLIT }].push_front(id, |id| self.meta(id));
        self.set_use(id, Use::Free);
        let free = chunk.free.load(Relaxed) + 1;
        chunk.free.store(free, Relaxed);
        if whole && u32::from(free) == self.layout.chunk_segs() {
            state.empty.push_front(number, |chunk| self.chunk(chunk));
            chunk.set(LISTED, true);
        }
        self.count_free(1);
    }

    fn pop_free(&self, state: &mut FutexGuard<'_, State>) -> Option<SegId> {
        let list = usize::from(state.free[WHOLE].head == SEG_NONE);
        let id = state.free[list].head;
        if id == SEG_NONE {
            return None;
        }
        self.unlink_free(state, list, id);
        Some(id)
    }

    pub(super) fn unlink_free(&self, state: &mut FutexGuard<'_, State>, list: usize, id: SegId) {
        state.free[list].remove(id, |id| self.meta(id));
        let number = self.chunk_of(id);
        let chunk = self.chunk(number);
        chunk.free.store(chunk.free.load(Relaxed) - 1, Relaxed);
        if list == WHOLE && chunk.has(LISTED) {
            state.empty.remove(number, |chunk| self.chunk(chunk));
            chunk.set(LISTED, false);
        }
        self.count_free(-1);
    }

    /// A segment with fresh memory, and whether a whole chunk was committed for it, whose other
    /// segments are free now.
    fn commit_segment(&self, state: &mut FutexGuard<'_, State>) -> Result<Option<(SegId, bool)>> {
        if state.partial.head != SEG_NONE {
            return self.commit_in_split(state);
        }
        let reused = state.void.head;
        let is_new = reused == SEG_NONE;
        let number = if is_new { state.chunks_made } else { reused };
        if number >= self.layout.chunks_max {
            return Ok(None);
        }
        let tables = if is_new {
            self.layout.chunk_grains(number + 1) - self.layout.chunk_grains(number)
        } else {
            0
        };
        let chunk_grains = self.layout.chunk_bytes() / GRAIN;
        let whole = self.layout.huge && self.budget.charge(chunk_grains + tables);
        let charged = if whole { chunk_grains } else { self.seg_bytes() / GRAIN };
        if !whole && !self.budget.charge(charged + tables) {
            return Ok(None);
        }
        let opened = self.open_chunk(number, is_new);
        // A chunk that was huge once must not be filled up by khugepaged when it is split now.
        let chunk = self.chunk(number);
        let split_safely = whole
            || !chunk.has(HUGE_ADVISED)
            || self.memory.advise(
                self.chunk_offset(number),
                self.layout.chunk_bytes(),
                Advice::Small,
            );
        if opened.is_err() || !split_safely {
            self.budget.discharge(charged + tables);
            return opened.map(|()| None);
        }
        state.accounts.segments += charged;
        state.accounts.metadata += tables;
        self.add_held(tables * GRAIN);
        if is_new {
            state.chunks_made += 1;
            self.count_made(state.chunks_made << self.layout.chunk_segs_shift);
        } else {
            state.void.remove(number, |chunk| self.chunk(chunk));
        }
        chunk.flags.store(0, Relaxed);
        chunk.free.store(0, Relaxed);
        let first = number << self.layout.chunk_segs_shift;
        let all = self.whole_mask();
        if whole {
            chunk.mask.store(all, Relaxed);
            let huge = self.memory.advise(
                self.chunk_offset(number),
                self.layout.chunk_bytes(),
                Advice::Huge,
            );
            // Where the advice is declined it is a split chunk that has all its segments.
            chunk.set_kind(if huge { Chunk::Whole } else { Chunk::Split });
            chunk.set(HUGE_ADVISED, huge);
            self.count_uncommitted(-self.layout.chunk_segs().cast_signed());
            for id in (first + 1..first + self.layout.chunk_segs()).rev() {
                self.push_free(state, id);
            }
        } else {
            chunk.mask.store(1, Relaxed);
            chunk.set_kind(Chunk::Split);
            self.count_uncommitted(-1);
            if all != 1 {
                state.partial.push_front(number, |chunk| self.chunk(chunk));
                chunk.set(LISTED, true);
            }
        }
        Ok(Some((first, whole)))
    }

    /// Memory for one more segment of a chunk that is split.
    fn commit_in_split(&self, state: &mut FutexGuard<'_, State>) -> Result<Option<(SegId, bool)>> {
        let number = state.partial.head;
        let chunk = self.chunk(number);
        let mask = chunk.mask.load(Relaxed);
        let place = mask.trailing_ones();
        let id = (number << self.layout.chunk_segs_shift) + place;
        let units = self.seg_bytes() / GRAIN;
        if !self.charge_units(state, units, |accounts| &mut accounts.segments) {
            return Ok(None);
        }
        if let Err(error) = self.memory.commit(self.seg_offset(id), self.seg_bytes()) {
            self.discharge_units(state, units, |accounts| &mut accounts.segments);
            return Err(error);
        }
        let mask = mask | 1_u64 << place;
        chunk.mask.store(mask, Relaxed);
        self.count_uncommitted(-1);
        if mask == self.whole_mask() {
            state.partial.remove(number, |chunk| self.chunk(chunk));
            chunk.set(LISTED, false);
            let at = self.chunk_offset(number);
            if self.layout.huge
                && chunk.leaving.load(Relaxed) == 0
                && chunk.free.load(Relaxed) == 0
                && self.memory.advise(at, self.layout.chunk_bytes(), Advice::Huge)
            {
                chunk.set_kind(Chunk::Whole);
                chunk.set(HUGE_ADVISED, true);
            }
        }
        Ok(Some((id, false)))
    }

    /// Makes a chunk's addresses, and the table pages that describe it, usable.
    fn open_chunk(&self, number: u32, is_new: bool) -> Result<()> {
        if is_new {
            let segs = u64::from(self.layout.chunk_segs());
            let segs_at = u64::from(number) * segs * super::layout::META_BYTES;
            self.open_table(segs_at, segs * super::layout::META_BYTES)?;
            let at =
                self.layout.chunk_table_at + u64::from(number) * super::layout::CHUNK_META_BYTES;
            self.open_table(at, super::layout::CHUNK_META_BYTES)?;
        }
        self.memory.commit(self.chunk_offset(number), self.layout.chunk_bytes())
    }

    /// Makes the pages of a range of the tables usable.
    pub(super) fn open_table(&self, at: u64, bytes: u64) -> Result<()> {
        let page = crate::memory::sys::page_bytes();
        let from = at & !(page - 1);
        self.memory.commit(from, (at + bytes).next_multiple_of(page) - from)
    }

    pub(super) fn whole_mask(&self) -> u64 {
        u64::MAX >> (64 - self.layout.chunk_segs())
    }

    pub(super) fn chunk_of(&self, id: SegId) -> u32 {
        id >> self.layout.chunk_segs_shift
    }

    pub(super) fn seg_offset(&self, id: SegId) -> u64 {
        self.layout.segments_at + (u64::from(id) << self.layout.seg_shift)
    }

    pub(super) fn chunk_offset(&self, number: u32) -> u64 {
        self.layout.segments_at + u64::from(number) * self.layout.chunk_bytes()
    }
}

impl State {
    /// The list of a free segment of such a chunk.
    pub(super) fn free_list(&self, whole: bool) -> List {
        self.free[if whole { WHOLE } else { SPLIT }]
    }
}
