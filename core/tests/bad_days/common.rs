//! What the tests share.

pub use crate::support::{KIB, MIB, key, pool};
use hypercache_core::{ErrorKind, Pool, Result, Store, StoreConfig};

pub fn store(pool: &Pool) -> Store {
    pool.open_store(&StoreConfig { hash_seed: 11, ..StoreConfig::default() }).unwrap()
}

#[track_caller]
pub fn check(pool: &Pool) {
    pool.validate().unwrap();
    let stats = pool.stats();
    assert!(stats.used_bytes <= stats.limit_bytes);
}

/// The kind of failure; fails if it did not fail or names none of `words`.
#[track_caller]
pub fn refused<T>(result: Result<T>, kind: ErrorKind, words: &[&str]) {
    let Err(error) = result else { panic!("was not refused") };
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.context().contains(word), "\"{error}\" does not name {word}");
    }
}

/// Set when it is dropped, also by a failure: tells other threads to end.
#[derive(Default)]
pub struct Stop(std::sync::atomic::AtomicBool);

impl Stop {
    pub fn is_set(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub fn at_end(&self) -> AtEnd<'_> {
        AtEnd(self)
    }
}

pub struct AtEnd<'a>(&'a Stop);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
