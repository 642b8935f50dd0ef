//! Every operation of a filter beside an exact count of every key.
//!
//! The rules:
//! 1. a key that was added and not removed as often is found, one by one and in batches, whatever
//!    the filter has grown to, and after it was saved and loaded;
//! 2. where the rate of false positives is next to nothing, a key of which nothing is left is not
//!    found, unless it was added more often than is counted;
//! 3. an add fails only where memory is limited, and leaves the filter saturated;
//! 4. a file that is not the one that was saved is refused, and its refusal names it;
//! 5. the filter and its pool validate.

use crate::input::Input;
use crate::{Log, Target};
use hypercache_core::filter::COPIES_MAX;
use hypercache_core::pool::Charged;
use hypercache_core::{ErrorKind, Filter, FilterConfig, Pool, PoolConfig};
use std::path::PathBuf;

/// See the module.
pub const TARGET: Target = Target {
    name: "filter_ops",
    run,
    reaches: &[
        "add",
        "add many",
        "add of a key that stays",
        "remove",
        "remove many",
        "contains",
        "contains many",
        "absent",
        "clear",
        "save and load",
        "damaged file",
        "refused file",
        "stats",
        "validate",
        "in a pool",
        "grown",
        "moved",
        "saturated",
    ],
    generated: 300,
    len_max: 400,
};

/// Keys that there are.
const KEYS: u16 = 8_192;
/// What of a pool's mebibyte a filter cannot have, so that it fills within an input.
const BALLAST: u64 = 800 << 10;
/// Operations of one input.
const STEPS: u32 = 100;

/// Runs one input.
pub fn run(bytes: &[u8], log: &mut Log) {
    let mut input = Input::new(bytes);
    let mut world = World::new(&mut input, log);
    let mut steps = 0;
    while !input.is_empty() && steps < STEPS {
        world.step(&mut input, log);
        if log.explains() {
            world.check();
        }
        steps += 1;
    }
    world.check();
    let stats = world.filter.stats();
    if stats.resizes != 0 {
        log.note("grown");
    }
    if stats.kicks != 0 {
        log.note("moved");
    }
}

struct World {
    filter: Filter,
    pool: Option<Pool>,
    _ballast: Option<Charged>,
    /// How often each key was added and not removed.
    adds: Vec<u32>,
    /// Keys that were added more often than is counted.
    stay: Vec<bool>,
    /// An add has failed since the filter was cleared.
    saturated: bool,
    /// Fingerprints are so wide that no two keys are taken for one another.
    is_exact: bool,
    file: PathBuf,
}

fn key(n: u16) -> [u8; 3] {
    let [low, high] = n.to_le_bytes();
    [low, b'-', high]
}

impl World {
    fn new(input: &mut Input<'_>, log: &mut Log) -> Self {
        let capacity = u64::from(input.pick(&[1, 3, 10, 40, 200, 1_000_u16]));
        let fpr = input.pick(&[0.1, 0.03, 0.001, 1e-4, 1e-6, 1e-9]);
        let pool = input.flag().then(|| {
            log.note("in a pool");
            let pool = Pool::create(&PoolConfig::new(1 << 20)).unwrap();
            let ballast = Charged::zeroed(Some(&pool), BALLAST).unwrap();
            (pool, ballast)
        });
        log.begin("filter", || format!("for {capacity}, errs {fpr}, pool {}", pool.is_some()));
        let (pool, ballast) = pool.unzip();
        let config = FilterConfig { capacity, fpr, pool: pool.clone(), hash_seed: 1 };
        let file = format!("hypercache-fuzz-filter-{}", std::process::id());
        Self {
            filter: Filter::create(&config).unwrap(),
            pool,
            _ballast: ballast,
            adds: vec![0; KEYS.into()],
            stay: vec![false; KEYS.into()],
            saturated: false,
            is_exact: fpr == 1e-9,
            file: std::env::temp_dir().join(file),
        }
    }

    fn step(&mut self, input: &mut Input<'_>, log: &mut Log) {
        let op = input.byte() % 16;
        let n = input.word() % KEYS;
        // Runs of keys are what fills a filter within a few bytes.
        let run = n..n.saturating_add(u16::from(input.byte()) * 8 + 1).min(KEYS);
        match op {
            0..=2 => {
                log.begin("add", || n);
                self.add(n, log);
            }
            3..=5 => {
                log.begin("add many", || format!("{run:?}"));
                run.for_each(|n| self.add(n, log));
            }
            6 => {
                log.begin("remove", || n);
                self.remove(n);
            }
            7 | 8 => {
                log.begin("remove many", || format!("{run:?}"));
                run.for_each(|n| self.remove(n));
            }
            9 => {
                log.begin("contains", || n);
                self.look(n, log);
            }
            10 => self.look_many(n, run.end, log),
            11 => {
                log.begin("clear", || "");
                self.filter.clear().unwrap();
                self.adds.fill(0);
                self.stay.fill(false);
                self.saturated = false;
            }
            12 => self.save_and_load(log),
            13 => self.damage(input, log),
            14 => {
                log.begin("stats", || "");
                let stats = self.filter.stats();
                assert!(stats.positives <= stats.lookups && stats.load_factor <= 1.0, "{stats:?}");
                assert!((0.0..=1.0).contains(&stats.fpr_theoretical), "{stats:?}");
                assert_eq!(stats.saturated, self.saturated, "{stats:?}");
            }
            _ => {
                log.begin("validate", || "");
                self.check();
            }
        }
    }

