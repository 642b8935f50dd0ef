//! The filter beside an exact count of every key.

use super::inner::Inner;
use super::shape::Base;
use super::testing::Random;
use super::{COPIES_MAX, Filter, FilterConfig};
use crate::config::PoolConfig;
use crate::error::ErrorKind;
use crate::memory::sys::testing::{fail_after, has_failed};
use crate::pool::Pool;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn config(capacity: u64, fpr: f64) -> FilterConfig {
    FilterConfig { capacity, fpr, hash_seed: 7, pool: None }
}

fn filter(capacity: u64, fpr: f64) -> Filter {
    Filter::create(&config(capacity, fpr)).unwrap()
}

/// A filter whose first table has so few buckets, and fingerprints so short, that classes meet and
/// tables fill up at once.
fn tiny(buckets: u64, width: u32, pool: Option<&Pool>) -> Filter {
    let config = FilterConfig { pool: pool.cloned(), ..config(1, 0.1) };
    Filter(Arc::new(Inner::with_base(&config, Base { pairs: buckets / 2, width }).unwrap()))
}

fn key(n: u64) -> [u8; 8] {
    n.to_le_bytes()
}

fn positives(filter: &Filter, from: u64, asked: u64) -> f64 {
    let found = (from..from + asked).filter(|&n| filter.contains(&key(n)).unwrap()).count();
    found as f64 / asked as f64
}

#[test]
fn holds_what_it_is_made_for_in_the_bytes_that_this_takes() {
    for capacity in [1_000, 1_024, 4_097, 65_537, 100_000, 262_145, 1_000_000] {
        let filter = filter(capacity, 0.001);
        for n in 0..capacity {
            filter.add(&key(n)).unwrap();
        }
        filter.validate().unwrap();
        let stats = filter.stats();
        assert_eq!((stats.keys, stats.resizes), (capacity, 0), "of {capacity}");
        assert!(stats.longest_kick_chain <= u64::from(super::path::HOPS));
        let bits = stats.bytes as f64 * 8.0 / capacity as f64;
        assert!(bits <= 14.6, "{capacity} keys take {bits} bits each");
        assert!((0..capacity).all(|n| filter.contains(&key(n)).unwrap()));
    }
}

#[test]
fn errs_no_more_often_than_asked_when_full() {
    for (fpr, asked) in [(0.1, 200_000), (0.01, 400_000), (0.001, 2_000_000), (0.0001, 4_000_000)] {
        let filter = filter(200_000, fpr);
        let mut n = 0;
        // To the last add that needs no second table.
        while filter.grown() == 0 {
            filter.add(&key(n)).unwrap();
            n += 1;
        }
        assert!(n >= 200_000, "full after {n}");
        let measured = positives(&filter, 1 << 40, asked);
        // Four standard deviations of a count.
        let noise = 4.0 * (fpr / asked as f64).sqrt();
        assert!(measured <= fpr + noise, "{fpr} was asked for, {measured} measured");
        let stats = filter.stats();
        assert!(stats.fpr_theoretical <= fpr, "{stats:?}");
        assert!((stats.fpr_theoretical - measured).abs() <= 0.2 * fpr + noise, "{stats:?}");
    }
}

impl Filter {
    /// Tables after the first.
    fn grown(&self) -> u64 {
        self.0.frozen(|tables, _| tables.len() as u64 - 1)
    }

    /// Fingerprints, without a sample.
    fn keys(&self) -> u64 {
        self.0.frozen(|tables, _| tables.iter().map(|table| table.used()).sum())
    }
}

/// What a filter before this one got wrong.
#[test]
fn the_same_keys_three_times_over() {
    let filter = filter(100_000, 0.001);
    for round in 0..3 {
        for n in 0..50_000 {
            filter.add(&key(n)).unwrap();
        }
        assert!((0..50_000).all(|n| filter.contains(&key(n)).unwrap()), "round {round}");
        assert!(positives(&filter, 1 << 40, 1_000_000) <= 0.001);
    }
    for _ in 0..3 {
        assert!((0..50_000).all(|n| filter.contains(&key(n)).unwrap()));
        (0..50_000).for_each(|n| assert!(filter.remove(&key(n)).unwrap()));
    }
    filter.validate().unwrap();
    assert_eq!(filter.stats().keys, 0);
    assert_eq!(positives(&filter, 0, 50_000), 0.0);
}

