//! Look-ups, adds, removes and growth; see the essay of the module for why they are right.

use super::path::make_room;
use super::settled::{FLAGS, Version};
use super::shape::{Base, FIRST_WIDTH_MAX, FULL, MOVING, SLOTS, Shape, WIDTH_MAX};
use super::stats::{OWNED, Reads};
use super::table::{Aim, Table};
use super::{COPIES_MAX, FilterConfig, FilterStats};
use crate::error::{Error, ErrorKind, Result};
use crate::hash::{KeyHash, random_u64};
use crate::memory::bias::Mutex;
use crate::memory::{fork, guard};
use crate::pool::Pool;
use crate::types::check_key;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Tables of a filter that has grown as far as it can: 32,768 times its first size.
pub const TABLES_MAX: usize = 16;
const _: () = assert!(FIRST_WIDTH_MAX + (TABLES_MAX as u32) <= WIDTH_MAX);
/// Keys of a batch whose memory is asked for together.
const GROUP: usize = 32;
/// Times a reader looks again before it takes the lock.
const PATIENCE: u32 = 32;
/// Random keys that a sample looks up.
const SAMPLES: u64 = 1 << 15;

/// Flags of the version: every answer is "maybe", there are more tables than the first, fingerprints of
/// the first are too wide to be compared in one word.
const SATURATED: u64 = 1;
const GROWN: u64 = 2;
const WIDE: u64 = 4;
const _: () = assert!(SATURATED | GROWN | WIDE == FLAGS);

const SATURATED_ERROR: Error = Error::fixed(
    ErrorKind::NoSpace,
    "the filter is saturated: it answers \"maybe\" for every key; clear it and add the keys anew",
);
const GROWN_OUT: Error = Error::fixed(
    ErrorKind::NoSpace,
    "the filter has grown as often as it can; make a larger one and add the keys there",
);

/// What writers count, under their lock.
#[derive(Debug, Default)]
pub struct Writer {
    adds: u64,
    add_failures: u64,
    removes: u64,
    remove_failures: u64,
    kicks: u64,
    longest: u64,
}

#[derive(Debug)]
#[repr(align(64))]
struct Apart<T>(T);

/// What the handles of a filter share.
pub struct Inner {
    pub hash: KeyHash,
    pub base: Base,
    slot_tag: u64,
    first: Table,
    count: AtomicU32,
    version: Apart<Version>,
    writer: Apart<Mutex<Writer>>,
    reads: Reads,
    later: [OnceLock<Table>; TABLES_MAX - 1],
    generation: u64,
    pub capacity: u64,
    pub fpr: f64,
    pub seed: u64,
    pool: Option<Pool>,
}

/// All eight slots: adds and removes of this class change nothing any more.
pub const fn stays(copies: u32) -> bool {
    copies > COPIES_MAX
}

impl Inner {
    /// An empty filter; the configuration was checked and filled in.
    pub fn new(config: &FilterConfig) -> Result<Self> {
        Self::with_base(config, Base::holding(config.capacity, config.fpr))
    }

    /// An empty filter with a first table of this size.
    pub fn with_base(config: &FilterConfig, base: Base) -> Result<Self> {
        let generation = fork::generation();
        let pool = config.pool.as_ref();
        let mut seed = config.hash_seed;
        while seed == 0 {
            seed = random_u64();
        }
        let first = Table::new(Shape::nth(base, 0), pool)?;
        let flags = if first.lens().lanes().are_wide() { WIDE } else { 0 };
        if let Some(pool) = pool {
            charge(pool)?;
        }
        Ok(Self {
            hash: KeyHash::new(seed),
            base,
            slot_tag: guard::tag_of(generation),
            first,
            count: AtomicU32::new(1),
            version: Apart(Version::new(flags)),
            writer: Apart(Mutex::new(Writer::default())),
            reads: Reads::default(),
            later: [const { OnceLock::new() }; TABLES_MAX - 1],
            generation,
            capacity: config.capacity,
            fpr: config.fpr,
            seed,
            pool: config.pool.clone(),
        })
    }

