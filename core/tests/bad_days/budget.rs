//! Budgets that something holds, that change, and that stores share.

use crate::common::{KIB, MIB, Stop, check, key, pool, refused, store};
use hypercache_core::pool::{AllocOptions, LimitOutcome};
use hypercache_core::{ErrorKind, Pool, PoolConfig, PutOptions, PutOutcome, StoreConfig};

const EVICT: AllocOptions = AllocOptions { evict: true, zero: false };

/// Fills a store well beyond its pool.
fn fill(store: &hypercache_core::Store, from: u64, bytes: u64, value: &[u8]) {
    for i in from..from + bytes / (value.len() as u64 + 16) {
        let outcome = store.set(&key(i), value).unwrap();
        assert!(matches!(outcome, PutOutcome::Stored(_)));
    }
}

#[test]
fn a_full_pool_has_views_of_small_values() {
    for mib in [1, 2, 8] {
        let pool = pool(mib);
        let store = store(&pool);
        for i in 0..200 {
            store.set(&key(i), &vec![i as u8; (i as usize * 97) % 12_000]).unwrap();
            store.set(b"small", &[7; 40]).unwrap();
            let view = store.pin(b"small", false).unwrap().unwrap();
            assert!(*view == [7; 40]);
            let mut scan = store.scan(hypercache_core::Match::All).unwrap();
            assert!(scan.next(true).unwrap().is_some());
        }
        check(&pool);
    }
}

#[test]
fn a_small_store_of_a_large_pool_keeps_what_fits() {
    for (mib, limit_bytes) in [(8, 512 * KIB), (8, MIB), (64, 4 * MIB)] {
        let pool = pool(mib);
        let config = StoreConfig { limit_bytes, ..StoreConfig::default() };
        let store = pool.open_store(&config).unwrap();
        let value = [1; 1_000];
        let n = limit_bytes / 2 / 1_024;
        for i in 0..n {
            store.set(&key(i), &value).unwrap();
        }
        let stats = store.stats();
        assert_eq!((stats.entries, stats.evicted), (n, 0), "{limit_bytes}");
        fill(&store, n, 3 * limit_bytes, &value);
        let stats = store.stats();
        assert!(stats.used_bytes <= limit_bytes);
        let live = stats.payload_bytes * 100 / limit_bytes;
        assert!(live >= if limit_bytes < MIB { 50 } else { 65 }, "{live} % of {limit_bytes}");
        check(&pool);
    }
}

#[test]
fn views_hold_the_pin_limit_and_no_more() {
    let pool = Pool::create(&PoolConfig { pin_limit_bytes: 290 * KIB, ..PoolConfig::new(2 * MIB) })
        .unwrap();
    let store = store(&pool);
    let value = vec![5; 100_000];
    for i in 0..6 {
        store.set(&key(i), &value).unwrap();
    }
    let first = store.pin(&key(0), false).unwrap().unwrap();
    let again = store.pin(&key(0), false).unwrap().unwrap();
    let second = store.pin(&key(1), false).unwrap().unwrap();
    assert!(pool.stats().pinned_bytes >= 200_000);
    refused(store.pin(&key(2), false), ErrorKind::NoSpace, &["pin_limit_bytes"]);
    refused(
        store.reserve(b"draft", 150_000, &PutOptions::default()),
        ErrorKind::NoSpace,
        &["pin_limit_bytes"],
    );
    check(&pool);
    // Views outlast removal, clearing and ending.
    store.delete(&key(0)).unwrap();
    store.clear().unwrap();
    fill(&store, 100, 6 * MIB, &[3; 5_000]);
    assert!(first[..] == value && again[..] == value && second[..] == value);
    drop(first);
    assert!(pool.stats().pinned_bytes >= 200_000, "the other view of it still holds it");
    drop((again, second));
    assert_eq!(pool.stats().pinned_bytes, 0);
    store.set(&key(2), &value).unwrap();
    let third = store.pin(&key(2), false).unwrap().unwrap();
    store.destroy();
    drop(store);
    assert!(third[..] == value);
    check(&pool);
    drop(pool);
    assert!(third[..] == value);
}

