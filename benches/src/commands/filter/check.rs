//! A long random run beside an exact count of every key.

use anyhow::{Result, ensure};
use hypercache_core::{Filter, FilterConfig};

use crate::report::{count, progress};
use crate::workload::Rng;

/// Operations on one filter before the next begins.
const LIFE: u64 = 20_000_000;
/// Operations between two full checks.
const STRIDE: u64 = 1_000_000;

/// Adds and removes of keys of which each is in the filter up to eight times.
struct World {
    filter: Filter,
    /// How often each key was added and not removed.
    adds: Vec<u8>,
    rng: Rng,
}

impl World {
    /// A filter made for so many keys, which gets up to `grow` times as many.
    fn new(capacity: u64, fpr: f64, grow: u64, seed: u64) -> Result<Self> {
        let config = FilterConfig { fpr, hash_seed: seed, ..FilterConfig::new(capacity) };
        let keys = (capacity * grow).max(8) as usize;
        Ok(Self { filter: Filter::create(&config)?, adds: vec![0; keys], rng: Rng::new(seed) })
    }

    fn step(&mut self, adds_of_16: u64) -> Result<()> {
        let n = self.rng.below(self.adds.len() as u64);
        let key = n.to_le_bytes();
        let left = &mut self.adds[n as usize];
        let kind = self.rng.below(16);
        if kind < 3 {
            ensure!(self.filter.contains(&key)? || *left == 0, "key {n} is missed");
        } else if kind < 4 {
            let keys: [_; 8] =
                std::array::from_fn(|at| ((n + at as u64) % self.adds.len() as u64).to_le_bytes());
            let mut found = [false; 8];
            self.filter.contains_many(&keys.each_ref().map(|key| &key[..]), &mut found)?;
            for (key, found) in keys.iter().zip(found) {
                let n = u64::from_le_bytes(*key);
                ensure!(found || self.adds[n as usize] == 0, "key {n} is missed in a batch");
            }
        } else if self.rng.below(16) < adds_of_16 {
            // More of one key would stay; what stays is asked for in the tests.
            if *left < 3 {
                self.filter.add(&key)?;
                *left += 1;
            }
        } else if *left != 0 {
            ensure!(self.filter.remove(&key)?, "key {n} cannot be removed");
            *left -= 1;
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        self.filter.validate()?;
        for (n, &left) in (0_u64..).zip(&self.adds) {
            ensure!(left == 0 || self.filter.contains(&n.to_le_bytes())?, "key {n} is missed");
        }
        let stats = self.filter.stats();
        ensure!(!stats.saturated, "the filter is saturated: {stats:?}");
        Ok(())
    }
}

/// Runs so many operations; fails with what went wrong.
pub fn run(operations: u64, seed: u64) -> Result<()> {
    let shapes = [
        (100, 0.1, 30),
        (1_000, 0.01, 1),
        (100_000, 0.001, 1),
        (30_000, 0.001, 12),
        (500, 1e-6, 9),
    ];
    let bar = progress(operations, "checking");
    let (mut done, mut life, mut resizes, mut kicks) = (0, 0, 0, 0);
    while done < operations {
        let (capacity, fpr, grow) = shapes[life as usize % shapes.len()];
        let mut world = World::new(capacity, fpr, grow, seed + life)?;
        let end = operations.min(done + LIFE.min(operations.div_ceil(shapes.len() as u64)));
        while done < end {
            let stop = end.min(done + STRIDE);
            // It fills and empties by turns.
            let adds_of_16 = [12, 8, 5, 8][(done / STRIDE) as usize % 4];
            for _ in done..stop {
                world.step(adds_of_16)?;
            }
            world.check()?;
            bar.inc(stop - done);
            done = stop;
        }
        let stats = world.filter.stats();
        resizes += stats.resizes;
        kicks += stats.kicks;
        life += 1;
    }
    bar.finish_and_clear();
    println!(
        "{} operations on {life} filters, {} fingerprints moved, {resizes} tables begun: no key \
         was missed",
        count(operations),
        count(kicks)
    );
    Ok(())
}
