//! The n-th charge, commit or reservation fails, for every n that a long script of calls has.

use crate::common::{KIB, MIB};
use hypercache_core::memory::sys::testing::{fail_after, has_failed};
use hypercache_core::pool::AllocOptions;
use hypercache_core::{
    BatchEntry, ErrorKind, Match, Pool, PoolConfig, PutMode, PutOptions, Result, Store,
    StoreConfig, Ttl,
};
use std::mem::MaybeUninit;

/// What runs a script: it takes every failure that is a proper one.
struct Run {
    pool: Option<Pool>,
    calls: u32,
    /// Calls since the failure.
    after: u32,
    failures: u32,
}

impl Run {
    /// A call either succeeds or says that memory is short; whatever it says, all invariants hold.
    #[track_caller]
    fn call<T>(&mut self, result: Result<T>) -> Option<T> {
        self.calls += 1;
        let result = self.take(result);
        if has_failed() {
            self.after += 1;
        }
        if let Some(pool) = &self.pool
            && (self.calls.is_multiple_of(16) || (1..64).contains(&self.after))
        {
            pool.validate().unwrap();
            let stats = pool.stats();
            assert!(stats.used_bytes <= stats.limit_bytes);
        }
        result
    }

    #[track_caller]
    fn take<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let known = matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::NoMemory);
                assert!(known, "{error:?}");
                assert!(has_failed(), "nothing was made to fail: {error:?}");
                self.failures += 1;
                None
            }
        }
    }

    #[track_caller]
    fn set(&mut self, store: &Store, key: &[u8], value: &[u8]) {
        match self.call(store.set(key, value)) {
            Some(_) => assert!(store.get_vec(key).unwrap().is_none_or(|found| found == value)),
            None => assert!(!store.contains(key).unwrap(), "a failed write left a value"),
        }
    }
}

/// Calls of every kind. The pool is small, so that most of them need memory.
fn script(run: &mut Run) {
    // Views and drafts may hold more than this script's, so that no refusal is theirs.
    let config = PoolConfig {
        limit_max_bytes: 4 * MIB,
        pin_limit_bytes: 2 * MIB,
        ..PoolConfig::new(2 * MIB)
    };
    let Some(pool) = run.call(Pool::create(&config)) else { return };
    run.pool = Some(pool.clone());
    let named = StoreConfig {
        name: Some("one".into()),
        shards: 2,
        hash_seed: 3,
        latency: true,
        ..StoreConfig::default()
    };
    let Some(one) = run.call(pool.open_store(&named)) else { return };
    let again = pool.open_store(&named).unwrap();
    let two = StoreConfig { name: Some("two".into()), limit_bytes: MIB, ..named.clone() };
    let two = run.call(pool.open_store(&two));
    let watch = run.call(pool.watch(Box::new(|_| {})));

    let value = vec![7; 60_000];
    for i in 0..150_u32 {
        let len = [0, 20, 300, 5_000, 60_000][i as usize % 5];
        let key = (i % 70).to_le_bytes();
        run.set(if i % 3 == 0 { &again } else { &one }, &key, &value[..len]);
        if let Some(two) = &two {
            run.set(two, &key, &value[..len / 2]);
        }
    }
    let mut views = Vec::new();
    for i in 0..8_u32 {
        let found = one.get_vec(&i.to_le_bytes()).unwrap();
        let view = run.call(one.pin(&i.to_le_bytes(), false)).flatten();
        if let (Some(found), Some(view)) = (found, view) {
            assert!(*view == found[..]);
            views.push((view, found));
        }
    }
    let mut drafts = Vec::new();
    for (i, len) in [0, 100, 4_000, 50_000].into_iter().enumerate() {
        let options = PutOptions { ttl: Ttl::Millis(100_000), ..PutOptions::default() };
        for fate in 0..3 {
            let key = [b'd', i as u8, fate];
            let Some(mut draft) = run.call(one.reserve(&key, len, &options)) else { continue };
            draft.data_mut().fill(MaybeUninit::new(1));
            match fate {
                // SAFETY: all bytes were written.
                0 => drop(run.call(unsafe { draft.commit() })),
                1 => drop(draft),
                _ => drafts.push(draft),
            }
        }
    }
    for i in 0..20_u32 {
        run.call(one.incr(&[b'n', (i % 4) as u8], 1, 0, Ttl::Default));
        run.call(one.touch(&i.to_le_bytes(), Ttl::Millis(50_000)));
        let cas = PutOptions { mode: PutMode::CompareAndSet(1), ..PutOptions::default() };
        run.call(one.put(&i.to_le_bytes(), b"other", &cas));
    }
    let entries: Vec<_> = (0..40_usize)
        .map(|i| BatchEntry { key: &value[..i], value: &value[..i * 200], ..BatchEntry::default() })
        .collect();
    let mut outcomes = Vec::new();
    one.put_many(&entries, &mut |_, outcome| outcomes.push(outcome)).unwrap();
    for outcome in outcomes {
        run.take(outcome);
    }
    if let Some(mut scan) = run.call(one.scan(Match::All)) {
        let mut left = 1_000;
        while left > 0 {
            left -= 1;
            match scan.next(true) {
                Ok(None) => break,
                Ok(Some(_)) => {}
                Err(error) => drop(run.take::<()>(Err(error))),
            }
        }
        assert!(left > 0, "a scan that does not end");
    }
    let mut blocks = Vec::new();
    for (i, len) in [10, 1_000, 30_000, 200_000].into_iter().enumerate() {
        let options = AllocOptions { evict: true, zero: i % 2 == 0 };
        if let Some(block) = run.call(pool.alloc(len, 64, options)) {
            // SAFETY: the block has `len` bytes and is this test's.
            unsafe { block.as_ptr().write_bytes(5, len) };
            blocks.push(block);
        }
    }
    // A reservation that was refused leaves a pool that cannot grow.
    let most = pool.config().limit_max_bytes;
    for limit in [most, MIB, 3 * MIB / 2] {
        let _ = run.call(pool.set_limit(limit));
        run.set(&one, b"between", &value[..10_000]);
    }
    run.call(pool.trim(MIB));
    if let Some(two) = &two {
        run.call(two.set_limit(512 * KIB));
        run.call(two.invalidate(Match::Prefix(&[1])));
        run.set(two, b"after", b"x");
    }
    run.call(one.clear());
    run.set(&one, b"after", &value);
    for (view, found) in views {
        assert!(*view == found[..]);
    }
    for block in blocks {
        // SAFETY: allocated above, freed once.
        unsafe { pool.free(block.as_ptr()) }.unwrap();
    }
    drop(watch);
    if let Some(two) = two {
        two.destroy();
    }
    pool.validate().unwrap();
    drop(drafts);
    drop((one, again));
    pool.validate().unwrap();
    let stats = pool.stats();
    assert_eq!((stats.stores, stats.pinned_bytes, stats.app_bytes), (0, 0, 0));
    pool.trim(0).unwrap();
    let used = pool.stats().used_bytes;
    assert!(used < 76 * KIB, "{used} bytes are left");
    run.pool = None;
}