    /// Fails in a process that is not the one that made the filter.
    #[inline(always)]
    pub fn check(&self) -> Result<()> {
        // A slot of the filter's generation proves that this is not a forked child.
        if guard::own_slot(self.slot_tag) < guard::SLOTS {
            return Ok(());
        }
        self.check_slowly()
    }

    #[cold]
    #[inline(never)]
    fn check_slowly(&self) -> Result<()> {
        fork::check(self.generation)?;
        // So that the next call of this thread finds one.
        guard::slot_index();
        Ok(())
    }

    pub fn config(&self) -> FilterConfig {
        FilterConfig {
            capacity: self.capacity,
            fpr: self.fpr,
            pool: self.pool.clone(),
            hash_seed: self.seed,
        }
    }

    // ---- Look-ups ------------------------------------------------------------------------

    #[inline(always)]
    pub fn contains(&self, key: &[u8]) -> Result<bool> {
        let slot = guard::own_slot(self.slot_tag);
        if slot < OWNED && key.len() <= crate::types::KEY_LEN_MAX {
            let found = self.has(self.hash.of(key));
            self.reads.count_one(slot, found);
            return Ok(found);
        }
        self.contains_slowly(key)
    }

    #[cold]
    #[inline(never)]
    fn contains_slowly(&self, key: &[u8]) -> Result<bool> {
        check_key(key)?;
        self.check()?;
        let found = self.has(self.hash.of(key));
        self.reads.count(guard::slot_index(), 1, u64::from(found));
        Ok(found)
    }

    /// Whether the key of a hash may have been added. All that there is to do for one table of narrow
    /// fingerprints that is at rest; what else there may be shows when the version is looked at.
    #[inline(always)]
    pub fn has(&self, hash: u64) -> bool {
        let seen = self.version.0.before();
        let lens = self.first.lens();
        // SAFETY: the aim is one of the first table, whose lanes these are.
        let hits = unsafe { lens.lanes().hits(&lens.aim(lens.place(hash))) };
        hits || (!self.version.0.is_still(seen, 0) && self.has_surely(hash))
    }

    fn find(&self, hash: u64) -> bool {
        self.tables().any(|table| table.lens().has(table.shape().place(hash)))
    }

    #[cold]
    #[inline(never)]
    fn has_surely(&self, hash: u64) -> bool {
        self.has_unlocked(hash).unwrap_or_else(|| {
            let _writer = self.writer.0.lock_aside();
            self.is_saturated() || self.find(hash)
        })
    }

    /// [`Inner::has`] without a lock; `None`: writers kept moving things.
    fn has_unlocked(&self, hash: u64) -> Option<bool> {
        for _ in 0..PATIENCE {
            let (seen, flags) = (self.version.0.before(), self.version.0.flags());
            if flags & SATURATED != 0 || self.find(hash) {
                return Some(true);
            }
            if self.version.0.is_still(seen, flags) {
                return Some(false);
            }
            std::hint::spin_loop();
        }
        None
    }

    /// [`Inner::contains`] without a lock; `None`: writers kept moving things, nothing is counted.
    pub fn contains_unlocked(&self, key: &[u8]) -> Result<Option<bool>> {
        check_key(key)?;
        self.check()?;
        let found = self.has_unlocked(self.hash.of(key));
        if let Some(found) = found {
            self.reads.count(guard::slot_index(), 1, u64::from(found));
        }
        Ok(found)
    }

    pub fn contains_many(&self, keys: &[&[u8]], found: &mut [bool]) -> Result<()> {
        self.check()?;
        let slot = guard::slot_index();
        let asked = keys.len().min(found.len());
        for (keys, found) in keys[..asked].chunks(GROUP).zip(found[..asked].chunks_mut(GROUP)) {
            let positives = self.has_group(keys, found)?;
            self.reads.count(slot, keys.len() as u64, positives);
        }
        Ok(())
    }