/// Sets fail while views hold the whole limit, and work when they are gone.
#[test]
fn views_may_hold_everything() {
    let pool =
        Pool::create(&PoolConfig { pin_limit_bytes: 8 * MIB, ..PoolConfig::new(2 * MIB) }).unwrap();
    let store = store(&pool);
    let mut views = Vec::new();
    let mut refusals = 0;
    for i in 0..200 {
        match store.set(&key(i), &[i as u8; 10_000]) {
            Ok(_) => views.push((i, store.pin(&key(i), false).unwrap().unwrap())),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoSpace);
                assert!(!store.contains(&key(i)).unwrap());
                refusals += 1;
            }
        }
        if refusals == 3 {
            break;
        }
    }
    assert_eq!(refusals, 3);
    assert!(views.len() > 100, "{}", views.len());
    check(&pool);
    for (i, view) in &views {
        assert!(view.iter().all(|byte| *byte == *i as u8));
    }
    drop(views);
    fill(&store, 1_000, 6 * MIB, &[1; 10_000]);
    assert!(store.stats().entries > 100);
    check(&pool);
}

#[test]
fn raw_memory_may_hold_everything() {
    let pool = pool(2);
    let store = store(&pool);
    fill(&store, 0, 4 * MIB, &[1; 500]);
    refused(pool.alloc(MIB as usize, 0, AllocOptions::default()), ErrorKind::NoSpace, &[]);
    assert!(store.stats().entries > 1_000, "nothing was evicted for it");
    let mut blocks = Vec::new();
    for len in [500_000, 100_000, 50_000, 10_000, 1_000] {
        while let Ok(block) = pool.alloc(len, 0, EVICT) {
            // SAFETY: the block has `len` bytes and is this test's.
            unsafe { block.as_ptr().write_bytes(blocks.len() as u8, len) };
            blocks.push((block, len));
            assert!(blocks.len() < 5_000);
        }
    }
    let stats = pool.stats();
    assert!(stats.app_bytes > MIB, "{}", stats.app_bytes);
    assert!(stats.pressure >= hypercache_core::Pressure::High, "{:?}", stats.pressure);
    refused(pool.alloc(100_000, 0, EVICT), ErrorKind::NoSpace, &["limit"]);
    let refusals = (0..200)
        .filter(|&i| match store.set(&key(i), &[2; 40_000]) {
            Ok(_) => false,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoSpace);
                assert!(!store.contains(&key(i)).unwrap());
                true
            }
        })
        .count();
    assert!(refusals > 100, "{refusals}");
    assert_eq!(pool.set_limit(MIB).unwrap(), LimitOutcome::Partial);
    check(&pool);
    for (number, (block, len)) in blocks.into_iter().enumerate() {
        // SAFETY: as above; freed here, once.
        unsafe {
            let bytes = std::slice::from_raw_parts(block.as_ptr(), len);
            assert!(bytes.iter().all(|&byte| byte == number as u8));
            pool.free(block.as_ptr()).unwrap();
        }
        let stats = pool.stats();
        assert!(stats.used_bytes <= stats.limit_bytes);
    }
    assert_eq!(pool.set_limit(MIB).unwrap(), LimitOutcome::Reached);
    assert_eq!(pool.stats().limit_bytes, MIB);
    fill(&store, 0, 4 * MIB, &[1; 500]);
    assert!(store.stats().entries > 500);
    check(&pool);
}

