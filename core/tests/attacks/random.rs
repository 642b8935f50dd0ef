//! Random calls on one thread, with failures of the system, against a model.

use crate::assert_empty;
use crate::support::{Dice, MIB};
use hypercache_core::clock::Clock;
use hypercache_core::memory::sys;
use hypercache_core::store::{Draft, View};
use hypercache_core::types::{IncrOutcome, PutOutcome, Read, ValueType};
use hypercache_core::{
    ErrorKind, Match, PolicyKind, Pool, PoolConfig, PutMode, PutOptions, Store, StoreConfig, Ttl,
};
use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

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
        let policy = PolicyKind::ALL[seed as usize % PolicyKind::ALL.len()].1;
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
