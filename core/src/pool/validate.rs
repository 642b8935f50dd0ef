//! Checking every invariant of a pool; for tests and diagnosis.
//!
//! The walk holds the pool's lock, and no harvest runs meanwhile; it visits every segment that was
//! ever used.

use super::Pool;
use super::budget::GRAIN;
use super::layout::RUN_BASE;
use super::links::{Linked, List};
use super::space::{Accounts, Space, State};
use super::tables::{Chunk, HUGE_SEEN, SEG_NONE, Use};
use crate::error::{Error, ErrorKind, Result};
use std::sync::atomic::Ordering::{Acquire, Relaxed};

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::new(ErrorKind::Internal, what())) }
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, is: T, should: T) -> Result<()> {
    ensure(is == should, || format!("{what} is {is:?}; {should:?} was expected"))
}

impl Pool {
    /// Checks every invariant of the pool and of all stores in it.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] says which is broken.
    pub fn validate(&self) -> Result<()> {
        self.check()?;
        self.space().validate()?;
        self.0.raw.validate(self.space())?;
        for tenant in self.0.tenants.all() {
            tenant.validate()?;
        }
        Ok(())
    }
}

impl Space {
    /// Checks the invariants that the essay of this module's parent lists.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] says which is broken.
    pub fn validate(&self) -> Result<()> {
        let harvesting = self.harvesting.lock();
        let state = self.state.lock();
        let level = self.budget.level();
        ensure(level.used <= level.limit, || {
            format!("{} units are used, {} are the limit in force", level.used, level.limit)
        })?;
        equal("the sum of the accounts", state.accounts.sum(), level.used)?;
        equal(
            "the account of heap memory",
            state.accounts.fixed,
            state.fixed_bytes.div_ceil(GRAIN),
        )?;

        let mut uses = [0_u32; Use::COUNT];
        let mut found = Accounts { fixed: state.accounts.fixed, ..Accounts::default() };
        found.metadata = self.layout.chunk_grains(state.chunks_made);
        let mut huge = 0;
        for number in 0..state.chunks_made {
            found.segments += self.validate_chunk(&state, number, &mut uses)?;
            huge += u64::from(self.chunk(number).has(HUGE_SEEN));
        }
        equal("the number of huge pages seen", state.huge_seen, huge)?;

        let free: usize = [true, false]
            .map(|whole| self.count(state.free_list(whole), |id| self.meta(id)))
            .into_iter()
            .sum::<Result<_>>()?;
        equal("the length of the free lists", free as u32, uses[Use::Free as usize])?;
        equal("the count of free segments", self.free_count(), uses[Use::Free as usize])?;
        let waiting: usize = [state.waiting, state.inside_closed, state.inside_open]
            .map(|list| self.count(list, |id| self.meta(id)))
            .into_iter()
            .sum::<Result<_>>()?;
        equal("the length of the waiting lists", waiting as u32, uses[Use::Waiting as usize])?;

        let waiting_runs = self.validate_runs(&state, &mut found)?;
        let waiting_bytes = ((waiting as u64) << self.seg_shift()) + waiting_runs;
        equal("the waiting bytes", self.waiting_bytes(), waiting_bytes)?;
        equal("the accounts", state.accounts, found)?;
        drop(state);
        drop(harvesting);
        Ok(())
    }