#[test]
fn drafts_may_outlast_their_store_and_their_pool() {
    let pool = pool(4);
    let store = store(&pool);
    let options = PutOptions::default();
    for len in [0, 10, 4_000, 300_000] {
        let mut kept = store.reserve(b"kept", len, &options).unwrap();
        let dropped = store.reserve(b"dropped", len, &options).unwrap();
        drop(dropped);
        kept.data_mut().fill(std::mem::MaybeUninit::new(9));
        store.clear().unwrap();
        // SAFETY: all bytes were written.
        unsafe { kept.commit() }.unwrap();
        assert!(store.get_vec(b"kept").unwrap().unwrap() == vec![9; len]);
        check(&pool);
    }
    assert_eq!(pool.stats().pinned_bytes, 0);

    let mut late: Vec<_> =
        [0, 10, 4_000, 300_000].map(|len| store.reserve(b"late", len, &options).unwrap()).into();
    for draft in &mut late {
        draft.data_mut().fill(std::mem::MaybeUninit::new(9));
    }
    let last = late.pop().unwrap();
    store.destroy();
    check(&pool);
    for draft in late {
        // SAFETY: all bytes were written.
        refused(unsafe { draft.commit() }, ErrorKind::Closed, &["destroyed"]);
    }
    check(&pool);
    assert!(pool.stats().pinned_bytes >= 300_000);
    drop((store, pool));
    drop(last);
}

#[test]
fn what_ended_says_so() {
    let pool = pool(2);
    let store = store(&pool);
    fill(&store, 0, MIB, &[1; 500]);
    let view = store.pin(&key(3), false).unwrap().unwrap();
    let mut scan = store.scan(hypercache_core::Match::All).unwrap();
    assert!(scan.next(false).unwrap().is_some());
    store.destroy();
    store.destroy();
    let ended = ErrorKind::Closed;
    let options = PutOptions::default();
    let mut buf = [std::mem::MaybeUninit::uninit(); 10];
    refused(store.get_vec(b"k"), ended, &[]);
    refused(store.get(b"k", &mut buf), ended, &[]);
    refused(store.pin(b"k", false), ended, &[]);
    refused(store.contains(b"k"), ended, &[]);
    refused(store.take(b"k", &mut buf), ended, &[]);
    refused(store.touch(b"k", hypercache_core::Ttl::Keep), ended, &[]);
    refused(store.set(b"k", b"v"), ended, &[]);
    refused(store.set(b"k", &[1; 100_000]), ended, &[]);
    refused(store.incr(b"k", 1, 1, hypercache_core::Ttl::Keep), ended, &[]);
    refused(store.delete(b"k"), ended, &[]);
    refused(store.delete_if(b"k", 1), ended, &[]);
    refused(store.delete_many(&[b"k"]), ended, &[]);
    refused(store.reserve(b"k", 10, &options), ended, &[]);
    refused(store.reserve(b"k", 100_000, &options), ended, &[]);
    refused(store.invalidate(hypercache_core::Match::All), ended, &[]);
    refused(store.clear(), ended, &[]);
    refused(scan.next(false), ended, &[]);
    let mut out = [hypercache_core::store::BatchRead::Miss];
    refused(store.get_many(&[b"k"], false, &mut buf, &mut out), ended, &[]);
    refused(store.pin_many(&[b"k"], false, &mut [None], &mut |_, _| ()), ended, &[]);
    let entry = hypercache_core::BatchEntry { key: b"k", ..Default::default() };
    refused(store.put_many(&[entry], &mut |_, _| panic!("nothing went")), ended, &[]);
    refused(store.set_limit(MIB), ended, &[]);
    store.validate().unwrap();
    assert!(view.iter().all(|&byte| byte == 1));
    check(&pool);
    drop((store, view, scan));
    pool.trim(0).unwrap();
    assert!(pool.stats().used_bytes < 128 * KIB, "{}", pool.stats().used_bytes);
    check(&pool);
}

