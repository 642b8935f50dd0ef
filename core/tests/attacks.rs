//! Attacks on the store: each test is a way in which it was, or might have been, broken.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod support;

use hypercache_core::clock::Clock;
use hypercache_core::memory::sys;
use hypercache_core::pool::Use;
use hypercache_core::store::{Draft, View};
use hypercache_core::types::{IncrOutcome, PutOutcome, Read, ValueType};
use hypercache_core::{
    ErrorKind, Match, PolicyKind, Pool, PoolConfig, PutMode, PutOptions, Store, StoreConfig, Ttl,
};
use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Dice, MIB, alone, check};

/// After its stores are gone, a pool holds nothing for them.
fn assert_empty(pool: &Pool) {
    let space = pool.space();
    for _ in 0..100 {
        space.harvest(true);
        if space.waiting_bytes() == 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let held = [Use::Log, Use::Index, Use::Waiting].map(|usage| space.segments_in(usage));
    assert_eq!(held, [0, 0, 0], "log, index and waiting segments");
    assert_eq!(space.waiting_bytes(), 0);
    pool.validate().unwrap();
}

#[test]
fn a_store_ends_where_tables_are_opened_as_they_are_needed() {
    alone("a_store_ends_where_tables_are_opened_as_they_are_needed", || {
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

/// What a key may hold: nothing (it may have been evicted), or this.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    stamp: u64,
    len: usize,
    expires: u64,
}

const NEVER: u64 = u64::MAX;
const VALUES: [usize; 15] =
    [0, 1, 7, 8, 60, 300, 2_000, 4_055, 4_096, 4_097, 5_000, 16_344, 20_000, 100_000, 250_000];
const KEYS: [usize; 12] = [2, 3, 8, 16, 40, 200, 2_000, 4_100, 8_200, 12_000, 16_335, 16_336];

fn key_of(number: u64) -> Vec<u8> {
    let len = KEYS[number as usize % KEYS.len()];
    let mut key = vec![number as u8; len];
    key[1] = (number >> 8) as u8;
    key
}

fn value_of(number: u64, stamp: u64, len: usize) -> Vec<u8> {
    let word = (number << 48 ^ stamp).to_le_bytes();
    (0..len).map(|i| word[i % 8]).collect()
}

struct Fuzz {
    pool: Pool,
    store: Store,
    dice: Dice,
    model: HashMap<u64, Held>,
    views: Vec<(View, Vec<u8>)>,
    drafts: Vec<(Draft, u64, Held, PutOptions)>,
    hand: std::sync::Arc<std::sync::atomic::AtomicU64>,
    buf: Vec<MaybeUninit<u8>>,
    stamp: u64,
    key_count: u64,
}

impl Fuzz {
    fn now(&self) -> u64 {
        self.hand.load(Ordering::SeqCst)
    }

    fn expect(&self, number: u64, info: hypercache_core::types::Info, bytes: &[u8], what: &str) {
        let held = self.model.get(&number);
        let Some(held) = held else { panic!("{what}: key {number} is back from the dead") };
        assert_eq!(info.len, held.len, "{what}: length of key {number}");
        let ttl = (held.expires != NEVER).then(|| held.expires.saturating_sub(self.now()));
        assert_eq!(info.ttl_ms, ttl, "{what}: time to live of key {number}");
        assert_ne!(ttl, Some(0), "{what}: key {number} is over");
        let same = bytes == value_of(number, held.stamp, held.len);
        assert!(same, "{what}: bytes of key {number}");
    }

    fn options(&mut self) -> (PutOptions, bool) {
        let ttl = match self.dice.below(6) {
            0 => Ttl::Millis(1 + self.dice.below(50)),
            1 => Ttl::Keep,
            2 => Ttl::Never,
            _ => Ttl::Default,
        };
        let mode = match self.dice.below(8) {
            0 => PutMode::Add,
            1 => PutMode::Replace,
            2 => PutMode::CompareAndSet(0),
            _ => PutMode::Set,
        };
        let session = self.dice.pick(&[0, 0, 5]);
        let flags = self.dice.pick(&[0, 0, 9]);
        (PutOptions { ttl, mode, session, flags, ..PutOptions::default() }, ttl == Ttl::Keep)
    }

    fn noted(
        &mut self,
        number: u64,
        mut held: Held,
        options: &PutOptions,
        result: &hypercache_core::Result<PutOutcome>,
    ) {
        if let (Ttl::Keep, Some(old)) = (options.ttl, self.model.get(&number)) {
            held.expires = old.expires;
        }
        match result {
            Ok(PutOutcome::Stored(version)) => {
                assert_ne!(*version, 0);
                // Whether a kept life is the old entry's depends on whether it was evicted.
                if options.ttl == Ttl::Keep {
                    let key = key_of(number);
                    match self.store.get_with(&key, &mut self.buf, true).unwrap() {
                        Read::Hit(info) | Read::SmallBuffer(info) => {
                            held.expires = info.ttl_ms.map_or(NEVER, |ttl| self.now() + ttl);
                        }
                        Read::Miss => {}
                    }
                }
                self.model.insert(number, held);
            }
            Ok(PutOutcome::NotFound | PutOutcome::NotAdmitted) => {
                self.model.remove(&number);
            }
            Ok(PutOutcome::Exists) => {
                assert!(self.model.contains_key(&number), "key {number} exists and was removed");
            }
            Ok(PutOutcome::Conflict) => {}
            Err(error) => {
                assert!(
                    matches!(
                        error.kind(),
                        ErrorKind::NoSpace | ErrorKind::NoMemory | ErrorKind::TooLarge
                    ),
                    "{error}"
                );
                match options.mode {
                    PutMode::Set | PutMode::Replace => {
                        self.model.remove(&number);
                    }
                    PutMode::Add | PutMode::CompareAndSet(_) => {}
                }
            }
        }
    }

    fn step(&mut self) {
        let number = self.dice.below(self.key_count);
        let key = key_of(number);
        let faulty = self.dice.below(12) == 0;
        let strike = 1 + self.dice.below(6);
        match self.dice.below(24) {
            0..=7 => {
                let (mut options, _) = self.options();
                if options.mode == PutMode::CompareAndSet(0)
                    && let Read::Hit(info) = self.store.get(&key, &mut self.buf).unwrap()
                {
                    options.mode = PutMode::CompareAndSet(info.version);
                }
                self.stamp += 1;
                let len = self.dice.pick(&VALUES);
                let value = value_of(number, self.stamp, len);
                let expires = match options.ttl {
                    Ttl::Millis(ttl) => self.now() + ttl,
                    Ttl::Default | Ttl::Keep | Ttl::Never => NEVER,
                };
                if faulty {
                    sys::testing::fail_after(strike);
                }
                let result = self.store.put(&key, &value, &options);
                sys::testing::fail_after(0);
                self.noted(number, Held { stamp: self.stamp, len, expires }, &options, &result);
            }
            8..=13 => match self.store.get(&key, &mut self.buf).unwrap() {
                Read::Hit(info) => {
                    // SAFETY: a hit fills as many bytes.
                    let bytes = unsafe {
                        std::slice::from_raw_parts(self.buf.as_ptr().cast::<u8>(), info.len)
                    };
                    self.expect(number, info, bytes, "get");
                }
                Read::SmallBuffer(_) => panic!("the buffer holds every value"),
                Read::Miss => {
                    self.model.remove(&number);
                }
            },
            14 => {
                if faulty {
                    sys::testing::fail_after(strike);
                }
                let pinned = self.store.pin(&key, false);
                sys::testing::fail_after(0);
                match pinned {
                    Ok(Some(view)) => {
                        self.expect(number, *view.info(), &view, "pin");
                        let bytes = view.to_vec();
                        self.views.push((view, bytes));
                    }
                    Ok(None) => {
                        self.model.remove(&number);
                    }
                    Err(error) => {
                        assert!(matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::NoMemory))
                    }
                }
                if self.views.len() > 6 || self.dice.below(3) == 0 {
                    let at = self.dice.below(self.views.len().max(1) as u64) as usize;
                    if at < self.views.len() {
                        let (view, bytes) = self.views.swap_remove(at);
                        assert!(*view == *bytes, "a view changed");
                    }
                }
            }
            15 => {
                let deleted = self.store.delete(&key).unwrap();
                let known = self.model.remove(&number);
                assert!(!deleted || known.is_some(), "key {number} was deleted twice");
            }
            16 => {
                let ttl = self.dice.pick(&[Ttl::Never, Ttl::Millis(7), Ttl::Millis(40)]);
                if faulty {
                    sys::testing::fail_after(strike);
                }
                let touched = self.store.touch(&key, ttl);
                sys::testing::fail_after(0);
                let now = self.now();
                match touched {
                    Ok(true) => {
                        let held = self.model.get_mut(&number).unwrap();
                        held.expires = match ttl {
                            Ttl::Millis(ttl) => now + ttl,
                            Ttl::Default | Ttl::Keep | Ttl::Never => NEVER,
                        };
                    }
                    Ok(false) => {
                        self.model.remove(&number);
                    }
                    Err(_) => {}
                }
            }
            17 => match self.store.take(&key, &mut self.buf).unwrap() {
                Read::Hit(info) => {
                    // SAFETY: a hit fills as many bytes.
                    let bytes = unsafe {
                        std::slice::from_raw_parts(self.buf.as_ptr().cast::<u8>(), info.len)
                    };
                    self.expect(number, info, bytes, "take");
                    self.model.remove(&number);
                }
                Read::SmallBuffer(_) => panic!("the buffer holds every value"),
                Read::Miss => {
                    self.model.remove(&number);
                }
            },
            18 => {
                let len = self.dice.pick(&VALUES);
                let (options, _) = self.options();
                self.stamp += 1;
                if faulty {
                    sys::testing::fail_after(strike);
                }
                let draft = self.store.reserve(&key, len, &options);
                sys::testing::fail_after(0);
                match draft {
                    Ok(mut draft) => {
                        let value = value_of(number, self.stamp, len);
                        for (to, from) in draft.data_mut().iter_mut().zip(value) {
                            to.write(from);
                        }
                        let held = Held { stamp: self.stamp, len, expires: 0 };
                        self.drafts.push((draft, number, held, options));
                    }
                    Err(_) if matches!(options.mode, PutMode::Set | PutMode::Replace) => {
                        self.model.remove(&number);
                    }
                    Err(_) => {}
                }
                if self.drafts.len() > 3 || self.dice.below(2) == 0 {
                    self.end_draft(faulty.then_some(strike));
                }
            }
            19 => {
                self.hand.fetch_add(self.dice.below(20), Ordering::SeqCst);
            }
            20 => {
                let mut seen = std::collections::HashSet::new();
                let mut scan = self.store.scan(Match::All).unwrap();
                while let Some(entry) = scan.next(false).unwrap() {
                    assert!(seen.insert(entry.key.to_vec()), "a key was seen twice");
                }
                let entries = self.store.stats().entries;
                assert!(seen.len() as u64 <= entries);
                self.model.retain(|number, _| seen.contains(&key_of(*number)));
                assert!(seen.len() <= self.model.len());
            }
            21 => match self.dice.below(12) {
                0 => {
                    self.store.clear().unwrap();
                    self.model.clear();
                    assert_eq!(self.store.stats().entries, 0);
                }
                1 | 2 => {
                    let limit = self.dice.pick(&[0, 256 << 10, 400_000, MIB, 3 * MIB]);
                    let _ = self.store.set_limit(limit);
                }
                3 | 4 => {
                    let limit = self.dice.pick(&[MIB, MIB + 200_000, 2 * MIB, 4 * MIB]);
                    let _ = self.pool.set_limit(limit).unwrap();
                }
                5 => {
                    let target = self.dice.pick(&[0, MIB / 2, MIB]);
                    self.pool.trim(target).unwrap();
                }
                6 => {
                    self.store.invalidate(Match::Session(5)).unwrap();
                    self.model.retain(|&number, _| self.store.contains(&key_of(number)).unwrap());
                }
                _ => {}
            },
            _ => {
                if faulty {
                    sys::testing::fail_after(strike);
                }
                // Numbers above all others hold integers.
                let number = 1_000 + number % 12;
                let key = key_of(number);
                let result = self.store.incr(&key, 1, 5, Ttl::Default);
                sys::testing::fail_after(0);
                match result {
                    Ok(IncrOutcome::Sum(sum)) => {
                        let before = self.model.get(&number).map(|held| held.stamp.cast_signed());
                        assert!(sum == 5 || before == Some(sum - 1), "{before:?} became {sum}");
                        let stamp = sum.cast_unsigned();
                        self.model.insert(number, Held { stamp, len: 8, expires: NEVER });
                    }
                    Ok(IncrOutcome::NotAdmitted) | Err(_) => {
                        self.model.remove(&number);
                    }
                    Ok(IncrOutcome::WrongType | IncrOutcome::Overflow) => panic!("{result:?}"),
                }
                if let Read::Hit(info) = self.store.get(&key, &mut self.buf).unwrap() {
                    assert_eq!(info.value_type, ValueType::INT64);
                }
            }
        }
    }

    fn end_draft(&mut self, strike: Option<u64>) {
        if self.drafts.is_empty() {
            return;
        }
        let at = self.dice.below(self.drafts.len() as u64) as usize;
        let (draft, number, mut held, options) = self.drafts.swap_remove(at);
        if self.dice.below(4) == 0 {
            drop(draft);
            return;
        }
        held.expires = match options.ttl {
            Ttl::Millis(ttl) => self.now() + ttl,
            Ttl::Default | Ttl::Keep | Ttl::Never => NEVER,
        };
        if let Some(strike) = strike {
            sys::testing::fail_after(strike);
        }
        // SAFETY: every byte was written when the draft was made.
        let result = unsafe { draft.commit() };
        sys::testing::fail_after(0);
        self.noted(number, held, &options, &result);
    }
}

fn fuzz(seed: u64, config: &StoreConfig, pool_config: &PoolConfig, steps: u32) {
    let pool = Pool::create(pool_config).unwrap();
    let (clock, hand) = Clock::manual(1);
    let store = pool.open_store_with(config, clock).unwrap();
    let mut fuzz = Fuzz {
        pool: pool.clone(),
        store,
        dice: Dice::new(seed),
        model: HashMap::new(),
        views: Vec::new(),
        drafts: Vec::new(),
        hand,
        buf: vec![MaybeUninit::uninit(); 300_000],
        stamp: 0,
        key_count: if seed.is_multiple_of(2) { 60 } else { 400 },
    };
    for step in 0..steps {
        fuzz.step();
        if step % 24 == 0 {
            if let Err(error) = fuzz.store.validate() {
                panic!("seed {seed}, step {step}: {error}");
            }
            if let Err(error) = fuzz.pool.validate() {
                panic!("seed {seed}, step {step}: {error}");
            }
        }
    }
    while !fuzz.drafts.is_empty() {
        fuzz.end_draft(None);
    }
    fuzz.views.clear();
    fuzz.store.destroy();
    drop(fuzz);
    assert_empty(&pool);
}

#[test]
fn random_calls_and_failures_agree_with_a_model() {
    let seeds = std::env::var("ATTACK_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(15_u64);
    let first = std::env::var("ATTACK_FIRST").ok().and_then(|n| n.parse().ok()).unwrap_or(0_u64);
    for seed in first..first + seeds {
        let policy = [PolicyKind::S3Fifo, PolicyKind::Lru, PolicyKind::Fifo][seed as usize % 3];
        let config = StoreConfig {
            policy,
            shards: if seed % 5 == 0 { 4 } else { 1 },
            limit_entries: [0, 0, 1, 7, 50][(seed / 3) as usize % 5],
            limit_bytes: if seed % 4 == 3 { 600_000 } else { 0 },
            value_len_max: if seed % 7 == 0 { MIB } else { 0 },
            hash_seed: seed + 1,
            ..StoreConfig::default()
        };
        let pool = PoolConfig {
            pin_limit_bytes: if seed % 3 == 0 { 2 * MIB } else { 0 },
            zero_on_free: seed % 6 == 1,
            ..PoolConfig::new(MIB + (seed % 3) * 700_000)
        };
        fuzz(seed, &config, &pool, 2_000);
    }
}

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
    alone("everything_at_once_tears_nothing", || {
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