    /// [`Inner::has`] for up to [`GROUP`] keys and as many answers; returns how many may have been
    /// added.
    #[inline(always)]
    fn has_group(&self, keys: &[&[u8]], found: &mut [bool]) -> Result<u64> {
        let (seen, flags) = (self.version.0.before(), self.version.0.flags());
        let lens = self.first.lens();
        let mut aims = [const { MaybeUninit::<Aim>::uninit() }; GROUP];
        let mut hashes = [const { MaybeUninit::<u64>::uninit() }; GROUP];
        for ((aim, hash), key) in aims.iter_mut().zip(&mut hashes).zip(keys) {
            check_key(key)?;
            let hash = hash.write(self.hash.of(key));
            aim.write(lens.aim(lens.place(*hash))).prefetch();
        }
        let mut positives = 0;
        for (found, aim) in found.iter_mut().zip(&aims) {
            // SAFETY: there are as many answers as keys, for each of which an aim at the first table
            // was written.
            *found = unsafe { lens.lanes().hits(aim.assume_init_ref()) };
            positives += u64::from(*found);
        }
        if self.version.0.is_still(seen, 0) {
            return Ok(positives);
        }
        // SAFETY: a hash was written for each key.
        let hashes = unsafe { hashes[..found.len()].assume_init_ref() };
        Ok(positives + self.has_group_surely(hashes, found, seen, flags))
    }

    /// The rest of [`Inner::has_group`] where the first table is not all or was not at rest; returns
    /// how many more were found.
    #[cold]
    #[inline(never)]
    fn has_group_surely(&self, hashes: &[u64], found: &mut [bool], seen: u64, flags: u64) -> u64 {
        let mut positives = 0;
        if flags == GROWN {
            positives += self.has_later(hashes, found);
            if self.version.0.is_still(seen, GROWN) {
                return positives;
            }
        }
        for (found, &hash) in found.iter_mut().zip(hashes) {
            if !*found && self.has_surely(hash) {
                *found = true;
                positives += 1;
            }
        }
        positives
    }

    /// Looks what was not found up in the later tables; returns how many were found there.
    fn has_later(&self, hashes: &[u64], found: &mut [bool]) -> u64 {
        let mut positives = 0;
        for table in self.tables().skip(1) {
            let absent = hashes.iter().zip(found.iter()).filter(|&(_, &found)| !found);
            absent.for_each(|(&hash, _)| table.lens().prefetch_both(table.shape().place(hash)));
            for (found, &hash) in found.iter_mut().zip(hashes).filter(|(found, _)| !**found) {
                *found = table.lens().has(table.shape().place(hash));
                positives += u64::from(*found);
            }
        }
        positives
    }

    // ---- Writing -------------------------------------------------------------------------

    fn is_saturated(&self) -> bool {
        self.version.0.flags() & SATURATED != 0
    }

    /// The oldest first.
    fn tables(&self) -> impl DoubleEndedIterator<Item = &Table> {
        let count = self.count.load(Ordering::Acquire) as usize;
        std::iter::once(&self.first).chain(self.later[..count - 1].iter().filter_map(OnceLock::get))
    }

    /// Adds a key, which is not too long.
    #[inline]
    pub fn add(&self, key: &[u8]) -> Result<()> {
        if let Some(mut writer) = self.writer.0.enter() {
            let hash = self.hash.of(key);
            return self.insert(&mut writer, hash);
        }
        self.add_slowly(key)
    }

    #[inline(never)]
    fn add_slowly(&self, key: &[u8]) -> Result<()> {
        self.check()?;
        let hash = self.hash.of(key);
        // While the lock is being waited for.
        self.prefetch(hash);
        let mut writer = self.writer.0.lock();
        self.insert(&mut writer, hash)
    }

    fn prefetch(&self, hash: u64) {
        self.first.lens().prefetch_both(self.base.place(hash));
    }

    /// The usual case, an empty slot in the only table, is decided here; everything else is another
    /// function.
    #[inline(always)]
    fn insert(&self, writer: &mut Writer, hash: u64) -> Result<()> {
        writer.adds += 1;
        // With an empty slot there are fewer copies than slots.
        if self.version.0.flags() == 0 && self.first.fill_one(self.first.lens().place(hash)) {
            return Ok(());
        }
        let done = self.insert_anywhere(writer, hash);
        if done.is_err() {
            writer.add_failures += 1;
            self.version.0.raise(SATURATED);
        }
        done
    }