#[test]
fn seven_adds_are_counted_and_the_eighth_stays() {
    for adds in 1..=12 {
        let filter = filter(1_000, 0.001);
        (0..adds).for_each(|_| filter.add(b"key").unwrap());
        for _ in 0..adds {
            assert!(filter.contains(b"key").unwrap());
            assert!(filter.remove(b"key").unwrap());
        }
        assert_eq!(filter.contains(b"key").unwrap(), adds > COPIES_MAX, "{adds} adds");
        assert_eq!(filter.remove(b"key").unwrap(), adds > COPIES_MAX);
        filter.validate().unwrap();
    }
}

#[test]
fn grows_without_losing_a_key() {
    for capacity in [1, 10, 500, 3_000] {
        let filter = filter(capacity, 0.01);
        let keys = capacity * 40;
        for n in 0..keys {
            filter.add(&key(n)).unwrap();
        }
        assert!((0..keys).all(|n| filter.contains(&key(n)).unwrap()));
        filter.validate().unwrap();
        let stats = filter.stats();
        assert!((2..=7).contains(&stats.resizes), "{stats:?}");
        assert!(
            stats.capacity + stats.capacity / 2 >= keys && stats.load_factor > 0.3,
            "{stats:?}"
        );
        assert!(positives(&filter, 1 << 40, 200_000) <= 0.02);
        // Every other one goes, oldest and newest alike.
        (0..keys).step_by(2).for_each(|n| assert!(filter.remove(&key(n)).unwrap()));
        assert!((1..keys).step_by(2).all(|n| filter.contains(&key(n)).unwrap()));
        filter.validate().unwrap();
        // What became free in old tables is used again.
        (0..keys).step_by(2).for_each(|n| filter.add(&key(n)).unwrap());
        assert_eq!(filter.stats().resizes, stats.resizes);
        filter.clear().unwrap();
        assert_eq!((filter.stats().keys, positives(&filter, 0, keys)), (0, 0.0));
        filter.validate().unwrap();
    }
}

