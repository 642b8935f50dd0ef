//! A shard: an index, a log of queues, a policy, under one writer lock.
//!
//! Readers use [`Shard::table`] and what they announce; everything else belongs to the holder of
//! the lock, who works through a [`Writer`].
//!
//! Invariants while nobody holds the lock:
//! - every filled slot of the index names an entry of this shard whose key hashes to that bucket;
//! - a segment's live bytes are the sum of the (rounded) bytes of the entries in it that a slot
//!   names; an entry that no slot names is dead and costs nothing to pass;
//! - every log segment of the shard is in exactly one place: an open head, an open compaction
//!   head, the chain of its queue, or under one reclaim job; a closed segment in a chain with at
//!   least a quarter dead is also in the bin of its dead share;
//! - a queue's counts of live bytes and entries are the sums over its entries.
//!
//! A panic while the lock is held poisons the shard: calls on it fail until the store is cleared.

use super::StoreInner;
use super::entry::{Entry, NEVER};
use super::index::{Place, Table, Tail, line::SlotValue};
use crate::error::{Error, ErrorKind, Result};
use crate::eviction::{AnyPolicy, Context, EntryMeta, Policy, QUEUES_MAX, QueueView, View};
use crate::memory::lock::{FutexGuard, FutexMutex};
use crate::pool::space::{SEG_NONE, SegId};
use crate::stats::{ShardCounters, Tally};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Eighths of a segment that may be dead; bin 8 is never filled, such segments go at once.
pub const BINS: usize = 8;
/// The first bin that is compacted: a quarter dead.
pub const COMPACT_FROM: usize = 2;
/// Look-ups that ask for promotion and wait for a writer.
const RING: usize = 128;

/// The failure of a shard that is out of service.
pub const POISONED: Error = Error::fixed(
    ErrorKind::Poisoned,
    "the shard is out of service after a caught fault; clear the store to put it back",
);
/// The failure of a destroyed store.
pub const CLOSED: Error = Error::fixed(ErrorKind::Closed, "the store was destroyed");

/// One shard.
#[repr(align(128))]
pub struct Shard {
    /// The index, as readers see it.
    pub table: Table,
    /// Entries of queue q that were appended before this place ask for promotion when hit.
    pub promote_before: [AtomicU64; QUEUES_MAX],
    ring: Box<[AtomicU32; RING]>,
    ring_len: AtomicU32,
    /// Threads that wait for the lock.
    waiting: AtomicU32,
    /// Log segments, for choosing the richest shard without its lock.
    pub segments: AtomicU32,
    /// What writers count.
    pub counters: ShardCounters,
    state: FutexMutex<State>,
}

/// Position of a segment in its queue's life, kept in the high half of `SegMeta::queue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// In the chain.
    Closed = 0x00,
    /// Appended to.
    Head = 0x10,
    /// Receives what compaction moves; its place in the chain is kept.
    Compaction = 0x20,
    /// Being emptied.
    Job = 0x30,
}

/// A segment that is being emptied.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// The segment; [`SEG_NONE`]: no job.
    pub seg: SegId,
    /// Bytes passed.
    pub at: u32,
    /// Bytes whose index lines were asked for.
    pub ahead: u32,
    /// Entries that the job kept since it last evicted one.
    pub kept: u32,
}

impl Job {
    /// No job.
    pub const NONE: Self = Self { seg: SEG_NONE, at: 0, ahead: 0, kept: 0 };
}

/// One queue of the policy: a chain of segments, oldest first.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// Oldest segment of the chain.
    pub oldest: SegId,
    /// Newest segment of the chain: the head if it is open.
    pub newest: SegId,
    /// Segment that is appended to.
    pub head: SegId,
    /// Segment that compaction appends to.
    pub compaction: SegId,
    /// Bytes ever appended, up to where the head begins.
    pub position: u64,
    /// Bytes of live entries, runs included.
    pub bytes: u64,
    /// Live entries.
    pub entries: u64,
    /// The cursor.
    pub job: Job,
}

