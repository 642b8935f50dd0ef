//! Leases: who loads, who waits, what ends a load.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use hypercache_core::clock::Clock;
use hypercache_core::memory::sys::testing::{fail_after, has_failed as has_failed_once};
use hypercache_core::store::Ended;
use hypercache_core::{
    Claim, ClaimOptions, DropReason, ErrorKind, Lease, LoadError, LoadOptions, Loaded, Match, Pool,
    PoolConfig, PutMode, PutOptions, PutOutcome, Store, StoreConfig, Ttl, View,
};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

const FOREVER: ClaimOptions = ClaimOptions { timeout_ms: u64::MAX, stale: false };
const AT_ONCE: ClaimOptions = ClaimOptions { timeout_ms: 0, stale: false };
const SET: PutOptions = PutOptions {
    ttl: Ttl::Default,
    mode: PutMode::Set,
    session: 0,
    value_type: hypercache_core::ValueType::BYTES,
    flags: 0,
    soft_ttl_ms: 0,
    idle_ttl_ms: 0,
};

fn store() -> (Pool, Store) {
    let pool = Pool::create(&PoolConfig::new(8 << 20)).unwrap();
    let store = pool.open_store(&StoreConfig::default()).unwrap();
    (pool, store)
}

fn timed_store() -> (Pool, Store, Arc<AtomicU64>) {
    let pool = Pool::create(&PoolConfig::new(8 << 20)).unwrap();
    let (clock, hand) = Clock::manual(1_000);
    let store = pool.open_store_with(&StoreConfig::default(), clock).unwrap();
    (pool, store, hand)
}

fn granted(claim: Claim<View>) -> Lease {
    match claim {
        Claim::Claimed(lease) => lease,
        other => panic!("{other:?} instead of a lease"),
    }
}

fn ignore<T>(_: T) {}

/// What a pool is charged when it has given back what it can.
fn trimmed(pool: &Pool) -> u64 {
    pool.trim(0).unwrap();
    pool.stats().used_bytes
}

fn is_busy(claim: Claim<View>) {
    assert!(matches!(claim, Claim::TimedOut), "{claim:?} instead of a time-out");
}

fn value(claim: Claim<View>) -> Vec<u8> {
    match claim {
        Claim::Value(view) => view.to_vec(),
        other => panic!("{other:?} instead of a value"),
    }
}

