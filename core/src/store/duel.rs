//! What cursors of several queues have to do with each other: waiting, and duels.
//!
//! In a duel the policy says which goes, the entry under the cursor of one queue or the one under the
//! cursor of another; an entry that waits is passed again when the turn of its queue comes.
//!
//! The rival is passed only if it loses. Finding it passes what is dead before it, and ends the jobs
//! whose segments are over; that is bounded, and where no rival is found the challenger goes.

use super::job::{Next, Sighted, Task};
use super::reclaim::Step;
use super::writer::{Extent, Live, Writer};
use crate::eviction::{Duel, EntryMeta, Policy};

/// Steps towards the rival, at most.
const STEPS_MAX: u32 = 16;

impl Writer<'_> {
    /// Leaves a live entry, which a cursor just passed, before the cursor.
    fn wait(&mut self, hash: u64, live: Live, extent: Extent, meta: EntryMeta) -> Step {
        let location = live.slot.location;
        if self.state.queues[extent.queue].job.seg != self.places.segment_of(location) {
            // Compaction found no room for it, and goes on.
            return self.evict(&live, &extent, &meta);
        }
        let at = self.places.offset_of(location);
        let entry = Sighted { hash, at, bytes: extent.log_bytes };
        self.step_back(Task::Evict(extent.queue), entry);
        Step::default()
    }

    /// Has a live entry, which a cursor just passed, meet the next one of the queue `rivals`.
    #[cold]
    pub fn duel(
        &mut self,
        rivals: usize,
        hash: u64,
        live: Live,
        extent: Extent,
        meta: EntryMeta,
    ) -> Step {
        if rivals == extent.queue {
            return self.wait(hash, live, extent, meta);
        }
        let location = live.slot.location;
        let found = self.rival_of(rivals);
        // An expired entry may have gone on the way, and slots of its bucket with it.
        let Some(live) = self.find_at(hash, location) else { return Step::default() };
        let Some((entry, rival)) = found else { return self.evict(&live, &extent, &meta) };
        let rival_extent = self.extent_of(&rival, entry.bytes);
        let rival_meta = self.meta_of(entry.hash, &rival, &rival_extent);
        let wins = match self.ask(|policy, cx| policy.duel(cx, &meta, &rival_meta)) {
            Duel::Win { hits } => Some(hits),
            Duel::Lose => None,
        };
        if let Some(hits) = wins
            && matches!(self.make_head(rivals, extent.log_bytes), Ok(true))
        {
            // Moving leaves every slot where it is.
            self.move_entry(live, extent, rivals, hits);
            let step = self.evict(&rival, &rival_extent, &rival_meta);
            return Step { passed: step.passed + u64::from(extent.log_bytes), ..step };
        }
        self.step_back(Task::Evict(rivals), entry);
        self.evict(&live, &extent, &meta)
    }

    /// The next live entry of a queue's job, which has passed it.
    fn rival_of(&mut self, queue: usize) -> Option<(Sighted, Live)> {
        let task = Task::Evict(queue);
        for _ in 0..STEPS_MAX {
            if !self.ready_job(queue) {
                return None;
            }
            match self.next_of(task) {
                Next::Entry { entry, .. } => {
                    let segment = self.job(task).seg;
                    let location = self.places.location(segment, entry.at);
                    match self.find_at(entry.hash, location) {
                        Some(live) if self.is_expired(&live.entry) => {
                            self.expire(entry.hash, live);
                        }
                        Some(live) => return Some((entry, live)),
                        None => {}
                    }
                }
                Next::Passed { .. } => {}
                Next::End { .. } => {
                    self.finish_job(task);
                }
            }
        }
        None
    }
}
