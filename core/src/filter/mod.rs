//! The cuckoo filter: what a set certainly does not contain, in 14 bits a key.
//!
//! A partial-key cuckoo filter (Fan et al., CoNEXT'14): a key leaves a *fingerprint* in one of two
//! buckets of four slots. A look-up compares the eight slots; an add that finds them full moves
//! others to their other buckets; a remove takes a fingerprint away. One idea a file:
//!
//! - `shape`: which buckets, which fingerprint, how tables relate; `table`: the bits themselves;
//! - `path`: making room; `settled`: what readers go by; `single`: one table in somebody else's memory,
//!   for the stores; `inner`: look-ups, adds, removes, growth; `file`: saving and loading;
//! - [`FilterStats`]: what it tells.
//!
//! **No false negative.** A key that was added and not removed as often is found. It rests on this:
//!
//! 1. Keys with the same fingerprint and the same pair of buckets are one *class*; a fingerprint
//!    in either bucket serves all keys of its class alike. With a single table, a class has as many
//!    fingerprints as adds that were not taken back, so none of its keys is missed.
//! 2. A class has eight slots. When all eight are in use, adds of its keys leave nothing more and
//!    removes take nothing away, for good: the eighth add of a key is the one that stays.
//! 3. When there is no room, another table is begun, as large as all before it, and none is ever
//!    moved. A class of a newer table lies within one of an older table (see `shape`). Removes take
//!    from the newest table that has the fingerprint, so a newer table never has more fingerprints
//!    of a class than there are keys of it; what the others left is then in older tables, where
//!    the wider class finds it.
//! 4. When another table cannot be had, the key leaves no fingerprint. The filter is *saturated*
//!    from then on: every look-up answers "maybe", and removes are ignored, until it is cleared.
//!
//! **The rate.** A look-up compares eight slots with a fingerprint of `w` bits, so it errs for at
//! most 8 in `2^w - 1` keys that were never added, however full the table is; `w` is the least that
//! keeps the rate asked for. Every table begun later is a bit wider, so all later ones together err
//! as often as the first at most.
//!
//! **Threads.** One writer at a time, under a lock that is biased to the first thread that writes and
//! costs it no atomic operation until another one does (`memory::bias`); readers take none. A fingerprint that moves is
//! in both places for a moment, so a reader that looks at the old place too late and at the new one
//! too early would miss it: a writer that moves or removes counts a version up before and another
//! after, and a reader believes that a key is absent only if the two agree (see `settled`). That one
//! comparison also tells of everything else but one table of narrow fingerprints at rest.
//! A remove counts as a move: it may leave a class its fingerprint in the other bucket. Adds to an
//! empty slot do not: until they return nobody may rely on them.
//!
//! **Memory.** The tables are charged to the filter's pool, if it has one, and the filter's own few
//! kilobytes too. A new table costs the add that begins it no more than asking for its memory: the
//! system zeroes pages as they are touched. With a pool that is full of entries, stores evict as
//! much as the new table takes.

mod file;
mod inner;
mod path;
mod settled;
mod shape;
pub mod single;
mod stats;
mod table;
#[cfg(test)]
mod tests;

pub use stats::FilterStats;

pub use crate::config::{FPR_MAX, FPR_MIN};
use crate::config::{check_fpr, check_range};
use crate::error::Result;
use crate::pool::Pool;
use crate::types::check_key;
use inner::Inner;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

/// The rate of false positives that 0 stands for.
pub const FPR_DEFAULT: f64 = 0.001;
/// The most keys that a filter may be made for.
pub const CAPACITY_MAX: u64 = 1 << 38;
/// How often an add of one key is counted; one more, and the key stays.
pub const COPIES_MAX: u32 = 7;

