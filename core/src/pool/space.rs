//! A pool's memory: one reservation, the tables that describe it, and the budget over it.
//!
//! Every byte that is charged is in exactly one account, and the accounts move with the budget
//! under one lock, so that at any moment
//!
//! - `used == committed chunks and segments + runs + metadata pages + fixed charges`;
//! - `used <= limit in force`, and the limit in force is `max(target, used)` during a shrink
//!   (see `budget`);
//! - a segment is in exactly one [`Use`]; a `Free` one is in exactly one free list, a `Waiting` one
//!   in exactly one waiting list or in the hands of the one harvest that runs.
//!
//! `validate` checks all of it. The lock is a leaf: nothing is called under it but cheap advice to
//! the system when a chunk is committed or split; pages are wiped, given back and waited for
//! outside, while the segments concerned are charged and in nobody's list.
//!
//! The tables lie in the reservation's first pages, which are charged as they are first used and
//! stay: a reader may look at the counters of a segment long after it was given back.

use super::budget::{Budget, GRAIN, Level, grains};
use super::layout::{CHUNK_META_BYTES, Layout, META_BYTES, RUN_BASE, RUN_CLASSES};
use super::links::List;
use super::pressure::{PressureGauge, Reading};
use super::tables::ChunkMeta;
pub use super::tables::{RunId, RunMeta, SEG_NONE, SegId, SegMeta, Use};
use super::waiting::Harvesting;
use crate::config::PoolConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::lock::{FutexGuard, FutexMutex};
use crate::memory::sys::{Advice, Reservation};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The accounts, in units; their sum is what the budget has charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Accounts {
    pub segments: u64,
    pub runs: u64,
    pub metadata: u64,
    pub fixed: u64,
}

impl Accounts {
    pub fn sum(&self) -> u64 {
        self.segments + self.runs + self.metadata + self.fixed
    }
}

/// Places of one class of runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunClass {
    /// Freed places without memory, latest first; linked one way.
    pub free: u32,
    /// Freed places that kept their memory, latest first.
    pub warm: List,
    /// Places that were ever used.
    pub made: u32,
}

/// Everything that changes under the lock.
#[derive(Debug)]
pub(super) struct State {
    /// Free segments: of whole chunks, of split ones; latest freed first.
    pub free: [List; 2],
    /// Split chunks that have segments without memory.
    pub partial: List,
    /// Whole chunks whose segments are all free.
    pub empty: List,
    /// Chunks that were used and are void again.
    pub void: List,
    /// Chunks that were ever used.
    pub chunks_made: u32,
    pub run_classes: [RunClass; RUN_CLASSES],
    /// Whether the run table's first page, which many classes share, is charged.
    pub run_table_begun: bool,
    /// Retired segments and runs, in order of their retirement.
    pub waiting: List,
    pub waiting_runs: List,
    /// Retired from under readers that announce nothing: before the last look at who is inside.
    pub inside_closed: List,
    pub inside_closed_runs: List,
    /// The same, since that look.
    pub inside_open: List,
    pub inside_open_runs: List,
    /// Whole chunks that were seen to be backed by huge pages.
    pub huge_seen: u64,
    /// The chunk that is looked up next.
    pub huge_cursor: u32,
    pub fixed_bytes: u64,
    pub accounts: Accounts,
    pub seq: u64,
}

/// See the essay.
#[derive(Debug)]
pub struct Space {
    pub(super) memory: Reservation,
    pub(super) layout: Layout,
    pub(super) budget: Budget,
    pub(super) state: FutexMutex<State>,
    /// Held by the one harvest that runs.
    pub(super) harvesting: FutexMutex<Harvesting>,
    pub(super) gauge: PressureGauge,
    pub(super) zero_on_free: bool,
    /// The base of the segments, here because every read needs it.
    segments: *mut u8,
    pin_limit: u64,
    /// Calls that are driving a shrink now, see [`Space::follow_shrink`].
    pub(super) drivers: AtomicU32,
    counts: Counts,
}

/// Estimates and sums that are read without the lock.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Counts {
    free: AtomicU32,
    /// Segments below this have table entries.
    made: AtomicU32,
    by_use: [AtomicU32; Use::COUNT],
    waiting_bytes: AtomicU64,
    /// Bytes of warm runs.
    warm_bytes: AtomicU64,
    uncommitted: AtomicU32,
    pinned: AtomicU64,
    held: AtomicU64,
}

// SAFETY: `segments` points into `memory`, which is owned and may be shared; the tables behind it
// consist of atomics, and the bytes of a segment belong to whoever took it.
unsafe impl Send for Space {}
// SAFETY: as above.
unsafe impl Sync for Space {}