#[test]
fn saturated_it_says_maybe_until_it_is_cleared() {
    let pool = Pool::create(&PoolConfig::new(1 << 20)).unwrap();
    let made = FilterConfig { pool: Some(pool.clone()), ..config(100_000, 0.001) };
    let filter = Filter::create(&made).unwrap();
    let mut n = 0;
    let refused = loop {
        match filter.add(&key(n)) {
            Ok(()) => n += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::NoSpace);
    assert!(n > 300_000, "grew to {n} keys in a mebibyte");
    let stats = filter.stats();
    assert!(stats.saturated && stats.add_failures == 1 && stats.fpr_sampled == 1.0, "{stats:?}");
    assert_eq!(positives(&filter, 0, 2 * n), 1.0);
    let mut found = [false; 100];
    filter.contains_many(&[&b"absent"[..]; 100], &mut found).unwrap();
    assert_eq!(found, [true; 100]);
    assert!(filter.remove(&key(1)).unwrap() && filter.remove(b"absent").unwrap());
    assert_eq!(filter.add(b"another").unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(filter.stats().keys, stats.keys);
    filter.validate().unwrap();
    filter.clear().unwrap();
    assert!(!filter.contains(&key(1)).unwrap());
    filter.add(&key(1)).unwrap();
    assert!(filter.contains(&key(1)).unwrap() && !filter.stats().saturated);
    drop(filter);
    pool.validate().unwrap();
    assert!(pool.stats().held_bytes < 64 << 10);
}

#[test]
fn every_refusal_of_memory_is_an_answer() {
    let pool = Pool::create(&PoolConfig::new(4 << 20)).unwrap();
    for of in [None, Some(&pool)] {
        for n in 1..40 {
            fail_after(n);
            let config = FilterConfig { pool: of.cloned(), ..config(1_000, 0.01) };
            let made = Filter::create(&config);
            let mut added = 0;
            if let Ok(filter) = &made {
                while added < 20_000 && filter.add(&key(added)).is_ok() {
                    added += 1;
                }
            }
            let struck = has_failed();
            fail_after(0);
            if let Ok(filter) = made {
                assert!((0..=added).all(|n| filter.contains(&key(n)).unwrap() || n == 20_000));
                filter.validate().unwrap();
            } else {
                assert!(struck);
            }
            pool.validate().unwrap();
            if !struck {
                break;
            }
        }
    }
}

#[test]
fn arguments_out_of_range_are_named() {
    for (config, field) in [
        (config(0, 0.0), "capacity is 0"),
        (config(u64::MAX, 0.0), "capacity"),
        (config(10, 0.2), "fpr is 0.2"),
        (config(10, 1e-10), "fpr"),
        (config(10, -0.1), "fpr"),
        (config(10, f64::NAN), "fpr is NaN"),
    ] {
        let error = Filter::create(&config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.context().contains(field), "{error}");
    }
    let filter = filter(10, 0.0);
    let long = vec![0; crate::types::KEY_LEN_MAX + 1];
    for result in [
        filter.contains(&long).map(|_| ()),
        filter.add(&long),
        filter.remove(&long).map(|_| ()),
        filter.contains_many(&[&long], &mut [false]),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Invalid);
    }
    filter.add(&long[1..]).unwrap();
    filter.add(b"").unwrap();
    assert!(filter.contains(&long[1..]).unwrap() && filter.contains(b"").unwrap());
    assert_eq!(filter.config().fpr, super::FPR_DEFAULT);
    assert_eq!(filter.config().hash_seed, 7);
}

#[test]
fn counts() {
    let filter = filter(1_000, 0.001);
    let before = filter.stats();
    filter.add(b"a").unwrap();
    filter.add(b"b").unwrap();
    assert!(filter.contains(b"a").unwrap());
    assert!(!filter.contains(b"c").unwrap());
    let mut found = [true; 3];
    filter.contains_many(&[b"a", b"c", b"b"], &mut found).unwrap();
    assert_eq!(found, [true, false, true]);
    assert!(filter.remove(b"b").unwrap() && !filter.remove(b"b").unwrap());
    let stats = filter.stats();
    assert_eq!((stats.adds, stats.removes, stats.remove_failures), (2, 2, 1));
    assert_eq!((stats.lookups - before.lookups, stats.positives - before.positives), (5, 3));
    assert_eq!((stats.keys, stats.capacity, stats.resizes), (1, 1_000, 0));
}

// ---- A model -----------------------------------------------------------------------------------

/// Operations on few keys in a filter so small that every rule matters.
#[derive(Clone, Debug)]
enum Op {
    Add(u64),
    Remove(u64),
    Look(u64),
    LookMany(u64),
    SaveAndLoad,
    Clear,
}

fn op(keys: u64) -> impl Strategy<Value = Op> {
    prop_oneof![
        40 => (0..keys).prop_map(Op::Add),
        25 => (0..keys).prop_map(Op::Remove),
        10 => (0..keys).prop_map(Op::Look),
        5 => (0..keys).prop_map(Op::LookMany),
        1 => Just(Op::SaveAndLoad),
        1 => Just(Op::Clear),
    ]
}

/// A folder of the test's own that goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("hypercache-filter-{:016x}", crate::hash::random_u64());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// The filter and how often each key was added and not removed.
struct World {
    filter: Filter,
    adds: HashMap<u64, u32>,
    folder: Folder,
}

impl World {
    fn new(filter: Filter) -> Self {
        Self { filter, adds: HashMap::new(), folder: Folder::new() }
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Add(n) => {
                if self.filter.add(&key(n)).is_ok() {
                    *self.adds.entry(n).or_default() += 1;
                }
            }
            // Only what was added may be removed.
            Op::Remove(n) => {
                if let Some(left) = self.adds.get_mut(&n).filter(|left| **left != 0) {
                    assert!(self.filter.remove(&key(n)).unwrap());
                    *left -= 1;
                }
            }
            Op::Look(n) => self.look(n),
            Op::LookMany(first) => {
                let keys: Vec<_> = (first..first + 70).map(key).collect();
                let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
                let mut found = vec![false; keys.len()];
                self.filter.contains_many(&keys, &mut found).unwrap();
                for (n, found) in (first..).zip(found) {
                    assert!(found || self.adds.get(&n).is_none_or(|&left| left == 0), "{n}");
                }
            }
            Op::SaveAndLoad => {
                let path = self.folder.0.join("filter");
                self.filter.save(&path).unwrap();
                let before = (self.filter.keys(), self.filter.grown());
                self.filter = Filter::load(&path, &FilterConfig::default()).unwrap();
                assert_eq!((self.filter.keys(), self.filter.grown()), before);
            }
            Op::Clear => {
                self.filter.clear().unwrap();
                self.adds.clear();
            }
        }
    }

    fn look(&self, n: u64) {
        if self.adds.get(&n).is_some_and(|&left| left != 0) {
            assert!(self.filter.contains(&key(n)).unwrap(), "key {n} is missed");
        }
    }

    fn check(&self) {
        self.filter.validate().unwrap();
        self.adds.keys().for_each(|&n| self.look(n));
        // No class has more fingerprints than adds.
        let adds: u32 = self.adds.values().sum();
        assert!(self.filter.keys() <= u64::from(adds) + 8 * self.adds.len() as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_key_is_missed(
        buckets in 1_u64..6,
        width in 4_u32..20,
        ops in prop::collection::vec(op(40), 1..400),
    ) {
        let mut world = World::new(tiny(2 * buckets, width, None));
        for op in &ops {
            world.step(op);
            world.check();
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn no_key_is_missed_where_memory_ends(ops in prop::collection::vec(op(60_000), 1..60)) {
        let pool = Pool::create(&PoolConfig::new(1 << 20)).unwrap();
        let held = Pool::alloc(&pool, 800_000, 0, crate::AllocOptions::default()).unwrap();
        let mut world = World::new(tiny(64, 9, Some(&pool)));
        for op in &ops {
            // Each step is many: memory ends within a few.
            for n in 0..4_000 {
                match *op {
                    Op::Add(first) => world.step(&Op::Add((first + n) % 60_000)),
                    Op::Remove(first) => world.step(&Op::Remove((first + n) % 60_000)),
                    _ => {}
                }
            }
            if !matches!(op, Op::SaveAndLoad) {
                world.step(op);
            }
            world.check();
        }
        drop(world);
        // SAFETY: allocated above, and used by nobody.
        unsafe { pool.free(held.as_ptr()) }.unwrap();
        pool.validate().unwrap();
    }
}

/// The long run of `hypercache-bench filter --check`, for a moment.
#[test]
fn no_key_of_a_few_million_operations_is_missed() {
    let mut random = Random::new(3);
    for (buckets, width) in [(2, 4), (6, 7), (64, 13), (1_000, 17), (30, 33)] {
        let mut world = World::new(tiny(buckets, width, None));
        let keys = buckets * 8;
        for step in 0..400_000_u64 {
            let n = random.below(keys);
            world.step(&match random.below(16) {
                0..7 => Op::Add(n),
                7..13 => Op::Remove(n),
                _ => Op::Look(n),
            });
            if step % 40_000 == 0 {
                world.check();
            }
        }
        world.check();
    }
}

// ---- Threads -----------------------------------------------------------------------------------

/// Readers of keys that stay, beside a writer that makes them move, removes others of their
/// classes, and has the filter grow.
#[test]
fn readers_beside_a_writer_miss_nothing() {
    for (buckets, width) in [(16, 5), (256, 9), (256, 18)] {
        let filter = tiny(buckets, width, None);
        let stay = buckets * 2;
        (0..stay).for_each(|n| filter.add(&key(n)).unwrap());
        let done = AtomicBool::new(false);
        let looked = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for reader in 0..3 {
                let (filter, done, looked) = (&filter, &done, &looked);
                scope.spawn(move || {
                    let mut random = Random::new(reader);
                    let mut looks = 0;
                    while !done.load(Ordering::Relaxed) || looks < 1_000 {
                        let n = random.below(stay);
                        assert!(filter.contains(&key(n)).unwrap(), "key {n} is missed");
                        let keys: [_; 20] = std::array::from_fn(|at| key((n + at as u64) % stay));
                        let keys = keys.each_ref().map(|key| &key[..]);
                        let mut found = [false; 20];
                        filter.contains_many(&keys, &mut found).unwrap();
                        assert_eq!(found, [true; 20]);
                        looks += 1;
                    }
                    looked.fetch_add(looks, Ordering::Relaxed);
                });
            }
            let mut random = Random::new(9);
            let churn = buckets * 5 / 2;
            let mut there = vec![false; churn as usize];
            for _ in 0..300_000 {
                let n = random.below(churn);
                let is_there = &mut there[n as usize];
                if *is_there {
                    assert!(filter.remove(&key(stay + n)).unwrap());
                } else {
                    filter.add(&key(stay + n)).unwrap();
                }
                *is_there = !*is_there;
            }
            done.store(true, Ordering::Relaxed);
        });
        filter.validate().unwrap();
        assert!(looked.load(Ordering::Relaxed) >= 3_000);
        assert!(filter.stats().kicks > 0);
    }
}

thread_local! {
    /// What happens between a look-up's look at one bucket and at the other.
    static BETWEEN: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
}

/// Where a look-up may be overtaken by any number of writes.
pub(super) fn between_buckets() {
    if let Some(mut writes) = BETWEEN.take() {
        writes();
        BETWEEN.set(Some(writes));
    }
}

/// Whatever is written between the two looks of a look-up, a key that stays is found.
#[test]
fn a_reader_that_is_overtaken_misses_nothing() {
    for seed in 1..=600 {
        let (buckets, width) = [(4, 4), (8, 5), (16, 6)][seed as usize % 3];
        let config = FilterConfig { hash_seed: seed, ..config(1, 0.1) };
        let inner = Inner::with_base(&config, Base { pairs: buckets / 2, width }).unwrap();
        let filter = Filter(Arc::new(inner));
        let stay = buckets;
        (0..stay).for_each(|n| filter.add(&key(n)).unwrap());
        let writer = filter.clone();
        let mut random = Random::new(seed);
        // Nearly full, half of these being there at a time.
        let mut there = vec![false; (buckets * 5) as usize];
        BETWEEN.set(Some(Box::new(move || {
            for _ in 0..random.below(4) {
                let n = random.below(there.len() as u64);
                let is_there = &mut there[n as usize];
                if *is_there {
                    assert!(writer.remove(&key(stay + n)).unwrap());
                } else {
                    writer.add(&key(stay + n)).unwrap();
                }
                *is_there = !*is_there;
            }
        })));
        for n in 0..600 {
            let n = n % stay;
            assert!(filter.contains(&key(n)).unwrap(), "key {n} is missed");
            let mut found = [false; 2];
            filter.contains_many(&[&key(n), &key((n + 1) % stay)], &mut found).unwrap();
            assert_eq!(found, [true; 2]);
        }
        BETWEEN.take();
        filter.validate().unwrap();
    }
}

#[test]
fn writers_take_turns() {
    let filter = filter(10_000, 0.001);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let filter = &filter;
            scope.spawn(move || {
                for n in 0..20_000_u64 {
                    filter.add(&key(n * 4 + thread)).unwrap();
                    if n % 2 == 0 {
                        assert!(filter.remove(&key(n * 4 + thread)).unwrap());
                    }
                }
            });
        }
    });
    filter.validate().unwrap();
    assert_eq!(filter.stats().keys, 40_000);
    for n in 0..20_000_u64 {
        assert!(n % 2 == 0 || (0..4).all(|thread| filter.contains(&key(n * 4 + thread)).unwrap()));
    }
}

