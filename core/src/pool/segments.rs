//! Segments: how they get memory, are handed out, come back and lose their memory.
//!
//! A free segment is handed out first, the latest freed first, because it is still in the caches.
//! Only when there is none is memory committed: first the rest of chunks that are split already,
//! then a whole chunk, then, when the budget no longer holds a whole one, a single segment of a
//! chunk that is thereby split.
//!
//! A whole chunk may be backed by a huge page and is charged whole. Before one of its segments is
//! given back the chunk is *split*: it is marked `MADV_NOHUGEPAGE`, or khugepaged would fill it up
//! again behind our back, and its segments are charged one by one from then on. Where that fails
//! the chunk stays as it is, charged whole. A split chunk that has all its segments again is marked
//! for huge pages again.
//!
//! Memory is given back in three steps, so that the lock is not held while the system works: under
//! the lock segments leave the free lists and are marked as leaving; then `MADV_DONTNEED`; then,
//! under the lock, they lose their charge. Whoever looks in between finds them charged.
//!
//! Whether a chunk got a huge page is seen, not assumed: whoever commits it touches its first page,
//! and if all 512 are resident then, a huge page is what the system mapped. It is one `mincore` of
//! 2 MiB per commit. What the system does later (khugepaged merging, swap splitting) is looked up
//! by whoever asks for statistics, some chunks at a time in turn; reading `/proc/self/smaps` would
//! cost milliseconds in a large process, and tell of all of it.

use super::budget::GRAIN;
use super::links::List;
use super::space::{
    Chunk, ChunkMeta, HUGE_ADVISED, HUGE_SEEN, LISTED, RunId, SEG_NONE, SegId, Space, State, Use,
};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::sys::{Advice, HugeProbe};
use parking_lot::MutexGuard;
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

/// How often a segment is asked for again when others take the room that was made for it.
const ATTEMPTS: u32 = 4;
/// Chunks that are looked up for one call for statistics.
const HUGE_LOOKS: usize = 64;
/// Segments that are given back under one hold of the lock.
const BATCH: usize = 32;

/// Free segments of whole chunks, in [`State::free`].
pub(super) const WHOLE: usize = 0;
/// Free segments of split chunks.
pub(super) const SPLIT: usize = 1;

/// What one step of [`Space::release_free`] works on.
enum Leaving {
    Nothing,
    Chunk(u32),
    Segments([SegId; BATCH], usize),
    Run(RunId),
}

impl ChunkMeta {
    pub(super) fn kind(&self) -> Chunk {
        match self.state.load(Relaxed) {
            1 => Chunk::Whole,
            2 => Chunk::Split,
            3 => Chunk::Leaving,
            _ => Chunk::Void,
        }
    }

    fn set_kind(&self, kind: Chunk) {
        self.state.store(kind as u8, Relaxed);
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags.load(Relaxed) & flag != 0
    }