#[test]
fn frees_that_are_wrong() {
    let (pool, other) = (pool(2), pool(2));
    let block = pool.alloc(1_000, 0, EVICT).unwrap().as_ptr();
    let large = pool.alloc(300_000, 4_096, EVICT).unwrap().as_ptr();
    let mut mine = [0_u8; 64];
    let view_of_store = {
        let store = store(&pool);
        store.set(b"k", &[1; 6_000]).unwrap();
        store.pin(b"k", false).unwrap().unwrap()
    };
    let before = pool.stats();
    let wrong = [
        mine.as_mut_ptr(),
        block.wrapping_add(16),
        block.wrapping_add(1),
        large.wrapping_add(4_096),
        large.wrapping_add(1),
        view_of_store.as_ptr().cast_mut(),
        std::ptr::without_provenance_mut(8),
        std::ptr::without_provenance_mut(usize::MAX & !15),
    ];
    for ptr in wrong {
        // SAFETY: nobody uses these; none is a block.
        refused(unsafe { pool.free(ptr) }, ErrorKind::Invalid, &[]);
    }
    for ptr in [block, large] {
        // SAFETY: the blocks are another pool's, then this one's, then nobody's.
        unsafe {
            refused(other.free(ptr), ErrorKind::Invalid, &[]);
            assert!(pool.stats().app_bytes != 0);
            pool.free(ptr).unwrap();
            refused(pool.free(ptr), ErrorKind::Invalid, &[]);
            refused(other.free(ptr), ErrorKind::Invalid, &[]);
        }
    }
    // SAFETY: null is nothing.
    unsafe { pool.free(std::ptr::null_mut()) }.unwrap();
    assert_eq!(pool.stats().app_bytes, 0);
    assert_eq!(pool.stats().alloc_returned, before.alloc_returned + 2);
    for align in [3, 8_192, usize::MAX, 1 << 63] {
        refused(pool.alloc(10, align, EVICT), ErrorKind::Invalid, &[&align.to_string()]);
    }
    for len in [usize::MAX, isize::MAX as usize, 1 << 40, 3 << 20] {
        refused(pool.alloc(len, 0, EVICT), ErrorKind::NoSpace, &[]);
    }
    check(&pool);
    check(&other);
}

#[test]
fn floors_hold_and_the_least_useful_gives() {
    let pool = pool(8);
    let named = |name: &str, floor_bytes, limit_bytes| StoreConfig {
        name: Some(name.into()),
        floor_bytes,
        limit_bytes,
        ..StoreConfig::default()
    };
    let floored = pool.open_store(&named("floored", 2 * MIB, 0)).unwrap();
    let cold = pool.open_store(&named("cold", 0, 0)).unwrap();
    let hot = pool.open_store(&named("hot", 0, 0)).unwrap();
    let value = [1; 500];
    refused(
        pool.open_store(&named("greedy", 7 * MIB, 0)),
        ErrorKind::Invalid,
        &["floor_bytes", &(7 * MIB).to_string()],
    );
    fill(&floored, 0, 2 * MIB + MIB / 2, &value);
    fill(&cold, 0, 2 * MIB, &value);
    fill(&hot, 0, 2 * MIB, &value);
    let before = (floored.stats().used_bytes, cold.stats().used_bytes, hot.stats().used_bytes);
    // Reads of the hot store, while it and a capped newcomer ask for more.
    let capped = pool.open_store(&named("capped", 0, MIB)).unwrap();
    for round in 0..12 {
        for i in 0..4_000 {
            hot.contains(&key(i)).unwrap();
            hot.get_vec(&key(i)).unwrap();
        }
        fill(&hot, 10_000 + round * 1_000, 300 * KIB, &value);
        fill(&capped, round * 10_000, 500 * KIB, &value);
        assert!(capped.stats().used_bytes <= MIB);
        assert!(floored.stats().used_bytes >= 2 * MIB, "{}", floored.stats().used_bytes);
        check(&pool);
    }
    let after = (floored.stats().used_bytes, cold.stats().used_bytes, hot.stats().used_bytes);
    assert!(after.1 < before.1 && after.0 < before.0, "the cold stores gave: {before:?} {after:?}");
    assert!(after.2 > before.2, "the hot store grew: {before:?} {after:?}");
    assert!(capped.stats().entries > 800, "{}", capped.stats().entries);

    // A new store in a full pool gets room, though nobody reads it.
    let late = pool.open_store(&named("late", 0, 0)).unwrap();
    fill(&late, 0, 2 * MIB, &value);
    let found = (0..4_000).filter(|&i| late.contains(&key(i)).unwrap()).count();
    assert!(found > 20, "{found}");
    assert!(floored.stats().used_bytes >= 2 * MIB);
    check(&pool);

    // Floors do not stand against a smaller limit.
    assert_eq!(pool.set_limit(3 * MIB).unwrap(), LimitOutcome::Reached);
    assert_eq!(pool.stats().limit_bytes, 3 * MIB);
    check(&pool);
    for store in pool.stores() {
        store.set(b"k", b"v").unwrap();
    }
    check(&pool);
    // Five stores of four shards do not fit the least limit; what they say holds.
    let outcome = pool.set_limit(MIB).unwrap();
    assert_eq!(outcome == LimitOutcome::Reached, pool.stats().limit_bytes == MIB);
    for store in pool.stores() {
        match store.set(b"k", b"v") {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace),
        }
    }
    check(&pool);
}

