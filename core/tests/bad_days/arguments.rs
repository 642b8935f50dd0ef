//! Arguments outside their range are refused by name, and nothing changes.

use crate::common::{KIB, MIB, check, pool, refused, store};
use hypercache_core::{
    BatchEntry, DeleteOutcome, ErrorKind, Match, PolicyKind, Pool, PoolConfig, PutMode, PutOptions,
    PutOutcome, StoreConfig, Thresholds, Ttl,
};

#[test]
fn limits_of_pools() {
    for limit in [0, 1, MIB - 1, (1 << 42) + 1, u64::MAX] {
        refused(
            Pool::create(&PoolConfig::new(limit)),
            ErrorKind::Invalid,
            &["limit_bytes", &limit.to_string(), &MIB.to_string()],
        );
    }
    for limit_max_bytes in [1, MIB, (1 << 42) + 1, u64::MAX] {
        let config = PoolConfig { limit_max_bytes, ..PoolConfig::new(2 * MIB) };
        refused(
            Pool::create(&config),
            ErrorKind::Invalid,
            &["limit_max_bytes", &limit_max_bytes.to_string()],
        );
    }
    let config = PoolConfig { pin_limit_bytes: u64::MAX, ..PoolConfig::new(MIB) };
    refused(Pool::create(&config), ErrorKind::Invalid, &["pin_limit_bytes"]);
    let pool = pool(2);
    for limit in [0, MIB - 1, 16 * MIB + 1, u64::MAX] {
        refused(pool.set_limit(limit), ErrorKind::Invalid, &["limit_bytes", &limit.to_string()]);
        assert_eq!(pool.stats().target_bytes, 2 * MIB);
    }
    check(&pool);
}

#[test]
fn thresholds_out_of_order() {
    let pool = pool(1);
    let before = pool.config();
    for [elevated_pct, high_pct, critical_pct] in
        [[0, 1, 2], [90, 85, 95], [85, 96, 95], [85, 90, 101], [0, 0, 0], [u32::MAX; 3]]
    {
        let thresholds = Thresholds { elevated_pct, high_pct, critical_pct };
        let named = [elevated_pct.to_string(), high_pct.to_string(), critical_pct.to_string()];
        let words: Vec<_> = named.iter().map(String::as_str).collect();
        refused(pool.set_thresholds(thresholds), ErrorKind::Invalid, &words);
        let config = PoolConfig { thresholds: Some(thresholds), ..PoolConfig::new(MIB) };
        refused(Pool::create(&config), ErrorKind::Invalid, &words);
    }
    assert_eq!(pool.config(), before);
    pool.set_thresholds(Thresholds { elevated_pct: 1, high_pct: 1, critical_pct: 100 }).unwrap();
    check(&pool);
}

#[test]
fn names() {
    let pool = pool(1);
    for name in ["", "a\0b", &"n".repeat(256)] {
        let config = StoreConfig { name: Some(name.into()), ..StoreConfig::default() };
        refused(pool.open_store(&config), ErrorKind::Invalid, &["name"]);
        refused(Pool::open(name, Some(&PoolConfig::new(MIB))), ErrorKind::Invalid, &["name"]);
    }
    let config = StoreConfig { name: Some("n".repeat(255)), ..StoreConfig::default() };
    let store = pool.open_store(&config).unwrap();
    let other = StoreConfig { default_ttl_ms: 7, ..config.clone() };
    refused(pool.open_store(&other), ErrorKind::Invalid, &["default_ttl_ms", "7"]);
    drop(store);
    assert!(pool.find_store(&"n".repeat(255)).unwrap().is_none());
    check(&pool);
}