    fn add(&mut self, n: u16, log: &mut Log) {
        let at = usize::from(n);
        match self.filter.add(&key(n)) {
            Ok(()) => {
                self.adds[at] += 1;
                if self.adds[at] > COPIES_MAX {
                    log.note("add of a key that stays");
                    self.stay[at] = true;
                }
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                assert!(self.pool.is_some(), "{error}");
                if !std::mem::replace(&mut self.saturated, true) {
                    log.note("saturated");
                    assert!(self.filter.stats().saturated);
                }
            }
        }
    }

    fn remove(&mut self, n: u16) {
        let left = &mut self.adds[usize::from(n)];
        if *left != 0 {
            assert!(self.filter.remove(&key(n)).unwrap(), "key {n} cannot be removed");
            *left -= 1;
        }
    }

    /// What a look-up of a key may answer.
    fn judge(&self, n: u16, found: bool) {
        let at = usize::from(n);
        assert!(found || self.adds[at] == 0, "key {n} is missed");
        if found && self.adds[at] == 0 && self.is_exact && !self.stay[at] {
            assert!(self.saturated, "key {n} is found");
        }
    }

    fn look(&self, n: u16, log: &mut Log) {
        let found = self.filter.contains(&key(n)).unwrap();
        self.judge(n, found);
        if !found {
            log.note("absent");
        }
    }

    fn look_many(&self, first: u16, end: u16, log: &mut Log) {
        log.begin("contains many", || format!("{first}..{end}"));
        let keys: Vec<_> = (first..end).map(key).collect();
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        let mut found = vec![false; keys.len()];
        self.filter.contains_many(&keys, &mut found).unwrap();
        (first..end).zip(found).for_each(|(n, found)| self.judge(n, found));
    }

    fn save_and_load(&mut self, log: &mut Log) {
        log.begin("save and load", || "");
        self.filter.save(&self.file).unwrap();
        let before = self.filter.stats();
        let config = FilterConfig { pool: self.pool.clone(), ..FilterConfig::default() };
        match Filter::load(&self.file, &config) {
            Ok(loaded) => {
                let after = loaded.stats();
                assert_eq!(
                    (before.keys, before.bytes, before.saturated),
                    (after.keys, after.bytes, after.saturated)
                );
                self.filter = loaded;
            }
            // Two of them need not fit.
            Err(error) => assert!(error.kind() == ErrorKind::NoSpace && self.pool.is_some()),
        }
        std::fs::remove_file(&self.file).unwrap();
    }

    /// Changes, cuts or lengthens a saved filter.
    fn damage(&self, input: &mut Input<'_>, log: &mut Log) {
        self.filter.save(&self.file).unwrap();
        let whole = std::fs::read(&self.file).unwrap();
        let (how, mask) = (input.byte() % 3, input.byte());
        let at = usize::from(input.word()) % whole.len();
        log.begin("damaged file", || format!("{how} at {at} of {}, {mask:#x}", whole.len()));
        let mut bytes = whole.clone();
        match how {
            0 => bytes[at] ^= mask,
            1 => bytes.truncate(at),
            _ => bytes.insert(at, mask),
        }
        std::fs::write(&self.file, &bytes).unwrap();
        match Filter::load(&self.file, &FilterConfig::default()) {
            Ok(_) => assert_eq!(bytes, whole, "a damaged file is taken"),
            Err(error) => {
                log.note("refused file");
                let kinds = [ErrorKind::Corrupt, ErrorKind::Unsupported];
                assert!(kinds.contains(&error.kind()) && bytes != whole, "{error}");
                assert!(error.context().contains("hypercache-fuzz-filter"), "{error}");
            }
        }
        std::fs::remove_file(&self.file).unwrap();
    }

    fn check(&self) {
        self.filter.validate().unwrap();
        for n in 0..KEYS {
            self.judge(n, self.filter.contains(&key(n)).unwrap());
        }
        if let Some(pool) = &self.pool {
            pool.validate().unwrap();
        }
    }
}
