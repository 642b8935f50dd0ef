//! Runs: contiguous pieces for values and tables that are longer than a segment's share.
//!
//! A run takes the next place of its class, and pages as it needs them: it is charged to the page,
//! reads as zeros, and its pages go back to the system when it does. Taking one is O(1) whatever
//! came and went before, since places of a class never merge or split; see [`super::layout`] for
//! why there is always a free one when the budget has room.

use super::budget::{GRAIN, grains};
use super::layout::{META_BYTES, RUN_BASE};
use super::space::{RunId, SEG_NONE, Space, State, Use};
use crate::error::Result;
use crate::memory::sys;
use parking_lot::MutexGuard;
use std::sync::atomic::Ordering::{Relaxed, Release};

/// How often a run asks again when others take the room that was made for it.
const ATTEMPTS: u32 = 4;

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
        if bytes > self.limit_max() {
            return Ok(None);
        }
        let bytes = bytes.max(1).next_multiple_of(sys::page_bytes());
        let units = grains(bytes);
        for _ in 0..ATTEMPTS {
            let mut state = self.state.lock();
            let Some(place) = self.find_place(&state, bytes) else {
                return Ok(None);
            };
            if self.budget.charge(units + place.tables) {
                let taken = self.open_run(&mut state, &place, bytes);
                drop(state);
                self.update_gauge();
                return taken.map(Some);
            }
            drop(state);
            let level = self.budget.level();
            let missing = (units + place.tables).saturating_sub(level.limit - level.used);
            if self.release_free(missing.max(1) * GRAIN) < missing * GRAIN {
                return Ok(None);
            }
        }
        Ok(None)
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
        let gone = self.decommit_run(id);
        let mut state = self.state.lock();
        if gone {
            self.free_run(&mut state, id);
        } else {
            self.wait_run(&mut state, id);
        }
        drop(state);
        self.update_gauge();
    }

    /// Gives a run's pages back. False: the system declined.
    pub(super) fn decommit_run(&self, id: RunId) -> bool {
        self.memory.decommit(self.layout.runs.offset_of(id - RUN_BASE), self.run_charge(id))
    }

    /// Ends the charge of a run whose pages are gone, and frees its place.
    pub(super) fn free_run(&self, state: &mut MutexGuard<'_, State>, id: RunId) {
        let meta = self.run_meta(id);
        let units = u64::from(meta.grains.swap(0, Relaxed));
        meta.usage.store(Use::Free as u8, Release);
        let class = &mut state.run_classes[self.layout.runs.class_of(id - RUN_BASE)];
        meta.next.store(class.free, Relaxed);
        class.free = id;
        self.discharge_units(state, units, |accounts| &mut accounts.runs);
    }

    fn find_place(&self, state: &MutexGuard<'_, State>, bytes: u64) -> Option<Place> {
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
        state: &mut MutexGuard<'_, State>,
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
        state.seq += 1;
        meta.grains.store(u32::try_from(grains(bytes)).unwrap_or(u32::MAX), Relaxed);
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
        Ok(id)
    }
}