/// Waits until so many threads wait for leases.
fn until_waiting(store: &Store, waits: u64) {
    while store.stats().lease_waits < waits {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Counted just before it sleeps.
    std::thread::sleep(Duration::from_millis(5));
}

#[test]
fn one_of_many_loads() {
    let (pool, store) = store();
    let loads = AtomicU32::new(0);
    let begin = Barrier::new(16);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                begin.wait();
                match store.claim(b"k", FOREVER).unwrap() {
                    Claim::Claimed(lease) => {
                        loads.fetch_add(1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(20));
                        let put = store.lease_put(lease, b"loaded", &SET).unwrap();
                        assert!(matches!(put, PutOutcome::Stored(_)));
                    }
                    other => assert_eq!(value(other), b"loaded"),
                }
            });
        }
    });
    assert_eq!(loads.into_inner(), 1);
    let stats = store.stats();
    assert_eq!((stats.leases, stats.entries), (1, 1));
    pool.validate().unwrap();
}

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
fn leases_that_never_were_are_conflicts() {
    let (_pool, store) = store();
    let mine = granted(store.claim(b"k", AT_ONCE).unwrap());
    for lease in [
        Lease::default(),
        Lease { generation: mine.generation + 1, ..mine },
        Lease { id: mine.id + 1, ..mine },
        Lease { id: u64::MAX, ..mine },
        Lease { id: 0, ..mine },
        Lease { id: mine.id | 255 << 16, ..mine },
    ] {
        assert_eq!(store.lease_put(lease, b"v", &SET).unwrap(), PutOutcome::Conflict);
        store.lease_drop(lease, DropReason::Cancelled).unwrap();
    }
    let add = PutOptions { mode: PutMode::Add, ..SET };
    assert_eq!(store.lease_put(mine, b"v", &add).unwrap_err().kind(), ErrorKind::Invalid);
    // It ended all the same.
    granted(store.claim(b"k", AT_ONCE).unwrap());
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
fn failures_and_absence_are_remembered_for_a_while() {
    let (pool, store, hand) = timed_store();
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    store.lease_drop(lease, DropReason::Failed { retry_ms: 50 }).unwrap();
    assert!(matches!(store.claim(b"k", AT_ONCE).unwrap(), Claim::LoadFailed));
    hand.fetch_add(50, Ordering::SeqCst);
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    store.lease_drop(lease, DropReason::Failed { retry_ms: 0 }).unwrap();
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    store.lease_drop(lease, DropReason::Absent { ttl_ms: 0 }).unwrap();
    assert!(matches!(store.claim(b"k", AT_ONCE).unwrap(), Claim::Absent));
    assert!(!store.contains(b"k").unwrap());
    hand.fetch_add(999, Ordering::SeqCst);
    assert!(matches!(store.claim(b"k", AT_ONCE).unwrap(), Claim::Absent));
    hand.fetch_add(1, Ordering::SeqCst);
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    store.lease_drop(lease, DropReason::Absent { ttl_ms: 77_000 }).unwrap();
    // A write knows better.
    store.set(b"k", b"v").unwrap();
    assert_eq!(value(store.claim(b"k", AT_ONCE).unwrap()), b"v");
    store.delete(b"k").unwrap();
    granted(store.claim(b"k", AT_ONCE).unwrap());
    pool.validate().unwrap();
}

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

#[test]
fn who_would_wait_for_himself_is_told() {
    let (_pool, store) = store();
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    assert_eq!(store.claim(b"k", FOREVER).unwrap_err().kind(), ErrorKind::Deadlock);
    is_busy(store.claim(b"k", AT_ONCE).unwrap());
    store.lease_drop(lease, DropReason::Cancelled).unwrap();
    granted(store.claim(b"k", FOREVER).unwrap());
}

#[test]
fn a_cycle_ends_by_the_timeout() {
    let (_pool, store) = store();
    let both = Barrier::new(2);
    std::thread::scope(|scope| {
        for (mine, other) in [(b"a", b"b"), (b"b", b"a")] {
            let (store, both) = (&store, &both);
            scope.spawn(move || {
                let lease = granted(store.claim(mine, AT_ONCE).unwrap());
                both.wait();
                let begun = Instant::now();
                let patient = ClaimOptions { timeout_ms: 50, stale: false };
                let got = store.claim(other, patient).unwrap();
                assert!(
                    begun.elapsed() >= Duration::from_millis(50) || !matches!(got, Claim::TimedOut)
                );
                both.wait();
                store.lease_drop(lease, DropReason::Cancelled).unwrap();
            });
        }
    });
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

#[test]
fn abandoned_leases_leave_nothing_behind() {
    let pool = Pool::create(&PoolConfig::new(8 << 20)).unwrap();
    let mut left = Vec::new();
    for _ in 0..2 {
        let store = pool.open_store(&StoreConfig::default()).unwrap();
        let mut held = 0;
        for number in 0..500_000_u32 {
            granted(store.claim(&number.to_be_bytes(), AT_ONCE).unwrap());
            match number {
                100_000 => held = store.stats().used_bytes,
                400_000 => assert_eq!(store.stats().used_bytes, held),
                _ => {}
            }
        }
        pool.validate().unwrap();
        let stats = store.stats();
        assert_eq!((stats.leases, stats.entries), (500_000, 0));
        assert!(stats.used_bytes < 1 << 20, "{} bytes", stats.used_bytes);
        drop(store);
        left.push(trimmed(&pool));
    }
    // The second time, the pool's own tables have grown already.
    assert_eq!(left[0], left[1]);
}

#[test]
fn long_keys_have_blocks_of_their_own() {
    let pool = Pool::create(&PoolConfig::new(8 << 20)).unwrap();
    let mut left = Vec::new();
    for _ in 0..2 {
        let store = pool.open_store(&StoreConfig::default()).unwrap();
        for len in [0, 55, 56, 57, 1_000, 65_535] {
            let key = vec![b'k'; len];
            let lease = granted(store.claim(&key, AT_ONCE).unwrap());
            is_busy(store.claim(&key, AT_ONCE).unwrap());
            pool.validate().unwrap();
            if len <= 1_000 {
                let put = store.lease_put(lease, b"v", &SET).unwrap();
                assert!(matches!(put, PutOutcome::Stored(_)));
                assert_eq!(value(store.claim(&key, AT_ONCE).unwrap()), b"v");
            } else {
                store.lease_drop(lease, DropReason::Absent { ttl_ms: 0 }).unwrap();
                assert!(matches!(store.claim(&key, AT_ONCE).unwrap(), Claim::Absent));
            }
        }
        pool.validate().unwrap();
        drop(store);
        left.push(trimmed(&pool));
    }
    assert_eq!(left[0], left[1]);
}

#[test]
fn a_scan_of_absent_keys_takes_its_share_only() {
    let pool = Pool::create(&PoolConfig::new(8 << 20)).unwrap();
    let config = StoreConfig { negative_ttl_ms: 1_000_000, ..StoreConfig::default() };
    let store = pool.open_store(&config).unwrap();
    for number in 0..2_000_u32 {
        store.set(&number.to_be_bytes(), &[1; 100]).unwrap();
    }
    let before = store.stats();
    for number in 1_000_000..1_200_000_u32 {
        let lease = granted(store.claim(&number.to_be_bytes(), AT_ONCE).unwrap());
        store.lease_drop(lease, DropReason::Absent { ttl_ms: 0 }).unwrap();
    }
    let after = store.stats();
    assert_eq!((after.entries, after.evicted), (before.entries, 0));
    // 5 %, rounded up to the runs that records lie in.
    assert!(after.used_bytes - before.used_bytes < 2 * (8 << 20) * 5 / 100);
    // The latest are the ones that are known.
    assert!(matches!(store.claim(&1_199_999_u32.to_be_bytes(), AT_ONCE).unwrap(), Claim::Absent));
    pool.validate().unwrap();
}

/// The n-th charge or commit of memory fails, for every n: an answer, and nothing lost.
#[test]
fn every_piece_of_memory_may_be_refused() {
    for long in [false, true] {
        let mut has_failed = true;
        let mut n = 0;
        while has_failed {
            n += 1;
            let (pool, store) = store();
            let waits = store.waits().unwrap();
            fail_after(n);
            for number in 0..100_u32 {
                let mut key = number.to_be_bytes().to_vec();
                key.resize(if long { 300 } else { 4 }, b'k');
                match store.claim(&key, AT_ONCE) {
                    Ok(Claim::Claimed(lease)) => {
                        let _ = waits.add(&key, 1);
                        let _ = store.lease_put(lease, &vec![1; number as usize * 300], &SET);
                    }
                    Ok(other) => panic!("{other:?} of a new key"),
                    Err(error) => assert!(
                        [ErrorKind::NoMemory, ErrorKind::NoSpace].contains(&error.kind()),
                        "{error}"
                    ),
                }
                while waits.next().unwrap().is_some() {}
            }
            has_failed = has_failed_once();
            fail_after(0);
            pool.validate().unwrap();
            assert_eq!(pool.stats().pinned_bytes, 0);
        }
        assert!(n > 5, "memory was asked for {n} times only");
    }
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

#[test]
fn one_loads_for_all() {
    let (pool, store) = store();
    let loads = AtomicU32::new(0);
    let begin = Barrier::new(16);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                begin.wait();
                let value = store.get_or_load(b"k", &LoadOptions::default(), || {
                    loads.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(20));
                    Ok::<_, Infallible>(Some(b"loaded"))
                });
                assert_eq!(&**value.unwrap().as_ref().unwrap(), b"loaded");
            });
        }
    });
    assert_eq!(loads.into_inner(), 1);
    pool.validate().unwrap();
}