impl Queue {
    /// A queue that never held anything.
    pub const EMPTY: Self = Self {
        oldest: SEG_NONE,
        newest: SEG_NONE,
        head: SEG_NONE,
        compaction: SEG_NONE,
        position: 0,
        bytes: 0,
        entries: 0,
        job: Job::NONE,
    };
}

/// What the holder of the lock owns.
pub struct State {
    pub tail: Tail,
    pub policy: AnyPolicy,
    /// Run with the policy's memory, and its words.
    pub memory: Option<(u32, usize)>,
    pub queues: [Queue; QUEUES_MAX],
    pub bins: [SegId; BINS],
    pub compacting: Job,
    /// Cursor of the expiry sweep.
    pub expiry: super::expiry::Sweep,
    /// Log segments held.
    pub segments: u32,
    /// First of the runs that hold values, chained.
    pub runs: u32,
    /// Bytes of value runs.
    pub run_bytes: u64,
    /// Keys and values of live entries.
    pub payload: u64,
    /// Bytes still to be reclaimed for what was written.
    pub debt: i64,
    /// Bytes to reclaim a byte written, in 1/16; 0 while there is room.
    pub ratio: u32,
    /// Bound on entries; 0: none.
    pub entries_max: u64,
    /// Whether any entry ever had a time to live.
    pub expires: bool,
    /// Random state of the jitter.
    pub dice: u64,
}

impl Shard {
    /// A shard around an empty table.
    pub fn new(table: Table, tail: Tail, policy: AnyPolicy, entries_max: u64, seed: u64) -> Self {
        Self {
            table,
            promote_before: [const { AtomicU64::new(0) }; QUEUES_MAX],
            ring: Box::new([const { AtomicU32::new(0) }; RING]),
            ring_len: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            segments: AtomicU32::new(0),
            counters: ShardCounters::new(),
            state: FutexMutex::new(State {
                tail,
                policy,
                memory: None,
                queues: [Queue::EMPTY; QUEUES_MAX],
                bins: [SEG_NONE; BINS],
                compacting: Job::NONE,
                expiry: super::expiry::Sweep::NONE,
                segments: 0,
                runs: SEG_NONE,
                run_bytes: 0,
                payload: 0,
                debt: 0,
                ratio: 0,
                entries_max,
                expires: false,
                dice: seed | 1,
            }),
        }
    }

    /// Bytes that a shard takes on the process's heap, its index directories apart.
    pub fn heap_bytes() -> u64 {
        (size_of::<Self>() + RING * size_of::<AtomicU32>()) as u64
    }

    /// Remembers that an entry asks for promotion; forgets it when the ring is full. True if the
    /// ring is due to be drained, once in as many calls as it is long.
    pub fn ask_promotion(&self, location: u32) -> bool {
        // It may wrap: then the ring is filled once more.
        let at = self.ring_len.fetch_add(1, Ordering::Relaxed) as usize;
        if let Some(cell) = self.ring.get(at) {
            cell.store(location, Ordering::Release);
        }
        at % RING == RING - 1
    }

    fn take_promotions(&self, mut each: impl FnMut(u32)) {
        let len = (self.ring_len.load(Ordering::Relaxed) as usize).min(RING);
        if len == 0 {
            return;
        }
        for cell in &self.ring[..len] {
            let location = cell.swap(0, Ordering::Acquire);
            if location != 0 {
                each(location);
            }
        }
        self.ring_len.store(0, Ordering::Relaxed);
    }

    /// Locks the shard for a call on it.
    pub fn lock<'a>(&'a self, store: &'a StoreInner) -> Result<Writer<'a>> {
        let writer = self.lock_any(store);
        let geometry = self.table.geometry();
        if geometry.is_closed() {
            return Err(CLOSED);
        }
        if geometry.is_poisoned() {
            return Err(POISONED);
        }
        Ok(writer)
    }

    /// Locks the shard for a reader, if it is in service and nobody holds the lock or waits for it.
    pub fn try_lock<'a>(&'a self, store: &'a StoreInner) -> Option<Writer<'a>> {
        if self.waiting.load(Ordering::Relaxed) != 0 {
            return None;
        }
        let state = self.state.try_lock()?;
        let writer = Writer::new(store, self, state);
        self.table.geometry().in_service().then_some(writer)
    }

