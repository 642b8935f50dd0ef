//! Edges and races: units at their bounds, clocks that go wrong, and everything at once.

use crate::common::*;
use hypercache_core::clock::Clock;
use hypercache_core::{
    Claim, ClaimOptions, DropReason, ErrorKind, LoadOptions, Match, Pool, PoolConfig, PutOptions,
    PutOutcome, StoreConfig, Ttl,
};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// The first stores of two pools, and one after another in the same pool.
#[test]
fn a_lease_of_another_store_is_a_conflict() {
    let config = StoreConfig { shards: 1, ..StoreConfig::default() };
    let pools = [0, 1].map(|_| Pool::create(&PoolConfig::new(8 << 20)).unwrap());
    let mut stores: Vec<_> = pools.iter().map(|pool| pool.open_store(&config).unwrap()).collect();
    let old = pools[0].open_store(&config).unwrap();
    let mut leases: Vec<_> =
        stores.iter().map(|store| granted(store.claim(b"k", AT_ONCE).unwrap())).collect();
    leases.push(granted(old.claim(b"k", AT_ONCE).unwrap()));
    drop(old);
    stores.push(pools[0].open_store(&config).unwrap());
    let newest = granted(stores[2].claim(b"k", AT_ONCE).unwrap());
    for (of, &lease) in leases.iter().enumerate() {
        for (at, store) in stores.iter().enumerate() {
            if of != at || at == 2 {
                let put = store.lease_put(lease, b"v", &SET).unwrap();
                assert_eq!(put, PutOutcome::Conflict, "lease {of} in store {at}");
                store.lease_drop(lease, DropReason::Cancelled).unwrap();
            }
        }
    }
    assert!(matches!(stores[2].lease_put(newest, b"v", &SET).unwrap(), PutOutcome::Stored(_)));
    for (store, &lease) in stores.iter().zip(&leases).take(2) {
        assert!(matches!(store.lease_put(lease, b"v", &SET).unwrap(), PutOutcome::Stored(_)));
    }
}

#[test]
fn a_destroyed_store_says_so_of_any_lease() {
    let (_pool, store) = store();
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    store.destroy();
    for lease in [lease, Default::default()] {
        let put = store.lease_put(lease, b"v", &SET).unwrap_err();
        assert_eq!(put.kind(), ErrorKind::Closed);
        let dropped = store.lease_drop(lease, DropReason::Cancelled).unwrap_err();
        assert_eq!(dropped.kind(), ErrorKind::Closed);
    }
}