impl Space {
    /// Reserves the address space of a pool and commits nothing but what `prefault` asks for.
    /// `fixed` bytes are charged for what the pool itself takes of the process's heap.
    pub fn new(config: &PoolConfig, fixed: u64) -> Result<Self> {
        let (layout, memory) =
            Layout::reserve(config.limit_bytes, config.limit_max_bytes, !config.no_huge_pages)?;
        // Nothing may be filled up behind our back; chunks that want huge pages say so one by one.
        // A system without huge pages declines, and then has none to fill with.
        let may_split = memory.advise(0, layout.total, Advice::Small);
        let mut layout = layout;
        if !may_split {
            layout = Layout { huge: false, ..layout };
        }
        let segments = memory.base().wrapping_add(layout.segments_at as usize);
        let thresholds = config.thresholds.unwrap_or_default();
        let space = Self {
            budget: Budget::new(config.limit_bytes),
            state: FutexMutex::new(State {
                free: [List::EMPTY; 2],
                partial: List::EMPTY,
                empty: List::EMPTY,
                void: List::EMPTY,
                chunks_made: 0,
                run_classes: [RunClass { free: SEG_NONE, warm: List::EMPTY, made: 0 }; RUN_CLASSES],
                run_table_begun: false,
                waiting: List::EMPTY,
                waiting_runs: List::EMPTY,
                inside_closed: List::EMPTY,
                inside_closed_runs: List::EMPTY,
                inside_open: List::EMPTY,
                inside_open_runs: List::EMPTY,
                huge_seen: 0,
                huge_cursor: 0,
                fixed_bytes: 0,
                accounts: Accounts::default(),
                seq: 0,
            }),
            harvesting: FutexMutex::new(Harvesting::new()),
            gauge: PressureGauge::new(thresholds, config.pressure_by_used),
            zero_on_free: config.zero_on_free,
            segments,
            pin_limit: config.pin_limit_bytes,
            drivers: AtomicU32::new(0),
            counts: Counts {
                uncommitted: AtomicU32::new(layout.segments_max()),
                ..Counts::default()
            },
            layout,
            memory,
        };
        if !space.charge(fixed) {
            return Err(Error::fixed(
                ErrorKind::NoMemory,
                "the limit does not hold what the pool itself takes",
            ));
        }
        space.hold(fixed);
        if config.prefault {
            space.prefault()?;
        }
        Ok(space)
    }

    /// The address of a segment.
    #[inline(always)]
    #[must_use]
    pub fn seg_addr(&self, id: SegId) -> *mut u8 {
        self.segments.wrapping_add((id as usize) << self.layout.seg_shift)
    }

    /// The table entry of a segment. Readable for every id that was ever handed out.
    #[inline(always)]
    #[must_use]
    pub fn meta(&self, id: SegId) -> &SegMeta {
        debug_assert!(id < self.layout.segments_max(), "segment {id}");
        // SAFETY: the segment table has an entry for each id below segments_max at the start of
        // the reservation, aligned to its size; its pages read as zeros, a valid value, until
        // they are used, and are mapped as long as the reservation lives.
        unsafe { &*self.memory.base().add(id as usize * META_BYTES as usize).cast::<SegMeta>() }
    }

    /// The table entry of a run. Readable for every id that was ever handed out.
    #[inline(always)]
    #[must_use]
    pub fn run_meta(&self, id: RunId) -> &RunMeta {
        let number = (id - RUN_BASE) as usize;
        debug_assert!(number < 2 << self.layout.runs.ids_shift, "run {id}");
        let at = self.layout.run_table_at as usize + number * META_BYTES as usize;
        // SAFETY: as for `meta`: the run table has an entry for each number.
        unsafe { &*self.memory.base().add(at).cast::<RunMeta>() }
    }

    pub(super) fn chunk(&self, chunk: u32) -> &ChunkMeta {
        debug_assert!(chunk < self.layout.chunks_max, "chunk {chunk}");
        let at = self.layout.chunk_table_at as usize + chunk as usize * CHUNK_META_BYTES as usize;
        // SAFETY: as for `meta`: the chunk table has an entry for each chunk.
        unsafe { &*self.memory.base().add(at).cast::<ChunkMeta>() }
    }

    /// The first byte of the first segment; locations count from here.
    #[inline(always)]
    #[must_use]
    pub fn segments_base(&self) -> *mut u8 {
        self.segments
    }

    /// log2 of [`Space::seg_bytes`].
    #[inline(always)]
    #[must_use]
    pub fn seg_shift(&self) -> u32 {
        self.layout.seg_shift
    }

    /// Bytes of a segment, a power of two.
    #[inline(always)]
    #[must_use]
    pub fn seg_bytes(&self) -> u64 {
        self.layout.seg_bytes()
    }

