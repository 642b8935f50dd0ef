//! Histories with loads: no read returns a value that is older than the last write or invalidation
//! which had returned before the read began.
//!
//! There is a *source*: a number a key, which only rises. Four writers raise it and then write the
//! number to the cache, or delete the key; one more thread raises it for many keys and then
//! invalidates them by prefix, by pattern, by session or all. Eight loaders claim keys, read the
//! source when they have the lease, take their time, and put what they read, or give up in one of
//! the ways there are. Every read, of every thread, is compared with the number that the source had
//! when the last change that had returned was made.
//!
//! The *control* has writes leave leases alone, and demands that this is noticed.
//!
//! `HYPERCACHE_HISTORY_SECONDS` sets how long the history runs.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod support;

use hypercache_core::store::{Ended, testing};
use hypercache_core::{
    Claim, ClaimOptions, DropReason, ErrorKind, Match, Pool, PoolConfig, PutOptions, Store,
    StoreConfig, Ttl,
};
use std::mem::MaybeUninit;
use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};
use support::Dice;

/// Keys of a history: few, so that everything meets.
const KEYS: u64 = 48;
const WRITERS: u64 = 4;
const LOADERS: u64 = 8;

/// The hook that the control uses is the process's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A key of the source, and what is known of its changes.
#[derive(Default)]
struct Known {
    /// What a load reads.
    source: AtomicU64,
    /// The least that a read which begins now may return.
    floor: AtomicU64,
    /// One changes the key at a time: of two writes at once the cache may well keep the one that
    /// the source took first.
    changing: Mutex<()>,
}

struct World {
    store: Store,
    keys: Vec<Known>,
    stop: AtomicBool,
    wrong: Mutex<Option<String>>,
    loads: AtomicU64,
    conflicts: AtomicU64,
    reads: AtomicU64,
}

fn key_bytes(key: u64) -> [u8; 9] {
    let mut bytes = *b"0:       ";
    bytes[0] = b'0' + (key % 3) as u8;
    bytes[2..9].copy_from_slice(&key.to_be_bytes()[1..]);
    bytes
}

/// The number, as often as there is room.
fn value_of(seq: u64, len: usize) -> Vec<u8> {
    seq.to_le_bytes().into_iter().cycle().take(len.next_multiple_of(8).max(8)).collect()
}

impl World {
    fn new() -> Self {
        let pool = Pool::create(&PoolConfig::new(4 << 20)).unwrap();
        let config = StoreConfig {
            lease_ms: 30,
            soft_ttl_ms: 4,
            stale_if_error_ms: 5,
            value_len_max: 20_000,
            ..StoreConfig::default()
        };
        Self {
            store: pool.open_store(&config).unwrap(),
            keys: (0..KEYS).map(|_| Known::default()).collect(),
            stop: AtomicBool::new(false),
            wrong: Mutex::new(None),
            loads: AtomicU64::new(0),
            conflicts: AtomicU64::new(0),
            reads: AtomicU64::new(0),
        }
    }

    fn blame(&self, what: String) {
        self.wrong.lock().unwrap().get_or_insert(what);
        self.stop.store(true, SeqCst);
    }

    fn is_over(&self) -> bool {
        self.stop.load(SeqCst)
    }

    /// What a read that begins now may not fall behind.
    fn begin(&self, key: u64) -> u64 {
        self.keys[key as usize].floor.load(SeqCst)
    }

    fn check(&self, how: &str, key: u64, floor: u64, bytes: &[u8]) {
        self.reads.fetch_add(1, SeqCst);
        let seq = bytes.first_chunk::<8>().map_or(u64::MAX, |seq| u64::from_le_bytes(*seq));
        if bytes.chunks(8).any(|word| word != seq.to_le_bytes()) {
            return self.blame(format!("{how}: key {key}: torn"));
        }
        let known = self.keys[key as usize].source.load(SeqCst);
        if seq < floor || seq > known {
            self.blame(format!("{how}: key {key}: {seq} read, {floor} to {known} were due"));
        }
    }