#[test]
fn the_time_of_leases_is_bounded() {
    let pool = Pool::create(&PoolConfig::new(8 << 20)).unwrap();
    for lease_ms in [86_400_001, u64::MAX] {
        let config = StoreConfig { lease_ms, ..StoreConfig::default() };
        let error = pool.open_store(&config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(error.context(), format!("lease_ms is {lease_ms}; 1 to 86400000 is allowed"));
    }
    for (asked, is) in [(0, 10_000), (1, 1), (86_400_000, 86_400_000)] {
        let config = StoreConfig { lease_ms: asked, ..StoreConfig::default() };
        assert_eq!(pool.open_store(&config).unwrap().config().lease_ms, is);
    }
}

/// Times at both ends of what 64 bits hold, on clocks at both ends.
#[test]
fn no_time_overflows() {
    for start in [0, 1, 1_000, u64::MAX - 1, u64::MAX] {
        for extreme in [1, u64::MAX - 1, u64::MAX] {
            let pool = Pool::create(&PoolConfig::new(8 << 20)).unwrap();
            let (clock, hand) = Clock::manual(start);
            let config = StoreConfig {
                jitter_pct: 100,
                soft_ttl_ms: extreme,
                stale_if_error_ms: extreme,
                negative_ttl_ms: extreme,
                ..StoreConfig::default()
            };
            let store = pool.open_store_with(&config, clock).unwrap();
            let waits = store.waits().unwrap();
            let options = PutOptions {
                ttl: Ttl::Millis(extreme),
                soft_ttl_ms: extreme,
                idle_ttl_ms: extreme.min(u64::from(u32::MAX)),
                ..SET
            };
            let reasons = [
                DropReason::Cancelled,
                DropReason::Failed { retry_ms: extreme },
                DropReason::Absent { ttl_ms: extreme },
                DropReason::Absent { ttl_ms: 0 },
            ];
            for reason in reasons {
                ignore(store.put(b"k", b"v", &options).unwrap());
                for stale in [false, true] {
                    if let Claim::Claimed(lease) =
                        store.claim(b"k", ClaimOptions { timeout_ms: 0, stale }).unwrap()
                    {
                        ignore(store.lease_put(lease, b"w", &options).unwrap());
                    }
                }
                if let Claim::Claimed(lease) = store.claim(b"l", AT_ONCE).unwrap() {
                    ignore(waits.add(b"l", 1).unwrap());
                    store.lease_drop(lease, reason).unwrap();
                }
                ignore(store.claim(b"l", AT_ONCE).unwrap());
                while waits.next().unwrap().is_some() {}
                store.delete(b"l").unwrap();
                hand.fetch_add(extreme / 2, Ordering::SeqCst);
                pool.validate().unwrap();
            }
        }
    }
}

/// Monotonic clocks do not fall; if one does, leases last longer and nothing breaks.
#[test]
fn a_clock_that_falls_breaks_nothing() {
    let (pool, store, hand) = timed_store();
    hand.store(1_000_000, Ordering::SeqCst);
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    let failed = granted(store.claim(b"f", AT_ONCE).unwrap());
    store.lease_drop(failed, DropReason::Failed { retry_ms: 100 }).unwrap();
    hand.store(5, Ordering::SeqCst);
    is_busy(store.claim(b"k", AT_ONCE).unwrap());
    assert!(matches!(store.claim(b"f", AT_ONCE).unwrap(), Claim::LoadFailed));
    let soft = PutOptions { soft_ttl_ms: 10, ttl: Ttl::Millis(20), ..SET };
    assert!(matches!(store.lease_put(lease, b"v", &soft).unwrap(), PutOutcome::Stored(_)));
    assert_eq!(value(store.claim(b"k", AT_ONCE).unwrap()), b"v");
    hand.store(0, Ordering::SeqCst);
    assert_eq!(value(store.claim(b"k", AT_ONCE).unwrap()), b"v");
    pool.validate().unwrap();
}

/// A value without any time left is its loader's alone; who waited loads in turn, and all end.
#[test]
fn values_that_are_over_at_once_keep_nobody_waiting() {
    for (ttl, jitter_pct) in [(Ttl::Millis(0), 0), (Ttl::Millis(1), 100)] {
        let pool = Pool::create(&PoolConfig::new(8 << 20)).unwrap();
        let config = StoreConfig { jitter_pct, soft_ttl_ms: 1, ..StoreConfig::default() };
        let store = pool.open_store(&config).unwrap();
        let options = LoadOptions { put: PutOptions { ttl, ..SET }, ..LoadOptions::default() };
        let (loading, loads) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let load = || {
                            assert_eq!(loading.fetch_add(1, Ordering::SeqCst), 0);
                            loads.fetch_add(1, Ordering::SeqCst);
                            std::thread::yield_now();
                            loading.fetch_sub(1, Ordering::SeqCst);
                            Ok::<_, Infallible>(Some(b"v"))
                        };
                        let loaded = store.get_or_load(b"k", &options, load);
                        assert_eq!(&**loaded.unwrap().as_ref().unwrap(), b"v");
                    }
                });
            }
        });
        assert!((1..=400).contains(&loads.into_inner()));
        pool.validate().unwrap();
    }
}

/// Leases that were granted under a large limit, and puts under a small one.
#[test]
fn leases_outlive_a_limit_that_falls() {
    let pool = Pool::create(&PoolConfig::new(32 << 20)).unwrap();
    let store = pool.open_store(&StoreConfig::default()).unwrap();
    let key = |number: u32| number.to_be_bytes();
    for number in 0..20_000 {
        store.set(&key(1 << 20 | number), &[1; 1_000]).unwrap();
    }
    let leases: Vec<_> =
        (0..4_000).map(|number| granted(store.claim(&key(number), AT_ONCE).unwrap())).collect();
    for &lease in leases.iter().step_by(3) {
        store.lease_drop(lease, DropReason::Absent { ttl_ms: 100_000 }).unwrap();
    }
    ignore(pool.set_limit(2 << 20).unwrap());
    pool.validate().unwrap();
    let mut stored = 0;
    for (number, &lease) in leases.iter().enumerate() {
        match store.lease_put(lease, &[2; 500], &SET) {
            Ok(PutOutcome::Stored(_)) => stored += 1,
            Ok(PutOutcome::Conflict) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace),
        }
        if number % 500 == 0 {
            // As many as fit now; the oldest go.
            ignore(store.claim(&key(1 << 24 | number as u32), AT_ONCE).unwrap());
            pool.validate().unwrap();
        }
    }
    assert!(stored > 0);
    assert!(pool.stats().used_bytes <= pool.stats().limit_bytes);
    pool.validate().unwrap();
}