    #[inline(never)]
    fn insert_anywhere(&self, writer: &mut Writer, hash: u64) -> Result<()> {
        if self.is_saturated() {
            return Err(SATURATED_ERROR);
        }
        let mut free = None;
        let mut newest = (&self.first, self.base.place(hash));
        for table in self.tables() {
            let place = table.shape().place(hash);
            let look = table.lens().look(place);
            if stays(look.copies) {
                return Ok(());
            }
            free = free.or(look.free.map(|spot| (table, place.fingerprint, spot)));
            newest = (table, place);
        }
        if let Some((table, fingerprint, spot)) = free {
            table.fill(spot.bucket, spot.slot, fingerprint);
            return Ok(());
        }
        let (table, place) = newest;
        if table.used() * MOVING.1 < table.shape().slots() * MOVING.0
            && let Some(moves) = make_room(table, place, || self.version.0.unsettle())
        {
            writer.kicks += u64::from(moves);
            writer.longest = writer.longest.max(u64::from(moves));
            return Ok(());
        }
        let table = self.grow()?;
        let place = table.shape().place(hash);
        table.fill(place.buckets()[0], 0, place.fingerprint);
        Ok(())
    }

    /// Begins another table. The caller holds the writer's lock.
    fn grow(&self) -> Result<&Table> {
        let count = self.count.load(Ordering::Relaxed);
        let shape = Shape::nth(self.base, count);
        let Some(place) = self.later.get(count as usize - 1) else { return Err(GROWN_OUT) };
        let table = Table::new(shape, self.pool.as_ref())?;
        let table = place.get_or_init(|| table);
        // After the table: whoever reads the count, or that there is one, finds it.
        self.count.store(count + 1, Ordering::Release);
        self.version.0.raise(GROWN);
        Ok(table)
    }

    /// Removes a key, which is not too long.
    #[inline]
    pub fn remove(&self, key: &[u8]) -> Result<bool> {
        if let Some(mut writer) = self.writer.0.enter() {
            let hash = self.hash.of(key);
            return Ok(self.take_out(&mut writer, hash));
        }
        self.remove_slowly(key)
    }

    #[inline(never)]
    fn remove_slowly(&self, key: &[u8]) -> Result<bool> {
        self.check()?;
        let hash = self.hash.of(key);
        self.prefetch(hash);
        let mut writer = self.writer.0.lock();
        Ok(self.take_out(&mut writer, hash))
    }

    #[inline(always)]
    fn take_out(&self, writer: &mut Writer, hash: u64) -> bool {
        writer.removes += 1;
        let place = self.first.lens().place(hash);
        self.version.0.flags() == 0 && self.first.empty_one(place, || self.version.0.unsettle())
            || self.remove_anywhere(writer, hash)
    }

    #[inline(never)]
    fn remove_anywhere(&self, writer: &mut Writer, hash: u64) -> bool {
        if self.is_saturated() {
            writer.remove_failures += 1;
            return true;
        }
        let mut found = None;
        for table in self.tables() {
            let look = table.lens().look(table.shape().place(hash));
            if stays(look.copies) {
                return true;
            }
            // The newest table that has one.
            found = look.copy.map(|spot| (table, spot)).or(found);
        }
        let Some((table, spot)) = found else {
            writer.remove_failures += 1;
            return false;
        };
        let _unsettled = self.version.0.unsettle();
        table.empty(spot.bucket, spot.slot);
        true
    }

    pub fn clear(&self) {
        let _writer = self.writer.0.lock_aside();
        // Whatever a reader answers meanwhile was true before or is after.
        self.tables().for_each(Table::clear);
        self.version.0.lower(SATURATED);
    }

    // ---- The whole -----------------------------------------------------------------------

    /// Calls `work` with the tables, oldest first, while nobody changes them.
    pub fn frozen<R>(&self, work: impl FnOnce(&[&Table], bool) -> R) -> R {
        let _writer = self.writer.0.lock_aside();
        let mut tables = [&self.first; TABLES_MAX];
        let mut count = 0;
        for (place, table) in tables.iter_mut().zip(self.tables()) {
            *place = table;
            count += 1;
        }
        work(&tables[..count], self.is_saturated())
    }

