//! What leases and what is remembered may take.

use crate::common::*;
use hypercache_core::memory::sys::testing::{fail_after, has_failed as has_failed_once};
use hypercache_core::{
    Claim, DropReason, Error, ErrorKind, Pool, PoolConfig, PutOutcome, Store, StoreConfig, View,
};
use std::future::pending;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

type Task<'a> = Pin<Box<dyn Future<Output = hypercache_core::Result<Claim<View>>> + 'a>>;

/// A task that claims a key, and what came of its first turn.
fn task<'a>(
    store: &'a Store,
    key: &'a [u8],
) -> (Task<'a>, Poll<hypercache_core::Result<Claim<View>>>) {
    let mut task: Task<'a> = Box::pin(store.claim_async(key, FOREVER, |_| pending::<()>()));
    let turn = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    (task, turn)
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

fn is_refusal(error: &Error) {
    assert!([ErrorKind::NoMemory, ErrorKind::NoSpace].contains(&error.kind()), "{error}");
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
                        let (mut waiting, turn) = task(&store, &key);
                        let _ = store.lease_put(lease, &vec![1; number as usize * 300], &SET);
                        // However the put went, the lease is over, and the task hears of it.
                        let told = match turn {
                            Poll::Pending => {
                                waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()))
                            }
                            refused => refused,
                        };
                        match told {
                            Poll::Ready(Ok(Claim::Claimed(lease))) => {
                                store.lease_drop(lease, DropReason::Cancelled).unwrap();
                            }
                            Poll::Ready(Ok(Claim::Value(_) | Claim::Declined)) => {}
                            Poll::Ready(Err(error)) => is_refusal(&error),
                            other => panic!("{other:?}"),
                        }
                    }
                    Ok(other) => panic!("{other:?} of a new key"),
                    Err(error) => is_refusal(&error),
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

/// A full pool has room for who waits: entries give way to waits as to whatever else is written.
#[test]
fn waits_find_room_in_a_full_pool() {
    const WAITS: u64 = 10_000;
    let (pool, store) = store();
    let fill = || {
        for number in 0..100_000_u32 {
            ignore(store.set(&number.to_be_bytes(), &[1; 200]).unwrap());
        }
        let stats = store.stats();
        assert!(stats.evicted > 0);
        stats.entries
    };
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    let before = fill();
    let tasks: Vec<_> = (0..WAITS).map(|_| task(&store, b"k")).collect();
    let refused = tasks.iter().find(|(_, turn)| turn.is_ready());
    assert!(refused.is_none(), "{:?}", refused.map(|(_, turn)| turn));
    // What the waits take goes, and little more.
    let after = store.stats().entries;
    assert!(after > before * 3 / 4, "{after} of {before} entries are left");
    drop(tasks);
    fill();
    let waits = store.waits().unwrap();
    for cookie in 0..WAITS {
        assert!(waits.add(b"k", cookie).unwrap().is_some());
    }
    assert!(matches!(store.lease_put(lease, b"v", &SET).unwrap(), PutOutcome::Stored(_)));
    let mut told = 0;
    while waits.next().unwrap().is_some() {
        told += 1;
    }
    assert_eq!(told, WAITS);
    pool.validate().unwrap();
}

#[test]
fn the_pin_limit_bounds_who_waits() {
    const LIMIT: u64 = 10_000;
    let config = PoolConfig { pin_limit_bytes: LIMIT, ..PoolConfig::new(8 << 20) };
    let pool = Pool::create(&config).unwrap();
    let store = pool.open_store(&StoreConfig::default()).unwrap();
    let lease = granted(store.claim(b"k", AT_ONCE).unwrap());
    let waits = store.waits().unwrap();
    for _ in 0..2 {
        let mut tasks = Vec::new();
        let refused = loop {
            let (task, turn) = task(&store, b"k");
            match turn {
                Poll::Pending => tasks.push(task),
                Poll::Ready(refused) => break refused.unwrap_err(),
            }
        };
        assert_eq!(refused.kind(), ErrorKind::NoSpace);
        assert_eq!(waits.add(b"k", 1).unwrap_err().kind(), ErrorKind::NoSpace);
        let pinned = pool.stats().pinned_bytes;
        assert!(pinned <= LIMIT && tasks.len() > 50, "{pinned} bytes, {} tasks", tasks.len());
        drop(tasks);
        assert_eq!(pool.stats().pinned_bytes, 0);
    }
    while waits.add(b"k", 1).is_ok() {}
    assert!((1..=LIMIT).contains(&pool.stats().pinned_bytes));
    store.lease_put(lease, b"v", &SET).unwrap();
    while waits.next().unwrap().is_some() {}
    assert_eq!(pool.stats().pinned_bytes, 0);
    pool.validate().unwrap();
}

/// The longest key takes more than a small shard's share, and leaves the others theirs.
#[test]
fn a_long_key_ends_no_other_lease_and_forgets_nothing() {
    let pool = Pool::create(&PoolConfig::new(8 << 20)).unwrap();
    let config = StoreConfig { limit_bytes: 1 << 18, shards: 1, ..StoreConfig::default() };
    let store = pool.open_store(&config).unwrap();
    let long = vec![b'l'; hypercache_core::types::KEY_LEN_MAX];
    for number in 0..10_u32 {
        let lease = granted(store.claim(&number.to_le_bytes(), AT_ONCE).unwrap());
        store.lease_drop(lease, DropReason::Absent { ttl_ms: 0 }).unwrap();
    }
    let held: Vec<_> = (0..10_u32)
        .map(|n| granted(store.claim(&n.to_be_bytes()[1..], AT_ONCE).unwrap()))
        .collect();
    for reason in [DropReason::Absent { ttl_ms: 0 }, DropReason::Failed { retry_ms: 10_000 }] {
        let lease = granted(store.claim(&long, AT_ONCE).unwrap());
        let (mut waits, turn) = task(&store, &long);
        assert!(turn.is_pending());
        store.lease_drop(lease, reason).unwrap();
        // Who waits is told, and nothing is remembered.
        let told = waits.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(told, Poll::Ready(Ok(Claim::Absent | Claim::LoadFailed))), "{told:?}");
    }
    for number in 0..10_u32 {
        let claim = store.claim(&number.to_le_bytes(), AT_ONCE).unwrap();
        assert!(matches!(claim, Claim::Absent), "{claim:?} of {number}");
    }
    for lease in held {
        assert!(matches!(store.lease_put(lease, b"v", &SET).unwrap(), PutOutcome::Stored(_)));
    }
    // Longest keys beside each other are bounded all the same.
    for number in 0..100 {
        let mut key = long.clone();
        key[0] = number;
        granted(store.claim(&key, AT_ONCE).unwrap());
    }
    let held = pool.stats().held_bytes;
    assert!(held < 1 << 20, "{held} bytes");
    pool.validate().unwrap();
}
