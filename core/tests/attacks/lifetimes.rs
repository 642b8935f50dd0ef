//! Stores that begin and end at bad times, and callers that do.

use crate::assert_empty;
use crate::support::{MIB, alone, check};
use hypercache_core::memory::sys;
use hypercache_core::{ErrorKind, Pool, PoolConfig, Store, StoreConfig};
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_store_ends_where_tables_are_opened_as_they_are_needed() {
    alone("lifetimes::a_store_ends_where_tables_are_opened_as_they_are_needed", || {
        sys::testing::account_strictly(true);
        let pool = Pool::create(&PoolConfig::new(64 * MIB)).unwrap();
        let store = pool.open_store(&StoreConfig::default()).unwrap();
        for i in 0..1_000_u64 {
            store.set(&i.to_be_bytes(), &[1; 100]).unwrap();
        }
        check(&store);
        store.destroy();
        assert_empty(&pool);
    });
}

#[test]
fn a_store_that_fails_to_open_gives_everything_back() {
    let config = StoreConfig { shards: 8, ..StoreConfig::default() };
    for n in 1..40 {
        let pool = Pool::create(&PoolConfig::new(4 * MIB)).unwrap();
        sys::testing::fail_after(n);
        let opened = pool.open_store(&config);
        sys::testing::fail_after(0);
        let failed = opened.is_err();
        drop(opened);
        if failed {
            assert_empty(&pool);
        }
    }
}

#[test]
fn a_destroyed_store_stays_closed_whatever_its_writers_are_doing() {
    let pool = Pool::create(&PoolConfig::new(4 * MIB)).unwrap();
    let begin = std::time::Instant::now();
    while begin.elapsed().as_millis() < 1_000 {
        let store = pool.open_store(&StoreConfig { shards: 1, ..StoreConfig::default() }).unwrap();
        let started = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for i in 0..200_000_u64 {
                    if store.set(&i.to_be_bytes(), b"").is_err() {
                        break;
                    }
                    started.store(true, Ordering::Relaxed);
                }
            });
            while !started.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            store.destroy();
        });
        assert_eq!(store.set(b"key", b"").unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(store.contains(b"key").unwrap_err().kind(), ErrorKind::Closed);
    }
    assert_empty(&pool);
}

#[test]
fn an_emptied_index_is_given_back() {
    for round in 0..4 {
        let pool = Pool::create(&PoolConfig::new(8 * MIB)).unwrap();
        let config = StoreConfig { shards: 1, ..StoreConfig::default() };
        let store = pool.open_store(&config).unwrap();
        let keep = 1_000 * round;
        for i in 0..60_000_u64 {
            store.set(&i.to_be_bytes(), b"").unwrap();
        }
        for i in keep..60_000_u64 {
            store.delete(&i.to_be_bytes()).unwrap();
        }
        check(&store);
        store.destroy();
        assert_empty(&pool);
    }
}

#[test]
fn many_stores_share_a_tiny_pool() {
    let pool = Pool::create(&PoolConfig::new(MIB)).unwrap();
    let mut stores = Vec::new();
    for i in 0..100_u64 {
        match pool.open_store(&StoreConfig::default()) {
            Ok(store) => stores.push(store),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace),
        }
        for (number, store) in stores.iter().enumerate() {
            let key = (i + number as u64).to_be_bytes();
            if let Err(error) = store.set(&key, &[number as u8; 3_000]) {
                assert_eq!(error.kind(), ErrorKind::NoSpace);
                assert!(!store.contains(&key).unwrap());
            }
        }
    }
    assert!(stores.len() > 8, "{} stores", stores.len());
    for store in &stores {
        check(store);
    }
    drop(stores);
    assert_empty(&pool);
}

#[test]
fn a_call_from_a_destructor_does_not_poison() {
    struct SetsWhenDropped<'a>(&'a Store);
    impl Drop for SetsWhenDropped<'_> {
        fn drop(&mut self) {
            self.0.set(b"key", b"from a destructor").unwrap();
        }
    }
    let pool = Pool::create(&PoolConfig::new(4 * MIB)).unwrap();
    let store = pool.open_store(&StoreConfig::default()).unwrap();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _set = SetsWhenDropped(&store);
        std::panic::resume_unwind(Box::new("the caller's own fault"));
    }));
    assert!(caught.is_err());
    assert_eq!(store.stats().poisoned_shards, 0);
    assert_eq!(store.get_vec(b"key").unwrap().unwrap(), b"from a destructor");
    check(&store);
}

/// Asks a store from a thread whose slot is given up already.
struct AsksWhenTheThreadEnds(std::cell::RefCell<Option<Store>>);

impl Drop for AsksWhenTheThreadEnds {
    fn drop(&mut self) {
        let store = self.0.take().unwrap();
        assert_eq!(store.get_vec(b"key").unwrap().unwrap(), b"value");
        let view = store.pin(b"long", false).unwrap().unwrap();
        store.set(b"key", b"last").unwrap();
        store.delete(b"long").unwrap();
        assert!(view.iter().all(|&byte| byte == 3));
    }
}

#[test]
fn a_thread_may_ask_while_it_ends() {
    thread_local! {
        static LAST: AsksWhenTheThreadEnds = const { AsksWhenTheThreadEnds(std::cell::RefCell::new(None)) };
    }
    let pool = Pool::create(&PoolConfig::new(4 * MIB)).unwrap();
    let config = StoreConfig { latency: true, ..StoreConfig::default() };
    let store = pool.open_store(&config).unwrap();
    store.set(b"key", b"value").unwrap();
    store.set(b"long", &[3; 50_000]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Before the thread takes its slot, so that it goes after it.
            LAST.with(|last| *last.0.borrow_mut() = Some(store.clone()));
            assert!(store.contains(b"key").unwrap());
        });
    });
    // `scope` returns before the thread's last destructors have run.
    let begin = std::time::Instant::now();
    while store.get_vec(b"key").unwrap().unwrap() != b"last" || store.contains(b"long").unwrap() {
        assert!(begin.elapsed().as_secs() < 120, "the thread never asked");
        std::thread::yield_now();
    }
    check(&store);
}
