//! The known keys of a store's backing source: a filter that says which keys are certainly absent
//! there, so that nobody need ask.
//!
//! The store holds a reference to the filter. A look-up borrows it, inside as a reader of the index
//! is, so that it writes nothing that others read. Whoever puts another filter in its place runs the
//! heavy barrier, waits for all who were inside to leave, and only then lets go of the old one: a
//! reader that had found it has left, and one that comes later finds the new one.
//!
//! What a reader that is inside does takes no lock, since the wait would be for that as well: the
//! holder of a filter's lock may be waiting for readers to leave before it has memory to grow. A
//! look-up that writers kept from settling leaves with a reference of its own.

use super::{Store, StoreInner, check_key};
use crate::error::Result;
use crate::filter::Filter;
use crate::memory::barrier;
use crate::memory::guard::{Guard, Inside, Snapshot, snapshot_inside};
use crate::memory::lock::FutexMutex;
use crate::stats::ReadTally;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

/// Looks at who is still inside before the waiting thread sleeps between two.
const YIELDS: u32 = 64;
const PAUSE: Duration = Duration::from_micros(50);

/// The filter, given away as a pointer; null: there is none.
pub struct KnownKeys {
    filter: AtomicPtr<()>,
    /// Held while the filter is replaced.
    replacing: FutexMutex<()>,
}

impl KnownKeys {
    /// No filter.
    pub const fn none() -> Self {
        Self { filter: AtomicPtr::new(std::ptr::null_mut()), replacing: FutexMutex::new(()) }
    }

    /// Puts `filter` in the place of the one that is there, which it returns. Waits for those who
    /// may be looking at it.
    fn replace(&self, filter: Option<Filter>) -> Option<Filter> {
        let new = filter.map_or(std::ptr::null(), Filter::into_raw).cast_mut();
        let old = self.filter.swap(new, Ordering::AcqRel);
        if old.is_null() {
            return None;
        }
        barrier::heavy();
        let mut inside = Snapshot::empty();
        snapshot_inside(&mut inside);
        let mut looks = 0;
        while !inside.all_left() {
            looks += 1;
            if looks < YIELDS {
                std::thread::yield_now();
            } else {
                std::thread::sleep(PAUSE);
            }
        }
        // SAFETY: the pointer was given away when the filter was put here, and `swap` took it out
        // for this call alone; whoever had borrowed it has left.
        Some(unsafe { Filter::from_raw(old) })
    }
}

impl Drop for KnownKeys {
    fn drop(&mut self) {
        let filter = *self.filter.get_mut();
        if !filter.is_null() {
            // SAFETY: as in `replace`; a look-up holds a reference to the store, and there is none.
            drop(unsafe { Filter::from_raw(filter) });
        }
    }
}

/// What a look-up that took no lock made of a key.
enum Looked {
    /// Whether it may be a known one, and the number of the reader's slot.
    Settled(bool, u32),
    /// Writers kept moving what was being read.
    Unsettled(Filter),
}

impl StoreInner {
    /// Whether the backing source certainly lacks a key, by its known keys; false where there are
    /// none. For a key that the store was just found to lack: it counts as a miss that a filter
    /// answered.
    #[inline]
    pub(super) fn certainly_absent(&self, key: &[u8]) -> Result<bool> {
        if self.knows_keys() { self.is_unknown(key) } else { Ok(false) }
    }

    fn is_unknown(&self, key: &[u8]) -> Result<bool> {
        let (is_known, slot) = match self.look_among_known(key)? {
            Looked::Settled(is_known, slot) => (is_known, slot),
            Looked::Unsettled(filter) => (filter.contains(key)?, u32::MAX),
        };
        if !is_known {
            self.counters.read_add(slot, ReadTally::FilterSkips, 1);
        }
        Ok(!is_known)
    }

