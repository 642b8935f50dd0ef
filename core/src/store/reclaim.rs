//! Reclaim: how a shard makes room, a little with every write.
//!
//! A write of n bytes owes n bytes, times a ratio that falls from 20/16 to 0 as segments become
//! available. A debt is paid in lumps, by passing entries: a job ([`super::job`]) goes through one
//! segment, entry by entry; a dead one is passed, a live one is evicted, or kept, or moved as the
//! policy judges. The bytes of what was dead or evicted pay the debt, what is moved costs as much
//! again. At the end of a segment nothing in it is live, and it is retired.
//!
//! Segments with at least a quarter dead are compacted before anything live is evicted: their live
//! entries are copied, in order, into a segment that takes the victim's place in the chain.
//!
//! Invariants: one call passes a bounded number of bytes and entries; a policy that keeps
//! everything is overruled after as many entries as it says; if there is no segment to move an entry
//! into, it is evicted, so reclaim never waits for memory; a segment that a reader announces now,
//! or a view pins, is passed over before any of its entries is unlinked.

use super::job::{Job, Next, Task};
use super::shard::{COMPACT_FROM, Stage};
use super::writer::{Extent, Live, Writer};
use crate::eviction::{EntryMeta, Policy, QUEUES_MAX, Verdict};
use crate::memory::guard;
use crate::pool::space::{SEG_NONE, SegId};
use crate::stats::Tally;
use std::sync::atomic::Ordering::Relaxed;

/// Bytes of debt from which on it is paid, less twice the bytes of the write that is about to pay:
/// short entries are passed a dozen at a time, for what they share, and long ones two at a time, for
/// a write waits while its lump is paid.
const LUMP: i64 = 1024;
/// A write of more bytes pays in no smaller lumps.
const LONG: u32 = 256;
/// Entries passed, most of them dead, until one is evicted for the bound on entries.
const ENTRY_STEPS_MAX: u32 = 4096;
/// Held segments that are passed over when a victim is chosen. With a thousand threads that read on
/// a few processors, some hundred are inside a look-up at any moment.
const PASS_OVER: usize = 512;
/// The same, for a victim of compaction, of which there is another one soon.
const PASS_OVER_BINNED: usize = 4;

/// What one step did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Step {
    /// Bytes of the segment passed.
    pub passed: u64,
    /// Bytes that pay the debt.
    pub freed: u64,
    /// Bytes of runs given back.
    pub runs: u64,
}

impl Step {
    /// So many bytes were dead.
    #[inline(always)]
    fn dead(bytes: u32) -> Self {
        Self { passed: u64::from(bytes), freed: u64::from(bytes), runs: 0 }
    }

    /// This, after so many dead bytes.
    #[inline(always)]
    fn and_dead(self, bytes: u32) -> Self {
        let bytes = u64::from(bytes);
        Self { passed: self.passed + bytes, freed: self.freed + bytes, ..self }
    }
}

/// What readers announced at one moment: a bit for each id, which ids that are far apart share.
struct Announced([u64; Self::WORDS]);

impl Announced {
    const WORDS: usize = 64;

    fn now() -> Self {
        let mut bits = [0; Self::WORDS];
        guard::for_each_announced(|id| bits[Self::word(id)] |= 1 << (id % 64));
        Self(bits)
    }

    fn word(id: u32) -> usize {
        (id / 64) as usize % Self::WORDS
    }

    fn may_contain(&self, segment: SegId) -> bool {
        self.0[Self::word(segment)] & 1 << (segment % 64) != 0
    }
}

/// Bytes that a write of so many may pass, or append again, for the room that it takes.
#[inline(always)]
pub fn allowance(bytes: u32) -> u64 {
    4 * u64::from(bytes) + 4 * LUMP.cast_unsigned()
}