    fn set(&self, flag: u8, on: bool) {
        let flags = self.flags.load(Relaxed);
        self.flags.store(if on { flags | flag } else { flags & !flag }, Relaxed);
    }
}

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
    fn begin_segment(&self, mut state: MutexGuard<'_, State>, id: SegId, usage: Use) {
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

    /// Gives memory of warm runs and free segments back to the system until so many bytes are uncharged, or none
    /// is left to give; returns the bytes.
    pub fn release_free(&self, bytes: u64) -> u64 {
        let wanted = bytes.div_ceil(GRAIN);
        let mut done = 0;
        while done < wanted {
            let leaving = self.choose_leaving(&mut self.state.lock(), wanted - done);
            let step = match leaving {
                Leaving::Nothing => break,
                Leaving::Chunk(chunk) => self.release_chunk(chunk),
                Leaving::Segments(ids, len) => self.release_segments(&ids[..len]),
                Leaving::Run(id) => self.release_warm(id, wanted - done),
            };
            if step == 0 {
                break;
            }
            done += step;
        }
        if done != 0 {
            self.update_gauge();
        }
        done * GRAIN
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

    /// During a shrink that nobody drives any more (it ended at what views or allocations held):
    /// what just became free goes to the system.
    ///
    /// While a call drives it, that call gives back what it has had evicted; what others evict is
    /// theirs to reuse, or a write would evict all that the shrink is about before it found room.
    pub(super) fn follow_shrink(&self) {
        let excess = self.budget.excess();
        if excess != 0 && self.drivers.load(SeqCst) == 0 {
            self.release_free(excess * GRAIN);
        }
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

    pub(super) fn push_free(&self, state: &mut MutexGuard<'_, State>, id: SegId) {
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

    fn pop_free(&self, state: &mut MutexGuard<'_, State>) -> Option<SegId> {
        let list = usize::from(state.free[WHOLE].head == SEG_NONE);
        let id = state.free[list].head;
        if id == SEG_NONE {
            return None;
        }
        self.unlink_free(state, list, id);
        Some(id)
    }

    fn unlink_free(&self, state: &mut MutexGuard<'_, State>, list: usize, id: SegId) {
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
    fn commit_segment(&self, state: &mut MutexGuard<'_, State>) -> Result<Option<(SegId, bool)>> {
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
    fn commit_in_split(&self, state: &mut MutexGuard<'_, State>) -> Result<Option<(SegId, bool)>> {
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
        let mask = mask | 1 << place;
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

    /// Takes what is to be given back next out of the free lists.
    fn choose_leaving(&self, state: &mut MutexGuard<'_, State>, wanted: u64) -> Leaving {
        if let Some(id) = self.coldest_warm(state) {
            self.unlink_warm(state, id);
            self.run_meta(id).usage.store(Use::Uncommitted as u8, Release);
            return Leaving::Run(id);
        }
        let chunk_grains = self.layout.chunk_bytes() / GRAIN;
        let split_left = state.free[SPLIT].head != SEG_NONE;
        if state.empty.head != SEG_NONE && (wanted >= chunk_grains || !split_left) {
            let number = state.empty.head;
            let first = number << self.layout.chunk_segs_shift;
            for id in first..first + self.layout.chunk_segs() {
                self.unlink_free(state, WHOLE, id);
                self.set_use(id, Use::Uncommitted);
            }
            self.chunk(number).set_kind(Chunk::Leaving);
            return Leaving::Chunk(number);
        }
        if !split_left && !self.split_chunk(state) {
            return Leaving::Nothing;
        }
        let seg_grains = self.seg_bytes() / GRAIN;
        let mut ids = [SEG_NONE; BATCH];
        let mut len = 0;
        while len < BATCH && (len as u64) * seg_grains < wanted {
            let id = state.free[SPLIT].head;
            if id == SEG_NONE {
                break;
            }
            self.unlink_free(state, SPLIT, id);
            self.set_use(id, Use::Uncommitted);
            let chunk = self.chunk(self.chunk_of(id));
            chunk.leaving.store(chunk.leaving.load(Relaxed) + 1, Relaxed);
            ids[len] = id;
            len += 1;
        }
        Leaving::Segments(ids, len)
    }

    /// Splits the chunk of the latest free segment; false: there is none, or the system declined.
    fn split_chunk(&self, state: &mut MutexGuard<'_, State>) -> bool {
        let id = state.free[WHOLE].head;
        if id == SEG_NONE {
            return false;
        }
        let number = self.chunk_of(id);
        let chunk = self.chunk(number);
        if !self.memory.advise(self.chunk_offset(number), self.layout.chunk_bytes(), Advice::Small)
        {
            return false;
        }
        if chunk.has(LISTED) {
            state.empty.remove(number, |chunk| self.chunk(chunk));
        }
        self.forget_huge(state, chunk);
        chunk.flags.store(0, Relaxed);
        chunk.set_kind(Chunk::Split);
        let first = number << self.layout.chunk_segs_shift;
        for id in first..first + self.layout.chunk_segs() {
            if self.meta(id).usage() == Use::Free {
                state.free[WHOLE].remove(id, |id| self.meta(id));
                state.free[SPLIT].push_front(id, |id| self.meta(id));
            }
        }
        true
    }

    fn release_chunk(&self, number: u32) -> u64 {
        let bytes = self.layout.chunk_bytes();
        let gone = self.memory.decommit(self.chunk_offset(number), bytes);
        let chunk = self.chunk(number);
        let mut state = self.state.lock();
        if !gone {
            chunk.set_kind(Chunk::Whole);
            let first = number << self.layout.chunk_segs_shift;
            for id in first..first + self.layout.chunk_segs() {
                self.push_free(&mut state, id);
            }
            return 0;
        }
        self.forget_huge(&mut state, chunk);
        self.make_void(&mut state, number);
        self.count_uncommitted(self.layout.chunk_segs().cast_signed());
        self.discharge_units(&mut state, bytes / GRAIN, |accounts| &mut accounts.segments);
        bytes / GRAIN
    }

    fn release_segments(&self, ids: &[SegId]) -> u64 {
        let mut gone = 0_u32;
        for (i, &id) in ids.iter().enumerate() {
            if self.memory.decommit(self.seg_offset(id), self.seg_bytes()) {
                gone |= 1 << i;
            }
        }
        let mut state = self.state.lock();
        for (i, &id) in ids.iter().enumerate() {
            let number = self.chunk_of(id);
            let chunk = self.chunk(number);
            chunk.leaving.store(chunk.leaving.load(Relaxed) - 1, Relaxed);
            if gone & 1 << i == 0 {
                self.push_free(&mut state, id);
                continue;
            }
            let place = id & (self.layout.chunk_segs() - 1);
            let mask = chunk.mask.load(Relaxed) & !(1 << place);
            chunk.mask.store(mask, Relaxed);
            self.count_uncommitted(1);
            if mask == 0 {
                if chunk.has(LISTED) {
                    state.partial.remove(number, |chunk| self.chunk(chunk));
                }
                self.make_void(&mut state, number);
            } else if !chunk.has(LISTED) {
                state.partial.push_front(number, |chunk| self.chunk(chunk));
                chunk.set(LISTED, true);
            }
        }
        let units = u64::from(gone.count_ones()) * (self.seg_bytes() / GRAIN);
        self.discharge_units(&mut state, units, |accounts| &mut accounts.segments);
        units
    }

    fn make_void(&self, state: &mut MutexGuard<'_, State>, number: u32) {
        let chunk = self.chunk(number);
        chunk.mask.store(0, Relaxed);
        chunk.set_kind(Chunk::Void);
        chunk.set(LISTED | HUGE_SEEN, false);
        state.void.push_front(number, |chunk| self.chunk(chunk));
    }

    /// Looks whether a chunk that was just committed is backed by a huge page. The caller holds
    /// its first segment, so it cannot be given back meanwhile.
    fn see_huge(&self, number: u32) {
        let at = self.chunk_offset(number);
        self.memory.touch(at);
        if self.memory.is_huge(at) {
            self.mark_huge(&mut self.state.lock(), number);
        }
    }

    fn mark_huge(&self, state: &mut MutexGuard<'_, State>, number: u32) {
        let chunk = self.chunk(number);
        if chunk.kind() == Chunk::Whole && !chunk.has(HUGE_SEEN) {
            chunk.set(HUGE_SEEN, true);
            state.huge_seen += 1;
        }
    }

    /// Looks some chunks up anew: whether a huge page backs them now.
    pub(super) fn look_for_huge(&self) {
        if !self.layout.huge {
            return;
        }
        let Some(probe) = HugeProbe::open() else { return };
        let mut looked = [0; HUGE_LOOKS];
        let mut len = 0;
        {
            let mut state = self.state.lock();
            for _ in 0..state.chunks_made.min(HUGE_LOOKS as u32 * 4) {
                let number = state.huge_cursor % state.chunks_made;
                state.huge_cursor = number + 1;
                if self.chunk(number).kind() == Chunk::Whole {
                    looked[len] = number;
                    len += 1;
                    if len == HUGE_LOOKS {
                        break;
                    }
                }
            }
        }
        for &number in &looked[..len] {
            match probe.is_huge(&self.memory, self.chunk_offset(number)) {
                Some(true) => self.mark_huge(&mut self.state.lock(), number),
                Some(false) => self.forget_huge(&mut self.state.lock(), self.chunk(number)),
                None => return,
            }
        }
    }

    fn forget_huge(&self, state: &mut MutexGuard<'_, State>, chunk: &ChunkMeta) {
        if chunk.has(HUGE_SEEN) {
            chunk.set(HUGE_SEEN, false);
            state.huge_seen -= 1;
        }
    }

    pub(super) fn whole_mask(&self) -> u32 {
        u32::MAX >> (32 - self.layout.chunk_segs())
    }

    pub(super) fn chunk_of(&self, id: SegId) -> u32 {
        id >> self.layout.chunk_segs_shift
    }

    pub(super) fn seg_offset(&self, id: SegId) -> u64 {
        self.layout.segments_at + (u64::from(id) << self.layout.seg_shift)
    }

    fn chunk_offset(&self, number: u32) -> u64 {
        self.layout.segments_at + u64::from(number) * self.layout.chunk_bytes()
    }
}

impl State {
    /// The list of a free segment of such a chunk.
    pub(super) fn free_list(&self, whole: bool) -> List {
        self.free[if whole { WHOLE } else { SPLIT }]
    }
}