    /// A change of the source, told to the cache.
    fn change(&self, keys: impl Iterator<Item = u64> + Clone, tell: impl FnOnce(u64)) {
        let _alone: Vec<_> =
            keys.clone().map(|key| self.keys[key as usize].changing.lock().unwrap()).collect();
        let made: Vec<_> = keys
            .map(|key| (key, self.keys[key as usize].source.fetch_add(1, SeqCst) + 1))
            .collect();
        tell(made.first().map_or(0, |made| made.1));
        for (key, seq) in made {
            self.keys[key as usize].floor.fetch_max(seq, SeqCst);
        }
    }

    fn write(&self, dice: &mut Dice, number: u64) {
        let key = dice.below(KEYS / WRITERS) * WRITERS + number;
        let len = if dice.below(20) == 0 { 19_000 } else { dice.below(300) as usize };
        let bytes = key_bytes(key);
        let is_delete = dice.below(2) == 0;
        self.change([key].into_iter(), |seq| {
            if is_delete {
                self.store.delete(&bytes).unwrap();
            } else {
                // One in a hundred is longer than the store takes.
                let len = if seq.is_multiple_of(100) { 21_000 } else { len };
                match self.store.set(&bytes, &value_of(seq, len)) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::TooLarge => {}
                    Err(error) => self.blame(format!("set: {error}")),
                }
            }
        });
    }

    fn invalidate(&self, dice: &mut Dice) {
        let group = dice.below(3);
        let matched = move |key: &u64| key % 3 == group;
        let wanted = [b'0' + group as u8, b':'];
        let pattern = [b'0' + group as u8, b'*'];
        match dice.below(4) {
            0 => self.change((0..KEYS).filter(matched), |_| {
                self.store.invalidate(Match::Prefix(&wanted)).unwrap();
            }),
            1 => self.change((0..KEYS).filter(matched), |_| {
                self.store.invalidate(Match::Glob(&pattern)).unwrap();
            }),
            _ => self.change(0..KEYS, |_| self.store.clear().unwrap()),
        }
    }

    fn load(&self, dice: &mut Dice, key: u64, lease: hypercache_core::Lease) {
        let seq = self.keys[key as usize].source.load(SeqCst);
        self.loads.fetch_add(1, SeqCst);
        match dice.below(4) {
            0 => std::thread::sleep(Duration::from_micros(dice.below(2_000))),
            1 => std::thread::yield_now(),
            _ => {}
        }
        let store = &self.store;
        match dice.below(20) {
            0 => store.lease_drop(lease, DropReason::Cancelled).unwrap(),
            1 => store.lease_drop(lease, DropReason::Failed { retry_ms: dice.below(3) }).unwrap(),
            2 => store.lease_drop(lease, DropReason::Absent { ttl_ms: 1 }).unwrap(),
            // Gone without a word.
            3 => {}
            _ => {
                let len = match dice.below(40) {
                    0 => 21_000,
                    1 => 19_000,
                    _ => dice.below(300) as usize,
                };
                let ttl = Ttl::Millis(1 + dice.below(20));
                let options = PutOptions { ttl, ..PutOptions::default() };
                match store.lease_put(lease, &value_of(seq, len), &options) {
                    Ok(hypercache_core::PutOutcome::Conflict) => {
                        self.conflicts.fetch_add(1, SeqCst);
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::TooLarge => {}
                    Err(error) => self.blame(format!("lease_put: {error}")),
                }
            }
        }
    }

    fn loader(&self, number: u64) {
        let mut dice = Dice::new(number + 100);
        let waits = self.store.waits().unwrap();
        let mut waiting: Vec<Option<(u64, u64)>> = vec![None; 64];
        let mut buf = vec![MaybeUninit::uninit(); 24_000];
        while !self.is_over() {
            let key = dice.below(KEYS);
            let bytes = key_bytes(key);
            let floor = self.begin(key);
            let options = ClaimOptions {
                timeout_ms: [0, 0, 1, 50][dice.below(4) as usize],
                stale: dice.below(2) == 0,
            };
            if dice.below(4) == 0 {
                if let Some(value) = self.store.get_vec(&bytes).unwrap() {
                    self.check("get", key, floor, &value);
                }
                continue;
            }
            let claim = if dice.below(2) == 0 {
                self.store.claim(&bytes, options).map(|claim| match claim {
                    Claim::Value(view) => {
                        self.check("claim", key, floor, &view);
                        None
                    }
                    Claim::Claimed(lease) => Some(lease),
                    Claim::TimedOut => {
                        let cookie = dice.below(64);
                        if waiting[cookie as usize].is_none()
                            && waits.add(&bytes, cookie).unwrap().is_some()
                        {
                            // A copy that is handed over is a read that began with the wait.
                            waiting[cookie as usize] = Some((key, floor));
                        }
                        None
                    }
                    Claim::Absent | Claim::LoadFailed | Claim::Declined => None,
                })
            } else {
                self.store.get_or_claim(&bytes, &mut buf, options).map(|claim| match claim {
                    Claim::Value(hypercache_core::Read::Hit(info)) => {
                        // SAFETY: a hit initialised as many bytes.
                        let read = unsafe { buf[..info.len].assume_init_ref() };
                        self.check("get_or_claim", key, floor, read);
                        None
                    }
                    Claim::Claimed(lease) => Some(lease),
                    _ => None,
                })
            };
            match claim {
                Ok(Some(lease)) => self.load(&mut dice, key, lease),
                Ok(None) => {}
                // Of a lease that this thread left without a word.
                Err(error) if error.kind() == ErrorKind::Deadlock => {}
                Err(error) if error.kind() == ErrorKind::NoSpace => {}
                Err(error) => self.blame(format!("claim: {error}")),
            }
            while let Some((cookie, ended)) = waits.next().unwrap() {
                let told = waiting[cookie as usize].take();
                if let (Some((key, floor)), Ended::Value(view)) = (told, ended) {
                    self.check("wait", key, floor, &view);
                }
            }
        }
    }
}