impl Writer<'_> {
    /// Pays for a write of so many bytes. Bounded by a few times as many bytes, and lumps.
    #[inline(always)]
    pub fn pay(&mut self, bytes: u32) {
        if self.state.ratio == 0 {
            return;
        }
        let seg = self.places.seg_bytes().cast_signed();
        let owed = i64::from(bytes) * i64::from(self.state.ratio) / 16;
        self.state.debt = (self.state.debt + owed).clamp(-seg, 2 * seg);
        if self.state.debt + 2 * i64::from(bytes.min(LONG)) >= LUMP {
            self.pay_debt(bytes);
        }
    }

    #[inline(never)]
    fn pay_debt(&mut self, bytes: u32) {
        let mut allowance = allowance(bytes);
        while self.state.debt > 0 {
            // Most shards have nothing to compact.
            let compacts = self.state.compacting.is_open() || self.state.binned != 0;
            let step = if compacts { self.reclaim_step() } else { self.evict_step() };
            let Some(step) = step else { break };
            self.state.debt -= step.freed.cast_signed();
            allowance = allowance.saturating_sub(step.passed.max(64));
            if allowance == 0 {
                break;
            }
        }
        for queue in 0..usize::from(self.store.queues) {
            self.look_ahead(Task::Evict(queue));
        }
        self.look_ahead(Task::Compact);
    }

    /// Makes sure that the head of the entry's queue has room for it once more; false if not.
    pub fn pay_for_move(&mut self, live: &Live) -> bool {
        let bytes = self.log_bytes(&live.entry);
        let queue = self.queue_of(live.slot.location);
        matches!(self.make_head(queue, bytes), Ok(true))
    }

    /// Reclaims until `segments` were retired or `run_bytes` given back, or nothing is left to
    /// give. Returns the bytes. For callers that need room now; bounded by the passes it may make
    /// over kept entries.
    pub fn reclaim_now(&mut self, bytes: u64) -> u64 {
        let seg = self.places.seg_bytes();
        let before = u64::from(self.state.segments);
        let mut runs = 0;
        let mut allowance = 4 * (bytes + 2 * seg);
        loop {
            let given = (before.saturating_sub(u64::from(self.state.segments))) * seg + runs;
            if given >= bytes || allowance == 0 {
                return given;
            }
            let Some(step) = self.reclaim_step() else { return given };
            runs += step.runs;
            allowance = allowance.saturating_sub(step.passed.max(64));
        }
    }

    /// Evicts until the shard has fewer entries than its bound; false if it cannot.
    #[inline(always)]
    pub fn make_entry_room(&mut self) -> bool {
        self.state.view.capacity_entries == 0 || self.evict_for_entries()
    }

    #[inline(never)]
    fn evict_for_entries(&mut self) -> bool {
        let max = self.state.view.capacity_entries;
        let mut steps = 0;
        while self.state.tail.len >= max {
            if self.evict_one().is_none() || steps > ENTRY_STEPS_MAX {
                return self.state.tail.len < max;
            }
            steps += 1;
        }
        true
    }

    /// One entry of the job at hand; `None` if the log has nothing to give.
    #[inline(never)]
    fn reclaim_step(&mut self) -> Option<Step> {
        if !self.state.compacting.is_open() && self.state.binned != 0 {
            self.start_compaction();
        }
        if self.state.compacting.is_open() {
            return Some(self.compact_step());
        }
        self.evict_one()
    }

    #[inline(never)]
    fn evict_one(&mut self) -> Option<Step> {
        self.evict_step()
    }

    #[inline(always)]
    fn evict_step(&mut self) -> Option<Step> {
        // Not by a closure, which the compiler would call.
        let (policy, mut cx) = self.policy();
        let wanted = policy.victim_queue(&mut cx);
        let wanted = usize::from(wanted) % QUEUES_MAX;
        let queue = if self.ready_job(wanted) {
            wanted
        } else {
            (0..QUEUES_MAX).find(|&queue| self.ready_job(queue))?
        };
        Some(self.judge_step(queue))
    }

    /// Whether the queue has a job, starting one if there is a segment for it.
    #[inline(always)]
    pub fn ready_job(&mut self, queue: usize) -> bool {
        self.state.queues[queue].job.is_open() || self.begin_job(queue)
    }

    #[inline(never)]
    fn begin_job(&mut self, queue: usize) -> bool {
        if self.store.sessions().is_some() {
            self.store.make_session_room();
        }
        if self.state.policy.roams()
            && let Some(any) = self.any_segment(queue)
        {
            return self.open_job(any, queue);
        }
        let mut victim = self.state.queues[queue].oldest;
        if victim == SEG_NONE {
            return false;
        }
        if self.stage(victim) == Stage::Head {
            // The whole queue is its head: what is to be evicted is in there.
            self.close_head(queue);
            victim = self.state.queues[queue].oldest;
            if victim == SEG_NONE {
                return false;
            }
        }
        if let Some(free) = self.first_unheld(victim) {
            victim = free;
        }
        if self.stage(victim) == Stage::Compaction {
            self.close_compaction(queue);
            if self.state.queues[queue].oldest == SEG_NONE {
                return false;
            }
            victim = self.state.queues[queue].oldest;
            if self.stage(victim) != Stage::Closed {
                return false;
            }
        }
        self.open_job(victim, queue)
    }

    fn open_job(&mut self, segment: SegId, queue: usize) -> bool {
        self.start_job(segment, queue);
        self.state.queues[queue].job = self.job_on(segment);
        true
    }

    /// The first segment of a chain, from `segment` on, that no reader is in and no view pins;
    /// `None` if all that were looked at are held.
    fn first_unheld(&self, mut segment: SegId) -> Option<SegId> {
        if !self.is_pinned(segment) && !self.is_announced(segment) {
            return Some(segment);
        }
        let announced = Announced::now();
        for _ in 0..PASS_OVER {
            segment = self.meta(segment).next.load(Relaxed);
            if segment == SEG_NONE || self.stage(segment) == Stage::Head {
                return None;
            }
            let is_closed = self.stage(segment) == Stage::Closed;
            if is_closed && !self.is_pinned(segment) && !announced.may_contain(segment) {
                return Some(segment);
            }
        }
        None
    }

    pub fn is_pinned(&self, segment: SegId) -> bool {
        let meta = self.meta(segment);
        meta.pins.load(Relaxed) != 0 || meta.readers.load(Relaxed) != 0
    }

    pub fn is_announced(&self, segment: SegId) -> bool {
        let mut found = false;
        guard::for_each_announced(|id| found |= id == segment);
        found
    }

    fn start_job(&mut self, segment: SegId, queue: usize) {
        self.unlink_segment(segment, queue);
        self.set_stage(segment, queue, Stage::Job);
    }

    fn job_on(&self, segment: SegId) -> Job {
        Job::on(segment, self.store.first_offset(segment))
    }

    /// Passes one entry of a queue's job.
    #[inline(always)]
    fn judge_step(&mut self, queue: usize) -> Step {
        let task = Task::Evict(queue);
        match self.next_of(task) {
            Next::Entry { entry, dead } => {
                let location = self.places.location(self.state.queues[queue].job.seg, entry.at);
                let step = match self.find_at(entry.hash, location) {
                    None => Step::dead(entry.bytes),
                    Some(live) => match live.entry.without_fields() {
                        Some(bare) => {
                            let live = Live { entry: bare, ..live };
                            self.judge(queue, entry.hash, live, entry.bytes)
                        }
                        None => self.judge_with_fields(queue, entry.hash, live, entry.bytes),
                    },
                };
                step.and_dead(dead)
            }
            Next::Passed { dead } => Step::dead(dead),
            Next::End { dead } => self.finish_job(task).and_dead(dead),
        }
    }

    #[inline(never)]
    fn judge_with_fields(&mut self, queue: usize, hash: u64, live: Live, bytes: u32) -> Step {
        self.judge(queue, hash, live, bytes)
    }

    /// Carries out what the policy thinks of a live entry of so many bytes.
    #[inline(always)]
    fn judge(&mut self, queue: usize, hash: u64, live: Live, bytes: u32) -> Step {
        if self.is_expired(&live.entry) {
            return self.expire(hash, live);
        }
        let extent = self.extent_of(&live, bytes);
        let meta = self.meta_of(hash, &live, &extent);
        let (policy, mut cx) = self.policy();
        let verdict = policy.judge(&mut cx, &meta);
        let bytes = u64::from(extent.log_bytes);
        let target = match verdict {
            Verdict::Evict => None,
            Verdict::Keep { hits } => Some((queue, hits)),
            Verdict::Move { queue: to, hits } => Some((usize::from(to) % QUEUES_MAX, hits)),
            Verdict::Duel { queue: rivals } => {
                return self.duel(usize::from(rivals) % QUEUES_MAX, hash, live, extent, meta);
            }
        };
        if let Some((to, hits)) = target
            && self.state.kept < self.state.policy.kept_max()
            && matches!(self.make_head(to, extent.log_bytes), Ok(true))
        {
            self.state.kept += 1;
            self.move_entry(live, extent, to, hits);
            return Step { passed: bytes, freed: 0, runs: 0 };
        }
        self.evict(&live, &extent, &meta)
    }

    /// Takes an entry out for room.
    #[inline(always)]
    pub fn evict(&mut self, live: &Live, extent: &Extent, meta: &EntryMeta) -> Step {
        self.state.kept = 0;
        let (policy, mut cx) = self.policy();
        policy.evicted(&mut cx, meta);
        self.shard.counters().count(Tally::Evicted);
        self.shard.counters().add(Tally::EvictedBytes, extent.payload);
        self.remove_entry(live, extent);
        Step { passed: u64::from(extent.log_bytes), freed: extent.full, runs: extent.run_bytes }
    }

    /// Takes an entry out whose time is over.
    pub fn expire(&mut self, hash: u64, live: Live) -> Step {
        let extent = self.forget(hash, live);
        if !self.store.was_counted(&live.entry) {
            self.shard.counters().count(Tally::Expired);
        }
        let passed = u64::from(extent.log_bytes);
        Step { passed, freed: extent.full, runs: extent.run_bytes }
    }

    /// Takes an entry out for another reason than room, and tells the policy; what it took.
    pub fn forget(&mut self, hash: u64, live: Live) -> Extent {
        let extent = self.extent(&live);
        let meta = self.meta_of(hash, &live, &extent);
        self.ask(|policy, cx| policy.removed(cx, &meta));
        self.remove_entry(&live, &extent);
        extent
    }

    #[inline(never)]
    pub fn finish_job(&mut self, task: Task) -> Step {
        let segment = std::mem::replace(self.job(task), Job::NONE).seg;
        let meta = self.meta(segment);
        debug_assert_eq!(meta.live.load(Relaxed), 0, "a passed segment has nothing live");
        let rest = self.places.seg_bytes() - u64::from(meta.fill.load(Relaxed));
        self.retire(segment);
        Step { passed: 64, freed: rest, runs: 0 }
    }

    /// Starts compacting the segment with the most dead bytes, if one has enough of them.
    #[inline(never)]
    fn start_compaction(&mut self) {
        for bin in (COMPACT_FROM..self.state.bins.len()).rev() {
            let mut victim = self.state.bins[bin];
            for _ in 0..PASS_OVER_BINNED {
                if victim == SEG_NONE {
                    break;
                }
                let meta = self.meta(victim);
                if !self.is_pinned(victim) && !self.is_announced(victim) {
                    let queue = usize::from(meta.queue.load(Relaxed) & 0x0F);
                    self.state.compacting = self.job_on(victim);
                    // It stays linked until a compaction head stands in its place.
                    if self.state.queues[queue].compaction == SEG_NONE
                        && !matches!(self.open_compaction(queue, victim), Ok(true))
                    {
                        self.state.compacting = Job::NONE;
                        return;
                    }
                    self.start_job(victim, queue);
                    return;
                }
                victim = meta.bin_next.load(Relaxed);
            }
        }
    }

    /// Passes one entry of the compaction job.
    #[inline]
    fn compact_step(&mut self) -> Step {
        match self.next_of(Task::Compact) {
            Next::Entry { entry, dead } => {
                let location = self.places.location(self.state.compacting.seg, entry.at);
                let step = match self.find_at(entry.hash, location) {
                    None => Step::dead(entry.bytes),
                    Some(live) => self.compact(entry.hash, live, entry.bytes),
                };
                step.and_dead(dead)
            }
            Next::Passed { dead } => Step::dead(dead),
            Next::End { dead } => self.finish_job(Task::Compact).and_dead(dead),
        }
    }

    #[inline]
    fn compact(&mut self, hash: u64, live: Live, bytes: u32) -> Step {
        if self.is_expired(&live.entry) {
            return self.expire(hash, live);
        }
        let queue = self.queue_of(live.slot.location);
        if self.compaction_room(queue, bytes) {
            self.compact_entry(&live, queue, bytes);
            return Step { passed: u64::from(bytes), freed: 0, runs: 0 };
        }
        // No segment to compact into: what is live here goes on in the head, or goes.
        if matches!(self.make_head(queue, bytes), Ok(true)) {
            let extent = self.extent(&live);
            self.move_entry(live, extent, queue, live.slot.hits());
            return Step { passed: u64::from(bytes), freed: 0, runs: 0 };
        }
        self.judge_with_fields(queue, hash, live, bytes)
    }

    #[inline]
    fn compaction_room(&mut self, queue: usize, bytes: u32) -> bool {
        let segment = self.state.queues[queue].compaction;
        let space = self.store.space();
        if segment != SEG_NONE
            && u64::from(space.meta(segment).fill.load(Relaxed)) + u64::from(bytes)
                <= space.seg_bytes()
        {
            return true;
        }
        let behind = if segment == SEG_NONE { self.state.queues[queue].oldest } else { segment };
        behind != SEG_NONE && matches!(self.open_compaction(queue, behind), Ok(true))
    }
}
