//! Freshness: soft and idle times to live, early refresh, old values after a failed load.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use hypercache_core::clock::Clock;
use hypercache_core::{
    Claim, ClaimOptions, DropReason, Lease, Pool, PoolConfig, PutOptions, PutOutcome, Store,
    StoreConfig, Ttl, View,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

const PLAIN: ClaimOptions = ClaimOptions { timeout_ms: 0, stale: false };
const STALE: ClaimOptions = ClaimOptions { timeout_ms: 0, stale: true };

struct World {
    pool: Pool,
    store: Store,
    hand: Arc<AtomicU64>,
}

impl World {
    fn new(config: &StoreConfig) -> Self {
        let pool = Pool::create(&PoolConfig::new(8 << 20)).unwrap();
        let (clock, hand) = Clock::manual(1_000);
        let store = pool.open_store_with(config, clock).unwrap();
        Self { pool, store, hand }
    }

    fn pass(&self, ms: u64) {
        self.hand.fetch_add(ms, SeqCst);
    }

    fn lease(&self) -> Lease {
        match self.store.claim(b"k", PLAIN).unwrap() {
            Claim::Claimed(lease) => lease,
            other => panic!("{other:?} instead of a lease"),
        }
    }

    fn load(&self, value: &[u8], options: &PutOptions) {
        let put = self.store.lease_put(self.lease(), value, options).unwrap();
        assert!(matches!(put, PutOutcome::Stored(_)));
    }

    fn claim(&self, options: ClaimOptions) -> Claim<View> {
        self.store.claim(b"k", options).unwrap()
    }

    /// Value and time left.
    fn value(&self, options: ClaimOptions) -> (Vec<u8>, Option<u64>) {
        match self.claim(options) {
            Claim::Value(view) => (view.to_vec(), view.info().ttl_ms),
            other => panic!("{other:?} instead of a value"),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.pool.validate().unwrap();
        }
    }
}

#[test]
fn one_reloads_and_the_others_take_the_old_value() {
    let world = World::new(&StoreConfig { soft_ttl_ms: 100, ..StoreConfig::default() });
    let hard = PutOptions { ttl: Ttl::Millis(1_000), ..PutOptions::default() };
    world.load(b"old", &hard);
    world.pass(99);
    assert_eq!(world.value(PLAIN), (b"old".to_vec(), Some(901)));
    world.pass(1);
    let lease = world.lease();
    assert_eq!(world.value(STALE), (b"old".to_vec(), Some(0)));
    assert!(matches!(world.claim(PLAIN), Claim::TimedOut));
    // Other reads go by the hard time.
    assert_eq!(world.store.get_vec(b"k").unwrap().unwrap(), b"old");
    assert!(matches!(world.store.lease_put(lease, b"new", &hard).unwrap(), PutOutcome::Stored(_)));
    assert_eq!(world.value(PLAIN), (b"new".to_vec(), Some(1_000)));
    assert_eq!(world.store.stats().stale_hits, 1);
    // Nobody reloads: at the hard expiry it is a miss for all.
    world.pass(1_000);
    assert!(world.store.get_vec(b"k").unwrap().is_none());
    let _loading = world.lease();
    assert!(matches!(world.claim(STALE), Claim::TimedOut));
}

#[test]
fn a_holder_that_is_gone_does_not_keep_the_old_value_for_ever() {
    let world = World::new(&StoreConfig { soft_ttl_ms: 100, ..StoreConfig::default() });
    world.load(b"old", &PutOptions::default());
    world.pass(100);
    let _gone = world.lease();
    assert_eq!(world.value(STALE).0, b"old");
    world.pass(10_000);
    assert!(matches!(world.claim(STALE), Claim::Claimed(_)));
    let cancelled = World::new(&StoreConfig { soft_ttl_ms: 100, ..StoreConfig::default() });
    cancelled.load(b"old", &PutOptions::default());
    cancelled.pass(100);
    cancelled.store.lease_drop(cancelled.lease(), DropReason::Cancelled).unwrap();
    assert!(matches!(cancelled.claim(STALE), Claim::Claimed(_)));
}

#[test]
fn the_put_says_how_long() {
    let world = World::new(&StoreConfig { soft_ttl_ms: 100, ..StoreConfig::default() });
    let long = PutOptions { soft_ttl_ms: 500, ..PutOptions::default() };
    world.store.put(b"k", b"v", &long).unwrap();
    world.pass(499);
    assert_eq!(world.value(PLAIN).0, b"v");
    world.pass(1);
    let _ = world.lease();
    // A plain write has the store's soft time too, and ends the load.
    world.store.set(b"k", b"w").unwrap();
    assert_eq!(world.value(PLAIN), (b"w".to_vec(), None));
    world.pass(100);
    let _ = world.lease();
}

#[test]
fn after_a_failed_load_the_old_value_is_kept_on_once() {
    let config =
        StoreConfig { soft_ttl_ms: 100, stale_if_error_ms: 5_000, ..StoreConfig::default() };
    let world = World::new(&config);
    world.load(b"old", &PutOptions { ttl: Ttl::Millis(200), ..PutOptions::default() });
    world.pass(150);
    world.store.lease_drop(world.lease(), DropReason::Failed { retry_ms: 1_000 }).unwrap();
    // All are served with it while nobody is to try again, ...
    assert_eq!(world.value(PLAIN), (b"old".to_vec(), Some(0)));
    world.pass(999);
    assert_eq!(world.value(STALE), (b"old".to_vec(), Some(0)));
    // ... also past the time that it had.
    assert_eq!(world.store.get_vec(b"k").unwrap().unwrap(), b"old");
    world.pass(1);
    let lease = world.lease();
    assert_eq!(world.value(STALE).0, b"old");
    world.store.lease_drop(lease, DropReason::Failed { retry_ms: 10_000 }).unwrap();
    world.pass(3_999);
    assert_eq!(world.value(STALE).0, b"old");
    // The second failure gave it no more time than the first.
    world.pass(1);
    assert!(world.store.get_vec(b"k").unwrap().is_none());
    assert!(matches!(world.claim(STALE), Claim::LoadFailed));
}

#[test]
fn who_waited_for_a_failed_load_gets_the_old_value() {
    let world = World::new(&StoreConfig { soft_ttl_ms: 100, ..StoreConfig::default() });
    world.load(b"old", &PutOptions::default());
    world.pass(100);
    let lease = world.lease();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let patient = ClaimOptions { timeout_ms: u64::MAX, stale: false };
                assert_eq!(world.value(patient), (b"old".to_vec(), Some(0)));
            });
        }
        while world.store.stats().lease_waits < 4 {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(5));
        world.store.lease_drop(lease, DropReason::Failed { retry_ms: 0 }).unwrap();
    });
}

