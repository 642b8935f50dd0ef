//! What ends a load, and what does not.

use crate::common::*;
use hypercache_core::{
    Claim, ClaimOptions, Match, Pool, PoolConfig, PutMode, PutOptions, PutOutcome, Store,
    StoreConfig, Ttl,
};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[test]
fn whatever_changes_the_key_ends_the_load() {
    type Change = fn(&Store);
    let changes: [(&str, Change); 12] = [
        ("set", |s| ignore(s.set(b"user:1", b"new").unwrap())),
        ("put with a time to live", |s| {
            ignore(
                s.put(b"user:1", b"new", &PutOptions { ttl: Ttl::Millis(9_000), ..SET }).unwrap(),
            );
        }),
        ("put of a long value", |s| ignore(s.set(b"user:1", &vec![1; 100_000]).unwrap())),
        ("add", |s| {
            ignore(s.put(b"user:1", b"new", &PutOptions { mode: PutMode::Add, ..SET }).unwrap());
        }),
        ("incr", |s| ignore(s.incr(b"user:1", 1, 1, Ttl::Never).unwrap())),
        ("delete", |s| assert!(!s.delete(b"user:1").unwrap())),
        ("delete_many", |s| assert_eq!(s.delete_many(&[b"user:1"]).unwrap(), 0)),
        ("prefix", |s| assert_eq!(s.invalidate(Match::Prefix(b"user:")).unwrap(), 0)),
        ("glob", |s| assert_eq!(s.invalidate(Match::Glob(b"*:1")).unwrap(), 0)),
        ("session", |s| assert_eq!(s.invalidate(Match::Session(7)).unwrap(), 0)),
        ("clear", |s| s.clear().unwrap()),
        ("too large", |s| ignore(s.set(b"user:1", &vec![1; 7 << 20]).unwrap_err())),
    ];
    for (name, change) in changes {
        let (pool, store) = store();
        let lease = granted(store.claim(b"user:1", AT_ONCE).unwrap());
        let other = granted(store.claim(b"other", AT_ONCE).unwrap());
        change(&store);
        let put = store.lease_put(lease, b"old", &SET).unwrap();
        assert_eq!(put, PutOutcome::Conflict, "{name}");
        assert_ne!(store.get_vec(b"user:1").unwrap().as_deref(), Some(&b"old"[..]), "{name}");
        let all = ["session", "clear"].contains(&name);
        let put = store.lease_put(other, b"other", &SET).unwrap();
        assert_eq!(put == PutOutcome::Conflict, all, "{name}");
        pool.validate().unwrap();
    }
}

#[test]
fn what_leaves_the_key_alone_leaves_the_load_alone() {
    let (_pool, store) = store();
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    store.set(b"l", b"1").unwrap();
    store.delete(b"m").unwrap();
    store.invalidate(Match::Prefix(b"l")).unwrap();
    let replace = PutOptions { mode: PutMode::Replace, ..SET };
    assert_eq!(store.put(b"k", b"x", &replace).unwrap(), PutOutcome::NotFound);
    assert!(!store.touch(b"k", Ttl::Never).unwrap());
    assert!(matches!(store.lease_put(lease, b"v", &SET).unwrap(), PutOutcome::Stored(_)));
    // It ended with that.
    assert_eq!(store.lease_put(lease, b"w", &SET).unwrap(), PutOutcome::Conflict);
    assert_eq!(value(store.claim(b"k", AT_ONCE).unwrap()), b"v");
}

#[test]
fn a_take_ends_the_load_of_an_absent_key() {
    let (_pool, store) = store();
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    let mut buf = Vec::with_capacity(8);
    assert_eq!(store.take(b"k", buf.spare_capacity_mut()).unwrap(), hypercache_core::Read::Miss);
    assert_eq!(store.lease_put(lease, b"old", &SET).unwrap(), PutOutcome::Conflict);
    assert_eq!(store.get_vec(b"k").unwrap(), None);
}

/// What ends the lease of a key whose entry stays leaves nobody to wait for.
#[test]
fn an_old_entry_is_reloaded_after_its_load_was_ended() {
    type End = fn(&Store);
    let ends: [End; 2] = [
        |store| ignore(store.invalidate(Match::Type(hypercache_core::ValueType::JSON)).unwrap()),
        |store| {
            let add = PutOptions { mode: PutMode::Add, ..SET };
            store.put(b"k", &vec![0; 5 << 20], &add).unwrap_err();
        },
    ];
    for end in ends {
        let (_pool, store, hand) = timed_store();
        let soft = PutOptions { soft_ttl_ms: 1_000, ttl: Ttl::Millis(90_000), ..SET };
        store.put(b"k", b"old", &soft).unwrap();
        hand.fetch_add(2_000, Ordering::Relaxed);
        let stale = ClaimOptions { timeout_ms: 0, stale: true };
        let lease = granted(store.claim(b"k", stale).unwrap());
        assert_eq!(value(store.claim(b"k", stale).unwrap()), b"old");
        end(&store);
        assert_eq!(store.lease_put(lease, b"late", &SET).unwrap(), PutOutcome::Conflict);
        granted(store.claim(b"k", stale).unwrap());
        store.validate().unwrap();
    }
}

#[test]
fn a_lease_is_over_at_its_deadline() {
    let (pool, store, hand) = timed_store();
    let first = granted(store.claim(b"k", AT_ONCE).unwrap());
    is_busy(store.claim(b"k", AT_ONCE).unwrap());
    hand.fetch_add(9_999, Ordering::SeqCst);
    is_busy(store.claim(b"k", AT_ONCE).unwrap());
    hand.fetch_add(1, Ordering::SeqCst);
    let second = granted(store.claim(b"k", AT_ONCE).unwrap());
    assert_eq!(store.lease_put(first, b"late", &SET).unwrap(), PutOutcome::Conflict);
    assert!(matches!(store.lease_put(second, b"v", &SET).unwrap(), PutOutcome::Stored(_)));
    let third = granted(store.claim(b"l", AT_ONCE).unwrap());
    hand.fetch_add(10_000, Ordering::SeqCst);
    assert_eq!(store.lease_put(third, b"late", &SET).unwrap(), PutOutcome::Conflict);
    assert!(!store.contains(b"l").unwrap());
    pool.validate().unwrap();
}

#[test]
fn a_dead_holder_blocks_for_the_time_of_the_lease_only() {
    let pool = Pool::create(&PoolConfig::new(8 << 20)).unwrap();
    let config = StoreConfig { lease_ms: 100, ..StoreConfig::default() };
    let store = pool.open_store(&config).unwrap();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| granted(store.claim(b"k", AT_ONCE).unwrap())).join().unwrap();
        for _ in 0..4 {
            scope.spawn(|| match store.claim(b"k", FOREVER).unwrap() {
                Claim::Claimed(lease) => {
                    store.lease_put(lease, b"v", &SET).unwrap();
                }
                other => assert_eq!(value(other), b"v"),
            });
        }
    });
    assert!(begun.elapsed() >= Duration::from_millis(99));
    // More, where a waiter took longer than that to put.
    assert!(store.stats().leases >= 2);
    pool.validate().unwrap();
}
