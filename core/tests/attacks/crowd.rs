//! Everything at once, on many threads.

use crate::assert_empty;
use crate::support::{Dice, MIB, alone, check};
use hypercache_core::memory::sys;
use hypercache_core::types::{PutOutcome, Read};
use hypercache_core::{Match, PolicyKind, Pool, PoolConfig, PutOptions, Store, StoreConfig};
use std::collections::HashMap;
use std::mem::MaybeUninit;

/// One thread of [`everything_at_once_tears_nothing`]: it alone writes its keys.
fn owner(pool: &Pool, stores: &[Store], number: u64, threads: u64, until: std::time::Instant) {
    let mut dice = Dice::new(number);
    let mut buf = vec![MaybeUninit::<u8>::uninit(); 200_000];
    let mut own: HashMap<(usize, u64), Option<u64>> = HashMap::new();
    let mut seen: HashMap<(usize, u64), u64> = HashMap::new();
    let mut count = 0_u64;
    let stamped = |bytes: &[u8], key: u64| {
        let word: [u8; 16] = bytes[..16].try_into().unwrap();
        let (about, stamp) = word.split_at(8);
        assert_eq!(about, key.to_le_bytes(), "another key's value");
        assert!(bytes[16..].iter().all(|&byte| byte == word[8]), "a torn value");
        u64::from_le_bytes(stamp.try_into().unwrap())
    };
    let keys = 40;
    while std::time::Instant::now() < until {
        count += 1;
        let at = dice.below(stores.len() as u64) as usize;
        let store = &stores[at];
        let mine = number * 1_000 + dice.below(keys);
        match dice.below(40) {
            0..=13 => {
                let len = 16 + dice.pick(&[0, 8, 100, 1_000, 3_000, 5_000, 30_000, 90_000]);
                let mut value = vec![count.to_le_bytes()[0]; len];
                value[..8].copy_from_slice(&mine.to_le_bytes());
                value[8..16].copy_from_slice(&count.to_le_bytes());
                let written = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    store.set(&mine.to_be_bytes(), &value)
                }));
                let held = match written {
                    Ok(Ok(PutOutcome::Stored(_))) => Some(count),
                    // Declined or failed, it took the older value along.
                    Ok(_) | Err(_) => None,
                };
                own.insert((at, mine), held);
            }
            14..=27 => {
                let theirs = dice.below(threads) * 1_000 + dice.below(keys);
                if let Ok(Read::Hit(info)) = store.get(&theirs.to_be_bytes(), &mut buf) {
                    // SAFETY: a hit fills as many bytes.
                    let bytes =
                        unsafe { std::slice::from_raw_parts(buf.as_ptr().cast::<u8>(), info.len) };
                    let stamp = stamped(bytes, theirs);
                    let last = seen.entry((at, theirs)).or_default();
                    assert!(*last <= stamp, "an older value came back");
                    *last = stamp;
                }
            }
            28..=31 => {
                if let Ok(Some(view)) = store.pin(&mine.to_be_bytes(), false) {
                    let before = stamped(&view, mine);
                    assert_eq!(own.get(&(at, mine)), Some(&Some(before)), "a stale value");
                    if dice.below(2) == 0 {
                        std::thread::yield_now();
                    }
                    assert_eq!(stamped(&view, mine), before);
                } else if own.get(&(at, mine)).is_some_and(Option::is_some)
                    && matches!(store.contains(&mine.to_be_bytes()), Ok(false))
                {
                    own.insert((at, mine), None);
                }
            }
            32 | 33 => {
                let deleted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    store.delete(&mine.to_be_bytes())
                }));
                if matches!(deleted, Ok(Ok(_))) {
                    own.insert((at, mine), None);
                }
            }
            34 => {
                let mut scan = store.scan(Match::All).unwrap();
                let mut keys = std::collections::HashSet::new();
                while let Ok(Some(entry)) = scan.next(dice.below(2) == 0) {
                    assert!(keys.insert(entry.key.to_vec()), "a key was seen twice");
                    if let Some(view) = entry.view {
                        stamped(&view, u64::from_be_bytes(entry.key.try_into().unwrap()));
                    }
                }
            }
            35 if number < 2 => match dice.below(8) {
                0 => {
                    let _ = store.clear();
                }
                1 => {
                    let _ = store.set_limit(dice.pick(&[0, MIB, 700_000]));
                }
                2 => {
                    let _ = pool.set_limit(dice.pick(&[2 * MIB, 3 * MIB, 4 * MIB])).unwrap();
                }
                3 => {
                    pool.trim(MIB).unwrap();
                }
                4 => hypercache_core::store::testing::panic_at_write(1 + dice.below(50)),
                5 => {
                    let config = StoreConfig { shards: 4, ..StoreConfig::default() };
                    if let Ok(passing) = pool.open_store(&config) {
                        for i in 0..300_u64 {
                            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                                passing.set(&i.to_be_bytes(), &[1; 500])
                            }));
                        }
                    }
                }
                _ => {}
            },
            _ => {
                if let Ok(mut draft) =
                    store.reserve(&mine.to_be_bytes(), 16 + 6_000, &PutOptions::default())
                {
                    if dice.below(2) == 0 {
                        let fresh = count.to_le_bytes();
                        for (i, byte) in draft.data_mut().iter_mut().enumerate() {
                            byte.write(match i {
                                0..8 => mine.to_le_bytes()[i],
                                8..16 => fresh[i - 8],
                                _ => fresh[0],
                            });
                        }
                        // SAFETY: every byte was written.
                        let ended =
                            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| unsafe {
                                draft.commit()
                            }));
                        let held = matches!(ended, Ok(Ok(PutOutcome::Stored(_)))).then_some(count);
                        own.insert((at, mine), held);
                    }
                } else {
                    own.insert((at, mine), None);
                }
            }
        }
    }
}

#[test]
fn everything_at_once_tears_nothing() {
    alone("crowd::everything_at_once_tears_nothing", || {
        sys::testing::protect_reclaimed(true);
        hypercache_core::pool::testing::harvest_at_once(true);
        std::panic::set_hook(Box::new(|info| {
            if !info.to_string().contains("injected fault") {
                eprintln!("{info}");
            }
        }));
        let millis = std::env::var("ATTACK_MS").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000);
        let config = PoolConfig { limit_max_bytes: 8 * MIB, ..PoolConfig::new(3 * MIB) };
        let pool = Pool::create(&config).unwrap();
        let lru = StoreConfig { shards: 4, policy: PolicyKind::Lru, ..StoreConfig::default() };
        let fifo = StoreConfig { shards: 8, ..StoreConfig::default() };
        let stores = [pool.open_store(&lru).unwrap(), pool.open_store(&fifo).unwrap()];
        let until = std::time::Instant::now() + std::time::Duration::from_millis(millis);
        std::thread::scope(|scope| {
            for number in 0..6 {
                let (pool, stores) = (&pool, &stores[..]);
                scope.spawn(move || owner(pool, stores, number, 6, until));
            }
        });
        hypercache_core::store::testing::panic_at_write(0);
        for store in &stores {
            check(store);
            store.clear().unwrap();
            check(store);
            store.destroy();
        }
        drop(stores);
        assert_empty(&pool);
    });
}
