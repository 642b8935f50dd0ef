//! Zeroed memory for a table, under a pool's budget or under none.
//!
//! A store takes runs for its tables as a tenant of its pool. What is no store, a filter above all,
//! takes them here: the memory is charged before it exists, counted as held (eviction cannot give
//! it back) and as overhead, keeps its pool alive, and goes back when the last one who could read
//! it lets go of it. Without a pool it is a mapping of its own.
//!
//! The pages come from the system, never from runs that were kept warm: those would have to be
//! wiped, all at once, in the call that asks.
//!
//! Whole huge pages are asked for where the range holds some. Before such a range goes back the
//! advice is taken back, or the system could fill a partly freed one up again behind the budget's
//! back; where the system declines that, the memory stays charged for good.

use super::Pool;
use super::space::RunId;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::sys::{Advice, HUGE_BYTES, Reservation, has_huge_pages, page_bytes};
use std::sync::atomic::Ordering;

/// How often room is made for one piece.
const ATTEMPTS: u32 = 8;

const NO_ROOM: Error = Error::fixed(
    ErrorKind::NoSpace,
    "the pool's limit holds no room for a table; what is in it cannot be evicted",
);

/// A zeroed range of memory. Dropping it gives it back: then nobody may read it any more.
#[derive(Debug)]
pub struct Charged {
    holder: Holder,
    base: *mut u8,
    bytes: u64,
    /// Leading bytes that huge pages were asked for.
    huge: u64,
}

#[derive(Debug)]
enum Holder {
    Run(Pool, RunId),
    System(Reservation),
}

// SAFETY: the range is owned, and dropping it is all that this type does with it; who reads and
// writes it, and how, is for its holder to say.
unsafe impl Send for Charged {}
// SAFETY: as above.
unsafe impl Sync for Charged {}

impl Charged {
    /// At least so many zeroed bytes, aligned to a page. With a pool, its stores are asked to evict
    /// what the limit lacks.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`]: the pool's limit does not hold them; [`ErrorKind::NoMemory`]: the
    /// system refuses; [`ErrorKind::Forked`].
    pub fn zeroed(pool: Option<&Pool>, bytes: u64) -> Result<Self> {
        let asked = bytes
            .max(1)
            .checked_next_multiple_of(page_bytes())
            .ok_or(Error::fixed(ErrorKind::NoMemory, "a table is larger than any memory"))?;
        match pool {
            Some(pool) => Self::of_pool(pool, asked),
            None => Self::of_system(asked),
        }
    }

    /// The first byte.
    #[inline(always)]
    #[must_use]
    pub fn base(&self) -> *mut u8 {
        self.base
    }

    /// Bytes charged.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The pool that it is charged to.
    #[must_use]
    pub fn pool(&self) -> Option<&Pool> {
        match &self.holder {
            Holder::Run(pool, _) => Some(pool),
            Holder::System(_) => None,
        }
    }

    /// Has the system take the pages back; they read as zeros then, and stay charged. False: it
    /// declined, and all is as it was.
    #[must_use]
    pub fn wipe(&self) -> bool {
        match &self.holder {
            Holder::Run(pool, run) => pool.space().wipe_run(*run),
            Holder::System(memory) => memory.decommit(0, self.bytes),
        }
    }

    fn of_pool(pool: &Pool, asked: u64) -> Result<Self> {
        pool.check()?;
        let space = pool.space();
        let mut attempt = 0;
        let run = loop {
            if let Some(run) = space.take_run_fresh(asked)? {
                break run;
            }
            attempt += 1;
            pool.raw().flush(space);
            let made = space.harvest(true).bytes + pool.reclaim_for(None, asked);
            if asked > space.limit_and_used().0 || attempt == ATTEMPTS || made == 0 && attempt > 1 {
                return Err(NO_ROOM);
            }
        };
        let bytes = space.run_charge(run);
        let whole = if space.asks_for_huge_pages() { bytes / HUGE_BYTES * HUGE_BYTES } else { 0 };
        let huge = if whole != 0 && space.advise_run(run, whole, Advice::Huge) { whole } else { 0 };
        space.hold(bytes);
        pool.0.charged.fetch_add(bytes, Ordering::Relaxed);
        let base = space.run_addr(run);
        Ok(Self { holder: Holder::Run(pool.clone(), run), base, bytes, huge })
    }