    /// Checks a chunk and counts its segments; returns what it is charged.
    fn validate_chunk(
        &self,
        state: &State,
        number: u32,
        uses: &mut [u32; Use::COUNT],
    ) -> Result<u64> {
        let chunk = self.chunk(number);
        let mask = chunk.mask.load(Relaxed);
        let first = number << self.layout.chunk_segs_shift;
        let mut free = 0;
        for place in 0..self.layout.chunk_segs() {
            let id = first + place;
            let usage = self.meta(id).usage();
            uses[usage as usize] += 1;
            free += u8::from(usage == Use::Free);
            let has_memory = mask >> place & 1 == 1;
            ensure(has_memory || usage == Use::Uncommitted, || {
                format!("segment {id} is {usage:?} without memory")
            })?;
        }
        equal("the free segments of a chunk", chunk.free.load(Relaxed), free)?;
        let seg_grains = self.seg_bytes() / GRAIN;
        let charge = match chunk.kind() {
            Chunk::Void => 0,
            Chunk::Whole | Chunk::Leaving => self.layout.chunk_bytes() / GRAIN,
            Chunk::Split => u64::from(mask.count_ones()) * seg_grains,
        };
        ensure((charge == 0) == (mask == 0), || {
            format!("chunk {number} is {:?} with mask {mask:x}", chunk.kind())
        })?;
        ensure(chunk.kind() != Chunk::Whole || mask == self.whole_mask(), || {
            format!("chunk {number} is whole with mask {mask:x}")
        })?;
        ensure(state.chunks_made <= self.layout.chunks_max, || "too many chunks".to_owned())?;
        Ok(charge)
    }

    /// Checks the runs and adds what they are charged; returns the bytes that wait.
    fn validate_runs(&self, state: &State, found: &mut Accounts) -> Result<u64> {
        let runs = &self.layout.runs;
        let page = crate::memory::sys::page_bytes();
        let mut waiting = (0, 0_u64);
        let mut warm_bytes = 0;
        let mut shared_page = false;
        for class in 0..runs.classes {
            let first = runs.first_of(class);
            let made = state.run_classes[class].made;
            ensure(made <= runs.places[class], || format!("class {class} has {made} runs"))?;
            let (mut free, mut warm) = (0, (0_usize, 0));
            for id in (RUN_BASE + first..).take(made as usize) {
                let charge = self.run_charge(id);
                found.runs += charge / GRAIN;
                match Use::of(self.run_meta(id).usage.load(Acquire)) {
                    Use::Free if charge == 0 => free += 1,
                    Use::Free => warm = (warm.0 + 1, warm.1 + charge),
                    Use::Waiting => waiting = (waiting.0 + 1, waiting.1 + charge),
                    Use::Uncommitted | Use::Log | Use::Index | Use::Raw => {}
                }
            }
            let mut listed = 0;
            let mut at = state.run_classes[class].free;
            while at != SEG_NONE && listed <= made {
                listed += 1;
                at = self.run_meta(at).next.load(Relaxed);
            }
            equal("the length of a list of free runs", listed, free)?;
            let listed = self.count(state.run_classes[class].warm, |id| self.run_meta(id))?;
            equal("the length of a list of warm runs", listed, warm.0)?;
            warm_bytes += warm.1;
            if u64::from(first) * super::layout::META_BYTES < page {
                shared_page |= made != 0;
            } else {
                found.metadata +=
                    (u64::from(made) * super::layout::META_BYTES).next_multiple_of(page) / GRAIN;
            }
        }
        equal("the bytes of warm runs", self.warm_bytes(), warm_bytes)?;
        found.metadata += if shared_page { page / GRAIN } else { 0 };
        let listed: usize = [state.waiting_runs, state.inside_closed_runs, state.inside_open_runs]
            .map(|list| self.count(list, |id| self.run_meta(id)))
            .into_iter()
            .sum::<Result<_>>()?;
        equal("the length of the lists of waiting runs", listed, waiting.0)?;
        Ok(waiting.1)
    }

    /// The length of a list whose links agree.
    fn count<'a, L: Linked + 'a>(&self, list: List, at: impl Fn(u32) -> &'a L) -> Result<usize> {
        let most = 1 << 24;
        let (mut id, mut before, mut len) = (list.head, SEG_NONE, 0);
        while id != SEG_NONE {
            equal("a link back", at(id).prev().load(Relaxed), before)?;
            before = id;
            id = at(id).next().load(Relaxed);
            len += 1;
            ensure(len <= most, || "a list has no end".to_owned())?;
        }
        equal("the end of a list", list.tail, before)?;
        Ok(len)
    }
}
