//! A fault injected under a shard's lock takes that shard out of service, and nothing else.

#![allow(clippy::unwrap_used)]

mod support;

use hypercache_core::{Pool, PoolConfig, StoreConfig};
use support::check;

fn key(i: u64) -> [u8; 8] {
    i.to_be_bytes()
}

#[test]
fn an_injected_fault_poisons_one_shard() {
    let pool = Pool::create(&PoolConfig::new(64 << 20)).unwrap();
    let config = StoreConfig { shards: 4, ..StoreConfig::default() };
    let store = pool.open_store(&config).unwrap();
    for i in 0..1_000 {
        store.set(&key(i), b"v").unwrap();
    }
    hypercache_core::store::testing::panic_at_write(1);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = store.set(&key(0), b"w");
    }));
    assert!(caught.is_err());
    let error = store.set(&key(0), b"x").unwrap_err();
    assert_eq!(error.kind(), hypercache_core::ErrorKind::Poisoned);
    let stats = store.stats();
    assert_eq!((stats.poisoned_shards, stats.faults), (1, 1));
    check(&store);
    store.clear().unwrap();
    check(&store);
    assert_eq!(store.stats().poisoned_shards, 0);
    store.set(&key(0), b"x").unwrap();
    assert_eq!(store.get_vec(&key(0)).unwrap().unwrap(), b"x");
    check(&store);
}
