//! Limits, chains, lives and views of unlikely shapes.

use crate::support::{MIB, check};
use hypercache_core::clock::Clock;
use hypercache_core::{ErrorKind, Pool, PoolConfig, PutOptions, StoreConfig, Ttl};
use std::sync::atomic::Ordering;

#[test]
fn a_limit_below_one_segment_takes_nothing_from_other_stores() {
    let pool = Pool::create(&PoolConfig::new(512 * MIB)).unwrap();
    let other = pool.open_store(&StoreConfig::default()).unwrap();
    for i in 0..2_000_u64 {
        other.set(&i.to_be_bytes(), &vec![1; 4_000]).unwrap();
    }
    let entries = other.stats().entries;
    let config = StoreConfig { limit_bytes: 256 << 10, ..StoreConfig::default() };
    let error = pool.open_store(&config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(error.to_string().contains("limit_bytes"), "{error}");
    assert_eq!(other.stats().entries, entries);
}

#[test]
fn a_chain_of_any_length_is_searched_to_its_end() {
    use rapidhash::v3::{RapidSecrets, rapidhash_v3_micro_inline};
    let secrets = RapidSecrets::seed(7);
    let keys: Vec<[u8; 8]> = (0_u64..)
        .map(u64::to_be_bytes)
        .filter(|key| rapidhash_v3_micro_inline::<true, true>(key, &secrets) & 0x3FF == 0)
        .take(800)
        .collect();
    let pool = Pool::create(&PoolConfig::new(4 * MIB)).unwrap();
    let config = StoreConfig { shards: 1, hash_seed: 7, ..StoreConfig::default() };
    let store = pool.open_store(&config).unwrap();
    for key in &keys {
        store.set(key, key).unwrap();
    }
    assert_eq!(store.stats().entries, 800);
    let found = keys.iter().filter(|key| store.contains(*key).unwrap()).count();
    assert_eq!(found, 800, "keys of one bucket that are found");
    for key in &keys {
        assert!(store.delete(key).unwrap());
    }
    check(&store);
}

#[test]
fn a_shortened_life_behind_the_sweep_is_swept() {
    let pool = Pool::create(&PoolConfig::new(4 * MIB)).unwrap();
    let (clock, hand) = Clock::manual(0);
    let config = StoreConfig { shards: 1, ..StoreConfig::default() };
    let store = pool.open_store_with(&config, clock).unwrap();
    for i in 0..200_u64 {
        let ttl = Ttl::Millis(if i == 0 { 10 } else { 1_000_000 });
        let options = PutOptions { ttl, ..PutOptions::default() };
        store.put(&i.to_be_bytes(), b"value", &options).unwrap();
    }
    hand.store(20, Ordering::SeqCst);
    // The sweep has the first entries behind it, and the others before it.
    while store.stats().expired == 0 {
        store.delete(b"none").unwrap();
    }
    store.delete(b"none").unwrap();
    assert!(store.touch(&1_u64.to_be_bytes(), Ttl::Millis(5)).unwrap());
    for _ in 0..100 {
        store.delete(b"none").unwrap();
    }
    hand.store(1_000, Ordering::SeqCst);
    for _ in 0..200 {
        store.delete(b"none").unwrap();
    }
    assert_eq!(store.stats().expired, 2);
    check(&store);
}

#[test]
fn what_views_hold_is_not_waited_for() {
    let config = PoolConfig { pin_limit_bytes: MIB, ..PoolConfig::new(MIB) };
    let pool = Pool::create(&config).unwrap();
    let store = pool.open_store(&StoreConfig { shards: 1, ..StoreConfig::default() }).unwrap();
    let mut views = Vec::new();
    for i in 0..500_u64 {
        let key = i.to_be_bytes();
        match store.set(&key, &[1; 4_000]).and_then(|_| store.set(&key, &[2; 4_097])) {
            Ok(_) => views.extend(store.pin(&key, false).ok().flatten()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace),
        }
    }
    check(&store);
    drop(views);
    store.set(b"key", &[1; 4_000]).unwrap();
    check(&store);
}

#[test]
fn a_store_short_of_less_than_a_page_makes_room_of_its_own() {
    let config = PoolConfig { limit_max_bytes: 8 * MIB, ..PoolConfig::new(MIB) };
    let pool = Pool::create(&config).unwrap();
    let config = StoreConfig { shards: 1, ..StoreConfig::default() };
    let first = pool.open_store(&config).unwrap();
    let _ = pool.set_limit(4 * MIB).unwrap();
    let second = pool.open_store(&config).unwrap();
    let rounds =
        [(&first, 64_u64, 94, 12_933_usize), (&second, 164, 16, 1_059), (&second, 165, 70, 25_060)];
    for (store, key, count, len) in rounds {
        if len > 20_000 {
            second.set_limit(2 * MIB).unwrap();
        }
        for i in 0..count {
            store
                .set(&(key + i as u64).to_be_bytes(), &vec![7; len.saturating_sub(7 * i)])
                .unwrap_or_else(|error| panic!("{error}; {i} of {len}"));
        }
    }
    check(&second);
}