    /// Has a filter that nobody else knows yet take over what was read of a file: `fill` is called
    /// with each of so many tables, oldest first.
    pub fn restore(
        mut self,
        tables: u32,
        saturated: bool,
        mut fill: impl FnMut(u32, &mut Table) -> Result<()>,
    ) -> Result<Self> {
        for number in 1..tables {
            self.grow()?;
            debug_assert_eq!(self.count.load(Ordering::Relaxed), number + 1);
        }
        fill(0, &mut self.first)?;
        for (number, table) in (1..tables).zip(self.later.iter_mut().filter_map(OnceLock::get_mut))
        {
            fill(number, table)?;
        }
        if saturated {
            self.version.0.raise(SATURATED);
        }
        Ok(self)
    }

    pub fn stats(&self) -> FilterStats {
        let (lookups, positives) = self.reads.sums();
        let mut stats = FilterStats { lookups, positives, ..FilterStats::default() };
        let mut slots = 0;
        let mut passes = 1.0;
        {
            let writer = self.writer.0.lock_aside();
            for (number, table) in self.tables().enumerate() {
                let shape = table.shape();
                let load = table.used() as f64 / shape.slots() as f64;
                stats.keys += table.used();
                stats.bytes += shape.bytes();
                slots += shape.slots();
                stats.capacity += match number {
                    0 => self.capacity,
                    _ => shape.slots() * FULL.0 / FULL.1,
                };
                stats.resizes = number as u64;
                let values = 2.0_f64.powi(shape.width.cast_signed()) - 1.0;
                passes *= (1.0 - 1.0 / values).powf(2.0 * SLOTS as f64 * load);
            }
            stats.adds = writer.adds;
            stats.add_failures = writer.add_failures;
            stats.removes = writer.removes;
            stats.remove_failures = writer.remove_failures;
            stats.kicks = writer.kicks;
            stats.longest_kick_chain = writer.longest;
            stats.saturated = self.is_saturated();
        }
        stats.load_factor = stats.keys as f64 / slots as f64;
        stats.fpr_theoretical = if stats.saturated { 1.0 } else { 1.0 - passes };
        stats.fpr_sampled = self.sample();
        stats
    }

    /// The share of random hashes that are found.
    fn sample(&self) -> f64 {
        let mut at = random_u64();
        let mut found = 0;
        for _ in 0..SAMPLES {
            // Hashes of keys are random; so are those of these.
            at = at.wrapping_add(0x9E37_79B9_7F4A_7C15);
            found += u64::from(self.has(self.hash.of(&at.to_le_bytes())));
        }
        found as f64 / SAMPLES as f64
    }

    pub fn validate(&self) -> Result<()> {
        self.frozen(|tables, _| {
            for (number, table) in tables.iter().enumerate() {
                let wrong = |what: String| {
                    Error::new(ErrorKind::Internal, format!("table {number} of the filter: {what}"))
                };
                let used = table.count().map_err(|what| wrong(what.to_owned()))?;
                if used != table.used() {
                    let counted = table.used();
                    return Err(wrong(format!("{used} slots are in use, {counted} are counted")));
                }
                if *table.shape() != Shape::nth(self.base, number as u32) {
                    return Err(wrong("its shape is another's".to_owned()));
                }
            }
            if !self.version.0.is_settled() {
                return Err(Error::fixed(ErrorKind::Internal, "a filter at rest is unsettled"));
            }
            Ok(())
        })
    }
}

/// Charges what a filter takes on the process's heap.
fn charge(pool: &Pool) -> Result<()> {
    let bytes = size_of::<Inner>() as u64;
    if !pool.charge_with_room(bytes) {
        return Err(Error::fixed(
            ErrorKind::NoSpace,
            "the pool's limit holds no room for a filter; what is in it cannot be evicted",
        ));
    }
    pool.space().hold(bytes);
    Ok(())
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool
            && pool.check().is_ok()
        {
            let bytes = size_of::<Self>() as u64;
            pool.space().unhold(bytes);
            pool.space().discharge(bytes);
        }
    }
}