    /// log2 of the unit in which 32-bit locations count.
    #[inline(always)]
    #[must_use]
    pub fn unit_shift(&self) -> u32 {
        self.layout.unit_shift
    }

    /// Segments there are at most.
    #[must_use]
    pub fn segments_max(&self) -> u32 {
        self.layout.segments_max()
    }

    /// Segments that ever had memory: all of those below. Only their table entries may be read.
    #[inline]
    #[must_use]
    pub fn segments_made(&self) -> u32 {
        self.counts.made.load(Ordering::Acquire)
    }

    /// The largest limit that the address space was reserved for.
    #[must_use]
    pub fn limit_max(&self) -> u64 {
        self.layout.limit_max
    }

    /// Whether huge pages are asked for.
    #[must_use]
    pub fn asks_for_huge_pages(&self) -> bool {
        self.layout.huge
    }

    /// The segment that an address lies in; `None` outside the segments.
    #[inline]
    #[must_use]
    pub fn seg_of_addr(&self, address: *const u8) -> Option<SegId> {
        let offset = (address as usize).checked_sub(self.segments as usize)?;
        let id = u32::try_from(offset >> self.layout.seg_shift).ok()?;
        (id < self.layout.segments_max()).then_some(id)
    }

    /// Charges memory of the process's heap that was made when something was opened; false: the
    /// limit in force does not allow it. Charged in whole pages over all such charges together.
    #[must_use]
    pub fn charge(&self, bytes: u64) -> bool {
        for attempt in 0..2 {
            let mut state = self.state.lock();
            let total = state.fixed_bytes + bytes;
            let units = grains(total) - grains(state.fixed_bytes);
            if self.charge_units(&mut state, units, |accounts| &mut accounts.fixed) {
                state.fixed_bytes = total;
                drop(state);
                self.update_gauge();
                return true;
            }
            drop(state);
            if attempt == 0 && self.release_free(units * GRAIN) == 0 {
                break;
            }
        }
        false
    }

    /// Takes a [`Space::charge`] back, whole or in parts.
    pub fn discharge(&self, bytes: u64) {
        let mut state = self.state.lock();
        debug_assert!(bytes <= state.fixed_bytes);
        let total = state.fixed_bytes.saturating_sub(bytes);
        let units = grains(state.fixed_bytes) - grains(total);
        state.fixed_bytes = total;
        self.discharge_units(&mut state, units, |accounts| &mut accounts.fixed);
        drop(state);
        self.update_gauge();
    }

    /// Counts bytes that views or drafts hold back; false: the pin limit is reached, and nothing
    /// was counted. They are part of what is used already, and of what is held.
    #[must_use]
    pub fn pin_charge(&self, bytes: u64) -> bool {
        self.pin_add(bytes);
        if self.pinned_bytes() > self.pin_limit {
            self.pin_sub(bytes);
            return false;
        }
        self.update_gauge();
        true
    }

    /// Takes a [`Space::pin_charge`] back, after the pin itself was: during a shrink what it held
    /// back is given to the system now, as no write may come by to do it.
    pub fn pin_discharge(&self, bytes: u64) {
        self.pin_sub(bytes);
        self.after_unpin();
    }

    /// Adds to the pinned bytes; true: there were none.
    pub(super) fn pin_add(&self, bytes: u64) -> bool {
        self.counts.pinned.fetch_add(bytes, Ordering::AcqRel) == 0
    }

    /// Takes from the pinned bytes; true: none are left.
    pub(super) fn pin_sub(&self, bytes: u64) -> bool {
        self.counts.pinned.fetch_sub(bytes, Ordering::AcqRel) == bytes
    }

    pub(super) fn after_unpin(&self) {
        self.update_gauge();
        if self.budget.excess() != 0 {
            self.harvest(true);
        }
    }

    /// Counts bytes that eviction cannot give back: what pressure goes by.
    pub fn hold(&self, bytes: u64) {
        self.counts.held.fetch_add(bytes, Ordering::Relaxed);
        self.update_gauge();
    }

    /// Takes a [`Space::hold`] back.
    pub fn unhold(&self, bytes: u64) {
        self.counts.held.fetch_sub(bytes, Ordering::Relaxed);
        self.update_gauge();
    }