    fn of_system(bytes: u64) -> Result<Self> {
        let memory = Reservation::new(bytes)?;
        memory.commit(0, bytes)?;
        let whole = if has_huge_pages() { bytes / HUGE_BYTES * HUGE_BYTES } else { 0 };
        // Nothing but this mapping is at stake: without huge pages it is only slower.
        let huge = if whole != 0 && memory.advise(0, whole, Advice::Huge) { whole } else { 0 };
        Ok(Self { base: memory.base(), holder: Holder::System(memory), bytes, huge })
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        let Holder::Run(pool, run) = &self.holder else { return };
        if pool.check().is_err() {
            return;
        }
        let space = pool.space();
        if self.huge != 0 && !space.advise_run(*run, self.huge, Advice::Small) {
            return;
        }
        space.give_run(*run);
        space.unhold(self.bytes);
        pool.0.charged.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Charged;
    use crate::config::{PoolConfig, StoreConfig};
    use crate::error::ErrorKind;
    use crate::memory::sys::testing::{fail_after, has_failed};
    use crate::pool::Pool;

    fn fill(memory: &Charged) {
        // SAFETY: the range is this test's alone, and this long.
        unsafe { memory.base().write_bytes(7, memory.bytes() as usize) };
    }

    fn is_zero(memory: &Charged) -> bool {
        // SAFETY: as above.
        let bytes = unsafe { std::slice::from_raw_parts(memory.base(), memory.bytes() as usize) };
        bytes.iter().all(|&byte| byte == 0)
    }

    #[test]
    fn is_zeroed_charged_and_given_back() {
        for limit in [4 << 20, 64 << 20] {
            let pool = Pool::create(&PoolConfig::new(limit)).unwrap();
            for bytes in [1, 5_000, 100_000, 2 << 20, 3 << 20] {
                // The first run of a length may need a page of the table of runs, which stays.
                drop(Charged::zeroed(Some(&pool), bytes).unwrap());
                let before = pool.stats();
                let memory = Charged::zeroed(Some(&pool), bytes).unwrap();
                assert!(memory.bytes() >= bytes && is_zero(&memory), "{bytes}");
                fill(&memory);
                let during = pool.stats();
                assert!(during.used_bytes >= before.used_bytes + bytes);
                assert_eq!(during.held_bytes - before.held_bytes, memory.bytes());
                assert!(during.overhead_bytes >= before.overhead_bytes + bytes);
                pool.space().validate().unwrap();
                assert!(memory.wipe() && is_zero(&memory));
                fill(&memory);
                drop(memory);
                assert_eq!(pool.stats().held_bytes, before.held_bytes);
                pool.space().validate().unwrap();
            }
        }
    }

    #[test]
    fn evicts_and_is_refused_beyond_the_limit() {
        let pool = Pool::create(&PoolConfig::new(4 << 20)).unwrap();
        let store = pool.open_store(&StoreConfig::default()).unwrap();
        for key in 0_u32..40_000 {
            store.set(&key.to_le_bytes(), &[1; 200]).unwrap();
        }
        let memory = Charged::zeroed(Some(&pool), 2 << 20).unwrap();
        fill(&memory);
        let refused = Charged::zeroed(Some(&pool), 3 << 20).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NoSpace);
        let huge = Charged::zeroed(Some(&pool), u64::MAX - 5).unwrap_err();
        assert!(matches!(huge.kind(), ErrorKind::NoMemory | ErrorKind::NoSpace));
        drop(memory);
        pool.space().validate().unwrap();
        store.validate().unwrap();
    }

    #[test]
    fn a_system_that_refuses_changes_nothing() {
        let pool = Pool::create(&PoolConfig::new(4 << 20)).unwrap();
        for of in [None, Some(&pool)] {
            drop(Charged::zeroed(of, 100_000).unwrap());
            let before = pool.stats().held_bytes;
            for n in 1..20 {
                fail_after(n);
                let made = Charged::zeroed(of, 100_000);
                let failed = has_failed();
                fail_after(0);
                drop(made);
                pool.space().validate().unwrap();
                assert_eq!(pool.stats().held_bytes, before);
                if !failed {
                    break;
                }
            }
        }
    }

    #[test]
    fn keeps_its_pool_alive() {
        let pool = Pool::create(&PoolConfig::new(4 << 20)).unwrap();
        let memory = Charged::zeroed(Some(&pool), 10_000).unwrap();
        drop(pool);
        fill(&memory);
    }
}
