//! A shard: an index, a log of queues, a policy, under one writer lock.
//!
//! Readers use [`Shard::table`] and what they announce; everything else belongs to the holder of
//! the lock, who works through a [`Writer`].
//!
//! Invariants while nobody holds the lock:
//! - every filled slot of the index names an entry of this shard whose key hashes to that bucket;
//! - a segment's live bytes are the sum of the (rounded) bytes of the entries in it that a slot
//!   names; an entry that no slot names is dead, marked so, and costs next to nothing to pass;
//! - every log segment of the shard is in exactly one place: an open head, an open compaction
//!   head, the chain of its queue, or under one reclaim job; a closed segment in a chain with at
//!   least a quarter dead is also in the bin of its dead share;
//! - the view's counts of live bytes and entries of a queue are the sums over its entries.
//!
//! A panic while the lock is held poisons the shard: calls on it fail until the store is cleared.

use super::entry::{Entry, NEVER};
use super::index::{Place, Table, Tail, line::Line, line::SlotValue};
use super::job::Job;
use super::lease::table::Leases;
use super::places::Places;
use super::{HitRule, StoreInner};
use crate::error::{Error, ErrorKind, Result};
use crate::eviction::{AnyPolicy, Context, EntryMeta, Policy, QUEUES_MAX, View};
use crate::memory::lock::{FutexGuard, FutexMutex};
use crate::pool::SegMeta;
use crate::pool::space::{SEG_NONE, SegId, Space};
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

/// One shard, in this order: what look-ups read; what is seldom written; and then, from a new line
/// on, what every write touches, in as few lines as it takes. They travel from processor to
/// processor with the writers.
#[repr(C, align(128))]
pub struct Shard {
    /// The index, as readers see it.
    pub table: Table,
    /// Hits on entries of queue 0 that were appended from this place on are not counted, where the
    /// policy has rules for hits.
    pub count_before: AtomicU64,
    /// Entries of queue q that were appended before this place ask for promotion when hit.
    pub promote_before: [AtomicU64; QUEUES_MAX],
    ring: Box<[AtomicU32; RING]>,
    ring_len: AtomicU32,
    /// Threads that wait for the lock.
    waiting: AtomicU32,
    /// Log segments, for sharing out what writes pay without the lock.
    pub segments: AtomicU32,
    /// Bytes of log segments and of runs, for choosing the richest shard without its lock.
    pub held: AtomicU64,
    /// The filter before the index, if there is one.
    pub screen: super::screen::Asked,
    written: Written,
}

/// What every write touches.
#[repr(C, align(128))]
struct Written {
    counters: ShardCounters,
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

/// One queue of the policy: a chain of segments, oldest first. What it holds is in [`State::view`].
#[derive(Clone, Debug)]
pub struct Queue {
    /// Oldest segment of the chain.
    pub oldest: SegId,
    /// Newest segment of the chain: the head if it is open.
    pub newest: SegId,
    /// Segment that compaction appends to.
    pub compaction: SegId,
    /// The cursor.
    pub job: Job,
}

impl Queue {
    /// A queue that never held anything.
    pub const EMPTY: Self =
        Self { oldest: SEG_NONE, newest: SEG_NONE, compaction: SEG_NONE, job: Job::NONE };
}

/// The end of a queue.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Segment that is appended to.
    pub segment: SegId,
    /// Bytes that it has room for; 0 without one.
    pub room: u32,
}

impl Head {
    /// No segment.
    pub const NONE: Self = Self { segment: SEG_NONE, room: 0 };
}

/// What became of a hit that asks for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is in the ring.
    Noted,
    /// It is in the ring, which is due to be drained.
    Due,
    /// The ring is full.
    Lost,
    /// The ring is full, and due to be drained.
    LostAndDue,
}

/// Memory of a policy: words in a run of the shard's own.
pub struct PolicyMemory {
    /// The run.
    pub run: u32,
    at: *mut u32,
    words: usize,
}

// SAFETY: the words belong to whoever owns the PolicyMemory; the pool that they lie in is Sync and
// outlives the store that owns it.
unsafe impl Send for PolicyMemory {}

impl PolicyMemory {
    /// Memory in a run.
    ///
    /// # Safety
    /// The run was taken for this alone, has room for so many words, and is given back only when
    /// this is gone.
    pub unsafe fn new(space: &Space, run: u32, words: usize) -> Self {
        Self { run, at: space.run_addr(run).cast(), words }
    }

    /// The words.
    #[inline(always)]
    pub fn words(&self) -> &[u32] {
        // SAFETY: `new` was promised the run, whose memory is zeroed or written.
        unsafe { std::slice::from_raw_parts(self.at, self.words) }
    }

    /// The words, to change them.
    #[inline(always)]
    pub fn words_mut(&mut self) -> &mut [u32] {
        // SAFETY: as in `words`, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.words) }
    }
}