#[test]
fn what_the_load_says_is_what_callers_hear() {
    let (pool, store) = store();
    let options = LoadOptions { retry_ms: 100_000, ..LoadOptions::default() };
    let absent = store.get_or_load(b"a", &options, || Ok::<Option<Vec<u8>>, ()>(None));
    assert!(absent.unwrap().is_none());
    let known = store.get_or_load(b"a", &options, || Ok::<_, ()>(Some(vec![1])));
    assert!(known.unwrap().is_none());

    let failed = store.get_or_load(b"f", &options, || Err::<Option<Vec<u8>>, _>("no source"));
    assert!(matches!(failed, Err(LoadError::Load("no source"))));
    let again = store.get_or_load(b"f", &options, || Ok::<_, ()>(Some(vec![1])));
    assert!(matches!(again, Err(LoadError::Failed)));

    // A load that unwinds lets the next one load.
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = store.get_or_load(b"p", &options, || -> Result<Option<Vec<u8>>, ()> {
            panic!("as the test wants it");
        });
    }));
    assert!(unwound.is_err());
    let next = store.get_or_load(b"p", &options, || Ok::<_, ()>(Some(vec![7])));
    assert_eq!(**next.unwrap().as_ref().unwrap(), [7]);

    // A load that asks for its own key is told, not hung.
    let inner = store.get_or_load(b"r", &options, || {
        let inner = store.get_or_load(b"r", &options, || Ok::<_, ()>(Some(vec![1])));
        match inner {
            Err(LoadError::Cache(error)) => Err(error.kind()),
            _ => Ok(Some(vec![2])),
        }
    });
    assert!(matches!(inner, Err(LoadError::Load(ErrorKind::Deadlock))));
    // Who does not wait loads for itself.
    let lease = granted(store.claim(b"t", AT_ONCE).unwrap());
    let hurried = LoadOptions { claim: AT_ONCE, ..LoadOptions::default() };
    let own = store.get_or_load(b"t", &hurried, || Ok::<_, ()>(Some(vec![3])));
    assert!(matches!(own.unwrap().unwrap(), Loaded::Own(value) if value == [3]));
    assert!(matches!(store.lease_put(lease, &[4], &SET).unwrap(), PutOutcome::Stored(_)));
    pool.validate().unwrap();
}

#[test]
fn long_keys_are_bounded_by_their_bytes() {
    let (pool, store) = store();
    let longest = 10_000;
    for number in 0..2_000_u32 {
        let key = [&number.to_be_bytes()[..], &vec![7; longest]].concat();
        granted(store.claim(&key, AT_ONCE).unwrap());
    }
    // A 32nd of the limit, and one lease a shard more.
    let shards = u64::from(store.config().shards);
    let most = pool.stats().limit_bytes / 32 + shards * 2 * longest as u64;
    assert!(pool.stats().held_bytes < most + (1 << 20), "{} bytes", pool.stats().held_bytes);
    for number in 0..1_000_u32 {
        let stored = store.set(&number.to_be_bytes(), &[1; 1_000]).unwrap();
        assert!(matches!(stored, PutOutcome::Stored(_)));
    }
    pool.validate().unwrap();
    store.clear().unwrap();
    pool.validate().unwrap();
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