/// What a filter is made for.
#[derive(Clone, Debug, Default)]
pub struct FilterConfig {
    /// Adds expected to be in it at a time, 1 to [`CAPACITY_MAX`]; beyond, it grows.
    pub capacity: u64,
    /// The share of keys never added that may be answered with "maybe", [`FPR_MIN`] to
    /// [`FPR_MAX`]; 0: [`FPR_DEFAULT`]. Beyond the capacity it may double.
    pub fpr: f64,
    /// Whose budget the memory is charged to; `None`: nobody's.
    pub pool: Option<Pool>,
    /// Seed of the hash; 0: random.
    pub hash_seed: u64,
}

impl FilterConfig {
    /// A filter for so many keys, everything else by default.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// With the defaults filled in.
    fn resolved(&self) -> Result<Self> {
        check_range("capacity", self.capacity, 1, CAPACITY_MAX)?;
        let fpr = if self.fpr == 0.0 { FPR_DEFAULT } else { self.fpr };
        check_fpr("fpr", fpr)?;
        Ok(Self { fpr, ..self.clone() })
    }
}

/// A filter, shared by all who hold a handle.
///
/// ```
/// use hypercache_core::{Filter, FilterConfig, Result};
///
/// fn main() -> Result<()> {
///     let filter = Filter::create(&FilterConfig::new(100_000))?;
///     filter.add(b"user:7")?;
///     assert!(filter.contains(b"user:7")?, "a key that was added is never missed");
///     assert!(filter.remove(b"user:7")?);
///     assert!(!filter.contains(b"user:7")?);
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Filter(Arc<Inner>);

impl Filter {
    /// Makes an empty filter.
    ///
    /// # Errors
    /// `Invalid` names the field; `NoSpace`: the pool's limit does not hold it; `NoMemory`: the
    /// system refuses memory; `Forked`: the pool is another process's.
    pub fn create(config: &FilterConfig) -> Result<Self> {
        Ok(Self(Arc::new(Inner::new(&config.resolved()?)?)))
    }

    /// Adds a key. Up to [`COPIES_MAX`] adds of one key are counted; one more, and it stays.
    /// Moves at most five fingerprints; where there is no room, it begins another table. The first
    /// thread that adds or removes does so without an atomic operation until another one does.
    ///
    /// # Errors
    /// `Invalid`: the key is longer than [`crate::types::KEY_LEN_MAX`]; `Forked`. `NoSpace`,
    /// `NoMemory`: there is no room and no memory for more; the filter is saturated then, and
    /// answers "maybe" for this key as for all, until it is cleared.
    #[inline]
    pub fn add(&self, key: &[u8]) -> Result<()> {
        check_key(key)?;
        self.0.add(key)
    }

    /// Whether the key may have been added. False: it certainly was not, or it was removed as
    /// often. Takes no lock. Time O(key).
    ///
    /// # Errors
    /// `Invalid`: the key is longer than [`crate::types::KEY_LEN_MAX`]; `Forked`.
    #[inline(always)]
    pub fn contains(&self, key: &[u8]) -> Result<bool> {
        self.0.contains(key)
    }

    /// [`Filter::contains`] for many keys, whose memory is asked for together. Writes as many
    /// answers as there are keys and places for them.
    ///
    /// # Errors
    /// As [`Filter::contains`]; no answer of a group with a key that is too long was written.
    #[inline]
    pub fn contains_many(&self, keys: &[&[u8]], found: &mut [bool]) -> Result<()> {
        self.0.contains_many(keys, found)
    }

    /// [`Filter::contains`] that never waits for a writer; `None`: writers kept moving what was being
    /// read.
    ///
    /// # Errors
    /// As [`Filter::contains`].
    #[inline]
    pub(crate) fn contains_unlocked(&self, key: &[u8]) -> Result<Option<bool>> {
        self.0.contains_unlocked(key)
    }

    /// Fails in a process that did not make the filter.
    ///
    /// # Errors
    /// `Forked`.
    pub fn check(&self) -> Result<()> {
        self.0.check()
    }

    /// Takes one add of a key back; false: no such fingerprint is there. Removing a key that was
    /// never added may take another one's fingerprint away: do not.
    ///
    /// # Errors
    /// As [`Filter::contains`].
    #[inline]
    pub fn remove(&self, key: &[u8]) -> Result<bool> {
        check_key(key)?;
        self.0.remove(key)
    }

