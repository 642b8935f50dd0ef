//! The thread that makes life hard: it changes limits, trims, clears, removes, scans, allocates,
//! and opens and destroys other stores in the same pool.

use crate::model::Model;
use crate::reader::check_value;
use crate::run::Setup;
use crate::support::Dice;
use hypercache_core::pool::AllocOptions;
use hypercache_core::{ErrorKind, Match, Pool, Store, StoreConfig};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

/// What the thread does, for the report.
const ACTS: [&str; 8] =
    ["resize", "trim", "clear", "invalidate", "scan", "limit", "alloc", "elsewhere"];

pub struct Upkeep<'a> {
    pub pool: &'a Pool,
    pub store: &'a Store,
    pub model: &'a Model,
    pub setup: &'a Setup,
    dice: Dice,
    blocks: Vec<(NonNull<u8>, usize, u8)>,
    pub rounds: u64,
    pub clears: u64,
    pub slowest: (u64, &'static str),
}

impl<'a> Upkeep<'a> {
    pub fn new(pool: &'a Pool, store: &'a Store, model: &'a Model, setup: &'a Setup) -> Self {
        let dice = Dice::new(setup.seed + 77);
        Self {
            pool,
            store,
            model,
            setup,
            dice,
            blocks: Vec::new(),
            rounds: 0,
            clears: 0,
            slowest: (0, ""),
        }
    }

    pub fn run(&mut self) {
        while !self.model.is_over() {
            self.rounds += 1;
            let start = Instant::now();
            let chosen = match self.dice.below(100) {
                0..40 => 0,
                40..42 => 1,
                42..46 => 2,
                46..56 => 3,
                56..62 => 4,
                62..70 => 5,
                70..92 => 6,
                _ => 7,
            };
            match chosen {
                0 => self.resize(),
                1 => self.trim(),
                2 => self.clear(),
                3 => self.invalidate(),
                4 => self.scan(),
                5 => self.limit_store(),
                6 => self.allocate(),
                _ => self.live_elsewhere(),
            }
            self.slowest = self.slowest.max((start.elapsed().as_millis() as u64, ACTS[chosen]));
            self.check_limits();
            std::thread::sleep(Duration::from_micros(self.dice.below(8_000)));
        }
        self.free_blocks(0);
        self.must("set_limit", self.pool.set_limit(self.setup.limit).map(|_| ()));
        self.must("limit of the store", self.store.set_limit(0));
    }

    fn must(&self, what: &str, result: hypercache_core::Result<()>) {
        if let Err(error) = result {
            self.model.blame(|| format!("{what} failed: {error}"));
        }
    }

    fn resize(&mut self) {
        let limit = self.setup.limit * (40 + self.dice.below(90)) / 100;
        self.must("set_limit", self.pool.set_limit(limit).map(|_| ()));
    }

    fn trim(&mut self) {
        let target = self.setup.limit * (50 + self.dice.below(50)) / 100;
        self.must("trim", self.pool.trim(target).map(|_| ()));
    }

    fn clear(&mut self) {
        let before = self.model.begin_removal();
        self.must("clear", self.store.clear());
        self.model.end_removal(&before, |_| true);
        self.clears += 1;
    }

    fn invalidate(&mut self) {
        let before = self.model.begin_removal();
        let half = self.dice.below(2) as u32;
        let prefix: &[u8] = if half == 0 { b"h0:" } else { b"h1:" };
        let wanted = if self.rounds.is_multiple_of(2) {
            Match::Prefix(prefix)
        } else {
            Match::Glob(if half == 0 { b"?0*" } else { b"?1*" })
        };
        match self.store.invalidate(wanted) {
            Ok(_) => self.model.end_removal(&before, |key| key & 1 == half),
            Err(error) => self.model.blame(|| format!("invalidate failed: {error}")),
        }
    }