// ---- Files -------------------------------------------------------------------------------------

#[test]
fn a_saved_filter_is_the_same_when_loaded() {
    let folder = Folder::new();
    let pool = Pool::create(&PoolConfig::new(4 << 20)).unwrap();
    let saved = filter(5_000, 0.001);
    (0..20_000).for_each(|n| saved.add(&key(n)).unwrap());
    let path = folder.0.join("filter");
    saved.save(&path).unwrap();
    // Over an older one as well.
    saved.save(&path).unwrap();
    let names: Vec<_> = std::fs::read_dir(&folder.0).unwrap().collect();
    assert_eq!(names.len(), 1, "nothing is left beside it: {names:?}");

    for (of, pool) in [(config(5_000, 0.001), None), (config(0, 0.0), Some(pool.clone()))] {
        let loaded = Filter::load(&path, &FilterConfig { pool, ..of }).unwrap();
        loaded.validate().unwrap();
        assert!((0..20_000).all(|n| loaded.contains(&key(n)).unwrap()));
        assert_eq!(loaded.stats().resizes, saved.stats().resizes);
        let same = |n| loaded.contains(&key(n)).unwrap() == saved.contains(&key(n)).unwrap();
        assert!((1 << 40..(1 << 40) + 20_000).all(same));
        (0..20_000).for_each(|n| assert!(loaded.remove(&key(n)).unwrap()));
        assert_eq!(loaded.stats().keys, 0);
    }
    pool.validate().unwrap();

    for (other, field) in [
        (config(5_001, 0.0), "capacity"),
        (config(0, 0.01), "fpr"),
        (FilterConfig { hash_seed: 8, ..config(0, 0.0) }, "hash_seed"),
    ] {
        let error = Filter::load(&path, &other).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.context().starts_with(field), "{error}");
    }
    let absent = Filter::load(&folder.0.join("absent"), &config(0, 0.0)).unwrap_err();
    assert_eq!((absent.kind(), absent.os_error()), (ErrorKind::Io, libc::ENOENT));
    let nowhere = saved.save(&folder.0.join("no/such/folder")).unwrap_err();
    assert_eq!((nowhere.kind(), nowhere.os_error()), (ErrorKind::Io, libc::ENOENT));
    assert_eq!(saved.save(std::path::Path::new("/")).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_changed_file_is_refused() {
    let folder = Folder::new();
    let saved = filter(60, 0.001);
    (0..200).for_each(|n| saved.add(&key(n)).unwrap());
    let path = folder.0.join("filter");
    saved.save(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let refused = |bytes: &[u8], what: String| {
        std::fs::write(&path, bytes).unwrap();
        let error = Filter::load(&path, &FilterConfig::default()).expect_err(&what);
        let expected = [ErrorKind::Corrupt, ErrorKind::Unsupported];
        assert!(expected.contains(&error.kind()), "{what}: {error}");
    };
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        refused(&changed, format!("bit {} of byte {at} changed", at % 8));
    }
    for len in 0..whole.len() {
        refused(&whole[..len], format!("cut to {len}"));
    }
    let mut longer = whole.clone();
    longer.push(0);
    refused(&longer, "a byte more".to_owned());
    std::fs::write(&path, &whole).unwrap();
    Filter::load(&path, &FilterConfig::default()).unwrap();
}

#[test]
fn forked_children_are_told() {
    let filter = filter(100, 0.01);
    filter.add(b"key").unwrap();
    // SAFETY: the child looks at the filter and ends without running anything else.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let is_told = |result: Result<(), crate::Error>| {
            result.is_err_and(|error| error.kind() == ErrorKind::Forked)
        };
        let mut found = [false];
        let good = is_told(filter.contains(b"key").map(|_| ()))
            && is_told(filter.add(b"key"))
            && is_told(filter.remove(b"key").map(|_| ()))
            && is_told(filter.contains_many(&[b"key"], &mut found))
            && is_told(filter.clear());
        // SAFETY: ends the child.
        unsafe { libc::_exit(i32::from(!good)) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
}