#[test]
fn a_new_store_in_a_full_pool_gets_room_before_it_has_hits() {
    let pool = pool(64);
    let (full, new) = (store(&pool), store(&pool));
    let value = [1; 500];
    fill(&full, 0, 80 * MIB, &value);
    for i in 0..10_000 {
        full.get_vec(&key(100_000 + i)).unwrap();
    }
    fill(&new, 0, 16 * MIB, &value);
    let payload = new.stats().payload_bytes;
    assert!(payload > 2 * MIB, "{payload}");
    check(&pool);
}

#[test]
fn floors_of_all_may_take_the_whole_pool() {
    let pool = pool(2);
    let value = [1; 500];
    let stores: Vec<_> = (0..2)
        .map(|_| {
            let config = StoreConfig { floor_bytes: MIB, ..StoreConfig::default() };
            let store = pool.open_store(&config).unwrap();
            fill(&store, 0, 4 * MIB, &value);
            store
        })
        .collect();
    for store in &stores {
        fill(store, 50_000, 2 * MIB, &value);
        assert!(store.stats().entries > 500, "{:?} {:?}", stores[0].stats(), stores[1].stats());
        check(&pool);
    }
    match pool.open_store(&StoreConfig::default()) {
        Ok(third) => match third.set(b"k", b"v") {
            Ok(_) => assert!(third.contains(b"k").unwrap()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace),
        },
        Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace),
    }
    check(&pool);
}

/// Used bytes never pass the limit in force, seen from another thread throughout.
#[test]
fn the_limit_holds_at_every_instant() {
    let pool = pool(4);
    let store = store(&pool);
    let stop = Stop::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut looks = 0_u64;
            while !stop.is_set() {
                let stats = pool.stats();
                assert!(stats.used_bytes <= stats.limit_bytes, "{stats:?}");
                looks += 1;
            }
            assert!(looks > 100);
        });
        let _end = stop.at_end();
        for round in 0..60_u64 {
            fill(&store, round * 100_000, 500 * KIB, &vec![1; (round as usize * 613) % 20_000]);
            let limit = [MIB, 8 * MIB, 2 * MIB, 3 * MIB][round as usize % 4];
            let outcome = pool.set_limit(limit).unwrap();
            let found = (outcome, store.stats(), pool.stats());
            assert_eq!(found.0, LimitOutcome::Reached, "{round} {found:?}");
            assert_eq!(pool.stats().limit_bytes, limit);
        }
    });
    check(&pool);
}

/// A set beside a shrink waits for it and is not refused.
#[test]
fn sets_go_on_while_the_limit_moves() {
    let pool = pool(8);
    let store = store(&pool);
    let stop = Stop::default();
    let mut shrinks = 0;
    std::thread::scope(|scope| {
        let end = stop.at_end();
        for thread in 0..2_u64 {
            let (store, stop) = (&store, &stop);
            scope.spawn(move || {
                let mut i = thread;
                while !stop.is_set() {
                    let len = (i * 37 % 6_000) as usize + usize::from(i % 64 < 2) * 50_000;
                    store.set(&key(i % 4_000), &vec![i as u8; len]).unwrap();
                    i += 2;
                }
            });
        }
        let start = std::time::Instant::now();
        while start.elapsed().as_millis() < 1_500 || shrinks < 10 {
            for mib in [4, 8, 5] {
                assert_ne!(pool.set_limit(mib * MIB).unwrap(), LimitOutcome::Superseded);
            }
            shrinks += 1;
        }
        drop(end);
    });
    check(&pool);
}
