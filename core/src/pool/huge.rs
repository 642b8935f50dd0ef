//! Which chunks are backed by huge pages: seen, not assumed.
//!
//! Whoever commits a chunk touches its first page, and if all 512 are resident then, a huge page is
//! what the system mapped: one `mincore` of 2 MiB a commit. What the system does later (khugepaged
//! merging, swap splitting) is looked up by whoever asks for statistics, some chunks at a time in
//! turn; reading `/proc/self/smaps` would cost milliseconds in a large process, and tell of all of
//! it.

use super::space::{Space, State};
use super::tables::{Chunk, ChunkMeta, HUGE_SEEN};
use crate::memory::lock::FutexGuard;
use crate::memory::sys::HugeProbe;

/// Chunks that are looked up for one call for statistics.
const HUGE_LOOKS: usize = 64;

impl Space {
    /// Looks whether a chunk that was just committed is backed by a huge page. The caller holds
    /// its first segment, so it cannot be given back meanwhile.
    pub(super) fn see_huge(&self, number: u32) {
        let at = self.chunk_offset(number);
        self.memory.touch(at);
        if self.memory.is_huge(at) {
            self.mark_huge(&mut self.state.lock(), number);
        }
    }

    pub(super) fn mark_huge(&self, state: &mut FutexGuard<'_, State>, number: u32) {
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

    pub(super) fn forget_huge(&self, state: &mut FutexGuard<'_, State>, chunk: &ChunkMeta) {
        if chunk.has(HUGE_SEEN) {
            chunk.set(HUGE_SEEN, false);
            state.huge_seen -= 1;
        }
    }
}
