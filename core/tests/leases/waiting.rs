//! Who waits, as a thread or without one.

use crate::common::*;
use hypercache_core::store::Ended;
use hypercache_core::{Claim, DropReason, ErrorKind, Pool, PoolConfig, StoreConfig};
use std::sync::atomic::{AtomicU32, Ordering};

#[test]
fn a_cancelled_lease_goes_to_one_waiter() {
    let (pool, store) = store();
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    let loads = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| match store.claim(b"k", FOREVER).unwrap() {
                Claim::Claimed(lease) => {
                    // Each but the last gives it up again.
                    if loads.fetch_add(1, Ordering::SeqCst) < 3 {
                        store.lease_drop(lease, DropReason::Cancelled).unwrap();
                    } else {
                        store.lease_put(lease, b"v", &SET).unwrap();
                    }
                }
                other => assert_eq!(value(other), b"v"),
            });
        }
        until_waiting(&store, 8);
        store.lease_drop(lease, DropReason::Cancelled).unwrap();
    });
    assert_eq!(loads.into_inner(), 4);
    pool.validate().unwrap();
}

#[test]
fn failing_and_absence_reach_all_who_wait() {
    for (reason, wanted) in [
        (DropReason::Failed { retry_ms: 0 }, Claim::<()>::LoadFailed),
        (DropReason::Failed { retry_ms: 10_000 }, Claim::LoadFailed),
        (DropReason::Absent { ttl_ms: 1 }, Claim::Absent),
    ] {
        let (pool, store) = store();
        let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let got = match store.claim(b"k", FOREVER).unwrap() {
                        Claim::LoadFailed => Claim::LoadFailed,
                        Claim::Absent => Claim::Absent,
                        other => panic!("{other:?}"),
                    };
                    assert_eq!(got, wanted);
                });
            }
            until_waiting(&store, 8);
            store.lease_drop(lease, reason).unwrap();
        });
        pool.validate().unwrap();
    }
}

#[test]
fn a_write_wakes_who_waits() {
    let (_pool, store) = store();
    let _lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(value(store.claim(b"k", FOREVER).unwrap()), b"written"));
        }
        until_waiting(&store, 4);
        store.set(b"k", b"written").unwrap();
    });
}

#[test]
fn a_declined_value_reaches_who_waits() {
    let pool = Pool::create(&PoolConfig::new(8 << 20)).unwrap();
    let config = StoreConfig { value_len_max: 1_000, ..StoreConfig::default() };
    let store = pool.open_store(&config).unwrap();
    for len in [1_001, 200_000] {
        let loaded = vec![7_u8; len];
        let before = store.stats().lease_waits;
        let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (store, loaded) = (&store, &loaded);
                scope.spawn(move || {
                    if number % 2 == 0 {
                        assert!(value(store.claim(b"k", FOREVER).unwrap()) == *loaded);
                        return;
                    }
                    let mut buf = vec![std::mem::MaybeUninit::uninit(); len];
                    let read = store.get_or_claim(b"k", &mut buf, FOREVER).unwrap();
                    let Claim::Value(hypercache_core::Read::Hit(info)) = read else {
                        panic!("{read:?} instead of a value");
                    };
                    assert_eq!((info.len, info.version), (len, 0));
                    // SAFETY: a hit initialised as many bytes.
                    assert!(buf.iter().all(|byte| unsafe { byte.assume_init() } == 7));
                });
            }
            until_waiting(&store, before + 8);
            let error = store.lease_put(lease, &loaded, &SET).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge);
        });
        assert_eq!(pool.stats().pinned_bytes, 0);
        assert!(!store.contains(b"k").unwrap());
    }
    pool.validate().unwrap();
}

/// Failed loads and values passed on, in turns: whoever is slow to leave the one has no share of the
/// other, which would never be given back.
#[test]
fn every_share_of_a_value_is_taken() {
    let pool = Pool::create(&PoolConfig::new(8 << 20)).unwrap();
    let config = StoreConfig { value_len_max: 1_000, ..StoreConfig::default() };
    let store = pool.open_store(&config).unwrap();
    let loads = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..3_000 {
                    let Claim::Claimed(lease) = store.claim(b"k", FOREVER).unwrap() else {
                        continue;
                    };
                    if loads.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                        store.lease_drop(lease, DropReason::Failed { retry_ms: 1 }).unwrap();
                    } else {
                        ignore(store.lease_put(lease, &[7; 1_001], &SET));
                    }
                }
            });
        }
    });
    assert_eq!(pool.stats().pinned_bytes, 0);
    pool.validate().unwrap();
}

