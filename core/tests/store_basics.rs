//! What every call does, one at a time, with every invariant checked.

#![allow(clippy::unwrap_used)]

mod support;

use hypercache_core::types::{DeleteOutcome, IncrOutcome, PutOutcome};
use hypercache_core::{Match, PolicyKind, Pool, PutMode, PutOptions, Store, StoreConfig, Ttl};
use support::{MIB, check, key, pool};

fn store(pool: &Pool) -> Store {
    pool.open_store(&StoreConfig { hash_seed: 7, ..StoreConfig::default() }).unwrap()
}

#[test]
fn set_get_delete() {
    let pool = pool(4);
    let store = store(&pool);
    for i in 0..2_000 {
        assert!(matches!(store.set(&key(i), &i.to_le_bytes()).unwrap(), PutOutcome::Stored(_)));
    }
    check(&store);
    for i in 0..2_000 {
        assert_eq!(store.get_vec(&key(i)).unwrap().unwrap(), i.to_le_bytes());
    }
    for i in (0..2_000).step_by(2) {
        assert!(store.delete(&key(i)).unwrap());
        assert!(!store.delete(&key(i)).unwrap());
    }
    check(&store);
    for i in 0..2_000 {
        assert_eq!(store.contains(&key(i)).unwrap(), i % 2 == 1);
    }
    let stats = store.stats();
    assert_eq!((stats.entries, stats.inserts, stats.deletes), (1_000, 2_000, 1_000));
    assert_eq!((stats.hits, stats.misses), (2_000, 0));
    store.clear().unwrap();
    check(&store);
    assert_eq!(store.stats().entries, 0);
}

#[test]
fn fills_far_beyond_its_limit() {
    for (_, policy) in PolicyKind::ALL {
        for mib in [1, 8, 64] {
            let pool = pool(mib);
            let config = StoreConfig { policy, hash_seed: 3, ..StoreConfig::default() };
            let store = pool.open_store(&config).unwrap();
            let value = [9_u8; 64];
            let n = (mib << 20) / 40;
            for i in 0..n {
                assert!(matches!(store.set(&key(i), &value).unwrap(), PutOutcome::Stored(_)));
                if i % 7 == 0 {
                    store.get_vec(&key(i / 2)).unwrap();
                }
            }
            check(&store);
            let stats = store.stats();
            let per_entry = (mib << 20) as f64 / stats.entries as f64;
            println!("{policy:?} {mib} MiB: {} entries, {per_entry:.1} bytes each", stats.entries);
            assert!(per_entry < 140.0);
        }
    }
}

#[test]
fn sizes_from_nothing_to_a_quarter_of_the_store() {
    let pool = pool(32);
    let store = store(&pool);
    let bytes: Vec<u8> = (0..8 << 20).map(|i: u32| ((i * 7) >> 3) as u8).collect();
    for round in 0..40_u64 {
        for (i, len) in [0, 1, 7, 8, 100, 4_095, 4_096, 5_000, 33_000, 100_000, 1 << 20, 8 << 20]
            .into_iter()
            .enumerate()
        {
            let value = &bytes[..len];
            let name = key(round * 100 + i as u64);
            assert!(matches!(store.set(&name, value).unwrap(), PutOutcome::Stored(_)), "{len}");
            assert!(store.get_vec(&name).unwrap().unwrap() == value, "{len}");
            let view = store.pin(&name, false).unwrap().unwrap();
            assert!(&*view == value);
            store.delete(&name).unwrap();
            assert!(&*view == value);
            drop(view);
            store.set(&name, value).unwrap();
        }
        check(&store);
    }
    let error = store.set(b"big", &bytes.repeat(2)).unwrap_err();
    assert_eq!(error.kind(), hypercache_core::ErrorKind::TooLarge);
    check(&store);
}