#[test]
fn the_nth_allocation_fails() {
    let all = std::env::var_os("HYPERCACHE_EVERY_FAULT").is_some();
    let mut n = 1;
    loop {
        let mut run = Run { pool: None, calls: 0, after: 0, failures: 0 };
        fail_after(n);
        script(&mut run);
        let struck = has_failed();
        fail_after(0);
        if let Some(pool) = run.pool.take() {
            // The script ended early; what it had is given back by now.
            pool.validate().unwrap();
            let stats = pool.stats();
            assert_eq!((stats.stores, stats.pinned_bytes, stats.app_bytes), (0, 0, 0));
            pool.trim(0).unwrap();
            assert!(pool.stats().used_bytes < 76 * KIB, "n = {n}: {}", pool.stats().used_bytes);
        }
        if !struck {
            assert_eq!(run.failures, 0);
            assert!(run.calls > 300);
            println!("{} calls, {} places to fail", run.calls, n - 1);
            return;
        }
        // Every one of the first, then ever fewer: the later ones are alike.
        n += if all || n < 100 { 1 } else { 1 + n / 100 };
    }
}

#[test]
fn a_store_that_cannot_be_opened_leaves_nothing() {
    for n in 1.. {
        let pool = Pool::create(&PoolConfig::new(2 * MIB)).unwrap();
        drop(pool.open_store(&StoreConfig { shards: 8, ..StoreConfig::default() }).unwrap());
        pool.trim(0).unwrap();
        let before = pool.stats().used_bytes;
        fail_after(n);
        let opened = pool.open_store(&StoreConfig { shards: 8, ..StoreConfig::default() });
        let struck = has_failed();
        fail_after(0);
        if let Err(error) = &opened {
            assert_eq!(error.kind(), ErrorKind::NoMemory, "{error}");
        }
        drop(opened);
        pool.validate().unwrap();
        pool.trim(0).unwrap();
        assert_eq!(pool.stats().used_bytes, before, "n = {n}");
        if !struck {
            assert!(n > 8);
            return;
        }
    }
}