    /// Locks the shard whatever its state.
    #[inline]
    pub fn lock_any<'a>(&'a self, store: &'a StoreInner) -> Writer<'a> {
        let state = self.state.try_lock().unwrap_or_else(|| self.wait_for_lock());
        Writer::new(store, self, state)
    }

    #[cold]
    fn wait_for_lock(&self) -> FutexGuard<'_, State> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let state = self.state.lock();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        state
    }
}

/// The holder of a shard's lock.
pub struct Writer<'a> {
    pub store: &'a StoreInner,
    pub shard: &'a Shard,
    pub state: FutexGuard<'a, State>,
    /// Whether a segment or run was retired, so that the space may be harvested afterwards.
    pub retired: bool,
    /// The thread was unwinding already: the call comes from a destructor, and is no fault.
    was_panicking: bool,
}

impl<'a> Writer<'a> {
    #[inline]
    fn new(store: &'a StoreInner, shard: &'a Shard, state: FutexGuard<'a, State>) -> Self {
        Self { store, shard, state, retired: false, was_panicking: std::thread::panicking() }
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.was_panicking {
            self.shard.table.poison();
            self.shard.counters.count(Tally::Faults);
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
    #[inline]
    pub fn entry_at(&self, location: u32) -> Entry {
        // SAFETY: locations come from filled slots or from a walk of this shard's own log, and
        // the lock keeps both from changing.
        unsafe { Entry::at(self.store.address(location)) }
    }

    /// The live entry of a key.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<Live> {
        let (place, slot) =
            self.shard.table.find(hash, |location| self.entry_at(location).key_is(key))?;
        Some(Live { place, slot, entry: self.entry_at(slot.location) })
    }

    /// The live entry at a location, if a slot names it.
    #[inline]
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
    #[inline]
    pub fn log_bytes(&self, entry: &Entry) -> u32 {
        self.store.rounded(entry.bytes()) as u32
    }

    /// Bytes of an entry in the log and in its run.
    pub fn full_bytes(&self, entry: &Entry) -> u64 {
        let run = entry.run().map_or(0, |run| self.store.space().run_charge(run));
        u64::from(self.log_bytes(entry)) + run
    }

    /// The queue of an entry.
    #[inline]
    pub fn queue_of(&self, location: u32) -> usize {
        let meta = self.store.space().meta(self.store.segment_of(location));
        usize::from(meta.queue.load(Ordering::Relaxed) & 0x0F)
    }

    /// Position of a location in the life of its queue.
    pub fn position_of(&self, location: u32) -> u64 {
        let meta = self.store.space().meta(self.store.segment_of(location));
        meta.position.load(Ordering::Relaxed) + u64::from(self.store.offset_of(location))
    }

    /// What an entry takes, and where.
    #[inline]
    pub fn extent(&self, live: &Live) -> Extent {
        let space = self.store.space();
        let meta = space.meta(self.store.segment_of(live.slot.location));
        let log_bytes = self.log_bytes(&live.entry);
        let run_bytes = live.entry.run().map_or(0, |run| space.run_charge(run));
        Extent {
            queue: usize::from(meta.queue.load(Ordering::Relaxed) & 0x0F) % QUEUES_MAX,
            position: meta.position.load(Ordering::Relaxed)
                + u64::from(self.store.offset_of(live.slot.location)),
            log_bytes,
            run_bytes,
            full: u64::from(log_bytes) + run_bytes,
            payload: (live.entry.key_len() + live.entry.value_len()) as u64,
        }
    }

    /// What the policy may know of an entry.
    #[inline]
    pub fn meta_of(&self, hash: u64, live: &Live, extent: &Extent) -> EntryMeta {
        EntryMeta {
            bytes: u32::try_from(extent.full).unwrap_or(u32::MAX),
            hits: self.shard.table.hits(live.place),
            queue: extent.queue as u8,
            fingerprint: fingerprint(hash),
            position: extent.position,
            expires_ms: live.entry.expires(),
            session: live.entry.session(),
        }
    }

    /// The shard as its policy sees it.
    pub fn view(&self) -> View {
        let mut queues = [QueueView::default(); QUEUES_MAX];
        for (view, queue) in queues.iter_mut().zip(&self.state.queues) {
            *view = QueueView {
                bytes: queue.bytes,
                entries: queue.entries,
                head: self.head_position(queue),
            };
        }
        View {
            queues,
            capacity_bytes: u64::from(self.state.segments) * self.store.space().seg_bytes()
                + self.state.run_bytes,
            capacity_entries: self.state.entries_max,
            now_ms: 0,
        }
    }

    fn head_position(&self, queue: &Queue) -> u64 {
        if queue.head == SEG_NONE {
            return queue.position;
        }
        let fill = self.store.space().meta(queue.head).fill.load(Ordering::Relaxed);
        queue.position + u64::from(fill)
    }

    /// Asks the policy something.
    #[inline]
    pub fn ask<R>(&mut self, question: impl FnOnce(&mut AnyPolicy, &mut Context<'_>) -> R) -> R {
        let view = self.view();
        self.ask_about(&view, question)
    }

    /// Asks the policy something about a view of the shard that still holds.
    #[inline]
    pub fn ask_about<R>(
        &mut self,
        view: &View,
        question: impl FnOnce(&mut AnyPolicy, &mut Context<'_>) -> R,
    ) -> R {
        let memory: &mut [u32] = match self.state.memory {
            None => &mut [],
            // SAFETY: the run was taken with room for this many zeroed words, belongs to this
            // shard's policy alone, and is only reached under the shard's lock.
            Some((run, words)) => unsafe {
                std::slice::from_raw_parts_mut(self.store.space().run_addr(run).cast(), words)
            },
        };
        question(&mut self.state.policy, &mut Context { view, memory })
    }

    /// Whether the entry's time is over.
    #[inline]
    pub fn is_expired(&self, entry: &Entry) -> bool {
        let expires = entry.expires();
        expires != NEVER && expires <= self.store.clock.now_ms()
    }

    /// Carries out what hits asked for since the last writer: entries are appended again.
    pub fn drain_promotions(&mut self) {
        if self.store.promotes {
            let shard = self.shard;
            shard.take_promotions(|location| self.promote(location));
            self.mark_promotions();
        }
    }

    /// Tells readers from which age on a hit asks for promotion.
    fn mark_promotions(&mut self) {
        let Some(share) = self.state.policy.promote_after() else { return };
        for (queue, mark) in self.state.queues.iter().zip(&self.shard.promote_before) {
            let behind = queue.bytes * u64::from(share) / 256;
            mark.store(self.head_position(queue).saturating_sub(behind), Ordering::Relaxed);
        }
    }

    fn promote(&mut self, location: u32) {
        // The location may be of an entry that is dead by now, and its segment may be another
        // one's: only a slot of this shard makes it an entry.
        let segment = self.store.segment_of(location);
        if !self.owns_log(segment) {
            return;
        }
        let meta = self.store.space().meta(segment);
        let offset = self.store.offset_of(location);
        if offset >= meta.fill.load(Ordering::Relaxed) || !self.begins_entry(segment, offset) {
            return;
        }
        let hash = self.hash_at(location);
        let Some(live) = self.find_at(hash, location) else { return };
        let queue = self.queue_of(location);
        let before = self.shard.promote_before[queue].load(Ordering::Relaxed);
        if self.position_of(location) < before && self.pay_for_move(&live) {
            self.move_entry(live, queue, live.slot.hits);
        }
    }

    /// Whether the bytes at an offset look like an entry that lies inside its segment. A slot is
    /// looked for afterwards; this only keeps a stale location from being read past the end.
    fn begins_entry(&self, segment: SegId, offset: u32) -> bool {
        let fill = self.store.space().meta(segment).fill.load(Ordering::Relaxed);
        let location = self.store.location(segment, offset);
        fill - offset >= 8 && {
            let entry = self.entry_at(location);
            let bytes = entry.bytes() as u64;
            bytes <= u64::from(fill - offset)
        }
    }

    /// Whether a segment is one of this shard's log.
    pub fn owns_log(&self, segment: SegId) -> bool {
        let meta = self.store.space().meta(segment);
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
