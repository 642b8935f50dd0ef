//! What the tests have in common.

use hypercache_core::clock::Clock;
use hypercache_core::{
    Claim, ClaimOptions, Lease, Pool, PoolConfig, PutMode, PutOptions, Store, StoreConfig, Ttl,
    View,
};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Barrier};
use std::time::Duration;

pub const FOREVER: ClaimOptions = ClaimOptions { timeout_ms: u64::MAX, stale: false };

pub const AT_ONCE: ClaimOptions = ClaimOptions { timeout_ms: 0, stale: false };

pub const SET: PutOptions = PutOptions {
    ttl: Ttl::Default,
    mode: PutMode::Set,
    session: 0,
    value_type: hypercache_core::ValueType::BYTES,
    flags: 0,
    soft_ttl_ms: 0,
    idle_ttl_ms: 0,
};

pub fn store() -> (Pool, Store) {
    let pool = Pool::create(&PoolConfig::new(8 << 20)).unwrap();
    let store = pool.open_store(&StoreConfig::default()).unwrap();
    (pool, store)
}

pub fn timed_store() -> (Pool, Store, Arc<AtomicU64>) {
    let pool = Pool::create(&PoolConfig::new(8 << 20)).unwrap();
    let (clock, hand) = Clock::manual(1_000);
    let store = pool.open_store_with(&StoreConfig::default(), clock).unwrap();
    (pool, store, hand)
}

pub fn granted(claim: Claim<View>) -> Lease {
    match claim {
        Claim::Claimed(lease) => lease,
        other => panic!("{other:?} instead of a lease"),
    }
}

pub fn ignore<T>(_: T) {}

/// What a pool is charged when it has given back what it can.
pub fn trimmed(pool: &Pool) -> u64 {
    pool.trim(0).unwrap();
    pool.stats().used_bytes
}

pub fn is_busy(claim: Claim<View>) {
    assert!(matches!(claim, Claim::TimedOut), "{claim:?} instead of a time-out");
}

pub fn value(claim: Claim<View>) -> Vec<u8> {
    match claim {
        Claim::Value(view) => view.to_vec(),
        other => panic!("{other:?} instead of a value"),
    }
}

/// Has so many threads do the same at the same moment.
pub fn at_once(threads: usize, work: impl Fn() + Sync) {
    let begin = Barrier::new(threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                begin.wait();
                work();
            });
        }
    });
}

/// Waits until so many threads wait for leases.
pub fn until_waiting(store: &Store, waits: u64) {
    while store.stats().lease_waits < waits {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Counted just before it sleeps.
    std::thread::sleep(Duration::from_millis(5));
}