#[test]
fn modes_and_versions() {
    let pool = pool(4);
    let store = store(&pool);
    let put = |mode| store.put(b"k", b"v", &PutOptions { mode, ..PutOptions::default() }).unwrap();
    assert_eq!(put(PutMode::Replace), PutOutcome::NotFound);
    assert_eq!(put(PutMode::CompareAndSet(1)), PutOutcome::NotFound);
    let PutOutcome::Stored(version) = put(PutMode::Add) else { panic!() };
    assert_eq!(put(PutMode::Add), PutOutcome::Exists);
    assert_eq!(put(PutMode::CompareAndSet(version + 1)), PutOutcome::Conflict);
    let PutOutcome::Stored(next) = put(PutMode::CompareAndSet(version)) else { panic!() };
    assert_ne!(version, next);
    assert_eq!(store.delete_if(b"k", version).unwrap(), DeleteOutcome::Conflict);
    assert_eq!(store.delete_if(b"k", next).unwrap(), DeleteOutcome::Deleted);
    assert_eq!(store.delete_if(b"k", next).unwrap(), DeleteOutcome::NotFound);
    check(&store);
}

#[test]
fn counters() {
    let pool = pool(4);
    let store = store(&pool);
    assert_eq!(store.incr(b"n", 5, 100, Ttl::Default).unwrap(), IncrOutcome::Sum(100));
    assert_eq!(store.incr(b"n", 5, 100, Ttl::Default).unwrap(), IncrOutcome::Sum(105));
    assert_eq!(store.incr(b"n", i64::MAX, 0, Ttl::Default).unwrap(), IncrOutcome::Overflow);
    assert_eq!(store.incr(b"n", -5, 100, Ttl::Default).unwrap(), IncrOutcome::Sum(100));
    store.set(b"s", b"text").unwrap();
    assert_eq!(store.incr(b"s", 1, 0, Ttl::Default).unwrap(), IncrOutcome::WrongType);
    check(&store);
}

#[test]
fn times_to_live() {
    let (clock, hand) = hypercache_core::clock::Clock::manual(1_000);
    let pool = pool(4);
    let config = StoreConfig { default_ttl_ms: 500, ..StoreConfig::default() };
    let store = pool.open_store_with(&config, clock).unwrap();
    let at = |ms| hand.store(ms, std::sync::atomic::Ordering::SeqCst);
    for i in 0..3_000 {
        store.set(&key(i), b"value").unwrap();
    }
    let never = PutOptions { ttl: Ttl::Never, ..PutOptions::default() };
    store.put(b"never", b"x", &never).unwrap();
    at(1_499);
    assert!(store.contains(&key(7)).unwrap());
    assert!(store.touch(&key(7), Ttl::Millis(1_000)).unwrap());
    assert!(store.touch(b"never", Ttl::Millis(10_000)).unwrap());
    at(1_500);
    assert!(!store.contains(&key(8)).unwrap());
    assert!(store.contains(&key(7)).unwrap());
    assert!(store.contains(b"never").unwrap());
    for i in 0..3_000 {
        store.set(&key(10_000 + i % 10), b"other").unwrap();
    }
    check(&store);
    let stats = store.stats();
    assert_eq!(stats.expired, 2_999, "writes sweep what is over");
    at(20_000);
    assert!(!store.contains(b"never").unwrap());
    check(&store);
}

#[test]
fn patterns_and_scans() {
    let pool = pool(8);
    let store = store(&pool);
    for i in 0..5_000_u64 {
        let session = i % 5;
        let options = PutOptions { session, ..PutOptions::default() };
        store.put(format!("user:{i}:name").as_bytes(), b"v", &options).unwrap();
    }
    let mut scan = store.scan(Match::All).unwrap();
    let mut seen = std::collections::HashSet::new();
    while let Some(entry) = scan.next(true).unwrap() {
        assert!(seen.insert(entry.key.to_vec()));
        assert_eq!(&*entry.view.unwrap(), b"v");
    }
    assert_eq!(seen.len(), 5_000);
    assert_eq!(store.invalidate(Match::Prefix(b"user:12")).unwrap(), 111);
    assert_eq!(store.invalidate(Match::Glob(b"*:3?:*")).unwrap(), 10);
    assert_eq!(store.invalidate(Match::Session(2)).unwrap(), 975);
    assert_eq!(store.invalidate(Match::Session(2)).unwrap(), 0);
    check(&store);
    assert_eq!(store.stats().entries, 5_000 - 111 - 10 - 975);
}