#[test]
fn a_key_that_the_source_has_no_more_is_removed() {
    let world = World::new(&StoreConfig { soft_ttl_ms: 100, ..StoreConfig::default() });
    world.load(b"old", &PutOptions::default());
    world.pass(100);
    world.store.lease_drop(world.lease(), DropReason::Absent { ttl_ms: 0 }).unwrap();
    assert!(world.store.get_vec(b"k").unwrap().is_none());
    assert!(matches!(world.claim(STALE), Claim::Absent));
}

/// A value that took `took` to load, with a thousand seconds to live.
fn loaded_slowly(config: &StoreConfig, took: Duration) -> World {
    let world = World::new(config);
    let lease = world.lease();
    std::thread::sleep(took);
    let options = PutOptions { ttl: Ttl::Millis(1_000_000), ..PutOptions::default() };
    world.store.lease_put(lease, b"v", &options).unwrap();
    world
}

#[test]
fn near_its_end_one_claim_loads_early() {
    let world = loaded_slowly(&StoreConfig::default(), Duration::from_millis(5));
    world.pass(1);
    for _ in 0..100 {
        assert_eq!(world.value(PLAIN).0, b"v");
    }
    // With less left than two loads take, the first claim is the one.
    world.pass(999_989);
    let lease = world.lease();
    for _ in 0..100 {
        assert_eq!(world.value(PLAIN), (b"v".to_vec(), Some(10)));
    }
    // A load that fails leaves what is there.
    world.store.lease_drop(lease, DropReason::Failed { retry_ms: 5 }).unwrap();
    assert_eq!(world.value(PLAIN), (b"v".to_vec(), Some(10)));
    world.pass(5);
    let lease = world.lease();
    world.store.lease_put(lease, b"w", &PutOptions::default()).unwrap();
    assert_eq!(world.value(PLAIN), (b"w".to_vec(), None));

    let config = StoreConfig { no_early_refresh: true, ..StoreConfig::default() };
    let world = loaded_slowly(&config, Duration::from_millis(5));
    world.pass(999_999);
    assert_eq!(world.value(PLAIN), (b"v".to_vec(), Some(1)));
}

#[test]
fn an_idle_entry_lives_by_its_accesses() {
    let world = World::new(&StoreConfig { idle_ttl_ms: 1_000, ..StoreConfig::default() });
    world.store.set(b"k", b"v").unwrap();
    for _ in 0..10 {
        world.pass(900);
        assert_eq!(world.store.get_vec(b"k").unwrap().unwrap(), b"v");
    }
    // Looking does not count.
    world.pass(900);
    assert!(world.store.contains(b"k").unwrap());
    world.pass(100);
    assert!(!world.store.contains(b"k").unwrap());
    assert!(world.store.get_vec(b"k").unwrap().is_none());

    // The hard time is not moved by accesses.
    let both = PutOptions { ttl: Ttl::Millis(3_000), idle_ttl_ms: 2_000, ..PutOptions::default() };
    world.store.put(b"k", b"v", &both).unwrap();
    world.pass(1_500);
    assert!(world.store.get_vec(b"k").unwrap().is_some());
    world.pass(1_400);
    assert!(world.store.get_vec(b"k").unwrap().is_some());
    world.pass(100);
    assert!(world.store.get_vec(b"k").unwrap().is_none());

    // A touch restarts the hard time.
    world.store.put(b"k", b"v", &both).unwrap();
    world.pass(1_500);
    assert!(world.store.touch(b"k", Ttl::Millis(10_000)).unwrap());
    for _ in 0..4 {
        world.pass(1_900);
        assert!(world.store.get_vec(b"k").unwrap().is_some());
    }
    world.pass(2_000);
    assert!(world.store.get_vec(b"k").unwrap().is_none());
}

/// Entries move while readers move their expiry.
#[test]
fn idle_entries_survive_reclaim_and_readers() {
    let pool = Pool::create(&PoolConfig::new(2 << 20)).unwrap();
    let config = StoreConfig { idle_ttl_ms: 50, soft_ttl_ms: 20, ..StoreConfig::default() };
    let store = pool.open_store(&config).unwrap();
    std::thread::scope(|scope| {
        for number in 0..2_u64 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..60_000_u64 {
                    let key = ((round * 7 + number) % 40_000).to_be_bytes();
                    if number == 0 {
                        store.set(&key, &[round as u8; 90]).unwrap();
                    } else if let Some(value) = store.get_vec(&(round % 64).to_be_bytes()).unwrap()
                    {
                        assert!(value.len() == 90 && value.iter().all(|byte| *byte == value[0]));
                    }
                }
            });
        }
    });
    pool.validate().unwrap();
}
