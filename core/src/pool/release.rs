//! Giving memory back to the system.
//!
//! Warm runs go first, then whole chunks that are free, then free segments of split chunks; a
//! chunk is split only when nothing else is left. Before one segment of a chunk goes the chunk is
//! marked `MADV_NOHUGEPAGE`, or khugepaged would fill it up again behind our back, and its segments
//! are charged one by one from then on. Where that fails the chunk stays as it is, charged whole.
//!
//! It goes in three steps, so that the lock is not held while the system works: under the lock
//! segments leave the free lists and are marked as leaving; then `MADV_DONTNEED`; then, under the
//! lock, they lose their charge. Whoever looks in between finds them charged.

use super::budget::GRAIN;
use super::segments::{SPLIT, WHOLE};
use super::space::{Space, State};
use super::tables::{Chunk, HUGE_SEEN, LISTED, RunId, SEG_NONE, SegId, Use};
use crate::memory::lock::FutexGuard;
use crate::memory::sys::Advice;
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

/// Segments that are given back under one hold of the lock.
const BATCH: usize = 32;

/// What one step of [`Space::release_free`] works on.
enum Leaving {
    Nothing,
    Chunk(u32),
    Segments([SegId; BATCH], usize),
    Run(RunId),
}

impl Space {
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

    /// Takes what is to be given back next out of the free lists.
    fn choose_leaving(&self, state: &mut FutexGuard<'_, State>, wanted: u64) -> Leaving {
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
    fn split_chunk(&self, state: &mut FutexGuard<'_, State>) -> bool {
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
            let mask = chunk.mask.load(Relaxed) & !(1_u64 << place);
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

    fn make_void(&self, state: &mut FutexGuard<'_, State>, number: u32) {
        let chunk = self.chunk(number);
        chunk.mask.store(0, Relaxed);
        chunk.set_kind(Chunk::Void);
        chunk.set(LISTED | HUGE_SEEN, false);
        state.void.push_front(number, |chunk| self.chunk(chunk));
    }
}