    /// Bytes charged.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.budget.used() * GRAIN
    }

    /// The limit in force and the bytes used under it, of one moment.
    #[must_use]
    pub fn limit_and_used(&self) -> (u64, u64) {
        let (limit, used) = self.budget.limit_bytes();
        (limit, used * GRAIN)
    }

    /// The limit that was asked for.
    #[must_use]
    pub fn target_bytes(&self) -> u64 {
        self.budget.target_bytes()
    }

    /// The most bytes that were ever charged.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.budget.peak() * GRAIN
    }

    /// Bytes that views, drafts and waits hold back.
    #[must_use]
    pub fn pinned_bytes(&self) -> u64 {
        self.counts.pinned.load(Ordering::Relaxed)
    }

    /// Bytes that views, drafts and waits may hold back.
    #[must_use]
    pub fn pin_limit_bytes(&self) -> u64 {
        self.pin_limit
    }

    /// Bytes that eviction cannot give back: what is held and what is pinned.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.counts.held.load(Ordering::Relaxed) + self.pinned_bytes()
    }

    /// Bytes that are backed by huge pages, as far as it was seen.
    #[must_use]
    pub fn huge_bytes(&self) -> u64 {
        self.state.lock().huge_seen * self.layout.chunk_bytes()
    }

    /// Bytes of segments and runs that were retired and wait for readers.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.counts.waiting_bytes.load(Ordering::Relaxed)
    }

    /// How many segments [`Space::take_segment`] would hand out now, about.
    #[must_use]
    pub fn available_segments(&self) -> u32 {
        let Level { used, limit } = self.budget.level();
        let room = ((limit - used) * GRAIN + self.warm_bytes()) >> self.layout.seg_shift;
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        let counts = &self.counts;
        counts.free.load(Ordering::Relaxed) + room.min(counts.uncommitted.load(Ordering::Relaxed))
    }

    /// Segments in a use now.
    #[must_use]
    pub fn segments_in(&self, usage: Use) -> u32 {
        self.counts.by_use[usage as usize].load(Ordering::Relaxed)
    }

    /// The gauge of the pool's pressure.
    #[must_use]
    pub fn gauge(&self) -> &PressureGauge {
        &self.gauge
    }

    /// What the gauge goes by.
    #[must_use]
    pub fn reading(&self) -> Reading {
        let (limit, used) = self.limit_and_used();
        Reading { held: self.held_bytes(), used, limit }
    }

    /// Tells the gauge that bytes have changed.
    #[inline]
    pub(super) fn update_gauge(&self) {
        self.gauge.update_with(|| self.reading());
    }

    /// Charges units to the budget and to an account.
    pub(super) fn charge_units(
        &self,
        state: &mut FutexGuard<'_, State>,
        units: u64,
        account: impl FnOnce(&mut Accounts) -> &mut u64,
    ) -> bool {
        let done = self.budget.charge(units);
        if done {
            *account(&mut state.accounts) += units;
        }
        done
    }

    /// Takes units from an account and from the budget.
    pub(super) fn discharge_units(
        &self,
        state: &mut FutexGuard<'_, State>,
        units: u64,
        account: impl FnOnce(&mut Accounts) -> &mut u64,
    ) {
        *account(&mut state.accounts) -= units;
        self.budget.discharge(units);
    }

    /// Counts bytes as held whose gauge update follows.
    pub(super) fn add_held(&self, bytes: u64) {
        self.counts.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether a call is lowering the limit now, and is not there yet.
    pub(crate) fn is_driven_down(&self) -> bool {
        self.drivers.load(Ordering::Relaxed) != 0 && self.excess_bytes() != 0
    }

    /// By how much the limit in force is above the one asked for, bytes.
    pub(crate) fn excess_bytes(&self) -> u64 {
        self.budget.excess() * GRAIN
    }

    /// Whether a segment's table entry was ever used; only those are charged, and readable where
    /// the system makes tables readable page by page.
    pub(super) fn was_used(&self, id: SegId) -> bool {
        id < self.counts.made.load(Ordering::Acquire)
    }

    pub(super) fn count_made(&self, segments: u32) {
        self.counts.made.store(segments, Ordering::Release);
    }

    pub(super) fn set_use(&self, id: SegId, usage: Use) {
        let before = self.meta(id).usage.swap(usage as u8, Ordering::AcqRel);
        let counts = &self.counts;
        counts.by_use[Use::of(before) as usize].fetch_sub(1, Ordering::Relaxed);
        counts.by_use[usage as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The estimates behind [`Space::available_segments`] and [`Space::waiting_bytes`].
    pub(super) fn count_free(&self, by: i32) {
        self.counts.free.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
    }

    pub(super) fn count_uncommitted(&self, by: i32) {
        self.counts.uncommitted.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
    }

    pub(super) fn count_waiting(&self, by: i64) {
        self.counts.waiting_bytes.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
    }

    pub(super) fn count_warm(&self, by: i64) {
        self.counts.warm_bytes.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
    }

    /// Bytes of runs that are free and kept their memory.
    #[must_use]
    pub fn warm_bytes(&self) -> u64 {
        self.counts.warm_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn free_count(&self) -> u32 {
        self.counts.free.load(Ordering::Relaxed)
    }
}
