//! Filters behind one trait, with measured loops compiled around each.

use std::hint::black_box;

use anyhow::Result;
use hypercache_core as core;

use crate::measure::thread_cpu_ns;

/// A key.
pub type Key = [u8; 16];
/// Keys of a batch.
pub const BATCH: usize = 32;

/// A filter.
pub trait Set {
    /// Its name in tables.
    const NAME: &'static str;
    /// Whether keys can be removed.
    const DELETES: bool = true;
    /// Whether it has look-ups of many keys.
    const BATCHES: bool = false;

    /// Adds a key.
    fn add(&mut self, key: &Key);
    /// Whether the key may be there.
    fn has(&self, key: &Key) -> bool;
    /// How many of the keys may be there.
    fn has_many(&self, keys: &[&[u8]; BATCH]) -> usize {
        let _ = keys;
        0
    }
    /// Removes a key that is there.
    fn remove(&mut self, key: &Key) -> bool {
        let _ = key;
        false
    }
    /// Bits of its tables.
    fn bits(&self) -> u64;
}

/// HyperCache's, as everybody uses it: through its handle, counted, ready for other threads.
pub struct Ours(core::Filter);

impl Ours {
    /// A filter of which so many keys fill 90 %: at its capacity it is 93 % full.
    pub fn new(keys: u64, fpr: f64) -> Result<Self> {
        let capacity = keys * 93 / 90;
        let config = core::FilterConfig { fpr, hash_seed: 1, ..core::FilterConfig::new(capacity) };
        Ok(Self(core::Filter::create(&config)?))
    }
}

impl Set for Ours {
    const NAME: &'static str = "hypercache";
    const BATCHES: bool = true;

    #[inline]
    fn add(&mut self, key: &Key) {
        black_box(self.0.add(key).is_ok());
    }

    #[inline]
    fn has(&self, key: &Key) -> bool {
        self.0.contains(key).unwrap_or(true)
    }

    #[inline]
    fn has_many(&self, keys: &[&[u8]; BATCH]) -> usize {
        let mut found = [false; BATCH];
        let done = self.0.contains_many(keys, &mut found);
        if done.is_err() { BATCH } else { found.into_iter().filter(|&found| found).count() }
    }

    #[inline]
    fn remove(&mut self, key: &Key) -> bool {
        self.0.remove(key).unwrap_or(false)
    }

    fn bits(&self) -> u64 {
        self.0.stats().bytes * 8
    }
}

/// A filter with loops compiled around it. All times are nanoseconds of the thread's processor time
/// a key.
pub trait Loops {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Adds all.
    fn add_all(&mut self, keys: &[Key]) -> f64;
    /// Looks all up, and counts what was found.
    fn look(&self, keys: &[Key]) -> (f64, u64);
    /// The same by batches; NaN where there are none.
    fn look_many(&self, keys: &[Key]) -> f64;
    /// Removes all; NaN where that cannot be done.
    fn remove_all(&mut self, keys: &[Key]) -> f64;
    /// Bits of its tables.
    fn bits(&self) -> u64;
}

fn timed(keys: usize, work: impl FnOnce()) -> f64 {
    let began = thread_cpu_ns();
    work();
    (thread_cpu_ns() - began) as f64 / keys.max(1) as f64
}

impl<S: Set> Loops for S {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn add_all(&mut self, keys: &[Key]) -> f64 {
        timed(keys.len(), || keys.iter().for_each(|key| self.add(key)))
    }

    fn look(&self, keys: &[Key]) -> (f64, u64) {
        let mut found = 0;
        let ns = timed(keys.len(), || {
            for key in keys {
                found += u64::from(self.has(key));
            }
        });
        (ns, found)
    }

    fn look_many(&self, keys: &[Key]) -> f64 {
        if !S::BATCHES {
            return f64::NAN;
        }
        timed(keys.len(), || {
            for keys in keys.as_chunks::<BATCH>().0 {
                let keys: [&[u8]; BATCH] = keys.each_ref().map(|key| &key[..]);
                black_box(self.has_many(&keys));
            }
        })
    }

    fn remove_all(&mut self, keys: &[Key]) -> f64 {
        if !S::DELETES {
            return f64::NAN;
        }
        timed(keys.len(), || {
            for key in keys {
                black_box(self.remove(key));
            }
        })
    }

    fn bits(&self) -> u64 {
        S::bits(self)
    }
}