#[test]
fn drafts() {
    let pool = pool(16);
    let store = store(&pool);
    for len in [0_usize, 10, 5_000, 300_000] {
        let mut draft = store.reserve(b"d", len, &PutOptions::default()).unwrap();
        assert!(len == 0 || !store.contains(b"d").unwrap());
        for byte in draft.data_mut() {
            byte.write(3);
        }
        // SAFETY: all bytes were written.
        let outcome = unsafe { draft.commit() }.unwrap();
        assert!(matches!(outcome, PutOutcome::Stored(_)));
        assert!(store.get_vec(b"d").unwrap().unwrap() == vec![3; len]);
        drop(store.reserve(b"e", len, &PutOptions::default()).unwrap());
        assert!(!store.contains(b"e").unwrap());
        store.delete(b"d").unwrap();
        check(&store);
    }
    assert_eq!(pool.stats().pinned_bytes, 0);
}

#[test]
fn batches() {
    let pool = pool(8);
    let store = store(&pool);
    for i in 0..100 {
        store.set(&key(i), &[i as u8; 10]).unwrap();
    }
    let names: Vec<_> = (0..120).map(key).collect();
    let keys: Vec<&[u8]> = names.iter().map(|name| &name[..]).collect();
    let mut buf = vec![std::mem::MaybeUninit::uninit(); 10 * 100];
    let mut out = vec![hypercache_core::store::BatchRead::Miss; 120];
    store.get_many(&keys, false, &mut buf, &mut out).unwrap();
    for (i, read) in out.iter().enumerate() {
        match read {
            hypercache_core::store::BatchRead::Hit { offset, len, .. } => {
                assert!(i < 100 && *len == 10 && *offset == i * 10);
            }
            _ => assert!(i >= 100),
        }
    }
    assert_eq!(store.delete_many(&keys).unwrap(), 100);
    check(&store);
}

#[test]
fn end_of_life() {
    let pool = pool(8);
    let named = StoreConfig { name: Some("s".into()), ..StoreConfig::default() };
    let store = pool.open_store(&named).unwrap();
    let again = pool.open_store(&named).unwrap();
    store.set(b"k", &[1; 20_000]).unwrap();
    let view = again.pin(b"k", false).unwrap().unwrap();
    assert_eq!(pool.stores().len(), 1);
    drop(store);
    assert!(again.contains(b"k").unwrap());
    again.destroy();
    again.destroy();
    assert_eq!(again.set(b"k", b"v").unwrap_err().kind(), hypercache_core::ErrorKind::Closed);
    assert_eq!(again.get_vec(b"k").unwrap_err().kind(), hypercache_core::ErrorKind::Closed);
    assert!(pool.stores().is_empty());
    pool.validate().unwrap();
    let fresh = pool.open_store(&named).unwrap();
    assert!(!fresh.contains(b"k").unwrap());
    drop((again, fresh));
    let small = pool.stats().used_bytes;
    drop(pool);
    assert!(view.iter().all(|&byte| byte == 1));
    drop(view);
    assert!(small > 0);
}

#[test]
fn what_is_used_stays_under_lru_whatever_its_length() {
    for len in [100, 3_000, 60_000] {
        let pool = pool(8);
        let config = StoreConfig { policy: PolicyKind::Lru, ..StoreConfig::default() };
        let store = pool.open_store(&config).unwrap();
        let value = vec![7; len];
        store.set(b"used", &value).unwrap();
        for i in 0..4 * 8 * MIB / len as u64 {
            store.set(&key(i), &value).unwrap();
            assert!(store.get_vec(b"used").unwrap().is_some(), "{len} bytes, after {i} others");
        }
        check(&store);
    }
}
