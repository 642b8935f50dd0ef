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

use super::StoreInner;
use super::index::{Table, Tail};
use super::job::Job;
use super::lease::table::Leases;
use super::promotion::{NO_WINDOW, Ring};
use super::writer::Writer;
use crate::error::{Error, ErrorKind, Result};
use crate::eviction::{AnyPolicy, Policy, QUEUES_MAX, View};
use crate::memory::lock::{FutexGuard, FutexMutex};
use crate::pool::space::{SEG_NONE, SegId, Space};
use crate::stats::ShardCounters;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Eighths of a segment that may be dead; bin 8 is never filled, such segments go at once.
pub const BINS: usize = 8;
/// The first bin that is compacted: a quarter dead.
pub const COMPACT_FROM: usize = 2;

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
    /// What hits ask for.
    pub ring: Ring,
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
    state: FutexMutex<State>,
    counters: ShardCounters,
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

/// What the holder of the lock owns. First, on the line of the lock, which those who wait for it
/// poll, what is seldom written; then what every write touches.
#[repr(C)]
pub struct State {
    /// Bytes to reclaim a byte written, in 1/16; 0 while there is room.
    pub ratio: u32,
    /// Whether any entry ever had a time to live.
    pub expires: bool,
    /// Whether any key is being loaded, or was not long ago.
    pub has_leases: bool,
    /// Whether tasks are to be woken before the lock is given up: that `leases.wakes` is not empty,
    /// on a line that every write has at hand.
    pub wakes_tasks: bool,
    /// The place of queue 0's head from which on the window of uncounted hits moves.
    pub window_due: u64,
    pub memory: Option<PolicyMemory>,
    /// Log segments held.
    pub segments: u32,
    /// First of the runs that hold values, chained.
    pub runs: u32,
    /// Bytes of value runs.
    pub run_bytes: u64,
    /// Bytes still to be reclaimed for what was written.
    pub debt: i64,
    /// Keys and values of live entries.
    pub payload: u64,
    pub heads: [Head; QUEUES_MAX],
    pub tail: Tail,
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
    /// Random state of the jitter.
    pub dice: u64,
    /// Entries that reclaim kept since it last evicted one.
    pub kept: u32,
    /// Who loads what.
    pub leases: Leases,
    /// The filter before the index.
    pub screen: super::screen::Screen,
}

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
            ring: Ring::new(),
            waiting: AtomicU32::new(0),
            segments: AtomicU32::new(0),
            held: AtomicU64::new(0),
            screen: super::screen::Asked::default(),
            written: Written::new(State {
                ratio: 0,
                expires: false,
                has_leases: false,
                wakes_tasks: false,
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
        (size_of::<Self>() + Ring::HEAP_BYTES) as u64
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
