//! Runs: contiguous pieces for values and tables that are longer than a segment's share.
//!
//! A run takes a place of its class and is charged to the page. Taking one is O(1) whatever came
//! and went before, since places of a class never merge or split; see [`super::layout`] for why
//! there is always a free one when the budget has room.
//!
//! A run that comes back stays *warm*: its pages stay, charged, in a list of its class, and the
//! next run of the class takes them over, gives back what it does not need or gets what it lacks.
//! Fresh pages cost ten times what copying into them does (measured: 0.7 against 3.6 GB/s). Warm
//! pages are the first to go to the system when anything else needs their charge, page by page from
//! the end of the run that was freed longest ago; what is longer than [`WARM_MAX_SHARE`] of the
//! limit is not kept at all.

use super::budget::{GRAIN, grains};
use super::layout::{META_BYTES, RUN_BASE};
use super::space::{RunId, SEG_NONE, Space, State, Use};
use crate::error::Result;
use crate::memory::lock::FutexGuard;
use crate::memory::sys;
use std::sync::atomic::Ordering::{Relaxed, Release};

/// How often a run asks again when others take the room that was made for it.
const ATTEMPTS: u32 = 4;
/// Runs longer than this share of the limit are not kept warm.
const WARM_MAX_SHARE: u64 = 16;
/// Warm runs that are compared for the best fit.
const WARM_LOOKS: u32 = 8;

/// Where a run is going to lie.
struct Place {
    class: usize,
    number: u32,
    /// Units that the run table grows by.
    tables: u64,
    is_new: bool,
}

impl Space {
    /// Hands out a run of at least so many bytes, zeroed. `Ok(None)`: the limit in force does not
    /// allow it, free segments counted in, or it is longer than any run can be.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NoMemory`]: the system refused memory that the limit allows.
    pub fn take_run(&self, bytes: u64) -> Result<Option<RunId>> {
        let taken = self.take_run_with_pages(bytes, true)?;
        Ok(taken.map(|(id, reused)| {
            // SAFETY: the run was taken just now, is this long or longer, and nobody knows it yet.
            unsafe { self.run_addr(id).write_bytes(0, reused as usize) };
            id
        }))
    }

    /// [`Space::take_run`] with arbitrary bytes in it.
    ///
    /// # Errors
    /// As [`Space::take_run`].
    pub fn take_run_dirty(&self, bytes: u64) -> Result<Option<RunId>> {
        Ok(self.take_run_with_pages(bytes, true)?.map(|(id, _)| id))
    }

    /// [`Space::take_run`] with pages that the system zeroes as they are touched: the call itself
    /// wipes nothing, however long the run is.
    ///
    /// # Errors
    /// As [`Space::take_run`].
    pub fn take_run_fresh(&self, bytes: u64) -> Result<Option<RunId>> {
        Ok(self.take_run_with_pages(bytes, false)?.map(|(id, _)| id))
    }

    /// Takes the pages of a run away, which stays its holder's and charged: it reads as zeros.
    /// False: the system declined.
    #[must_use]
    pub fn wipe_run(&self, id: RunId) -> bool {
        self.decommit_run(id)
    }

    /// Says what the first bytes of a run are to be backed by. False: the system declined.
    #[must_use]
    pub fn advise_run(&self, id: RunId, bytes: u64, advice: sys::Advice) -> bool {
        self.memory.advise(self.layout.runs.offset_of(id - RUN_BASE), bytes, advice)
    }