    fn scan(&mut self) {
        let floors: Vec<_> = (0..self.setup.keys).map(|key| self.model.begin_read(key)).collect();
        let mut scan = match self.store.scan(Match::All) {
            Ok(scan) => scan,
            Err(error) => return self.model.blame(|| format!("scan failed: {error}")),
        };
        loop {
            let entry = match scan.next(true) {
                Ok(Some(entry)) => entry,
                Ok(None) => return,
                Err(error) if error.kind() == ErrorKind::NoSpace => continue,
                Err(error) => return self.model.blame(|| format!("scan failed: {error}")),
            };
            let Some(key) = entry.key.get(3..7).and_then(|bytes| bytes.first_chunk::<4>()) else {
                return self.model.blame(|| "scan: a key that was never written".into());
            };
            let key = u32::from_be_bytes(*key);
            if let Some(view) = entry.view
                && let Some(seq) = check_value("scan", self.model, key, view.info(), &view)
            {
                self.model.saw("scan", key, floors[key as usize], seq);
            }
        }
    }

    fn limit_store(&mut self) {
        let bytes = match self.dice.below(3) {
            0 => 0,
            _ => self.setup.limit * (30 + self.dice.below(80)) / 100,
        };
        match self.store.set_limit(bytes) {
            Err(error) if error.kind() != ErrorKind::NoSpace => {
                self.model.blame(|| format!("limit of the store: {error}"));
            }
            _ => {}
        }
    }

    /// Memory of the application, which nobody may write to.
    fn allocate(&mut self) {
        for _ in 0..8 {
            let len = 1 + match self.dice.below(3) {
                0 => self.dice.below(200),
                1 => self.dice.below(8_000),
                _ => self.dice.below(60_000),
            } as usize;
            let options = AllocOptions { evict: true, zero: false };
            match self.pool.alloc(len, 0, options) {
                Ok(block) => {
                    let byte = self.dice.below(256) as u8;
                    // SAFETY: a fresh block of `len` bytes of this test's own.
                    unsafe { block.as_ptr().write_bytes(byte, len) };
                    self.blocks.push((block, len, byte));
                }
                Err(error) if error.kind() == ErrorKind::NoSpace => {}
                Err(error) => self.model.blame(|| format!("alloc failed: {error}")),
            }
        }
        self.free_blocks(24);
    }

    fn free_blocks(&mut self, left: usize) {
        while self.blocks.len() > left {
            let at = self.dice.below(self.blocks.len() as u64) as usize;
            let (block, len, byte) = self.blocks.swap_remove(at);
            // SAFETY: a live block of `len` bytes that were all written.
            let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), len) };
            if bytes.iter().any(|&found| found != byte) {
                self.model.blame(|| format!("an allocation of {len} bytes was written to"));
            }
            // SAFETY: allocated from this pool, freed once, not used afterwards.
            self.must("free", unsafe { self.pool.free(block.as_ptr()) });
        }
    }

    /// Another store that comes, writes and goes.
    fn live_elsewhere(&mut self) {
        let config = StoreConfig { policy: self.setup.policy, ..StoreConfig::default() };
        let other = match self.pool.open_store(&config) {
            Ok(other) => other,
            Err(error) if error.kind() == ErrorKind::NoSpace => return,
            Err(error) => return self.model.blame(|| format!("open_store failed: {error}")),
        };
        let value = [0xA5; 3_000];
        for i in 0..self.dice.below(400) {
            let len = self.dice.below(value.len() as u64) as usize;
            match other.set(&i.to_be_bytes(), &value[..len]) {
                Err(error) if error.kind() != ErrorKind::NoSpace => {
                    self.model.blame(|| format!("set elsewhere failed: {error}"));
                }
                _ => {}
            }
        }
        if self.dice.below(2) == 0 {
            other.destroy();
        }
    }

    fn check_limits(&self) {
        let stats = self.pool.stats();
        if stats.used_bytes > stats.limit_bytes {
            self.model.blame(|| format!("{} used, limit {}", stats.used_bytes, stats.limit_bytes));
        }
    }
}
