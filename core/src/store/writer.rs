//! The holder of a shard's lock: what is at a location, who lives there, what the policy says.
//!
//! Everything that changes a shard is a method of [`Writer`], in the file of its idea; here is what
//! they all stand on. An entry is known by its slot: what no slot names is dead, whatever its bytes
//! say.

use super::StoreInner;
use super::entry::{Entry, NEVER};
use super::index::{Place, line::Line, line::SlotValue};
use super::places::Places;
use super::shard::{PolicyMemory, Shard, State};
use crate::eviction::{AnyPolicy, Context, EntryMeta, QUEUES_MAX};
use crate::memory::lock::FutexGuard;
use crate::pool::SegMeta;
use crate::pool::space::SegId;
use crate::stats::Tally;
use std::sync::atomic::Ordering;

/// The holder of a shard's lock.
pub struct Writer<'a> {
    pub store: &'a StoreInner,
    pub shard: &'a Shard,
    pub places: &'a Places,
    pub state: FutexGuard<'a, State>,
    /// Whether a segment or run was retired, so that the space may be harvested afterwards.
    pub retired: bool,
    /// The thread was unwinding already: the call comes from a destructor, and is no fault.
    was_panicking: bool,
}

impl<'a> Writer<'a> {
    /// The holder of this lock.
    #[inline(always)]
    pub fn new(store: &'a StoreInner, shard: &'a Shard, state: FutexGuard<'a, State>) -> Self {
        let was_panicking = std::thread::panicking();
        Self { store, shard, places: &store.places, state, retired: false, was_panicking }
    }

    /// The table entry of a segment.
    #[inline(always)]
    pub fn meta(&self, segment: SegId) -> &'a SegMeta {
        // SAFETY: the store keeps its pool alive; segments come from it.
        unsafe { self.places.meta(segment) }
    }
}

impl Drop for Writer<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if std::thread::panicking() && !self.was_panicking {
            self.shard.table.poison();
            self.shard.counters().count(Tally::Faults);
            self.wake_all_waiters();
        }
        if self.state.wakes_tasks {
            self.wake_tasks();
        }
    }
}

/// A live entry under the lock: its slot, what the slot holds, and its bytes.
#[derive(Clone, Copy)]
pub struct Live {
    pub place: Place,
    pub slot: SlotValue,
    pub entry: Entry,
}

/// What a live entry takes, and where.
#[derive(Clone, Copy)]
pub struct Extent {
    /// Its queue.
    pub queue: usize,
    /// Bytes appended to the queue before it.
    pub position: u64,
    /// Bytes in the log.
    pub log_bytes: u32,
    /// Bytes of its run.
    pub run_bytes: u64,
    /// Both together.
    pub full: u64,
    /// Bytes of key and value.
    pub payload: u64,
}