/// What the holder of the lock owns; first what every write touches.
#[repr(C)]
pub struct State {
    /// Bytes to reclaim a byte written, in 1/16; 0 while there is room.
    pub ratio: u32,
    /// Whether any entry ever had a time to live.
    pub expires: bool,
    /// Whether any key is being loaded, or was not long ago.
    pub has_leases: bool,
    /// Bytes still to be reclaimed for what was written.
    pub debt: i64,
    /// Keys and values of live entries.
    pub payload: u64,
    /// The place of queue 0's head from which on the window of uncounted hits moves.
    pub window_due: u64,
    pub heads: [Head; QUEUES_MAX],
    pub tail: Tail,
    pub memory: Option<PolicyMemory>,
    /// What the queues hold, as the policy sees it.
    pub view: View,
    pub policy: AnyPolicy,
    pub queues: [Queue; QUEUES_MAX],
    pub bins: [SegId; BINS],
    /// Segments in bins.
    pub binned: u32,
    pub compacting: Job,
    /// Cursor of the expiry sweep.
    pub expiry: super::expiry::Sweep,
    /// Log segments held.
    pub segments: u32,
    /// First of the runs that hold values, chained.
    pub runs: u32,
    /// Bytes of value runs.
    pub run_bytes: u64,
    /// Random state of the jitter.
    pub dice: u64,
    /// Entries that reclaim kept since it last evicted one.
    pub kept: u32,
    /// Who loads what.
    pub leases: Leases,
    /// The filter before the index.
    pub screen: super::screen::Screen,
}

/// Without a window in which hits are not counted, its end is never reached.
const NO_WINDOW: u64 = u64::MAX;
/// The window moves when its queue's head has passed so large a part of it.
const WINDOW_STEPS: u64 = 8;

impl Written {
    fn new(state: State) -> Self {
        Self { counters: ShardCounters::new(), state: FutexMutex::new(state) }
    }
}

impl Shard {
    /// What writers count.
    #[inline(always)]
    pub fn counters(&self) -> &ShardCounters {
        &self.written.counters
    }

    /// A shard around an empty table.
    pub fn new(table: Table, tail: Tail, policy: AnyPolicy, entries_max: u64, seed: u64) -> Self {
        Self {
            table,
            promote_before: [const { AtomicU64::new(0) }; QUEUES_MAX],
            count_before: AtomicU64::new(if policy.counts_hits() { u64::MAX } else { 0 }),
            ring: Box::new([const { AtomicU32::new(0) }; RING]),
            ring_len: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            segments: AtomicU32::new(0),
            held: AtomicU64::new(0),
            screen: super::screen::Asked::default(),
            written: Written::new(State {
                ratio: 0,
                expires: false,
                has_leases: false,
                debt: 0,
                payload: 0,
                window_due: if policy.uncounted_share().is_some() { 0 } else { NO_WINDOW },
                heads: [Head::NONE; QUEUES_MAX],
                tail,
                memory: None,
                view: View { capacity_entries: entries_max, ..View::default() },
                policy,
                queues: [const { Queue::EMPTY }; QUEUES_MAX],
                bins: [SEG_NONE; BINS],
                binned: 0,
                compacting: Job::NONE,
                expiry: super::expiry::Sweep::NONE,
                segments: 0,
                runs: SEG_NONE,
                run_bytes: 0,
                dice: seed | 1,
                kept: 0,
                leases: Leases::EMPTY,
                screen: super::screen::Screen::default(),
            }),
        }
    }

    /// Bytes that a shard takes on the process's heap, its index directories apart.
    pub fn heap_bytes() -> u64 {
        (size_of::<Self>() + RING * size_of::<AtomicU32>()) as u64
    }

