//! Contests: a newcomer that must beat the tail of a queue before it may enter there.
//!
//! The walk uses the queue's own job ([`super::job`]): what is dead is passed and pays, what was
//! hit is appended again, what the policy stakes is held back until it is known who won. If the
//! newcomer wins, the staked entries are evicted and pay for the room that it takes; if not, the
//! job goes back to the first of them, and nothing has changed.
//!
//! A contest ends with the segment: what is staked lies in one. A newcomer that would have needed
//! entries of the next one as well has lost, which costs at most one in as many contests as entries
//! lie in a segment.
//!
//! Invariants: at most [`CONTEST_MAX`] live entries are looked at and as many dead ones passed, and
//! what is appended again is bounded by the bytes that are written, as in [`super::reclaim`]; no
//! entry is evicted unless the newcomer wins; the job's promise, that everything before its place
//! is dead, holds when the walk is over.

use super::job::{Next, Sighted, Task};
use super::reclaim::allowance;
use super::writer::{Live, Writer};
use crate::eviction::{Bout, CONTEST_MAX, EntryMeta, Policy, QUEUES_MAX};

/// Steps of one walk: looks at entries, dead ones among them, and begins of segments.
const STEPS_MAX: usize = 2 * CONTEST_MAX;

/// What a newcomer has beaten so far: entries of one segment.
struct Staked {
    entries: [Sighted; CONTEST_MAX],
    len: usize,
    /// In the unit of the view.
    size: u64,
    /// Entries that the job handed out since the first of them, itself included.
    handed_out: u32,
}

impl Writer<'_> {
    /// Has a newcomer of so many bytes in the log contest the tail of a queue, as the policy asked;
    /// returns the queue where it goes, whose head has room for it. `None`: nowhere.
    #[inline(never)]
    pub fn contested(
        &mut self,
        newcomer: &EntryMeta,
        bytes: u32,
        queue: u8,
        lost: Option<u8>,
    ) -> Option<usize> {
        if lost == Some(queue) {
            let queue = usize::from(queue) % QUEUES_MAX;
            return Some(if matches!(self.make_head(queue, bytes), Ok(true)) { queue } else { 0 });
        }
        let queue = usize::from(queue) % QUEUES_MAX;
        // Entries that were kept took of the head's room.
        if self.wins(queue, newcomer, bytes) && matches!(self.make_head(queue, bytes), Ok(true)) {
            return Some(queue);
        }
        let lost = usize::from(lost?) % QUEUES_MAX;
        matches!(self.make_head(lost, bytes), Ok(true)).then_some(lost)
    }

    fn wins(&mut self, queue: usize, newcomer: &EntryMeta, bytes: u32) -> bool {
        let mut allowance = allowance(bytes);
        let needed = self.state.view.size(newcomer);
        let nothing = Sighted { hash: 0, at: 0, bytes: 0 };
        let mut staked = Staked { entries: [nothing; CONTEST_MAX], len: 0, size: 0, handed_out: 0 };
        for _ in 0..STEPS_MAX {
            if staked.len == 0 && !self.ready_job(queue) {
                break;
            }
            let (entry, dead) = match self.next_of(Task::Evict(queue)) {
                Next::Entry { entry, dead } => (entry, dead),
                Next::Passed { dead } => {
                    self.credit(u64::from(dead));
                    continue;
                }
                Next::End { dead } if staked.len == 0 => {
                    let step = self.finish_job(Task::Evict(queue));
                    self.credit(u64::from(dead) + step.freed);
                    continue;
                }
                Next::End { .. } => break,
            };
            self.credit(u64::from(dead));
            if staked.len != 0 {
                staked.handed_out += 1;
            }
            let Some(live) = self.live_in_job(queue, &entry) else {
                self.credit(u64::from(entry.bytes));
                continue;
            };
            if self.is_expired(&live.entry) {
                let step = self.expire(entry.hash, live);
                self.credit(step.freed);
                continue;
            }
            let extent = self.extent_of(&live, entry.bytes);
            let tail = self.meta_of(entry.hash, &live, &extent);
            match self.ask(|policy, cx| policy.weigh(cx, newcomer, &tail)) {
                Bout::Keep { hits }
                    if allowance != 0 && matches!(self.make_head(queue, entry.bytes), Ok(true)) =>
                {
                    allowance = allowance.saturating_sub(u64::from(entry.bytes));
                    self.move_entry(live, extent, queue, hits);
                }
                Bout::Stake if staked.len < CONTEST_MAX => {
                    if staked.len == 0 {
                        staked.handed_out = 1;
                    }
                    staked.entries[staked.len] = entry;
                    staked.len += 1;
                    staked.size += self.state.view.size(&tail);
                    if staked.size >= needed {
                        self.evict_staked(queue, &staked.entries[..staked.len]);
                        return true;
                    }
                }
                // With nothing left to pay for it, or no segment to append it to, a hit tail stands.
                Bout::Keep { .. } | Bout::Stake | Bout::Hold => {
                    let first = if staked.len == 0 { entry } else { staked.entries[0] };
                    let handed_out = staked.handed_out.max(1);
                    self.job(Task::Evict(queue)).go_back(first.at, handed_out);
                    return false;
                }
            }
        }
        if staked.len != 0 {
            self.job(Task::Evict(queue)).go_back(staked.entries[0].at, staked.handed_out);
        }
        false
    }

    /// The live entry that a queue's job has handed out, if it is live.
    fn live_in_job(&self, queue: usize, entry: &Sighted) -> Option<Live> {
        let location = self.places.location(self.state.queues[queue].job.seg, entry.at);
        self.find_at(entry.hash, location)
    }

    fn evict_staked(&mut self, queue: usize, staked: &[Sighted]) {
        for entry in staked {
            // It was live under this same lock, and nothing was removed since.
            if let Some(live) = self.live_in_job(queue, entry) {
                let extent = self.extent_of(&live, entry.bytes);
                let meta = self.meta_of(entry.hash, &live, &extent);
                let step = self.evict(&live, &extent, &meta);
                self.credit(step.freed);
            }
        }
    }

    /// So many bytes were freed: they pay what is owed, or what will be.
    fn credit(&mut self, bytes: u64) {
        if self.state.ratio != 0 {
            self.state.debt -= bytes.cast_signed();
        }
    }
}