/// Says that a thread is done, also where it fails.
struct AtEnd<'a>(&'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// All that may happen to a lease, from eight threads: a value that is read under a key is one that
/// was put under it, no load is stored after a change that came later, and nothing is left.
#[test]
fn everything_at_once() {
    let pool = Pool::create(&PoolConfig::new(4 << 20)).unwrap();
    let config = StoreConfig {
        shards: 2,
        lease_ms: 3,
        negative_ttl_ms: 1,
        stale_if_error_ms: 5,
        value_len_max: 20_000,
        ..StoreConfig::default()
    };
    let store = pool.open_store(&config).unwrap();
    let other = pool.open_store(&config).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..6_u64 {
            let (store, is_over) = (&store, &is_over);
            scope.spawn(move || {
                let _at_end = AtEnd(is_over);
                let waits = store.waits().unwrap();
                let mut dice = thread + 1;
                for round in 0..6_000_u64 {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(thread + 1);
                    let (what, number) = (dice >> 33, dice >> 50 & 15);
                    let key = number.to_be_bytes();
                    let is_long = what & 0x300 == 0x300;
                    let bytes = vec![number as u8; if is_long { 20_001 } else { 300 }];
                    let claim = ClaimOptions { timeout_ms: what >> 4 & 1, stale: what & 32 != 0 };
                    let soft = PutOptions {
                        soft_ttl_ms: what >> 6 & 3,
                        ttl: if what & 1 == 0 { Ttl::Millis(what >> 8 & 3) } else { Ttl::Never },
                        ..SET
                    };
                    match what & 15 {
                        0..10 => match store.claim(&key, claim) {
                            Ok(Claim::Value(view)) => {
                                assert!(view.iter().all(|&byte| byte == number as u8));
                            }
                            Ok(Claim::Claimed(lease)) => match what >> 10 & 7 {
                                0 => ignore(store.lease_drop(lease, DropReason::Cancelled)),
                                1 => {
                                    let failed = DropReason::Failed { retry_ms: what >> 13 & 1 };
                                    ignore(store.lease_drop(lease, failed));
                                }
                                2 => {
                                    let absent = DropReason::Absent { ttl_ms: what >> 13 & 1 };
                                    ignore(store.lease_drop(lease, absent));
                                }
                                // Abandoned.
                                3 => {}
                                4 => {
                                    store.delete(&key).unwrap();
                                    let put = store.lease_put(lease, &bytes, &soft).unwrap();
                                    assert_eq!(put, PutOutcome::Conflict);
                                }
                                _ => ignore(store.lease_put(lease, &bytes, &soft)),
                            },
                            Ok(Claim::TimedOut) => ignore(waits.add(&key, round)),
                            Ok(_) => {}
                            // Its own lease, abandoned before.
                            Err(error) if error.kind() == ErrorKind::Deadlock => {
                                assert_ne!(claim.timeout_ms, 0);
                            }
                            Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace),
                        },
                        10 => ignore(store.put(&key, &bytes[..300], &soft)),
                        11 => ignore(store.delete(&key).unwrap()),
                        12 if what & 0xF000 == 0 => {
                            ignore(store.invalidate(Match::Prefix(&key[..7])));
                        }
                        _ => {
                            if let Some(value) = store.get_vec(&key).unwrap() {
                                assert!(value.iter().all(|&byte| byte == number as u8));
                            }
                        }
                    }
                    while waits.next().unwrap().is_some() {}
                }
            });
        }
        scope.spawn(|| {
            loop {
                store.clear().unwrap();
                for mib in [2, 4] {
                    ignore(pool.set_limit(mib << 20).unwrap());
                }
                if is_over.load(Ordering::SeqCst) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        // Another store takes the same memory, and goes.
        scope.spawn(|| {
            for number in 0..3_000_u32 {
                ignore(other.set(&number.to_be_bytes(), &[9; 2_000]));
                ignore(other.claim(&(number % 50 + 10_000).to_be_bytes(), AT_ONCE));
            }
            other.destroy();
        });
    });
    assert_eq!(pool.stats().pinned_bytes, 0);
    pool.validate().unwrap();
    store.clear().unwrap();
    drop((store, other));
    pool.trim(0).unwrap();
    pool.validate().unwrap();
}
