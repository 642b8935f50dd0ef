//! A cursor that goes on with any segment of its queue, for policies that roam.
//!
//! Segments are drawn from all of the pool until one is the queue's: each of the queue's is then as
//! likely, and no list of them has to be kept. The number of draws is bounded; a queue that is a
//! small part of its pool is left to the caller, who takes its oldest segment.

use super::shard::Stage;
use super::writer::Writer;
use crate::pool::space::SegId;
use std::sync::atomic::Ordering::Relaxed;

/// Draws for each shard of the store, of whose segments every queue has its share, ...
const DRAWS_A_SHARD: u64 = 8;
/// ... and at most.
const DRAWS_MAX: u64 = 512;

impl Writer<'_> {
    /// Any segment of a queue that a job may begin on, closed; `None` if none was drawn.
    pub fn any_segment(&mut self, queue: usize) -> Option<SegId> {
        let made = u64::from(self.store.space().segments_made());
        let draws = (self.store.shards.len() as u64 * DRAWS_A_SHARD).min(DRAWS_MAX);
        for _ in 0..draws {
            let segment = ((u128::from(self.roll()) * u128::from(made)) >> 64) as SegId;
            if self.is_open_to_jobs(segment, queue)
                && !self.is_pinned(segment)
                && !self.is_announced(segment)
            {
                if self.stage(segment) == Stage::Head {
                    self.close_head(queue);
                    // With nothing live in it, it has gone.
                    if !self.is_open_to_jobs(segment, queue) {
                        continue;
                    }
                }
                return Some(segment);
            }
        }
        None
    }

    fn is_open_to_jobs(&self, segment: SegId, queue: usize) -> bool {
        self.owns_log(segment)
            && usize::from(self.meta(segment).queue.load(Relaxed) & 0x0F) == queue
            && matches!(self.stage(segment), Stage::Closed | Stage::Head)
    }
}