#[test]
fn configurations_of_stores() {
    let pool = pool(4);
    let used = pool.stats().used_bytes;
    let base = StoreConfig::default();
    let bad = [
        ("shards", StoreConfig { shards: 3, ..base.clone() }),
        ("shards", StoreConfig { shards: 512, ..base.clone() }),
        ("shards", StoreConfig { shards: u32::MAX, ..base.clone() }),
        ("limit_bytes", StoreConfig { limit_bytes: 1, ..base.clone() }),
        ("limit_bytes", StoreConfig { limit_bytes: u64::MAX, ..base.clone() }),
        ("value_len_max", StoreConfig { value_len_max: u64::MAX, ..base.clone() }),
        ("jitter_pct", StoreConfig { jitter_pct: 101, ..base.clone() }),
        ("floor_bytes", StoreConfig { floor_bytes: u64::MAX, ..base.clone() }),
        ("floor_bytes", StoreConfig { floor_bytes: 5 * MIB, ..base.clone() }),
    ];
    for (field, config) in bad {
        refused(pool.open_store(&config), ErrorKind::Invalid, &[field]);
        assert_eq!(pool.stats().used_bytes, used, "{field}");
    }
    check(&pool);
}

#[test]
fn policies_and_their_options() {
    refused(PolicyKind::parse("clock"), ErrorKind::Unsupported, &["clock", "s3fifo"]);
    let pool = pool(1);
    let used = pool.stats().used_bytes;
    let all = PolicyKind::ALL.map(|(_, kind)| kind);
    for policy in all.into_iter().chain([PolicyKind::Default]) {
        for (options, kind, word) in [
            ("nonsense=1", ErrorKind::Unsupported, "nonsense"),
            ("nonsense", ErrorKind::Invalid, "nonsense"),
            ("=", ErrorKind::Unsupported, "\"\""),
        ] {
            let config = StoreConfig {
                policy,
                policy_options: Some(options.into()),
                ..StoreConfig::default()
            };
            refused(pool.open_store(&config), kind, &[word]);
        }
    }
    assert_eq!(pool.stats().used_bytes, used);
    check(&pool);
}

#[test]
fn keys_of_every_call_that_are_too_long() {
    let pool = pool(2);
    let store = store(&pool);
    let long = vec![7_u8; 65_536];
    let named = ["key", "65536", "65535"];
    let options = PutOptions::default();
    refused(store.set(&long, b"v"), ErrorKind::Invalid, &named);
    refused(store.get_vec(&long), ErrorKind::Invalid, &named);
    refused(store.get(&long, &mut []), ErrorKind::Invalid, &named);
    refused(store.pin(&long, false), ErrorKind::Invalid, &named);
    refused(store.contains(&long), ErrorKind::Invalid, &named);
    refused(store.take(&long, &mut []), ErrorKind::Invalid, &named);
    refused(store.touch(&long, Ttl::Keep), ErrorKind::Invalid, &named);
    refused(store.incr(&long, 1, 1, Ttl::Keep), ErrorKind::Invalid, &named);
    refused(store.delete(&long), ErrorKind::Invalid, &named);
    refused(store.delete_if(&long, 1), ErrorKind::Invalid, &named);
    refused(store.delete_many(&[&long]), ErrorKind::Invalid, &named);
    refused(store.reserve(&long, 1, &options), ErrorKind::Invalid, &named);
    let mut kinds = Vec::new();
    let entries = [
        BatchEntry { key: &long, value: b"v", options },
        BatchEntry { key: b"k", value: b"v", options },
    ];
    store.put_many(&entries, &mut |_, result| kinds.push(result.map_err(|e| e.kind()))).unwrap();
    assert_eq!(kinds[0], Err(ErrorKind::Invalid));
    assert!(matches!(kinds[1], Ok(PutOutcome::Stored(_))));
    assert!(store.contains(b"k").unwrap());
    assert_eq!(store.stats().entries, 1);
    check(&pool);
}

