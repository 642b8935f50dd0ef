//! Checking every invariant of a store.

use super::shard::{COMPACT_FROM, Stage};
use super::writer::Writer;
use super::{Store, StoreInner};
use crate::error::{Error, ErrorKind, Result};
use crate::pool::{SEG_NONE, SegId};
use crate::stats::Tally;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;

type Check<T = ()> = std::result::Result<T, String>;

/// What a pass over the index found in one shard.
#[derive(Default)]
struct Found {
    live: HashMap<SegId, u64>,
    queues: [(u64, u64); crate::eviction::QUEUES_MAX],
    payload: u64,
    run_bytes: u64,
    keys: HashMap<u64, Vec<u32>>,
}

impl StoreInner {
    pub(super) fn check(&self) -> Result<()> {
        crate::memory::fork::check(self.generation)?;
        let writers: Vec<_> = self.shards.iter().map(|shard| shard.lock_any(self)).collect();
        let mut sum = self.fixed_bytes;
        for (number, writer) in writers.iter().enumerate() {
            if !writer.shard.table.geometry().in_service() {
                continue;
            }
            sum += writer.check().map_err(|what| {
                Error::new(ErrorKind::Internal, format!("shard {number}: {what}"))
            })?;
        }
        if let Some(sessions) = self.sessions()
            && self.shards.iter().all(|shard| shard.counters().get(Tally::Faults) == 0)
        {
            let queues = writers.iter().flat_map(|writer| &writer.state.view.queues);
            let held = queues.map(|queue| queue.bytes).sum();
            equal("bytes of all sessions", held, sessions.bytes_held())
                .map_err(|what| Error::new(ErrorKind::Internal, what))?;
        }
        let used = self.used.load(Relaxed);
        // A value on its way into a run of its own is charged before a slot names it.
        if used < sum {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("the store holds {sum} bytes and is charged {used}"),
            ));
        }
        let limit = self.limit_bytes.load(Relaxed);
        if limit != 0 && used > limit && !self.shrinking.load(Relaxed) {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("the store is charged {used} bytes, above its limit {limit}"),
            ));
        }
        Ok(())
    }
}

