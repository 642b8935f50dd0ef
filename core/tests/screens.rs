//! Stores with a filter before the index: what they answer, what they skip, what they take.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use hypercache_core::{
    Error, ErrorKind, LimitOutcome, Match, PolicyKind, Pool, PoolConfig, PutOptions, Store,
    StoreConfig, Ttl,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const MIB: u64 = 1 << 20;

fn pool(limit: u64) -> Pool {
    Pool::create(&PoolConfig::new(limit)).unwrap()
}

fn config() -> StoreConfig {
    StoreConfig { filter_fpr: 0.001, ..StoreConfig::default() }
}

fn store(pool: &Pool) -> Store {
    pool.open_store(&config()).unwrap()
}

fn key(n: u64) -> [u8; 8] {
    n.to_le_bytes()
}

fn fill(store: &Store, keys: std::ops::Range<u64>) {
    for n in keys {
        store.set(&key(n), &[7; 24]).unwrap();
    }
}

/// Look-ups of absent keys, which the filter soon answers.
fn miss(store: &Store, times: u64) {
    for n in 0..times {
        assert_eq!(store.get_vec(&key(n | 1 << 60)).unwrap(), None);
    }
}

fn found(store: &Store, keys: std::ops::Range<u64>) -> u64 {
    keys.filter(|&n| store.contains(&key(n)).unwrap()).count() as u64
}

#[test]
fn answers_misses_and_lacks_no_key() {
    let pool = pool(64 * MIB);
    let store = store(&pool);
    let mut skipped = 0;
    // Through several sizes of the filter.
    for keys in [200, 1_000, 5_000, 30_000, 100_000] {
        fill(&store, 0..keys);
        miss(&store, 2_000);
        let skips = store.stats().filter_skips - skipped;
        skipped += skips;
        assert!(skips > 1_500, "{skips} of 2000 misses beside {keys} keys");
        assert_eq!(found(&store, 0..keys), keys);
        store.validate().unwrap();
    }
    let stats = store.stats();
    assert!(stats.filter_skips < stats.misses && stats.misses == 10_000, "{stats:?}");
    pool.validate().unwrap();
}