/// A key must fit a segment; the smallest pool has the smallest.
#[test]
fn keys_longer_than_a_segment_cannot_fit() {
    for mib in [1, 4, 64, 256] {
        let pool = pool(mib);
        let store = store(&pool);
        let (mut stored, mut refused_) = (0, 0);
        for len in [100, 4_000, 4_096, 8_000, 16_000, 16_300, 16_384, 20_000, 40_000, 65_535] {
            let key = vec![b'k'; len];
            for value_len in [0, 1, 100, 4_000, 20_000] {
                let value = vec![3; value_len];
                match store.set(&key, &value) {
                    Ok(outcome) => {
                        assert!(matches!(outcome, PutOutcome::Stored(_)));
                        assert!(store.get_vec(&key).unwrap().unwrap() == value);
                        assert!(store.touch(&key, Ttl::Millis(60_000)).unwrap());
                        let options = PutOptions {
                            session: 1,
                            flags: 1,
                            ttl: Ttl::Millis(1 << 30),
                            ..PutOptions::default()
                        };
                        store.put(&key, &value, &options).unwrap();
                        let mut draft = store.reserve(&key, value_len, &options).unwrap();
                        draft.data_mut().fill(std::mem::MaybeUninit::new(3));
                        // SAFETY: all bytes were written.
                        unsafe { draft.commit() }.unwrap();
                        assert!(store.get_vec(&key).unwrap().unwrap() == value);
                        stored += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
                        refused(
                            store.reserve(&key, value_len, &PutOptions::default()),
                            ErrorKind::TooLarge,
                            &["key"],
                        );
                        refused_ += 1;
                    }
                }
                check(&pool);
            }
            match store.incr(&[&key[..], b"n"].concat()[..len], 1, 5, Ttl::Default) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::TooLarge),
            }
            check(&pool);
        }
        assert!(stored >= 20, "{stored}");
        assert_eq!(refused_ == 0, mib == 256, "{mib} MiB: {refused_} refused");
    }
}

#[test]
fn values_that_cannot_fit() {
    let pool = pool(1);
    let store = store(&pool);
    store.set(b"other", b"stays").unwrap();
    for len in [256 * KIB + 1, MIB, 64 * MIB] {
        store.set(b"k", b"old").unwrap();
        let value = vec![1; len as usize];
        refused(store.set(b"k", &value), ErrorKind::TooLarge, &[&len.to_string(), "262144"]);
        assert!(!store.contains(b"k").unwrap(), "the outdated value can be read");
        store.set(b"k", b"old").unwrap();
        let add = PutOptions { mode: PutMode::Add, ..PutOptions::default() };
        refused(store.put(b"k", &value, &add), ErrorKind::TooLarge, &[]);
        assert!(store.contains(b"k").unwrap(), "an addition replaces nothing");
        let stale = PutOptions { mode: PutMode::CompareAndSet(1), ..PutOptions::default() };
        refused(store.put(b"k", &value, &stale), ErrorKind::TooLarge, &[]);
        assert!(store.contains(b"k").unwrap(), "another version is meant");
        refused(
            store.reserve(b"k", value.len(), &PutOptions::default()),
            ErrorKind::TooLarge,
            &[&len.to_string()],
        );
        assert!(!store.contains(b"k").unwrap());
    }
    assert_eq!(store.get_vec(b"other").unwrap().unwrap(), b"stays");
    assert_eq!(store.stats().rejected, 3 * 4);
    check(&pool);
}

/// What `value_len_max` allows may still be more than there can ever be.
#[test]
fn values_longer_than_the_limit() {
    let pool = pool(4);
    let config = StoreConfig { value_len_max: 1 << 31, ..StoreConfig::default() };
    let store = pool.open_store(&config).unwrap();
    let limited = pool
        .open_store(&StoreConfig { limit_bytes: MIB, value_len_max: 1 << 31, ..config.clone() })
        .unwrap();
    for i in 0..200_u64 {
        store.set(&i.to_le_bytes(), &[1; 1_000]).unwrap();
        limited.set(&i.to_le_bytes(), &[1; 1_000]).unwrap();
    }
    let value = vec![1; 4 * MIB as usize];
    refused(store.set(b"k", &value), ErrorKind::TooLarge, &["4194304"]);
    refused(limited.set(b"k", &value[..MIB as usize]), ErrorKind::TooLarge, &["1048576"]);
    let options = PutOptions::default();
    refused(store.reserve(b"k", value.len(), &options), ErrorKind::TooLarge, &["4194304"]);
    assert_eq!((store.stats().entries, limited.stats().entries), (200, 200), "nothing was evicted");
    let _ = pool.set_limit(MIB).unwrap();
    refused(store.set(b"k", &value[..MIB as usize]), ErrorKind::TooLarge, &["1048576"]);
    check(&pool);
}