    fn look_among_known(&self, key: &[u8]) -> Result<Looked> {
        let Some(inside) = Inside::enter(self.generation) else {
            return Err(crate::memory::fork::FORKED);
        };
        let slot = inside.slot_index();
        let at = self.known.filter.load(Ordering::Acquire);
        if at.is_null() {
            return Ok(Looked::Settled(true, slot));
        }
        // SAFETY: the pointer was given away when the filter was put here, and is taken back only
        // when everybody who was inside has left.
        let filter = unsafe { Filter::borrow_raw(at) };
        Ok(match filter.contains_unlocked(key)? {
            Some(found) => Looked::Settled(found, slot),
            None => Looked::Unsettled(filter.clone()),
        })
    }

    /// Whether there are known keys.
    #[inline(always)]
    pub(super) fn knows_keys(&self) -> bool {
        !self.known.filter.load(Ordering::Relaxed).is_null()
    }

    /// Lets go of the known keys.
    pub(super) fn forget_known_keys(&self) {
        let _replacing = self.known.replacing.lock();
        drop(self.known.replace(None));
    }
}

impl Store {
    /// Gives the store the keys of its backing source: what the filter excludes is certainly absent
    /// there. `None`: no such keys. The store keeps the filter, which may be of any pool and serve
    /// several stores, until it is replaced or the store is destroyed. Add a key before it is written
    /// to the source; remove it after it is gone from there. Waits for look-ups that began before, so
    /// that the former filter is out of use when this returns.
    ///
    /// # Errors
    /// `Closed`, `Forked`.
    pub fn set_known_keys(&self, filter: Option<Filter>) -> Result<()> {
        // A filter of this process, before its pointer is where look-ups find it.
        if let Some(filter) = &filter {
            filter.check()?;
        }
        crate::memory::fork::check(self.0.generation)?;
        let replacing = self.0.known.replacing.lock();
        // Under the lock: a store that is destroyed from here on forgets the filter afterwards.
        self.0.check_open()?;
        let has_keys = filter.is_some();
        drop(self.0.known.replace(filter));
        drop(replacing);
        if has_keys {
            // Leases that are offered from here on find the keys; of those before, one was told.
            self.0.pass_offers_to_all();
        }
        Ok(())
    }