impl Writer<'_> {
    /// The entry at a location.
    #[inline(always)]
    pub fn entry_at(&self, location: u32) -> Entry {
        // SAFETY: locations come from filled slots or from a walk of this shard's own log, and
        // the lock keeps both from changing.
        unsafe { Entry::at(self.places.address(location)) }
    }

    /// The live entry of a key.
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<Live> {
        self.find_from(self.shard.table.home_of(hash)?, hash, key)
    }

    /// The live entry of a key whose home line this is.
    #[inline(always)]
    pub fn find_from(&self, home: &Line, hash: u64, key: &[u8]) -> Option<Live> {
        let is_it = |location| self.entry_at(location).key_is(key);
        let (place, slot) = self.shard.table.find_from(home, hash, is_it)?;
        Some(Live { place, slot, entry: self.entry_at(slot.location) })
    }

    /// The live entry at a location, if a slot names it.
    #[inline(always)]
    pub fn find_at(&self, hash: u64, location: u32) -> Option<Live> {
        let (place, slot) = self.shard.table.find(hash, |found| found == location)?;
        Some(Live { place, slot, entry: self.entry_at(location) })
    }

    /// The hash of the key at a location.
    #[inline]
    pub fn hash_at(&self, location: u32) -> u64 {
        self.store.hash.of(self.entry_at(location).key())
    }

    /// Bytes of an entry in the log.
    #[inline(always)]
    pub fn log_bytes(&self, entry: &Entry) -> u32 {
        self.places.rounded(entry.bytes()) as u32
    }

    /// Bytes of an entry in the log and in its run.
    pub fn full_bytes(&self, entry: &Entry) -> u64 {
        let run = entry.run().map_or(0, |run| self.store.space().run_charge(run));
        u64::from(self.log_bytes(entry)) + run
    }

    /// The queue of an entry.
    #[inline(always)]
    pub fn queue_of(&self, location: u32) -> usize {
        let meta = self.meta(self.places.segment_of(location));
        usize::from(meta.queue.load(Ordering::Relaxed) & 0x0F)
    }

    /// Position of a location in the life of its queue.
    pub fn position_of(&self, location: u32) -> u64 {
        let meta = self.meta(self.places.segment_of(location));
        meta.position.load(Ordering::Relaxed) + u64::from(self.places.offset_of(location))
    }

    /// What an entry takes, and where.
    #[inline(always)]
    pub fn extent(&self, live: &Live) -> Extent {
        self.extent_of(live, self.log_bytes(&live.entry))
    }

    /// [`Writer::extent`] of an entry of so many bytes.
    #[inline(always)]
    pub fn extent_of(&self, live: &Live, log_bytes: u32) -> Extent {
        let meta = self.meta(self.places.segment_of(live.slot.location));
        let run_bytes = live.entry.run().map_or(0, |run| self.store.space().run_charge(run));
        Extent {
            queue: usize::from(meta.queue.load(Ordering::Relaxed) & 0x0F) % QUEUES_MAX,
            position: meta.position.load(Ordering::Relaxed)
                + u64::from(self.places.offset_of(live.slot.location)),
            log_bytes,
            run_bytes,
            full: u64::from(log_bytes) + run_bytes,
            payload: (live.entry.key_len() + live.entry.value_len()) as u64,
        }
    }

    /// What the policy may know of an entry.
    #[inline(always)]
    pub fn meta_of(&self, hash: u64, live: &Live, extent: &Extent) -> EntryMeta {
        EntryMeta {
            bytes: u32::try_from(extent.full).unwrap_or(u32::MAX),
            hits: live.slot.hits(),
            queue: extent.queue as u8,
            fingerprint: fingerprint(hash),
            position: extent.position,
            expires_ms: live.entry.expires(),
            session: live.entry.session(),
        }
    }

    /// The policy, and what it decides on.
    #[inline(always)]
    pub fn policy(&mut self) -> (&mut AnyPolicy, Context<'_>) {
        let state = &mut *self.state;
        let memory = state.memory.as_mut().map_or(&mut [][..], PolicyMemory::words_mut);
        (&mut state.policy, Context { view: &state.view, memory })
    }

    /// Asks the policy something.
    #[inline(always)]
    pub fn ask<R>(&mut self, question: impl FnOnce(&mut AnyPolicy, &mut Context<'_>) -> R) -> R {
        let (policy, mut cx) = self.policy();
        question(policy, &mut cx)
    }

    /// Says what live entries may take at most, after segments or runs came or went.
    pub fn update_capacity(&mut self) {
        let segments = u64::from(self.state.segments) * self.store.space().seg_bytes();
        self.state.view.capacity_bytes = segments + self.state.run_bytes;
        self.shard.held.store(self.state.view.capacity_bytes, Ordering::Relaxed);
    }

    /// Whether the entry's time is over, or its session.
    #[inline(always)]
    pub fn is_expired(&self, entry: &Entry) -> bool {
        let expires = entry.expires();
        expires != NEVER && expires <= self.store.clock.now_ms() || self.store.has_ended(entry)
    }

    /// Whether a segment is one of this shard's log.
    pub fn owns_log(&self, segment: SegId) -> bool {
        let meta = self.meta(segment);
        meta.usage.load(Ordering::Acquire) == crate::pool::space::Use::Log as u8
            && meta.store.load(Ordering::Acquire) == self.store.id
            && meta.shard.load(Ordering::Relaxed) == self.store.number_of(self.shard)
    }
}

/// The part of a hash that policies remember.
#[inline(always)]
pub fn fingerprint(hash: u64) -> u32 {
    (hash >> 20) as u32
}