#[test]
fn limits_of_stores() {
    let pool = pool(4);
    let store = pool.open_store(&StoreConfig { shards: 16, ..StoreConfig::default() }).unwrap();
    for i in 0..20_000_u64 {
        store.set(&i.to_le_bytes(), &[1; 100]).unwrap();
    }
    for limit in [1, 256 * KIB - 1, 33 * MIB, u64::MAX] {
        refused(store.set_limit(limit), ErrorKind::Invalid, &["limit_bytes", &limit.to_string()]);
        check(&pool);
    }
    // An empty store of 16 shards may take more than the smallest limit: it says so, and whatever
    // it says holds.
    for limit in [256 * KIB, 300_000, MIB, 0, 2 * MIB] {
        let before = store.config().limit_bytes;
        match store.set_limit(limit) {
            Ok(()) => {
                assert_eq!(store.config().limit_bytes, limit);
                assert!(limit == 0 || store.stats().used_bytes <= limit);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoSpace);
                assert_eq!(
                    store.config().limit_bytes,
                    before,
                    "an error leaves things as they were"
                );
            }
        }
        check(&pool);
        store.set(b"after", b"it works").unwrap();
        assert!(store.contains(b"after").unwrap());
    }
}

#[test]
fn entries_are_bounded_down_to_one() {
    let pool = pool(2);
    for limit_entries in [1, 2, 3, 100, u64::MAX] {
        let config = StoreConfig { limit_entries, ..StoreConfig::default() };
        let store = pool.open_store(&config).unwrap();
        for i in 0..5_000_u64 {
            store.set(&i.to_le_bytes(), &[1; 50]).unwrap();
            assert!(store.contains(&i.to_le_bytes()).unwrap());
            if i % 500 == 0 {
                check(&pool);
            }
        }
        assert!(store.stats().entries <= limit_entries);
        assert!(limit_entries > 100 || store.stats().entries == limit_entries);
        // Overwrites of the one entry leave nothing but dead ones behind.
        for i in 0..30_000_u64 {
            store.set(b"same", &i.to_le_bytes()).unwrap();
        }
        store.set(b"other", b"x").unwrap();
        assert!(store.contains(b"other").unwrap());
        check(&pool);
    }
}

#[test]
fn empty_things() {
    let pool = pool(1);
    let store = store(&pool);
    assert!(matches!(store.set(b"", b"").unwrap(), PutOutcome::Stored(_)));
    assert_eq!(store.get_vec(b"").unwrap().unwrap(), b"");
    let view = store.pin(b"", false).unwrap().unwrap();
    assert!(view.is_empty());
    store.get_many(&[], false, &mut [], &mut []).unwrap();
    refused(store.get_many(&[b"k"], false, &mut [], &mut []), ErrorKind::Invalid, &["out"]);
    store.put_many(&[], &mut |_, _| panic!("there is none")).unwrap();
    assert_eq!(store.delete_many(&[]).unwrap(), 0);
    assert_eq!(store.invalidate(Match::Session(0)).unwrap(), 0, "0 is no session");
    assert_eq!(store.delete_if(b"none", 0).unwrap(), DeleteOutcome::NotFound);
    assert_eq!(store.invalidate(Match::Prefix(b"")).unwrap(), 1);
    drop(store);
    drop(view);
    check(&pool);
}