    /// Remembers that an entry asks for something; forgets it when the ring is full. The ring is due
    /// to be drained once in as many calls as it is long.
    #[inline]
    pub fn ask_promotion(&self, location: u32) -> Asked {
        // It may wrap: then the ring is filled once more.
        let at = self.ring_len.fetch_add(1, Ordering::Relaxed) as usize;
        let is_due = at % RING == RING - 1;
        if let Some(cell) = self.ring.get(at) {
            cell.store(location, Ordering::Release);
            return if is_due { Asked::Due } else { Asked::Noted };
        }
        if is_due { Asked::LostAndDue } else { Asked::Lost }
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
    #[inline(always)]
    pub fn lock<'a>(&'a self, store: &'a StoreInner) -> Result<Writer<'a>> {
        let writer = self.lock_any(store);
        let geometry = self.table.geometry();
        if geometry.in_service() {
            return Ok(writer);
        }
        Err(if geometry.is_closed() { CLOSED } else { POISONED })
    }

    /// Locks the shard for a reader, if it is in service and nobody holds the lock or waits for it.
    pub fn try_lock<'a>(&'a self, store: &'a StoreInner) -> Option<Writer<'a>> {
        if self.waiting.load(Ordering::Relaxed) != 0 {
            return None;
        }
        let state = self.written.state.try_lock()?;
        let writer = Writer::new(store, self, state);
        self.table.geometry().in_service().then_some(writer)
    }

    /// Locks the shard whatever its state, if nobody holds the lock.
    #[inline(always)]
    pub fn try_lock_any<'a>(&'a self, store: &'a StoreInner) -> Option<Writer<'a>> {
        Some(Writer::new(store, self, self.written.state.try_lock()?))
    }

    /// Locks the shard whatever its state.
    #[inline(always)]
    pub fn lock_any<'a>(&'a self, store: &'a StoreInner) -> Writer<'a> {
        let state = self.written.state.try_lock().unwrap_or_else(|| self.wait_for_lock());
        Writer::new(store, self, state)
    }

    #[cold]
    fn wait_for_lock(&self) -> FutexGuard<'_, State> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let state = self.written.state.lock();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        state
    }
}

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
    #[inline(always)]
    fn new(store: &'a StoreInner, shard: &'a Shard, state: FutexGuard<'a, State>) -> Self {
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

    /// Carries out what hits asked for since the last writer: entries are appended again.
    #[inline(always)]
    pub fn drain_promotions(&mut self) {
        if self.store.hit_rule == HitRule::Asks {
            self.drain_ring();
        }
    }

    #[inline(never)]
    fn drain_ring(&mut self) {
        let shard = self.shard;
        for queue in 0..usize::from(self.store.queues).min(QUEUES_MAX) {
            self.state.view.queues[queue].tail = self.tail_of(queue);
        }
        shard.take_promotions(|location| self.promote(location));
        self.mark_promotions();
    }

    /// The position of the oldest entries of a queue; of its head where there are none.
    fn tail_of(&self, queue: usize) -> u64 {
        let chain = &self.state.queues[queue];
        let oldest = if chain.job.is_open() { chain.job.seg } else { chain.oldest };
        match oldest {
            SEG_NONE => self.state.view.queues[queue].head,
            segment => self.meta(segment).position.load(Ordering::Relaxed),
        }
    }

    /// Tells readers from which age on a hit asks for promotion.
    fn mark_promotions(&mut self) {
        let Some(share) = self.store.promote_after else { return };
        let queues = self.state.view.queues.iter().take(usize::from(self.store.queues));
        for (queue, mark) in queues.zip(&self.shard.promote_before) {
            let behind = queue.length() * u64::from(share) / 256;
            mark.store(queue.head - behind, Ordering::Relaxed);
        }
    }

    /// Has the window of uncounted hits follow the head of queue 0.
    #[inline(always)]
    pub fn follow_head(&mut self) {
        if self.state.view.queues[0].head >= self.state.window_due {
            self.move_window();
        }
    }

    #[cold]
    #[inline(never)]
    fn move_window(&mut self) {
        let Some(share) = self.state.policy.uncounted_share() else { return };
        let head = self.state.view.queues[0].head;
        let window = head.saturating_sub(self.tail_of(0)) / 256 * u64::from(share);
        self.shard.count_before.store(head - window, Ordering::Relaxed);
        self.state.window_due = head + (window / WINDOW_STEPS).max(1);
    }

    /// The queues were emptied and their heads are at the beginning again.
    pub fn reset_window(&mut self) {
        if self.state.window_due != NO_WINDOW {
            self.state.window_due = 0;
        }
    }

    fn promote(&mut self, location: u32) {
        // The location may be of an entry that is dead by now, and its segment may be another
        // one's: only a slot of this shard makes it an entry.
        let segment = self.places.segment_of(location);
        if !self.owns_log(segment) {
            return;
        }
        let meta = self.meta(segment);
        let offset = self.places.offset_of(location);
        if offset >= meta.fill.load(Ordering::Relaxed) || !self.begins_entry(segment, offset) {
            return;
        }
        let hash = self.hash_at(location);
        let Some(live) = self.find_at(hash, location) else { return };
        if self.store.hears_at != 0 {
            return self.hear(hash, &live);
        }
        let queue = self.queue_of(location);
        let before = self.shard.promote_before[queue].load(Ordering::Relaxed);
        if self.position_of(location) < before && self.pay_for_move(&live) {
            let extent = self.extent(&live);
            self.move_entry(live, extent, queue, live.slot.hits());
        }
    }

    /// Whether the bytes at an offset look like an entry that lies inside its segment. A slot is
    /// looked for afterwards; this only keeps a stale location from being read past the end.
    fn begins_entry(&self, segment: SegId, offset: u32) -> bool {
        let fill = self.meta(segment).fill.load(Ordering::Relaxed);
        let location = self.places.location(segment, offset);
        fill - offset >= 8 && {
            let entry = self.entry_at(location);
            let bytes = entry.bytes() as u64;
            bytes <= u64::from(fill - offset)
        }
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