#[test]
fn follows_whatever_takes_keys_away() {
    let pool = pool(64 * MIB);
    let store = store(&pool);
    fill(&store, 0..20_000);
    for n in 0..5_000 {
        assert!(store.delete(&key(n)).unwrap());
    }
    for n in 5_000..10_000 {
        store.set(&key(n), &[8; 24]).unwrap();
    }
    store.validate().unwrap();
    miss(&store, 1_000);
    let before = store.stats();
    assert_eq!(found(&store, 0..5_000), 0);
    assert_eq!(found(&store, 5_000..20_000), 15_000);
    for n in 0..5_000 {
        assert_eq!(store.get_vec(&key(n)).unwrap(), None);
    }
    let skips = store.stats().filter_skips - before.filter_skips;
    assert!(skips > 4_500, "{skips} of 5000 deleted keys");
    for n in 0..1_000 {
        let options = PutOptions { ttl: Ttl::Millis(1), ..PutOptions::default() };
        store.put(&key(n), b"brief", &options).unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert_eq!(found(&store, 0..1_000), 0);
    // The sweep takes them out.
    fill(&store, 20_000..40_000);
    store.validate().unwrap();
    assert!(store.invalidate(Match::Prefix(&[7])).unwrap() > 100);
    store.validate().unwrap();
    store.clear().unwrap();
    store.validate().unwrap();
    miss(&store, 100);
    assert_eq!(found(&store, 0..40_000), 0);
    fill(&store, 0..1_000);
    assert_eq!(found(&store, 0..1_000), 1_000);
}

#[test]
fn holds_under_eviction_in_every_policy() {
    for (name, policy) in PolicyKind::ALL {
        let pool = pool(4 * MIB);
        let store = pool.open_store(&StoreConfig { policy, ..config() }).unwrap();
        for round in 0..6 {
            fill(&store, round * 30_000..(round + 1) * 30_000);
            miss(&store, 500);
            store.validate().unwrap_or_else(|error| panic!("{name}: {error}"));
            // What was just written is there, but for what the policy let go of at once.
            let last = (round + 1) * 30_000;
            let there = found(&store, last - 100..last);
            assert!(there > 0, "{name}");
        }
        let stats = store.stats();
        assert!(stats.evicted > 50_000, "{name}: {stats:?}");
        assert!(stats.filter_skips > 0, "{name}: {stats:?}");
        pool.validate().unwrap();
        assert!(pool.stats().used_bytes <= 4 * MIB);
    }
}

/// The filter is charged, grows and shrinks with the entries, and goes with the store.
#[test]
fn takes_its_room_from_the_pool_and_gives_it_back() {
    let pool = pool(64 * MIB);
    let plain = pool.open_store(&StoreConfig { shards: 1, ..StoreConfig::default() }).unwrap();
    fill(&plain, 0..200_000);
    let without = plain.stats();
    drop(plain);
    let one = StoreConfig { shards: 1, ..config() };
    let store = pool.open_store(&one).unwrap();
    fill(&store, 0..200_000);
    let with = store.stats();
    let bits = (with.used_bytes - without.used_bytes) as f64 * 8.0 / 200_000.0;
    assert!((13.0..32.0).contains(&bits), "{bits} bits an entry");
    for n in 1_000..200_000 {
        store.delete(&key(n)).unwrap();
    }
    fill(&store, 200_000..201_000);
    store.validate().unwrap();
    assert_eq!(found(&store, 0..1_000), 1_000);
    assert!(store.stats().used_bytes < with.used_bytes - MIB / 4);
    drop(store);
    pool.validate().unwrap();
    let empty = pool.stats();
    let again = pool.open_store(&one).unwrap();
    drop(again);
    assert_eq!(pool.stats().held_bytes, empty.held_bytes);
}

#[test]
fn limits_hold_while_it_grows_and_shrinks() {
    let pool = pool(16 * MIB);
    let limited = StoreConfig { limit_bytes: 2 * MIB, ..config() };
    let store = pool.open_store(&limited).unwrap();
    let other = pool.open_store(&StoreConfig::default()).unwrap();
    for round in 0..8 {
        fill(&store, round * 20_000..(round + 1) * 20_000);
        fill(&other, 0..50_000);
        assert!(store.stats().used_bytes <= 2 * MIB);
        store.validate().unwrap();
    }
    store.set_limit(MIB / 2).unwrap();
    store.validate().unwrap();
    fill(&store, 0..5_000);
    store.set_limit(8 * MIB).unwrap();
    fill(&store, 0..50_000);
    store.validate().unwrap();
    assert!(matches!(pool.set_limit(4 * MIB).unwrap(), LimitOutcome::Reached));
    fill(&store, 0..50_000);
    store.validate().unwrap();
    pool.validate().unwrap();
    assert!(pool.stats().used_bytes <= 4 * MIB);
}

/// Readers beside writers that fill, empty and outgrow it: a key that is there throughout is never
/// missed, by whichever path the reader goes.
#[test]
fn beside_writers() {
    let pool = pool(64 * MIB);
    let store = store(&pool);
    let kept = 2_000;
    fill(&store, 0..kept);
    let (done, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for seed in 0..3_u64 {
            let (store, done, looks) = (&store, &done, &looks);
            scope.spawn(move || {
                let mut n = seed;
                while !done.load(Ordering::Relaxed) {
                    n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let at = (n >> 33) % kept;
                    assert!(store.get_vec(&key(at)).unwrap().is_some(), "key {at} was missed");
                    miss(store, 6);
                    looks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 1..=6 {
            let from = round << 32;
            fill(&store, from..from + 20_000);
            for n in from..from + 20_000 {
                assert!(store.delete(&key(n)).unwrap());
            }
            store.validate().unwrap();
        }
        while looks.load(Ordering::Relaxed) < 10_000 {
            std::thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(store.stats().filter_skips > 0);
    store.validate().unwrap();
}

fn refused(result: Result<Store, Error>, words: &[&str]) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(words.iter().all(|word| error.context().contains(word)), "{error}");
}

#[test]
fn rates_out_of_range_are_named() {
    let pool = pool(4 * MIB);
    for filter_fpr in [-0.1, 0.11, 1.0, 1e-10, f64::INFINITY, f64::NAN] {
        let open = pool.open_store(&StoreConfig { filter_fpr, ..StoreConfig::default() });
        refused(open, &["filter_fpr", &filter_fpr.to_string()]);
    }
    let named = StoreConfig { name: Some("one".to_owned()), ..config() };
    let store = pool.open_store(&named).unwrap();
    assert_eq!(store.config().filter_fpr, 0.001);
    let other = StoreConfig { filter_fpr: 0.01, ..named.clone() };
    refused(pool.open_store(&other), &["filter_fpr", "0.01", "0.001"]);
    let same = StoreConfig { filter_fpr: 0.0, ..named };
    assert_eq!(pool.open_store(&same).unwrap().id(), store.id());
}