impl Writer<'_> {
    /// Checks the shard; returns the bytes it holds.
    fn check(&self) -> Check<u64> {
        let mut found = Found::default();
        self.shard.table.validate(&self.state.tail, |geometry, bucket, slot| {
            let segment = self.places.segment_of(slot.location);
            if !self.owns_log(segment) {
                return Err(format!("a slot names segment {segment}, which is not the shard's"));
            }
            let meta = self.meta(segment);
            let entry = self.entry_at(slot.location);
            let end =
                u64::from(self.places.offset_of(slot.location)) + u64::from(self.log_bytes(&entry));
            if end > u64::from(meta.fill.load(Relaxed)) {
                return Err(format!("an entry ends at {end}, past its segment's fill"));
            }
            let hash = self.store.hash.of(entry.key());
            if geometry.bucket(hash) != bucket {
                return Err(format!("a key of bucket {} is in {bucket}", geometry.bucket(hash)));
            }
            if super::index::line::tag_of(hash) != slot.tag() {
                return Err("a slot's tag is not its key's".into());
            }
            if !std::ptr::eq(self.store.shard_of(hash), self.shard) {
                return Err("a key is in another shard than its own".into());
            }
            *found.live.entry(segment).or_default() += u64::from(self.log_bytes(&entry));
            let queue = &mut found.queues[self.queue_of(slot.location)];
            queue.0 += self.full_bytes(&entry);
            queue.1 += 1;
            found.payload += (entry.key_len() + entry.value_len()) as u64;
            if let Some(run) = entry.run() {
                found.run_bytes += self.store.space().run_charge(run);
            }
            let twins = found.keys.entry(hash).or_default();
            if twins.iter().any(|&twin| self.entry_at(twin).key() == entry.key()) {
                return Err("a key has two slots".into());
            }
            twins.push(slot.location);
            self.check_screened(hash)
        })?;
        self.check_screens()?;
        let segments = self.check_segments(&found)?;
        equal("payload bytes", found.payload, self.state.payload)?;
        equal("run bytes", found.run_bytes, self.state.run_bytes)?;
        equal("log segments", segments, u64::from(self.state.segments))?;
        let capacity = segments * self.store.space().seg_bytes() + self.state.run_bytes;
        equal("the capacity that the policy sees", capacity, self.state.view.capacity_bytes)?;
        for (queue, counted) in found.queues.iter().zip(&self.state.view.queues) {
            equal("bytes of a queue", queue.0, counted.bytes)?;
            equal("entries of a queue", queue.1, counted.entries)?;
        }
        let max = self.state.view.capacity_entries;
        if max != 0 && self.state.tail.len > max {
            return Err(format!("{} entries, above the bound {max}", self.state.tail.len));
        }
        let memory = self
            .state
            .memory
            .as_ref()
            .map_or(0, |memory| self.store.space().run_charge(memory.run));
        let held = segments + u64::from(self.state.tail.segments);
        let (leases, screen) = (self.check_leases()?, self.screen_bytes());
        let logs = held * self.store.space().seg_bytes();
        Ok(logs + self.state.run_bytes + memory + leases + screen)
    }

    /// Checks chains, jobs and bins; returns the number of log segments.
    fn check_segments(&self, found: &Found) -> Check<u64> {
        let mut seen = HashSet::new();
        let mut binned = HashSet::new();
        for (bin, &first) in self.state.bins.iter().enumerate() {
            let mut segment = first;
            while segment != SEG_NONE {
                if bin < COMPACT_FROM || !binned.insert(segment) {
                    return Err(format!("segment {segment} is in a wrong bin or in two"));
                }
                segment = self.meta(segment).bin_next.load(Relaxed);
            }
        }
        equal("segments in bins", binned.len() as u64, u64::from(self.state.binned))?;
        for (number, queue) in self.state.queues.iter().enumerate() {
            let head = self.state.heads[number];
            let (mut before, mut segment) = (SEG_NONE, queue.oldest);
            while segment != SEG_NONE {
                let meta = self.meta(segment);
                if meta.prev.load(Relaxed) != before {
                    return Err(format!("the chain is broken at segment {segment}"));
                }
                let stage = self.stage(segment);
                let expected = match stage {
                    Stage::Closed => true,
                    Stage::Head => head.segment == segment,
                    Stage::Compaction => queue.compaction == segment,
                    Stage::Job => false,
                };
                if !expected || usize::from(meta.queue.load(Relaxed) & 0x0F) != number {
                    return Err(format!("segment {segment} is {stage:?} in queue {number}"));
                }
                if stage != Stage::Closed && binned.contains(&segment) {
                    return Err(format!("segment {segment} is open and in a bin"));
                }
                self.check_segment(segment, found, &mut seen)?;
                before = segment;
                segment = meta.next.load(Relaxed);
            }
            let free = match head.segment {
                SEG_NONE => 0,
                open => self.places.seg_bytes() - u64::from(self.meta(open).fill.load(Relaxed)),
            };
            equal("bytes that a head has room for", free, u64::from(head.room))?;
            if queue.newest != before {
                return Err("the chain does not end at the newest segment".into());
            }
        }
        let jobs = self.state.queues.iter().map(|queue| queue.job.seg);
        for segment in jobs.chain([self.state.compacting.seg]).filter(|&seg| seg != SEG_NONE) {
            if self.stage(segment) != Stage::Job {
                return Err(format!("segment {segment} has a job and is not marked"));
            }
            self.check_segment(segment, found, &mut seen)?;
        }
        if let Some(stray) = found.live.keys().find(|segment| !seen.contains(*segment)) {
            return Err(format!("segment {stray} has live entries and is in no chain"));
        }
        Ok(seen.len() as u64)
    }

    fn check_segment(&self, segment: SegId, found: &Found, seen: &mut HashSet<SegId>) -> Check {
        if !seen.insert(segment) {
            return Err(format!("segment {segment} is in two places"));
        }
        if !self.owns_log(segment) {
            return Err(format!("segment {segment} is not the shard's"));
        }
        let meta = self.meta(segment);
        let live = found.live.get(&segment).copied().unwrap_or(0);
        equal("live bytes of a segment", live, u64::from(meta.live.load(Relaxed)))?;
        let fill = u64::from(meta.fill.load(Relaxed));
        if live > fill || fill > self.store.space().seg_bytes() {
            return Err(format!("segment {segment} has {live} live of {fill} bytes"));
        }
        let mut passed = u64::from(self.store.first_offset(segment));
        let mut unmarked = 0;
        self.each_entry(segment, |_, entry, is_dead| {
            let bytes = u64::from(self.log_bytes(entry));
            passed += bytes;
            unmarked += if is_dead { 0 } else { bytes };
        });
        equal("bytes of a segment that are not marked dead", unmarked, live)?;
        equal("entries of a segment end at its fill", passed, fill)
    }
}

fn equal(what: &str, found: u64, counted: u64) -> Check {
    if found == counted {
        return Ok(());
    }
    Err(format!("{what}: {found} found, {counted} counted"))
}

impl Store {
    /// Checks every invariant of the store: index and entries agree, the filter lacks no key, live bytes
    /// and charges are sums, no limit is exceeded. Holds every shard's lock; for tests and diagnosis. Time
    /// O(entries).
    ///
    /// # Errors
    /// `Internal` names the first invariant that is broken; `Forked`.
    pub fn validate(&self) -> Result<()> {
        self.0.check()
    }
}