    /// False: neither the store nor its backing source has the key, by the known keys of the source.
    /// True: the store has a live entry of it, or the source may have it, as it may without known
    /// keys. Counts no hit.
    ///
    /// # Errors
    /// `Invalid`: the key is longer than [`crate::types::KEY_LEN_MAX`]; `Closed`, `Forked`,
    /// `Poisoned`.
    pub fn may_exist(&self, key: &[u8]) -> Result<bool> {
        check_key(key)?;
        Ok(self.0.contains(key)? || !self.0.certainly_absent(key)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{PoolConfig, StoreConfig};
    use crate::error::ErrorKind;
    use crate::filter::{Filter, FilterConfig};
    use crate::pool::Pool;
    use crate::store::Store;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    fn pool() -> Pool {
        Pool::create(&PoolConfig::new(4 << 20)).unwrap()
    }

    fn store(pool: &Pool) -> Store {
        pool.open_store(&StoreConfig::default()).unwrap()
    }

    fn filter(pool: Option<&Pool>, keys: &[&[u8]]) -> Filter {
        let config = FilterConfig { pool: pool.cloned(), ..FilterConfig::new(10_000) };
        let filter = Filter::create(&config).unwrap();
        keys.iter().for_each(|key| filter.add(key).unwrap());
        filter
    }

    #[test]
    fn answers_what_neither_has() {
        let pool = pool();
        let store = store(&pool);
        assert!(store.may_exist(b"absent").unwrap());
        assert_eq!(store.stats().filter_skips, 0);
        let known = filter(Some(&pool), &[b"in source"]);
        store.set_known_keys(Some(known.clone())).unwrap();
        assert!(store.may_exist(b"in source").unwrap());
        assert!(!store.may_exist(b"absent").unwrap());
        store.set(b"only here", b"v").unwrap();
        assert!(store.may_exist(b"only here").unwrap());
        store.delete(b"only here").unwrap();
        assert!(!store.may_exist(b"only here").unwrap());
        known.add(b"absent").unwrap();
        assert!(store.may_exist(b"absent").unwrap());
        let stats = store.stats();
        assert_eq!((stats.filter_skips, stats.hits, stats.misses), (2, 0, 0));
        store.set_known_keys(None).unwrap();
        assert!(store.may_exist(b"only here").unwrap());
        let long = vec![0; crate::types::KEY_LEN_MAX + 1];
        assert_eq!(store.may_exist(&long).unwrap_err().kind(), ErrorKind::Invalid);
        store.validate().unwrap();
    }

    #[test]
    fn the_store_keeps_the_filter_and_lets_go_of_it() {
        let (one, other) = (pool(), pool());
        // The first run of a length may need a page of the table of runs, which stays.
        drop(filter(Some(&other), &[]));
        let before = other.stats().held_bytes;
        let store = store(&one);
        // A filter of another pool, of none, and both of nobody else.
        store.set_known_keys(Some(filter(Some(&other), &[b"a"]))).unwrap();
        assert!(other.stats().held_bytes > before);
        assert!(store.may_exist(b"a").unwrap() && !store.may_exist(b"b").unwrap());
        store.set_known_keys(Some(filter(None, &[b"b"]))).unwrap();
        assert_eq!(other.stats().held_bytes, before, "the former filter is gone");
        assert!(!store.may_exist(b"a").unwrap() && store.may_exist(b"b").unwrap());
        store.set_known_keys(Some(filter(Some(&other), &[]))).unwrap();
        store.destroy();
        assert_eq!(other.stats().held_bytes, before, "a destroyed store keeps none");
        let late = store.set_known_keys(Some(filter(Some(&other), &[])));
        assert_eq!(late.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(store.may_exist(b"a").unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(other.stats().held_bytes, before);
        let dropped = self::store(&one);
        dropped.set_known_keys(Some(filter(Some(&other), &[]))).unwrap();
        drop(dropped);
        assert_eq!(other.stats().held_bytes, before);
        one.validate().unwrap();
        other.validate().unwrap();
    }

    #[test]
    fn a_filter_outlives_its_pools_other_users() {
        let store = store(&pool());
        let other = pool();
        store.set_known_keys(Some(filter(Some(&other), &[b"a"]))).unwrap();
        drop(other);
        assert!(store.may_exist(b"a").unwrap() && !store.may_exist(b"b").unwrap());
    }

    #[test]
    fn replaced_beside_readers() {
        let pool = pool();
        let store = store(&pool);
        let (done, answers) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        // In every filter that is ever set.
                        assert!(store.may_exist(b"always").unwrap());
                        store.may_exist(b"sometimes").unwrap();
                        answers.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for round in 0_u32.. {
                let known = filter(Some(&pool), &[b"always"]);
                if round % 2 == 0 {
                    known.add(b"sometimes").unwrap();
                }
                store.set_known_keys((round % 5 != 4).then_some(known)).unwrap();
                if round >= 200 && answers.load(Ordering::Relaxed) > 2_000 {
                    break;
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        store.set_known_keys(None).unwrap();
        pool.validate().unwrap();
    }

    /// A reader beside a filter that grows, which is unsettled most of the time.
    #[test]
    fn beside_adds() {
        let pool = pool();
        let store = store(&pool);
        let known = filter(Some(&pool), &[]);
        store.set_known_keys(Some(known.clone())).unwrap();
        let done = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for key in 0_u64..100_000 {
                    known.add(&key.to_le_bytes()).unwrap();
                    done.store(key + 1, Ordering::Release);
                }
            });
            loop {
                let there = done.load(Ordering::Acquire);
                if there != 0 {
                    assert!(store.may_exist(&(there - 1).to_le_bytes()).unwrap());
                    assert!(store.may_exist(&(there / 2).to_le_bytes()).unwrap());
                }
                if there == 100_000 {
                    break;
                }
            }
        });
    }
}