    /// Forgets every key and ends saturation. What it has grown to it keeps. Adds and removes wait
    /// meanwhile, look-ups do not.
    ///
    /// # Errors
    /// `Forked`.
    pub fn clear(&self) -> Result<()> {
        self.0.check()?;
        self.0.clear();
        Ok(())
    }

    /// The filter at about one moment. Looks some thousand random keys up for
    /// [`FilterStats::fpr_sampled`], which takes a fraction of a millisecond.
    #[must_use]
    pub fn stats(&self) -> FilterStats {
        if self.0.check().is_err() { FilterStats::default() } else { self.0.stats() }
    }

    /// What the filter was made for, defaults filled in. The seed is the one in use.
    #[must_use]
    pub fn config(&self) -> FilterConfig {
        self.0.config()
    }

    /// Checks that every fingerprint is one that keys have and that the counts agree with the
    /// slots. Reads all of the filter; adds and removes wait.
    ///
    /// # Errors
    /// `Internal` says what is wrong; `Forked`.
    pub fn validate(&self) -> Result<()> {
        self.0.check()?;
        self.0.validate()
    }

    /// Writes the filter to a file beside `path`, which then takes its place: whoever opens `path`
    /// finds the old file or the whole new one. Adds and removes wait meanwhile, look-ups do not.
    ///
    /// # Errors
    /// `Io`: what the system said; `Forked`.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.0.check()?;
        file::save(&self.0, path)
    }

    /// Reads a filter that was saved. Of `config`, the pool is used; capacity, rate and seed may be
    /// 0, and must otherwise be those of the file.
    ///
    /// # Errors
    /// `Io`; `Corrupt`: the file is not one that was saved, whole and unchanged; `Unsupported`: it
    /// is of a later format; `Invalid`: a field of `config` disagrees; and as [`Filter::create`].
    pub fn load(path: &Path, config: &FilterConfig) -> Result<Self> {
        Ok(Self(Arc::new(file::load(path, config)?)))
    }

    /// Gives the handle away as a pointer.
    #[must_use]
    pub fn into_raw(self) -> *const () {
        Arc::into_raw(self.0).cast()
    }

    /// Takes a handle back.
    ///
    /// # Safety
    /// `raw` came from [`Filter::into_raw`] and is taken back once.
    #[inline(always)]
    #[must_use]
    pub unsafe fn from_raw(raw: *const ()) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { Arc::from_raw(raw.cast()) })
    }

    /// Uses a handle that was given away, without taking it back.
    ///
    /// # Safety
    /// `raw` came from [`Filter::into_raw`] and is not taken back while the result lives.
    #[inline(always)]
    #[must_use]
    pub unsafe fn borrow_raw(raw: *const ()) -> FilterRef {
        // SAFETY: the caller's promise; the reference count is not touched.
        FilterRef(ManuallyDrop::new(unsafe { Self::from_raw(raw) }))
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let config = self.config();
        f.debug_struct("Filter")
            .field("capacity", &config.capacity)
            .field("fpr", &config.fpr)
            .finish_non_exhaustive()
    }
}

/// A borrowed handle; see [`Filter::borrow_raw`].
pub struct FilterRef(ManuallyDrop<Filter>);

impl Deref for FilterRef {
    type Target = Filter;

    #[inline(always)]
    fn deref(&self) -> &Filter {
        &self.0
    }
}

/// Numbers for tests.
#[cfg(test)]
mod testing {
    /// SplitMix64 (Steele, Lea, Flood, OOPSLA'14).
    pub struct Random(u64);

    impl Random {
        pub fn new(seed: u64) -> Self {
            Self(seed)
        }

        pub fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut x = self.0;
            x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            x ^ (x >> 31)
        }

        pub fn below(&mut self, n: u64) -> u64 {
            self.next() % n
        }
    }
}