    /// A run, and how many of its first bytes may have been used before; the others are zero.
    fn take_run_with_pages(&self, bytes: u64, warm: bool) -> Result<Option<(RunId, u64)>> {
        if bytes > self.limit_max() {
            return Ok(None);
        }
        let bytes = bytes.max(1).next_multiple_of(sys::page_bytes());
        let units = grains(bytes);
        for _ in 0..ATTEMPTS {
            let mut state = self.state.lock();
            let found = if warm { self.find_warm(&state, bytes) } else { None };
            let missing = if let Some(id) = found {
                let has = self.run_charge(id);
                let lacks = units.saturating_sub(grains(has));
                if self.budget.charge(lacks) {
                    return self.reuse_run(state, id, bytes, lacks).map(Some);
                }
                lacks
            } else if let Some(place) = self.find_place(&state, bytes) {
                if self.budget.charge(units + place.tables) {
                    let taken = self.open_run(&mut state, &place, bytes);
                    drop(state);
                    self.update_gauge();
                    return taken.map(|id| Some((id, 0)));
                }
                units + place.tables
            } else {
                return Ok(None);
            };
            drop(state);
            let level = self.budget.level();
            let missing = missing.saturating_sub(level.limit - level.used);
            if self.release_free(missing.max(1) * GRAIN) < missing * GRAIN {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// The warm run of the class that fits best, of the latest few.
    fn find_warm(&self, state: &FutexGuard<'_, State>, bytes: u64) -> Option<RunId> {
        let class = self.layout.runs.class_for(bytes);
        let mut at = state.run_classes.get(class)?.warm.head;
        let mut best = None;
        for _ in 0..WARM_LOOKS {
            if at == SEG_NONE {
                break;
            }
            let has = self.run_charge(at);
            // Pages that would have to come or go.
            let off = has.abs_diff(bytes);
            if best.is_none_or(|(least, _)| off < least) {
                best = Some((off, at));
            }
            if off == 0 {
                break;
            }
            at = self.run_meta(at).next.load(Relaxed);
        }
        best.map(|(_, id)| id)
    }

    /// Hands a warm run out, for which what it lacks was charged.
    fn reuse_run(
        &self,
        mut state: FutexGuard<'_, State>,
        id: RunId,
        bytes: u64,
        lacks: u64,
    ) -> Result<(RunId, u64)> {
        let has = self.run_charge(id);
        let offset = self.layout.runs.offset_of(id - RUN_BASE);
        if let Err(error) = self.memory.commit(offset, bytes) {
            self.budget.discharge(lacks);
            return Err(error);
        }
        state.accounts.runs += lacks;
        self.unlink_warm(&mut state, id);
        self.begin_run(&mut state, id, grains(has.max(bytes)));
        drop(state);
        self.guard_run(id, true);
        if has > bytes && self.memory.decommit(offset + bytes, has - bytes) {
            let mut state = self.state.lock();
            self.set_run_grains(id, grains(bytes));
            self.discharge_units(&mut state, grains(has - bytes), |accounts| &mut accounts.runs);
        }
        self.update_gauge();
        Ok((id, has.min(bytes)))
    }

    /// The first byte of a run.
    #[inline]
    #[must_use]
    pub fn run_addr(&self, id: RunId) -> *mut u8 {
        let offset = self.layout.runs.offset_of(id - RUN_BASE);
        self.memory.base().wrapping_add(offset as usize)
    }

    /// Bytes that a run is charged, its table entry apart.
    #[must_use]
    pub fn run_charge(&self, id: RunId) -> u64 {
        u64::from(self.run_meta(id).grains.load(Relaxed)) * GRAIN
    }

    /// The run that begins at an address, if one ever did.
    #[must_use]
    pub fn run_of_addr(&self, address: *const u8) -> Option<RunId> {
        let offset = (address as u64).checked_sub(self.memory.base() as u64)?;
        let runs = &self.layout.runs;
        let class = (0..runs.classes).rev().find(|&class| runs.at[class] <= offset)?;
        let within = offset - runs.at[class];
        let shift = runs.min_shift + class as u32;
        let place = u32::try_from(within >> shift).ok()?;
        let was_taken = place < self.state.lock().run_classes[class].made;
        (within & ((1 << shift) - 1) == 0 && was_taken)
            .then(|| RUN_BASE + runs.first_of(class) + place)
    }

    /// Takes a run back of which the caller knows that no reader can be in it.
    pub fn give_run(&self, id: RunId) {
        if self.keeps_warm(id) {
            self.keep_warm(&mut self.state.lock(), id);
            self.follow_shrink();
        } else {
            let gone = self.decommit_run(id);
            let mut state = self.state.lock();
            if gone {
                self.free_run(&mut state, id);
            } else {
                self.wait_run(&mut state, id);
            }
        }
        self.update_gauge();
    }

    /// Whether a run's pages are kept for the next one.
    pub(super) fn keeps_warm(&self, id: RunId) -> bool {
        !self.zero_on_free && self.run_charge(id) <= self.target_bytes() / WARM_MAX_SHARE
    }

    /// Frees a run's place and keeps its pages.
    pub(super) fn keep_warm(&self, state: &mut FutexGuard<'_, State>, id: RunId) {
        self.guard_run(id, false);
        self.run_meta(id).usage.store(Use::Free as u8, Release);
        let class = self.layout.runs.class_of(id - RUN_BASE);
        state.run_classes[class].warm.push_front(id, |id| self.run_meta(id));
        self.count_warm(self.run_charge(id).cast_signed());
    }

    pub(super) fn unlink_warm(&self, state: &mut FutexGuard<'_, State>, id: RunId) {
        let class = self.layout.runs.class_of(id - RUN_BASE);
        state.run_classes[class].warm.remove(id, |id| self.run_meta(id));
        self.count_warm(-self.run_charge(id).cast_signed());
    }

    /// The warm run that was freed longest ago, of the largest class that has some.
    pub(super) fn coldest_warm(&self, state: &FutexGuard<'_, State>) -> Option<RunId> {
        if self.warm_bytes() == 0 {
            return None;
        }
        let tails = state.run_classes.iter().rev().map(|class| class.warm.tail);
        tails.into_iter().find(|&tail| tail != SEG_NONE)
    }

    /// Gives units of a warm run, which was unlinked, to the system: all, or some from its end.
    pub(super) fn release_warm(&self, id: RunId, wanted: u64) -> u64 {
        let has = grains(self.run_charge(id));
        let page = sys::page_bytes() / GRAIN;
        let gone = wanted.next_multiple_of(page).min(has);
        let offset = self.layout.runs.offset_of(id - RUN_BASE) + (has - gone) * GRAIN;
        let done = self.memory.decommit(offset, gone * GRAIN);
        let mut state = self.state.lock();
        if !done {
            self.keep_warm(&mut state, id);
            return 0;
        }
        if gone == has {
            self.free_run(&mut state, id);
        } else {
            self.set_run_grains(id, has - gone);
            self.discharge_units(&mut state, gone, |accounts| &mut accounts.runs);
            self.keep_warm(&mut state, id);
        }
        gone
    }

    fn set_run_grains(&self, id: RunId, units: u64) {
        self.run_meta(id).grains.store(u32::try_from(units).unwrap_or(u32::MAX), Relaxed);
    }

    #[cfg(any(test, feature = "testing"))]
    fn guard_run(&self, id: RunId, open: bool) {
        let offset = self.layout.runs.offset_of(id - RUN_BASE);
        self.memory.guard_range(offset, self.run_charge(id), open);
    }

    #[cfg(not(any(test, feature = "testing")))]
    #[inline(always)]
    #[allow(clippy::unused_self)]
    fn guard_run(&self, _id: RunId, _open: bool) {}

    /// Gives a run's pages back. False: the system declined.
    pub(super) fn decommit_run(&self, id: RunId) -> bool {
        self.memory.decommit(self.layout.runs.offset_of(id - RUN_BASE), self.run_charge(id))
    }

    /// Ends the charge of a run whose pages are gone, and frees its place.
    pub(super) fn free_run(&self, state: &mut FutexGuard<'_, State>, id: RunId) {
        let meta = self.run_meta(id);
        let units = u64::from(meta.grains.swap(0, Relaxed));
        meta.usage.store(Use::Free as u8, Release);
        let class = &mut state.run_classes[self.layout.runs.class_of(id - RUN_BASE)];
        meta.next.store(class.free, Relaxed);
        class.free = id;
        self.discharge_units(state, units, |accounts| &mut accounts.runs);
    }

    fn find_place(&self, state: &FutexGuard<'_, State>, bytes: u64) -> Option<Place> {
        let runs = &self.layout.runs;
        for class in runs.class_for(bytes)..runs.classes {
            let used = state.run_classes[class];
            if used.free != SEG_NONE {
                let number = used.free - RUN_BASE;
                return Some(Place { class, number, tables: 0, is_new: false });
            }
            if used.made < runs.places[class] {
                let number = runs.first_of(class) + used.made;
                let page = sys::page_bytes();
                let in_page = u64::from(number) * META_BYTES % page;
                // The first numbers of small classes share the table's first page; a large class
                // begins a page of its own.
                let begins = if u64::from(runs.first_of(class)) * META_BYTES < page {
                    !state.run_table_begun
                } else {
                    in_page == 0
                };
                let tables = if begins { page / GRAIN } else { 0 };
                return Some(Place { class, number, tables, is_new: true });
            }
        }
        None
    }

    /// Opens a run whose charge was made.
    fn open_run(
        &self,
        state: &mut FutexGuard<'_, State>,
        place: &Place,
        bytes: u64,
    ) -> Result<RunId> {
        let offset = self.layout.runs.offset_of(place.number);
        let entry = self.layout.run_table_at + u64::from(place.number) * META_BYTES;
        let opened = if place.tables != 0 { self.open_table(entry, META_BYTES) } else { Ok(()) }
            .and_then(|()| self.memory.commit(offset, bytes));
        if let Err(error) = opened {
            self.budget.discharge(grains(bytes) + place.tables);
            return Err(error);
        }
        state.accounts.runs += grains(bytes);
        state.accounts.metadata += place.tables;
        self.add_held(place.tables * GRAIN);
        let id = RUN_BASE + place.number;
        let meta = self.run_meta(id);
        let class = &mut state.run_classes[place.class];
        if place.is_new {
            class.made += 1;
        } else {
            class.free = meta.next.load(Relaxed);
        }
        if u64::from(self.layout.runs.first_of(place.class)) * META_BYTES < sys::page_bytes() {
            state.run_table_begun = true;
        }
        self.begin_run(state, id, grains(bytes));
        self.guard_run(id, true);
        Ok(id)
    }

    /// Fills the table entry of a run that is being handed out.
    fn begin_run(&self, state: &mut FutexGuard<'_, State>, id: RunId, units: u64) {
        let meta = self.run_meta(id);
        state.seq += 1;
        self.set_run_grains(id, units);
        meta.queue.store(0, Relaxed);
        meta.shard.store(0, Relaxed);
        meta.store.store(0, Relaxed);
        meta.mark.store(0, Relaxed);
        meta.prev.store(SEG_NONE, Relaxed);
        meta.next.store(SEG_NONE, Relaxed);
        meta.seq.store(state.seq, Relaxed);
        meta.position.store(0, Relaxed);
        meta.earliest.store(u64::MAX, Relaxed);
        meta.owner.store(0, Relaxed);
        meta.tag.store(0, Relaxed);
        meta.usage.store(Use::Log as u8, Release);
    }
}