#[test]
fn a_destroyed_store_lets_waiters_go() {
    let (pool, store) = store();
    let _lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let error = store.claim(b"k", FOREVER).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Closed);
            });
        }
        until_waiting(&store, 4);
        store.destroy();
    });
    drop(store);
    pool.validate().unwrap();
}

fn is_readable(fd: i32) -> bool {
    let mut asked = Poll { fd, events: 1, revents: 0 };
    unsafe extern "C" {
        fn poll(fds: *mut Poll, n: u64, timeout: i32) -> i32;
    }
    // SAFETY: one element, as the call is told.
    unsafe { poll(&raw mut asked, 1, 0) == 1 }
}

#[repr(C)]
struct Poll {
    fd: i32,
    events: i16,
    revents: i16,
}

#[test]
fn waits_without_a_thread_end_with_the_lease() {
    let (pool, store) = store();
    let waits = store.waits().unwrap();
    assert_eq!(waits.add(b"nobody's", 1).unwrap(), None);
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    for cookie in 0..100 {
        let left = waits.add(b"k", cookie).unwrap().unwrap();
        assert!(left <= 10_000);
    }
    assert!(!is_readable(waits.fd()));
    store.lease_put(lease, b"v", &SET).unwrap();
    assert!(is_readable(waits.fd()));
    let mut seen = Vec::new();
    while let Some((cookie, ended)) = waits.next().unwrap() {
        assert!(matches!(ended, Ended::Again));
        seen.push(cookie);
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
    assert!(!is_readable(waits.fd()));

    let lease = granted(store.claim(b"l", AT_ONCE).unwrap());
    for cookie in 0..3 {
        waits.add(b"l", cookie).unwrap().unwrap();
    }
    // A lease on offer goes to one.
    store.lease_drop(lease, DropReason::Cancelled).unwrap();
    assert!(matches!(waits.next().unwrap(), Some((2, Ended::Again))));
    assert!(waits.next().unwrap().is_none());
    let lease = granted(store.claim(b"l", AT_ONCE).unwrap());
    store.lease_drop(lease, DropReason::Failed { retry_ms: 0 }).unwrap();
    assert!(matches!(waits.next().unwrap(), Some((_, Ended::LoadFailed))));
    assert!(matches!(waits.next().unwrap(), Some((_, Ended::LoadFailed))));
    assert!(waits.next().unwrap().is_none());

    let lease = granted(store.claim(b"m", AT_ONCE).unwrap());
    waits.add(b"m", 1).unwrap().unwrap();
    waits.add(b"m", 2).unwrap().unwrap();
    let long = vec![3; 7 << 19];
    store.lease_put(lease, &long, &SET).unwrap_err();
    for _ in 0..2 {
        match waits.next().unwrap() {
            Some((_, Ended::Value(view))) => assert!(*view == long[..]),
            Some((_, Ended::Declined)) => {}
            other => panic!("{other:?}"),
        }
    }
    // What still waits when it is dropped is forgotten.
    let lease = granted(store.claim(b"n", AT_ONCE).unwrap());
    waits.add(b"n", 1).unwrap().unwrap();
    waits.add(b"n", 2).unwrap().unwrap();
    drop(waits);
    store.lease_put(lease, b"v", &SET).unwrap();
    pool.validate().unwrap();
    assert_eq!(pool.stats().pinned_bytes, 0);
}

#[test]
fn waits_and_threads_race_with_the_end() {
    let (pool, store) = store();
    std::thread::scope(|scope| {
        for number in 0..4_u64 {
            let store = &store;
            scope.spawn(move || {
                let waits = store.waits().unwrap();
                let (mut asked, mut told) = (0, 0);
                for round in 0..5_000_u64 {
                    let key = (round % 8).to_be_bytes();
                    match store.claim(&key, AT_ONCE).unwrap() {
                        Claim::Claimed(lease) => match (round + number) % 4 {
                            0 => ignore(store.lease_drop(lease, DropReason::Cancelled)),
                            1 => {
                                ignore(store.lease_drop(lease, DropReason::Failed { retry_ms: 0 }))
                            }
                            2 => ignore(store.delete(&key).unwrap()),
                            _ => ignore(store.lease_put(lease, &[1; 50], &SET).unwrap()),
                        },
                        Claim::Value(_) => ignore(store.delete(&key).unwrap()),
                        Claim::TimedOut => {
                            asked += u64::from(waits.add(&key, round).unwrap().is_some());
                        }
                        _ => {}
                    }
                    while waits.next().unwrap().is_some() {
                        told += 1;
                    }
                }
                assert!(told <= asked);
                // Drops with waits of leases that others end at the same time.
            });
        }
    });
    pool.validate().unwrap();
}