fn seconds() -> f64 {
    let asked = std::env::var("HYPERCACHE_HISTORY_SECONDS").ok();
    asked.and_then(|seconds| seconds.parse().ok()).unwrap_or(3.0)
}

/// Runs a history for so long, or up to the first read that is wrong.
fn run(seconds: f64) -> Option<String> {
    let world = World::new();
    let start = Instant::now();
    std::thread::scope(|scope| {
        let world = &world;
        for number in 0..WRITERS {
            scope.spawn(move || {
                let mut dice = Dice::new(number + 1);
                while !world.is_over() {
                    world.write(&mut dice, number);
                    std::thread::sleep(Duration::from_micros(dice.below(600)));
                }
            });
        }
        scope.spawn(move || {
            let mut dice = Dice::new(77);
            while !world.is_over() {
                world.invalidate(&mut dice);
                std::thread::sleep(Duration::from_micros(dice.below(4_000)));
            }
        });
        for number in 0..LOADERS {
            scope.spawn(move || world.loader(number));
        }
        while !world.is_over() && start.elapsed().as_secs_f64() < seconds {
            std::thread::sleep(Duration::from_millis(50));
            if let Err(error) = world.store.pool().validate() {
                world.blame(format!("validate: {error}"));
            }
        }
        world.stop.store(true, SeqCst);
    });
    let n = |counter: &AtomicU64| counter.load(SeqCst);
    println!(
        "{} reads, {} loads, {} conflicts, {:?}",
        n(&world.reads),
        n(&world.loads),
        n(&world.conflicts),
        start.elapsed()
    );
    support::check(&world.store);
    let wrong = world.wrong.into_inner().unwrap();
    assert!(wrong.is_some() || n(&world.loads) > 0 && n(&world.conflicts) > 0, "nothing happened");
    wrong
}

#[test]
fn no_load_is_older_than_the_last_change() {
    let _alone = ONE_AT_A_TIME.lock();
    assert_eq!(run(seconds()), None);
}

#[test]
fn a_write_that_leaves_leases_alone_is_noticed() {
    support::alone("a_write_that_leaves_leases_alone_is_noticed", || {
        testing::leave_leases(true);
        let wrong = run(30.0);
        testing::leave_leases(false);
        let wrong = wrong.unwrap();
        assert!(wrong.contains("were due"), "{wrong}");
    });
}
